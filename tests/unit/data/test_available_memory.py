from __future__ import annotations

from pathlib import Path

import pytest

from yolofuse.data.available_memory import available_memory

_GIB = 1 << 30


def _machine(root: Path, lines: str, groups: dict[str, dict[str, str]]) -> tuple[Path, Path]:
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {16 * _GIB // 1024} kB\n")
    (root / "proc" / "self" / "cgroup").write_text(lines)
    for group, files in groups.items():
        folder = root / "cgroup" / group
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
    return root / "proc", root / "cgroup"


_STAT = f"inactive_file {_GIB}\nactive_file {_GIB}\ntotal_inactive_file {_GIB}\ntotal_active_file {_GIB}\n"


_NO_LIMIT = {"memory.max": "max", "memory.current": "5", "memory.stat": _STAT}


_NESTED = {"memory.max": str(8 * _GIB), "memory.current": str(7 * _GIB), "memory.stat": _STAT}


_OLD = {"memory.limit_in_bytes": str(8 * _GIB), "memory.usage_in_bytes": str(7 * _GIB), "memory.stat": _STAT}


@pytest.mark.parametrize(
    ("lines", "groups", "free"),
    [
        ("0::/\n", {}, 16),
        ("0::/\n", {".": _NO_LIMIT}, 16),
        ("0::/slurm/job1/step\n", {".": _NO_LIMIT, "slurm/job1": _NESTED, "slurm/job1/step": _NO_LIMIT}, 3),
        ("5:memory:/job1\n3:cpu:/\n", {"memory/job1": _OLD}, 3),
    ],
    ids=["no groups", "no limit", "nested, version 2", "version 1"],
)
def test_available_memory__checks_every_cgroup(
    tmp_path: Path, lines: str, groups: dict[str, dict[str, str]], free: int
) -> None:
    assert available_memory(*_machine(tmp_path, lines, groups)) == free * _GIB


def test_available_memory__of_this_machine_is_plausible() -> None:
    assert 0 < available_memory() < 1 << 50
