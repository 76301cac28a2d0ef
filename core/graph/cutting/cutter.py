"""The sliced network while it is built: its nodes, and what each of their channels is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modpm.core.formats.network_graph import AttributeValue, Graph, Node
from modpm.core.graph.cutting.kinds import CONSTANT, Kinds
from modpm.core.graph.cutting.recipes import Cut, Fill, Kept, Recipe
from modpm.core.graph.operators.definition import layer_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modpm.core.graph.operators.definition import Shape

UNUSED = -1
"""In a layout: a channel that is computed and that nothing may read."""


_DISSOLVED = frozenset({"scatter_channels", "constant"})
"""Operators whose nodes are never left: new ones take their names where they are wanted."""


@dataclass(frozen=True)
class Piece:
    """What is left of a value of the origin.

    Attributes:
        node: The node of the sliced network that computes it; empty if nothing is left.
        layout: For each of its channels the channel of the origin's value.
    """

    node: str = ""
    layout: tuple[int, ...] = ()


class Cutter:
    """Builds the sliced graph, node by node, and notes how its tensors are made.

    Args:
        graph: The origin.
        shapes: Shapes of the origin's values.
        kinds: Kinds of the channels of the origin's values.

    Attributes:
        nodes: The nodes so far.
        recipes: How the tensors that they name are made.
        pieces: What is left of each value so far.
    """

    def __init__(
        self, graph: Graph, shapes: Mapping[str, Shape], kinds: Mapping[str, Kinds]
    ) -> None:
        self.nodes: list[Node] = []
        self.recipes: dict[str, Recipe] = {}
        self.pieces: dict[str, Piece] = {node.name: Piece() for node in graph.nodes}
        self.pieces[graph.input] = Piece(graph.input, tuple(range(shapes[graph.input][0])))
        self.shapes = shapes
        self.kinds = kinds
        self._input, self._input_shape = graph.input, graph.input_shape
        self._dissolved = {n.name for n in graph.nodes if n.operator in _DISSOLVED}
        self._names = {graph.input, *(node.name for node in graph.nodes)} - self._dissolved
        self._conformed: dict[tuple[str, tuple[int, ...]], str] = {}

    def add(
        self,
        node: Node,
        sources: Sequence[str],
        attributes: Mapping[str, AttributeValue] | None = None,
        recipes: Mapping[str, Recipe] | None = None,
    ) -> str:
        """Add what is left of a node, and return its name."""
        recipes = recipes or {}
        layer = layer_name(node)
        tensors = {role: f"{layer}.{role}" for role in recipes}
        left = {**node.attributes, **(attributes or {})}
        self.nodes.append(Node(node.name, node.operator, tuple(sources), left, tensors))
        self.recipes.update({tensors[role]: recipe for role, recipe in recipes.items()})
        return node.name

    def cuts(self, node: Node, kept: Mapping[str, Kept]) -> dict[str, Recipe]:
        """Return the sub-blocks of a node's tensors, for the roles that it has."""
        return {role: Cut(name, kept[role]) for role, name in node.tensors.items() if role in kept}

    def conform(self, value: str, channels: Sequence[int], reader: str, name: str = "") -> str:
        """Return a node with exactly those channels of the origin's value, in that order.

        Args:
            value: The origin's value.
            channels: Its channels; those that are not computed must be constant.
            reader: The node that wants them, after which a new node is named.
            name: What to call a new node that selects, where its name matters.
        """
        piece, wanted = self.pieces[value], tuple(channels)
        if piece.layout == wanted:
            return piece.node
        key = (value, wanted)
        if key not in self._conformed:
            self._conformed[key] = self._arranged(value, wanted, reader, name)
        return self._conformed[key]

    def finished(self, output: str) -> Graph:
        """Return the sliced graph with that node as its output."""
        if output == self._input:
            name = self._new_name(output, "identity")
            output = self.add(Node(name, "identity", ()), [output])
        return Graph(self._input, self._input_shape, tuple(self.nodes), output)

    def constant(self, value: str, channels: Sequence[int], reader: str, *, space: Shape) -> str:
        """Add a node for constant channels of a value, as large as `space`."""
        attributes: dict[str, AttributeValue] = {"shape": [len(channels), *space]}
        node = Node(self._new_name(reader, "constant"), "constant", (), attributes)
        return self.add(node, [self._input], recipes=self._fill(value, channels))

    def _arranged(self, value: str, wanted: tuple[int, ...], reader: str, name: str) -> str:
        piece = self.pieces[value]
        have = {channel: place for place, channel in enumerate(piece.layout)}
        found = [place for place, channel in enumerate(wanted) if channel in have]
        if not found:
            return self.constant(value, wanted, reader, space=self.shapes[value][1:])
        places = [have[wanted[place]] for place in found]
        source = piece.node
        if places != list(range(len(piece.layout))):
            name = name or self._new_name(reader, "select_channels")
            selected: dict[str, AttributeValue] = {"indices": places}
            source = self.add(Node(name, "select_channels", (), selected), [source])
        if len(found) == len(wanted):
            return source
        scattered: dict[str, AttributeValue] = {"indices": found, "n_channels": len(wanted)}
        name = self._new_name(reader, "scatter_channels")
        node = Node(name, "scatter_channels", (), scattered)
        return self.add(node, [source], recipes=self._fill(value, wanted))

    def _fill(self, value: str, channels: Sequence[int]) -> dict[str, Recipe]:
        """Return the recipe of constants; none where all of them are zero."""
        is_filled = any(self.kinds[value][channel] == CONSTANT for channel in channels)
        return {"fill": Fill(value, list(channels))} if is_filled else {}

    def _new_name(self, reader: str, operator: str) -> str:
        first = new = reader if reader in self._dissolved else f"{reader}.{operator}"
        count = 0
        while new in self._names:
            count += 1
            new = f"{first}_{count}"
        self._names.add(new)
        return new
