"""Image bombs: the header is read before any memory is taken for pixels."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import attacks
from tests.support.pairs import make_pairs, pairs_of
from tests.support.runs import write_config
from yolofuse.data.images.decode import MAX_PIXELS, inspect_image
from yolofuse.data.images.read_pair import read_pair
from yolofuse.errors import DataError

# What a command may take beyond what it takes on a small broken image; the bombs would take gigabytes.
_ALLOWED_MIB = 200
_MEASURED = """
import importlib, resource, sys
command = importlib.import_module(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
code = command.main(sys.argv[2:])
print(code, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def _measured(*words: str) -> tuple[int, int, str]:
    """Exit code of a command, by how many MiB its memory grew at most, and what it said."""
    done = attacks.run("-c", _MEASURED, *words)
    assert done.returncode == 0, done.stderr
    code, grown = map(int, done.stdout.splitlines()[-1].split())
    return code, grown, done.stdout + done.stderr


@pytest.mark.parametrize("modality", ["rgb", "ir"])
def test_png_bomb__stops_training_before_it_takes_memory(tmp_path: Path, modality: str) -> None:
    descriptor = make_pairs(tmp_path / "data", 2, 1)
    bomb = attacks.png_bomb()
    assert len(bomb) < 1 << 20
    (tmp_path / "data" / modality / "train" / "train_001.png").write_bytes(bomb)
    config = write_config(tmp_path, descriptor)
    code, grown, said = _measured("yolofuse.cli.train", "--cfg", str(config))
    assert code == 2
    assert "900000000 pixels is more than 100 million pixels; cut it into tiles" in said
    assert grown < _ALLOWED_MIB


def test_png_bomb__check_tells_it_and_takes_no_memory(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path / "data", 3, 1)
    (tmp_path / "data" / "ir" / "train" / "train_001.png").write_bytes(attacks.png_bomb())
    words = ("check", "--data", str(descriptor), "--out", str(tmp_path / "report"))
    code, grown, said = _measured("yolofuse.cli.data", *words)
    assert code == 1  # findings
    assert "100 million pixels" in said
    assert grown < _ALLOWED_MIB


def test_png_bomb__prepare_tells_it_and_takes_no_memory(tmp_path: Path) -> None:
    make_pairs(tmp_path / "src", 3, 1)
    (tmp_path / "src" / "rgb" / "train" / "train_001.png").write_bytes(attacks.png_bomb())
    folders = ("--rgb", "rgb/{split}", "--ir", "ir/{split}", "--labels", "labels/{split}", "--splits", "train,val")
    words = ("prepare", "yolo", "--src", str(tmp_path / "src"), "--out", str(tmp_path / "out"), "--classes", "person")
    code, grown, said = _measured("yolofuse.cli.data", *words, *folders)
    assert code == 2
    assert "100 million pixels" in said
    assert grown < _ALLOWED_MIB


_LIARS: dict[str, Callable[[], bytes]] = {
    "x.jpg": lambda: attacks.lying_jpeg(65_000),
    "x.bmp": lambda: attacks.lying_bmp(40_000),
    "x.tif": lambda: attacks.lying_tiff(60_000),
    "x.webp": lambda: attacks.lying_webp(16_384),
}


@pytest.mark.parametrize("name", _LIARS)
@pytest.mark.parametrize("verify", [True, False])
def test_header__that_claims_too_much_is_refused(tmp_path: Path, name: str, verify: bool) -> None:
    (tmp_path / name).write_bytes(_LIARS[name]())
    with pytest.raises(DataError, match=r"million pixels|damaged"):
        inspect_image(tmp_path / name, verify)


def test_limit__is_one_for_header_and_decoder() -> None:
    assert int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"]) == MAX_PIXELS


def test_limit__holds_in_the_decoder_itself(tmp_path: Path) -> None:
    """Should a header deceive PIL, OpenCV has a limit of its own, which must be set before its import."""
    (tmp_path / "bomb.png").write_bytes(attacks.png_bomb())
    code = "import sys, yolofuse, cv2, numpy\ntry:\n print(cv2.imdecode(numpy.fromfile(sys.argv[1], numpy.uint8), 1))\n"
    code += "except cv2.error as error:\n print('refused', error)\n"
    done = attacks.run("-c", code, str(tmp_path / "bomb.png"))
    assert done.returncode == 0, done.stderr
    assert "refused" in done.stdout or done.stdout.strip() == "None"


@pytest.mark.parametrize("modality", ["rgb", "ir"])
def test_bomb__put_in_place_after_pairing_is_not_decoded(tmp_path: Path, modality: str) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 1, 0))
    (tmp_path / modality / "train" / "train_000.png").write_bytes(attacks.png_bomb(9_000))  # below the limit
    with pytest.raises(DataError, match="its size changed since it was paired"):
        read_pair(pairs.records[0])
