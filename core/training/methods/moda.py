"""`moda`: modules by how strongly channels are activated, as its paper has it; there are no masks.

Each image has, behind every ReLU, the mean of each channel. Three losses bring these vectors of
images of one class together, draw those of different classes apart, and keep them small, so that
channels fall silent for the classes that do not need them. A channel that few images of a class
activate is not retained in the class's module. That takes long runs: the paper's has 200 epochs.
After few, nearly every channel is active on nearly every image and a threshold cuts nothing; such
a network is cut by a retention rate, which keeps of each layer the channels that are active most
often and, of channels that are so equally often, most strongly.

Source:
    Ngo, Hassan, Shafiq and Medvidovic, Improving DNN Modularization via Activation-Driven Training
    (arXiv 2411.01074): the losses and their weights, SGD with Nesterov's momentum 0.9 at 0.05
    without weight decay, half a cosine without warm-up, batches of 128, 200 epochs; the threshold.
    Departs: hidden linear layers have part in the losses, and are kept whole; kernels that reach
    no ReLU channel by channel, as those of linear bottlenecks, are kept whole; with several
    processes, pairs are those within a process's part of a batch; see the losses for the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from modpm.core.graph.shapes import infer_shapes
from modpm.core.slicing import cuttable_convolutions, following
from modpm.core.training.activity import Counting, channel_means
from modpm.core.training.evidence import ActivationRates
from modpm.core.training.methods.method import (
    Losses,
    Network,
    Task,
    nothing_to_cut,
)
from modpm.core.training.similarity import layer_members, modular_losses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from modpm.core.formats.network_graph import Graph
    from modpm.core.graph import GraphNetwork
    from modpm.core.graph.operators.definition import Shape

RELUS = frozenset({"relu", "relu6"})
"""Operators whose value is 0 where nothing is activated."""


class Moda(Counting):
    """Cross-entropy + affinity, dispersion and compactness losses, each times its weight."""

    settings: ClassVar[Mapping[str, float]] = {
        "affinity": 1.0,
        "dispersion": 1.0,
        "compactness": 0.3,
    }
    kind = ActivationRates
    members: Tensor

    def __init__(self, network: GraphNetwork, task: Task) -> None:
        super().__init__(network, task)
        graph, shapes = network.graph, infer_shapes(network.graph)
        self.relus = relus(graph)
        members = layer_members([shapes[relu][0] for relu in self.relus])
        self.register_buffer("members", members, persistent=False)

    @staticmethod
    def counted(graph: Graph) -> dict[str, str]:
        """Return the ReLU behind each convolution."""
        return relus_of_kernels(graph)

    @classmethod
    def prepare(
        cls, graph: Graph, tensors: dict[str, Tensor], generator: torch.Generator
    ) -> Network:
        """Return the network as it is, if some convolution is read by a ReLU and can be cut.

        Raises:
            ModpmError: There is none (`nothing-to-modularize`).
        """
        if not cuttable_convolutions(graph):
            raise nothing_to_cut()
        if not relus_of_kernels(graph):
            raise nothing_to_cut(
                "none that can be cut has a ReLU behind it", "train with `--method views`"
            )
        return super().prepare(graph, tensors, generator)

    def loss(self, *inputs: Tensor) -> Losses:
        """Return the losses of images, (N, C, H, W), and labels, (N,)."""
        images, labels = inputs
        output = self.network.graph.output
        values = self.run(images, (output, *self.relus))
        activations = [channel_means(values[relu]) for relu in self.relus]
        entropy = self.entropy(values[output], labels)
        affinity, dispersion = modular_losses(activations, labels, self.members)
        compactness = compactness_loss(activations)
        weights = self.task.settings
        return {
            "loss": entropy
            + weights["affinity"] * affinity
            + weights["dispersion"] * dispersion
            + weights["compactness"] * compactness,
            "cross_entropy": entropy,
            "affinity_loss": affinity,
            "dispersion_loss": dispersion,
            "compactness_loss": compactness,
        }


def compactness_loss(activations: Sequence[Tensor]) -> Tensor:
    """Return the mean activation of a channel, averaged over layers.

    Args:
        activations: Of each layer, 0 or more.

    Shapes:
        activations: (N, K) each
        returns: ()

    Source:
        Activation-Driven Training (arXiv 2411.01074), compactness: the L1 norm of a layer's
        activations over their number.
    """
    return torch.stack([layer.mean() for layer in activations]).mean()


def relus(graph: Graph) -> tuple[str, ...]:
    """Return the ReLUs that the output depends on, in execution order."""
    live = graph.live()
    return tuple(n.name for n in graph.nodes if n.operator in RELUS and n.name in live)


def relus_of_kernels(graph: Graph) -> dict[str, str]:
    """Return which ReLU's channels stand for the kernels of each convolution that can be cut.

    It is the first that their values reach channel by channel (`following`). Convolutions without
    one are left out.
    """
    shapes = infer_shapes(graph)
    found = {
        convolution: _first_relu(graph, point, shapes)
        for convolution, point in cuttable_convolutions(graph).items()
    }
    return {convolution: relu for convolution, relu in found.items() if relu is not None}


def _first_relu(graph: Graph, point: str, shapes: Mapping[str, Shape]) -> str | None:
    behind = following(graph, point, shapes)
    return next((node.name for node in behind if node.operator in RELUS), None)
