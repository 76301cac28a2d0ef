"""The network that a run starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from modpm.core.graph import trace
from modpm.core.networks import check_network, create, load_initial_weights
from modpm.core.training.batches import seeded_generator
from modpm.core.training.mask_generators import PAPER, InitialMasks, attach_mask_generators

if TYPE_CHECKING:
    from torch import Tensor

    from modpm.core.formats.manifest import InputContract
    from modpm.core.formats.network_graph import Graph
    from modpm.core.training.configuration import TrainingConfiguration

TRAINED_WEIGHTS = InitialMasks(score_scale=0.1, score_bias=0.7, keeps_function=True)
"""How masks start on weights that have been trained: open, and the network as good as it was."""

_GENERATORS = 1  # the stream of chance that mask generators are drawn from


def starting_network(
    configuration: TrainingConfiguration, n_classes: int, contract: InputContract
) -> tuple[Graph, dict[str, Tensor]]:
    """Create a run's network, with mask generators unless it is plain.

    Args:
        configuration: Says which, and what weights it starts from.
        n_classes: Outputs it must have.
        contract: Images it must take.

    Raises:
        ModpmError: It cannot be created, traced or modularized, does not fit the data, or its
            weights cannot be loaded.
    """
    shape = (contract.channels, contract.height, contract.width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(configuration.seed)
        network = create(configuration.arch, n_classes, contract.channels, configuration.width)
        check_network(network, shape, n_classes)
        if configuration.init is not None:
            load_initial_weights(network, configuration.init)
        graph, tensors = trace(network, torch.zeros(2, *shape))
    if configuration.plain:
        return graph, tensors
    return attach_mask_generators(
        graph,
        tensors,
        generator=seeded_generator(configuration.seed, 0, _GENERATORS),
        initial=PAPER if configuration.init is None else TRAINED_WEIGHTS,
    )
