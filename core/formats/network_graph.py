"""A network as data: the nodes and tensor names that a manifest carries instead of code."""

from __future__ import annotations

import msgspec

AttributeValue = bool | int | float | str | list[int]


class Node(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One operator applied to the values of earlier nodes.

    Attributes:
        name: Unique in its graph; what other nodes name as an input. A convolution keeps the
            name of the layer in the network it was traced from (`layer1.0.conv1`).
        operator: One of the operators of `specs/graph.md`.
        inputs: Names of earlier nodes, or of the graph's input.
        attributes: Constants of the operator (stride, padding, …), every one of them.
        tensors: Role (`weight`, `bias`, …) to the name of a tensor in the tensor file.
    """

    name: str
    operator: str
    inputs: tuple[str, ...]
    attributes: dict[str, AttributeValue] = {}
    tensors: dict[str, str] = {}

    def reading(self, other: str, instead_of: str) -> Node:
        """Return it as it is, but that it reads one value instead of another."""
        inputs = tuple(other if name == instead_of else name for name in self.inputs)
        return msgspec.structs.replace(self, inputs=inputs)


class Graph(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A network without its tensors, in execution order.

    Attributes:
        input: Name of the input value, an image batch.
        input_shape: Channels, height and width of one input image.
        nodes: Every node after the nodes it reads.
        output: Name of the node whose value the network returns.
    """

    input: str
    input_shape: tuple[int, int, int]
    nodes: tuple[Node, ...]
    output: str

    def node(self, name: str) -> Node:
        """Return the node of that name.

        Raises:
            KeyError: There is none.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def live(self) -> set[str]:
        """Return the names of the values that the output is computed from, and its own."""
        live = {self.output}
        for node in reversed(self.nodes):
            if node.name in live:
                live.update(node.inputs)
        return live

    def free_name(self, wanted: str) -> str:
        """Return a name that no node and no path begins with: the one wanted, or `_` after it."""
        names = {self.input}
        for node in self.nodes:
            names |= {node.name, *node.inputs, *node.tensors.values()}
        taken = names | {name.split(".")[0] for name in names}
        while wanted in taken:
            wanted += "_"
        return wanted

    def kernels(self) -> dict[str, int]:
        """Return how many kernels each convolution has, in execution order."""
        return {
            node.name: int(node.attributes["n_kernels"])  # type: ignore[arg-type]  # spec: an integer
            for node in self.nodes
            if node.operator == "conv2d"
        }
