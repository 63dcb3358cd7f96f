"""Measure the memory that this process may still use, by the machine and by the limits of its container or job."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_KIB = 1024
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
"""Where worker processes put batches; a container has 64 MiB of it by default."""


def available_memory(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Return bytes that can be allocated; file pages that the kernel can reclaim count as free.

    The limits of all control groups apply, from the process's own up to the root, of version 2 or 1: the limit of a
    Slurm job is set on a nested one.
    """
    fields = (line.split() for line in (proc / "meminfo").read_text().splitlines())
    available = next(int(words[1]) * _KIB for words in fields if words[0] == "MemAvailable:")
    return min([available, *_free_in_groups(proc, cgroups)])


def free_shared_memory() -> int | None:
    """Return the bytes that are free in ``SHARED_MEMORY``; None where there is none."""
    try:
        return shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return None


def _free_in_groups(proc: Path, cgroups: Path) -> Iterator[int]:
    """Yield the bytes that are free in each limited control group of this process."""
    for line in (proc / "self" / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, names = cgroups, ("memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            root, names = cgroups / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        else:
            continue
        own = root / path.lstrip("/")
        for group in (own, *own.parents):
            free = _free_in_group(group, *names) if group.is_relative_to(root) else None
            if free is not None:
                yield free


def _free_in_group(group: Path, limit_file: str, usage_file: str, prefix: str) -> int | None:
    """Return the bytes that are free in one control group; None where it has no limit."""
    try:
        limit, used = (group / limit_file).read_text().strip(), int((group / usage_file).read_text())
        stats = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (FileNotFoundError, PermissionError):  # missing, or hidden by the container
        return None
    if limit == "max":
        return None
    pages = sum(int(stats.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))
    return max(int(limit) - used + pages, 0)
