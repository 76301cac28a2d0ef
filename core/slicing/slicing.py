"""Networks without the kernels that a class does not need: smaller, and equal to masked ones."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from modpm.core.graph.cutting.cutter import Cutter
from modpm.core.graph.cutting.kinds import CONSTANT, VARYING, ZERO, Kinds, all_of
from modpm.core.graph.cutting.recipes import Cut, Kept
from modpm.core.graph.cutting.rules import Flow, Rule, Shared
from modpm.core.graph.operators.definition import layer_name, with_tensors
from modpm.core.graph.operators.table import OPERATORS
from modpm.core.graph.shapes import check_tensors, infer_shapes, tensor_shapes
from modpm.core.slicing.retained import Retained, checked, checked_outputs, mask_points

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from modpm.core.formats.network_graph import Graph, Node


def slice_graph(
    graph: Graph,
    tensors: Mapping[str, Tensor],
    retained: Retained,
    outputs: Sequence[int] | None = None,
) -> tuple[Graph, dict[str, Tensor]]:
    """Cut kernels out of a network.

    The sliced network equals `mask_network` of the same kernels on every image, in evaluation
    mode, to rounding. What no output depends on is gone; what became constant is folded into
    offsets of the layers that read it where that is exact, and filled in elsewhere.

    Args:
        graph: The origin's graph.
        tensors: Its tensors, which are not changed.
        retained: Convolutions, and linear layers, to the kernels that stay; one that is not
            named keeps all, and an empty list keeps none.
        outputs: The outputs that stay, in their order; all where None.

    Returns:
        The sliced graph and its tensors. Every tensor is a sub-block of the origin's tensor of
        the same name, except those with the role `offset` or `fill`.

    Raises:
        ModpmError: `retained` or `outputs` do not fit (`bad-retained-kernels`, `bad-outputs`),
            or the graph is invalid (`invalid-graph`).
    """
    check_tensors(graph, tensors)
    slicer = _Slicer(graph, retained)
    sliced, cutter = slicer.sliced(outputs)
    values = slicer.constants(tensors)
    made = {name: recipe.make(tensors, values) for name, recipe in cutter.recipes.items()}
    return sliced, made


def placements(
    graph: Graph, retained: Retained, outputs: Sequence[int] | None = None
) -> dict[str, Kept]:
    """Return where the tensors of a sliced network lie in those of its origin.

    Args:
        graph: The origin's graph.
        retained: As for `slice_graph`.
        outputs: As for `slice_graph`.

    Returns:
        For each tensor of the sliced network that is a sub-block of the origin's tensor of the
        same name, the origin's indices on each dimension; None for a whole dimension.

    Raises:
        ModpmError: As for `slice_graph`.
    """
    _, cutter = _Slicer(graph, retained).sliced(outputs)
    ranks = {name: len(shape) for name, shape in tensor_shapes(graph).items()}
    return {
        name: recipe.kept or (None,) * ranks[name]
        for name, recipe in cutter.recipes.items()
        if isinstance(recipe, Cut)
    }


class _Slicer:
    """One origin and what is retained of it."""

    def __init__(self, graph: Graph, retained: Retained) -> None:
        self._graph = graph
        self._shapes = infer_shapes(graph)
        self._masks = mask_points(graph, checked(graph, retained))
        self._rules = _rules_of(graph)
        self._flow = self._channel_flow()

    def _nodes(self) -> Iterator[tuple[Node, Rule]]:
        for node in self._graph.nodes:
            yield node, self._rules[node.name]

    def _channel_flow(self) -> Flow:
        """Find the kind of every channel, from the image to the output."""
        kinds: dict[str, Kinds] = {self._graph.input: all_of(VARYING, self._graph.input_shape[0])}
        flow = Flow(self._shapes, kinds)
        for node, rule in self._nodes():
            found = rule.kinds(node, flow).astype("int8")
            if node.name in self._masks:
                found[self._masked(node.name)] = ZERO
            kinds[node.name] = found
        return flow

    def _masked(self, name: str) -> list[int]:
        left = set(self._masks[name])
        return [channel for channel in range(self._shapes[name][0]) if channel not in left]

    def sliced(self, outputs: Sequence[int] | None) -> tuple[Graph, Cutter]:
        """Build the sliced graph."""
        wanted = checked_outputs(self._shapes[self._graph.output][0], outputs)
        needs = self._needs(wanted)
        cutter = Cutter(self._graph, self._shapes, self._flow.kinds)
        for node, rule in self._nodes():
            channels = sorted(needs[node.name])
            if channels:
                cutter.pieces[node.name] = rule.cut(node, channels, self._flow, cutter)
        output = cutter.conform(self._graph.output, wanted, self._graph.output)
        return cutter.finished(output), cutter

    def _needs(self, wanted: Sequence[int]) -> dict[str, set[int]]:
        """Find the channels of every value that the output is computed from, and that vary."""
        needs: dict[str, set[int]] = {name: set() for name in self._shapes}
        needs[self._graph.output] = self._varying(self._graph.output, wanted)
        for node, rule in reversed(list(self._nodes())):
            if needs[node.name]:
                asked = rule.needs(node, sorted(needs[node.name]), self._flow)
                for name, channels in zip(node.inputs, asked, strict=True):
                    needs[name] |= self._varying(name, channels)
        return needs

    def _varying(self, name: str, channels: Sequence[int]) -> set[int]:
        return {channel for channel in channels if self._flow.kinds[name][channel] == VARYING}

    def constants(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute the constant channels of every value; varying ones are given as zero."""
        values = {name: torch.zeros(s[0]).double() for name, s in self._shapes.items()}
        for node, rule in self._nodes():
            constant = torch.from_numpy(self._flow.kinds[node.name] == CONSTANT)
            if bool(constant.any()):
                found = rule.values(
                    node,
                    self._flow,
                    [values[name] for name in node.inputs],
                    self._layer(node, tensors),
                )
                values[node.name] = torch.where(constant, found, 0.0)
        return values

    def _layer(self, node: Node, tensors: Mapping[str, Tensor]) -> nn.Module:
        layer = OPERATORS[node.operator].layer(node, self._flow.input_shapes(node))
        own = {role: tensors[name].detach().cpu().double() for role, name in node.tensors.items()}
        return with_tensors(layer, own).requires_grad_(False).eval()


def _rules_of(graph: Graph) -> dict[str, Rule]:
    """Return the rule of every node: layers that several nodes use stay whole.

    A node that the output does not depend on will be gone, and keeps nothing whole.
    """
    live = graph.live()
    users = Counter(layer_name(node) for node in graph.nodes if node.name in live)
    rules = {node.name: OPERATORS[node.operator].cut for node in graph.nodes}
    shared = {node.name for node in graph.nodes if users[layer_name(node)] > 1}
    return {name: Shared(rule) if name in shared else rule for name, rule in rules.items()}
