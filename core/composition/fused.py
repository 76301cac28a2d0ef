"""Fused composition: class modules of one origin as one network of the union of their kernels.

It is made of the installed files alone. Every tensor of a class module is a block of the origin's
tensor of the same name, or a constant that cutting made. Blocks go back to their places; a weight
between two kernels is there where some module retains both, so that the fused network equals the
origin restricted to the labels where the modules retain everything, and a module itself where there
is only one. A constant with the role `offset` stands for kernels that were cut; what of it belongs
to kernels that no module has stays an offset. What was added to a module once it was cut, its score
and corrections of statistics (M-29), is its own and left out, but for what is taken off scores of
unusual images, which is the same for all (M-30).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from msgspec.structs import replace
from torch import Tensor

from modpm.core.classifiers.class_module import Scorer
from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import Variant
from modpm.core.formats.network_graph import Graph, Node
from modpm.core.graph import tensor_shapes
from modpm.core.slicing import placements, slice_graph

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from modpm.core.classifiers.class_module import ClassModule
    from modpm.core.formats.manifest import Origin


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
        return replace(node, tensors={**node.tensors, "offset": name})

    nodes = tuple(with_offset(node) for node in graph.nodes)
    return replace(graph, nodes=nodes)


_COMPOSE_APART = "compose them by `modpm compose NAME... --strategy independent -o CLF`"


def mismatch(module: ClassModule, why: str) -> ModpmError:
    """Return the error for modules that name one origin and contradict each other."""
    return ModpmError(
        "class modules that name one origin were not cut from one network",
        code="origin-mismatch",
        where=f"{module.manifest.name} {module.manifest.version}",
        why=why,
        hint=_COMPOSE_APART,
    )


LARGEST_ORIGIN = 2**30
"""How many numbers an origin may have: a manifest of a few bytes can claim any."""


def fuse(modules: Sequence[ClassModule], labels: Sequence[str]) -> Scorer:
    """Join class modules of one origin in one network.

    Args:
        modules: One or more, each of another class of the origin.
        labels: What their scores are called in the classifier, in the same order.

    Raises:
        ModpmError: They are of different origins (`different-origins`), contradict each other
            about it (`origin-mismatch`), or cannot be joined (`cannot-fuse`).
    """
    origin = _common_origin(modules)
    why = obstacle(modules)
    if why is not None:
        raise ModpmError(
            "the class modules cannot be fused",
            code="cannot-fuse",
            why=why,
            hint=_COMPOSE_APART,
        )
    graph, joined = join(modules, origin.graph)
    outputs = [module.manifest.output.class_index for module in modules]
    sliced, tensors = slice_graph(graph, joined, union(modules), outputs)
    if len(modules) == 1:
        own = modules[0].tensors
        tensors = {name: own[name] for name in tensors}
    return Scorer(labels, modules[0].input, *with_scores(sliced, tensors, modules))


def obstacle(modules: Sequence[ClassModule]) -> str | None:
    """Say why modules of one origin cannot be fused, or return None."""
    classes: dict[int, ClassModule] = {}
    for module in modules:
        twin = classes.setdefault(module.manifest.output.class_index, module)
        if twin is not module:
            names = f"{twin.manifest.name} and {module.manifest.name}"
            return f"{names} are of one class of their origin, `{module.manifest.label}`"
        if isinstance(module.manifest.variant, Variant):
            return (
                f"{module.manifest.name} is a variant of {module.manifest.variant.name} in 8 bits, "
                "which has no blocks of its origin"
            )
        if len(modules) > 1 and _has_fill(module.graph):
            return (
                f"the origin of {module.manifest.name} adds constants to kernels that were cut "
                "and pads them, and a module does not say what each was"
            )
    shapes = tensor_shapes(modules[0].manifest.origin.graph).values()
    n_numbers = sum(map(math.prod, shapes))
    if n_numbers > LARGEST_ORIGIN:
        return f"their origin has {n_numbers:,} numbers; at most {LARGEST_ORIGIN:,} are joined"
    return None


def _has_fill(graph: Graph) -> bool:
    return any("fill" in node.tensors for node in graph.nodes)


def union(modules: Sequence[ClassModule]) -> dict[str, list[int]]:
    """Return the kernels that some module retains, by layer.

    A layer that some module does not name, because it has it whole, is not named either.
    """
    every = [retained_of(module) for module in modules]
    layers = [layer for layer in every[0] if all(layer in retained for retained in every)]
    return {layer: sorted(set().union(*(kept[layer] for kept in every))) for layer in layers}


def with_scores(
    graph: Graph, tensors: Mapping[str, Tensor], modules: Sequence[ClassModule]
) -> tuple[Graph, dict[str, Tensor]]:
    """Turn the logits of a fused network into log-odds.

    What a module makes of its own features does not hold in a fused network, whose features are
    nearer to the origin's. So a score is the logit times the slope plus the intercept that its
    manifest gives for logits of the origin: the same for all classes of an origin, so that the
    likeliest label stays the one of the largest logit.

    Shapes:
        the graph's output: (N, len(modules)), before and after.
    """
    calibrations = [module.manifest.calibration for module in modules]
    slopes = [calibration.slope for calibration in calibrations]
    intercepts = [calibration.intercept for calibration in calibrations]
    penalty = next((found for one in modules if (found := _penalty(one, graph.input))), None)
    if penalty is None:
        return with_affine(graph, tensors, "score", slopes, intercepts)
    taken = replace(graph, nodes=(*graph.nodes, *penalty.nodes))
    scored, fitted = with_affine(taken, tensors, "score", slopes, intercepts)
    usual = Node(f"{scored.output}.usual", "sub", (scored.output, penalty.output))
    made = replace(scored, nodes=(*scored.nodes, usual), output=usual.name)
    return made, {**fitted, **penalty.tensors}


def with_affine(
    graph: Graph,
    tensors: Mapping[str, Tensor],
    called: str,
    slopes: Sequence[float],
    intercepts: Sequence[float],
) -> tuple[Graph, dict[str, Tensor]]:
    """Multiply each output of a graph by a slope, and add an intercept to it.

    Args:
        graph: The network.
        tensors: Its tensors.
        called: What the node that does so is called, if that is free.
        slopes: Of its outputs.
        intercepts: Of the same.

    Shapes:
        the graph's output: (N, len(slopes)), before and after.
    """
    like = next(iter(tensors.values()))
    name = graph.free_name(called)
    roles = {"weight": f"{name}.weight", "bias": f"{name}.bias"}
    node = Node(name, "channel_affine", (graph.output,), {}, roles)
    made = Graph(graph.input, graph.input_shape, (*graph.nodes, node), name)
    added = (like.new_tensor(slopes), like.new_tensor(intercepts))
    return made, {**tensors, **dict(zip(roles.values(), added, strict=True))}


class _Penalty(NamedTuple):
    """What a module takes off its score for an unusual image (M-30)."""

    nodes: list[Node]
    tensors: dict[str, Tensor]
    output: str


def _penalty(module: ClassModule, source: str) -> _Penalty | None:
    """Return what a module takes off, reading the image by another name."""
    name, graph = module.manifest.output.penalty, module.graph
    if not isinstance(name, str):
        return None
    live = replace(graph, output=name).live()
    nodes = [
        node.reading(source, instead_of=graph.input) for node in graph.nodes if node.name in live
    ]
    tensors = {own: module.tensors[own] for node in nodes for own in node.tensors.values()}
    return _Penalty(nodes, tensors, name)


def _common_origin(modules: Sequence[ClassModule]) -> Origin:
    first = modules[0].manifest
    for module in modules[1:]:
        if module.manifest.origin.digest != first.origin.digest:
            raise _different_origins(modules)
        if module.manifest.origin.graph != first.origin.graph or module.input != first.input:
            raise mismatch(module, f"it describes its origin otherwise than {first.name} does")
    return first.origin


def _different_origins(modules: Sequence[ClassModule]) -> ModpmError:
    by_origin: dict[str, list[str]] = {}
    for module in modules:
        by_origin.setdefault(module.manifest.origin.digest, []).append(module.manifest.name)
    lines = [f"{', '.join(names)}: {digest}" for digest, names in by_origin.items()]
    return ModpmError(
        "class modules of different origins cannot be fused",
        code="different-origins",
        why="\n".join(lines),
        hint="compose them by `modpm compose NAME... -o CLF`, which fuses those that can be",
    )
