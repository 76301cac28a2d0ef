"""A network of 8 bits: its weights rounded kernel by kernel, its values node by node.

Layer by layer, with images: a layer is rounded, reads what the rounded layers before it make of
the images, and is then multiplied and shifted, kernel by kernel, so that its values have the mean
and the deviation that they had. So statistics are taken anew, whether a batch normalization was
folded into the layer or there was none. What it reads and gives is rounded to 256 levels, over the
range that these images have.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from msgspec.structs import replace

from modpm.core.formats.network_graph import Graph, Node
from modpm.core.graph.folding import fold
from modpm.core.graph.operators.definition import layer_name, with_tensors
from modpm.core.graph.operators.rounding import LARGEST_LEVEL
from modpm.core.graph.operators.table import OPERATORS
from modpm.core.graph.shapes import infer_shapes
from modpm.core.graph.stored_weights import from_levels, rounded_scale, to_levels

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from torch import Tensor, nn

LAYERS = frozenset({"conv2d", "linear"})

PASSING = frozenset(
    {"relu", "relu6", "clamp", "max_pool2d", "adaptive_max_pool2d", "flatten", "identity"}
    | {"dropout", "dropout_channels", "dropout_images", "leaky_relu"}
)
"""What an engine does to a layer's values in passing, before they are rounded."""


class Rounded(NamedTuple):
    """A network of 8 bits; every value that it had has the name that it had."""

    graph: Graph
    tensors: dict[str, Tensor]


def folded(graph: Graph, tensors: Mapping[str, Tensor]) -> tuple[Graph, dict[str, Tensor]]:
    """Return a network whose batch normalizations are in its layers, named by its nodes."""
    graph, tensors = fold(graph, {name: tensor.float() for name, tensor in tensors.items()})
    times = Counter(name for node in graph.nodes for name in node.tensors.values())
    named: dict[str, Tensor] = {}
    nodes = []
    for node in graph.nodes:
        roles = node.tensors
        if node.operator in LAYERS and all(times[name] == 1 for name in roles.values()):
            roles = {role: f"{node.name}.{role}" for role in roles}
        named |= {new: tensors[node.tensors[role]] for role, new in roles.items()}
        nodes.append(replace(node, tensors=roles))
    return replace(graph, nodes=tuple(nodes)), named


@torch.no_grad()
def round_network(
    graph: Graph, tensors: Mapping[str, Tensor], images: Tensor, layers: AbstractSet[str]
) -> Rounded:
    """Round the layers of a network, and what they read and give.

    Args:
        graph: As `folded` gives it.
        tensors: Its tensors.
        images: As the network reads them.
        layers: The convolutions and linear layers that are rounded; others stay as they are.

    Shapes:
        images: (N, C, H, W)
    """
    work = _Rounding(graph, dict(tensors), layers, _ends(graph, layers))
    work.run(images)
    nodes = tuple(work.nodes)
    named = {name for node in nodes for name in node.tensors.values()}
    return Rounded(replace(graph, nodes=nodes), {name: work.tensors[name] for name in named})


def _ends(graph: Graph, layers: AbstractSet[str]) -> set[str]:
    """Return the values that are rounded: what layers read, and what becomes of their values.

    That of a layer from which no other leads on is an output, and stays as it is.
    """
    nodes = {node.name: node for node in graph.nodes}
    found = {nodes[name].inputs[0] for name in layers}
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    leads_on: set[str] = set()
    for node in reversed(graph.nodes):
        if any(one.name in layers or one.name in leads_on for one in readers.get(node.name, ())):
            leads_on.add(node.name)
    for name in layers & leads_on:
        end = name
        while end not in found:
            following = readers[end]
            if len(following) > 1 or following[0].operator not in PASSING:
                break
            end = following[0].name
        found.add(end)
    return found


@dataclass
class _Rounding:
    """A network while it is rounded.

    Attributes:
        graph: As it was.
        tensors: Of it, those that are done rounded.
        layers: What is to be rounded.
        ends: The values that are to be.
        nodes: What is done.
        plain, rounded: Values of the images, by the network as it was and as it is.
        names: What a value is called once it is rounded.
    """

    graph: Graph
    tensors: dict[str, Tensor]
    layers: AbstractSet[str]
    ends: AbstractSet[str]
    nodes: list[Node] = field(default_factory=list)
    plain: dict[str, Tensor] = field(default_factory=dict)
    rounded: dict[str, Tensor] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def run(self, images: Tensor) -> None:
        """Round all."""
        shapes, left = infer_shapes(self.graph), _reads(self.graph)
        self.plain[self.graph.input] = self.rounded[self.graph.input] = images
        self._finish(self.graph.input)
        for node in self.graph.nodes:
            inputs = [shapes[name] for name in node.inputs]
            layer = OPERATORS[node.operator].layer(node, inputs)
            self._compute(node, layer)
            self._finish(node.name)
            for name in node.inputs:
                left[name] -= 1
                if not left[name]:
                    del self.plain[name], self.rounded[name]

    def _compute(self, node: Node, layer: nn.Module) -> None:
        own = {role: self.tensors[name] for role, name in node.tensors.items()}
        layer = with_tensors(layer, own).eval()
        self.plain[node.name] = layer(*(self.plain[name] for name in node.inputs))
        read = [self.rounded[name] for name in node.inputs]
        if node.name in self.layers:
            value = with_tensors(layer, _rounded_layer(own))(*read)
            made, value = _corrected(own, value, self.plain[node.name])
            node = replace(node, tensors={role: f"{layer_name(node)}.{role}" for role in made})
            self.tensors |= {name: made[role] for role, name in node.tensors.items()}
        else:
            value = layer(*read)
        self.rounded[node.name] = value
        inputs = tuple(self.names.get(name, name) for name in node.inputs)
        self.nodes.append(replace(node, inputs=inputs))

    def _finish(self, name: str) -> None:
        if name not in self.ends:
            return
        scale, zero_point = levels_of(self.plain[name])
        own = self.graph.free_name(f"{name}.rounded")
        attributes = {"scale": scale, "zero_point": zero_point}
        node = Node(own, "quantize", (name,), {**attributes})
        self.nodes.append(node)
        self.names[name] = own
        self.rounded[name] = OPERATORS["quantize"].layer(node, [])(self.rounded[name])


def _reads(graph: Graph) -> Counter[str]:
    return Counter([graph.output, *(name for node in graph.nodes for name in node.inputs)])


def _rounded_layer(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {**own, "weight": from_levels(*to_levels(own["weight"]))}


def _corrected(
    own: Mapping[str, Tensor], value: Tensor, wanted: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Return a layer whose values have the mean and deviation that they had, and these values."""
    axes = [axis for axis in range(value.dim()) if axis != 1]
    (spread, mean), (wanted_spread, wanted_mean) = (
        torch.std_mean(one, axes, correction=0) for one in (value, wanted)
    )
    levels, scale = to_levels(own["weight"])
    factor = torch.where(spread > 0, wanted_spread / spread, 1.0).clamp(0.5, 2.0)
    new_scale = rounded_scale(scale * factor)
    factor = new_scale / scale
    bias = own.get("bias", torch.zeros_like(mean)) + own.get("offset", torch.zeros_like(mean))
    shift = wanted_mean - (mean - bias) * factor
    corrected = {"weight": from_levels(levels, new_scale), "bias": shift}
    place = (1, -1, *(1,) * (value.dim() - 2))
    moved = (value - bias.view(place)) * factor.view(place) + shift.view(place)
    return corrected, moved


def levels_of(values: Tensor) -> tuple[float, int]:
    """Return the distance of 256 levels over the range of some numbers, and which of them is 0."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    scale = float(rounded_scale(torch.tensor((high - low) / LARGEST_LEVEL)))
    if not scale > 0:
        return 1.0, 0
    return scale, round(min(max(-low / scale, 0), LARGEST_LEVEL))
