"""Test that every command refuses YAML bombs, and keys and tags that run code in other programs."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.support.pairs import make_pairs
from tests.support.runs import write_config
from yolofuse.cli import data as data_cli
from yolofuse.cli import probe as probe_cli
from yolofuse.cli import train as train_cli
from yolofuse.config import load_config
from yolofuse.config.safe_yaml import MAX_BYTES
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.errors import ConfigError, DataError

_LISTS = (", ".join([f"*a{i - 1}"] * 9 if i else ["x"]) for i in range(30))
_MERGES = (f"&m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}]}}" if i else "&m0 {k: 1}" for i in range(30))
BOMBS = {
    "lists": "[" + ", ".join(f"&a{i} [{level}]" for i, level in enumerate(_LISTS)) + "]",
    "merges": "[" + ", ".join(_MERGES) + "]",
    "self-reference": "&a [*a]",
    "chain": "[&c0 [x], " + ", ".join(f"&c{i} [*c{i - 1}]" for i in range(1, 900)) + "]",
    "depth": "[" * 100 + "]" * 100,
    "great-depth": "[" * 20_000 + "]" * 20_000,
    "digits": "9" * 100_000,
    "hexadecimal": "0x" + "f" * 100_000,
    "sexagesimal": "1" + ":59" * 100_000,
    "escapes": r'"\e]0;owned\a\e[2J"',
    "bidi-override": r'"\u202Egnp.exe"',
    "size": "x" * MAX_BYTES,
}


def _code(marker: Path) -> dict[str, str]:
    call = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    return {
        "apply": f"!!python/object/apply:os.system ['touch {marker}']",
        "new": f"!!python/object/new:subprocess.Popen [[touch, {marker}]]",
        "module": "!!python/module:antigravity",
        "name": "!!python/name:os.system",
        "tuple": "!!python/tuple [1, 2]",
        "text": f'"{call}"',
    }


@pytest.mark.parametrize("kind", ["apply", "new", "module", "name", "tuple"])
@pytest.mark.parametrize("place", ["config", "descriptor"])
def test_tag__that_constructs_an_object_is_refused(
    tmp_path: Path, kind: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "marker"
    config = write_config(tmp_path)
    file = config if place == "config" else tmp_path / "data" / "data.yaml"
    file.write_text(f"{file.read_text()}\nmore: {_code(marker)[kind]}\n")
    assert train_cli.main(["--cfg", str(config)]) == 2
    assert "could not determine a constructor for the tag" in capsys.readouterr().err
    assert not marker.exists()


@pytest.mark.parametrize("command", ["train", "check"])
@pytest.mark.parametrize("script", ["text", "bash", "url"])
def test_download__is_refused_and_not_run(
    tmp_path: Path, command: str, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ultralytics runs such a text as Python and ``bash ...`` in a shell, and downloads and unpacks a URL."""
    marker = tmp_path / "marker"
    config, descriptor = write_config(tmp_path), tmp_path / "data" / "data.yaml"
    texts = {"text": _code(marker)["text"], "bash": f"bash -c 'touch {marker}'", "url": "http://127.0.0.1:9/x.zip"}
    content = yaml.safe_load(descriptor.read_text()) | {"download": texts[script]}
    descriptor.write_text(yaml.safe_dump(content))
    if command == "train":
        code = train_cli.main(["--cfg", str(config)])
    else:
        code = data_cli.main(["check", "--data", str(descriptor), "--out", str(tmp_path / "report")])
    assert code == 2
    assert "download: refused" in capsys.readouterr().err
    assert not marker.exists()


@pytest.mark.parametrize("script", ["text", "bash", "url"])
def test_download__of_another_tools_yaml_is_ignored_and_not_run(
    tmp_path: Path, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "marker"
    make_pairs(tmp_path, 1, 0)
    texts = {"text": _code(marker)["text"], "bash": f"bash -c 'touch {marker}'", "url": "http://127.0.0.1:9/x.zip"}
    flat = {"names": ["person"], "train": "rgb/train", "train_labels": "labels/train", "download": texts[script]}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(flat))
    assert data_cli.main(["check", "--data", str(tmp_path / "data.yaml"), "--out", str(tmp_path / "report")]) < 2
    assert "ignored download (nothing is fetched or run)" in capsys.readouterr().out
    assert not marker.exists()


@pytest.mark.parametrize("command", [train_cli.main, probe_cli.main], ids=["train", "probe"])
@pytest.mark.parametrize("key", ["activation", "yaml_file", "model", "base"])
def test_model__accepts_no_model_yaml_of_the_user(
    tmp_path: Path, key: str, command: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ultralytics evaluates a model YAML's ``activation``; it must get only names, never a user's YAML."""
    marker = tmp_path / "marker"
    description = tmp_path / "yolov8n.yaml"
    text = _code(marker)["text"]
    description.write_text(f"nc: 1\nactivation: {text}\nbackbone: []\nhead: []\n")
    value = str(description) if key in ("yaml_file", "base") else text.strip('"')
    config = write_config(tmp_path, model={key: value})
    assert callable(command)
    assert command(["--cfg", str(config)]) == 2
    message = capsys.readouterr().err
    assert "model.base: unknown model" in message if key == "base" else f"model.{key}: unknown key" in message
    assert not marker.exists()


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("place", ["config", "descriptor"])
def test_bomb__is_refused_quickly(tmp_path: Path, bomb: str, place: str) -> None:
    descriptor = make_pairs(tmp_path / "data", 1, 0)
    config = write_config(tmp_path, descriptor)
    file = config if place == "config" else descriptor
    file.write_text(f"{file.read_text()}\nframe: {BOMBS[bomb]}\n")
    started = time.perf_counter()
    load: Callable[[], object] = partial(load_config, config)
    if place == "descriptor":
        load = partial(load_descriptor, descriptor)
    with pytest.raises((ConfigError, DataError), match=rf"{file.name}(:\d+)?: ") as caught:
        load()
    assert time.perf_counter() - started < 20  # expanding the first one would never end
    assert len(str(caught.value)) < 2000
    assert str(caught.value).replace("\n", "").isprintable()


def test_override__bomb_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path)
    assert train_cli.main(["--cfg", str(config), f"train.epochs={BOMBS['lists']}", "train.imgsz=2001-99-99"]) == 2
    message = capsys.readouterr().err
    assert "train.epochs: " in message
    assert "train.imgsz: " in message
