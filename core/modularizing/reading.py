"""Reading: what cut networks say of many images, all of them in one pass over these."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from modpm.core.calibrations.scores import Readings
from modpm.core.graph import build
from modpm.core.graph.operators.definition import layer_name
from modpm.core.graph.side_by_side import PlainNetwork, SideBySide
from modpm.core.modularizing.cutting import Statistics, norms_after_cuts
from modpm.core.training.inference import batches, normalizing, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.data import ImageData
    from modpm.core.modularizing.cutting import CutNetwork, ScoredNetwork
    from modpm.core.origins.origin import OriginNetwork


def read_cuts(cuts: Sequence[CutNetwork], data: ImageData, origin: OriginNetwork) -> list[Readings]:
    """Return what cut networks of one origin say of images, from one pass over them.

    Args:
        cuts: The networks, each of which has one output.
        data: The images.
        origin: Knows what a network reads of an image, and where networks run.
    """
    networks = [PlainNetwork(cut.with_features, cut.tensors) for cut in cuts]
    outputs = [(*(node.name for node in cut.features), cut.graph.output) for cut in cuts]
    values = _read_together(networks, outputs, data, origin)
    return [Readings(own[:, :-1], own[:, -1], data.labels) for own in values]


def read_scores(scored: Sequence[ScoredNetwork], data: ImageData, origin: OriginNetwork) -> Tensor:
    """Return the scores that networks of one origin give images.

    Args:
        scored: The networks.
        data: The images.
        origin: As for `read_cuts`.

    Shapes:
        returns: (N, len(scored))
    """
    networks = [PlainNetwork(one.graph, one.tensors) for one in scored]
    return torch.cat(_read_together(networks, [(one.score,) for one in scored], data, origin), 1)


N_STATISTICS_IMAGES = 2000
"""Training images that statistics of batch normalizations are taken from, where there are more."""


def n_statistics_images(origin: OriginNetwork) -> int:
    """Return from how many training images statistics are taken."""
    return min(N_STATISTICS_IMAGES, len(origin.training_images.data))


@torch.no_grad()
def take_statistics(
    cuts: Sequence[CutNetwork], origin: OriginNetwork
) -> list[dict[str, Statistics]]:
    """Return what batch normalizations of cut networks read of training images, not augmented.

    They are read once, by all networks, each layer of which is given what the layers before it
    make with the statistics of the batch. A network that was not cut before any has none.

    Args:
        cuts: Networks of one origin.
        origin: Has the images, and knows where networks run.
    """
    together = SideBySide([PlainNetwork(one.graph, one.tensors) for one in cuts])
    network = build(together.graph, together.tensors).eval().to(origin.device)
    layers = [
        {
            node.name: network.get_submodule(together.name(i, layer_name(node)))
            for node in norms_after_cuts(one, origin.graph)
        }
        for i, one in enumerate(cuts)
    ]
    norms = [norm for own in layers for norm in own.values() if isinstance(norm, _BatchNorm)]
    if norms:
        outputs = tuple(together.name(i, one.graph.output) for i, one in enumerate(cuts))
        for norm in norms:
            norm.train()
        prepare, images = normalizing(origin.contract), _some(origin.training_images.data)
        n_seen = 0
        for batch in batches(images, prepare, origin.device):
            if len(batch) == 1:
                continue  # one value may have no variance
            n_seen += len(batch)
            for norm in norms:
                norm.momentum = len(batch) / n_seen  # so that all images count alike
            network.run(batch, outputs)
    return [{name: _statistics(norm) for name, norm in own.items()} for own in layers]


def _some(data: ImageData) -> Tensor:
    chance = torch.Generator().manual_seed(0)
    positions = torch.randperm(len(data), generator=chance)[:N_STATISTICS_IMAGES]
    return data.select(positions).images


def _statistics(norm: nn.Module) -> Statistics:
    return Statistics(norm.get_buffer("running_mean").cpu(), norm.get_buffer("running_var").cpu())


def _read_together(
    networks: Sequence[PlainNetwork],
    outputs: Sequence[Sequence[str]],
    data: ImageData,
    origin: OriginNetwork,
) -> list[Tensor]:
    """Return the values of some nodes of each network, side by side."""
    together = SideBySide(networks)
    names = [[together.name(i, node) for node in own] for i, own in enumerate(outputs)]
    wanted = tuple(dict.fromkeys(name for own in names for name in own))
    prepare, device = normalizing(origin.contract), origin.device
    network = build(together.graph, together.tensors).eval()
    values = read(network, data.pixels, prepare, wanted, device=device)
    return [torch.cat([values[name] for name in own], dim=1) for own in names]
