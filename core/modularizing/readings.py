"""Readings: what cut networks say of many images, from which their scores are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modpm.core.modularizing.side_by_side import PlainNetwork, SideBySide
from modpm.core.training.inference import batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.data import ImageData
    from modpm.core.formats.manifest import InputContract
    from modpm.core.modularizing.cutting import CutNetwork, ScoredNetwork


_PROCESSOR = torch.device("cpu")


@dataclass(frozen=True)
class Readings:
    """What a cut network says of images.

    Attributes:
        features: The values that a head reads, side by side.
        logits: The logit of the class.
        labels: The class that each image shows.

    Shapes:
        features: (N, D); logits: (N,); labels: (N,)
    """

    features: Tensor
    logits: Tensor
    labels: Tensor


@torch.inference_mode()
def read(
    cuts: Sequence[CutNetwork],
    data: ImageData,
    contract: InputContract,
    device: torch.device = _PROCESSOR,
) -> list[Readings]:
    """Return what cut networks of one origin say of images, from one pass over them.

    Args:
        cuts: The networks, each of which has one output.
        data: The images.
        contract: How they are normalized.
        device: Where the networks run.
    """
    networks = SideBySide([PlainNetwork(cut.with_features, cut.tensors) for cut in cuts], device)
    outputs = [(*(node.name for node in cut.features), cut.graph.output) for cut in cuts]
    parts: list[list[Tensor]] = [[] for _ in cuts]
    for images in batches(data.images, contract):
        for own, values in zip(parts, networks.run(images, outputs), strict=True):
            own.append(torch.cat(list(values.values()), dim=1).float().cpu())
    read_values = (torch.cat(own) for own in parts)
    return [Readings(values[:, :-1], values[:, -1], data.labels) for values in read_values]


@torch.inference_mode()
def read_scores(
    scored: Sequence[ScoredNetwork],
    data: ImageData,
    contract: InputContract,
    device: torch.device = _PROCESSOR,
) -> Tensor:
    """Return the scores that networks of one origin give images.

    Args:
        scored: The networks.
        data: The images.
        contract: How they are normalized.
        device: Where the networks run.

    Shapes:
        returns: (N, len(scored))
    """
    networks = SideBySide([PlainNetwork(one.graph, one.tensors) for one in scored], device)
    outputs = [(one.score,) for one in scored]
    parts = []
    for images in batches(data.images, contract):
        values = networks.run(images, outputs)
        parts.append(
            torch.cat([own[one.score] for own, one in zip(values, scored, strict=True)], 1).cpu()
        )
    return torch.cat(parts)
