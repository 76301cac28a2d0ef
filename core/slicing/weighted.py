"""Rules of convolutions and linear layers, whose kernels are what is cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from modpm.core.slicing.channel_kinds import CONSTANT, VARYING, ZERO, Kinds, places
from modpm.core.slicing.cutter import UNUSED, Cutter, Piece
from modpm.core.slicing.recipes import Offset, Recipe, weighted_sum, whole
from modpm.core.slicing.rules import Flow, integer, integers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from modpm.core.formats.network_graph import Node


@dataclass(frozen=True)
class _Groups:
    """The sizes of a layer: a linear layer is one group without edges."""

    n_groups: int
    n_inputs: int
    n_outputs: int
    has_edges: bool

    def of_output(self, channel: int) -> int:
        return channel // self.n_outputs

    def inputs(self, group: int) -> range:
        return range(group * self.n_inputs, (group + 1) * self.n_inputs)

    def outputs(self, group: int) -> range:
        return range(group * self.n_outputs, (group + 1) * self.n_outputs)

    def unfoldable(self) -> tuple[int, ...]:
        """Return the kinds of input channels that no constant of each kernel can stand for."""
        return (VARYING, CONSTANT) if self.has_edges else (VARYING,)


def _groups(node: Node, flow: Flow) -> _Groups:
    n_inputs = len(flow.kinds[node.inputs[0]])
    if node.operator == "linear":
        return _Groups(1, n_inputs, integer(node, "n_features"), has_edges=False)
    n_groups = integer(node, "groups")
    has_edges = any(integers(node, "padding"))
    return _Groups(
        n_groups, n_inputs // n_groups, integer(node, "n_kernels") // n_groups, has_edges
    )


@dataclass(frozen=True)
class _Parts:
    """What is left of a layer.

    Attributes:
        groups: The groups that are left.
        relative: The input channels that are left, counted within each group.
        inputs: The same, counted from the first of all.
        kernels: The kernels that are left, as many in each group.
    """

    groups: list[int]
    relative: list[int]
    inputs: list[int]
    kernels: list[int]


def _parts(node: Node, wanted: Sequence[int], flow: Flow) -> _Parts:
    """Cut a layer to groups of one size: what any group needs, every group keeps."""
    sizes, kinds = _groups(node, flow), flow.kinds[node.inputs[0]]
    groups = sorted({sizes.of_output(channel) for channel in wanted})
    needed = np.isin(kinds, sizes.unfoldable()).reshape(sizes.n_groups, sizes.n_inputs)
    relative = [int(place) for place in np.flatnonzero(needed[groups].any(0))]
    inputs = [sizes.inputs(group)[place] for group in groups for place in relative]
    return _Parts(groups, relative, inputs, _even_kernels(sizes, groups, wanted))


def _even_kernels(sizes: _Groups, groups: list[int], wanted: Sequence[int]) -> list[int]:
    """Return the wanted kernels, with others in the groups that have fewer of them."""
    chosen = {group: [k for k in wanted if sizes.of_output(k) == group] for group in groups}
    most = max(map(len, chosen.values()))
    kernels = []
    for group, kept in chosen.items():
        spare = [kernel for kernel in sizes.outputs(group) if kernel not in set(kept)]
        kernels += sorted(kept + spare[: most - len(kept)])
    return kernels


class Weighted:
    """Each output channel a weighted sum of the input channels of its group."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return constant for kernels that read only what can be folded away."""
        sizes = _groups(node, flow)
        kinds = flow.kinds[node.inputs[0]].reshape(sizes.n_groups, sizes.n_inputs)
        known = CONSTANT if {"bias", "offset"} & set(node.tensors) else ZERO
        found = [self._of_group(group, sizes, known) for group in kinds]
        return np.repeat(np.array(found, dtype=np.int8), sizes.n_outputs)

    def _of_group(self, kinds: Kinds, sizes: _Groups, known: int) -> int:
        if places(kinds, *sizes.unfoldable()):
            return VARYING
        return CONSTANT if (kinds == CONSTANT).any() else known

    def values(
        self, node: Node, _flow: Flow, inputs: Sequence[Tensor], tensors: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the weighted sum of the constants, with bias and offset."""
        total = weighted_sum(node, tensors["weight"], inputs[0])
        for role in ("bias", "offset"):
            if role in tensors:
                total = total + tensors[role]
        return total

    def needs(self, node: Node, wanted: Sequence[int], flow: Flow) -> list[list[int]]:
        """Return all that varies in the groups of the wanted kernels."""
        return [_parts(node, wanted, flow).inputs]

    def cut(self, node: Node, wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Add the layer with what is left of its kernels and of their channels."""
        parts = _parts(node, wanted, flow)
        source = cutter.conform(node.inputs[0], parts.inputs, node.name)
        n_kernels = len(parts.kernels)
        if node.operator == "linear":
            attributes = {"n_features": n_kernels}
        else:
            attributes = {"n_kernels": n_kernels, "groups": len(parts.groups)}
        name = cutter.add(node, [source], attributes, _recipes(node, parts, flow, cutter))
        kept = set(wanted)
        return Piece(name, tuple(k if k in kept else UNUSED for k in parts.kernels))


def _recipes(node: Node, parts: _Parts, flow: Flow, cutter: Cutter) -> dict[str, Recipe]:
    sizes = _groups(node, flow)
    kernels = whole(parts.kernels, sizes.n_groups * sizes.n_outputs)
    space = () if node.operator == "linear" else (None, None)
    weight = (kernels, whole(parts.relative, sizes.n_inputs), *space)
    recipes = cutter.cuts(node, {"weight": weight, "bias": (kernels,), "offset": (kernels,)})
    folded = _folded(node, parts, flow)
    if folded:
        recipes["offset"] = Offset(node, parts.kernels, folded)
    return recipes


def _folded(node: Node, parts: _Parts, flow: Flow) -> list[int]:
    """Return the constant input channels that an offset stands for."""
    sizes, kinds = _groups(node, flow), flow.kinds[node.inputs[0]]
    left = set(parts.inputs)
    read = [channel for group in parts.groups for channel in sizes.inputs(group)]
    return [channel for channel in read if kinds[channel] == CONSTANT and channel not in left]


WEIGHTED = Weighted()
