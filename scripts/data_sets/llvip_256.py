"""Build llvip-256, night pairs of LLVIP squeezed to 256 x 256 with its person boxes; docs/real-data.md has the commits.

    python -m scripts.data_sets.llvip_256 --src pix2pix --boxes val.json train.json --out llvip-256

The images are the halves of pix2pix's AB pictures, the visible one on the left. The boxes, in pixels at full size, are
COCO files of LLVIP's test part (DAMSDet's val.json, scene 19) and train part (HR-DETR's train.json, scenes 01 and 02).
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from scripts.data_sets.layout import LabelledPair, choose, command, label_lines, write_set
from yolofuse.convert.coco_json import read_coco
from yolofuse.convert.conversion_plan import ImageLabels, SourceBox
from yolofuse.convert.output_folder import check_output
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.data.images.header import DECODE_ERRORS, open_image
from yolofuse.errors import DataError

BOXES = "COCO files of LLVIP: DAMSDet's val.json and HR-DETR's train.json"
TAGS = {"daynight": "night"}
_FULL_WH = (1280, 1024)
_SIDE = 256
_FOLDERS = ("datasets/images/train", "datasets/images/test")


def build(src: Path, boxes: Sequence[Path], out: Path) -> None:
    """Make the folder ``out``.

    Raises:
        DataError: With every missing or wrong file.
    """
    source = SourceFolder(src)
    target = check_output(out, source.folders)
    folders = [source.find_folder(name) for name in _FOLDERS]
    images = {name: path for folder in folders if folder for name, path in source.images(folder).items()}
    splits = choose(source, images, split_of)
    labels = read_labels(source, boxes, splits)
    source.check()
    pairs = (LabelledPair(split, name, *cut(images[name]), labels[name], TAGS) for name, split in splits.items())
    write_set("llvip-256", target, pairs, len(splits))


def split_of(name: str) -> str | None:
    """Return the split of a frame: train is scene 19 and 55 frames of scene 01, val 85 frames of scene 02."""
    scene, frame = name[:2], name[2:]
    if scene == "19" or (scene == "01" and "0001" <= frame <= "0055"):
        return "train"
    return "val" if scene == "02" and "0316" <= frame <= "0400" else None


def read_labels(source: SourceFolder, files: Sequence[Path], names: Iterable[str]) -> Mapping[str, str]:
    """Return the label lines of each frame; a frame without labels, or of another size, is a problem of the source."""
    found: dict[str, ImageLabels] = {}
    for file in files:
        found |= {labels.stem: labels for labels in read_coco(source, file).images}
    lines = {}
    for name in names:
        labels = found.get(name, ImageLabels())
        if labels.size_wh != _FULL_WH:
            source.problems.append(f"{name}: not of {_FULL_WH} px in --boxes (got {labels.size_wh}); name both files")
        boxes = [SourceBox(0, obj.xyxy, obj.where) for obj in labels.objects if obj.xyxy]
        lines[name] = label_lines(boxes, _FULL_WH[::-1])
    return lines


def cut(path: Path) -> tuple[bytes, bytes]:
    """Return the visible and the thermal half of an AB picture as JPEGs, the thermal one with three equal channels.

    Raises:
        DataError: If it can't be decoded, or is not 512 x 256.
    """
    try:
        with open_image(path) as image:
            both = image.convert("RGB")
    except DECODE_ERRORS as error:
        raise DataError(f"{path}: can't be decoded ({error}); check out the commit again") from None
    if both.size != (2 * _SIDE, _SIDE):
        raise DataError(f"{path}: expected {2 * _SIDE}x{_SIDE} px (got {both.size}); is it the right commit?")
    rgb, ir = (both.crop((x, 0, x + _SIDE, _SIDE)) for x in (0, _SIDE))
    return _jpeg(rgb), _jpeg(ir.convert("L").convert("RGB"))


def _jpeg(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95, subsampling=0)  # 4:4:4
    return stream.getvalue()


if __name__ == "__main__":
    sys.exit(command(__doc__, build, BOXES))
