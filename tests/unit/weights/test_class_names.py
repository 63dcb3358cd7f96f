"""Matching of a data set's classes with those of a file of weights."""

from __future__ import annotations

import pytest

from yolofuse.errors import ConfigError
from yolofuse.weights.class_names import CLASS_ALIASES, match_classes

_COCO = ("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light")


@pytest.mark.parametrize(
    ("name", "source", "kind"),
    [
        ("person", "person", "name"),
        ("Person ", "person", "name"),
        ("People", "person", "alias"),  # M3FD
        ("pedestrian", "person", "alias"),
        ("Car", "car", "name"),
        ("Motorcycle", "motorcycle", "name"),
        ("motorbike", "motorcycle", "alias"),
        ("bike", "bicycle", "alias"),  # FLIR
        ("motor", "motorcycle", "alias"),  # FLIR
        ("light", "traffic light", "alias"),  # FLIR
        ("traffic_light", "traffic light", "name"),
        ("freight car", "truck", "alias"),  # DroneVehicle
        ("freight_car", "truck", "alias"),
        ("pickup", "truck", "alias"),  # VEDAI
        ("plane", "airplane", "alias"),  # VEDAI
        ("Lamp", None, "new"),
        ("cyclist", None, "new"),  # KAIST: a person on a bicycle, which COCO labels as two
    ],
)
def test_match__by_name_and_alias(name: str, source: str | None, kind: str) -> None:
    (match,) = match_classes([name], _COCO)
    assert (match.source, match.kind) == (source, kind)
    assert match.row == (None if source is None else _COCO.index(source))


def test_match__own_name_goes_before_an_alias() -> None:
    people, person = match_classes(["people", "person"], ("person", "people"))
    assert (people.row, person.row) == (1, 0)


def test_class_map__adds_to_the_aliases_and_overrides_names() -> None:
    found = match_classes(["van", "car", "bus"], _COCO, {"Van": "car", "car": ""})
    assert [(m.row, m.kind) for m in found] == [(2, "class_map"), (None, "new"), (5, "name")]


@pytest.mark.parametrize(
    ("class_map", "message"),
    [
        ({"vam": "car"}, "vam: no class of the data; did you mean van"),
        ({"van": "cr"}, "no class 'cr'; did you mean car"),
    ],
)
def test_class_map__with_an_unknown_name_is_refused(class_map: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        match_classes(["van"], _COCO, class_map)


def test_aliases__name_no_class_twice() -> None:
    names = [name for group in CLASS_ALIASES for name in group]
    assert len(names) == len(set(names))
    assert all(name == " ".join(name.casefold().split()) for name in names)
