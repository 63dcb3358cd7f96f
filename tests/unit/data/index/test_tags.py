from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.descriptors import folders, write_descriptor
from tests.support.pairs import make_pairs, pairs_of, random_pair, write_pair
from yolofuse.errors import DataError


def test_tags__come_from_the_csv_by_stem(tmp_path: Path) -> None:
    tags = {"tags": {"file": "meta.csv", "key": "name", "columns": ["daynight"]}}
    (tmp_path / "meta.csv").write_text("name,daynight\ntrain_001,night\ntrain_000,day\n")
    descriptor = make_pairs(tmp_path, 2, 0, extra=tags)
    assert [record.tags["daynight"] for record in pairs_of(descriptor).records] == ["day", "night"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,weather\ntrain_000,fog\n", "no column daynight"),
        ("name,daynight\nother,day\n", "no row with name = train_000"),
        ("name,daynight\ntrain_000,day\ntrain_000,night\n", "is given twice"),
    ],
)
def test_tags__mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    tags = {"tags": {"file": "meta.csv", "key": "name", "columns": ["daynight"]}}
    (tmp_path / "meta.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        pairs_of(make_pairs(tmp_path, 1, 0, extra=tags))


def test_tags__a_bare_name_of_two_pairs_tags_neither(tmp_path: Path) -> None:
    for folder in ("set00", "set01"):
        write_pair(tmp_path, "train", f"{folder}/0001", random_pair(0))
    tags = {"file": "meta.csv", "key": "name", "columns": ["daynight"]}
    (tmp_path / "meta.csv").write_text("name,daynight\n0001,day\nset01/0001,night\n")
    with pytest.raises(DataError, match="no row with name = set00/0001"):
        pairs_of(write_descriptor(tmp_path, {"train": folders()}, tags=tags))
