"""The Python API: what the commands do, as functions, and the input that a user makes equals validation's."""

from __future__ import annotations

import json
import logging
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import yolofuse
from tests.support.pairs import make_pairs, save_stored
from tests.support.runs import write_config
from yolofuse.data import EvalDataset, load_descriptor, load_pairs
from yolofuse.engine.loaded_detector import LoadedDetector
from yolofuse.errors import ConfigError, DataError, RunError, WeightsError
from yolofuse.types import PairFormat

SHORT = {"epochs": 1, "imgsz": 64, "augment": {"mosaic": 0.0}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("api")
    config = write_config(root, make_pairs(root, 4, 3, names=("person", "car")), train=SHORT)
    return yolofuse.train(config, val={"conf": 0.0001})


@pytest.fixture(scope="module")
def loaded(run: Path) -> LoadedDetector:
    return yolofuse.load_detector(run, "cpu")


def _files(root: Path, number: int) -> tuple[Path, Path]:
    name = f"val_{number:03d}.png"
    return root / "rgb/val" / name, root / "ir/val" / name


def test_evaluate__gives_the_report_that_it_writes(run: Path) -> None:
    outcome = yolofuse.evaluate(run, val={"iou": 0.6})
    assert outcome is not None
    written = json.loads((run / "eval-val" / "report.json").read_text())
    assert written["AP"] == outcome.report.result.metrics()["AP"]
    assert written["settings"]["nms"] == "IoU 0.6"
    elsewhere = yolofuse.evaluate(run / "weights" / "best.pt", split="train", out=run / "other")
    assert elsewhere is not None
    assert json.loads((run / "other" / "report.json").read_text())["settings"]["split"] == "train"


def test_preprocess__equals_validation_to_the_pixel(run: Path, loaded: LoadedDetector) -> None:
    root = run.parent
    dataset = EvalDataset(load_pairs(load_descriptor(root / "data.yaml"), "val"), 64, stride=loaded.detector.stride)
    batch = loaded.preprocess([_files(root, 0), _files(root, 1)])
    for number in range(2):
        assert np.array_equal(batch.pixels[number].permute(1, 2, 0).numpy(), dataset[number].image)


def test_detect__finds_what_the_evaluation_found(run: Path, loaded: LoadedDetector) -> None:
    yolofuse.evaluate(run)
    rows = json.loads((run / "eval-val" / "predictions.json").read_text())
    assert rows
    found = loaded.detect(loaded.preprocess([_files(run.parent, number) for number in range(3)]))
    assert sum(map(len, found)) == len(rows)
    for detections in found:
        scores = [row["score"] for row in rows if row["image_id"] == detections.image_id]
        np.testing.assert_allclose(sorted(detections.scores), sorted(scores), atol=1e-5)


def test_preprocess__pads_unequal_shapes_to_the_square_and_blackens_a_missing_camera(
    tmp_path: Path, loaded: LoadedDetector
) -> None:
    make_pairs(tmp_path / "wide", 1, 1)
    make_pairs(tmp_path / "high", 1, 1, size_hw=(96, 64))
    batch = loaded.preprocess([_files(tmp_path / "wide", 0), (_files(tmp_path / "high", 0)[0], None)])
    assert batch.pixels.shape == (2, 4, 64, 64)
    assert batch.pixels[1, 3].max() == 0
    assert batch.pixels[1, :3].float().mean() > 0
    assert batch.sizes_hw.tolist() == [[64, 96], [96, 64]]


def test_preprocess__shows_an_image_stored_turned_upright(tmp_path: Path, loaded: LoadedDetector) -> None:
    make_pairs(tmp_path, 1, 1)
    rgb, ir = _files(tmp_path, 0)
    upright = loaded.preprocess([(rgb, ir)])
    turned, upright_rgb = tmp_path / "turned.png", cv2.imread(str(rgb))
    assert upright_rgb is not None
    save_stored(turned, upright_rgb[..., ::-1], 6)
    batch = loaded.preprocess([(turned, ir)])
    assert torch.equal(batch.pixels, upright.pixels)
    assert batch.sizes_hw.tolist() == [[64, 96]]
    stored = loaded.preprocess([(turned, None)], PairFormat(orientation="ignore"))
    assert stored.sizes_hw.tolist() == [[96, 64]]


def test_preprocess__takes_the_window_of_training_and_refuses_another_depth(
    loaded: LoadedDetector, tmp_path: Path
) -> None:
    root = tmp_path / "deep"
    make_pairs(root, 1, 1)
    rgb, ir = _files(root, 0)
    counts = np.linspace(1000, 3000, 64 * 96).reshape(64, 96).astype(np.uint16)
    assert cv2.imwrite(str(ir), counts)
    with pytest.raises(DataError, match=r"val_000\.png: has 16 bits per channel where the training images had 8"):
        loaded.preprocess([(rgb, ir)])
    deep = replace(loaded, formats=(PairFormat(ir_window=(1000, 3000), bits=16),))
    batch = deep.preprocess([(rgb, ir)])
    assert batch.pixels.dtype == torch.uint16
    seen = batch.pixels[0, 3].numpy()[10:53]  # without the margin
    assert seen.min() < 12000
    assert seen.max() > 53000
    with pytest.raises(DataError, match="has 8 bits per channel where the training images had 16 or more"):
        deep.preprocess([(rgb, rgb)])
    for formats, text in (((), "an older run did not save"), ((PairFormat(), PairFormat("ir")), "had 2 formats")):
        with pytest.raises(ConfigError, match=text):
            replace(loaded, formats=formats).preprocess([(rgb, None)])


def test_preprocess__of_no_pair_is_refused(loaded: LoadedDetector) -> None:
    with pytest.raises(DataError, match="no pairs: give at least one"):
        loaded.preprocess([])


@pytest.mark.parametrize(("kind", "options"), [("TIFF", {"compression": "tiff_lzw"}), ("JPEG", {})])
def test_preprocess__refuses_a_damaged_file(
    loaded: LoadedDetector, tmp_path: Path, kind: str, options: dict[str, str]
) -> None:
    file = tmp_path / f"a.{kind.lower()}"
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, kind, **options)
    assert loaded.preprocess([(file, None)]).pixels.shape == (1, 4, 64, 64)
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    end = len(content) if kind == "JPEG" else middle + 40
    content[middle:end] = bytes(end - middle)
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged"):
        loaded.preprocess([(file, None)])


@pytest.mark.parametrize(("width", "height"), [(640, 4), (3000, 1), (1, 3000)])
def test_preprocess__a_side_below_a_pixel_is_one_pixel(loaded: LoadedDetector, width: int, height: int) -> None:
    rgb = np.full((height, width, 3), 200, np.uint8)
    pixels = loaded.preprocess([(rgb, rgb[..., 0])]).pixels[0].numpy()
    rows = (pixels == 200).all(axis=0)
    assert rows.sum() == 64
    assert sorted((rows.any(axis=1).sum(), rows.any(axis=0).sum())) == [1, 64]


def test_draw__shows_both_modalities(run: Path, loaded: LoadedDetector) -> None:
    pair = _files(run.parent, 0)
    (found,) = loaded.detect(loaded.preprocess([pair]))
    bare = loaded.draw(pair, found, min_score=1.1)
    marked = loaded.draw(pair, found, min_score=0.0)
    assert bare.dtype == np.uint8
    assert bare.shape[1] > bare.shape[0]
    assert not np.array_equal(bare, marked)


def test_build_detector__takes_images() -> None:
    detector = yolofuse.build_detector({"data": {"descriptor": "x"}, "train": {"run": "r"}}, ("person",)).eval()
    with torch.no_grad():
        boxes = detector(torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64))["trunk"][0]
    assert boxes.shape == (1, 5, 84)


def test_build_detector__takes_names_by_id_and_refuses_what_are_none() -> None:
    least = {"data": {"descriptor": "x"}, "train": {"run": "r"}, "model": {"base": "yolov8n"}}
    detector = yolofuse.build_detector(least, {1: "car", 0: "person"})
    assert detector.heads["trunk"].nc == 2
    for wrong in ("person", ["a", "a"], [], [""], {1: "car"}, {"person": 0}, {"a", "b"}, 2, None):
        with pytest.raises(ConfigError, match=r"names: expected a list of class names, each once, or \{0"):
            yolofuse.build_detector(least, wrong)  # type: ignore[arg-type]


def test_mistakes__have_the_texts_of_the_commands(run: Path, loaded: LoadedDetector, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.epoch: unknown key; did you mean train\.epochs"):
        yolofuse.load_config(run / "config.yaml", train={"epoch": 3})
    with pytest.raises(RunError, match="resume"):
        yolofuse.train(run / "config.yaml")
    with pytest.raises(ConfigError, match="fixed by the checkpoint"):
        yolofuse.load_detector(run, model={"cut": "late"})
    with pytest.raises(RunError, match="no run here"):
        yolofuse.load_detector(tmp_path)
    with pytest.raises(WeightsError):
        yolofuse.load_detector(tmp_path / "no.pt")
    with pytest.raises(DataError, match="pair 1: has neither"):
        loaded.preprocess([(None, None)])
    for wrong in (("a.jpg", "b.jpg"), [("a.jpg",)], ["a.jpg"], [(3, 4)]):
        with pytest.raises(DataError, match=r"pair 1: a pair is \(RGB, IR\), each a path, an array or None"):
            loaded.preprocess(wrong)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"no\.png: no such file"):
        loaded.preprocess([("no.png", "no.png")])
    least = {"data": {"descriptor": "x"}, "train": {"run": "r"}}
    with pytest.raises(ConfigError, match=r"model\.head: unknown name 'anchor'; did you mean anchors"):
        yolofuse.build_detector(least, ("a",), model={"base": "yolov8n", "head": "anchor"})
    with pytest.raises(ConfigError, match="anchors: fit"):
        yolofuse.build_detector(least, ("a",), model={"anchors": "fit"})


def test_interrupt__saves_and_raises(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = torch.optim.SGD.step

    def interrupted(self: torch.optim.SGD, *args: Any, **kwargs: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.SGD, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        yolofuse.train(run / "config.yaml", train={"run": str(tmp_path / "stopped")})
    assert list((tmp_path / "stopped" / "weights").glob("*.pt"))


def test_log__is_printed_once_and_left_as_it_was(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("yolofuse")
    handlers, level = list(log.handlers), log.level
    yolofuse.evaluate(run)
    assert (log.handlers, log.level) == (handlers, level)


def test_train_and_predict__are_the_same_in_a_notebook_that_changed_torch(tmp_path: Path, run: Path) -> None:
    """Other cells may have switched gradients off, or changed the type or the device of new tensors."""
    config = run / "config.yaml"
    expected = (run / "results.csv").read_text().splitlines()[-1].split(",")[1:4]
    files = _files(run.parent, 0)
    found = yolofuse.load(run, "cpu").predict(*files, conf=1e-4)
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        with torch.inference_mode():
            again = yolofuse.train(config, train={"run": str(tmp_path / "again")})
            same = yolofuse.load(run, "cpu").predict(*files, conf=1e-4)
            built = yolofuse.build_detector(config, names=("person", "car"))
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert (again / "results.csv").read_text().splitlines()[-1].split(",")[1:4] == expected
    assert {(p.dtype, p.device.type, p.requires_grad) for p in built.parameters()} >= {(torch.float32, "cpu", True)}
    assert not isinstance(found, list)
    assert not isinstance(same, list)
    assert np.array_equal(found.boxes_xyxy, same.boxes_xyxy)
    assert np.array_equal(found.scores, same.scores)
