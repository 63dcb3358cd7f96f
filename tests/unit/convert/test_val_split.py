"""The choice of val: whole groups nearest to a share, or a share by hash."""

from __future__ import annotations

import pytest

from yolofuse.convert.val_split import choose_by_hash, choose_groups


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
