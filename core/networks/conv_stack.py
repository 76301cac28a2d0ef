"""The plain stacks of convolutions and poolings that the VGG-like networks are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

Stage = int | Literal["pool"]


def scale_channels(n_channels: int, width: float) -> int:
    """Return the number of channels of a layer in a network of that width factor, at least 1."""
    return max(1, round(n_channels * width))


def conv_stack(
    stages: Sequence[Stage], in_channels: int, width: float, *, has_bias: bool
) -> nn.Sequential:
    """Chain 3 x 3 convolutions with batch norm and ReLU, and 2 x 2 max poolings.

    Args:
        stages: A number of channels for a convolution, or `"pool"`.
        in_channels: Channels of the input.
        width: Factor on every number of channels.
        has_bias: Whether the convolutions have a bias before the batch norm, as those of the
            published VGG weights do.

    Shapes:
        (N, in_channels, H, W) → (N, C, H / 2^p, W / 2^p) for p poolings, rounded up at each, so
        that images smaller than 2^p still give one pixel.
    """
    layers: list[nn.Module] = []
    for stage in stages:
        if stage == "pool":
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            continue
        out_channels = scale_channels(stage, width)
        layers += [
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=has_bias),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        ]
        in_channels = out_channels
    return nn.Sequential(*layers)


def initialize_convolutions(network: nn.Module) -> None:
    """Draw every convolution's kernels as He et al. (2015, arXiv 1502.01852) do; biases zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
