"""Cutting: the sliced network of one class, and the node that gives its score."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from modpm.core.formats.network_graph import Graph, Node
from modpm.core.graph import infer_shapes, tensor_shapes
from modpm.core.slicing import slice_graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from modpm.core.calibrations.scores import Calibrator
    from modpm.core.origins.unusual import Penalty

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


class Statistics(NamedTuple):
    """Mean and variance of each channel that a batch normalization reads; (C,) each."""

    mean: Tensor
    variance: Tensor


def norms_after_cuts(network: CutNetwork, origin: Graph) -> list[Node]:
    """Return the batch normalizations that read other values than in the origin.

    They come after a layer that lacks some of its inputs. Those that share their statistics with
    another node are left out.

    Args:
        network: A cut network.
        origin: What it was cut from.
    """
    shapes, changed, found = tensor_shapes(origin), set[str](), list[Node]()
    for node in network.graph.nodes:
        weight = node.tensors.get("weight", "")
        is_narrower = node.operator in {"conv2d", "linear"} and (
            network.tensors[weight].shape[1] < shapes[weight][1]
        )
        if is_narrower or not changed.isdisjoint(node.inputs):
            changed.add(node.name)
            if node.operator == "batch_norm2d":
                found.append(node)
    times = Counter(node.tensors.get("running_mean") for node in network.graph.nodes)
    return [node for node in found if times[node.tensors["running_mean"]] == 1]


def with_statistics(network: CutNetwork, found: Mapping[str, Statistics]) -> CutNetwork:
    """Normalize by other statistics: each normalization is followed by what corrects it.

    Its own tensors stay those of the origin, from which compositions join modules.

    Args:
        network: A cut network.
        found: What is to be normalized by, for some batch normalizations.
    """
    anew = {name: f"{name}.anew" for name in found}
    nodes: list[Node] = []
    tensors = dict(network.tensors)
    for node in network.graph.nodes:
        nodes.append(replace(node, inputs=tuple(anew.get(name, name) for name in node.inputs)))
        if node.name in found:
            name = anew[node.name]
            roles = {"weight": f"{name}.weight", "bias": f"{name}.bias"}
            nodes.append(Node(name, "channel_affine", (node.name,), {}, roles))
            scale, shift = _correction(node, network.tensors, found[node.name])
            tensors |= {roles["weight"]: scale, roles["bias"]: shift}
    output = anew.get(network.graph.output, network.graph.output)
    graph = replace(network.graph, nodes=tuple(nodes), output=output)
    return dataclasses.replace(network, graph=graph, tensors=tensors)


def _correction(
    norm: Node, tensors: Mapping[str, Tensor], found: Statistics
) -> tuple[Tensor, Tensor]:
    """Return what the values of a normalization are multiplied by, and what is added then."""
    own = {role: tensors[name].double() for role, name in norm.tensors.items()}
    eps = norm.attributes["eps"]
    assert isinstance(eps, float)
    rate = (found.variance.double() + eps).rsqrt()
    scale = rate * (own["running_var"] + eps).sqrt()
    moved = (own["running_mean"] - found.mean.double()) * rate * own.get("weight", 1.0)
    shift = moved + (1 - scale) * own.get("bias", 0.0)
    dtype = tensors[norm.tensors["running_mean"]].dtype
    return scale.to(dtype), shift.to(dtype)


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

    Strict: every convolution counts, those that are not cut as wholly retained; but for depthwise
    ones that follow others, of which a module has the share that it has of those.

    Args:
        retained: Indices of the retained kernels, by convolution.
        kernels: How many kernels each convolution has that does not follow another.
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
        penalty: The node of what was taken off for an unusual image, (N, 1), if anything is.
    """

    graph: Graph
    tensors: dict[str, Tensor]
    score: str
    logit: str
    features: str | None
    penalty: str | None = None


def with_score(
    network: CutNetwork, calibrator: Calibrator, penalty: Penalty | None = None
) -> ScoredNetwork:
    """Append the calibration of a cut network: the nodes that give the score.

    Args:
        network: Cut for one class.
        calibrator: Fitted on what it reads.
        penalty: What is taken off the score of an unusual image; None for nothing.
    """
    logit = source = network.graph.output
    features, nodes = None, list(network.graph.nodes)
    if calibrator.reads_features:
        nodes = list(network.with_features.nodes)
        source = features = network.graph.free_name("head_inputs")
        read = (node.name for node in network.features)
        nodes.append(Node(source, "cat", (*read, logit)))
    score = network.graph.free_name("score")
    n_read = infer_shapes(replace(network.graph, nodes=tuple(nodes)))[source][0]
    added, fitted = calibrator.nodes(source, n_read, score)
    nodes += added
    if penalty is not None:
        nodes += [
            *penalty.nodes(network.graph.input),
            Node(f"{score}.usual", "sub", (score, penalty.graph.output)),
        ]
        fitted, score = {**fitted, **penalty.tensors}, nodes[-1].name
    like = next(iter(network.tensors.values()))
    return ScoredNetwork(
        Graph(network.graph.input, network.graph.input_shape, tuple(nodes), score),
        {**network.tensors, **{name: tensor.to(like.dtype) for name, tensor in fitted.items()}},
        score,
        logit,
        features,
        None if penalty is None else penalty.graph.output,
    )
