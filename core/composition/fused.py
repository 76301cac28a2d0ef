"""Fused composition: class modules of one origin as one network of the union of their kernels.

It is made of the installed files alone. A weight between two kernels is in the fused network
where some module retains both, so that it equals the origin restricted to the labels where the
modules retain everything, and a module itself where there is only one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from modpm.core.composition.joining import join, mismatch, retained_of
from modpm.core.composition.scorer import Scorer
from modpm.core.errors import ModpmError
from modpm.core.formats.network_graph import Graph, Node
from modpm.core.graph import tensor_shapes
from modpm.core.slicing import slice_graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from modpm.core.composition.class_module import ClassModule
    from modpm.core.formats.manifest import Origin


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
            hint="compose them with `--strategy independent`",
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
    like = next(iter(tensors.values()))
    name = _free_name(graph)
    roles = {"weight": f"{name}.weight", "bias": f"{name}.bias"}
    scores = Node(name, "channel_affine", (graph.output,), {}, roles)
    slopes = like.new_tensor([calibration.slope for calibration in calibrations])
    intercepts = like.new_tensor([calibration.intercept for calibration in calibrations])
    scored = Graph(graph.input, graph.input_shape, (*graph.nodes, scores), name)
    return scored, {**tensors, roles["weight"]: slopes, roles["bias"]: intercepts}


def _free_name(graph: Graph) -> str:
    """Return a name that no layer of the graph is in the way of."""
    taken = {graph.input, *(node.name.split(".")[0] for node in graph.nodes)}
    name = "score"
    while name in taken:
        name += "_"
    return name


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
        hint="compose them with `--strategy auto`, which fuses what can be, or `independent`",
    )
