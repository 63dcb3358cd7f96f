"""The activation that follows each layer of a model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.support.weights import built
from yolofuse.model import Detector
from yolofuse.weights.init.activations import activations_after, is_activation, is_norm


@pytest.fixture(scope="module")
def detector() -> Detector:
    """A gated yolo11n."""
    return built("model.fusion=gated", "model.base=yolo11n")


@pytest.fixture(scope="module")
def found(detector: Detector) -> dict[str, nn.Module]:
    """Its activations by layer."""
    return activations_after(detector)


def test_activations_after__every_convolution_block(detector: Detector, found: dict[str, nn.Module]) -> None:
    for name, module in detector.named_modules():
        if type(module).__name__ == "Conv":
            following = found.get(f"{name}.conv")
            assert type(following) is (nn.SiLU if isinstance(module.act, nn.SiLU) else type(None)), name


def test_activations_after__none_for_function_calls_and_outputs(found: dict[str, nn.Module]) -> None:
    gates = [name for name in found if name.startswith("fusion")]
    assert gates
    assert all(name.endswith("squeeze") for name in gates)  # the sigmoid behind the others is called as a function
    assert not any(".cv2.0.2" in name for name in found)  # the head's outputs


def test_activations_after__in_place_and_replaced_ones_leave_the_model_as_it_is() -> None:
    detector = built()
    activation = nn.LeakyReLU(0.3, inplace=True)
    detector.get_submodule("rgb.layers.0").act = activation
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    assert activations_after(detector)["rgb.layers.0.conv"] is activation
    assert all(torch.equal(tensor, before[name]) for name, tensor in detector.state_dict().items())
    assert detector.training


def test_kinds_of_modules() -> None:
    assert is_norm(nn.BatchNorm2d(2))
    assert is_norm(nn.GroupNorm(1, 2))
    assert not is_norm(nn.Conv2d(1, 1, 1))
    assert is_activation(nn.SiLU())
    assert not is_activation(nn.Softmax(0))
    assert not is_activation(nn.Dropout())
