"""Sources of weights: every kind of file, and files that are refused."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.weights import built, holds_exactly, real_weights, saved, small_state, ultralytics_model
from yolofuse.errors import WeightsError
from yolofuse.files import file_sha256
from yolofuse.weights.checkpoint import save_checkpoint
from yolofuse.weights.sources import load_source

NAMES = {0: "person", 1: "car", 2: "bus"}


def test_ultralytics__ema_is_preferred_and_names_its_base(tmp_path: Path) -> None:
    live, ema = ultralytics_model(NAMES), ultralytics_model(NAMES)
    with torch.no_grad():
        for parameter in ema.parameters():
            parameter += 1
    file = saved(tmp_path / "w.pt", {"model": live.half(), "ema": deepcopy(ema).half(), "epoch": 3})
    source = load_source(file)
    assert holds_exactly(source, {name.removeprefix("model."): t.half().float() if t.is_floating_point() else t
                          for name, t in ema.state_dict().items()})  # fmt: skip
    assert (source.base, source.names, source.input_modality) == ("yolov8n", ("person", "car", "bus"), "rgb")
    assert (source.path, source.sha256) == (file, file_sha256(file))
    assert source.parts["trunk"]["0.bn.num_batches_tracked"].dtype == torch.int64


def test_ultralytics__other_content_of_its_trainer_is_ignored(tmp_path: Path) -> None:
    """Settings, paths, numpy scalars and a pickled loss are ignored, not refused."""
    import numpy as np
    from ultralytics.utils import IterableSimpleNamespace
    from ultralytics.utils.loss import v8DetectionLoss

    model = ultralytics_model(NAMES)
    model.args = IterableSimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
    model.criterion = v8DetectionLoss(model)
    model.forward_before = nn.Conv2d.forward
    beside = {"best_fitness": np.float64(0.5), "train_args": {"data": Path("x.yaml")}, "curve": np.zeros(3)}
    source = load_source(saved(tmp_path / "w.pt", {"model": None, "ema": model, **beside}))
    assert holds_exactly(source, {name.removeprefix("model."): tensor for name, tensor in model.state_dict().items()})


def test_ultralytics__placeholder_names_are_no_names(tmp_path: Path) -> None:
    file = saved(tmp_path / "w.pt", {"model": ultralytics_model()})
    assert load_source(file).names is None
    assert load_source(file, class_names=["a", "b", "c"]).names == ("a", "b", "c")


def test_ultralytics__model_saved_whole(tmp_path: Path) -> None:
    model = ultralytics_model(NAMES)
    assert load_source(saved(tmp_path / "w.pt", model)).names == ("person", "car", "bus")


def test_module__buffers_that_state_dict_leaves_out_are_left_out(tmp_path: Path) -> None:
    model = ultralytics_model()
    model.model[0].register_buffer("scratch", torch.ones(2), persistent=False)
    model.model[0].register_buffer("kept", torch.ones(2))
    trunk = load_source(saved(tmp_path / "w.pt", {"model": model})).parts["trunk"]
    assert "0.kept" in trunk
    assert "0.scratch" not in trunk


@pytest.mark.parametrize("key", ["ema", "model", "state_dict", "model_state_dict"])
def test_state_dict__nested_with_names_and_yaml_beside_it(key: str, tmp_path: Path) -> None:
    content = {
        key: small_state(),
        "names": list(NAMES.values()),
        "yaml": {"yaml_file": "yolov8n.yaml"},
        "optimizer": {},
    }
    source = load_source(saved(tmp_path / "w.pt", content))
    assert holds_exactly(source, small_state(prefix=""))
    assert (source.names, source.base) == (("person", "car", "bus"), "yolov8n")


def test_state_dict__written_before_torch_1_6(tmp_path: Path) -> None:
    assert holds_exactly(
        load_source(saved(tmp_path / "w.pt", small_state(), _use_new_zipfile_serialization=False)),
        small_state(prefix=""),
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_state_dict__other_floats_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    weight = torch.randn(4, 3, 3, 3, dtype=dtype)
    counter = torch.tensor(7)
    file = saved(tmp_path / "w.pt", {"model.0.conv.weight": weight, "model.0.bn.num_batches_tracked": counter})
    trunk = load_source(file).parts["trunk"]
    assert trunk["0.conv.weight"].dtype == torch.float32
    assert torch.equal(trunk["0.conv.weight"], weight.float())
    assert torch.equal(trunk["0.bn.num_batches_tracked"], counter)


@pytest.mark.parametrize(("channels", "modality"), [(3, "rgb"), (1, "ir"), (4, "stacked"), (12, None)])
def test_state_dict__input_modality_by_its_stem(channels: int, modality: str | None, tmp_path: Path) -> None:
    weight = torch.ones(8, channels, 3, 3)
    assert load_source(saved(tmp_path / "w.pt", {"model.0.conv.weight": weight})).input_modality == modality


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_state_dict__not_finite_is_refused_by_name(value: float, tmp_path: Path) -> None:
    tensors = {f"model.0.{name}": torch.ones(2) for name in "ab"} | {"model.1.c": torch.tensor([0.0, value])}
    with pytest.raises(WeightsError, match=r"w\.pt: damaged, 1 tensors are not finite: '1\.c'"):
        load_source(saved(tmp_path / "w.pt", tensors))


@pytest.mark.parametrize(
    "tensor",
    [torch.eye(3).to_sparse(), torch.ones(2, dtype=torch.complex64), torch.ones(2, device="meta")],
    ids=["sparse", "complex", "meta"],
)
def test_state_dict__odd_tensors_are_refused(tensor: Tensor, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"'0\.a'"):
        load_source(saved(tmp_path / "w.pt", {"model.0.a": tensor}))


def test_name_map__is_applied_to_files_without_numbers_alone(tmp_path: Path) -> None:
    foreign = saved(tmp_path / "foreign.pt", {"stem.conv.weight": torch.ones(8, 3, 3, 3), "head.weight": torch.ones(2)})
    source = load_source(foreign, name_map={"stem.*": "0.*"})
    assert (list(source.parts["trunk"]), source.input_modality, source.is_mapped) == (["0.conv.weight"], "rgb", True)
    numbered = saved(tmp_path / "numbered.pt", {"model.0.conv.weight": torch.ones(8, 3, 3, 3)})
    assert not load_source(numbered, name_map={"stem.*": "0.*"}).is_mapped
    with pytest.raises(WeightsError, match=r"weights\.name_map for .*foreign\.pt"):
        load_source(foreign, name_map={})


def test_class_names__are_for_files_without(tmp_path: Path) -> None:
    named = saved(tmp_path / "named.pt", {"state_dict": small_state(), "names": list(NAMES.values())})
    bare = saved(tmp_path / "bare.pt", small_state())
    with pytest.raises(WeightsError, match=r"bare\.pt: .*class_names has 2 class names, but its head scores 3"):
        load_source(bare, class_names=["a", "b"])
    assert load_source(bare, class_names=["a", "b", "c"]).names == ("a", "b", "c")
    assert load_source(named, class_names=["a", "b"]).names == tuple(NAMES.values())


def test_names__must_be_as_many_as_the_head_scores(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="it has 2 class names, but its head scores 3 classes"):
        load_source(saved(tmp_path / "w.pt", {"state_dict": small_state(), "names": ["a", "b"]}))


def _save_run(path: Path, *words: str) -> dict[str, Tensor]:
    """Save a checkpoint with the smaller tensors of a model; returns its EMA."""
    state = {name: tensor for name, tensor in built(*words).state_dict().items() if tensor.numel() < 5000}
    ema = {name: tensor + 1 for name, tensor in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(
        path, {"config": {"model": {"base": "yolov8n"}}, "names": ["a", "b", "c"], "model": state, "ema": ema}
    )
    return ema


@pytest.mark.parametrize(
    ("words", "parts", "modality"),
    [
        (("model.cut=mid",), {"rgb", "ir", "fusion", "trunk"}, None),
        (("model.cut=early", "model.share=true"), {"rgb", "fusion", "trunk"}, None),
        (("model.cut=decision",), {"rgb", "ir"}, None),
        (("model.cut=input",), {"trunk"}, "stacked"),
        (("model.streams=rgb",), {"trunk"}, "rgb"),
        (("model.streams=ir",), {"trunk"}, "ir"),
    ],
    ids=["mid", "shared", "decision", "stacked", "rgb", "ir"],
)
def test_checkpoint__by_part(words: tuple[str, ...], parts: set[str], modality: str | None, tmp_path: Path) -> None:
    ema = _save_run(tmp_path / "w.pt", *words)
    source = load_source(tmp_path / "w.pt")
    assert set(source.parts) == parts
    back = {
        f"{part}.{name}" if part == "fusion" else f"{part}.layers.{name}": tensor
        for part, tensors in source.parts.items()
        for name, tensor in tensors.items()
    }
    assert back.keys() == ema.keys()
    assert all(torch.equal(back[name], ema[name]) for name in back)
    assert (source.base, source.names, source.input_modality) == ("yolov8n", ("a", "b", "c"), modality)


def test_checkpoint__image_fusion_keeps_its_tap(tmp_path: Path) -> None:
    content = {"ema": {"fusion.image.conv.weight": torch.ones(2), "trunk.layers.0.a": torch.ones(1)}}
    save_checkpoint(tmp_path / "w.pt", content)
    assert set(load_source(tmp_path / "w.pt").parts["fusion"]) == {"image.conv.weight"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"model": {}}, "nothing in it"),
        ({"ema": {"other.layers.0.a": torch.ones(1)}}, "'other.layers.0.a'"),
        ({"ema": {"rgb.layers.0.a": torch.full((1,), torch.nan), "trunk.layers.1.a": torch.ones(1)}}, r"'rgb\.0\.a'"),
        ({"ema": {"trunk.layers.0.a": torch.ones(1)}, "format_version": 99}, "checkpoint format 99"),
    ],
    ids=["no-ema", "unknown-part", "not-finite", "newer"],
)
def test_checkpoint__damaged(content: dict[str, Any], expected: str, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "w.pt", content)
    with pytest.raises(WeightsError, match=expected):
        load_source(tmp_path / "w.pt")


def test_run_folder__best_before_last(tmp_path: Path) -> None:
    for name in ("last.pt", "best.pt"):
        file = tmp_path / "run" / "weights" / name
        _save_run(file, "model.streams=rgb")
        assert load_source(tmp_path / "run").path == file


def test_run_folder__without_a_run(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"neither weights/best\.pt nor weights/last\.pt"):
        load_source(tmp_path)


@pytest.mark.real
def test_real__pickled_yolov5n_equals_its_state_dict() -> None:
    pickled, plain = (load_source(real_weights(name)) for name in ("yolov5n.pt", "yolov5n_state_dict.pt"))
    assert holds_exactly(pickled, dict(plain.parts["trunk"]))
    assert len(plain.parts["trunk"]) == 349
    for source in (pickled, plain):
        assert source.names is not None
        assert (len(source.names), source.names[0], source.names[79]) == (80, "person", "toothbrush")
        assert (source.base, source.input_modality) == ("yolov5n", "rgb")
