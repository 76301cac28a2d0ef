"""Readings: what a cut network says of many images, from which its score is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modpm.core.graph import build
from modpm.core.modularizing.passes import batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.data import ImageData
    from modpm.core.formats.manifest import InputContract
    from modpm.core.modularizing.cutting import CutNetwork


@dataclass(frozen=True)
class Readings:
    """What a cut network says of images.

    Attributes:
        features: The values that a head reads, side by side.
        logits: The logit of the class.
        labels: The class that each image shows.
        is_ever_active: Which hidden units of each mask generator are above 0 for some image, by
            the name of the linear layer that has them.

    Shapes:
        features: (N, D); logits: (N,); labels: (N,); is_ever_active: (H,) each, boolean.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor
    is_ever_active: dict[str, Tensor]


@torch.inference_mode()
def read(cut: CutNetwork, data: ImageData, contract: InputContract) -> Readings:
    """Return what a cut network says of images, from one pass over them.

    Args:
        cut: The network, which has one output.
        data: The images.
        contract: How they are normalised.
    """
    network = build(cut.graph, cut.tensors).eval()
    hidden = cut.hidden_nodes
    outputs = tuple(dict.fromkeys((*cut.feature_nodes, *hidden.values(), cut.graph.output)))
    features, logits, labels = [], [], []
    is_active: dict[str, Tensor] = {}
    for images, classes in batches(data, contract):
        values = network.run(images, outputs)
        features.append(
            _side_by_side(values[cut.graph.output], [values[n] for n in cut.feature_nodes])
        )
        logits.append(values[cut.graph.output][:, 0])
        labels.append(classes)
        for layer, node in hidden.items():
            found = (values[node] > 0).any(0)
            is_active[layer] = is_active[layer] | found if layer in is_active else found
    return Readings(torch.cat(features), torch.cat(logits), torch.cat(labels), is_active)


def _side_by_side(like: Tensor, values: Sequence[Tensor]) -> Tensor:
    return torch.cat([like[:, :0], *values], dim=1)
