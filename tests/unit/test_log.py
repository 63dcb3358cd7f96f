"""What a launcher's variables say, whole or in part."""

from __future__ import annotations

import pytest

from yolofuse.errors import ConfigError
from yolofuse.log import launched_ranks

_NAMES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_MASTER = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (1, 0, 0)),
        ({"RANK": "0"}, (1, 0, 0)),
        ({"WORLD_SIZE": "1", "RANK": "0"}, (1, 0, 0)),
        ({"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", **_MASTER}, (4, 3, 1)),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE without RANK, MASTER_ADDR, MASTER_PORT; start the processes with torchrun"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "without MASTER_ADDR, MASTER_PORT"),
        ({"RANK": "1"}, "RANK without WORLD_SIZE, MASTER_ADDR, MASTER_PORT; .* unset RANK"),
        ({"WORLD_SIZE": "two", "RANK": "-1"}, "WORLD_SIZE='two', RANK='-1': must be a number"),
        ({"WORLD_SIZE": "", "RANK": "0"}, "WORLD_SIZE='': must be a number"),
        ({"WORLD_SIZE": "2", "RANK": "2", **_MASTER}, "RANK=2 is not among WORLD_SIZE=2"),
        ({"WORLD_SIZE": "0"}, "RANK=0 is not among WORLD_SIZE=0"),
    ],
    ids=str,
)
def test_launched_ranks__whole_or_refused(
    given: dict[str, str], expected: tuple[int, int, int] | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in _NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    if isinstance(expected, str):
        with pytest.raises(ConfigError, match=expected):
            launched_ranks()
    else:
        assert launched_ranks() == expected
