"""How much memory this process may still take, by the machine and by the limits of its container or job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_KIB = 1024


def available_memory(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Bytes; file pages that the kernel would give back count as free.

    Every control group from the process's own up to the root has its say, of version 2 or 1: a Slurm job's limit
    stands in a nested one.

    Args:
        proc: Where the kernel tells about processes.
        cgroups: Where it tells about control groups.
    """
    fields = (line.split() for line in (proc / "meminfo").read_text().splitlines())
    available = next(int(words[1]) * _KIB for words in fields if words[0] == "MemAvailable:")
    return min([available, *_rooms(proc, cgroups)])


def _rooms(proc: Path, cgroups: Path) -> Iterator[int]:
    """What each limited control group leaves."""
    for line in (proc / "self" / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, names = cgroups, ("memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            top, names = cgroups / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        else:
            continue
        group = top / path.lstrip("/")
        for place in (group, *group.parents):
            room = _room(place, *names) if place.is_relative_to(top) else None
            if room is not None:
                yield room


def _room(group: Path, limit: str, used: str, prefix: str) -> int | None:
    """What one control group leaves; None where it has no limit."""
    try:
        most, taken = (group / limit).read_text().strip(), int((group / used).read_text())
        stats = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (FileNotFoundError, PermissionError):  # not there, or the container hides it
        return None
    if most == "max":
        return None
    pages = sum(int(stats.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))
    return max(int(most) - taken + pages, 0)
