"""The network that a run starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from modpm.core.graph import trace
from modpm.core.networks import check_network, create, load_initial_weights
from modpm.core.training.batches import TrainingImages, seeded_generator
from modpm.core.training.mask_generators import attach_mask_generators
from modpm.core.training.trained_start import N_IMAGES, fit_generators

if TYPE_CHECKING:
    from torch import Tensor

    from modpm.core.data import ImageData
    from modpm.core.formats.manifest import InputContract
    from modpm.core.formats.network_graph import Graph
    from modpm.core.training.configuration import TrainingConfiguration

_GENERATORS = 1  # the stream of chance that mask generators are drawn from


class StartingNetwork(NamedTuple):
    """What a run starts from.

    Attributes:
        graph: The network, with mask generators unless it is plain.
        tensors: Its tensors.
        trained: The weights that it was given, without mask generators; None if there are none.
    """

    graph: Graph
    tensors: dict[str, Tensor]
    trained: dict[str, Tensor] | None = None


def starting_network(
    configuration: TrainingConfiguration, training: ImageData, contract: InputContract
) -> StartingNetwork:
    """Create a run's network, with mask generators unless it is plain.

    Args:
        configuration: Says which, and what weights it starts from.
        training: The images it is to be trained on.
        contract: Images it must take.

    Raises:
        ModpmError: It cannot be created, traced or modularized, does not fit the data, or its
            weights cannot be loaded.
    """
    n_classes, shape = len(training.classes), (contract.channels, contract.height, contract.width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(configuration.seed)
        network = create(configuration.arch, n_classes, contract.channels, configuration.width)
        check_network(network, shape, n_classes)
        if configuration.init is not None:
            load_initial_weights(network, configuration.init)
        graph, tensors = trace(network, torch.zeros(2, *shape))
    if configuration.plain:
        return StartingNetwork(graph, tensors)
    chance = seeded_generator(configuration.seed, 0, _GENERATORS)
    modular, attached = attach_mask_generators(graph, tensors, generator=chance)
    if configuration.init is None:
        return StartingNetwork(modular, attached)
    positions = torch.randperm(len(training), generator=chance)[:N_IMAGES]
    images = TrainingImages(training, contract).plain_batch(positions).images
    return StartingNetwork(modular, fit_generators(modular, attached, images, chance), tensors)
