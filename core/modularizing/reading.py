"""Reading: what cut networks say of many images, all of them in one pass over these.

Class modules of one origin read an image alike until the first layer that was cut, which on small
images is most of their time. Of that layer each has some of the same kernels, so that it is
computed once too, with every kernel that one of them has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from msgspec.structs import replace
from torch import Tensor

from modpm.core.formats.network_graph import Graph, Node
from modpm.core.graph import build
from modpm.core.training.inference import batches

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from modpm.core.data import ImageData
    from modpm.core.formats.manifest import InputContract
    from modpm.core.graph import GraphNetwork
    from modpm.core.modularizing.cutting import CutNetwork, ScoredNetwork


@dataclass(frozen=True)
class PlainNetwork:
    """A graph and its tensors."""

    graph: Graph
    tensors: Mapping[str, Tensor]


class SideBySide:
    """Several networks that read the same images.

    Args:
        networks: One or more, of equal input shapes.
        device: Where they run; by default on the processor.

    Attributes:
        network: All of them as one.
    """

    def __init__(
        self, networks: Sequence[PlainNetwork], device: torch.device | None = None
    ) -> None:
        self._shared = _shared_nodes(networks)
        self._device = device or torch.device("cpu")
        self.network = _joined(networks, self._shared).to(self._device)

    def run(self, images: Tensor, outputs: Sequence[Sequence[str]]) -> list[dict[str, Tensor]]:
        """Return the values of some nodes of each network.

        Args:
            images: Normalised.
            outputs: Names of nodes, for each network.

        Shapes:
            images: (N, C, H, W)
        """
        names = [{name: self._name(i, name) for name in own} for i, own in enumerate(outputs)]
        wanted = tuple(dict.fromkeys(joint for own in names for joint in own.values()))
        values = self.network.run(images.to(self._device), wanted)
        return [{name: values[joint] for name, joint in own.items()} for own in names]

    def _name(self, index: int, name: str) -> str:
        return name if name in self._shared else _own(index, name)


def _own(index: int, name: str) -> str:
    return f"network{index}.{name}"


def _shared_nodes(networks: Sequence[PlainNetwork]) -> set[str]:
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
    return all(
        torch.equal(networks[0].tensors[name], other.tensors[name])
        for other in networks[1:]
        for name in node.tensors.values()
    )


def _joined(networks: Sequence[PlainNetwork], shared: AbstractSet[str]) -> GraphNetwork:
    first = networks[0]
    nodes = [node for node in first.graph.nodes if node.name in shared]
    tensors = {name: first.tensors[name] for node in nodes for name in node.tensors.values()}
    selections: list[dict[str, Node]] = [{} for _ in networks]
    for name in _unitable(networks, shared):
        union, union_tensors, indices = _united(name, networks)
        nodes.append(union)
        tensors |= union_tensors
        for selected, own in zip(selections, indices, strict=True):
            selected[name] = Node("", "select_channels", (union.name,), {"indices": own})
    for i, (network, selected) in enumerate(zip(networks, selections, strict=True)):
        for node in network.graph.nodes:
            if node.name in selected:
                nodes.append(replace(selected[node.name], name=_own(i, node.name)))
            elif node.name not in shared:
                nodes.append(_renamed(node, i, shared))
                tensors |= {_own(i, name): network.tensors[name] for name in node.tensors.values()}
    graph = Graph(first.graph.input, first.graph.input_shape, tuple(nodes), nodes[-1].name)
    return build(graph, tensors).eval()


def _unitable(networks: Sequence[PlainNetwork], shared: AbstractSet[str]) -> Iterator[str]:
    """Give the convolutions that read the same in all networks and differ in their kernels."""
    others = [{node.name: node for node in one.graph.nodes} for one in networks[1:]]
    for node in networks[0].graph.nodes:
        if node.operator == "conv2d" and node.name not in shared and shared >= set(node.inputs):
            alike = [_without_count(other.get(node.name)) for other in others]
            is_whole = node.attributes["groups"] == 1  # every kernel reads every channel
            if is_whole and all(other == _without_count(node) for other in alike):
                yield node.name


def _without_count(node: Node | None) -> Node | None:
    return node and replace(node, attributes={**node.attributes, "n_kernels": 0})


def _united(
    name: str, networks: Sequence[PlainNetwork]
) -> tuple[Node, dict[str, Tensor], list[list[int]]]:
    """Return one convolution with each kernel of several once, and which of them each has."""
    node = next(node for node in networks[0].graph.nodes if node.name == name)
    places: dict[bytes, int] = {}
    kernels: list[list[Tensor]] = []
    indices: list[list[int]] = []
    for network in networks:
        own: list[int] = []
        for kernel in zip(*(network.tensors[t] for t in node.tensors.values()), strict=True):
            key = b"".join(part.numpy().tobytes() for part in kernel)
            if places.setdefault(key, len(kernels)) == len(kernels):
                kernels.append(list(kernel))
            own.append(places[key])
        indices.append(own)
    union = f"union.{name}"
    rows = zip(node.tensors, zip(*kernels, strict=True), strict=True)
    tensors = {f"{union}.{role}": torch.stack(parts) for role, parts in rows}
    attributes = {**node.attributes, "n_kernels": len(kernels)}
    roles = {role: f"{union}.{role}" for role in node.tensors}
    return Node(union, "conv2d", node.inputs, attributes, roles), tensors, indices


def _renamed(node: Node, index: int, shared: Collection[str]) -> Node:
    return Node(
        _own(index, node.name),
        node.operator,
        tuple(name if name in shared else _own(index, name) for name in node.inputs),
        node.attributes,
        {role: _own(index, name) for role, name in node.tensors.items()},
    )


_PROCESSOR = torch.device("cpu")


@dataclass(frozen=True)
class Readings:
    """What a cut network says of images.

    Attributes:
        features: The values that a head reads, side by side.
        logits: The logit of the class.
        labels: The class that each image shows.

    Shapes:
        features: (N, D); logits: (N,); labels: (N,)
    """

    features: Tensor
    logits: Tensor
    labels: Tensor


@torch.inference_mode()
def read(
    cuts: Sequence[CutNetwork],
    data: ImageData,
    contract: InputContract,
    device: torch.device = _PROCESSOR,
) -> list[Readings]:
    """Return what cut networks of one origin say of images, from one pass over them.

    Args:
        cuts: The networks, each of which has one output.
        data: The images.
        contract: How they are normalized.
        device: Where the networks run.
    """
    networks = SideBySide([PlainNetwork(cut.with_features, cut.tensors) for cut in cuts], device)
    outputs = [(*(node.name for node in cut.features), cut.graph.output) for cut in cuts]
    parts: list[list[Tensor]] = [[] for _ in cuts]
    for images in batches(data.images, contract):
        for own, values in zip(parts, networks.run(images, outputs), strict=True):
            own.append(torch.cat(list(values.values()), dim=1).float().cpu())
    read_values = (torch.cat(own) for own in parts)
    return [Readings(values[:, :-1], values[:, -1], data.labels) for values in read_values]


@torch.inference_mode()
def read_scores(
    scored: Sequence[ScoredNetwork],
    data: ImageData,
    contract: InputContract,
    device: torch.device = _PROCESSOR,
) -> Tensor:
    """Return the scores that networks of one origin give images.

    Args:
        scored: The networks.
        data: The images.
        contract: How they are normalized.
        device: Where the networks run.

    Shapes:
        returns: (N, len(scored))
    """
    networks = SideBySide([PlainNetwork(one.graph, one.tensors) for one in scored], device)
    outputs = [(one.score,) for one in scored]
    parts = []
    for images in batches(data.images, contract):
        values = networks.run(images, outputs)
        parts.append(
            torch.cat([own[one.score] for own, one in zip(values, scored, strict=True)], 1).cpu()
        )
    return torch.cat(parts)
