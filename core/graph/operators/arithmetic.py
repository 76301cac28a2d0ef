"""Sums, products and concatenations: of values, and of values with constants."""

from __future__ import annotations

import math
from functools import partial
from itertools import accumulate
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from modpm.core.graph.attributes import NUMBER
from modpm.core.graph.cutting.cutter import UNUSED, Cutter, Piece
from modpm.core.graph.cutting.kinds import CONSTANT, VARYING, ZERO, Kinds
from modpm.core.graph.cutting.rules import Channelwise, Rule
from modpm.core.graph.index_views import ZERO as NO_INDEX
from modpm.core.graph.index_views import View
from modpm.core.graph.operators.activation import Function, clamped, dropped, elementwise
from modpm.core.graph.operators.definition import (
    IMAGE_RANK,
    Affine,
    Operator,
    Shape,
    ShapeError,
    Shapes,
    float_of,
    image_shape,
    per_channel,
    same_shape,
)
from modpm.core.graph.translation import (
    OWN_CHANCE,
    Arguments,
    Chance,
    Constant,
    Handler,
    Translator,
    UntranslatableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from modpm.core.formats.network_graph import Node
    from modpm.core.graph.cutting.rules import Flow


# --- a value and constants --------------------------------------------------------------------


def _shifted_zero(node: Node) -> int:
    return ZERO if float_of(node, "value") == 0 else CONSTANT


class ChannelAffine(Affine):
    """Each channel times a weight plus a bias of its own."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled and shifted channels."""
        ones = (1,) * (x.dim() - 2)
        if self.weight is not None:
            x = x * self.weight.view(-1, *ones)
        return x if self.bias is None else x + self.bias.view(-1, *ones)


class PixelAffine(nn.Module):
    """Each number times a weight plus a bias of its own, alike for all images."""

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, shape: Shape, roles: Collection[str]) -> None:
        super().__init__()
        for role in ("weight", "bias"):
            numbers = torch.empty(shape, device="meta") if role in roles else None
            self.register_parameter(role, None if numbers is None else nn.Parameter(numbers))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled and shifted numbers."""
        if self.weight is not None:
            x = x * self.weight
        return x if self.bias is None else x + self.bias


class PixelAffineRule(Channelwise):
    """Of a constant, it makes another at each pixel."""

    def values(
        self, _node: Node, _flow: Flow, inputs: Sequence[Tensor], _layer: nn.Module
    ) -> Tensor:
        """Return zeros: no channel is constant but those of zeros."""
        return inputs[0]


def _varied_zero(node: Node) -> int:
    return VARYING if "bias" in node.tensors else ZERO


def _biased_zero(node: Node) -> int:
    return CONSTANT if "bias" in node.tensors else ZERO


def _times(constant: Any, factor: float) -> Any:  # noqa: ANN401 - a number or a Constant
    if isinstance(constant, Constant):
        return constant if factor == 1 else constant.computed(constant.tensor * factor)
    return constant * factor


def _shifted(t: Translator, view: View, constant: object) -> View:
    number = _number(constant)
    if number is not None:
        return t.mapped(view, "add_scalar", {"value": number})
    if _is_zero(constant, view):
        return view
    return _affine(t, view, "bias", constant)


def _is_zero(constant: object, view: View) -> bool:
    """Whether a constant is zeros that an accumulation begins with."""
    return (
        isinstance(constant, Constant)
        and constant.name is None
        and constant.parameter is None
        and tuple(constant.tensor.shape[1:]) == view.shape
        and not bool(constant.tensor.any())
    )


def _number(constant: object) -> float | None:
    """Return a constant as a number, if it is one that is not the network's parameter."""
    if isinstance(constant, Constant):
        is_plain = constant.tensor.dim() == 0 and constant.name is None is constant.parameter
        return float(constant.tensor) if is_plain else None
    return float(constant) if isinstance(constant, Number) else None  # type: ignore[arg-type]  # a Number may be complex, an image never is


def _affine(t: Translator, view: View, role: str, constant: object) -> View:
    if not isinstance(constant, Constant):
        raise UntranslatableError(f"a {type(constant).__name__} as an operand")
    value = t.try_node_value(view) or view
    base = View(value.base, value.base_shape)
    index, tensor = value.indices(), constant.tensor
    if tensor.dim() > index.dim() and tensor.shape[0] == 1:
        tensor = tensor[0]
    if bool((index == NO_INDEX).any()) or not _broadcasts(tensor.shape, index.shape):
        shape = tuple(constant.tensor.shape)
        raise UntranslatableError(f"a constant of shape {shape} on {view.shape}")
    operator, numbers = _of_channels_or_pixels(base, index, constant, tensor)
    is_whole = tensor.numel() == numbers.numel()
    if constant.parameter is not None and not is_whole and operator == "pixel_affine":
        raise UntranslatableError(
            f"the parameter `{constant.parameter}` stands for several of the pixels of a channel",
            "give it a number for each channel, or for each pixel of each channel",
        )
    own = constant.arranged(numbers) if is_whole else constant.computed(numbers)
    shifted = t.emit(operator, [base], {}, {role: own})
    return View(shifted.base, shifted.base_shape, value.index)


def _of_channels_or_pixels(
    base: View, index: Tensor, constant: Constant, tensor: Tensor
) -> tuple[str, Tensor]:
    """Return a constant's numbers, one for each channel or pixel of a value, and their operator."""
    spread = alike = tensor.expand(index.shape)
    if constant.parameter is not None:  # numbers that are trained may be alike before that
        alike = torch.arange(tensor.numel()).reshape(tensor.shape).expand(index.shape)
    of_channels = index // math.prod(base.shape[1:]), base.shape[:1]
    kinds = {"channel_affine": of_channels, "pixel_affine": (index, base.shape)}
    for operator, (places, shape) in kinds.items():
        if torch.equal(_placed(places, alike, shape).flatten()[places], alike):
            return operator, _placed(places, spread, shape)
    raise UntranslatableError("numbers moved, and some of them there twice")


def _placed(places: Tensor, spread: Tensor, shape: Shape) -> Tensor:
    """Return numbers by the places that they stand at."""
    numbers = spread.new_zeros(math.prod(shape))
    numbers[places.flatten()] = spread.flatten()
    return numbers.reshape(shape)


def _broadcasts(shape: Shape, wide: Shape) -> bool:
    """Whether a shape is broadcast to a wider one, which stays as it is."""
    pairs = zip(reversed(shape), reversed(wide), strict=False)
    return len(shape) <= len(wide) and all(size in {1, whole} for size, whole in pairs)


# --- two values -------------------------------------------------------------------------------


def trailing_ones(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, int]:
    """Return how many dimensions of size 1 each of two values lacks next to the other."""
    rank = max(len(left), len(right))
    return rank - len(left), rank - len(right)


def _widened(x: Tensor, n_trailing: int) -> Tensor:
    return x[..., None, None] if n_trailing else x


class OfTwo(nn.Module):
    """A function of two values, number by number, a vector having one for each channel."""

    def __init__(
        self, function: Callable[[Tensor, Tensor], Tensor], trailing_left: int, trailing_right: int
    ) -> None:
        super().__init__()
        self.function = function
        self.trailing = trailing_left, trailing_right

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return what the function makes of the numbers."""
        return self.function(_widened(left, self.trailing[0]), _widened(right, self.trailing[1]))


def add_(left: Tensor, right: Tensor) -> Tensor:
    """Return the sum, written over the first value where that has its shape and its type."""
    is_alike = left.shape == right.shape and left.dtype == right.dtype
    return left.add_(right) if is_alike else left + right


class Scale(nn.Module):
    """Values times a factor from outside: one for each channel, or any that broadcasts."""

    def forward(self, x: Tensor, factor: Tensor) -> Tensor:
        """Return the product, in the precision of the values.

        Factors of one or two dimensions are of channels, (N, C) or (C,). Boolean ones, (M, C),
        say what is left of the last M images, of which all others are whole.
        """
        return x * _factor_of(x, factor)


def scale_(x: Tensor, factor: Tensor, *, is_before_relu: bool = False) -> Tensor:
    """Return what `Scale` does, written over the values where it has their shape.

    Args:
        x: The values.
        factor: As for `Scale`.
        is_before_relu: Whether a relu alone reads what is returned.
    """
    if factor.dtype is torch.bool:
        masked: Tensor = _Mask.apply(x, factor, is_before_relu)  # type: ignore[no-untyped-call]  # torch's
        return masked
    factor = _factor_of(x, factor)
    is_as_wide = torch.broadcast_shapes(x.shape, factor.shape) == x.shape  # type: ignore[no-untyped-call]  # torch's
    return x.mul_(factor) if is_as_wide else x * factor


class _Mask(torch.autograd.Function):
    """What is left of the last images, in one pass over these alone.

    Its gradient is the product with the mask, which costs a pass over all of it. Not so before a
    relu, by which no gradient comes back to what is 0.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, is_before_relu: bool) -> Tensor:  # noqa: ANN401 - torch's
        ctx.mask = None if is_before_relu else mask
        ctx.mark_dirty(x)
        x[len(x) - len(mask) :].mul_(_of_channels(x, mask).to(x.dtype))
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401 - torch's
        mask = ctx.mask
        own = gradient if mask is None else gradient * _factor_of(gradient, mask)
        return own, None, None


def _factor_of(x: Tensor, factor: Tensor) -> Tensor:
    if factor.dtype is torch.bool:
        whole = factor.new_ones(len(x) - len(factor), *factor.shape[1:])
        factor = torch.cat([whole, factor])
    return _of_channels(x, factor).to(x.dtype)


def _of_channels(x: Tensor, factor: Tensor) -> Tensor:
    is_of_channels = x.dim() == IMAGE_RANK + 1 and factor.dim() < IMAGE_RANK
    return factor[..., None, None] if is_of_channels else factor


def aligned(shape: Shape, rank: int) -> Shape:
    """Return the shape with ones appended: a vector has one value for each channel (G-11)."""
    return shape + (1,) * (rank - len(shape))


def broadcast(shapes: Shapes) -> Shape:
    """Return the shape of an elementwise operator of several inputs (G-11).

    Raises:
        ShapeError: Two dimensions differ and neither is 1.
    """
    rank = max(len(shape) for shape in shapes)
    output = []
    for sizes in zip(*(aligned(shape, rank) for shape in shapes), strict=True):
        wide = {size for size in sizes if size != 1} or {1}
        if len(wide) > 1:
            raise ShapeError(f"shapes {' and '.join(map(str, shapes))} do not broadcast")
        output.append(wide.pop())
    return tuple(output)


def _spread_kinds(kinds: Kinds, n_channels: int) -> Kinds:
    """Return the kinds of one channel as those of all, where it is broadcast."""
    return kinds if len(kinds) == n_channels else np.repeat(kinds, n_channels)


def _own_channels(channels: Sequence[int], kinds: Kinds, n_channels: int) -> list[int]:
    """Return the channels of an operand that channels of the output read."""
    is_broadcast = len(kinds) == 1 and n_channels > 1
    return [0] if is_broadcast else list(channels)


class BinaryRule(Rule):
    """Two values, channel by channel, each broadcast where it has one channel or one pixel."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return varying where either varies, and zero where both are zero."""
        left, right = self._spread_inputs(node, flow)
        return np.maximum(left, right)

    def _spread_inputs(self, node: Node, flow: Flow) -> list[Kinds]:
        inputs = flow.inputs(node)
        n_channels = max(map(len, inputs))
        return [_spread_kinds(kinds, n_channels) for kinds in inputs]

    def needs(self, node: Node, wanted: Sequence[int], flow: Flow) -> list[list[int]]:
        """Return the same channels of both."""
        n_channels = len(self.kinds(node, flow))
        return [_own_channels(wanted, kinds, n_channels) for kinds in flow.inputs(node)]

    def cut(self, node: Node, wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Add the node on the wanted channels."""
        needs = self.needs(node, wanted, flow)
        sources = [
            self._operand(node, place, channels, flow, cutter)
            for place, channels in enumerate(needs)
        ]
        return Piece(cutter.add(node, sources), tuple(wanted))

    def _operand(
        self, node: Node, place: int, channels: list[int], flow: Flow, cutter: Cutter
    ) -> str:
        """Return one operand: one pixel is enough where it is constant and the other is whole."""
        value, other = node.inputs[place], node.inputs[1 - place]
        is_whole = flow.shapes[other][1:] == flow.shapes[node.name][1:]
        computed = set(cutter.pieces[value].layout) - {UNUSED}
        if is_whole and not computed & set(channels):
            space = (1,) * (len(flow.shapes[node.name]) - 1)
            return cutter.constant(value, channels, node.name, space=space)
        return cutter.conform(value, channels, node.name)


class SumRule(BinaryRule):
    """A sum or difference, which is its other operand where one is zero."""

    def cut(self, node: Node, wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Add the node, unless one of the operands can stand for it."""
        for place in (0, 1) if node.operator == "add" else (0,):
            other = node.inputs[1 - place]
            channels = self.needs(node, wanted, flow)[1 - place]
            is_zero = all(flow.kinds[other][channel] == ZERO for channel in channels)
            if is_zero and flow.shapes[node.inputs[place]] == flow.shapes[node.name]:
                return cutter.pieces[node.inputs[place]]
        return super().cut(node, wanted, flow, cutter)


class ProductRule(BinaryRule):
    """A product, which is zero where one of the operands is."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return zero where either is zero."""
        left, right = self._spread_inputs(node, flow)
        return np.where((left == ZERO) | (right == ZERO), ZERO, np.maximum(left, right))


def _binary(function: Callable[[Tensor, Tensor], Tensor], cut: BinaryRule) -> Operator:
    return Operator(
        layer=lambda _node, shapes: OfTwo(function, *trailing_ones(shapes[0], shapes[1])),
        output_shape=lambda _node, shapes: broadcast(shapes),
        n_inputs=2,
        cut=cut,
    )


def joined(t: Translator, name: str, left: View, right: View) -> View:
    """Add the node of an operator of two values, before they are moved where that is alike."""
    if len(left.shape) != len(right.shape):
        raise UntranslatableError(f"shapes {left.shape} and {right.shape} of different rank")
    if len(left.shape) > IMAGE_RANK and left.shape[:2] == right.shape[:2]:
        value = joined(t, name, *(v.reindexed(v.indices().flatten(0, 1)) for v in (left, right)))
        return value.reindexed(value.indices().reshape(*left.shape[:2], *value.shape[1:]))
    values = [t.try_node_value(_unexpanded(view)) for view in (left, right)]
    if values[0] is not None and values[1] is not None:
        return t.emit(name, [values[0], values[1]])
    if left.base_shape == right.base_shape and _is_one_move(left.index, right.index):
        bases = [View(view.base, view.base_shape) for view in (left, right)]
        value = t.emit(name, bases)
        return View(value.base, value.base_shape, left.index)
    return t.emit(name, [t.node_value(_unexpanded(view)) for view in (left, right)])


def _is_one_move(left: Tensor | None, right: Tensor | None) -> bool:
    """Whether two values were moved alike, so that they may be joined before it."""
    if left is None or right is None:
        return left is right
    return torch.equal(left, right) and not bool((left == NO_INDEX).any())


def _unexpanded(view: View) -> View:
    """Return a value that was expanded over the image as it was before."""
    if view.index is None or len(view.shape) != IMAGE_RANK:
        return view
    first = view.index[:, :1, :1]
    same = first.numel() < view.index.numel() and bool((view.index == first).all())
    return view.reindexed(first.contiguous()) if same else view


def _sum(t: Translator, left: object, right: object, alpha: float) -> View:
    if isinstance(left, View) and isinstance(right, View):
        if alpha not in {1, -1}:
            right = t.mapped(right, "mul_scalar", {"value": float(alpha)})
        return joined(t, "sub" if alpha == -1 else "add", left, right)
    if isinstance(left, View):
        return _shifted(t, left, _times(right, alpha))
    assert isinstance(right, View)
    scaled = right if alpha == 1 else t.mapped(right, "mul_scalar", {"value": float(alpha)})
    return _shifted(t, scaled, left)


def _add(t: Translator, a: Arguments) -> View:
    return _sum(t, a["self"], a["other"], a.get("alpha", 1))


def _sub(t: Translator, a: Arguments) -> View:
    return _sum(t, a["self"], a["other"], -a.get("alpha", 1))


def _rsub(t: Translator, a: Arguments) -> View:
    return _sum(t, a["other"], a["self"], -a.get("alpha", 1))


def larger(t: Translator, a: Arguments) -> View:
    """Read the larger of two values, of which one may be a number."""
    number = _number(a.get("other"))
    return _of_two(t, "maximum", a) if number is None else clamped(t, a["self"], number, None)


def _smaller(t: Translator, a: Arguments) -> View:
    number = _number(a.get("other"))
    return _of_two(t, "minimum", a) if number is None else clamped(t, a["self"], None, number)


def _of_two(t: Translator, name: str, a: Arguments) -> View:
    left, right = a["self"], a.get("other")
    if not isinstance(left, View) or not isinstance(right, View):
        raise UntranslatableError("other than of two values that depend on the image")
    return joined(t, name, left, right)


def _product_of(t: Translator, left: object, right: object) -> View | Chance:
    if isinstance(left, Chance) or isinstance(right, Chance):
        chance, other = (left, right) if isinstance(left, Chance) else (right, left)
        return _of_chance(t, chance, other)
    if isinstance(left, View) and isinstance(right, View):
        return joined(t, "mul", left, right)
    view, constant = (left, right) if isinstance(left, View) else (right, left)
    assert isinstance(view, View)
    number = _number(constant)
    if number is not None:
        return t.mapped(view, "mul_scalar", {"value": number})
    return _affine(t, view, "weight", constant)


def _of_chance(t: Translator, chance: object, other: object) -> View | Chance:
    assert isinstance(chance, Chance)
    if isinstance(other, View):
        return dropped(t, other, chance)
    number = _number(other)
    if number is None:
        raise UntranslatableError(*OWN_CHANCE)
    return chance.times(number)


def _mul(t: Translator, a: Arguments) -> View | Chance:
    return _product_of(t, a["self"], a["other"])


def _div(t: Translator, a: Arguments) -> View | Chance:
    divisor = a["other"]
    if a.get("rounding_mode") is not None or isinstance(divisor, View | Chance):
        raise UntranslatableError("a division by a value, or with rounding")
    if isinstance(divisor, Constant):
        return _product_of(t, a["self"], divisor.computed(1 / divisor.tensor))
    return _product_of(t, a["self"], 1 / divisor)


def _neg(t: Translator, a: Arguments) -> View:
    return t.mapped(a["self"], "mul_scalar", {"value": -1.0})


def _square(t: Translator, a: Arguments) -> View:
    if a.get("exponent", 2) != 2:  # noqa: PLR2004 - the square
        raise UntranslatableError("a power other than 2")
    return joined(t, "mul", a["self"], a["self"])


# --- many values ------------------------------------------------------------------------------


class Cat(nn.Module):
    """Values joined along their channels."""

    def forward(self, *values: Tensor) -> Tensor:
        """Return the joined channels."""
        return torch.cat(values, 1)


def _cat_shape(_node: Node, shapes: Shapes) -> Shape:
    rest = {shape[1:] for shape in shapes}
    if len(rest) > 1:
        raise ShapeError(f"shapes {' and '.join(map(str, shapes))} differ in more than channels")
    return (sum(shape[0] for shape in shapes), *rest.pop())


class CatRule(Rule):
    """Values one after another along their channels."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return the kinds one after another."""
        return np.concatenate(flow.inputs(node))

    def needs(self, node: Node, wanted: Sequence[int], flow: Flow) -> list[list[int]]:
        """Return for each value its own share of the channels."""
        sizes = [len(kinds) for kinds in flow.inputs(node)]
        starts = [0, *accumulate(sizes)]
        return [
            [channel - start for channel in wanted if start <= channel < start + size]
            for start, size in zip(starts, sizes, strict=False)
        ]

    def cut(self, node: Node, wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Add the concatenation of what is left of each value, or the only one that is left."""
        needs = self.needs(node, wanted, flow)
        left = [(value, own) for value, own in zip(node.inputs, needs, strict=True) if own]
        sources = [cutter.conform(value, own, node.name) for value, own in left]
        if len(sources) == 1:
            return Piece(sources[0], tuple(wanted))
        return Piece(cutter.add(node, sources), tuple(wanted))


def _cat(t: Translator, a: Arguments) -> View:
    values = a["tensors"]
    views = [value for value in values if isinstance(value, View)]
    rank = len(views[0].shape) + 1
    dimension = a["dim"] % rank
    if len({view.base for view in views}) == 1:
        moved = _cat_of_one(views[0], values, dimension)
        if moved is not None:
            return moved
    if dimension != 1 or len(views) < len(values):
        raise UntranslatableError("it joins constants, or not along the channels")
    nodes = [t.node_value(view) for view in views]
    return t.emit("cat", nodes)


def _cat_of_one(base: View, values: Sequence[object], dimension: int) -> View | None:
    """Join views of one node and zeros: only a move of its numbers."""
    parts = []
    for value in values:
        if isinstance(value, View):
            parts.append(value.batch_indices())
        elif isinstance(value, Constant) and not bool(value.tensor.any()):
            parts.append(torch.full(value.tensor.shape, NO_INDEX))
        else:
            return None
    return base.moved(torch.cat(parts, dimension))


def _stack(t: Translator, a: Arguments) -> View:
    """Express values one after another by their channels, in a dimension of their own."""
    views = a["tensors"]
    if a["dim"] not in {1, -len(views[0].shape) - 1}:
        raise UntranslatableError("it stacks other than before the channels")
    value = _cat(t, {"tensors": views, "dim": 1})
    return value.reindexed(value.indices().reshape(len(views), *views[0].shape))


OPERATORS: dict[str, Operator] = {
    "add_scalar": elementwise(
        lambda node: Function(partial(torch.add, other=float_of(node, "value"))),
        {"value": NUMBER},
        _shifted_zero,
    ),
    "mul_scalar": elementwise(
        lambda node: Function(partial(torch.mul, other=float_of(node, "value"))), {"value": NUMBER}
    ),
    "channel_affine": Operator(
        layer=lambda node, shapes: ChannelAffine(shapes[0][0], node.tensors),
        output_shape=same_shape,
        optional=("weight", "bias"),
        tensor_shapes=per_channel("weight", "bias"),
        cut=Channelwise(of_zero=_biased_zero),
    ),
    "pixel_affine": Operator(
        layer=lambda node, shapes: PixelAffine(shapes[0], node.tensors),
        output_shape=lambda _node, shapes: image_shape(shapes),
        optional=("weight", "bias"),
        tensor_shapes=lambda _node, shapes: dict.fromkeys(("weight", "bias"), shapes[0]),
        cut=PixelAffineRule(of_zero=_varied_zero, of_constant=lambda _node: VARYING),
    ),
    "add": _binary(torch.add, SumRule()),
    "sub": _binary(torch.sub, SumRule()),
    "mul": _binary(torch.mul, ProductRule()),
    "maximum": _binary(torch.maximum, BinaryRule()),
    "minimum": _binary(torch.minimum, BinaryRule()),
    "cat": Operator(
        layer=lambda _node, _shapes: Cat(), output_shape=_cat_shape, n_inputs=None, cut=CatRule()
    ),
}


ATEN: dict[str, Handler] = {
    "add": _add,
    "sub": _sub,
    "rsub": _rsub,
    "mul": _mul,
    "multiply": _mul,
    "div": _div,
    "divide": _div,
    "true_divide": _div,
    "neg": _neg,
    "square": _square,
    "pow": _square,
    "maximum": larger,
    "minimum": _smaller,
    "min": _smaller,
    "cat": _cat,
    "concat": _cat,
    "concatenate": _cat,
    "stack": _stack,
}
