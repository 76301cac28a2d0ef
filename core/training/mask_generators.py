"""Mask generators: the small networks that say, for each image, which kernels matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from modpm.core.errors import ModpmError
from modpm.core.formats.network_graph import Graph, Node
from modpm.core.graph.shapes import infer_shapes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch
    from torch import Tensor

    from modpm.core.graph.operators import Shape

_WIDE = 128  # layers of so many kernels get a hidden layer of half as many units
_GENERATOR = ".mask_generator."
_MASK = f"{_GENERATOR}mask"
_MASKED = ".masked"


def attach_mask_generators(
    graph: Graph,
    tensors: Mapping[str, Tensor],
    *,
    generator: torch.Generator,
) -> tuple[Graph, dict[str, Tensor]]:
    """Give each convolution that can be cut a mask generator, and multiply its output by the mask.

    A generator is made of ordinary nodes: `{conv}.mask_generator.pool`, `.hidden`, `.hidden_relu`,
    `.score`, `.tanh` and `.mask`; `{conv}.masked` is the batch norm's value times the mask, or the
    convolution's own where other nodes than one batch norm read it.

    Args:
        graph: A network without mask generators.
        tensors: Its tensors.
        generator: Source of the weights' randomness.

    Shapes:
        pool (N, C_in), hidden (N, C_out) or (N, C_out / 2), score and mask (N, C_out).

    Returns:
        The new graph and its tensors; the given ones are not changed.

    Raises:
        ModpmError: No convolution can have a mask generator (`nothing-to-modularize`).

    Source:
        Modularizing while Training (arXiv 2306.09376), mask generators: Kaiming-normal weights,
        last bias 1.
        Departs: depthwise convolutions, convolutions of pooled vectors (squeeze-and-excite) and
        those that give the logits have none; cutting follows their inputs or would cut classes.
    """
    convs = {_masked_value(graph, conv): conv for conv in _maskable_or_refused(graph)}
    shapes = infer_shapes(graph)
    weights = dict(tensors)
    for conv in convs.values():
        weights |= _generator_tensors(conv, shapes[conv.inputs[0]], generator, tensors)
    return _with_generators(graph, convs), weights


def _maskable_or_refused(graph: Graph) -> list[Node]:
    convs = maskable_convolutions(graph)
    if not convs:
        raise ModpmError(
            "the network has no convolution to modularize",
            code="nothing-to-modularize",
            why="every one is the first, depthwise, of a pooled vector, or gives the logits",
        )
    return convs


def _with_generators(graph: Graph, convs: Mapping[str, Node]) -> Graph:
    """Return the graph with generators; `convs` has the convolution of each masked value."""
    masked = {value: f"{conv.name}{_MASKED}" for value, conv in convs.items()}
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(masked.get(name, name) for name in node.inputs)
        nodes.append(Node(node.name, node.operator, inputs, node.attributes, node.tensors))
        if (conv := convs.get(node.name)) is not None:
            source = conv.inputs[0]
            nodes += _generator_nodes(conv, masked.get(source, source), node.name)
    output = masked.get(graph.output, graph.output)
    return Graph(graph.input, graph.input_shape, tuple(nodes), output)


def without_mask_generators(graph: Graph) -> Graph:
    """Return the graph that mask generators were attached to."""
    masked = {node.name: node.inputs[0] for node in graph.nodes if node.name.endswith(_MASKED)}
    nodes = [
        Node(
            node.name,
            node.operator,
            tuple(masked.get(name, name) for name in node.inputs),
            node.attributes,
            node.tensors,
        )
        for node in graph.nodes
        if _GENERATOR not in node.name and node.name not in masked
    ]
    output = masked.get(graph.output, graph.output)
    return Graph(graph.input, graph.input_shape, tuple(nodes), output)


def mask_nodes(graph: Graph) -> dict[str, str]:
    """Return the node that gives each masked convolution's mask, in execution order."""
    return {
        node.name.removesuffix(_MASK): node.name
        for node in graph.nodes
        if node.name.endswith(_MASK)
    }


def maskable_convolutions(graph: Graph) -> list[Node]:
    """Return the convolutions that a mask generator can be attached to, in execution order."""
    shapes = infer_shapes(graph)
    convs = [node for node in graph.nodes if node.operator == "conv2d"]
    logit_convs = _convolutions_of_logits(graph)
    return [
        conv
        for conv in convs[1:]
        if conv.name not in logit_convs
        and not _is_depthwise(conv, shapes[conv.inputs[0]])
        and shapes[conv.inputs[0]][1:] != (1, 1)
    ]


def _is_depthwise(conv: Node, input_shape: Shape) -> bool:
    return conv.attributes["groups"] == input_shape[0] > 1


def _n_kernels(conv: Node) -> int:
    n_kernels = conv.attributes["n_kernels"]
    assert isinstance(n_kernels, int)
    return n_kernels


def _convolutions_of_logits(graph: Graph) -> set[str]:
    """Return the convolutions whose kernels are classes: no weights between them and the output."""
    reached, found = {graph.output}, set()
    for node in reversed(graph.nodes):
        if node.name not in reached or node.operator == "linear":
            continue
        if node.operator == "conv2d":
            found.add(node.name)
        else:
            reached.update(node.inputs)
    return found


def _masked_value(graph: Graph, conv: Node) -> str:
    """Return the batch norm that alone reads the convolution, or the convolution itself."""
    readers = [node for node in graph.nodes if conv.name in node.inputs]
    is_normalised = len(readers) == 1 and readers[0].operator == "batch_norm2d"
    return readers[0].name if is_normalised else conv.name


def _generator_nodes(conv: Node, source: str, value: str) -> Iterator[Node]:
    prefix, n_kernels = f"{conv.name}{_GENERATOR}", _n_kernels(conv)
    n_hidden = hidden_size(n_kernels)
    hidden = {"weight": f"{prefix}hidden.weight"}
    score = {"weight": f"{prefix}score.weight", "bias": f"{prefix}score.bias"}
    yield Node(f"{prefix}pool", "mean", (source,), {"keepdim": False})
    yield Node(f"{prefix}hidden", "linear", (f"{prefix}pool",), {"n_features": n_hidden}, hidden)
    yield Node(f"{prefix}hidden_relu", "relu", (f"{prefix}hidden",))
    yield Node(
        f"{prefix}score", "linear", (f"{prefix}hidden_relu",), {"n_features": n_kernels}, score
    )
    yield Node(f"{prefix}tanh", "tanh", (f"{prefix}score",))
    yield Node(f"{prefix}mask", "relu", (f"{prefix}tanh",))
    yield Node(f"{conv.name}{_MASKED}", "mul", (value, f"{prefix}mask"))


def hidden_size(n_kernels: int) -> int:
    """Return how many hidden units the mask generator of a layer has."""
    return n_kernels if n_kernels < _WIDE else n_kernels // 2


def _generator_tensors(
    conv: Node,
    input_shape: Shape,
    generator: torch.Generator,
    tensors: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    like, n_kernels = tensors[conv.tensors["weight"]], _n_kernels(conv)
    n_hidden = hidden_size(n_kernels)
    hidden, score = like.new_empty(n_hidden, input_shape[0]), like.new_empty(n_kernels, n_hidden)
    for weight in (hidden, score):
        nn.init.kaiming_normal_(weight, generator=generator)
    prefix = f"{conv.name}{_GENERATOR}"
    return {
        f"{prefix}hidden.weight": hidden,
        f"{prefix}score.weight": score,
        f"{prefix}score.bias": like.new_ones(n_kernels),
    }
