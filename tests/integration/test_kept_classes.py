"""``weights.keep_classes``: rows of classes that the data lacks stay in the head, outside loss and evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.detectors import random_batch
from tests.support.pairs import make_pairs
from tests.support.runs import train_without_plots, write_config
from tests.support.weights import config_of, single_stream_file
from yolofuse.config import LossConfig, ModelConfig, load_config
from yolofuse.engine.build import build_start
from yolofuse.engine.evaluate_checkpoint import evaluate_checkpoint
from yolofuse.engine.loaded_detector import load_detector
from yolofuse.engine.loss import DetectionLoss
from yolofuse.errors import ConfigError
from yolofuse.model import build_detector
from yolofuse.model.heads import hide_kept_classes
from yolofuse.weights.sources import load_source

_NAMES = ("dog", "person", "bicycle", "car", "cat")
_KEPT = ("dog", "bicycle", "cat")


def _file(folder: Path, base: str) -> Path:
    return single_stream_file(folder / "source.pt", base=base, names=_NAMES)


@pytest.mark.parametrize("base", ["yolov8n", "yolo26n"])
@pytest.mark.parametrize("cut", ["mid", "decision"])
def test_kept_rows__score_what_the_source_scores(tmp_path: Path, base: str, cut: str) -> None:
    words = (f"model.base={base}", f"model.cut={cut}", f"weights.pretrained={_file(tmp_path, base)}", "init.fusion=rgb")
    data = ("people", "car")
    plain, kept = (build_start(config_of(*words, *more), data) for more in ((), ("weights.keep_classes=true",)))
    assert kept.config.model.kept_classes == _KEPT
    assert "classes: people (from person, by alias), car; 3 more are kept outside the loss" in kept.report.format()
    whole = build_start(config_of(*words), _NAMES)  # every class of the source is a class of the data
    rows = [1, 3, 0, 2, 4]  # of the source, in our order
    theirs, ours = whole.detector.state_dict(), kept.detector.state_dict()
    for name in (name for name in ours if ".cv3." in name and name.endswith((".2.weight", ".2.bias"))):
        assert torch.equal(ours[name], theirs[name][rows])
        assert torch.equal(ours[name][:2], plain.detector.state_dict()[name])


@pytest.mark.parametrize(
    "model", [{"base": "yolov8n"}, {"base": "yolo26n"}, {"base": "yolov5n", "head": "anchors"}], ids=str
)
def test_kept_rows__are_outside_the_loss(model: dict[str, Any]) -> None:
    plain, kept = (
        build_detector(ModelConfig(**model, kept_classes=more), num_classes=3).train() for more in ((), _KEPT)
    )
    state, whole = plain.state_dict(), kept.state_dict()
    for name, tensor in whole.items():
        mine = state[name]
        if tensor.shape == mine.shape:
            tensor.copy_(mine)
        elif "cv3" in name:
            tensor[: len(mine)].copy_(mine)
        else:  # an anchor head: box and objectness, then the classes, of each anchor
            tensor.view(3, 11, *tensor.shape[1:])[:, :8].copy_(mine.view(3, 8, *mine.shape[1:]))
    batch = random_batch()
    totals = []
    for detector in (plain, kept):
        total = DetectionLoss(detector, LossConfig(), epochs=3)(detector(batch.rgb, batch.ir), batch).total
        total.backward()  # type: ignore[no-untyped-call]
        totals.append(float(total.detach()))
    assert totals[0] == pytest.approx(totals[1], rel=1e-6)
    head = next(iter(kept.heads.values()))
    for name, parameter in head.named_parameters():
        if parameter.grad is not None and name.endswith("2.bias") and "cv3" in name:
            assert not parameter.grad[3:].any()
            assert parameter.grad[:3].any()
        elif name.startswith("m.") and parameter.grad is not None:
            of_anchor = parameter.grad.view(3, 11, -1)
            assert not of_anchor[:, 8:].any()
            assert of_anchor[:, 5:8].any()


def test_hide_kept_classes__of_both_kinds_of_heads() -> None:
    head = torch.nn.Module()
    head.nc, head.num_kept, head.end2end = 5, 3, False  # type: ignore[assignment]
    predictions = torch.arange(9 * 4).view(1, 9, 4).float()
    assert torch.equal(hide_kept_classes(head, predictions), predictions[:, :6])
    head.end2end = True  # type: ignore[assignment]
    rows = torch.tensor([[[0, 0, 9, 9, 0.9, 1.0], [0, 0, 9, 9, 0.8, 2.0]]])
    assert hide_kept_classes(head, rows)[0, :, 4].tolist() == pytest.approx([0.9, 0.0])


def test_run__keeps_its_classes_for_the_next_one(tmp_path: Path) -> None:
    data = make_pairs(tmp_path / "data", 6, 3, names=("people", "car"))
    weights = {"pretrained": str(_file(tmp_path, "yolov8n")), "keep_classes": True}
    config = load_config(write_config(tmp_path, data, weights=weights))
    run = train_without_plots(config)
    loaded = load_detector(run / "weights" / "best.pt")
    assert (loaded.names, loaded.config.model.kept_classes) == (("people", "car"), _KEPT)
    assert next(iter(loaded.detector.heads.values())).nc == 5
    outcome = evaluate_checkpoint(run / "weights" / "best.pt", ["val.conf=0.00001"])
    assert outcome is not None
    assert {row["category_id"] for row in outcome.evaluation.predictions} == {1, 2}
    assert load_source(run).names == ("people", "car", *_KEPT)
    start = build_start(config_of(f"weights.pretrained={run}"), ("cat", "person"))
    assert [(match.source, match.kind) for match in start.report.classes] == [("cat", "name"), ("people", "alias")]


def test_keep_classes__without_any_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"weights\.keep_classes: the weights have no classes to keep"):
        build_start(config_of("weights.keep_classes=true"), ("person",))


def test_class_map__learns_a_class_anew_instead_of_keeping_it_twice(tmp_path: Path) -> None:
    words = (
        f"weights.pretrained={_file(tmp_path, 'yolov8n')}",
        "weights.keep_classes=true",
        "weights.class_map={car: ''}",
    )
    assert build_start(config_of(*words), ("car", "person")).config.model.kept_classes == _KEPT
