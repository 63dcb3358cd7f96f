"""Whether a run may resume from a checkpoint."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from yolofuse.config import Config
from yolofuse.config.load import flat_options, plain_config
from yolofuse.errors import RunError
from yolofuse.run.resume_check import (
    check_resumable,
    code_fingerprint,
    machine_record,
    report_versions,
    restore_threads,
)
from yolofuse.types import PairFormat

_PATH = Path("last.pt")


def _config(**train: Any) -> Config:
    return Config.model_validate({"data": {"descriptor": "/data/path.yaml"}, "train": {"run": "runs/a", **train}})


def _content(**changes: Any) -> dict[str, Any]:
    return {"config": plain_config(_config()), **_data(), "code": code_fingerprint(), **changes}


def _data(**changes: Any) -> dict[str, Any]:
    others = {"training images": "i", "validation split": "v", "validation images": "w"}
    formats = {key: [asdict(changes.pop(key, PairFormat()))] for key in ("formats", "val_formats")}
    names = changes.pop("names", ["person", "car"])
    hashes = {"data_hash": changes.pop("data_hash", "d"), "data_hashes": {**others, **changes}}
    return {**hashes, **formats, "names": names}


def test_check_resumable__accepts_what_only_changes_where_and_how(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = _config(run=str(tmp_path), keep=7, save_every=5)
    assert check_resumable(_PATH, _content(), config, _data()) == []
    assert not caplog.records


@pytest.mark.parametrize(
    ("content", "config", "data", "change"),
    [
        (_content(), _config(lr0=0.5), _data(), r"train.lr0: \S+ when it was saved, 0.5 now"),
        (_content(), _config(), _data(data_hash="other"), "the training data changed"),
        (_content(), _config(), _data(**{"training images": "other"}), "the training images changed"),
        (_content(), _config(), _data(**{"validation split": "other"}), "the validation split changed"),
        (_content(), _config(), _data(**{"validation images": "other"}), "the validation images changed"),
        (
            _content(),
            _config(),
            _data(names=["car", "person"]),
            "names: person, car when it was saved, car, person now",
        ),
        (
            {**_content(), **_data(formats=PairFormat(ir_window=(3000, 13200)))},
            _config(),
            _data(formats=PairFormat(ir_window=(0, 65535))),
            r"training images are read otherwise: ir_window: \[3000.0, 13200.0\] when it was saved, \[0.0,",
        ),
        (
            _content(),
            _config(),
            _data(val_formats=PairFormat(affine=(1, 0, 20, 0, 1, 10))),
            r"validation images are read otherwise: affine: None when it was saved, \[1.0, 0.0, 20.0, 0.0, 1.0, 10.0\]",
        ),
        (
            _content(),
            _config(),
            _data(formats=PairFormat(frame="ir")),
            "training images are read otherwise: frame: rgb when it was saved, ir now",
        ),
        (
            _content(),
            _config(),
            _data(formats=PairFormat(orientation="ignore")),
            "training images are read otherwise: orientation: apply when it was saved, ignore now",
        ),
        (_content(code={"torch": "0.0"}), _config(), _data(), "torch: 0.0 when it was saved"),
    ],
    ids=["config", "data", "images", "val", "val images", "names", "window", "affine", "frame", "orientation", "code"],
)
def test_check_resumable__refuses_changes_unless_forced(
    content: dict[str, Any], config: Config, data: dict[str, Any], change: str
) -> None:
    with pytest.raises(RunError, match=rf"last.pt: the run cannot resume exactly: 1 change\n  {change}"):
        check_resumable(_PATH, content, config, data)
    assert len(check_resumable(_PATH, content, config, data, force=True)) == 1


@pytest.mark.parametrize(
    ("content", "data", "message"),
    [
        ({"data_hash": "d"}, _data(), "is of an older version and does not record the validation split"),
        ({"data_hash": "d"}, _data(), "does not record how the training images were read (ir_window,"),
        (_data(), _data(**{"training images": ""}), "the training images can't be compared"),
    ],
    ids=["old", "old formats", "not verified"],
)
def test_check_resumable__says_what_it_cannot_compare(
    content: dict[str, Any], data: dict[str, Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert check_resumable(_PATH, {"config": plain_config(_config()), **content}, _config(), data) == []
    assert message in caplog.text


def test_report_versions__names_other_libraries_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    device = torch.device("cpu")
    saved = machine_record(device)
    report_versions({"machine": saved}, device)
    report_versions({}, device)  # of an older version
    assert not caplog.records
    report_versions({"machine": {"versions": {**saved["versions"], "numpy": "1.0", "opencv": "3.0"}}}, device)
    (record,) = caplog.records
    assert re.search(r"saved with numpy 1.0, now \S+; opencv 3.0, now \S+: the result may differ", record.message)


def test_restore_threads__takes_the_number_of_the_checkpoint() -> None:
    before = torch.get_num_threads()
    try:
        restore_threads({"machine": {"threads": before + 1}})
        assert torch.get_num_threads() == before + 1
        restore_threads({})
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_flat_options__have_dotted_keys() -> None:
    options = flat_options(_config(epochs=3))
    assert options["train.epochs"] == 3
    assert not any(isinstance(value, dict) for value in options.values())
