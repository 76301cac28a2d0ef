"""Cutting: the sliced network of one class, and the node that gives its score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from modpm.core.formats.network_graph import Graph, Node
from modpm.core.graph import infer_shapes
from modpm.core.slicing import slice_graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from modpm.core.modularizing.calibration import Calibrator

Retained = dict[str, list[int]]


@dataclass(frozen=True)
class CutNetwork:
    """The network of one class, without the kernels that the class does not need.

    Attributes:
        class_index: The class's position among the origin's outputs.
        retained: What is retained of the origin's convolutions.
        cut_layers: The convolutions that classes keep some kernels of.
        graph: The sliced network; its output is the logit of the class, (N, 1).
        tensors: Its tensors.
    """

    class_index: int
    retained: Retained
    cut_layers: tuple[str, ...]
    graph: Graph
    tensors: dict[str, Tensor]

    @property
    def features(self) -> tuple[Node, ...]:
        """The nodes whose values a head reads besides the logit, vectors of each image.

        They are what each convolution that was cut reads, averaged over its pixels, which the
        network may compute anyway, and what its last layer reads.
        """
        own = {node.name: node for node in self.graph.nodes}
        pooled = {node.inputs[0]: node for node in own.values() if _is_pool(node)}
        sources = [own[name].inputs[0] for name in self.cut_layers if name in own]
        pools = [pooled.get(source) or _pool(source) for source in dict.fromkeys(sources)]
        last = own[self.graph.output]
        vectors = [own[name] for name in last.inputs] if last.operator == "linear" else []
        return tuple({node.name: node for node in (*pools, *vectors)}.values())

    @property
    def with_features(self) -> Graph:
        """The graph with all of these nodes."""
        there = {node.name for node in self.graph.nodes}
        new = [node for node in self.features if node.name not in there]
        return replace(self.graph, nodes=(*self.graph.nodes, *new))


def _is_pool(node: Node) -> bool:
    return node.operator == "mean" and node.attributes == {"keepdim": False}


def _pool(source: str) -> Node:
    return Node(f"{source}.pooled", "mean", (source,), {"keepdim": False})


def cut(
    graph: Graph, tensors: Mapping[str, Tensor], masks: Mapping[str, Tensor], class_index: int
) -> CutNetwork:
    """Cut the network of one class out of an origin.

    Args:
        graph: The origin.
        tensors: Its tensors.
        masks: Module masks, by convolution.
        class_index: The class's output.

    Shapes:
        masks: (n_classes, K) each, boolean.
    """
    retained = retained_kernels(masks, class_index, graph.kernels())
    sliced, left = slice_graph(graph, tensors, retained, [class_index])
    return CutNetwork(class_index, retained, tuple(masks), sliced, left)


def retained_kernels(
    masks: Mapping[str, Tensor], class_index: int, kernels: Mapping[str, int]
) -> dict[str, list[int]]:
    """Return the indices of the kernels that one class retains, ascending, by convolution.

    Args:
        masks: Module masks of the convolutions that are cut.
        class_index: Which class.
        kernels: How many kernels each convolution of the network has; of others all are retained.

    Shapes:
        masks: (n_classes, K) each, boolean.
    """
    return {
        conv: masks[conv][class_index].nonzero()[:, 0].tolist() if conv in masks else [*range(n)]
        for conv, n in kernels.items()
    }


def kernel_retention_rate(
    retained: Mapping[str, Sequence[int]], kernels: Mapping[str, int]
) -> float:
    """Return retained kernels / all kernels of one class module.

    Strict: every convolution counts, those that are not cut as wholly retained.

    Args:
        retained: Indices of the retained kernels, by convolution.
        kernels: How many kernels each convolution of the network has.
    """
    return sum(len(retained[conv]) for conv in kernels) / sum(kernels.values())


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
    """Append the calibration of a cut network: the nodes that give the score.

    Args:
        network: Cut for one class.
        calibrator: Fitted on what it reads.
    """
    logit = source = network.graph.output
    features, nodes = None, list(network.graph.nodes)
    if calibrator.reads_features:
        nodes = list(network.with_features.nodes)
        source = features = _free_name(network.graph, "head_inputs")
        read = (node.name for node in network.features)
        nodes.append(Node(source, "cat", (*read, logit)))
    score = _free_name(network.graph, "score")
    n_read = infer_shapes(replace(network.graph, nodes=tuple(nodes)))[source][0]
    added, fitted = calibrator.nodes(source, n_read, score)
    nodes += added
    like = next(iter(network.tensors.values()))
    return ScoredNetwork(
        Graph(network.graph.input, network.graph.input_shape, tuple(nodes), score),
        {**network.tensors, **{name: tensor.to(like.dtype) for name, tensor in fitted.items()}},
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
