"""Add packages from a folder to the Python of a machine that reaches no registry."""

from __future__ import annotations

import argparse
import os
import site
import subprocess
import sys
import venv
from pathlib import Path

from measuring import shown

ENVIRONMENT = shown.CACHE / "check-gpu"


def restart_with_wheels() -> None:
    """Begin this command again in an environment with the wheels of a folder, if ``--wheels`` names one."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--wheels", type=Path)
    options, others = parser.parse_known_args()
    if options.wheels:
        python = new_environment(options.wheels)
        os.execv(python, [str(python), "-m", "check_gpu", *others])


def new_environment(folder: Path) -> Path:
    """Install the wheels of a folder over the packages of this Python; return the Python that has both."""
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        sys.exit(f"--wheels is {folder}, which has no wheels; `pip download --no-deps -d {folder} luigi` writes one.")
    venv.create(ENVIRONMENT, system_site_packages=True, clear=True, with_pip=False)
    python = ENVIRONMENT / "bin" / "python"
    # An environment that is made from another one sees only the packages behind both.
    code = "import site; print(site.getsitepackages()[0])"
    own = Path(subprocess.check_output([python, "-c", code], text=True).strip())
    (own / "packages_of_the_first_python.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "--quiet", "install"]
    done = subprocess.run([*pip, "--no-index", "--no-deps", *wheels], check=False)
    if done.returncode:
        sys.exit(f"pip could not install the wheels of {folder}; its message is above.")
    return python
