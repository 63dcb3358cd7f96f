"""Rules for classes, and for day and night."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.support.check_splits import measured_split
from tests.support.pairs import make_pairs
from yolofuse.check.pair_stats import Split
from yolofuse.check.rules import class_balance
from yolofuse.check.rules.class_balance import LightCounts, check_classes, check_light, class_counts, light_tag

NAMES = ["person", "car", "dog"]


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Split, Split]:
    """Training with a person and a car, validation with a dog and a person; a fourth class is nowhere."""
    root = tmp_path_factory.mktemp("classes")
    descriptor = make_pairs(root, 2, 2, names=NAMES)
    descriptor.write_text(descriptor.read_text().replace("2: dog", "2: dog\n  3: cat"))
    return measured_split(descriptor, "train"), measured_split(descriptor, "val")


def test_check_classes__names_missing_and_rare_classes(splits: tuple[Split, Split]) -> None:
    train, val = splits
    assert class_counts(train).tolist() == [1, 1, 0, 0]
    found = {finding.kind: finding.text for finding in check_classes(train, [val])}
    assert list(found) == ["class-unseen", "class-unused", "class-untested", "class-rare"]
    assert found["class-unseen"].startswith("dog: in other splits, but never in train")
    assert found["class-unused"].startswith("cat: named by the descriptor")
    assert found["class-untested"].startswith("car: never in val")
    assert "person 1, car 1" in found["class-rare"]


@pytest.mark.parametrize(
    ("trained", "tested", "kinds"),
    [
        ({"day": 100}, {"day": 50, "night": 50}, ["light-unseen"]),
        ({"day": 90, "night": 10}, {"day": 10, "night": 90}, ["light-shift"]),
        ({"day": 50, "night": 50}, {"day": 60, "night": 40}, []),
        ({"day": 50, "night": 50}, {}, []),
    ],
    ids=["unseen", "shifted", "alike", "unknown"],
)
def test_check_light__compares_splits(
    splits: tuple[Split, Split], trained: dict[str, int], tested: dict[str, int], kinds: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    counts = {"train": LightCounts(Counter(trained)), "val": LightCounts(Counter(tested))}
    monkeypatch.setattr(class_balance, "count_light", lambda split: counts[split.name])
    findings = check_light(splits[0], [splits[1]])
    assert [finding.kind for finding in findings if finding.kind != "light"] == kinds
    assert [finding.where for finding in findings if finding.kind == "light"] == ["train", "val"][: 1 + bool(tested)]


def test_count_light__prefers_tags(tmp_path: Path) -> None:
    tags = {"file": "tags.csv", "key": "name", "columns": ["light"]}
    descriptor = make_pairs(tmp_path, 2, 0, extra={"tags": tags})
    (tmp_path / "tags.csv").write_text("name,light\ntrain_000,Day\ntrain_001,night\n")
    light = class_balance.count_light(measured_split(descriptor))
    assert light.counts == {"day": 1, "night": 1}
    assert light.estimated == {"night": 2}  # these images are dark
    assert (light.num_agreeing, light.source) == (1, "tags")
    assert light_tag({"scene": "s1", "light": "Night"}) == "night"
    assert light_tag({"scene": "s1"}) is None
