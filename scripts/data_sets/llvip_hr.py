"""Build llvip-hr, the night pairs at full size in the repository of LLVIP's authors, with its person boxes.

    python -m scripts.data_sets.llvip_hr --src LLVIP --boxes val.json train.json --out llvip-hr

docs/real-data.md has the commits; the boxes are those of llvip-256.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.data_sets.layout import LabelledPair, command, write_set
from scripts.data_sets.llvip_256 import BOXES, TAGS, read_labels
from yolofuse.convert.output_folder import check_output
from yolofuse.convert.source_folder import SourceFolder

_SPLITS = {  # scene 20 is held out: no table uses it
    **{f"01{frame:04d}": "train" for frame in range(1, 31)},
    **{f"19{frame:04d}": "val" for frame in range(1, 7)},
}


def build(src: Path, boxes: Sequence[Path], out: Path) -> None:
    """Make the folder ``out``; the images are copied byte by byte.

    Raises:
        DataError: With every missing or wrong file.
    """
    source = SourceFolder(src)
    target = check_output(out, source.folders)
    rgb, ir = ({name: source.find_file(_place(name, camera)) for name in _SPLITS} for camera in ("vi", "ir"))
    labels = read_labels(source, boxes, _SPLITS)
    source.check()
    pairs = (
        LabelledPair(split, name, rgb_file.read_bytes(), ir_file.read_bytes(), labels[name], TAGS)
        for name, split in _SPLITS.items()
        if (rgb_file := rgb[name]) and (ir_file := ir[name])
    )
    write_set("llvip-hr", target, pairs, len(_SPLITS))


def _place(name: str, camera: str) -> str:
    """Return where the repository has an image."""
    if name == "010001":
        return f"imagefusion_densefuse/datasets/{name}_{camera}.jpg"
    return f"FusionGAN/{'Train' if name.startswith('01') else 'Test'}_LLVIP_{camera}/{name}.jpg"


if __name__ == "__main__":
    sys.exit(command(__doc__, build, BOXES))
