"""Layers by whose times a machine is known: of shapes drawn by chance, the same each time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from modpm.core.estimating.work import Work, works
from modpm.core.formats.network_graph import AttributeValue, Graph, Node

LARGEST_MACS = 2**29
"""Multiply-accumulates of a batch: a layer of more would take long and tell little."""

LARGEST_VALUE = 2**22
"""Numbers of a value of a batch."""

_SIDES = (2, 4, 4, 8, 8, 16, 16, 32, 32, 7, 14, 28, 56)
_WHOLE_SIDES = (4, 8, 16, 32, 32, 64, 112, 160, 224)  # of images that are read
_FEWEST, _MOST = 2, 256  # channels
_MANY = 1024  # of layers with few weights for each

Draw = Callable[[random.Random], Graph]


class Stage(NamedTuple):
    """Kinds of work that are known by the same networks.

    Attributes:
        kinds: What is fitted, by the rates of the stages before.
        graphs: Networks of a step or a few.
    """

    kinds: tuple[str, ...]
    graphs: Sequence[Graph]


def stages(batch_size: int) -> Iterator[Stage]:
    """Give the networks that are timed at one size of batches, in the order of what they need.

    Args:
        batch_size: How many images.
    """
    chance = random.Random(0)  # noqa: S311 -- no secret
    yield Stage(("pass", "view"), [_idle(*counts) for counts in _IDLE])
    for kind, n, draw in _KINDS:
        if batch_size == 1 or not kind.startswith("small"):
            fitting = _fitting(kind, batch_size, draw, chance)
            yield Stage((kind,), [next(fitting) for _ in range(n)])


def _fitting(kind: str, batch_size: int, draw: Draw, chance: random.Random) -> Iterator[Graph]:
    """Give networks whose last step is of a kind, and none that is too large."""
    while True:
        graph = draw(chance)
        steps = works(graph, batch_size)
        if steps[-1].kind == kind and all(map(_is_brief, steps)):
            yield graph


def _is_brief(step: Work) -> bool:
    macs = step.times * step.n_inputs * step.n_outputs
    return macs <= LARGEST_MACS and max(step.read, step.written) <= LARGEST_VALUE


# --- what is drawn ----------------------------------------------------------------------------


def _channels(chance: random.Random, fewest: int = _FEWEST, most: int = _MOST) -> int:
    """Draw a number whose logarithm is evenly spread."""
    return round(math.exp(chance.uniform(math.log(fewest), math.log(most))))


def _image(chance: random.Random, most: int = _MOST) -> tuple[int, int, int]:
    side = chance.choice(_SIDES)
    return _channels(chance, most=most), side, side


def _node(operator: str, *inputs: str, **attributes: AttributeValue) -> Node:
    return Node(operator, operator, inputs or ("image",), attributes)


def _with(node: Node, *roles: str) -> Node:
    """Return a node with tensors."""
    tensors = {role: f"{node.name}.{role}" for role in roles}
    return Node(node.name, node.operator, node.inputs, node.attributes, tensors)


def _graph(shape: tuple[int, int, int], *nodes: Node) -> Graph:
    return Graph("image", shape, nodes, nodes[-1].name)


def _norm(name: str = "norm") -> Node:
    node = Node(name, "batch_norm2d", ("image",), {"eps": 1e-5, "momentum": 0.1})
    return _with(node, "weight", "bias", "running_mean", "running_var")


_IDLE = ((1, 0), (1, 25), (1, 100), (6, 0), (16, 0), (16, 50))


def _idle(n_views: int, n_layers: int) -> Graph:
    """Return a network that does nothing, and has layers that its output does not need."""
    idle = [_norm(f"idle{i}") for i in range(n_layers)]
    views = [Node(f"view{i}", "identity", (f"view{i - 1}",)) for i in range(1, n_views)]
    return _graph((3, 4, 4), *idle, Node("view0", "identity", ("image",)), *views)


def _alone(operator: str, **attributes: AttributeValue) -> Draw:
    return lambda chance: _graph(_image(chance), _node(operator, **attributes))


_MAP = _node("relu6")
_PAIR = _node("add", "relu6", "image")


def _relu(chance: random.Random) -> Graph:
    """Draw a relu of a value that it may overwrite."""
    return _graph(_image(chance), _MAP, _PAIR, _node("relu", "add"))


def _pool(chance: random.Random) -> Graph:
    size, padding = chance.choice(((2, 0), (2, 0), (3, 1)))
    attributes: dict[str, AttributeValue] = {
        "kernel_size": [size, size],
        "stride": [2, 2],
        "padding": [padding, padding],
        "dilation": [1, 1],
        "ceil_mode": False,
    }
    return _graph(_image(chance), Node("pool", "max_pool2d", ("image",), attributes))


def _cat(chance: random.Random) -> Graph:
    if chance.random() < 0.5:  # noqa: PLR2004 -- a half
        return _graph(_image(chance), _node("cat", "image", "image"))
    mean = _node("mean", keepdim=False)
    return _graph(_image(chance), mean, _node("cat", *["mean"] * chance.randint(2, 40)))


def _select(chance: random.Random) -> Graph:
    shape = _image(chance)
    indices = sorted(chance.sample(range(shape[0]), chance.randint(1, shape[0])))
    return _graph(shape, _node("select_channels", indices=indices))


def _scatter(chance: random.Random) -> Graph:
    shape = _image(chance)
    n_channels = shape[0] + _channels(chance, 1)
    indices = sorted(chance.sample(range(n_channels), shape[0]))
    return _graph(shape, _node("scatter_channels", indices=indices, n_channels=n_channels))


def _linear(chance: random.Random) -> Graph:
    mean, n_features = _node("mean", keepdim=False), _channels(chance, 1)
    layer = _with(_node("linear", "mean", n_features=n_features), "weight", "bias")
    return _graph((_channels(chance, most=_MANY), 4, 4), mean, layer)


def _convolution(
    shape: tuple[int, int, int], n_kernels: int, side: int, stride: int, groups: int = 1
) -> Graph:
    attributes: dict[str, AttributeValue] = {
        "n_kernels": n_kernels,
        "kernel_size": [side, side],
        "stride": [stride, stride],
        "padding": [side // 2, side // 2],
        "dilation": [1, 1],
        "groups": groups,
    }
    layer = Node("conv", "conv2d", ("image",), attributes)
    return _graph(shape, _with(layer, "weight", "bias"))


def _dense(chance: random.Random) -> Graph:
    side, stride = chance.choice((3, 3, 3, 5)), chance.choice((1, 1, 1, 2))
    return _convolution(_image(chance), _channels(chance), side, stride)


def _pointwise(chance: random.Random) -> Graph:
    shape, n_kernels = _image(chance, _MANY), _channels(chance, most=_MANY)
    return _convolution(shape, n_kernels, 1, chance.choice((1, 1, 1, 2)))


def _first(chance: random.Random) -> Graph:
    pixels = chance.choice(_WHOLE_SIDES)
    shape = chance.choice((1, 2, 3, 3, 3, 4)), pixels, pixels
    side, stride = chance.choice((3, 3, 3, 5, 7)), chance.choice((1, 1, 2))
    return _convolution(shape, _channels(chance), side, stride)


def _depthwise(chance: random.Random) -> Graph:
    shape = _image(chance, _MANY)
    return _convolution(shape, shape[0], 3, chance.choice((1, 1, 1, 2)), shape[0])


def _grouped(chance: random.Random) -> Graph:
    groups, (_, *sides) = chance.randint(2, 10), _image(chance)
    n_inputs, n_outputs = (groups * _channels(chance, most=64) for _ in range(2))
    shape = n_inputs, sides[0], sides[1]
    return _convolution(shape, n_outputs, chance.choice((1, 3, 3)), 1, groups)


_KINDS: Sequence[tuple[str, int, Draw]] = (
    ("mean", 12, _alone("mean", keepdim=False)),
    ("map", 12, _alone("relu6")),
    ("pair", 12, lambda chance: _graph(_image(chance), _MAP, _PAIR)),
    ("relu", 12, _relu),
    ("curve", 10, _alone("silu")),
    ("norm", 10, lambda chance: _graph(_image(chance), _norm())),
    ("pool", 14, _pool),
    ("cat", 12, _cat),
    ("select", 12, _select),
    ("scatter", 14, _scatter),
    ("linear", 14, _linear),
    ("first", 24, _first),
    ("dense", 40, _dense),
    ("small dense", 40, _dense),
    ("pointwise", 36, _pointwise),
    ("small pointwise", 28, _pointwise),
    ("depthwise", 24, _depthwise),
    ("grouped", 20, _grouped),
)
"""Kinds of work in the order in which they are fitted, and how many networks are drawn of each."""
