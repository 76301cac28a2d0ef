"""VGG16 as CIFAR trains it, and a small network of its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from modpm.core.networks.conv_stack import (
    Stage,
    conv_stack,
    initialize_convolutions,
    scale_channels,
)

if TYPE_CHECKING:
    from torch import Tensor

# fmt: off
VGG16_STAGES: tuple[Stage, ...] = (
    64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool",
    512, 512, 512, "pool", 512, 512, 512, "pool",
)
SMALL_VGG_STAGES: tuple[Stage, ...] = (
    32, "pool", 32, 32, "pool", 64, 64, "pool", 128, 128,
)
# fmt: on


class VGG16(nn.Module):
    """Thirteen convolutions with batch norm and three linear layers.

    Images up to 32 x 32 reach the classifier as one pixel; larger ones are averaged to one.

    Shapes:
        (N, in_channels, H, W) → (N, n_classes).

    Source:
        Simonyan and Zisserman, arXiv 1409.1556, configuration D, in the form for CIFAR that
        Modularizing while Training (arXiv 2306.09376, section 4.1) takes from
        chenyaofo/pytorch-cifar-models: batch norm, linear layers of 512. Weights published there
        load by name.
    """

    def __init__(self, n_classes: int, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        n_features = scale_channels(512, width)
        self.features = conv_stack(VGG16_STAGES, in_channels, width, has_bias=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(n_features, n_features),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(n_features, n_features),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(n_features, n_classes),
        )
        initialize_convolutions(self)
        for layer in self.classifier:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, 0.0, 0.01)
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return one logit for each class: (N, C, H, W) → (N, n_classes)."""
        features: Tensor = self.pool(self.features(images)).flatten(1)
        logits: Tensor = self.classifier(features)
        return logits


class SmallVGG(nn.Module):
    """Seven convolutions and one linear layer: minutes of training on two cores.

    Shapes:
        (N, in_channels, H, W) → (N, n_classes).
    """

    def __init__(self, n_classes: int, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        self.features = conv_stack(SMALL_VGG_STAGES, in_channels, width, has_bias=False)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(scale_channels(128, width), n_classes)
        initialize_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return one logit for each class: (N, C, H, W) → (N, n_classes)."""
        logits: Tensor = self.linear(self.pool(self.features(images)).flatten(1))
        return logits
