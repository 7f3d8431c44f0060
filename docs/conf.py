"""Build the pages of this folder, and the API's from docstrings: ``make docs``."""

import re
import tomllib
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_PROJECT = tomllib.loads(_ROOT.joinpath("pyproject.toml").read_text())["project"]

project = _PROJECT["name"]
version = release = _PROJECT["version"]

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_parser"]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = project
html_show_copyright = False
myst_heading_anchors = 3

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "ignore-module-all": True,
    "exclude-members": "set_score_request",  # scikit-learn's own, whose text refers to its own pages
}
maximum_signature_line_length = 80
# Theano's packages are in an environment of their own. Without Triton, which is not everywhere, kernels are functions.
autodoc_mock_imports = ["theano", "lasagne", "nolearn", "triton"]
numpydoc_show_class_members = False
default_role = "py:obj"
nitpicky = True
nitpick_ignore = [  # type variables
    ("py:class", "pipeline.engines.numba.compiler.Result"),
    ("py:class", "pipeline.engines.numba.views.Values"),
    ("py:class", "pipeline.store.remote.shared.Value"),
    ("py:class", "tasks.luigi_adapter.parameters.Kind"),
]
nitpick_ignore_regex = [
    ("py:.*", r"(?!pipeline\.|tasks\.).*"),  # of the names of others no list is at hand
    ("py:class", r".*\._\w+"),  # private classes have no page
]


def setup(app):
    """Turn links to files outside this folder, which work on GitHub, into links that work here."""
    app.connect("source-read", _turn_links)


def _turn_links(app, page, source):
    folder = Path(app.srcdir, page).parent
    source[0] = re.sub(r"\[([^\[\]]*)\]\((\.\./[^)#]+)\)", lambda link: _turned(*link.groups(), folder), source[0])


def _turned(text, target, folder):
    """Return a link to the API's page of a Python file, or of the function that the text names; else text alone."""
    path = (folder / target).resolve()
    if path.is_relative_to(Path(__file__).parent):
        return f"[{text}]({target})"
    if path.suffix != ".py":
        return text
    module = ".".join(path.relative_to(_ROOT).with_suffix("").parts).removesuffix(".__init__")
    function = re.fullmatch(r"`\w+\.(\w+)(?<!\.py)`", text)
    name = f"{module}.{function[1]}" if function else module
    return f"{{py:obj}}`{text.strip('`')} <{name}>`"
