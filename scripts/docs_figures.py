"""Draw docs/check.png (what `check` shows of a pair whose thermal image was moved) and docs/fusion-levels.svg.

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

_DOCS = Path(__file__).resolve().parents[1] / "docs"
_SHIFT = (14.0, -9.0)  # px, x and y

_STAGES = ("image", "stem", "backbone", "neck", "head", "boxes")
_LEVELS = (  # name of the cut, stages that each camera has to itself, what is fused
    ("input", 1, "R, G, B, IR"),
    ("early", 2, "P2"),
    ("mid", 3, "P3, P4, P5"),
    ("late", 4, "the head's maps"),
    ("decision", 5, "boxes"),
)
_RGB, _IR, _BOTH = "#c2410c", "#6d28d9", "#166534"  # white text is readable on each
_LEFT, _COLUMN, _ROW, _BOX = 96, 112, 84, (84, 24)  # px: names, pitch of stages and levels, size of a box


def fusion_levels() -> str:
    """Return the drawing of docs/fusion-levels.md: each cut as two streams that become one."""
    width, height = _LEFT + len(_STAGES) * _COLUMN, 30 + len(_LEVELS) * _ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        ' font-family="sans-serif" font-size="13">',
        "<title>Where two streams become one, by model.cut</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for row, (cut, count, fused) in enumerate(_LEVELS):
        middle = 62 + row * _ROW
        parts.append(f'<text x="10" y="{middle + 4}" font-weight="bold" fill="#111">{cut}</text>')
        for stream, y in ((_RGB, middle - 17), (_IR, middle + 17)):
            parts += [
                _box(stage, y, stream, ("RGB", "IR")[stream == _IR] if not stage else "") for stage in range(count)
            ]
            end = _LEFT + count * _COLUMN - (_COLUMN - _BOX[0])
            parts.append(f'<path d="M{end} {y}L{end + 12} {middle}" stroke="{stream}" stroke-width="2"/>')
        parts += [_box(stage, middle, _BOTH) for stage in range(count, len(_STAGES))]
        x = _LEFT + count * _COLUMN - (_COLUMN - _BOX[0]) / 2
        parts.append(f'<circle cx="{x}" cy="{middle}" r="8" fill="#111"/>')
        parts.append(f'<text x="{x}" y="{middle - 32}" font-size="11" text-anchor="middle" fill="#111">{fused}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _box(stage: int, y: int, fill: str, name: str = "") -> str:
    x = _LEFT + stage * _COLUMN
    return (
        f'<rect x="{x}" y="{y - _BOX[1] // 2}" width="{_BOX[0]}" height="{_BOX[1]}" rx="4" fill="{fill}"/>'
        f'<text x="{x + _BOX[0] // 2}" y="{y + 5}" text-anchor="middle" fill="#fff">{name or _STAGES[stage]}</text>'
    )


def main() -> None:
    """Draw both; for the first, generate a pair, move its thermal image and estimate the shift."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    (_DOCS / "fusion-levels.svg").write_text(fusion_levels())
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
        cv2.imwrite(str(_DOCS / "check.png"), draw_shift(record, shift).pixels)


if __name__ == "__main__":
    main()
