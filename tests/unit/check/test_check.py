"""The whole check: options, splits that can't be read, counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.pairs import make_pairs
from yolofuse.check.check import CheckOptions, check_dataset
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.errors import ConfigError


def test_check_dataset__counts_every_split(tmp_path: Path) -> None:
    report = check_dataset(load_descriptor(make_pairs(tmp_path, 3, 2, names=["person", "car"])))
    assert report.splits == ("train", "val")
    assert {name: cells for name, *cells in report.counts} == {
        "readable pairs": ["3", "2"],
        "file problems": ["0", "0"],
        "pairs without a box": ["0", "0"],
        "boxes": ["3", "2"],
        "  person": ["2", "1"],
        "  car": ["1", "1"],
    }
    assert report.sizes == ("96x64", "96x64")
    assert [chart.name for chart in report.charts][:3] == ["classes", "box-sizes", "light"]


def test_check_dataset__a_split_without_a_readable_pair_is_a_finding(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 2, 2)
    for file in (tmp_path / "rgb" / "val").iterdir():
        file.write_bytes(b"no image")
    report = check_dataset(load_descriptor(descriptor))
    assert not report.may_train
    assert [finding.where for finding in report.findings if finding.kind == "unusable"] == ["val"]


def test_check_options__all_wrong_values_are_reported_at_once() -> None:
    with pytest.raises(ConfigError, match=r"2 wrong values\n.*--sample: .*got 0.*\n.*--workers: .*got -1"):
        CheckOptions(sample=0, workers=-1)
