"""Checkpoints on disk: their checksum, their version, and what a failure leaves."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torch import nn

from yolofuse.errors import DamagedError, WeightsError
from yolofuse.files import file_sha256
from yolofuse.weights import load_checkpoint, load_state, save_checkpoint, verify_checksum
from yolofuse.weights.checkpoint import check_version


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A small checkpoint."""
    save_checkpoint(tmp_path / "last.pt", {"step": 1, "ema": {"weight": torch.arange(1000.0)}})
    return tmp_path / "last.pt"


def test_checkpoint__is_read_as_it_was_written(checkpoint: Path) -> None:
    content = load_checkpoint(checkpoint, needs=("step", "ema"))
    assert content["step"] == 1
    assert torch.equal(content["ema"]["weight"], torch.arange(1000.0))
    assert verify_checksum(checkpoint)


def test_save__failure_keeps_the_old_file(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(WeightsError, match=r"No space left.*MiB are free.*the previous file is unchanged"):
        save_checkpoint(checkpoint, {"step": 2})
    assert load_checkpoint(checkpoint)["step"] == 1
    assert [file.name for file in checkpoint.parent.iterdir() if file.is_file()] == ["last.pt"]


def test_load__lacking_key_is_named(checkpoint: Path) -> None:
    with pytest.raises(WeightsError, match="it lacks optimizer"):
        load_checkpoint(checkpoint, needs=("ema", "optimizer"))


def test_load__other_file_of_torch_is_refused(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="not a yolofuse checkpoint"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_checksum__finds_a_flipped_bit(checkpoint: Path, place: float) -> None:
    content = bytearray(checkpoint.read_bytes())
    content[int(place * len(content))] ^= 1
    checkpoint.write_bytes(content)
    for read in (verify_checksum, load_checkpoint):
        with pytest.raises(DamagedError, match="its content is not what was saved"):
            read(checkpoint)


def test_checksum__missing_one_is_damage_in_this_version_alone(checkpoint: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.pt"
    torch.save({"format": "yolofuse-checkpoint", "format_version": 1, "step": 7}, old)
    assert not verify_checksum(old)
    assert load_checkpoint(old)["step"] == 7
    torch.save(load_checkpoint(checkpoint), checkpoint)
    with pytest.raises(DamagedError, match="its checksum is missing"):
        load_checkpoint(checkpoint)


def test_verify_checksum__of_short_and_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"x")
    assert not verify_checksum(tmp_path / "short")
    with pytest.raises(WeightsError, match="cannot be read"):
        verify_checksum(tmp_path)


def test_check_version__newer_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="checkpoint format 99, but this yolofuse reads 2"):
        check_version(tmp_path / "w.pt", {"format_version": 99}, has_checksum=True)


def test_load_state__that_does_not_fit_is_refused() -> None:
    model = nn.Linear(2, 3)
    state = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    load_state(model, state, Path("w.pt"))
    assert torch.equal(model.weight, state["weight"])
    for wrong in ({"weight": state["weight"]}, {"weight": torch.ones(1), "bias": torch.ones(3)}, None, 3):
        with pytest.raises(WeightsError, match="does not fit its own model"):
            load_state(model, wrong, Path("w.pt"))


def test_file_sha256__is_that_of_the_content(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000  # more than a block
    (tmp_path / "f").write_bytes(content)
    assert file_sha256(tmp_path / "f") == hashlib.sha256(content).hexdigest()


_PROGRESS = {"epoch": 1, "epoch_step": 0, "step": 3, "best_ap": 0.2, "loss_sums": [], "history": [{"epoch": 1}]}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"config": None}, "config: input should be a valid dictionary"),
        ({"names": 5}, "names: input should be a valid list"),
        ({"epoch": float("nan")}, "epoch: input should be a valid integer"),
        ({"ap": float("nan")}, "ap: "),
        ({"world": "two"}, "world: "),
        ({"code": None}, "code: "),
        ({"machine": {"threads": -1, "versions": {}}}, "machine.threads: input should be greater than or equal to 1"),
        ({"machine": []}, "machine: "),
        ({"data_hashes": []}, "data_hashes: "),
        ({"ir_windows": {"a": [0, float("inf")]}}, r"ir_windows\.a\.1: input should be a finite number"),
        ({"formats": [{"frame": "both"}]}, r"formats\.0\.frame: input should be 'rgb' or 'ir'"),
        ({"optimizer": None}, "optimizer: "),
        ({"progress": {**_PROGRESS, "epoch": -3}}, r"progress\.epoch: "),
        ({"progress": {**_PROGRESS, "step": 10**30}}, r"progress\.step: "),
        ({"progress": {**_PROGRESS, "best_ap": "high"}}, r"progress\.best_ap: "),
        ({"progress": {**_PROGRESS, "history": ["row"]}}, r"progress\.history\.0: "),
    ],
)
def test_load__value_that_no_run_writes_is_refused(tmp_path: Path, changed: dict[str, object], message: str) -> None:
    whole = {"config": {}, "names": ["a"], "epoch": 1, "ap": None, "world": 1, "progress": _PROGRESS}
    save_checkpoint(tmp_path / "a.pt", whole)
    assert load_checkpoint(tmp_path / "a.pt")["names"] == ["a"]
    save_checkpoint(tmp_path / "a.pt", {**whole, **changed})
    with pytest.raises(WeightsError, match=f"a.pt: not written by a run: {message}"):
        load_checkpoint(tmp_path / "a.pt")
