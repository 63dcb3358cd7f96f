"""Draw docs/check.png: the image of `check` for a generated pair whose thermal image was moved.

    python -m scripts.docs_figures

docs/probe.png and docs/probe_vanishing.png are outputs of `yolofuse probe`; see docs/initialisation.md.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np

from yolofuse.check.finding_images import draw_shift
from yolofuse.check.measure_shift import estimate_shift
from yolofuse.data import load_descriptor, load_pairs
from yolofuse.data.images.decode import decode
from yolofuse.synth import generate

_OUT = Path(__file__).resolve().parents[1] / "docs" / "check.png"
_SHIFT = (14.0, -9.0)  # px, x and y


def main() -> None:
    """Generate a pair, move its thermal image, estimate the shift and draw it."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "data"
        descriptor = load_descriptor(generate(root, num_train=8, num_val=1, seed=3, size_hw=(384, 512)))
        record = load_pairs(descriptor, "train", cache_dir=Path(scratch)).records[2]
        ir = decode(record.ir, "ir", 1, record.ir_hw)
        translation = np.array([[1, 0, _SHIFT[0]], [0, 1, _SHIFT[1]]], np.float32)
        size_wh = (record.ir_hw[1], record.ir_hw[0])
        moved = np.asarray(cv2.warpAffine(ir, translation, size_wh, borderMode=cv2.BORDER_REFLECT), np.uint8)
        record.ir.unlink()
        cv2.imwrite(str(record.ir), moved)
        luma = np.asarray(cv2.cvtColor(decode(record.rgb, "rgb", 1, record.rgb_hw), cv2.COLOR_BGR2GRAY), np.uint8)
        shift = estimate_shift(luma, moved)
        print(f"moved by {_SHIFT}, measured ({shift.dx:.1f}, {shift.dy:.1f})")
        cv2.imwrite(str(_OUT), draw_shift(record, shift).pixels)


if __name__ == "__main__":
    main()
