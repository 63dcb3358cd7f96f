"""What of a file arrives where, and what a checkpoint on disk survives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.unit.weights.test_sources import real_weights
from yolofuse.config import Config
from yolofuse.config.load import plain_config, validate_config
from yolofuse.engine.evaluate import load_detector
from yolofuse.errors import ConfigError, WeightsError
from yolofuse.model import Detector, build_detector
from yolofuse.upstream import build_layers, resolve_base
from yolofuse.weights import WeightsReport, load_and_initialise, load_checkpoint, load_source, save_checkpoint

NAMES = ("person", "bicycle", "car")


def config_of(*words: str) -> Config:
    raw = {"data": {"descriptor": "x.yaml"}, "train": {"run": "runs/x"}, "model": {"base": "yolov8n"}}
    return validate_config(raw, words, where="test")


def begin(*words: str, names: tuple[str, ...] = NAMES) -> tuple[Detector, WeightsReport]:
    config = config_of(*words)
    detector = build_detector(config.model, num_classes=len(names), seed=3)
    return detector, load_and_initialise(detector, config, names)


def single_stream_file(path: Path, base: str = "yolov8n", names: tuple[str, ...] = NAMES, **more: Any) -> Path:
    """A state_dict as ultralytics names it, with the names of its classes."""
    torch.manual_seed(11)
    layers = torch.nn.Sequential(*build_layers(resolve_base(base), channels=3, num_classes=len(names)))
    state = {f"model.{name}": tensor for name, tensor in layers.state_dict().items()}
    torch.save({"state_dict": state, "names": list(names), **more}, path)
    return path


def run_file(path: Path, *words: str, seed: int = 5, names: tuple[str, ...] = NAMES) -> Detector:
    """A checkpoint of ours, of a model with weights that nobody else draws."""
    config = config_of(*words, f"init.seed={seed}")
    detector = build_detector(config.model, num_classes=len(names), seed=seed)
    load_and_initialise(detector, config, names)
    content = {"config": plain_config(config), "names": list(names), "ema": detector.state_dict()}
    save_checkpoint(path, content | {"epoch": 1, "data_hash": "x", "ap": 0.1})
    return detector


@pytest.mark.parametrize("cut", ["input", "early", "mid", "late", "decision"])
def test_transfer__every_tensor_equals_its_source(cut: str, tmp_path: Path) -> None:
    file = single_stream_file(tmp_path / "w.pt")
    source = load_source(file).parts["trunk"]
    detector, report = begin(f"model.cut={cut}", f"weights.pretrained={file}")
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
    fresh = {name for name, fate in report.statuses.items() if fate == "initialised"}
    assert all(name.startswith("fusion") for name in fresh)
    assert report.warnings == ()


def test_transfer__inflated_stem_sees_grey_as_rgb_saw_it(tmp_path: Path) -> None:
    file = single_stream_file(tmp_path / "w.pt")
    rgb, ir = (begin(f"model.streams={s}", f"weights.pretrained={file}")[0].eval() for s in ("rgb", "ir"))
    grey = torch.rand(1, 1, 64, 64)
    image = grey.expand(-1, 3, -1, -1)
    with torch.no_grad():
        torch.testing.assert_close(ir(image, grey)["trunk"][0], rgb(image, grey)["trunk"][0])


def test_transfer__own_runs_are_the_two_streams(tmp_path: Path) -> None:
    """RGB-only and IR-only runs of ours make a dual model: a stream from each, the trunk from the one that is asked."""
    rgb = run_file(tmp_path / "rgb.pt", "model.streams=rgb", seed=5).state_dict()
    ir = run_file(tmp_path / "ir.pt", "model.streams=ir", seed=6).state_dict()
    sources = (f"weights.rgb={tmp_path / 'rgb.pt'}", f"weights.ir={tmp_path / 'ir.pt'}")
    for trunk, expected in (("rgb", rgb), ("ir", ir)):
        detector, report = begin(*sources, f"weights.trunk={trunk}")
        for name, tensor in detector.state_dict().items():
            part, _, rest = name.partition(".layers.")
            if report.statuses.get(name) == "loaded":
                origin = {"rgb": rgb, "ir": ir, "trunk": expected}[part]
                assert torch.equal(tensor, origin[f"trunk.layers.{rest}"]), name
        assert {report.count(part)["initialised"] for part in ("rgb", "ir", "trunk")} == {0}
        assert report.count("ir")["inflated"] == 0  # its source reads one channel already


def test_transfer__own_dual_run_goes_into_another_cut(tmp_path: Path) -> None:
    before = run_file(tmp_path / "mid.pt", "model.cut=mid").state_dict()
    detector, report = begin("model.cut=late", f"weights.pretrained={tmp_path / 'mid.pt'}")
    state = detector.state_dict()
    assert torch.equal(state["ir.layers.4.cv1.conv.weight"], before["ir.layers.4.cv1.conv.weight"])
    assert torch.equal(state["ir.layers.15.cv1.conv.weight"], before["trunk.layers.15.cv1.conv.weight"])
    assert {fate for part in ("rgb", "ir", "trunk") for fate in report.count(part)} == {"loaded", "fixed"}
    again, same = begin("model.cut=mid", f"weights.pretrained={tmp_path / 'mid.pt'}")
    assert all(torch.equal(before[name], tensor) for name, tensor in again.state_dict().items())
    assert set(same.statuses.values()) == {"loaded", "fixed"}


def test_transfer__ir_run_into_an_rgb_stem_and_a_stacked_one(tmp_path: Path) -> None:
    before = run_file(tmp_path / "ir.pt", "model.streams=ir").state_dict()["trunk.layers.0.conv.weight"]
    words = f"weights.pretrained={tmp_path / 'ir.pt'}"
    rgb, _ = begin("model.streams=rgb", words)
    torch.testing.assert_close(rgb.get_parameter("trunk.layers.0.conv.weight").sum(1, keepdim=True), before)
    stacked, _ = begin("model.cut=input", words)
    torch.testing.assert_close(stacked.get_parameter("trunk.layers.0.conv.weight").sum(1, keepdim=True), before)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model.streams=ir", "weights.ir=FILE"), "no ir stream of its own"),
        (("model.share=true", "weights.ir=FILE"), "no ir stream of its own"),
        (("model.cut=decision", "weights.trunk=FILE"), "a decision model has no trunk"),
        (("weights.trunk=ir", "weights.rgb=FILE"), "the ir stream has no source"),
        (("weights.name_map=FILE",), "no file to apply it to"),
        (("weights.class_names=[a]",), "no file to apply it to"),
        (("model.cut=decision", "weights.rgb=FILE", "weights.ir=FILE", "weights.pretrained=other.pt"), "leave it out"),
    ],
)
def test_sources__for_parts_that_are_not_there(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    file = single_stream_file(tmp_path / "w.pt")
    with pytest.raises(ConfigError, match=message):
        begin(*(word.replace("FILE", str(file)) for word in words))


def test_classes__rows_go_by_name_and_the_rest_is_new(tmp_path: Path) -> None:
    file = single_stream_file(tmp_path / "w.pt", "yolov8n", ("Car", "dog", "person"))
    source = load_source(file).parts["trunk"]
    detector, report = begin(f"weights.pretrained={file}")
    fresh, _ = begin()
    for key in ("22.cv3.0.2.weight", "22.cv3.0.2.bias"):
        tensor, drawn = detector.state_dict()[f"trunk.layers.{key}"], fresh.state_dict()[f"trunk.layers.{key}"]
        assert torch.equal(tensor, torch.stack([source[key][2], drawn[1], source[key][0]]))  # person, bicycle, car
    entry = next(e for e in report.records if e.name == "trunk.layers.22.cv3.0.2.weight")
    assert entry.status == "partial"
    assert entry.num_loaded == 2 * 64
    assert entry.rows is not None
    assert entry.rows.tolist() == [True, False, True]


def test_classes__unnamed_are_taken_in_order_with_a_warning_or_not_at_all(tmp_path: Path) -> None:
    file = single_stream_file(tmp_path / "w.pt", names=("0", "1", "2"))
    _, report = begin(f"weights.pretrained={file}")
    assert report.count("trunk")["initialised"] == report.count("trunk")["partial"] == 0
    assert any("does not name its classes" in warning for warning in report.warnings)
    _, other = begin(f"weights.pretrained={file}", names=("person", "car"))
    assert other.count("trunk")["initialised"] == 6  # weight and bias of three levels
    assert any("weights.class_names" in warning for warning in other.warnings)
    _, named = begin(f"weights.pretrained={file}", "weights.class_names=[car, dog, person]", names=("person", "car"))
    assert named.count("trunk")["initialised"] == 0
    assert named.warnings == ()


def test_transfer__other_size_is_refused_with_the_tensor_named_and_changes_nothing(tmp_path: Path) -> None:
    file = single_stream_file(tmp_path / "w.pt", "yolov8s")
    config = config_of(f"weights.pretrained={file}")
    detector = build_detector(config.model, num_classes=3)
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    with pytest.raises(WeightsError, match=r"0\.conv\.weight: 32 x 3 x 3 x 3 in the file, 16 x 3 x 3 x 3 in the model"):
        load_and_initialise(detector, config, NAMES)
    assert all(torch.equal(tensor, before[name]) for name, tensor in detector.state_dict().items())


def test_transfer__other_family_is_refused(tmp_path: Path) -> None:
    file = single_stream_file(tmp_path / "w.pt", "yolo11n", yaml={"yaml_file": "yolo11n.yaml", "scale": "n"})
    with pytest.raises(WeightsError, match="wrong shape"):
        begin(f"weights.pretrained={file}")


@pytest.mark.parametrize("says", [True, False])
def test_transfer__a_family_whose_shapes_fit_is_refused(says: bool, tmp_path: Path) -> None:
    """Half of yolov10n has a place in yolov8n, shapes and all, and would be no use there."""
    yaml_beside = {"yaml_file": "yolov10n.yaml", "scale": "n"} if says else None
    file = single_stream_file(tmp_path / "w.pt", "yolov10n", yaml=yaml_beside)
    expected = "it holds yolov10n, but" if says else "tensors before the head have no place"
    with pytest.raises(WeightsError, match=expected):
        begin(f"weights.pretrained={file}")


def test_transfer__weights_with_norms_do_not_go_into_a_model_without(tmp_path: Path) -> None:
    file = single_stream_file(tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"0\.bn\.weight.*trained with the same model\.norm"):
        begin("model.norm=none", f"weights.pretrained={file}")


def test_transfer__integers_are_no_weights(tmp_path: Path) -> None:
    torch.save({"model.0.conv.weight": torch.ones(16, 3, 3, 3, dtype=torch.int8)}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"16 x 3 x 3 x 3 of torch\.int8"):
        begin(f"weights.pretrained={tmp_path / 'w.pt'}")


def test_transfer__nothing_fits(tmp_path: Path) -> None:
    torch.save({"model.90.weight": torch.ones(3)}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="no tensor in it has a place"):
        begin(f"weights.pretrained={tmp_path / 'w.pt'}")


def test_require__stops_a_run_that_loaded_less(tmp_path: Path) -> None:
    file = single_stream_file(tmp_path / "w.pt")
    begin(f"weights.pretrained={file}", "weights.require=1.0")
    state = torch.load(file, weights_only=True)
    state["state_dict"] = {key: value for key, value in state["state_dict"].items() if ".8." not in key}
    torch.save(state, file)
    _, report = begin(f"weights.pretrained={file}")
    share = report.share_loaded()
    assert 0.3 < share < 0.95
    with pytest.raises(WeightsError, match=r"weights\.require: 95\.0%"):
        begin(f"weights.pretrained={file}", "weights.require=0.95")
    with pytest.raises(WeightsError, match=r"0\.0% was"):
        begin("weights.require=0.1")


def test_smells__are_warned_of(tmp_path: Path) -> None:
    file = single_stream_file(tmp_path / "w.pt")
    state = torch.load(file, weights_only=True)
    backbone = {key: v for key, v in state["state_dict"].items() if key.split(".")[1] in {"0", "1", "2"}}
    torch.save({"state_dict": backbone, "names": list(NAMES)}, tmp_path / "part.pt")
    _, report = begin(f"weights.rgb={file}", f"weights.ir={tmp_path / 'part.pt'}")
    assert any(w.startswith("ir: only ") for w in report.warnings)
    _, report = begin(f"weights.rgb={file}", f"weights.trunk={file}")
    assert any(w.startswith("ir: has no pretrained weights") for w in report.warnings)
    _, report = begin(f"weights.rgb={file}", f"weights.trunk={tmp_path / 'part.pt'}")
    assert any(w.startswith("trunk: nothing was loaded") for w in report.warnings)
    run_file(tmp_path / "ir.pt", "model.streams=ir")
    _, report = begin(f"weights.rgb={tmp_path / 'ir.pt'}", f"weights.ir={file}")
    assert any("are weights.rgb and ir swapped?" in w for w in report.warnings)


def test_name_map__takes_a_foreign_state_dict(tmp_path: Path) -> None:
    source = load_source(single_stream_file(tmp_path / "w.pt")).parts["trunk"]
    foreign = {f"stem.{key[2:]}": tensor for key, tensor in source.items() if key.startswith("0.")}
    foreign |= {f"stage1.down.{key[2:]}": tensor for key, tensor in source.items() if key.startswith("1.")}
    torch.save(foreign | {"classifier.weight": torch.ones(10, 3)}, tmp_path / "timm.pt")
    (tmp_path / "map.yaml").write_text(yaml.safe_dump({"stem.*": "0.*", "stage1.down.*": "1.*"}))
    words = (f"weights.pretrained={tmp_path / 'timm.pt'}", f"weights.name_map={tmp_path / 'map.yaml'}")
    detector, report = begin(*words)
    assert torch.equal(detector.get_parameter("ir.layers.1.conv.weight"), source["1.conv.weight"])
    assert report.count("rgb")["loaded"] == 10
    (tmp_path / "map.yaml").write_text("stem.*: [0]")
    with pytest.raises(ConfigError, match="a name map is lines like"):
        begin(*words)
    (tmp_path / "map.yaml").write_text(yaml.safe_dump({"stem.*": "0.*", "stage1.down.*": "1.*"}))
    own = single_stream_file(tmp_path / "own.pt")
    mixed, _ = begin(f"weights.ir={own}", *words)  # the map is for the file whose layers are not numbered
    assert torch.equal(mixed.get_parameter("ir.layers.4.cv1.conv.weight"), source["4.cv1.conv.weight"])
    with pytest.raises(ConfigError, match="numbered already"):
        begin(f"weights.pretrained={own}", words[1])


def test_class_names__are_for_files_that_name_none(tmp_path: Path) -> None:
    named = single_stream_file(tmp_path / "named.pt", names=("car", "bicycle", "person"))
    bare = single_stream_file(tmp_path / "bare.pt", names=("0", "1", "2"))
    words = ("model.cut=decision", f"weights.rgb={named}", f"weights.ir={bare}")
    detector, _ = begin(*words, "weights.class_names=[bicycle, car, person]")
    for part, file, person in (("rgb", named, 2), ("ir", bare, 2)):
        key = "22.cv3.0.2.weight"
        assert torch.equal(
            detector.state_dict()[f"{part}.layers.{key}"][0], load_source(file).parts["trunk"][key][person]
        )
    key = "22.cv3.0.2.weight"
    source = load_source(named).parts["trunk"][key]
    assert torch.equal(detector.state_dict()[f"rgb.layers.{key}"], source.flip(0))


def test_report__table_and_json_agree(tmp_path: Path) -> None:
    file = single_stream_file(tmp_path / "w.pt")
    _, report = begin(f"weights.rgb={file}", "train.freeze=[rgb.*]")
    plain = report.plain()
    assert sum(sum(counts.values()) for counts in plain["parts"].values()) == len(plain["tensors"])
    table = report.format()
    assert str(report.count("trunk")["loaded"]) in next(row for row in table.splitlines() if row.startswith("trunk"))
    layers = report.format(modules=True)
    assert "rgb.layers.0 " in layers
    assert "average of both streams" in layers
    drawn = [t for t in plain["tensors"] if t.get("expected_std")]
    assert drawn
    assert all(t["measured_std"] == pytest.approx(t["expected_std"], rel=0.5) for t in drawn)


@pytest.mark.real
def test_real_yolov5n__pickle_and_state_dict_give_the_same_model() -> None:
    words = "model.base=yolov5n", f"weights.pretrained={real_weights('yolov5n.pt')}"
    pickled, _ = begin(*words)
    plain, _ = begin(words[0], f"weights.pretrained={real_weights('yolov5n_state_dict.pt')}")
    expected = plain.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in pickled.state_dict().items())


def test_save__failure_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 1})

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(WeightsError, match="No space left"):
        save_checkpoint(path, {"step": 2})
    assert load_checkpoint(path)["step"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_load__damaged_checkpoint_of_ours_is_told(tmp_path: Path) -> None:
    run_file(tmp_path / "run.pt")
    content = load_checkpoint(tmp_path / "run.pt")
    with pytest.raises(WeightsError, match="it lacks optimizer"):
        load_checkpoint(tmp_path / "run.pt", needs=("ema", "optimizer"))
    content["ema"].popitem()
    save_checkpoint(tmp_path / "short.pt", {key: value for key, value in content.items() if "format" not in key})
    with pytest.raises(WeightsError, match="does not fit its own model"):
        load_detector(tmp_path / "short.pt")


def test_load__foreign_file_is_refused(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="not a yolofuse checkpoint"):
        load_checkpoint(tmp_path / "a.pt")
