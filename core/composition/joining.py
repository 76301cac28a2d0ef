"""Class modules of one origin put back in it: what is known of the origin's tensors from them.

Every tensor of a class module is a block of the origin's tensor of the same name, or a constant
that cutting made. Blocks go back to their places. A constant with the role `offset` stands for
kernels that were cut; what of it belongs to kernels that no module has stays an offset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import torch
from torch import Tensor

from modpm.core.errors import ModpmError
from modpm.core.graph import tensor_shapes
from modpm.core.slicing import placements, slice_graph

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from modpm.core.composition.class_module import ClassModule
    from modpm.core.formats.network_graph import Graph, Node

Placement = tuple[list[int] | None, ...]
"""The origin's indices on each dimension of a block; None for a whole dimension."""


class _Whole(NamedTuple):
    """A tensor of the origin, as far as it is known."""

    tensor: Tensor
    is_known: Tensor


def join(modules: Sequence[ClassModule], graph: Graph) -> tuple[Graph, dict[str, Tensor]]:
    """Put class modules back in their origin, with zeros for what none of them has.

    Args:
        modules: Of one origin.
        graph: The origin's.

    Returns:
        The origin's graph, with an offset for each layer of which a module has one, and tensors
        of the origin's shapes.

    Raises:
        ModpmError: A module's tensors do not fit the origin, or two modules differ where they
            overlap (`origin-mismatch`).
    """
    joined = _join_blocks(modules, graph)
    offsets = _join_offsets(modules, graph, joined)
    return _with_offsets(graph, offsets), {**joined, **offsets}


def _join_blocks(modules: Sequence[ClassModule], graph: Graph) -> dict[str, Tensor]:
    dtype = next(iter(modules[0].tensors.values())).dtype
    wholes = {
        name: _Whole(torch.zeros(shape, dtype=dtype), torch.zeros(shape, dtype=torch.bool))
        for name, shape in tensor_shapes(graph).items()
    }
    for module in modules:
        tensors = module.tensors
        for name, placement in placements_of(module, graph).items():
            if name not in tensors:
                raise mismatch(module, f"it lacks the tensor `{name}`")
            if tensors[name].dtype != dtype:
                raise mismatch(module, f"`{name}` is of another precision")
            why = _put(wholes[name], tensors[name], placement)
            if why is not None:
                raise mismatch(module, f"`{name}` {why}")
    return {name: whole.tensor for name, whole in wholes.items()}


def placements_of(module: ClassModule, graph: Graph) -> dict[str, Placement]:
    """Return where the tensors of a class module lie in those of its origin."""
    return dict(placements(graph, retained_of(module), [module.manifest.output.class_index]))


def retained_of(module: ClassModule) -> dict[str, list[int]]:
    """Return the kernels that a class module retained, by layer."""
    return {layer: kernels.retained for layer, kernels in module.manifest.retained.items()}


def _put(whole: _Whole, block: Tensor, placement: Placement) -> str | None:
    """Write a block into its place, unless it contradicts what is known; say why it does."""
    indices = [
        torch.arange(size) if kept is None else torch.tensor(kept, dtype=torch.int64)
        for kept, size in zip(placement, whole.tensor.shape, strict=True)
    ]
    shape = tuple(map(len, indices))
    if block.shape != shape:
        return f"has the shape {tuple(block.shape)}, not {shape}"
    place = tuple(
        index.view([-1 if i == dimension else 1 for i in range(len(shape))])
        for dimension, index in enumerate(indices)
    )
    if bool((whole.is_known[place] & (whole.tensor[place] != block)).any()):
        return "differs from what another module has of it"
    whole.tensor[place] = block
    whole.is_known[place] = True
    return None


def _join_offsets(
    modules: Sequence[ClassModule], graph: Graph, joined: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return what channels that no module has add to each kernel, for each layer they add to.

    It is a module's offset less what the joined tensors would put into it: the channels that
    another module has are counted there.
    """
    totals: dict[str, Tensor] = {}
    for module in modules:
        for name, kernels, offset in _remainders(module, graph, joined):
            weight = joined[f"{_layer(name)}.weight"]
            total = totals.setdefault(name, weight.new_zeros(len(weight)))
            total[list(range(len(weight))) if kernels is None else kernels] = offset
    return totals


def _remainders(
    module: ClassModule, graph: Graph, joined: dict[str, Tensor]
) -> Iterator[tuple[str, list[int] | None, Tensor]]:
    """Give the offsets that cutting made: name, kernels, and what only this module knows of."""
    places = placements_of(module, graph)
    names = {node.tensors["offset"] for node in module.graph.nodes if "offset" in node.tensors}
    made = names - places.keys()
    if made:
        outputs = [module.manifest.output.class_index]
        _, cut_again = slice_graph(graph, joined, retained_of(module), outputs)
        own = module.tensors
        for name in sorted(made):
            kernels = places[f"{_layer(name)}.weight"][0]
            yield name, kernels, own[name] - cut_again[name]


def _layer(offset_name: str) -> str:
    return offset_name.removesuffix(".offset")


def _with_offsets(graph: Graph, names: Collection[str]) -> Graph:
    """Return the graph with offsets of those names in their layers."""
    by_weight = {f"{_layer(name)}.weight": name for name in names}

    def with_offset(node: Node) -> Node:
        name = by_weight.get(node.tensors.get("weight", ""))
        if name is None:
            return node
        return msgspec.structs.replace(node, tensors={**node.tensors, "offset": name})

    nodes = tuple(with_offset(node) for node in graph.nodes)
    return msgspec.structs.replace(graph, nodes=nodes)


def mismatch(module: ClassModule, why: str) -> ModpmError:
    """Return the error for modules that name one origin and contradict each other."""
    return ModpmError(
        "class modules that name one origin were not cut from one network",
        code="origin-mismatch",
        where=f"{module.manifest.name} {module.manifest.version}",
        why=why,
        hint="compose them with `--strategy independent`",
    )
