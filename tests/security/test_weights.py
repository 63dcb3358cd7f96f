"""Test that no command that reads weights runs code from an untrusted file."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.attacks import Calls, plant_pickle
from tests.support.runs import write_config
from tests.support.weights import save_safetensors
from yolofuse.cli import probe as probe_cli
from yolofuse.cli import train as train_cli
from yolofuse.cli import val as val_cli
from yolofuse.errors import WeightsError
from yolofuse.weights import load_checkpoint, load_source, safe_load

CONTAINERS = ["zip", "legacy", "pickle"]
_STATE = {"model.0.conv.weight": torch.zeros(16, 3, 3, 3)}


def _plant(file: Path, marker: Path, container: str, content: dict[str, object] | None = None) -> None:
    if container == "pickle":
        import os

        file.write_bytes(pickle.dumps({"model": Calls(os.system, f"touch {marker}")}))
    else:
        plant_pickle(file, marker, content or dict(_STATE), "legacy" if container == "legacy" else "zip")


@pytest.mark.parametrize("container", CONTAINERS)
def test_planted_file__runs_code_where_it_is_trusted(tmp_path: Path, container: str) -> None:
    """Check the attack itself."""
    file, marker = tmp_path / "w.pt", tmp_path / "marker"
    _plant(file, marker, container)
    if container == "pickle":
        pickle.loads(file.read_bytes())
    else:
        torch.load(file, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("command", [train_cli.main, probe_cli.main], ids=["train", "probe"])
@pytest.mark.parametrize("key", ["pretrained", "rgb", "run-folder"])
def test_weights__of_the_config_run_no_code(
    tmp_path: Path,
    command: Callable[[list[str]], int],
    container: str,
    key: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    marker = tmp_path / "marker"
    file = tmp_path / "w.pt" if key != "run-folder" else tmp_path / "untrusted" / "weights" / "best.pt"
    file.parent.mkdir(parents=True, exist_ok=True)
    _plant(file, marker, container)
    source = str(file if key != "run-folder" else tmp_path / "untrusted")
    weights = {"pretrained" if key != "rgb" else "rgb": source}
    assert command(["--cfg", str(write_config(tmp_path, weights=weights))]) == 2
    message = capsys.readouterr().err
    assert "not opened" in message
    assert "weights_only" not in message  # torch's advice on how to open it unsafely
    assert not marker.exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run of one epoch; return its parent folder."""
    folder = tmp_path_factory.mktemp("finished")
    assert train_cli.main(["--cfg", str(write_config(folder, train={"epochs": 1}))]) == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of the run that a test may damage."""
    shutil.copytree(finished / "run", tmp_path / "run")
    return tmp_path / "run"


def _content_of(run: Path) -> dict[str, object]:
    return dict(load_checkpoint(run / "weights" / "last.pt"))


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("named_by", ["--weights", "--run"])
def test_val__of_a_planted_checkpoint_runs_no_code(
    finished: Path, run: Path, container: str, named_by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    marker, file = run / "marker", run / "weights" / "best.pt"
    _plant(file, marker, container, _content_of(finished / "run"))  # complete, plus the call
    data = ("--data", str(finished / "data" / "data.yaml"))
    arguments = ["--weights", str(file), *data] if named_by == "--weights" else ["--run", str(run)]
    assert val_cli.main(arguments) == 2
    assert "not opened" in capsys.readouterr().err
    assert not marker.exists()


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("force", [False, True])
def test_resume__of_planted_checkpoints_runs_no_code(
    finished: Path, run: Path, container: str, force: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every checkpoint of the run folder is planted, so there is none to fall back to."""
    marker = run / "marker"
    content = _content_of(finished / "run")
    for file in (run / "weights").glob("*.pt"):
        file.unlink()  # last.pt may be a hard link
        _plant(file, marker, container, content)
    for name in ("FINISHED", "PREEMPTED"):
        (run / name).unlink(missing_ok=True)
    assert train_cli.main(["--resume", str(run), *(["--force"] if force else [])]) == 2
    refusal = capsys.readouterr().err
    assert "not opened" in refusal or "no checkpoint of the run is intact" in refusal  # without a checksum
    assert not marker.exists()


def _safetensors(path: Path, header: bytes, body: bytes = b"", length: int | None = None) -> None:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + body)


_HEADERS = {
    "endless": (b"{}", 1 << 62),
    "deep": (b'{"a":' * 20_000, None),
    "overlap": (b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},'
                b'"b":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', None),
    "beyond": (b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}', None),
    "overflow": (b'{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}', None),
    "unknown": (b'{"a":{"dtype":"OBJECT","shape":[1],"data_offsets":[0,4]}}', None),
    "no-json": (b"\x80\x04cos\nsystem\n", None),
}  # fmt: skip


@pytest.mark.parametrize("kind", [*_HEADERS, "pickle", "empty", "text"])
def test_safetensors__malformed_is_refused(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    file, marker = tmp_path / "w.safetensors", tmp_path / "marker"
    if kind in _HEADERS:
        header, length = _HEADERS[kind]
        _safetensors(file, header, bytes(16), length)
    elif kind == "pickle":
        _plant(file, marker, "zip")
    else:
        file.write_bytes(b"" if kind == "empty" else b"not weights")
    assert train_cli.main(["--cfg", str(write_config(tmp_path, weights={"pretrained": str(file)}))]) == 2
    message = capsys.readouterr().err
    assert "w.safetensors: damaged or no safetensors file" in message
    assert "\n" not in message.strip()
    assert not marker.exists()


def test_safetensors__names_are_read_and_a_yaml_bomb_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_safetensors(file, {"trunk": {"0.conv.weight": torch.ones(16, 3, 3, 3)}}, names=["a"], base="yolov8n")
    source = load_source(file)
    assert (source.names, source.base, source.input_modality) == (("a",), "yolov8n", "rgb")
    bomb = "[&a [x], " + ", ".join(f"&a{i} [{', '.join(['*a' + (str(i - 1) if i else '')] * 9)}]" for i in range(20))
    head = {"__metadata__": {"names": bomb + "]"}, "0.a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    _safetensors(file, json.dumps(head).encode(), bytes(4))
    with pytest.raises(WeightsError, match="names in its metadata can't be read"):
        load_source(file)


def test_safetensors__round_trip_is_bit_identical(finished: Path, tmp_path: Path) -> None:
    """Export a yolofuse run and read it again."""
    ours = load_source(finished / "run")
    file = tmp_path / "w.safetensors"
    save_safetensors(file, ours.parts, names=ours.names, base=ours.base)
    again = load_source(file)
    assert (again.names, again.base, again.input_modality) == (ours.names, ours.base, ours.input_modality)
    assert again.parts.keys() == ours.parts.keys()
    for part, tensors in ours.parts.items():
        assert again.parts[part].keys() == tensors.keys()
        assert all(torch.equal(again.parts[part][name], tensor) for name, tensor in tensors.items())
    config = write_config(tmp_path, finished / "data" / "data.yaml", weights={"pretrained": str(file)})
    assert train_cli.main(["--cfg", str(config), "train.epochs=1"]) == 0


def test_safetensors__is_refused_as_a_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_safetensors(file, {"trunk": {"0.a": torch.ones(1)}})
    with pytest.raises(WeightsError, match="holds weights and no run"):
        load_checkpoint(file)


def test_torch__that_cannot_open_files_safely_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "w.pt"
    torch.save(_STATE, file)
    for version in ("2.9.1+cpu", "1.13.0", "unknown"):
        monkeypatch.setattr(torch, "__version__", version)
        with pytest.raises(WeightsError, match="can't open weights safely: pip install"):
            safe_load.open_plain(file)
    for version in ("2.10.0", "2.15.0+cu130", "3.0.0a0"):
        monkeypatch.setattr(torch, "__version__", version)
        safe_load.open_plain(file)
