"""A program that `torch.export` recorded, translated call by call into nodes of a graph."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from modpm.core.formats.network_graph import AttributeValue, Node
from modpm.core.graph.index_views import View, materialised
from modpm.core.graph.operators import OPERATORS, Shape, ShapeError


class UntranslatableError(Exception):
    """A call that no node expresses; says why."""


@dataclass(frozen=True)
class Constant:
    """A tensor that does not depend on the image; named if it is one of the network's."""

    tensor: Tensor
    name: str | None = None


_MOVES = frozenset(
    {"flatten", "unflatten", "select_channels", "scatter_channels", "subsample", "pad"}
)
"""Operators that arrange the input of the layer that is called, which has its own name."""

Arguments = dict[str, Any]
"""A call's arguments by the names of the operator's schema, values translated."""

Handler = Callable[["Translator", Arguments], object]
"""Translates one kind of call to a `View`, a `Constant`, or a sequence of them."""


class Translator:
    """Translates one exported program, call by call.

    Args:
        handlers: By the name of an ATen operator, without overload.
        input_name: What the graph calls the image.
        input_shape: Its shape.
        reserved: Names of the network's layers, which no other node may take.

    Attributes:
        nodes: The nodes so far.
        tensors: Copies of the tensors that they name.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        input_name: str,
        input_shape: Shape,
        reserved: Iterable[str],
    ) -> None:
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.target: Any = None
        self._handlers = handlers
        self._input = View(input_name, input_shape)
        self._reserved = frozenset(reserved)
        self._used: set[str] = {input_name}
        self._layers: dict[str, Node] = {}
        self._values: dict[fx.Node, Any] = {}
        self._path = ""
        self._is_layer = False

    def place(self, node: fx.Node, constant: Constant | None) -> None:
        """Take up an input of the program: the image, or a tensor of the network."""
        self._values[node] = self._input if constant is None else constant

    def call(self, node: fx.Node) -> None:
        """Translate one call.

        Raises:
            UntranslatableError: No node expresses it.
        """
        self._path, self._is_layer = _calling_module(node)
        if node.target is operator.getitem:
            sequence, place = node.args
            self._values[node] = self._value(sequence)[place]
            return
        self.target = node.target
        arguments = {name: self._value(value) for name, value in _bound(node)}
        views = [value for value in _flat(arguments.values()) if isinstance(value, View)]
        result = self._handled(node, arguments) if views else self._folded(node)
        self._values[node] = result
        if views and _is_in_place(node):
            self._replace(node.args[0], result)

    def output(self, node: fx.Node) -> str:
        """Return the name of the node whose value the program returns.

        Raises:
            UntranslatableError: It returns no value that depends on the image.
        """
        values = node.args[0]
        value = self._value(values[0]) if isinstance(values, Sequence) else None
        if not isinstance(value, View):
            raise UntranslatableError("the output does not depend on the image")
        value = self.node_value(value)
        return self.emit("identity", [value]).base if value.base == self._input.base else value.base

    def node_value(self, view: View) -> View:
        """Return the value as one of a node, adding the nodes that move its numbers.

        Raises:
            UntranslatableError: No nodes move them so.
        """
        value = materialised(view, self._emit_move, number_by_number=True)
        if value is None:
            raise UntranslatableError(
                f"its input of shape {view.shape} is arranged as no node can arrange it"
            )
        return value

    def try_node_value(self, view: View) -> View | None:
        """Return the value as one of a node, or None where that would tear channels apart."""
        return materialised(view, self._emit_move, number_by_number=False)

    def _emit_move(
        self, operator_name: str, value: View, attributes: dict[str, AttributeValue]
    ) -> View:
        return self.emit(operator_name, [value], attributes)

    def emit(
        self,
        operator_name: str,
        inputs: Sequence[View],
        attributes: Mapping[str, AttributeValue] | None = None,
        constants: Mapping[str, Constant] | None = None,
    ) -> View:
        """Add a node and return its value.

        Raises:
            UntranslatableError: The operator does not fit the shapes of the inputs.
        """
        constants = constants or {}
        layer = _layer_of(constants)
        name = self._name(operator_name, layer)
        names = tuple(value.base for value in inputs)
        roles = {role: f"{layer or name}.{role}" for role in constants}
        node = Node(name, operator_name, names, dict(attributes or {}), roles)
        if layer is not None and not self._is_free(layer, node):
            roles = {role: f"{name}.{role}" for role in constants}
            node = Node(name, operator_name, names, dict(attributes or {}), roles)
        self._layers[layer if layer is not None and roles else name] = node
        self._add(node, constants)
        try:
            shape = OPERATORS[operator_name].output_shape(node, [value.shape for value in inputs])
        except ShapeError as error:
            raise UntranslatableError(str(error)) from None
        return View(name, shape)

    def _is_free(self, layer: str, node: Node) -> bool:
        """Whether a node may have its tensors under a layer's name."""
        other = self._layers.get(layer)
        if other is None:
            return layer not in self._used or layer == node.name
        same = (other.operator, other.attributes, other.tensors)
        return same == (node.operator, node.attributes, node.tensors)

    def _add(self, node: Node, constants: Mapping[str, Constant]) -> None:
        self._used.add(node.name)
        self.nodes.append(node)
        for role, name in node.tensors.items():
            self.tensors[name] = constants[role].tensor.detach().clone().contiguous()

    def _name(self, operator_name: str, layer: str | None) -> str:
        """Return a new name: that of the layer, or of the operator within its module."""
        if layer is not None:
            name = layer
        elif self._is_layer and operator_name not in _MOVES:
            name = self._path
        else:
            name = f"{self._path}.{operator_name}".lstrip(".")
        if name not in self._used and (name in {self._path, layer} or name not in self._reserved):
            return name
        count = 1
        while f"{name}_{count}" in self._used or f"{name}_{count}" in self._reserved:
            count += 1
        return f"{name}_{count}"

    def _handled(self, node: fx.Node, arguments: Arguments) -> object:
        handler = self._handlers.get(_operator_name(node))
        if handler is None:
            raise UntranslatableError
        try:
            return handler(self, arguments)
        except (KeyError, TypeError, ValueError, RuntimeError, AssertionError) as error:
            # A form of the call that its handler does not know, which a network may well have.
            why = f"called in a form that is not known ({type(error).__name__}: {error})"
            raise UntranslatableError(why) from error

    def _folded(self, node: fx.Node) -> object:
        """Compute a call whose arguments do not depend on the image."""
        assert callable(node.target)
        args, kwargs = _unwrapped(self._value(node.args)), _unwrapped(self._value(node.kwargs))
        result = node.target(*args, **kwargs)
        name = _transposed_name(node, self._values)
        return _wrapped(result, name)

    def _value(self, argument: Any) -> Any:  # noqa: ANN401 - whatever a call may be given
        if isinstance(argument, fx.Node):
            return self._values[argument]
        if isinstance(argument, list | tuple):
            return [self._value(entry) for entry in argument]
        if isinstance(argument, dict):
            return {key: self._value(entry) for key, entry in argument.items()}
        return argument

    def _replace(self, target: object, result: object) -> None:
        """Let all that read a value changed in place read the new one."""
        assert isinstance(target, fx.Node)
        old = self._values[target]
        for key, value in self._values.items():
            if value is old:
                self._values[key] = result


def _operator_name(node: fx.Node) -> str:
    schema = getattr(node.target, "_schema", None)
    name = str(schema.name).split("::")[-1] if schema is not None else str(node.target)
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def _bound(node: fx.Node) -> Iterator[tuple[str, Any]]:
    """Pair a call's arguments, those left out too, with their names."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        raise UntranslatableError
    for place, argument in enumerate(schema.arguments):
        if place < len(node.args):
            yield argument.name, node.args[place]
        else:
            yield argument.name, node.kwargs.get(argument.name, argument.default_value)


def _is_in_place(node: fx.Node) -> bool:
    return bool(getattr(node.target, "_schema", None) and node.target._schema.is_mutable)  # type: ignore[union-attr]  # noqa: SLF001 - torch has no other way to ask


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value


def _unwrapped(value: Any) -> Any:  # noqa: ANN401 - whatever a call may be given
    if isinstance(value, Constant):
        return value.tensor
    if isinstance(value, list):
        return [_unwrapped(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _unwrapped(entry) for key, entry in value.items()}
    return value


def _wrapped(value: object, name: str | None) -> object:
    if isinstance(value, Tensor):
        return Constant(value.detach(), name)
    if isinstance(value, list | tuple):
        return [_wrapped(entry, None) for entry in value]
    return value


def _transposed_name(node: fx.Node, values: Mapping[fx.Node, Any]) -> str | None:
    """Return the name of a tensor that a call only copies or transposes."""
    source = values.get(node.args[0]) if node.args and isinstance(node.args[0], fx.Node) else None
    moves = {"t", "transpose", "permute", "detach", "alias", "clone", "contiguous", "numpy_T"}
    return source.name if isinstance(source, Constant) and _operator_name(node) in moves else None


def _calling_module(node: fx.Node) -> tuple[str, bool]:
    """Return the path of the module that made a call, and whether it is one of torch's layers."""
    stack = node.meta.get("nn_module_stack") or {}
    path, kind = next(reversed(stack.values()), ("", ""))
    kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    containers = ("container.", "torch.nn.modules.container")
    path = str(path).removeprefix("L['self'].").removeprefix("network").lstrip(".")
    return path, bool(path) and kind.startswith("torch.nn.") and not kind.startswith(containers[1])


def _layer_of(constants: Mapping[str, Constant]) -> str | None:
    """Return the layer whose tensors these are, if the network names them `<layer>.<role>`."""
    layers = set()
    for role, constant in constants.items():
        if constant.name is None or not constant.name.endswith(f".{role}"):
            return None
        layers.add(constant.name.removesuffix(f".{role}"))
    return layers.pop() if len(layers) == 1 else None
