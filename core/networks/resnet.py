"""The residual networks for CIFAR: ResNet20 and ResNet18."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn.functional import avg_pool2d, pad, relu

from modpm.core.networks.conv_stack import initialize_convolutions, scale_channels

if TYPE_CHECKING:
    from torch import Tensor


class PaddingShortcut(nn.Module):
    """Halve the resolution and widen with channels of zeros, without parameters.

    Shapes:
        (N, C, H, W) → (N, out_channels, ⌈H / 2⌉, ⌈W / 2⌉).

    Source:
        He et al., arXiv 1512.03385, section 3.3, shortcut option A; the zeros stand on both sides
        of the input's channels, as in akamaster/pytorch_resnet_cifar10.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.n_before = (out_channels - in_channels) // 2
        self.n_after = out_channels - in_channels - self.n_before

    def forward(self, features: Tensor) -> Tensor:
        """Return every second pixel, between channels of zeros."""
        every_second = avg_pool2d(features, 1, stride=2, ceil_mode=True)
        return pad(every_second, (0, 0, 0, 0, self.n_before, self.n_after))


def projection_shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Return the 1 x 1 convolution with batch norm of shortcut option B."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions, added to their input or to its shortcut.

    Shapes:
        (N, in_channels, H, W) → (N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉).
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, shortcut: nn.Module | None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = shortcut

    def forward(self, features: Tensor) -> Tensor:
        """Return the block's features."""
        identity = features if self.downsample is None else self.downsample(features)
        residual = self.bn2(self.conv2(relu(self.bn1(self.conv1(features)))))
        return relu(residual + identity)


def _layer(
    in_channels: int, out_channels: int, n_blocks: int, stride: int, *, has_projection: bool
) -> nn.Sequential:
    shortcut: nn.Module | None = None
    if stride != 1 or in_channels != out_channels:
        shortcut = (
            projection_shortcut(in_channels, out_channels, stride)
            if has_projection
            else PaddingShortcut(in_channels, out_channels)
        )
    blocks = [BasicBlock(in_channels, out_channels, stride, shortcut)]
    blocks += [BasicBlock(out_channels, out_channels, 1, None) for _ in range(n_blocks - 1)]
    return nn.Sequential(*blocks)


class ResNet20(nn.Module):
    """One convolution, three layers of three blocks of 16, 32 and 64 channels, one linear layer.

    Shapes:
        (N, in_channels, H, W) → (N, n_classes).

    Source:
        He et al., arXiv 1512.03385, section 4.2, n = 3, option A. Weights of
        akamaster/pytorch_resnet_cifar10 load by name.
    """

    def __init__(self, n_classes: int, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        channels = [scale_channels(n, width) for n in (16, 32, 64)]
        self.conv1 = nn.Conv2d(in_channels, channels[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.layer1 = _layer(channels[0], channels[0], 3, 1, has_projection=False)
        self.layer2 = _layer(channels[0], channels[1], 3, 2, has_projection=False)
        self.layer3 = _layer(channels[1], channels[2], 3, 2, has_projection=False)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(channels[2], n_classes)
        initialize_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return one logit for each class: (N, C, H, W) → (N, n_classes)."""
        features = relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))
        logits: Tensor = self.linear(self.pool(features).flatten(1))
        return logits


class ResNet18(nn.Module):
    """A 3 x 3 stem, four layers of two blocks of 64 to 512 channels, one linear layer.

    Shapes:
        (N, in_channels, H, W) → (N, n_classes).

    Source:
        He et al., arXiv 1512.03385, table 1, with the stem for 32 x 32 images (3 x 3, stride 1,
        no pooling) that Modularizing while Training (arXiv 2306.09376) uses; names as
        torchvision's.
    """

    stem_size, stem_stride = 3, 1

    def __init__(self, n_classes: int, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        channels = [scale_channels(n, width) for n in (64, 128, 256, 512)]
        size, stride = self.stem_size, self.stem_stride
        self.conv1 = nn.Conv2d(in_channels, channels[0], size, stride, size // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.maxpool = nn.Identity() if stride == 1 else nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _layer(channels[0], channels[0], 2, 1, has_projection=True)
        self.layer2 = _layer(channels[0], channels[1], 2, 2, has_projection=True)
        self.layer3 = _layer(channels[1], channels[2], 2, 2, has_projection=True)
        self.layer4 = _layer(channels[2], channels[3], 2, 2, has_projection=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels[3], n_classes)
        initialize_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return one logit for each class: (N, C, H, W) → (N, n_classes)."""
        features = self.maxpool(relu(self.bn1(self.conv1(images))))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        logits: Tensor = self.fc(self.pool(features).flatten(1))
        return logits


class LargeResNet18(ResNet18):
    """ResNet18 for large images: a 7 x 7 stem with stride 2 and a pooling, then the same.

    Shapes:
        (N, in_channels, H, W) → (N, n_classes).

    Source:
        He et al., arXiv 1512.03385, table 1. Weights of torchvision's and timm's `resnet18` load by
        name.
    """

    stem_size, stem_stride = 7, 2
