"""Records of a small model's tensors: each element is written once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from yolofuse.weights.tensor_log import TensorLog


@pytest.fixture
def model() -> nn.ModuleDict:
    """A convolution, a norm, and a head."""
    return nn.ModuleDict({"rgb": nn.Conv2d(1, 2, 1), "ir": nn.BatchNorm2d(2), "trunk": nn.Linear(3, 4)})


@pytest.fixture
def tensor_log(model: nn.ModuleDict) -> TensorLog:
    """Its log."""
    return TensorLog(model, fixed=frozenset({"rgb.bias"}), heads=("trunk",))


def test_records__of_every_floating_tensor(tensor_log: TensorLog) -> None:
    names = ["rgb.weight", "rgb.bias", "ir.weight", "ir.bias", "trunk.weight", "trunk.bias"]
    assert [record.name for record in tensor_log] == [*names, "ir.running_mean", "ir.running_var"]  # no counter
    record = tensor_log.records["trunk.weight"]
    assert (record.part, record.module, record.shape, record.trainable, record.head) == (
        "trunk", "trunk", (4, 3), True, True
    )  # fmt: skip
    assert not tensor_log.records["ir.running_var"].trainable
    assert not tensor_log.records["rgb.weight"].head
    assert {record.name for record in tensor_log if record.status == "fixed"} == {"rgb.bias"}


def test_records__tied_tensors_have_one() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model["b"].weight = model["a"].weight
    assert [record.name for record in TensorLog(model, fixed=frozenset(), heads=())] == ["a.weight"]


@pytest.mark.parametrize(("inflated", "status"), [(False, "loaded"), (True, "inflated")])
def test_load__writes_and_counts(model: nn.ModuleDict, tensor_log: TensorLog, inflated: bool, status: str) -> None:
    tensor_log.load("trunk.weight", torch.ones(4, 3), "w.pt: x", inflated=inflated)
    record = tensor_log.records["trunk.weight"]
    assert (record.status, record.source, record.num_loaded) == (status, "w.pt: x", 12)
    assert (model.get_parameter("trunk.weight") == 1).all()
    with pytest.raises(AssertionError, match=f"trunk.weight is {status} already"):
        tensor_log.load("trunk.weight", torch.ones(4, 3), "w.pt: x")


def test_load_rows__the_rest_is_initialised(model: nn.ModuleDict, tensor_log: TensorLog) -> None:
    rows = torch.tensor([True, False, True, False])
    tensor_log.load_rows("trunk.weight", torch.ones(4, 3), rows, "w.pt: x")
    record = tensor_log.records["trunk.weight"]
    assert (record.status, record.num_loaded) == ("missing", 6)
    values = torch.tensor([[9.0, 9, 9], [1, 3, 5], [9, 9, 9], [5, 3, 1]])
    tensor_log.initialise("trunk.weight", values, "rule", mean=3.0, std=2.0)
    assert (record.status, record.num_loaded, record.rule, record.expected_std) == ("partial", 6, "rule", 2.0)
    assert record.measured_std == pytest.approx((8 / 3) ** 0.5)  # of the new rows alone
    assert model.get_parameter("trunk.weight").tolist() == [[1, 1, 1], [1, 3, 5], [1, 1, 1], [5, 3, 1]]


def test_initialise__whole_tensor(model: nn.ModuleDict, tensor_log: TensorLog) -> None:
    tensor_log.initialise("ir.bias", torch.full((2,), 7.0), "constant")
    record = tensor_log.records["ir.bias"]
    assert (record.status, record.rule, record.expected_std, record.measured_std) == (
        "initialised", "constant", None, None
    )  # fmt: skip
    assert (model.get_parameter("ir.bias") == 7).all()
    with pytest.raises(AssertionError, match="is fixed already"):
        tensor_log.initialise("rgb.bias", torch.zeros(2), "constant")


def test_overwrite_and_keep(model: nn.ModuleDict, tensor_log: TensorLog) -> None:
    tensor_log.load("ir.weight", torch.ones(2), "w.pt: x")
    tensor_log.overwrite("ir.weight", torch.zeros(2), "rule")
    record = tensor_log.records["ir.weight"]
    assert (record.status, record.source, record.num_loaded) == ("initialised", None, 0)
    assert (model.get_parameter("ir.weight") == 0).all()
    tensor_log.keep("ir.bias")
    assert tensor_log.records["ir.bias"].status == "constructor"
