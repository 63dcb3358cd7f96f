"""Validate a data set's YAML with pydantic: values, keys, and paths against the :class:`PathGuard` in the context."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from yolofuse.config.field_types import Section
from yolofuse.data.descriptor.path_guard import GLOB, PathGuard
from yolofuse.data.problems import is_text
from yolofuse.files import composed
from yolofuse.types import Modality, Orientation


def _expected(text: str) -> WrapValidator:
    """Replace all errors of a value by one that shows what it may look like."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            if value is not None:
                return handler(value)
        except ValidationError:
            pass
        raise ValueError(f"expected {text}")

    return WrapValidator(validate)


def _path(kind: Literal["folder", "file"]) -> BeforeValidator:
    """Resolve a path below the root; without a guard the root is wrong, and nothing below it can be checked."""

    def validate(value: object, info: ValidationInfo[PathGuard | None]) -> Path:
        return _resolve(kind, value, info)

    return BeforeValidator(validate)


def _resolve(kind: Literal["folder", "file"], value: object, info: ValidationInfo[PathGuard | None]) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected the path of a {kind}")
    return Path() if info.context is None else info.context.resolve(value, kind)


def _pattern(value: object, info: ValidationInfo[PathGuard | None]) -> Path:
    """Resolve a folder, or a pattern such as ``images/*_RGB.JPG``, which is returned below its folder."""
    if not isinstance(value, str) or "*" not in value:
        return _resolve("folder", value, info)
    folder, _, name = value.rpartition("/")
    if value.count("*") > 1 or "*" in folder:
        raise ValueError(
            "write one *, in the file's name: what it stands for is the same for RGB and IR; or the folder, whose "
            f"subfolders are read too: {GLOB.split(value)[0].rstrip('/') or '.'}"
        )
    return _resolve("folder", folder or ".", info) / name


def _places(value: object, info: ValidationInfo[PathGuard | None]) -> list[Path]:
    """Resolve a folder, a list of images (``.txt``), or several of them."""
    found = []
    for item in value if isinstance(value, list) and value else [value]:
        if not isinstance(item, str) or not item:
            raise ValueError("expected the path of a folder, of a .txt list of images, or several of them")
        is_list = item.lower().endswith(".txt") and "*" not in item
        found.append(_resolve("file", item, info) if is_list else _pattern(item, info))
    return found


def _increasing(values: list[float]) -> list[float]:
    if values[0] >= values[1]:
        raise ValueError("the lower one first")
    return values


def _invertible(rows: list[list[float]]) -> list[list[float]]:
    if rows[0][0] * rows[1][1] == rows[0][1] * rows[1][0]:
        raise ValueError("can't be inverted")
    return rows


def _list_of_names(value: object) -> object:
    """Return names that are given as ``{0: name, 1: name}`` as a list."""
    if not isinstance(value, dict):
        return value
    names = {int(key): name for key, name in value.items() if re.fullmatch(r"\d{1,9}", str(key))}  # 07 is text
    if len(names) < len(value) or set(names) != set(range(len(names))):
        raise ValueError(f"keys must be 0 .. {len(value) - 1} without gaps, as the numbers in labels are")
    return [names[index] for index in range(len(names))]


def _check_names(names: list[str]) -> list[str]:
    names = [*map(composed, names)]
    if len(set(names)) != len(names):
        raise ValueError("a name is given twice")
    if not all(map(is_text, names)):
        raise ValueError("names must be plain text")
    if len({"".join(name.split()) for name in names}) != len(names):
        raise ValueError("two names differ only by spaces")
    return names


def _check_splits(splits: object) -> dict[str, Any]:
    """Return splits by name; a name such as ``0`` is a number in YAML."""
    if not isinstance(splits, dict) or not splits:
        raise ValueError("expected {train: {rgb: , ir: , labels: }, ...}")
    named = {str(name): parts for name, parts in splits.items() if type(name) in (str, int)}
    if len(named) < len(splits) or not all(name and is_text(name) for name in named):
        raise ValueError("each split needs a name of its own, such as train")
    if any(name in {".", ".."} or set(name) & {"/", "\\"} for name in named):  # reports go to a folder of that name
        raise ValueError("a split's name must not be a path")
    return named


def _check_columns(columns: dict[str, str]) -> dict[str, str]:
    if len({*columns.values()}) < len(columns):
        raise ValueError("a column is named twice")
    return columns


_Column = Literal["rgb", "ir", "label", "split", "key", "tags"]
Folder = Annotated[Path | None, _path("folder")]  # None where the key is left out; null is refused
_FolderOrPattern = Annotated[Path | None, BeforeValidator(_pattern)]
File = Annotated[Path | None, _path("file")]
_Places = Annotated[list[Path] | None, BeforeValidator(_places)]
Text = Annotated[str, Field(min_length=1)]
_Number = Annotated[float, Field(gt=-1e15, lt=1e15)]
_Percent = Annotated[float, Field(ge=0, le=100)]
_Pair = Field(min_length=2, max_length=2)
_Row = Annotated[list[_Number], Field(min_length=3, max_length=3)]
_Matrix = Annotated[list[_Row], _Pair, AfterValidator(_invertible)]
_Counts = Annotated[list[_Number], _Pair, AfterValidator(_increasing)]
_Percents = Annotated[list[_Percent], _Pair, AfterValidator(_increasing)]
_Links = Annotated[list[Text], _expected("a list of folders that links may lead to")]
Names = Annotated[
    list[Text],
    Field(min_length=1),
    _expected("a list of class names, or {0: name, 1: name, ...}"),
    BeforeValidator(_list_of_names),
    AfterValidator(_check_names),
]


class _Section(Section):
    model_config = ConfigDict(validate_default=False)


class Affine(_Section):
    """``resize: {affine: [[a, b, c], [d, e, f]]}``."""

    affine: _Matrix


class Percentiles(_Section):
    """``ir_window: {percentiles: [low, high], split: train}``."""

    percentiles: _Percents
    split: Text = "train"


class Tags(_Section):
    """A CSV with one row per pair, see ``TagFile``."""

    file: Annotated[Path, _path("file")]
    key: Text
    columns: Annotated[list[str], Field(min_length=1)]


class Reading(_Section):
    """How pairs are read: given at the top for all sources, or at a source."""

    frame: Annotated[Modality, _expected("rgb or ir, whose pixels the labels are in")] = "rgb"
    resize: Annotated[
        Literal["equal", "stretch"] | Affine,
        _expected("equal, stretch or {affine: [[a, b, c], [d, e, f]]} that can be inverted"),
    ] = "equal"
    ir_window: Annotated[
        _Counts | Percentiles | None,
        _expected("[low, high] in counts as stored, or {percentiles: [0.5, 99.5], split: train}, the lower one first"),
    ] = None
    orientation: Annotated[
        Orientation, _expected("apply (images are read upright, as their EXIF says) or ignore (as they are stored)")
    ] = "apply"
    tags: Tags | None = None


class FolderSource(Reading):
    """Two folders of images, with labels in a third one or in a COCO file; a pattern says which files of a folder."""

    name: Text = ""
    rgb: _FolderOrPattern
    ir: _FolderOrPattern
    stacked: bool = False  # set by rgbir
    labels: _FolderOrPattern = None
    coco: File = None
    keys_file: File = Field(None, alias="list")


class ManifestSource(Reading):
    """A CSV or JSONL with a row per pair; ``columns`` names those that are called otherwise than ours."""

    name: Text = ""
    manifest: File
    columns: Annotated[dict[_Column, Text], AfterValidator(_check_columns)] = Field({})
    split: Text = ""
    coco: File = None


class Include(_Section):
    """A split of another descriptor; ``classes`` maps its names to ours, or to null to leave one out."""

    name: Text = ""
    descriptor: Text
    split: Text = ""
    root: Text = ""
    classes: dict[str, str | None] = Field({})


def _check_keys(given: object) -> object:
    """Refuse what is no source, or several kinds of source at once."""
    if not isinstance(given, dict) or not given:
        raise ValueError("expected {rgb: , ir: , labels: }, {manifest: } or {descriptor: , split: }")
    clash = [key for key in ("rgb", "ir", "labels", "list") if key in given]
    if "manifest" in given and clash:
        raise ValueError(f"{', '.join(clash)} and manifest exclude each other")
    if _kind_of(given) == "folders" and "split" in given:
        raise ValueError("split belongs to a manifest or a descriptor; for folders use list")
    if "rgbir" in given:
        if {"rgb", "ir", "manifest", "stacked"} & given.keys():
            raise ValueError("rgbir, whose files hold both images, excludes rgb, ir and manifest")
        both = given["rgbir"]
        given = {key: value for key, value in given.items() if key != "rgbir"} | {
            "rgb": both,
            "ir": both,
            "stacked": True,
        }
    if _kind_of(given) == "folders" and ("labels" in given) == ("coco" in given):
        raise ValueError("needs one of labels and coco; they exclude each other")
    return given


def _kind_of(source: dict[Any, Any]) -> str:
    return next((key for key in ("descriptor", "manifest") if key in source), "folders")


def _check_sources(sources: list[FolderSource | ManifestSource | Include]) -> list[Any]:
    _check_names([source.name or str(number) for number, source in enumerate(sources, start=1)])
    return sources


AnySource = Annotated[
    Annotated[FolderSource, Tag("folders")]
    | Annotated[ManifestSource, Tag("manifest")]
    | Annotated[Include, Tag("descriptor")],
    Discriminator(_kind_of),
    BeforeValidator(_check_keys),
]
Split = Annotated[
    Annotated[AnySource, Tag("one")]
    | Annotated[list[AnySource], Field(min_length=1), AfterValidator(_check_sources), Tag("several")],
    Discriminator(lambda value: "several" if isinstance(value, list) else "one"),
]


class NativeYaml(Reading):
    """The form with ``splits``."""

    root: Text = "."
    links: _Links = Field([])
    names: Names
    splits: Annotated[dict[str, Split], BeforeValidator(_check_splits)]


class FlatYaml(Reading):
    """The form of ultralytics; what it does not name is found, see ``FlatFolders``."""

    path: Text = "."
    links: _Links = Field([])
    names: Names
    nc: Any = None
    train: _Places = None
    train_ir: _Places = None
    train_labels: _Places = None
    val: _Places = None
    val_ir: _Places = None
    val_labels: _Places = None
    test: _Places = None
    test_ir: _Places = None
    test_labels: _Places = None
