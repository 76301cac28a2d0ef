"""The networks of a classifier as one graph, whose outputs are theirs one after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from msgspec.structs import replace

from modpm.core.formats.network_graph import Graph, Node

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from modpm.core.classifiers.class_module import Scorer
    from modpm.core.formats.manifest import InputContract

_INPUT = "images"


@dataclass(frozen=True)
class JointNetwork:
    """Several networks as one, each with tensors of its own.

    Attributes:
        contract: What an image must be.
        graph, tensors: The network.
        fixed: Tensors that are not of any of the networks: they make of the image what each reads.

    Shapes:
        graph: (N, C, H, W) → (N, Σ n_labels)
    """

    contract: InputContract
    graph: Graph
    tensors: dict[str, Tensor]
    fixed: frozenset[str]


def joint_network(scorers: Sequence[Scorer]) -> JointNetwork:
    """Return the networks of a classifier as one.

    Args:
        scorers: Networks that read images of one size and as many channels, whatever they
            normalize these by.
    """
    first = scorers[0].contract
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    fixed: set[str] = set()
    for i, scorer in enumerate(scorers):
        source = _INPUT
        if (scorer.contract.mean, scorer.contract.std) != (first.mean, first.std):
            source = f"{_prefix(i)}normalized"
            roles = {"weight": f"{source}.weight", "bias": f"{source}.bias"}
            nodes.append(Node(source, "channel_affine", (_INPUT,), {}, roles))
            own = _normalizing_anew(first, scorer.contract)
            tensors |= dict(zip(roles.values(), own, strict=True))
            fixed.update(roles.values())
        nodes += [_renamed(node, i, scorer.graph.input, source) for node in scorer.graph.nodes]
        tensors |= {
            f"{_prefix(i)}own.{name}": tensor
            for name, tensor in scorer.network.state_dict().items()
        }
    outputs = tuple(f"{_prefix(i)}own.{one.graph.output}" for i, one in enumerate(scorers))
    nodes.append(Node("scores", "cat", outputs))
    graph = Graph(_INPUT, scorers[0].graph.input_shape, tuple(nodes), "scores")
    return JointNetwork(first, graph, tensors, frozenset(fixed))


def parted(tensors: Mapping[str, Tensor], n_networks: int) -> list[dict[str, Tensor]]:
    """Return the tensors of each network, of those of all of them as one."""
    prefixes = [f"{_prefix(i)}own." for i in range(n_networks)]
    return [
        {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        for prefix in prefixes
    ]


def _prefix(i: int) -> str:
    return f"network{i}."


def _normalizing_anew(given: InputContract, wanted: InputContract) -> tuple[Tensor, Tensor]:
    """Return what normalizes images that are normalized already, but by other numbers."""
    mean, std, new_mean, new_std = (
        torch.tensor(numbers, dtype=torch.float64)
        for numbers in (given.mean, given.std, wanted.mean, wanted.std)
    )
    return (std / new_std).float(), ((mean - new_mean) / new_std).float()


def _renamed(node: Node, i: int, graph_input: str, source: str) -> Node:
    prefix = f"{_prefix(i)}own."
    return replace(
        node,
        name=f"{prefix}{node.name}",
        inputs=tuple(source if one == graph_input else f"{prefix}{one}" for one in node.inputs),
        tensors={role: f"{prefix}{name}" for role, name in node.tensors.items()},
    )
