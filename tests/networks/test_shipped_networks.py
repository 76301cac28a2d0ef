"""The shipped networks have the shapes and sizes of their papers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import pad

from modpm.core.errors import ModpmError
from modpm.core.networks import ARCHITECTURES, check_network, create
from modpm.core.networks.conv_stack import scale_channels
from modpm.core.networks.resnet import PaddingShortcut

# Counted from the papers' tables, batch norm's weight and bias included:
# ResNet20 0.27 M (He et al., table 6); 11.17 M for ResNet18 and 15.25 M for VGG16, as the
# repositories cited in the classes report them.
PUBLISHED_PARAMETERS = {"resnet20": 269_722, "resnet18": 11_173_962, "vgg16": 15_253_578}
N_CONVOLUTIONS = {
    "digits_cnn": 4,
    "rescnn": 12,
    "resnet18": 20,
    "resnet20": 19,
    "simcnn": 13,
    "small_vgg": 7,
    "vgg16": 13,
}
N_LINEAR = {"simcnn": 3, "vgg16": 3}


def _count(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(layer, kind) for layer in network.modules())


@pytest.mark.parametrize(("arch", "expected"), PUBLISHED_PARAMETERS.items())
def test_network_has_the_published_number_of_parameters(arch: str, expected: int) -> None:
    network = create(arch, 10)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_network_has_the_layers_of_its_paper(arch: str) -> None:
    network = create(arch, 10, width=0.1)
    assert _count(network, nn.Conv2d) == N_CONVOLUTIONS[arch]
    assert _count(network, nn.BatchNorm2d) == N_CONVOLUTIONS[arch]
    assert _count(network, nn.Linear) == N_LINEAR.get(arch, 1)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("size", [8, 28, 32, 40])
@pytest.mark.parametrize("in_channels", [1, 3])
def test_network_takes_images_of_any_size_and_color(arch: str, size: int, in_channels: int) -> None:
    network = create(arch, 7, in_channels, width=0.05)
    check_network(network, (in_channels, size, size + 3), 7)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_parameter_learns_from_one_step(arch: str) -> None:
    torch.manual_seed(0)
    network = create(arch, 4, 3, width=0.1)
    network(torch.randn(4, 3, 32, 32)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_width_scales_every_layer(arch: str) -> None:
    full = [layer for layer in create(arch, 10).modules() if isinstance(layer, nn.Conv2d)]
    half = [
        layer for layer in create(arch, 10, width=0.5).modules() if isinstance(layer, nn.Conv2d)
    ]
    assert [layer.out_channels for layer in half] == [layer.out_channels // 2 for layer in full]


def test_smallest_width_leaves_one_channel() -> None:
    assert scale_channels(32, 0.001) == 1
    check_network(create("resnet20", 2, width=0.001), (3, 32, 32), 2)


def test_padding_shortcut_equals_slicing_and_padding() -> None:
    features = torch.randn(2, 5, 9, 8)
    expected = pad(features[:, :, ::2, ::2], (0, 0, 0, 0, 3, 4))
    assert torch.equal(PaddingShortcut(5, 12)(features), expected)


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan"), 1e9])
def test_impossible_width_is_refused(width: float) -> None:
    with pytest.raises(ModpmError, match="width factor"):
        create("resnet20", 10, width=width)


@pytest.mark.parametrize(
    ("asked", "meant"), [("resnet2", "resnet20"), ("VGG-16", "vgg16"), ("small-vgg", "small_vgg")]
)
def test_unknown_architecture_suggests_the_nearest(asked: str, meant: str) -> None:
    with pytest.raises(ModpmError, match=f"did you mean `{meant}`") as caught:
        create(asked, 10)
    assert (caught.value.code, caught.value.exit_code) == ("unknown-architecture", 2)


def test_network_that_refuses_the_images_is_told_in_one_error() -> None:
    with pytest.raises(ModpmError, match="does not take images of 1 x 8 x 8"):
        check_network(create("resnet20", 10), (1, 8, 8), 10)


def test_network_with_too_few_outputs_is_told() -> None:
    with pytest.raises(ModpmError, match=r"returned \[2, 10\], not \[2, 100\]"):
        check_network(create("digits_cnn", 10, 1), (1, 8, 8), 100)


def test_trial_run_leaves_the_network_as_it_was() -> None:
    network = create("digits_cnn", 10, 1).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    check_network(network, (1, 8, 8), 10)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
