from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from yolofuse.config import Config, dump_config, load_config
from yolofuse.config.field_types import part_options
from yolofuse.errors import ConfigError

REPO = Path(__file__).resolve().parents[3]
SHIPPED = sorted(path for path in (REPO / "configs").rglob("*.yaml") if path.parent.name != "data")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: str(p.relative_to(REPO)))
def test_shipped__loads_and_survives_saving(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    assert load_config(write(tmp_path, dump_config(config))) == config


def test_custom__names_every_key_with_its_default(tmp_path: Path) -> None:
    """The commented file lists every option of the schema."""
    text = (REPO / "configs" / "custom.yaml").read_text()
    written = yaml.safe_load(re.sub(r"# \[(\w+: [^]]+)\]", r"\1", text))  # what the recipe sets is commented out
    least = load_config(write(tmp_path, "data: {descriptor: x.yaml}\ntrain: {run: runs/custom}"))

    def compare(section: BaseModel, keys: dict[str, object], where: str) -> None:
        assert set(keys) == set(type(section).model_fields), where
        for name, value in keys.items():
            default = getattr(section, name)
            if isinstance(default, BaseModel):
                assert isinstance(value, dict)
                compare(default, value, f"{where}.{name}")
            elif name not in {"descriptor", "run"}:
                assert (list(default) if isinstance(default, tuple) else default) == value, f"{where}.{name}"

    compare(least, written, "config")


def test_override__is_read_as_yaml(tmp_path: Path) -> None:
    path = write(tmp_path, "data: {descriptor: x.yaml}\ntrain: {run: r}")
    overrides = [
        "train.lr0=1e-3",
        "model.cut=7",
        "train.freeze=[a, b]",
        "weights.pretrained=null",
        "train.augment.mosaic=0",
        "model.fusion={name: gated, reduction: 8}",
    ]
    config = load_config(path, overrides)
    assert config.train.lr0 == 0.001
    assert config.model.cut == 7
    assert config.train.freeze == ("a", "b")
    assert config.weights.pretrained is None
    assert config.train.augment.mosaic == 0
    assert part_options(config.model.fusion) == {"reduction": 8}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("train.imgsz=0640", "train.imgsz: input should be a valid integer; write 640 (got '0640')"),
        ("train.epochs=010", "train.epochs: input should be a valid integer; write 10 (got '010')"),
        ("train.epochs=0o17", "train.epochs: input should be a valid integer; write it in decimal (got '0o17')"),
        ("train.save_minutes=1:30", "train.save_minutes: input should be a valid number; write it in decimal"),
        ("train.nominal_batch=08", "train.nominal_batch: input should be a valid integer; write 8 (got '08')"),
        ("model.cut=010", "or a valid integer; write 10 (got '010')"),
        ("data.val_split=no", "data.val_split: input should be a valid string; put it in quotes"),
        ("data.classes=[car, on]", "data.classes.1: input should be a valid string; put it in quotes"),
        ("train.run=2024-05-01", "train.run: input should be a valid string; put it in quotes"),
    ],
)
def test_number__that_yaml_reads_as_another_is_refused_by_name(tmp_path: Path, word: str, message: str) -> None:
    """In a file and on the command line alike: 0640 is octal in YAML 1.1, and 1:30 is base 60."""
    key, _, value = word.partition("=")
    section, _, option = key.partition(".")
    sections = {"data": {"descriptor": "x.yaml"}, "train": {"run": "r"}}
    plain = yaml.safe_dump(sections)
    sections.setdefault(section, {})[option] = "HERE"
    in_file = yaml.safe_dump(sections).replace("HERE", value)
    for text, words in ((plain, [word]), (in_file, [])):
        with pytest.raises(ConfigError) as caught:
            load_config(write(tmp_path, text), words)
        assert message in str(caught.value)


def test_text__that_looks_like_a_number_stays_as_written(tmp_path: Path) -> None:
    words = ["train.run=010", "data.val_split=1:30", "data.single_class=007"]
    config = load_config(write(tmp_path, "data: {descriptor: x.yaml}\ntrain: {run: r}"), words)
    assert (config.train.run, config.data.val_split, config.data.single_class) == ("010", "1:30", "007")
    assert load_config(write(tmp_path, dump_config(config))) == config
    config = load_config(write(tmp_path, "data: {descriptor: x.yaml}\ntrain: {run: r, epochs: 1_000}"))
    assert config.train.epochs == 1000


def test_paths__become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "data: {descriptor: sets/x.yaml}\ntrain: {run: r}")
    monkeypatch.chdir(tmp_path)
    assert load_config(path).data.descriptor == str(tmp_path / "sets" / "x.yaml")


@pytest.mark.parametrize("run", ["", " ", "~nobody-of-this-name/run"])
def test_run_folder__needs_a_name_of_its_own(tmp_path: Path, run: str) -> None:
    path = write(tmp_path, f"data: {{descriptor: x.yaml}}\ntrain: {{run: '{run}'}}")
    with pytest.raises(ConfigError, match=r"train\.run: (name a folder of the run's own|no home folder ~nobody)"):
        load_config(path)


def test_run_folder__may_be_below_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    path = write(tmp_path, "data: {descriptor: x.yaml}\ntrain: {run: ~/runs/a}")
    assert load_config(path).run_dir == Path("/home/me/runs/a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {descriptor: x}\ntrain: {run: r, imgsize: 3}", "train.imgsize: unknown key; did you mean train.imgsz?"),
        ("data: {descriptor: x}\ntrain: {run: r}\nepochs: 3", "epochs: unknown key; did you mean train.epochs?"),
        ("data: {descriptor: x}\ntrain: {run: r, augment: {mosiac: 1}}", "did you mean train.augment.mosaic?"),
        ("train: {run: r}", "data: is missing"),
        ("data: {descriptor: x}\ntrain: {run: r, lr0: .inf}", "train.lr0"),
        ("data: {descriptor: x}\ntrain: {run: r, batch: '8'}", "train.batch"),
        ("data: {descriptor: x}\ntrain: {run: r, batch: true}", "train.batch"),
        (
            "data: {descriptor: x}\ntrain: {run: r}\ntrain: {run: s}",
            "c.yaml:3: not valid YAML (key 'train' is given twice",
        ),
        ("data: [", "not valid YAML"),
        ("- 1", "must hold a mapping"),
        ("data: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_mistake__is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    assert message in str(caught.value)


def test_mistakes__come_all_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "data: {descriptor: x}\ntrain: {run: r, imgsz: 650, bacth: 3}\nval: {conf: 7}")
    with pytest.raises(ConfigError, match="3 wrong values"):
        load_config(path)


def test_config__is_frozen(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "data: {descriptor: x}\ntrain: {run: r}"))
    with pytest.raises(ValueError, match="frozen"):
        config.train.epochs = 3  # type: ignore[misc]
    assert isinstance(config, Config)
