"""The shipped networks have the shapes and sizes of their papers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from tests.networks.other_libraries import library
from torch import nn
from torch.nn.functional import pad

from modpm.core.errors import ModpmError
from modpm.core.networks import (
    ARCHITECTURES,
    check_network,
    create,
    default_architecture,
    load_initial_weights,
)
from modpm.core.networks.conv_stack import scale_channels
from modpm.core.networks.resnet import PaddingShortcut

if TYPE_CHECKING:
    from pathlib import Path

# Counted from the papers' tables, batch norm's weight and bias included:
# ResNet20 0.27 M (He et al., table 6); 11.17 M for ResNet18 and 15.25 M for VGG16, as the
# repositories cited in the classes report them.
PUBLISHED_PARAMETERS = {"resnet20": 269_722, "resnet18": 11_173_962, "vgg16": 15_253_578}
# As torchvision says of its own, for 1,000 classes.
LARGE_PARAMETERS = {"resnet18_large": 11_689_512, "mobilenet_v2": 3_504_872}
N_CONVOLUTIONS = {
    "digits_cnn": 4,
    "mobilenet_v2": 52,
    "rescnn": 12,
    "resnet18": 20,
    "resnet18_large": 20,
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


@pytest.mark.parametrize(("arch", "expected"), LARGE_PARAMETERS.items())
def test_network_for_large_images_has_the_published_number_of_parameters(
    arch: str, expected: int
) -> None:
    network = create(arch, 1000)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


@pytest.mark.parametrize(
    ("arch", "theirs"),
    [
        ("resnet18_large", "torchvision:resnet18"),
        ("resnet18_large", "timm:resnet18"),
        ("mobilenet_v2", "torchvision:mobilenet_v2"),
    ],
)
def test_weights_of_a_library_load_by_name_and_give_its_outputs(
    arch: str, theirs: str, tmp_path: Path
) -> None:
    library(theirs.partition(":")[0])
    other, network = create(theirs, 10).eval(), create(arch, 10).eval()
    torch.save(other.state_dict(), tmp_path / "w.pth")
    load_initial_weights(network, tmp_path / "w.pth")
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(images), other(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("side", "n_classes", "arch"),
    [
        (8, 10, "digits_cnn"),
        (32, 10, "small_vgg"),
        (32, 100, "resnet18"),
        (224, 10, "resnet18_large"),
    ],
)
def test_the_network_that_is_taken_by_default_suits_the_images(
    side: int, n_classes: int, arch: str
) -> None:
    assert default_architecture((3, side, side + 10), n_classes) == arch


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
    if arch == "mobilenet_v2":  # whose paper leaves the last one as wide
        assert full.pop().out_channels == half.pop().out_channels == 1280
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
