"""Cutting: the sliced network of one class, and the node that gives its score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modpm.core.formats.network_graph import Graph, Node
from modpm.core.graph import infer_shapes
from modpm.core.slicing import placements, slice_graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from modpm.core.modularizing.calibration import Calibrator

HIDDEN = ".mask_generator.hidden"
HIDDEN_RELU = ".mask_generator.hidden_relu"
POOL = ".mask_generator.pool"

Retained = dict[str, list[int]]


@dataclass(frozen=True)
class CutNetwork:
    """The network of one class, without the kernels that the class does not need.

    Attributes:
        class_index: The class's position among the origin's outputs.
        retained: What is retained of the origin's convolutions, and of the hidden layers of its
            mask generators where they were cut.
        graph: The sliced network; its output is the logit of the class, (N, 1).
        tensors: Its tensors.
    """

    class_index: int
    retained: Retained
    graph: Graph
    tensors: dict[str, Tensor]

    @property
    def feature_nodes(self) -> tuple[str, ...]:
        """The vectors that a head reads besides the logit.

        They are what the network computes anyway: the pooled inputs of its mask generators, and
        what its last layer reads.
        """
        pools = [node.name for node in self.graph.nodes if node.name.endswith(POOL)]
        last = self.graph.node(self.graph.output)
        is_linear = last.operator == "linear"
        return tuple(dict.fromkeys((*pools, *(last.inputs if is_linear else ()))))

    @property
    def feature_sizes(self) -> dict[str, int]:
        """How many numbers each of them has."""
        shapes = infer_shapes(self.graph)
        return {name: math.prod(shapes[name]) for name in self.feature_nodes}

    @property
    def hidden_nodes(self) -> dict[str, str]:
        """The node of the activated hidden units of each mask generator, by their linear layer."""
        return {
            node.inputs[0]: node.name
            for node in self.graph.nodes
            if node.name.endswith(HIDDEN_RELU) and node.inputs[0].endswith(HIDDEN)
        }


def cut(
    graph: Graph, tensors: Mapping[str, Tensor], retained: Retained, class_index: int
) -> CutNetwork:
    """Cut the network of one class out of a modular network.

    Args:
        graph: The modular network.
        tensors: Its tensors.
        retained: The kernels that the class retains, by convolution.
        class_index: The class's output.
    """
    sliced, left = slice_graph(graph, tensors, retained, [class_index])
    return CutNetwork(class_index, retained, sliced, left)


def without_silent_units(
    graph: Graph,
    tensors: Mapping[str, Tensor],
    network: CutNetwork,
    is_ever_active: Mapping[str, Tensor],
) -> CutNetwork:
    """Cut the hidden units of mask generators that are 0 for every image that was read.

    On those images the network's values do not change.

    Args:
        graph: The modular network that `network` was cut from.
        tensors: Its tensors.
        network: Cut with whole hidden layers.
        is_ever_active: Which hidden units it ever activates, by linear layer.

    Shapes:
        is_ever_active: (H,) each, boolean, H the units that `network` has left.
    """
    places = placements(graph, network.retained, [network.class_index])
    left = {
        layer.name: _left_units(layer, places, is_ever_active.get(layer.name))
        for layer in graph.nodes
        if layer.name.endswith(HIDDEN)
    }
    return cut(graph, tensors, {**network.retained, **left}, network.class_index)


def _left_units(
    layer: Node, places: Mapping[str, tuple[list[int] | None, ...]], active: Tensor | None
) -> list[int]:
    """Return the units that are not silent; of a layer that nothing reads any more, all."""
    n_features = layer.attributes["n_features"]
    assert isinstance(n_features, int)
    if active is None:
        return list(range(n_features))
    kept = places[layer.tensors["weight"]][0]
    units = range(n_features) if kept is None else kept
    silent = {unit for unit, is_active in zip(units, active.tolist(), strict=True) if not is_active}
    return [unit for unit in range(n_features) if unit not in silent]


@dataclass(frozen=True)
class ScoredNetwork:
    """A network whose output is the score of its class.

    Attributes:
        graph, tensors: The network.
        score: The node of the score, (N, 1).
        logit: The node of the logit, (N, 1).
        features: The node of everything a head reads, the logit last; None without a head.
    """

    graph: Graph
    tensors: dict[str, Tensor]
    score: str
    logit: str
    features: str | None


def with_score(network: CutNetwork, calibrator: Calibrator) -> ScoredNetwork:
    """Append the calibration of a cut network: one linear node that gives the score.

    Args:
        network: Cut for one class.
        calibrator: Fitted on what it reads.
    """
    logit = network.graph.output
    features, nodes = None, list(network.graph.nodes)
    source = logit
    if calibrator.reads_features:
        source = features = _free_name(network.graph, "head_inputs")
        nodes.append(Node(source, "cat", (*network.feature_nodes, logit)))
    score = _free_name(network.graph, "score")
    roles = {"weight": f"{score}.weight", "bias": f"{score}.bias"}
    nodes.append(Node(score, "linear", (source,), {"n_features": 1}, roles))
    like = next(iter(network.tensors.values()))
    return ScoredNetwork(
        Graph(network.graph.input, network.graph.input_shape, tuple(nodes), score),
        {
            **network.tensors,
            roles["weight"]: calibrator.weight[None].to(like.dtype),
            roles["bias"]: torch.tensor([calibrator.bias], dtype=like.dtype),
        },
        score,
        logit,
        features,
    )


def _free_name(graph: Graph, wanted: str) -> str:
    """Return a name that neither a node nor a part of a layer's path has."""
    taken = {part for node in graph.nodes for part in _paths(node)}
    name = wanted
    while name in taken:
        name += "_"
    return name


def _paths(node: Node) -> Sequence[str]:
    names = [node.name, *node.inputs, *node.tensors.values()]
    return [*names, *(name.split(".")[0] for name in names)]
