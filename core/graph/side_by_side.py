"""Several networks that read the same images, as one that computes once what they share.

Class modules of one origin read an image alike until the first layer that was cut, which on small
images is most of their time. Of that layer each has some of the same kernels, so that it is
computed once too, with every kernel that one of them has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from msgspec.structs import replace

from modpm.core.formats.network_graph import Graph, Node

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from torch import Tensor


@dataclass(frozen=True)
class PlainNetwork:
    """A graph and its tensors."""

    graph: Graph
    tensors: Mapping[str, Tensor]


class SideBySide:
    """Several networks that read the same images.

    Args:
        networks: One or more, of equal inputs and input shapes.
        is_exact: Whether each must give the numbers that it gives alone to the last bit, so that
            layers which have only some kernels in common are computed apart.

    Attributes:
        graph, tensors: All of them as one, which gives their outputs one after another.

    Shapes:
        graph: (N, C, H, W) → (N, Σ n_outputs)
    """

    def __init__(self, networks: Sequence[PlainNetwork], *, is_exact: bool = False) -> None:
        self._shared = shared_nodes(networks)
        self._prefix = free_name("network", networks)
        united = [] if is_exact else list(_unitable(networks, self._shared))
        nodes, self.tensors = _joined(networks, self._shared, united, self._own)
        first = networks[0].graph
        outputs = [self.name(i, one.graph.output) for i, one in enumerate(networks)]
        output = free_name("outputs", networks)
        nodes.append(Node(output, "cat", tuple(outputs)))
        self.graph = Graph(first.input, first.input_shape, tuple(nodes), output)

    def name(self, index: int, node: str) -> str:
        """Return what a node of one of the networks is called in all of them as one."""
        return node if node in self._shared else self._own(index, node)

    def _own(self, index: int, name: str) -> str:
        return f"{self._prefix}{index}.{name}"


def free_name(wanted: str, networks: Sequence[PlainNetwork]) -> str:
    """Return a name that no value of any of the networks begins with."""
    taken = {
        name
        for one in networks
        for node in one.graph.nodes
        for name in (node.name, *node.inputs, *node.tensors.values())
    }
    while any(name.startswith(wanted) for name in taken):
        wanted += "_"
    return wanted


def shared_nodes(networks: Sequence[PlainNetwork]) -> set[str]:
    """Return the nodes that all networks have, with the same tensors and inputs."""
    first = networks[0]
    shared = {first.graph.input}
    others = [{node.name: node for node in one.graph.nodes} for one in networks[1:]]
    for node in first.graph.nodes:
        is_alike = all(other.get(node.name) == node for other in others)
        if is_alike and shared.issuperset(node.inputs) and _has_equal_tensors(node, networks):
            shared.add(node.name)
    return shared


def _has_equal_tensors(node: Node, networks: Sequence[PlainNetwork]) -> bool:
    own, others = networks[0].tensors, [other.tensors for other in networks[1:]]
    return all(
        own[name].dtype == other[name].dtype and torch.equal(own[name], other[name])
        for other in others
        for name in node.tensors.values()
    )


def _joined(
    networks: Sequence[PlainNetwork],
    shared: AbstractSet[str],
    united: Sequence[str],
    own: Callable[[int, str], str],
) -> tuple[list[Node], dict[str, Tensor]]:
    """Return the nodes of all networks, and their tensors; what is shared is there once."""
    first = networks[0]
    nodes = [node for node in first.graph.nodes if node.name in shared]
    tensors = {name: first.tensors[name] for node in nodes for name in node.tensors.values()}
    selections: list[dict[str, Node]] = [{} for _ in networks]
    prefix = free_name("union", networks)
    for name in united:
        union, union_tensors, indices = _united(name, networks, prefix)
        nodes.append(union)
        tensors |= union_tensors
        for selected, places in zip(selections, indices, strict=True):
            selected[name] = Node("", "select_channels", (union.name,), {"indices": places})
    for i, (network, selected) in enumerate(zip(networks, selections, strict=True)):
        for node in network.graph.nodes:
            if node.name in selected:
                nodes.append(replace(selected[node.name], name=own(i, node.name)))
            elif node.name not in shared:
                nodes.append(_renamed(node, shared, partial(own, i)))
                tensors |= {own(i, name): network.tensors[name] for name in node.tensors.values()}
    return nodes, tensors


def _unitable(networks: Sequence[PlainNetwork], shared: AbstractSet[str]) -> Iterator[str]:
    """Give the convolutions that read the same in all networks and differ in their kernels."""
    others = [{node.name: node for node in one.graph.nodes} for one in networks[1:]]
    for node in networks[0].graph.nodes:
        if node.operator == "conv2d" and node.name not in shared and shared >= set(node.inputs):
            alike = [_without_count(other.get(node.name)) for other in others]
            is_whole = node.attributes["groups"] == 1  # every kernel reads every channel
            is_like = all(other == _without_count(node) for other in alike)
            if is_whole and is_like and _has_one_precision(node, networks):
                yield node.name


def _has_one_precision(node: Node, networks: Sequence[PlainNetwork]) -> bool:
    named = node.tensors.values()
    return len({one.tensors[name].dtype for one in networks for name in named}) == 1


def _without_count(node: Node | None) -> Node | None:
    return node and replace(node, attributes={**node.attributes, "n_kernels": 0})


def _united(
    name: str, networks: Sequence[PlainNetwork], prefix: str
) -> tuple[Node, dict[str, Tensor], list[list[int]]]:
    """Return one convolution with each kernel of several once, and which of them each has."""
    node = next(node for node in networks[0].graph.nodes if node.name == name)
    places: dict[bytes, int] = {}
    kernels: list[list[Tensor]] = []
    indices: list[list[int]] = []
    for network in networks:
        own: list[int] = []
        for kernel in zip(*(network.tensors[t] for t in node.tensors.values()), strict=True):
            key = b"".join(map(_bytes_of, kernel))
            if places.setdefault(key, len(kernels)) == len(kernels):
                kernels.append(list(kernel))
            own.append(places[key])
        indices.append(own)
    union = f"{prefix}.{name}"
    rows = zip(node.tensors, zip(*kernels, strict=True), strict=True)
    tensors = {f"{union}.{role}": torch.stack(parts) for role, parts in rows}
    attributes = {**node.attributes, "n_kernels": len(kernels)}
    roles = {role: f"{union}.{role}" for role in node.tensors}
    return Node(union, "conv2d", node.inputs, attributes, roles), tensors, indices


def _bytes_of(tensor: Tensor) -> bytes:
    return tensor.cpu().reshape(-1).view(torch.uint8).numpy().tobytes()


def _renamed(node: Node, shared: Collection[str], own: Callable[[str], str]) -> Node:
    return Node(
        own(node.name),
        node.operator,
        tuple(name if name in shared else own(name) for name in node.inputs),
        node.attributes,
        {role: own(name) for role, name in node.tensors.items()},
    )
