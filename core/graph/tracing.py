"""A user's network read into a network graph."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from torch import Tensor, fx, nn

from modpm.core.errors import ModpmError
from modpm.core.formats.network_graph import Graph
from modpm.core.graph.guest import Guest, exported, user_line
from modpm.core.graph.index_views import View
from modpm.core.graph.operators.table import ATEN, OPERATORS
from modpm.core.graph.translation import (
    Constant,
    Translator,
    UntranslatableError,
    calling_module,
    operator_name,
)
from modpm.core.graph.verification import N_RECORDED, random_images, verify

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import torch

_IMAGE_BATCH_RANK = 4  # images, channels, height, width
_INPUT = "input"
_LONGEST_NAME = 200  # that a role and an operator may follow


class Trace(NamedTuple):
    """What was read of a network.

    Attributes:
        graph: What it computes.
        tensors: Copies of the tensors that the graph names.
        frozen: Those of them that training leaves as they are: made of buffers, of numbers in the
            code, or of parameters without gradients.
    """

    graph: Graph
    tensors: dict[str, Tensor]
    frozen: frozenset[str]


def trace(network: nn.Module, example_input: Tensor) -> tuple[Graph, dict[str, Tensor]]:
    """Return the graph and the tensors of `read_network`.

    Args:
        network: As there.
        example_input: As there.

    Shapes:
        example_input: (N, C, H, W)

    Raises:
        ModpmError: As there.
    """
    graph, tensors, _ = read_network(network, example_input)
    return graph, tensors


def read_network(network: nn.Module, example_input: Tensor) -> Trace:
    """Read a network into a graph and its tensors.

    The network is recorded in training mode: a graph must train as the network does. That the
    graph gives what the network gives in evaluation mode is checked on random images, in
    batches of several sizes, with random numbers in the place of parameters and statistics
    that are all alike. The network is left as it was.

    Args:
        network: Any network of the operators of `specs/graph.md`, with one tensor as its output
            (also in a tuple, or as `logits` of a dictionary or object).
        example_input: Images of the size and type that the network is for; their numbers do
            not matter.

    Returns:
        The graph, copies of the tensors that it names, and which of them are not trained. A
        convolution, linear layer or batch
        normalization keeps its name and its tensors' names (`num_batches_tracked` is left out);
        what G-3 does not allow in a name becomes `_`.

    Shapes:
        example_input: (N, C, H, W)

    Raises:
        ModpmError: `unsupported-operator`, naming the operator and the line that called it;
            `unsupported-control-flow`; `unsupported-output`; `untraceable-network` where the
            network itself fails, or the graph does not compute what the network does.
    """
    _check_example(example_input)
    guest, images = Guest(network), random_images(example_input, N_RECORDED)
    program = exported(guest, images, is_training=True)
    _refuse_attention(program)
    paths = [path for path, _ in network.named_modules(remove_duplicate=False)]
    translate = partial(_translated, program, images, legal_names(paths))
    traced = translate(program.state_dict)
    verify(guest, program, lambda state: translate(state)[:2], images)
    return traced


_ATTENTION = frozenset({"scaled_dot_product_attention", "multi_head_attention_forward"})
_PRODUCTS = frozenset({"matmul", "bmm", "baddbmm", "einsum"})
_MOVED = frozenset({
    "dropout", "transpose", "permute", "reshape", "view", "expand", "contiguous", "clone", "to",
})  # fmt: skip


def _refuse_attention(program: torch.export.ExportedProgram) -> None:
    """Refuse a network of attention, whatever else of it a graph cannot express before that.

    Attention is a call of its own, or a product with what a softmax gave.
    """
    shares: set[fx.Node] = set()
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        name, reads = operator_name(node), not shares.isdisjoint(node.all_input_nodes)
        if name in _ATTENTION or (name in _PRODUCTS and reads):
            raise ModpmError(
                "the network is one of attention, as transformers are, and not of convolutions "
                "alone: of products of pixels with each other no kernels can be cut",
                code="unsupported-operator",
                where=user_line(node),
                hint="take a convolutional network, such as `timm:convnext_tiny`",
            )
        if name in {"softmax", "_softmax"} or (reads and name in _MOVED):
            shares.add(node)


def _check_example(example: Tensor) -> None:
    if example.dim() != _IMAGE_BATCH_RANK or not example.is_floating_point():
        shape, dtype = tuple(example.shape), example.dtype
        raise ModpmError(
            "the example is not a batch of images",
            code="bad-example",
            why=f"it has the shape {shape} and the type {dtype}, not (N, C, H, W) of floats",
        )


def legal_names(paths: Iterable[str]) -> dict[str, str]:
    """Return what a graph calls layers (G-3), each by a name of its own."""
    names: dict[str, str] = {}
    for path in sorted(paths, key=lambda path: _legal(path) != path):
        name = _legal(path)
        while name and name in names.values():
            name += "_"
        names[path] = name
    return names


def _legal(path: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]", "_", path)[-_LONGEST_NAME:].lstrip(".")


def _translated(
    program: torch.export.ExportedProgram,
    images: Tensor,
    names: Mapping[str, str],
    state: Mapping[str, Tensor],
) -> Trace:
    """Translate a program as if the network's tensors were those of a state."""
    _, channels, height, width = images.shape
    image = View(_INPUT, (channels, height, width))
    translator = Translator(OPERATORS, ATEN, image, names, images.dtype)
    constants = _constants(program, state)
    for node in program.graph.nodes:
        try:
            if node.op == "placeholder":
                translator.place(node, constants.get(node.name))
            elif node.op == "get_attr":
                translator.place(node, getattr(program.graph_module, node.target))
            elif node.op == "call_function":
                translator.call(node)
            elif node.op == "output":
                output = translator.output(node)
        except UntranslatableError as error:
            raise _unsupported(node, error) from None
    whole = Graph(_INPUT, (channels, height, width), tuple(translator.nodes), output)
    live = whole.live()
    graph = msgspec.structs.replace(whole, nodes=tuple(n for n in whole.nodes if n.name in live))
    used = {name for node in graph.nodes for name in node.tensors.values()}
    tensors = {name: x for name, x in translator.tensors.items() if name in used}
    return Trace(graph, tensors, frozenset(used - translator.trained))


def _unsupported(node: fx.Node, error: UntranslatableError) -> ModpmError:
    operator, (path, _) = str(node.target).removesuffix(".default"), calling_module(node)
    return ModpmError(
        f"a network graph cannot express the operator `{operator}`",
        code="unsupported-operator",
        where=user_line(node) or (f"layer `{path}`" if path else None),
        why=str(error) or None,
        hint=error.hint or "`modpm check --operators` lists what a network may call",
    )


def _constants(
    program: torch.export.ExportedProgram, state: Mapping[str, Tensor]
) -> dict[str, Constant]:
    """Return the tensors of a network by the names of their placeholders."""
    signature = program.graph_signature
    parameters = signature.inputs_to_parameters
    others = {**signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    is_trained = {
        name: program.state_dict[target].requires_grad for name, target in parameters.items()
    }
    values = {**program.constants, **state}
    return {
        name: Constant(
            values[target].detach(),
            target.removeprefix("network."),
            target.removeprefix("network.") if is_trained.get(name) else None,
        )
        for name, target in {**parameters, **others}.items()
        if isinstance(values[target], Tensor)
    }
