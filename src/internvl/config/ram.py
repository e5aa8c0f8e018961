"""How much main memory there is: the machine's, or less where a container's limit is lower. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

#: Files of a control group that say its limit, its use, and the page cache within (which gives way), by version.
_FILES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


class Ram(NamedTuple):
    """Bytes of main memory."""

    total: int
    available: int
    """What new programs can have without swapping."""


def ram(root: Path = Path("/")) -> Ram:
    """Return the smaller of what the machine has and what the control groups of this process allow."""
    fields = _fields(root / "proc/meminfo")
    total = fields.get("MemTotal") or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    available = fields.get("MemAvailable", total)
    for limit, used in _groups(root):
        total, available = min(total, limit), min(available, max(limit - used, 0))
    return Ram(total, available)


def private_bytes(root: Path = Path("/")) -> int:
    """Return the memory of this process that is in use and no file's content; 0 where nobody says."""
    return _fields(root / "proc/self/status").get("RssAnon", 0)


def _groups(root: Path) -> Iterator[tuple[int, int]]:
    """Yield (limit, used) of this process's control group and of those it is in."""
    for line in read_text(root / "proc/self/cgroup").splitlines() or ["0::/"]:
        _, controllers, name = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        version = 1 if controllers else 2
        # Inside a container the mount may begin at the container's own group, whatever its name outside.
        path = PurePosixPath(name.lstrip("/"))
        for group in dict.fromkeys([path, *path.parents, PurePosixPath()]):
            directory = root / "sys/fs/cgroup" / controllers / group
            limit, used, cached = _FILES[version]
            found, stored = read_text(directory / limit).strip(), read_text(directory / used).strip()
            if found.isdigit() and stored.isdigit():
                yield int(found), int(stored) - _fields(directory / "memory.stat").get(cached, 0)


def _fields(path: Path) -> dict[str, int]:
    """Read lines like "MemTotal: 16 kB" or "inactive_file 16" as bytes."""
    fields = {}
    for line in read_text(path).splitlines():
        name, *words = line.replace(":", " ").split() or [""]
        if words and words[0].isdigit():
            fields[name] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return fields


def read_text(path: Path) -> str:
    """The text of a kernel file; empty where this system has none."""
    try:
        return path.read_text()
    except OSError:
        return ""
