"""The choice of val: whole groups nearest to a share, or a share by hash."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.convert_trees import only_problem
from yolofuse.convert.source_folder import ImagePair, SourceFolder
from yolofuse.convert.val_split import choose_by_hash, choose_groups, split_by_hash


@pytest.mark.parametrize(
    ("sizes", "share", "wanted"),
    [
        ({"01": 60, "02": 10, "03": 30}, 0.1, ("02",)),
        ({"01": 50, "02": 4, "03": 6, "04": 40}, 0.1, ("02", "03")),
        ({"01": 10, "02": 10, "03": 80}, 0.1, ("01",)),  # equal: first in order
        ({"01": 80, "02": 10, "03": 4, "04": 6}, 0.1, ("02",)),  # equal: fewest groups
        ({"01": 99, "02": 1}, 0.1, ("02",)),
        ({"01": 50, "02": 50}, 0.1, ("01",)),
        ({"01": 7}, 0.1, ()),
        ({}, 0.1, ()),
    ],
)
def test_groups__nearest_to_the_share(sizes: dict[str, int], share: float, wanted: tuple[str, ...]) -> None:
    assert choose_groups(sizes, share) == wanted


def test_hash_split__does_not_depend_on_order_and_grows_with_the_share() -> None:
    keys = [f"{number:05d}" for number in range(100)]
    small = choose_by_hash(keys, 0, 0.2)
    assert len(small) == 20
    assert small == choose_by_hash(keys[::-1], 0, 0.2)
    assert small < choose_by_hash(keys, 0, 0.3)
    assert small != choose_by_hash(keys, 1, 0.2)


def test_hash_split__is_the_published_rule() -> None:
    # SHA-256 of 0:00000 begins with 50, of 0:00001 with 90, of 0:00002 with c7
    assert choose_by_hash(["00002", "00001", "00000"], 0, 0.34) == {"00000"}


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_split_by_hash__a_share_out_of_bounds_is_a_problem(tmp_path: Path, share: float) -> None:
    source = SourceFolder(tmp_path)
    split_by_hash(source, [ImagePair(key, tmp_path, tmp_path) for key in "abc"], 0, share)
    assert only_problem(source) == f"--val-share: must lie between 0 and 1 (got {share})"


@pytest.mark.parametrize(
    ("number", "share", "num_val"), [(3, 0.1, 1), (3, 0.9, 2), (2, 0.01, 1), (2, 0.5, 1), (3, 0.67, 2), (0, 0.1, 0)]
)
def test_split_by_hash__neither_split_is_empty(tmp_path: Path, number: int, share: float, num_val: int) -> None:
    source = SourceFolder(tmp_path)
    train, val = split_by_hash(source, [ImagePair(key, tmp_path, tmp_path) for key in "abc"[:number]], 0, share)
    assert (len(train[1]), len(val[1])) == (number - num_val, num_val)
    assert not source.problems


def test_split_by_hash__one_pair_is_a_problem(tmp_path: Path) -> None:
    source = SourceFolder(tmp_path)
    split_by_hash(source, [ImagePair("a", tmp_path, tmp_path)], 0, 0.5)
    assert "one pair can't be divided" in only_problem(source)
