"""The network that a run starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from modpm.core.graph import trace
from modpm.core.networks import check_network, create, load_initial_weights
from modpm.core.training.batches import seeded_generator
from modpm.core.training.methods import find_method

if TYPE_CHECKING:
    from modpm.core.formats.manifest import InputContract
    from modpm.core.training.configuration import TrainingConfiguration
    from modpm.core.training.methods.method import Network

_METHOD = 1  # the stream of chance that a method draws weights from


def starting_network(
    configuration: TrainingConfiguration, n_classes: int, contract: InputContract
) -> Network:
    """Create a run's network, with what its method adds.

    Args:
        configuration: Says which, and what weights it starts from.
        n_classes: How many outputs it must have.
        contract: Images it must take.

    Raises:
        ModpmError: It cannot be created, traced or trained by the method, does not fit the data, or
            its weights cannot be loaded.
    """
    shape = contract.channels, contract.height, contract.width
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(configuration.seed)
        network = create(configuration.arch, n_classes, contract.channels, configuration.width)
        check_network(network, shape, n_classes)
        if configuration.init is not None:
            load_initial_weights(network, configuration.init)
        graph, tensors = trace(network, torch.zeros(2, *shape))
    chance = seeded_generator(configuration.seed, 0, _METHOD)
    return find_method(configuration.method).prepare(graph, tensors, chance)
