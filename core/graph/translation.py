"""A program that `torch.export` recorded, translated call by call into nodes of a graph."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from modpm.core.formats.network_graph import AttributeValue, Node
from modpm.core.graph.index_views import ZERO, View, materialised
from modpm.core.graph.operators.definition import IMAGE_RANK, Operator, ShapeError


class UntranslatableError(Exception):
    """A call that no node expresses.

    Args:
        why: Why not.
        hint: What to do about it, where that is known.
    """

    def __init__(self, why: str = "", hint: str | None = None) -> None:
        super().__init__(why)
        self.hint = hint


@dataclass(frozen=True)
class Constant:
    """A tensor that does not depend on the image.

    Attributes:
        tensor: Its numbers.
        name: What the network calls it, if it is one of the network's.
        parameter: The parameter that it is made of, if training changes it: not one without
            gradients.
        is_bent: Whether it is made by more than arithmetic with numbers, which training a copy
            of it would not repeat.
    """

    tensor: Tensor
    name: str | None = None
    parameter: str | None = None
    is_bent: bool = False

    def arranged(self, tensor: Tensor) -> Constant:
        """Return the same numbers in another shape, or each of them several times."""
        return replace(self, tensor=tensor)

    def computed(self, tensor: Tensor) -> Constant:
        """Return other numbers that are made of this constant by arithmetic with numbers."""
        return replace(self, tensor=tensor, name=None)


@dataclass(frozen=True)
class Chance:
    """One number for each image, which is drawn: 0, or another number.

    Attributes:
        shape: Of the numbers of a batch.
        keep: How likely the other number is.
        number: That number.
    """

    shape: tuple[int, ...]
    keep: float
    number: float = 1.0

    def times(self, factor: float) -> Chance:
        """Return what is drawn, multiplied by a number."""
        return replace(self, number=self.number * factor)


_MOVES = frozenset({
    "flatten", "unflatten", "select_channels", "scatter_channels", "subsample", "pad",
    "select_pixels",
})  # fmt: skip
"""Operators that arrange the input of the layer that is called, which has its own name."""

OWN_CHANCE = (
    "it draws random numbers",
    "use `nn.Dropout` or `nn.Dropout2d`, or drop whole images, which a graph has",
)
"""Why a graph has no random numbers of the network's own, and what to do."""

_DRAWN = frozenset({"bernoulli"})
"""Calls that draw what a node may multiply values by."""

_SCALING = frozenset({"mul", "multiply", "div", "divide", "true_divide"})
"""Calls that may read what is drawn."""

Arguments = dict[str, Any]
"""A call's arguments by the names of the operator's schema, values translated."""

Handler = Callable[["Translator", Arguments], object]
"""Translates one kind of call to a `View`, a `Constant`, or a sequence of them."""


class Translator:
    """Translates one exported program, call by call.

    Args:
        operators: Of a network graph, by name.
        handlers: By the name of an ATen operator, without overload.
        image: What the graph calls the image, and its shape.
        names: The paths of the network's layers, as the graph writes them; no other node may
            take one.
        dtype: What numbers the tensors become.

    Attributes:
        nodes: The nodes so far.
        tensors: Copies of the tensors that they name.
        trained: The names of those that training changes.
    """

    def __init__(
        self,
        operators: Mapping[str, Operator],
        handlers: Mapping[str, Handler],
        image: View,
        names: Mapping[str, str],
        dtype: torch.dtype,
    ) -> None:
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.trained: set[str] = set()
        self.target: Any = None
        self._operators, self._handlers = operators, handlers
        self._input = image
        self._names, self._reserved = names, frozenset(names.values())
        self._dtype = dtype
        self._used: set[str] = {image.base}
        self._layers: dict[str, Node] = {}
        self._owners: dict[str, str] = {}
        self._values: dict[fx.Node, Any] = {}
        self._path = ""
        self._is_layer = False

    def place(self, node: fx.Node, value: object = None) -> None:
        """Take up an input of the program: the image, a tensor of the network, or a part of it."""
        self._values[node] = self._input if value is None else value

    def call(self, node: fx.Node) -> None:
        """Translate one call.

        Raises:
            UntranslatableError: No node expresses it.
        """
        path, self._is_layer = calling_module(node)
        self._path = self._names.get(path, path)
        if node.target is operator.getitem:
            sequence, place = node.args
            self._values[node] = self._value(sequence)[place]
            return
        self.target = node.target
        values = _flat((self._value(node.args), self._value(node.kwargs)))
        has_views = any(isinstance(value, View | Chance) for value in values)
        has_views = has_views or operator_name(node) in _DRAWN
        target = self._changed(node)
        if has_views and isinstance(target, Constant) and target.name is not None:
            raise UntranslatableError(f"it changes the network's own `{target.name}`")
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            self._check_chance(node)
        self._values[node] = self._handled(node) if has_views else self._folded(node)
        if target is not None:
            self._replace(target, self._values[node])

    def _check_chance(self, node: fx.Node) -> None:
        """Refuse a call that draws random numbers, unless a node draws alike."""
        if operator_name(node) not in self._handlers:
            raise UntranslatableError(*OWN_CHANCE)

    def _changed(self, node: fx.Node) -> object:
        """Return the value that a call changes in place, or None."""
        schema = getattr(node.target, "_schema", None)
        is_in_place = schema is not None and schema.is_mutable and isinstance(node.args[0], fx.Node)
        return self._values[node.args[0]] if is_in_place else None  # type: ignore[index]  # asked

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

    def image(self, view: View) -> View:
        """Return the value as one of a node, which must be an image.

        Raises:
            UntranslatableError: It is none.
        """
        value = self.node_value(view)
        if len(value.shape) != IMAGE_RANK:
            raise UntranslatableError(f"its input has the shape {value.shape}, not (C, H, W)")
        return value

    def mapped(
        self, view: View, name: str, attributes: dict[str, AttributeValue] | None = None
    ) -> View:
        """Apply an elementwise operator, before numbers are moved that cannot be moved yet."""
        value = self.try_node_value(view)
        if value is not None:
            return self.emit(name, [value], attributes)
        index = view.indices()
        if bool((index == ZERO).any()):
            return self.emit(name, [self.node_value(view)], attributes)
        base = self.emit(name, [View(view.base, view.base_shape)], attributes)
        return View(base.base, base.base_shape, index)

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
        layer = self._layer_of(constants)
        name = self._name(operator_name, layer)
        inputs_, own = tuple(value.base for value in inputs), dict(attributes or {})
        roles = {role: f"{layer or name}.{role}" for role in constants}
        node = Node(name, operator_name, inputs_, own, roles)
        if layer is not None and not self._is_free(layer, node):
            roles = {role: f"{name}.{role}" for role in constants}
            node = Node(name, operator_name, inputs_, own, roles)
        self._layers[layer if layer is not None and roles else name] = node
        self._add(node, constants)
        try:
            shape = self._operators[operator_name].output_shape(
                node, [value.shape for value in inputs]
            )
        except ShapeError as error:
            raise UntranslatableError(str(error)) from None
        return View(name, shape)

    def _layer_of(self, constants: Mapping[str, Constant]) -> str | None:
        """Return the layer whose tensors these are: in the network, or in a node before."""
        layers = set()
        for role, constant in constants.items():
            owned = self._owners.get(constant.parameter or "")
            path, _, leaf = (owned or constant.name or "").rpartition(".")
            if leaf != role:
                return None
            layers.add(path if owned else self._names.get(path, path))
        return layers.pop() or None if len(layers) == 1 else None

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
            tensor = self._checked(constants[role], role, name)
            self.tensors[name] = tensor.detach().to(self._dtype, copy=True).contiguous()
            if constants[role].parameter is not None:
                self.trained.add(name)

    def _checked(self, constant: Constant, role: str, name: str) -> Tensor:
        """Refuse a tensor that training would change otherwise than the network's own."""
        parameter, tensor = constant.parameter, constant.tensor
        if tensor.is_complex():
            raise UntranslatableError(f"its {role} holds complex numbers")
        if constant.is_bent:
            raise UntranslatableError(
                f"its {role} is computed from the parameter `{parameter}`, which a graph would not "
                "repeat in training",
                "take the normalization of weights away, for example by "
                "`torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')`",
            )
        owner = self._owners.setdefault(parameter, name) if parameter else name
        is_alike = name not in self.tensors or torch.equal(
            self.tensors[name], tensor.to(self._dtype)
        )
        if owner != name or not is_alike:
            raise UntranslatableError(
                f"its {role} is the parameter `{parameter}` of another layer too, from which it "
                "would be parted in training",
                "share whole layers, each parameter of which is shared, or no parameter",
            )
        return tensor

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

    def _handled(self, node: fx.Node) -> object:
        arguments = {name: self._value(value) for name, value in bound(node)}
        name = operator_name(node)
        handler = self._handlers.get(name)
        if handler is None:
            raise UntranslatableError
        if name not in _SCALING and any(isinstance(v, Chance) for v in _flat(arguments.values())):
            raise UntranslatableError(*OWN_CHANCE)
        try:
            return handler(self, arguments)
        except (KeyError, TypeError, ValueError, RuntimeError, AssertionError) as error:
            # A form of the call that its handler does not know, which a network may well have.
            why = f"called in a form that is not known ({type(error).__name__}: {error})"
            raise UntranslatableError(why) from error

    def _folded(self, node: fx.Node) -> object:
        """Compute a call whose arguments do not depend on the image."""
        assert callable(node.target)
        args, kwargs = self._value(node.args), self._value(node.kwargs)
        constants = [value for value in _flat((args, kwargs)) if isinstance(value, Constant)]
        args, kwargs = _unwrapped(args), _unwrapped(kwargs)
        return _wrapped(node.target(*args, **kwargs), _origin(operator_name(node), constants))

    def _value(self, argument: Any) -> Any:  # noqa: ANN401 - whatever a call may be given
        if isinstance(argument, fx.Node):
            return self._values[argument]
        if isinstance(argument, list | tuple):
            return [self._value(entry) for entry in argument]
        if isinstance(argument, dict):
            return {key: self._value(entry) for key, entry in argument.items()}
        return argument

    def _replace(self, old: object, result: object) -> None:
        """Let all that read a value changed in place read the new one."""
        for key, value in self._values.items():
            if value is old:
                self._values[key] = result


def given(**roles: Constant | None) -> dict[str, Constant]:
    """Return the tensors that there are, by role."""
    return {role: constant for role, constant in roles.items() if constant is not None}


def only(a: Arguments) -> View:
    """Return the first argument, which schemas name in two ways."""
    view: View = a["self"] if "self" in a else a["input"]
    return view


def pair(value: int | Sequence[int]) -> list[int]:
    """Return height and width, for which one number may stand."""
    if isinstance(value, int):
        return [value, value]
    return [int(value[0]), int(value[-1])]


def operator_name(node: fx.Node) -> str:
    """Return the name of the operator that a call is of, in place or not."""
    schema = getattr(node.target, "_schema", None)
    name = str(schema.name).split("::")[-1] if schema is not None else str(node.target)
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def bound(node: fx.Node) -> Iterator[tuple[str, Any]]:
    """Pair a call's arguments, those left out too, with their names.

    Raises:
        UntranslatableError: It calls no operator, but a part of the network.
    """
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        raise UntranslatableError("a part without gradients, or in a precision of its own")
    for place, argument in enumerate(schema.arguments):
        if place < len(node.args):
            yield argument.name, node.args[place]
        else:
            yield argument.name, node.kwargs.get(argument.name, argument.default_value)


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, dict):
            yield from _flat(value.values())
        elif isinstance(value, list):
            yield from _flat(value)
        else:
            yield value


def _unwrapped(value: Any) -> Any:  # noqa: ANN401 - whatever a call may be given
    if isinstance(value, Constant):
        # A call may change what it is given, and the network's own tensors are to stay.
        return value.tensor if value.name is None else value.tensor.clone()
    if isinstance(value, list):
        return [_unwrapped(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _unwrapped(entry) for key, entry in value.items()}
    return value


def _wrapped(value: object, origin: Constant | None) -> object:
    if isinstance(value, Tensor):
        value = value.detach()
        return Constant(value) if origin is None else origin.arranged(value)
    if isinstance(value, list | tuple):
        return [_wrapped(entry, origin and replace(origin, name=None)) for entry in value]
    return value


_TRANSPOSING = frozenset({"t", "transpose", "permute", "alias", "clone", "contiguous", "numpy_T"})
_ARRANGING = frozenset({
    "view", "reshape", "squeeze", "unsqueeze", "expand", "to", "_to_copy", "flatten", "detach",
    "select", "slice", "narrow", "index_select", "chunk", "split", "split_with_sizes", "unbind",
    "expand_as", "view_as", "movedim", "mT",
})  # fmt: skip
_COUNTING = frozenset({"add", "sub", "rsub", "mul", "div", "neg"})
_BY_SHAPE = frozenset({
    "zeros_like", "ones_like", "empty_like", "full_like", "new_zeros", "new_ones", "new_empty",
    "new_full",
})  # fmt: skip


def _origin(operator_name: str, constants: Sequence[Constant]) -> Constant | None:
    """Return what a folded call makes its result of, as far as training is concerned."""
    learned = [constant for constant in constants if constant.parameter is not None]
    if operator_name in _TRANSPOSING and len(constants) == 1:
        return constants[0]
    if not learned or operator_name in _BY_SHAPE:
        return None
    first = replace(learned[0], name=None)
    numbers = all(constant is learned[0] or constant.tensor.dim() == 0 for constant in constants)
    is_kept = operator_name in _ARRANGING or (operator_name in _COUNTING and numbers)
    is_bent = len(learned) > 1 or not is_kept or first.is_bent
    return replace(first, is_bent=is_bent)


def calling_module(node: fx.Node) -> tuple[str, bool]:
    """Return the path of the module that made a call, and whether it is one of torch's layers."""
    stack = node.meta.get("nn_module_stack") or {}
    path, kind = next(reversed(stack.values()), ("", ""))
    kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    containers = ("container.", "torch.nn.modules.container")
    path = str(path).removeprefix("L['self'].").removeprefix("network").lstrip(".")
    return path, bool(path) and kind.startswith("torch.nn.") and not kind.startswith(containers[1])
