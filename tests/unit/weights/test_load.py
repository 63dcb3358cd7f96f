"""A detector from built to ready: files, policy and report together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.weights import CLASSES, built, config_of, initialised, real_weights, saved, single_stream_state
from yolofuse.errors import ConfigError, WeightsError
from yolofuse.weights import load_and_initialise, load_source


def test_load_and_initialise__every_tensor_has_a_status() -> None:
    detector = built()
    frozen = [name for name, _ in detector.named_parameters() if name.startswith("rgb.")]
    report = load_and_initialise(detector, config_of(), CLASSES, frozen)
    floating = {name for name, tensor in detector.state_dict().items() if tensor.is_floating_point()}
    assert set(report.statuses) == floating
    assert "missing" not in report.statuses.values()
    assert {record.name for record in report.records if record.frozen} == set(frozen)
    assert [name for name, status in report.statuses.items() if status == "fixed"] == [
        "trunk.layers.22.dfl.conv.weight"
    ]


def test_load_and_initialise__name_map_of_the_config(tmp_path: Path) -> None:
    state = single_stream_state(prefix="")
    foreign = {f"stem.{key[2:]}": tensor for key, tensor in state.items() if key.startswith("0.")}
    foreign |= {f"stage1.down.{key[2:]}": tensor for key, tensor in state.items() if key.startswith("1.")}
    file = saved(tmp_path / "timm.pt", foreign | {"classifier.weight": torch.ones(10, 3)})
    (tmp_path / "map.yaml").write_text("stem.*: 0.*\nstage1.down.*: 1.*\n")
    detector, report = initialised(f"weights.pretrained={file}", f"weights.name_map={tmp_path / 'map.yaml'}")
    assert torch.equal(detector.get_parameter("ir.layers.1.conv.weight"), state["1.conv.weight"])
    assert report.count("rgb")["loaded"] == 10


def test_load_and_initialise__requires_the_share_of_the_config(pretrained: Path) -> None:
    initialised(f"weights.pretrained={pretrained}", "weights.require=1.0")
    with pytest.raises(WeightsError, match=r"0\.0% was"):
        initialised("weights.require=0.1")


def test_load_and_initialise__source_of_a_part_that_is_not_there(pretrained: Path) -> None:
    with pytest.raises(ConfigError, match="no ir stream of its own"):
        initialised("model.share=true", f"weights.ir={pretrained}")


@pytest.mark.real
def test_real_yolov5n__pickle_and_state_dict_give_the_same_model() -> None:
    file, plain = real_weights("yolov5n.pt"), real_weights("yolov5n_state_dict.pt")
    expected = initialised("model.base=yolov5n", f"weights.pretrained={plain}")[0].state_dict()
    found = initialised("model.base=yolov5n", f"weights.pretrained={file}")[0].state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())
    assert len(load_source(file).parts["trunk"]) == 349
