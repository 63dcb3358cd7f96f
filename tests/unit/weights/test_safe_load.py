"""Untrusted files: other formats are refused in one line, and nothing that a file names ever runs."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.weights import holds_exactly, saved, small_state, ultralytics_model
from yolofuse.errors import WeightsError
from yolofuse.upstream import resolve_base
from yolofuse.weights.checkpoint import load_checkpoint
from yolofuse.weights.safe_load import open_models
from yolofuse.weights.sources import load_source


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._call = (function, args)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


def _text(path: Path) -> None:
    path.write_text("import os\nthese are no weights\n")


def _foreign_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "x")


def _truncated(path: Path) -> None:
    torch.save(small_state(), path)
    path.write_bytes(path.read_bytes()[:-1000])


def _truncated_legacy(path: Path) -> None:
    torch.save(small_state(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:3000])


def _damaged_pickle(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", b"\x80\x02}q\x00(X\xff\xff\xff\x7f")
        archive.writestr("w/version", "3")


def _script(path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), path)  # type: ignore[no-untyped-call]


def _self_holding(path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(1, 1, 1))
    module._modules["1"] = module
    torch.save({"model": module}, path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda p: p.touch(), "an empty file; copy it again"),
        (_text, "not a file of torch.save .begins with b'import os"),
        (_foreign_zip, "torch.save did not write it"),
        (_truncated, "damaged, its end is missing .*copy it again"),
        (_truncated_legacy, "damaged"),
        (_damaged_pickle, "damaged"),
        (_script, "TorchScript.*give the checkpoint"),
        (_self_holding, "no model"),
        (lambda p: p.write_bytes(pickle.dumps({"model.0.a": [1.0]})), "a pickle that torch.save did not write"),
        (lambda p: torch.save({"epoch": 1, "names": ["a"]}, p), r"no model .*\(got a dict of 'epoch', 'names'\)"),
        (lambda p: torch.save([1, 2], p), r"no model .*\(got list\)"),
        (lambda p: torch.save({"model": {}}, p), "no model"),
        (lambda p: None, "no such weights file"),
    ],
    ids=["empty", "text", "zip", "truncated", "truncated-legacy", "damaged-pickle", "torchscript", "self-holding",
         "pickle", "no-tensors", "list", "empty-dict", "missing"],
)  # fmt: skip
def test_other_files__are_refused_in_one_line(make: Callable[[Path], None], expected: str, tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    make(file)
    with pytest.raises(WeightsError, match=expected) as caught:
        load_source(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)  # torch's advice on how to open it unsafely


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("call", ["os.system", "eval", "exec", "getattr"])
def test_code__does_not_run(call: str, legacy: bool, tmp_path: Path) -> None:
    marker, file = tmp_path / "ran", tmp_path / "w.pt"
    touch = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    harmful = {
        "os.system": Calls(os.system, f"touch {marker}"),
        "eval": Calls(eval, touch),
        "exec": Calls(exec, touch),
        "getattr": Calls(getattr, Calls(os.system, f"touch {marker}"), "real"),
    }[call]
    content = {**small_state(), "also": harmful}
    if legacy:
        torch.save(content, file, _use_new_zipfile_serialization=False)
    else:
        torch.save(content, file)
    with pytest.raises(WeightsError, match=r"w\.pt: .*not opened"):
        load_source(file)
    assert not marker.exists()


def test_code__no_constructor_of_an_allowed_class_runs(tmp_path: Path) -> None:
    """Ultralytics evaluates a text of its model's description; the call is ignored, the tensors are read."""
    from ultralytics.nn.tasks import DetectionModel

    marker = tmp_path / "ran"
    touch = f"__import__('pathlib').Path({str(marker)!r}).touch() or nn.ReLU()"
    description = resolve_base("yolov8n").read() | {"activation": touch}
    file = saved(tmp_path / "w.pt", {"model": small_state(), "also": Calls(DetectionModel, description, 3, 3, False)})
    assert holds_exactly(load_source(file), small_state(prefix=""))
    assert not marker.exists()
    with pytest.raises(WeightsError, match=r"names ultralytics\.nn\.tasks\.DetectionModel, .*not opened"):
        load_checkpoint(file)  # a yolofuse checkpoint holds no classes at all
    assert not marker.exists()


def test_code__what_the_process_allows_is_not_allowed_here(tmp_path: Path) -> None:
    """Another library may have added to torch's list; it stays as it was for others, and is not used here."""
    marker = tmp_path / "ran"
    file = saved(tmp_path / "w.pt", {**small_state(), "also": Calls(_touch, str(marker))})
    with torch.serialization.safe_globals([_touch]):
        before = set(torch.serialization.get_safe_globals())
        for load in (load_source, load_checkpoint):
            with pytest.raises(WeightsError, match="not opened"):
                load(file)
        load_source(saved(tmp_path / "u.pt", {"model": ultralytics_model()}))
        assert set(torch.serialization.get_safe_globals()) == before
        assert not marker.exists()
        torch.load(file, weights_only=True)
    assert marker.exists()  # so the file does harm where the list is used


@pytest.fixture
def _nothing_allowed() -> Iterator[None]:
    """Clear torch's allow-list, which other tests' use of ultralytics may have extended, during a test."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.add_safe_globals(before)


@pytest.mark.usefixtures("_nothing_allowed")
def test_code__opening_a_model_allows_nothing_afterwards(tmp_path: Path) -> None:
    file = saved(tmp_path / "w.pt", {"model": ultralytics_model()})
    load_source(file)
    with pytest.raises(pickle.UnpicklingError, match=r"ultralytics\.nn\.tasks\.DetectionModel"):
        torch.load(file, weights_only=True)


def _touch(path: str) -> None:
    Path(path).touch()


@pytest.mark.parametrize(
    "name", ["models.yolo.Model", "models.common.Conv", "models.experimental.Ensemble", "ultralytics.nn.gone.Block"]
)
def test_stub__for_model_classes_that_are_not_installed(name: str, tmp_path: Path) -> None:
    trunk = load_source(_module_of(tmp_path / "w.pt", name)).parts["trunk"]
    assert {key: value.tolist() for key, value in trunk.items()} == {"0.weight": [1.0, 2.0]}


@pytest.mark.parametrize(
    "name",
    ["models.other.Model", "models.yolo.Model.forward", "mymodels.yolo.Model", "utils.general.run", "builtins.eval",
     "torch.hub.load", "torch.nn.functional.relu", "ultralyticsx.nn.Conv"],
)  # fmt: skip
def test_stub__for_nothing_else(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not opened") as caught:
        load_source(_module_of(tmp_path / "w.pt", name))
    assert name in str(caught.value)


def _module_of(path: Path, name: str) -> Path:
    """A file whose one module is of a class that this process does not know."""
    model = nn.ModuleDict({"0": nn.Module()})
    model["0"].weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    torch.save({"model": model}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    module, _, attribute = name.rpartition(".")
    old, new = b"ctorch.nn.modules.container\nModuleDict\n", f"c{module}\n{attribute}\n".encode()
    assert any(old in content for content in entries.values())
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in entries.items():
            archive.writestr(entry, content.replace(old, new))
    return path


_FIVE_MB = torch.zeros(1_250_000)


def _nested(depth: int) -> list[Any]:
    value: list[Any] = [0]
    for _ in range(depth):
        value = [value] * 10
    return value


def _in_itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (torch.zeros(1).expand(10**10), r"would become 4e\+10 in memory .*save clones"),
        ({str(i): _FIVE_MB[i:] for i in range(2000)}, r"would become 9\.99e\+09 in memory"),
        (torch.empty(10**10, device="meta"), r"would become 4e\+10"),
        (_nested(40), r"would become .*e\+40 in memory"),
        ("x" * 1_000_000, None),
        (Calls(bytearray, 10**9), "holds a bytearray"),
        (_in_itself(), "in themselves"),
        (_FIVE_MB, None),
    ],
    ids=["expanded", "views", "meta", "lists", "text", "bytearray", "in itself", "plain"],
)
def test_open_models__needs_no_more_memory_than_a_few_times_the_file(
    tmp_path: Path, content: Any, expected: str | None, is_zip: bool
) -> None:
    path = tmp_path / "bomb.pt"
    torch.save({"state_dict": {"model.0.a": content}}, path, _use_new_zipfile_serialization=is_zip)
    if expected is None:
        assert open_models(path)["state_dict"].keys() == {"model.0.a"}
        return
    with pytest.raises(WeightsError, match=expected):
        open_models(path)


def test_open_models__compressed_zip_is_not_expanded(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(25_000_000)}, tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as stored,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as deflated,
    ):
        for name in stored.namelist():
            deflated.writestr(name, stored.read(name))
    with pytest.raises(WeightsError, match=r"would become 1e\+08 in memory"):
        open_models(tmp_path / "b.pt")
