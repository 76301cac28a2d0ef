"""ResCNN: a chain of convolutions with three residual sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from modpm.core.networks.conv_stack import (
    conv_stack,
    initialize_convolutions,
    scale_channels,
)

if TYPE_CHECKING:
    from torch import Tensor


class ResCNN(nn.Module):
    """Twelve convolutions and one linear layer; each residual pair is added to its input.

    Shapes:
        (N, in_channels, H, W) → (N, n_classes).

    Source:
        Qi et al., Patching Weak Convolutional Neural Network Models through Modularization and
        Composition (CNNSplitter), ASE 2022, section 5.1, and qibinhang/CNNSplitter
        `models/rescnn.py`; with the batch norms that Modularizing while Training (arXiv
        2306.09376) gives it (qibinhang/MwT `models_cnnsplitter/rescnn_masked.py`).
    """

    def __init__(self, n_classes: int, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        n_low, n_high = scale_channels(128, width), scale_channels(512, width)
        self.stage1 = conv_stack((64, 128, "pool"), in_channels, width, has_bias=True)
        self.residual1 = conv_stack((128, 128), n_low, width, has_bias=True)
        self.stage2 = conv_stack((256, "pool", 512, "pool"), n_low, width, has_bias=True)
        self.residual2 = conv_stack((512, 512), n_high, width, has_bias=True)
        self.stage3 = conv_stack((512, "pool", 512, "pool"), n_high, width, has_bias=True)
        self.residual3 = conv_stack((512, 512), n_high, width, has_bias=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(n_high, n_classes))
        initialize_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return one logit for each class: (N, C, H, W) → (N, n_classes)."""
        features: Tensor = self.stage1(images)
        features = self.stage2(self.residual1(features) + features)
        features = self.stage3(self.residual2(features) + features)
        features = self.residual3(features) + features
        logits: Tensor = self.classifier(self.pool(features).flatten(1))
        return logits
