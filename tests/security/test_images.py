"""Test image bombs: the header is checked before memory is allocated for pixels."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import attacks
from tests.support.pairs import make_pairs, pairs_of
from tests.support.runs import write_config
from yolofuse.data.images.decode import inspect_image
from yolofuse.data.images.header import MAX_PIXELS
from yolofuse.data.images.read_pair import read_pair
from yolofuse.errors import DataError

# Allowed growth of a command's peak memory; the bombs would need gigabytes.
_MAX_GROWTH_MIB = 200
_MEASURE = """
import importlib, resource, sys
command = importlib.import_module(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
code = command.main(sys.argv[2:])
print(code, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def _run_measured(*arguments: str) -> tuple[int, int, str]:
    """Run a command; return its exit code, the growth of its peak memory in MiB, and its output."""
    done = attacks.run("-c", _MEASURE, *arguments)
    assert done.returncode == 0, done.stderr
    code, growth = map(int, done.stdout.splitlines()[-1].split())
    return code, growth, done.stdout + done.stderr


@pytest.mark.parametrize("modality", ["rgb", "ir"])
def test_png_bomb__stops_training_before_memory_is_allocated(tmp_path: Path, modality: str) -> None:
    descriptor = make_pairs(tmp_path / "data", 2, 1)
    bomb = attacks.png_bomb()
    assert len(bomb) < 1 << 20
    (tmp_path / "data" / modality / "train" / "train_001.png").write_bytes(bomb)
    config = write_config(tmp_path, descriptor)
    code, growth, output = _run_measured("yolofuse.cli.train", "--cfg", str(config))
    assert code == 2
    assert "900000000 pixels is more than 100 million pixels; cut it into tiles" in output
    assert growth < _MAX_GROWTH_MIB


def test_png_bomb__is_reported_by_check_without_decoding(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path / "data", 3, 1)
    (tmp_path / "data" / "ir" / "train" / "train_001.png").write_bytes(attacks.png_bomb())
    arguments = ("check", "--data", str(descriptor), "--out", str(tmp_path / "report"))
    code, growth, output = _run_measured("yolofuse.cli.data", *arguments)
    assert code == 1  # findings
    assert "100 million pixels" in output
    assert growth < _MAX_GROWTH_MIB


def test_png_bomb__is_reported_by_prepare_without_decoding(tmp_path: Path) -> None:
    make_pairs(tmp_path / "src", 3, 1)
    (tmp_path / "src" / "rgb" / "train" / "train_001.png").write_bytes(attacks.png_bomb())
    folders = ("--rgb", "rgb/{split}", "--ir", "ir/{split}", "--labels", "labels/{split}", "--splits", "train,val")
    arguments = ("prepare", "yolo", "--src", str(tmp_path / "src"), "--out", str(tmp_path / "out"))
    code, growth, output = _run_measured("yolofuse.cli.data", *arguments, *folders, "--classes", "person")
    assert code == 2
    assert "100 million pixels" in output
    assert growth < _MAX_GROWTH_MIB


_FALSE_HEADERS: dict[str, Callable[[], bytes]] = {
    "x.jpg": lambda: attacks.oversized_jpeg(65_000),
    "x.bmp": lambda: attacks.oversized_bmp(40_000),
    "x.tif": lambda: attacks.oversized_tiff(60_000),
    "x.webp": lambda: attacks.oversized_webp(16_384),
}


@pytest.mark.parametrize("name", _FALSE_HEADERS)
@pytest.mark.parametrize("verify", [True, False])
def test_header__that_claims_too_much_is_refused(tmp_path: Path, name: str, verify: bool) -> None:
    (tmp_path / name).write_bytes(_FALSE_HEADERS[name]())
    with pytest.raises(DataError, match=r"million pixels|damaged"):
        inspect_image(tmp_path / name, verify)


def test_limit__is_the_same_for_header_and_decoder() -> None:
    assert int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"]) == MAX_PIXELS


def test_limit__holds_in_the_decoder_itself(tmp_path: Path) -> None:
    """If a header deceives PIL, OpenCV's own limit applies, which must be set before its import."""
    (tmp_path / "bomb.png").write_bytes(attacks.png_bomb())
    code = "import sys, yolofuse, cv2, numpy\ntry:\n print(cv2.imdecode(numpy.fromfile(sys.argv[1], numpy.uint8), 1))\n"
    code += "except cv2.error as error:\n print('refused', error)\n"
    done = attacks.run("-c", code, str(tmp_path / "bomb.png"))
    assert done.returncode == 0, done.stderr
    assert "refused" in done.stdout or done.stdout.strip() == "None"


@pytest.mark.parametrize("modality", ["rgb", "ir"])
def test_bomb__planted_after_pairing_is_not_decoded(tmp_path: Path, modality: str) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 1, 0))
    (tmp_path / modality / "train" / "train_000.png").write_bytes(attacks.png_bomb(9_000))  # below the limit
    with pytest.raises(DataError, match="its size changed since it was paired"):
        read_pair(pairs.records[0])
