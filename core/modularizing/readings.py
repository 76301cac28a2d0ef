"""Readings: what cut networks say of many images, from which their scores are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modpm.core.modularizing.passes import batches
from modpm.core.modularizing.side_by_side import PlainNetwork, SideBySide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modpm.core.data import ImageData
    from modpm.core.formats.manifest import InputContract
    from modpm.core.modularizing.cutting import CutNetwork, ScoredNetwork


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


@dataclass
class _Reader:
    """Collects the readings of one network, batch by batch."""

    cut: CutNetwork
    features: list[Tensor] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
    is_active: dict[str, Tensor] = field(default_factory=dict)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The nodes it reads."""
        return (*self.cut.feature_nodes, *self.cut.hidden_nodes.values(), self.cut.graph.output)

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add what the network says of a batch."""
        logits = values[self.cut.graph.output]
        vectors = [values[name] for name in self.cut.feature_nodes]
        self.features.append(torch.cat([logits[:, :0], *vectors], dim=1))
        self.logits.append(logits[:, 0])
        for layer, node in self.cut.hidden_nodes.items():
            found = (values[node] > 0).any(0)
            self.is_active[layer] = self.is_active.get(layer, torch.zeros_like(found)) | found

    def readings(self, labels: Tensor) -> Readings:
        """Return all of them."""
        return Readings(torch.cat(self.features), torch.cat(self.logits), labels, self.is_active)


@torch.inference_mode()
def read(cuts: Sequence[CutNetwork], data: ImageData, contract: InputContract) -> list[Readings]:
    """Return what cut networks of one origin say of images, from one pass over them.

    Args:
        cuts: The networks, each of which has one output.
        data: The images.
        contract: How they are normalised.
    """
    networks = SideBySide([PlainNetwork(cut.graph, cut.tensors) for cut in cuts])
    readers = [_Reader(cut) for cut in cuts]
    outputs = [reader.outputs for reader in readers]
    for images, _ in batches(data, contract):
        for reader, values in zip(readers, networks.run(images, outputs), strict=True):
            reader.add(values)
    return [reader.readings(data.labels) for reader in readers]


@torch.inference_mode()
def read_scores(
    scored: Sequence[ScoredNetwork], data: ImageData, contract: InputContract
) -> Tensor:
    """Return the scores that networks of one origin give images.

    Args:
        scored: The networks.
        data: The images.
        contract: How they are normalised.

    Shapes:
        returns: (N, len(scored))
    """
    networks = SideBySide([PlainNetwork(one.graph, one.tensors) for one in scored])
    outputs = [(one.score,) for one in scored]
    parts = []
    for images, _ in batches(data, contract):
        values = networks.run(images, outputs)
        parts.append(
            torch.cat([own[one.score] for own, one in zip(values, scored, strict=True)], 1)
        )
    return torch.cat(parts)
