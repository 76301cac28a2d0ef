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
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from modpm.core.calibrations.scores import Readings
from modpm.core.formats.network_graph import Graph, Node
from modpm.core.graph import build
from modpm.core.graph.operators.definition import layer_name
from modpm.core.modularizing.cutting import Statistics, norms_after_cuts
from modpm.core.training.inference import batches, normalizing, read

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from modpm.core.data import ImageData
    from modpm.core.graph import GraphNetwork
    from modpm.core.modularizing.cutting import CutNetwork, ScoredNetwork
    from modpm.core.origins.origin import OriginNetwork


@dataclass(frozen=True)
class PlainNetwork:
    """A graph and its tensors."""

    graph: Graph
    tensors: Mapping[str, Tensor]


class SideBySide:
    """Several networks that read the same images.

    Args:
        networks: One or more, of equal input shapes.

    Attributes:
        network: All of them as one.
    """

    def __init__(self, networks: Sequence[PlainNetwork]) -> None:
        self._shared = _shared_nodes(networks)
        self.network = _joined(networks, self._shared)

    def name(self, index: int, node: str) -> str:
        """Return what a node of one of the networks is called in all of them as one."""
        return node if node in self._shared else _own(index, node)


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


def read_cuts(cuts: Sequence[CutNetwork], data: ImageData, origin: OriginNetwork) -> list[Readings]:
    """Return what cut networks of one origin say of images, from one pass over them.

    Args:
        cuts: The networks, each of which has one output.
        data: The images.
        origin: Knows what a network reads of an image, and where networks run.
    """
    networks = [PlainNetwork(cut.with_features, cut.tensors) for cut in cuts]
    outputs = [(*(node.name for node in cut.features), cut.graph.output) for cut in cuts]
    values = _read_together(networks, outputs, data, origin)
    return [Readings(own[:, :-1], own[:, -1], data.labels) for own in values]


def read_scores(scored: Sequence[ScoredNetwork], data: ImageData, origin: OriginNetwork) -> Tensor:
    """Return the scores that networks of one origin give images.

    Args:
        scored: The networks.
        data: The images.
        origin: As for `read_cuts`.

    Shapes:
        returns: (N, len(scored))
    """
    networks = [PlainNetwork(one.graph, one.tensors) for one in scored]
    return torch.cat(_read_together(networks, [(one.score,) for one in scored], data, origin), 1)


N_STATISTICS_IMAGES = 2000
"""Training images that statistics of batch normalizations are taken from."""


@torch.no_grad()
def take_statistics(
    cuts: Sequence[CutNetwork], origin: OriginNetwork
) -> list[dict[str, Statistics]]:
    """Return what batch normalizations of cut networks read of training images, not augmented.

    They are read once, by all networks, each layer of which is given what the layers before it
    make with the statistics of the batch. A network that was not cut before any has none.

    Args:
        cuts: Networks of one origin.
        origin: Has the images, and knows where networks run.
    """
    together = SideBySide([PlainNetwork(one.graph, one.tensors) for one in cuts])
    network = together.network.to(origin.device)
    layers = [
        {
            node.name: network.get_submodule(together.name(i, layer_name(node)))
            for node in norms_after_cuts(one, origin.graph)
        }
        for i, one in enumerate(cuts)
    ]
    norms = [norm for own in layers for norm in own.values() if isinstance(norm, _BatchNorm)]
    if norms:
        outputs = tuple(together.name(i, one.graph.output) for i, one in enumerate(cuts))
        for norm in norms:
            norm.train()
        prepare, images = normalizing(origin.contract), _some(origin.trained.images.training_data())
        n_seen = 0
        for batch in batches(images, prepare, origin.device):
            if len(batch) == 1:
                continue  # one value may have no variance
            n_seen += len(batch)
            for norm in norms:
                norm.momentum = len(batch) / n_seen  # so that all images count alike
            network.run(batch, outputs)
    return [{name: _statistics(norm) for name, norm in own.items()} for own in layers]


def _some(data: ImageData) -> Tensor:
    chance = torch.Generator().manual_seed(0)
    positions = torch.randperm(len(data), generator=chance)[:N_STATISTICS_IMAGES]
    return data.select(positions).images


def _statistics(norm: nn.Module) -> Statistics:
    return Statistics(norm.get_buffer("running_mean").cpu(), norm.get_buffer("running_var").cpu())


def _read_together(
    networks: Sequence[PlainNetwork],
    outputs: Sequence[Sequence[str]],
    data: ImageData,
    origin: OriginNetwork,
) -> list[Tensor]:
    """Return the values of some nodes of each network, side by side."""
    together = SideBySide(networks)
    names = [[together.name(i, node) for node in own] for i, own in enumerate(outputs)]
    wanted = tuple(dict.fromkeys(name for own in names for name in own))
    prepare, device = normalizing(origin.contract), origin.device
    values = read(together.network, data.pixels, prepare, wanted, device=device)
    return [torch.cat([values[name] for name in own], dim=1) for own in names]
