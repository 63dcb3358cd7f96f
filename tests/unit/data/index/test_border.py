from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.pairs import make_pairs, pairs_of

_CORNERS = ["0 0.1 0.2 0.4 0.5", "0 0.6 0.1 0.9 0.3"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (_CORNERS, "2 of 3 boxes reach more than 1.5 px over the border of their image, and all fit as corners: are"),
        ([*_CORNERS, "0 0.5 0.5 0.2 0.2"], "2 of 4 boxes reach more than 1.5 px over the border of their image; the"),
        (["0 0.49 0.5 1 0.2"], ""),  # by less than 1.5 px
        ([f"0 0.5 0.5 0.2 0.{n:03d}" for n in range(1, 20)] + ["0 0.9 0.5 0.4 0.2"], ""),  # one of 21
    ],
)
def test_load_pairs__boxes_over_the_border_are_counted_where_many(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, lines: list[str], told: str
) -> None:
    descriptor = make_pairs(tmp_path, 2, 0)
    for name, text in (("train_000", "0 0.2 0.2 0.3 0.3"), ("train_001", "\n".join(lines))):
        (tmp_path / "labels" / "train" / f"{name}.txt").write_text(text)
    for _ in ("read", "from the cache"):
        caplog.clear()
        pairs_of(descriptor)
        assert told in caplog.text
        assert ("over the border" in caplog.text) == bool(told)
