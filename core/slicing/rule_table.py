"""The rule of every operator of a network graph."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from modpm.core.graph.shapes import layer_name
from modpm.core.slicing.channelwise import (
    ADD_SCALAR,
    AVERAGE_POOL,
    CHANNEL_AFFINE,
    CLAMP,
    KEEPS_ZERO,
    MOVES_ZERO,
    PAD,
    POOL,
)
from modpm.core.slicing.joining import BINARY, CONCATENATION, PRODUCT, SUM
from modpm.core.slicing.moving import CONSTANTS, FLATTEN, IDENTITY, SCATTER, SELECT, UNFLATTEN
from modpm.core.slicing.weighted import WEIGHTED
from modpm.core.slicing.whole_nodes import MIXING, Shared

if TYPE_CHECKING:
    from modpm.core.formats.network_graph import Graph
    from modpm.core.slicing.rules import Rule

_KEEP_ZERO = (
    "relu", "relu6", "leaky_relu", "elu", "silu", "mish", "gelu", "hardswish", "tanh",
    "mul_scalar", "dropout", "dropout_channels", "prelu",
)  # fmt: skip
_MOVE_ZERO = ("batch_norm2d", "hardsigmoid", "sigmoid", "softplus")
_POOL = ("max_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "mean", "subsample")

RULES: dict[str, Rule] = {
    **dict.fromkeys(("conv2d", "linear"), WEIGHTED),
    **dict.fromkeys(_KEEP_ZERO, KEEPS_ZERO),
    **dict.fromkeys(_MOVE_ZERO, MOVES_ZERO),
    **dict.fromkeys(_POOL, POOL),
    **dict.fromkeys(("softmax", "log_softmax", "group_norm", "channel_norm"), MIXING),
    **dict.fromkeys(("add", "sub"), SUM),
    **dict.fromkeys(("maximum", "minimum"), BINARY),
    "mul": PRODUCT,
    "cat": CONCATENATION,
    "clamp": CLAMP,
    "add_scalar": ADD_SCALAR,
    "channel_affine": CHANNEL_AFFINE,
    "avg_pool2d": AVERAGE_POOL,
    "pad": PAD,
    "flatten": FLATTEN,
    "unflatten": UNFLATTEN,
    "select_channels": SELECT,
    "scatter_channels": SCATTER,
    "identity": IDENTITY,
    "constant": CONSTANTS,
}


def rules_of(graph: Graph) -> dict[str, Rule]:
    """Return the rule of every node: layers that several nodes use stay whole.

    A node that the output does not depend on will be gone, and keeps nothing whole.
    """
    live = _live(graph)
    users = Counter(layer_name(node) for node in graph.nodes if node.name in live)
    return {
        node.name: RULES[node.operator]
        if users[layer_name(node)] <= 1
        else Shared(RULES[node.operator])
        for node in graph.nodes
    }


def _live(graph: Graph) -> set[str]:
    """Return the names of the values that the output depends on."""
    live = {graph.output}
    for node in reversed(graph.nodes):
        if node.name in live:
            live.update(node.inputs)
    return live
