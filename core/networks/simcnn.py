"""SimCNN: a plain chain of convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from modpm.core.networks.conv_stack import (
    conv_stack,
    initialize_convolutions,
    scale_channels,
)
from modpm.core.networks.vgg import VGG16_STAGES

if TYPE_CHECKING:
    from torch import Tensor


class SimCNN(nn.Module):
    """Thirteen convolutions and three linear layers, dropout before the first two of them.

    Shapes:
        (N, in_channels, H, W) → (N, n_classes).

    Source:
        Qi et al., Patching Weak Convolutional Neural Network Models through Modularization and
        Composition (CNNSplitter), ASE 2022, section 5.1, and qibinhang/CNNSplitter
        `models/simcnn.py`; with the batch norms that Modularizing while Training (arXiv
        2306.09376) gives it (qibinhang/MwT `models_cnnsplitter/simcnn_masked.py`).
    """

    def __init__(self, n_classes: int, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        n_features = scale_channels(512, width)
        self.features = conv_stack(VGG16_STAGES, in_channels, width, has_bias=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(n_features, n_features),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(n_features, n_features),
            nn.ReLU(),
            nn.Linear(n_features, n_classes),
        )
        initialize_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return one logit for each class: (N, C, H, W) → (N, n_classes)."""
        features: Tensor = self.pool(self.features(images)).flatten(1)
        logits: Tensor = self.classifier(features)
        return logits
