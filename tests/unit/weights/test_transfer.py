"""Tensors of a file in a model: each in its place through every cut, and files that do not belong there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.support.weights import CLASSES, built, config_of, initial_state, initialised, run_file, single_stream_file
from yolofuse.errors import WeightsError
from yolofuse.model import Detector
from yolofuse.weights import WeightsReport, load_and_initialise, load_source


def transferred(*words: str, names: Sequence[str] = CLASSES) -> tuple[Detector, WeightsReport]:
    """Return a loaded model; the rest is by the quickest preset, which does not trace the model."""
    return initialised(*words, "init.preset=xavier", names=names)


@pytest.fixture(scope="module")
def rgb_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of an RGB-only run."""
    file = tmp_path_factory.mktemp("rgb") / "rgb.pt"
    run_file(file, "model.streams=rgb", "init.preset=xavier", seed=5)
    return file


@pytest.fixture(scope="module")
def ir_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of an IR-only run."""
    file = tmp_path_factory.mktemp("ir") / "ir.pt"
    run_file(file, "model.streams=ir", "init.preset=xavier", seed=6)
    return file


@pytest.fixture(scope="module")
def unnamed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A single-stream file whose class names are placeholders."""
    return single_stream_file(tmp_path_factory.mktemp("unnamed") / "w.pt", names=("0", "1", "2"))


@pytest.mark.parametrize("cut", ["input", "early", "mid", "late", "decision"])
def test_transfer__every_tensor_equals_its_source(cut: str, pretrained: Path) -> None:
    source = load_source(pretrained).parts["trunk"]
    detector, report = transferred(f"model.cut={cut}", f"weights.pretrained={pretrained}")
    for name, tensor in detector.state_dict().items():
        part, _, rest = name.partition(".layers.")
        if part.startswith("fusion") or name not in report.statuses or report.statuses[name] == "fixed":
            continue
        if source[rest].shape == tensor.shape:
            assert report.statuses[name] == "loaded"
            assert torch.equal(tensor, source[rest]), name
        else:
            assert report.statuses[name] == "inflated"
            expected = source[rest].sum(1, keepdim=True)
            if tensor.shape[1] == 4:
                expected = torch.cat([source[rest], source[rest].mean(1, keepdim=True)], 1)
            assert torch.equal(tensor, expected), name
    fresh = {name for name, status in report.statuses.items() if status == "initialised"}
    assert all(name.startswith("fusion") for name in fresh)
    assert report.warnings == ()


def test_inflated_stem__reads_grey_as_the_rgb_one_does(pretrained: Path) -> None:
    rgb, ir = (transferred(f"model.streams={s}", f"weights.pretrained={pretrained}")[0].eval() for s in ("rgb", "ir"))
    grey = torch.rand(1, 1, 64, 64)
    image = grey.expand(-1, 3, -1, -1)
    with torch.no_grad():
        torch.testing.assert_close(ir(image, grey)["trunk"][0], rgb(image, grey)["trunk"][0])


@pytest.mark.parametrize("trunk", ["rgb", "ir"])
def test_single_stream_runs__become_the_two_streams(trunk: str, rgb_run: Path, ir_run: Path) -> None:
    """The trunk comes from the run that is asked for."""
    rgb, ir = (load_source(file).parts["trunk"] for file in (rgb_run, ir_run))
    detector, report = transferred(f"weights.rgb={rgb_run}", f"weights.ir={ir_run}", f"weights.trunk={trunk}")
    origins = {"rgb": rgb, "ir": ir, "trunk": {"rgb": rgb, "ir": ir}[trunk]}
    for name, tensor in detector.state_dict().items():
        part, _, rest = name.partition(".layers.")
        if report.statuses.get(name) == "loaded":
            assert torch.equal(tensor, origins[part][rest]), name
    assert {report.count(part)["initialised"] for part in ("rgb", "ir", "trunk")} == {0}
    assert report.count("ir")["inflated"] == 0  # its source reads one channel already


def test_swapped_runs__are_warned_of(ir_run: Path, pretrained: Path) -> None:
    _, report = transferred(f"weights.rgb={ir_run}", f"weights.ir={pretrained}")
    assert any("are weights.rgb and ir swapped?" in warning for warning in report.warnings)


def test_dual_run__goes_into_another_cut_and_its_own(tmp_path: Path) -> None:
    before = run_file(tmp_path / "mid.pt", "model.cut=mid", "init.preset=xavier")
    detector, report = transferred("model.cut=late", f"weights.pretrained={tmp_path / 'mid.pt'}")
    state = detector.state_dict()
    assert torch.equal(state["ir.layers.4.cv1.conv.weight"], before["ir.layers.4.cv1.conv.weight"])
    assert torch.equal(state["ir.layers.15.cv1.conv.weight"], before["trunk.layers.15.cv1.conv.weight"])
    assert {status for part in ("rgb", "ir", "trunk") for status in report.count(part)} == {"loaded", "fixed"}
    again, same = transferred("model.cut=mid", f"weights.pretrained={tmp_path / 'mid.pt'}")
    assert all(torch.equal(before[name], tensor) for name, tensor in again.state_dict().items())
    assert set(same.statuses.values()) == {"loaded", "fixed"}


@pytest.mark.parametrize("word", ["model.streams=rgb", "model.cut=input"])
def test_ir_run__goes_into_an_rgb_stem_and_a_stacked_one(word: str, ir_run: Path) -> None:
    before = load_source(ir_run).parts["trunk"]["0.conv.weight"]
    stem = transferred(word, f"weights.pretrained={ir_run}")[0].get_parameter("trunk.layers.0.conv.weight")
    torch.testing.assert_close(stem.sum(1, keepdim=True), before)


def test_classes__rows_go_by_name_and_the_rest_is_new(tmp_path: Path) -> None:
    file = single_stream_file(tmp_path / "w.pt", names=("Car", "dog", "person"))
    source = load_source(file).parts["trunk"]
    detector, report = transferred(f"weights.pretrained={file}")
    fresh = initial_state()
    for key in ("22.cv3.0.2.weight", "22.cv3.0.2.bias"):
        tensor, drawn = detector.state_dict()[f"trunk.layers.{key}"], fresh[f"trunk.layers.{key}"]
        assert torch.equal(tensor, torch.stack([source[key][2], drawn[1], source[key][0]]))  # person, bicycle, car
    record = next(record for record in report.records if record.name == "trunk.layers.22.cv3.0.2.weight")
    assert record.status == "partial"
    assert record.num_loaded == 2 * 64
    assert record.rows is not None
    assert record.rows.tolist() == [True, False, True]


def test_classes__unnamed_are_copied_in_order_with_a_warning_or_not_at_all(unnamed: Path) -> None:
    word = f"weights.pretrained={unnamed}"
    _, report = transferred(word)
    assert report.count("trunk")["initialised"] == report.count("trunk")["partial"] == 0
    assert any("does not name its classes" in warning for warning in report.warnings)
    _, other = transferred(word, names=("person", "car"))
    assert other.count("trunk")["initialised"] == 6  # weight and bias of three levels
    assert any("weights.class_names" in warning for warning in other.warnings)
    _, named = transferred(word, "weights.class_names=[car, dog, person]", names=("person", "car"))
    assert named.count("trunk")["initialised"] == 0
    assert named.warnings == ()


def test_classes__names_are_given_to_files_that_have_none(unnamed: Path, tmp_path: Path) -> None:
    named = single_stream_file(tmp_path / "named.pt", names=("car", "bicycle", "person"))
    words = ("model.cut=decision", f"weights.rgb={named}", f"weights.ir={unnamed}")
    detector, _ = transferred(*words, "weights.class_names=[bicycle, car, person]")
    key = "22.cv3.0.2.weight"
    for part, file, order in (("rgb", named, [2, 1, 0]), ("ir", unnamed, [2, 0, 1])):
        source = load_source(file).parts["trunk"][key]
        assert torch.equal(detector.state_dict()[f"{part}.layers.{key}"], source[order])


def test_other_size__is_refused_by_tensor_and_changes_nothing(tmp_path: Path) -> None:
    torch.save({"model.0.conv.weight": torch.ones(32, 3, 3, 3), "model.0.bn.bias": torch.ones(16)}, tmp_path / "w.pt")
    detector = built()
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    expected = r"(?s)2 wrong shapes.*0\.conv\.weight: 32 x 3 x 3 x 3 in the file, 16 x 3 x 3 x 3 in the model"
    with pytest.raises(WeightsError, match=expected):
        load_and_initialise(detector, config_of(f"weights.pretrained={tmp_path / 'w.pt'}"), CLASSES)
    assert all(torch.equal(tensor, before[name]) for name, tensor in detector.state_dict().items())


def test_other_family__is_refused(tmp_path: Path) -> None:
    file = single_stream_file(tmp_path / "w.pt", "yolo11n", yaml={"yaml_file": "yolo11n.yaml", "scale": "n"})
    with pytest.raises(WeightsError, match="wrong shape"):
        transferred(f"weights.pretrained={file}")


@pytest.mark.parametrize("is_named", [True, False])
def test_other_family__whose_shapes_fit_is_refused(is_named: bool, tmp_path: Path) -> None:
    """Half of yolov10n has a place in yolov8n, shapes and all, and would be no use there."""
    yaml_beside = {"yaml_file": "yolov10n.yaml", "scale": "n"} if is_named else None
    file = single_stream_file(tmp_path / "w.pt", "yolov10n", yaml=yaml_beside)
    expected = "it holds yolov10n, but" if is_named else "tensors before the head have no place"
    with pytest.raises(WeightsError, match=expected):
        transferred(f"weights.pretrained={file}")


def test_weights_with_norms__do_not_go_into_a_model_without(pretrained: Path) -> None:
    with pytest.raises(WeightsError, match=r"0\.bn\.weight.*trained with the same model\.norm"):
        transferred("model.norm=none", f"weights.pretrained={pretrained}")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"model.0.conv.weight": torch.ones(16, 3, 3, 3, dtype=torch.int8)}, r"16 x 3 x 3 x 3 of torch\.int8"),
        ({"model.90.weight": torch.ones(3)}, "no tensor in it has a place"),
    ],
    ids=["integers", "nothing-fits"],
)
def test_unusable_tensors__are_refused(state: dict[str, torch.Tensor], message: str, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=message):
        transferred(f"weights.pretrained={tmp_path / 'w.pt'}")
