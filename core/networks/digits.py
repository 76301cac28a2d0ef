"""A network for images of 8 x 8 pixels, trained in seconds."""

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

DIGITS_STAGES: tuple[Stage, ...] = (32, 32, "pool", 64, 64)


class DigitsCNN(nn.Module):
    """Four convolutions and one linear layer.

    Shapes:
        (N, in_channels, H, W) → (N, n_classes).
    """

    def __init__(self, n_classes: int, in_channels: int = 1, width: float = 1.0) -> None:
        super().__init__()
        self.features = conv_stack(DIGITS_STAGES, in_channels, width, has_bias=False)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(scale_channels(64, width), n_classes)
        initialize_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return one logit for each class: (N, C, H, W) → (N, n_classes)."""
        logits: Tensor = self.linear(self.pool(self.features(images)).flatten(1))
        return logits
