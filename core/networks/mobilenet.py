"""MobileNetV2, a network of depthwise convolutions for large images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from modpm.core.networks.conv_stack import initialize_convolutions, scale_channels

if TYPE_CHECKING:
    from torch import Tensor

_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip
"""Expansion, channels, blocks and the stride of the first block (table 2)."""


def _conv(
    in_channels: int, out_channels: int, size: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """A 1 x 1 convolution that widens, a depthwise one, and a linear 1 x 1 one that narrows.

    Shapes:
        (N, in_channels, H, W) → (N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = in_channels * expansion
        widening = [] if expansion == 1 else [_conv(in_channels, middle, 1)]
        self.conv = nn.Sequential(
            *widening,
            _conv(middle, middle, stride=stride, groups=middle),
            nn.Conv2d(middle, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, features: Tensor) -> Tensor:
        """Return the block's features."""
        narrowed: Tensor = self.conv(features)
        return features + narrowed if self.is_residual else narrowed


class MobileNetV2(nn.Module):
    """A 3 x 3 stem with stride 2, 17 inverted residual blocks, and one linear layer.

    Shapes:
        (N, in_channels, H, W) → (N, n_classes).

    Source:
        Sandler et al., arXiv 1801.04381, table 2, with the dropout of 0.2 of torchvision, whose
        `mobilenet_v2` weights load by name.
        Departs: channels of other widths are not rounded to multiples of 8.
    """

    def __init__(self, n_classes: int, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        channels, last = scale_channels(32, width), scale_channels(1280, max(width, 1.0))
        layers: list[nn.Module] = [_conv(in_channels, channels, stride=2)]
        for expansion, n_channels, n_blocks, stride in _STAGES:
            for block in range(n_blocks):
                out_channels = scale_channels(n_channels, width)
                first = stride if block == 0 else 1
                layers.append(InvertedResidual(channels, out_channels, first, expansion))
                channels = out_channels
        self.features = nn.Sequential(*layers, _conv(channels, last, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, n_classes))
        initialize_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return one logit for each class: (N, C, H, W) → (N, n_classes)."""
        logits: Tensor = self.classifier(self.pool(self.features(images)).flatten(1))
        return logits
