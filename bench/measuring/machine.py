"""Describe the machine, and count the work of it and of a tree of processes, from Linux's /proc."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from pipeline.engines.devices import cores, processor_name

TICKS = os.sysconf("SC_CLK_TCK")
"""Units of CPU time in /proc, a second."""


def description() -> dict[str, str | int]:
    """Return the facts of the machine that belong beside measurements."""
    return {
        "processor": processor_name(),
        "cores": cores(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def load() -> float:
    """Return the mean number of threads that computed or waited for a core, over the last minute."""
    return os.getloadavg()[0]


def free_memory() -> int:
    """Return the bytes that processes can still have before the machine swaps."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    assert found
    return 1024 * int(found[1])


def busy_seconds() -> float:
    """Return the CPU seconds that all processes, and the neighbours of a virtual machine, have used so far."""
    user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen = map(
        int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    )
    return (user + nice + system + interrupts + soft_interrupts + stolen) / TICKS


def tree(root: int) -> list[int]:
    """Return a process and all processes below it that still run."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if stat := _read(folder / "stat"):
            parents[int(folder.name)] = _numbers(stat)[1]
    found = [root]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def cpu_seconds(processes: list[int]) -> float:
    """Return the CPU seconds, of user and system together, that processes have used, ended threads included."""
    return sum(_seconds(Path(f"/proc/{process}/stat")) for process in processes)


def running_threads(processes: list[int]) -> int:
    """Return the number of their threads that run at this moment, or would if they had a core."""
    stats = (_read(stat) for process in processes for stat in Path(f"/proc/{process}/task").glob("*/stat"))
    return sum(stat.rpartition(")")[2].split()[:1] == ["R"] for stat in stats)


def peak_memory(processes: list[int]) -> int:
    """Return the sum of the most bytes of memory that each has held at once."""
    statuses = [_read(Path(f"/proc/{process}/status")) for process in processes]
    return sum(1024 * int(kilobytes) for status in statuses for kilobytes in re.findall(r"VmHWM:\s+(\d+)", status))


def _seconds(stat: Path) -> float:
    text = _read(stat)
    return sum(_numbers(text)[11:13]) / TICKS if text else 0.0


def _numbers(stat: str) -> list[int]:
    """Return the numbers behind a process's name, which may hold any character, and its state."""
    return [0, *map(int, stat.rpartition(")")[2].split()[1:])]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""  # the process has ended
