"""Whether a run may resume from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from yolofuse.config import Config
from yolofuse.config.load import flat_options, plain_config
from yolofuse.errors import RunError
from yolofuse.run.resume_check import check_resumable, code_fingerprint

_PATH = Path("last.pt")


def _config(**train: Any) -> Config:
    return Config.model_validate({"data": {"descriptor": "/data/path.yaml"}, "train": {"run": "runs/a", **train}})


def _content(**changes: Any) -> dict[str, Any]:
    return {"config": plain_config(_config()), "data_hash": "d", "code": code_fingerprint(), **changes}


def test_check_resumable__accepts_what_only_changes_where_and_how(tmp_path: Path) -> None:
    config = _config(run=str(tmp_path), keep=7, save_every=5)
    assert check_resumable(_PATH, _content(), config, "d") == []


@pytest.mark.parametrize(
    ("content", "config", "data_hash", "change"),
    [
        (_content(), _config(lr0=0.5), "d", r"train.lr0: \S+ when it was saved, 0.5 now"),
        (_content(), _config(), "other", "the training data changed"),
        (_content(code={"torch": "0.0"}), _config(), "d", "torch: 0.0 when it was saved"),
    ],
    ids=["config", "data", "code"],
)
def test_check_resumable__refuses_changes_unless_forced(
    content: dict[str, Any], config: Config, data_hash: str, change: str
) -> None:
    with pytest.raises(RunError, match=rf"last.pt: the run cannot resume exactly: 1 change\n  {change}"):
        check_resumable(_PATH, content, config, data_hash)
    assert len(check_resumable(_PATH, content, config, data_hash, force=True)) == 1


def test_flat_options__have_dotted_keys() -> None:
    options = flat_options(_config(epochs=3))
    assert options["train.epochs"] == 3
    assert not any(isinstance(value, dict) for value in options.values())
