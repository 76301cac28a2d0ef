"""A small network of depthwise convolutions, for images of 32 pixels."""

from __future__ import annotations

from torch import Tensor, nn

BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2))


class SmallMobile(nn.Sequential):
    """A stem, and blocks of a depthwise and a pointwise convolution, each with a ReLU.

    Args:
        n_classes: Number of outputs.
        in_channels: Channels of the input images.
        width: Factor on the channels of every layer.

    Shapes:
        x: (N, C, H, W) -> (N, n_classes)

    Source:
        Howard et al., MobileNets (arXiv 1704.04861), with fewer blocks and fewer strides.
    """

    def __init__(self, n_classes: int, in_channels: int = 3, width: float = 1.0) -> None:
        channels = max(8, round(32 * width))
        layers = _convolution(in_channels, channels, 3)
        for n_kernels, stride in BLOCKS:
            layers += _convolution(channels, channels, 3, stride, channels)
            channels, before = max(8, round(n_kernels * width)), channels
            layers += _convolution(before, channels, 1)
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, n_classes)]
        super().__init__(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = super().forward(x)
        return logits


def _convolution(
    n_in: int, n_out: int, size: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    convolution = nn.Conv2d(n_in, n_out, size, stride, size // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(n_out), nn.ReLU()]
