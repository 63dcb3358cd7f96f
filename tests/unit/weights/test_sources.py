"""What opens as a source of weights, what it says, and what never runs."""

from __future__ import annotations

import os
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yolofuse.config import ModelConfig
from yolofuse.errors import WeightsError
from yolofuse.model import build_detector
from yolofuse.upstream import build_layers, resolve_base
from yolofuse.weights.checkpoint import file_sha256, save_checkpoint
from yolofuse.weights.sources import Source, load_source

NAMES = {0: "person", 1: "car", 2: "bus"}


def real_weights(name: str) -> Path:
    """A real file of weights beside the real data; the test is skipped where it is absent."""
    root = Path(os.environ.get("YOLOFUSE_REAL_DATA", Path(__file__).parents[3] / ".." / "shared" / "data"))
    file = root / ".." / "weights" / name
    if not file.is_file():
        pytest.skip(f"no real weights at {file}; set YOLOFUSE_REAL_DATA")
    return file


@lru_cache(maxsize=1)
def layers() -> nn.Module:
    return nn.Sequential(*build_layers(resolve_base("yolov8n"), channels=3, num_classes=3))


def state(prefix: str = "model.") -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in layers().state_dict().items()}


def ultralytics_model(names: dict[int, str] | None = None, yaml: str = "yolov8n.yaml") -> Any:
    from ultralytics.nn.tasks import DetectionModel

    model = DetectionModel(yaml, nc=3, verbose=False)  # type: ignore[no-untyped-call]
    if names:
        model.names = names
    return model


def saved(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def equal(source: Source, expected: dict[str, Tensor], part: str = "trunk") -> bool:
    """Whether a part holds exactly these tensors."""
    got = source.parts[part]
    return set(got) == set(expected) and all(torch.equal(got[name], expected[name]) for name in got)


def test_ultralytics__moving_average_wins_and_says_what_it_is(tmp_path: Path) -> None:
    live, averaged = ultralytics_model(NAMES), ultralytics_model(NAMES)
    with torch.no_grad():
        for parameter in averaged.parameters():
            parameter += 1
    file = saved(tmp_path / "w.pt", {"model": live.half(), "ema": deepcopy(averaged).half(), "epoch": 3})
    source = load_source(file)
    assert equal(source, {name.removeprefix("model."): t.half().float() if t.is_floating_point() else t
                          for name, t in averaged.state_dict().items()})  # fmt: skip
    assert (source.base, source.names, source.input_modality) == ("yolov8n", ("person", "car", "bus"), "rgb")
    assert (source.path, source.sha256) == (file, file_sha256(file))
    assert source.parts["trunk"]["0.bn.num_batches_tracked"].dtype == torch.int64


def test_ultralytics__what_its_trainer_puts_beside_the_model(tmp_path: Path) -> None:
    """Settings, paths, numpy scalars and a pickled loss are passed over, not refused."""
    import numpy as np
    from ultralytics.utils import IterableSimpleNamespace
    from ultralytics.utils.loss import v8DetectionLoss

    model = ultralytics_model(NAMES)
    model.args = IterableSimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
    model.criterion = v8DetectionLoss(model)
    model.forward_before = nn.Conv2d.forward
    beside = {"best_fitness": np.float64(0.5), "train_args": {"data": Path("x.yaml")}, "curve": np.zeros(3)}
    source = load_source(saved(tmp_path / "w.pt", {"model": None, "ema": model, **beside}))
    assert equal(source, {name.removeprefix("model."): tensor for name, tensor in model.state_dict().items()})


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


@pytest.mark.parametrize("prefix", ["model.", "module.model.", "model.model.", "_orig_mod.model.", "module.", ""])
def test_state_dict__prefixes(prefix: str, tmp_path: Path) -> None:
    source = load_source(saved(tmp_path / "w.pt", state(prefix)))
    assert equal(source, state(""))
    assert (source.names, source.base, source.input_modality) == (None, None, "rgb")


@pytest.mark.parametrize("key", ["ema", "model", "state_dict", "model_state_dict"])
def test_state_dict__nested_with_names_and_yaml_beside_it(key: str, tmp_path: Path) -> None:
    content = {key: state(), "names": list(NAMES.values()), "yaml": {"yaml_file": "yolov8n.yaml"}, "optimizer": {}}
    source = load_source(saved(tmp_path / "w.pt", content))
    assert equal(source, state(""))
    assert (source.names, source.base) == (("person", "car", "bus"), "yolov8n")


def test_state_dict__written_before_torch_1_6(tmp_path: Path) -> None:
    assert equal(load_source(saved(tmp_path / "w.pt", state(), _use_new_zipfile_serialization=False)), state(""))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_state_dict__other_floats_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    weight = torch.randn(4, 3, 3, 3, dtype=dtype)
    counter = torch.tensor(7)
    file = saved(tmp_path / "w.pt", {"model.0.conv.weight": weight, "model.0.bn.num_batches_tracked": counter})
    trunk = load_source(file).parts["trunk"]
    assert trunk["0.conv.weight"].dtype == torch.float32
    assert torch.equal(trunk["0.conv.weight"], weight.float())
    assert torch.equal(trunk["0.bn.num_batches_tracked"], counter)


@pytest.mark.parametrize(("channels", "sees"), [(3, "rgb"), (1, "ir"), (4, "stacked"), (12, None)])
def test_state_dict__sees_by_its_stem(channels: int, sees: str | None, tmp_path: Path) -> None:
    weight = torch.ones(8, channels, 3, 3)
    assert load_source(saved(tmp_path / "w.pt", {"model.0.conv.weight": weight})).input_modality == sees


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


def test_state_dict__clash_is_refused(tmp_path: Path) -> None:
    tensors = {"model.0.a": torch.ones(1), "module.model.0.a": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"'0\.a' would come from 'model\.0\.a', 'module\.model\.0\.a'"):
        load_source(saved(tmp_path / "w.pt", tensors))


def test_state_dict__without_numbers_asks_for_a_map(tmp_path: Path) -> None:
    tensors = {name: torch.ones(1) for name in ("conv1.weight", "bn1.weight", "bn1.bias", "fc.weight")}
    expected = (
        r"w\.pt: holds no numbered.*\(got 'conv1.weight', 'bn1.weight', 'bn1.bias', \.\.\.\); write weights.name_map"
    )
    with pytest.raises(WeightsError, match=expected):
        load_source(saved(tmp_path / "w.pt", tensors))


TIMM = {
    "stem.conv.weight": torch.full((8, 3, 3, 3), 1.0),
    "stem.bn.weight": torch.full((8,), 2.0),
    "stem.bn.num_batches_tracked": torch.tensor(5),
    "stages.1.blocks.0.conv.weight": torch.full((8, 8, 1, 1), 3.0),
    "stages.2.blocks.0.conv.weight": torch.full((8, 8, 1, 1), 4.0),
    "head.weight": torch.full((10, 8), 5.0),
}


def test_name_map__takes_what_it_names(tmp_path: Path) -> None:
    name_map = {"stem.*": "0.*", "stages.*.blocks.*.conv.*": "*.m.*.cv1.*"}
    source = load_source(saved(tmp_path / "w.pt", {f"module.{k}": v for k, v in TIMM.items()}), name_map=name_map)
    assert equal(
        source,
        {
            "0.conv.weight": TIMM["stem.conv.weight"],
            "0.bn.weight": TIMM["stem.bn.weight"],
            "0.bn.num_batches_tracked": TIMM["stem.bn.num_batches_tracked"],
            "1.m.0.cv1.weight": TIMM["stages.1.blocks.0.conv.weight"],
            "2.m.0.cv1.weight": TIMM["stages.2.blocks.0.conv.weight"],
        },
    )
    assert source.input_modality == "rgb"


def test_name_map__points_and_stars_are_no_regular_expression(tmp_path: Path) -> None:
    file = saved(tmp_path / "w.pt", {"a.w": torch.zeros(1), "axw": torch.ones(1)})
    assert equal(load_source(file, name_map={"a.w": "0.w"}), {"0.w": torch.zeros(1)})


@pytest.mark.parametrize(
    ("name_map", "expected"),
    [
        ({"stem.*": "0.*", "neck.*": "1.*"}, r"'neck\.\*': no tensor has such a name"),
        ({"stages.*.blocks.*.conv.*": "1.*"}, "same number of"),
        ({"stem.conv.*": "0.*", "stem.bn.*": "0.*"}, "'0.weight' would come from 'stem.conv.weight', 'stem.bn.weight'"),
        ({"stem.*": "first.*"}, "must be '<layer>.<rest>'"),
        ({"*.conv.weight": "*.weight"}, "'stem.conv.weight' would become 'stem.weight'"),
        ({}, "maps nothing"),
    ],
    ids=["matches-nothing", "stars", "one-target-twice", "no-number", "number-is-text", "empty"],
)
def test_name_map__mistakes(name_map: dict[str, str], expected: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=expected) as caught:
        load_source(saved(tmp_path / "w.pt", TIMM), name_map=name_map)
    assert "w.pt" in str(caught.value)


def test_class_names__are_for_files_without(tmp_path: Path) -> None:
    named = saved(tmp_path / "named.pt", {"state_dict": state(), "names": list(NAMES.values())})
    bare = saved(tmp_path / "bare.pt", state())
    with pytest.raises(WeightsError, match=r"bare\.pt: .*class_names has 2 class names, but its head scores 3"):
        load_source(bare, class_names=["a", "b"])
    assert load_source(bare, class_names=["a", "b", "c"]).names == ("a", "b", "c")
    assert load_source(named, class_names=["a", "b"]).names == tuple(NAMES.values())


def test_names__must_be_as_many_as_the_head_scores(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="it has 2 class names, but its head scores 3 classes"):
        load_source(saved(tmp_path / "w.pt", {"state_dict": state(), "names": ["a", "b"]}))


def our_checkpoint(path: Path, **model: Any) -> tuple[Path, dict[str, Tensor]]:
    detector = build_detector(ModelConfig(**model), num_classes=3)
    content = {"config": {"model": {"base": "yolo11n", **model}}, "names": ["a", "b", "c"]}
    averaged = {name: tensor + 1 for name, tensor in detector.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, {**content, "model": detector.state_dict(), "ema": averaged})
    return path, averaged


@pytest.mark.parametrize(
    ("model", "parts", "sees"),
    [
        ({"cut": "mid"}, {"rgb", "ir", "fusion", "trunk"}, None),
        ({"cut": "early", "share": True}, {"rgb", "fusion", "trunk"}, None),
        ({"cut": "decision"}, {"rgb", "ir"}, None),
        ({"cut": "input"}, {"trunk"}, "stacked"),
        ({"streams": "rgb"}, {"trunk"}, "rgb"),
        ({"streams": "ir"}, {"trunk"}, "ir"),
    ],
    ids=lambda value: "-".join(sorted(map(str, value))) if isinstance(value, dict | set) else str(value),
)
def test_ours__by_part(model: dict[str, Any], parts: set[str], sees: str | None, tmp_path: Path) -> None:
    file, averaged = our_checkpoint(tmp_path / "w.pt", **model)
    source = load_source(file)
    assert set(source.parts) == parts
    back = {
        f"{part}.{name}" if part == "fusion" else f"{part}.layers.{name}": tensor
        for part, tensors in source.parts.items()
        for name, tensor in tensors.items()
    }
    assert back.keys() == averaged.keys()
    assert all(torch.equal(back[name], averaged[name]) for name in back)
    assert (source.base, source.names, source.input_modality) == ("yolo11n", ("a", "b", "c"), sees)


def test_ours__image_fusion_keeps_its_tap(tmp_path: Path) -> None:
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
def test_ours__damaged(content: dict[str, Any], expected: str, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "w.pt", content)
    with pytest.raises(WeightsError, match=expected):
        load_source(tmp_path / "w.pt")


def test_run_folder__best_before_last(tmp_path: Path) -> None:
    last, _ = our_checkpoint(tmp_path / "run" / "weights" / "last.pt", streams="rgb")
    assert load_source(tmp_path / "run").path == last
    best, _ = our_checkpoint(tmp_path / "run" / "weights" / "best.pt", streams="rgb")
    assert load_source(tmp_path / "run").path == best


def test_run_folder__without_a_run(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"neither weights/best\.pt nor weights/last\.pt"):
        load_source(tmp_path)


@pytest.mark.real
def test_real__pickled_yolov5n_equals_its_state_dict() -> None:
    pickled, plain = (load_source(real_weights(name)) for name in ("yolov5n.pt", "yolov5n_state_dict.pt"))
    assert equal(pickled, dict(plain.parts["trunk"]))
    assert len(plain.parts["trunk"]) == 349
    for source in (pickled, plain):
        assert source.names is not None
        assert (len(source.names), source.names[0], source.names[79]) == (80, "person", "toothbrush")
        assert (source.base, source.input_modality) == ("yolov5n", "rgb")
