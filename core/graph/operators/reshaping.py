"""Pixels and channels moved, left out, and put among constant ones."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from modpm.core.graph.attributes import NATURAL_PAIR, NUMBER, PAIR, POSITIVE, integers
from modpm.core.graph.cutting.cutter import UNUSED, Cutter, Piece
from modpm.core.graph.cutting.kinds import CONSTANT, VARYING, ZERO, Kinds, all_of
from modpm.core.graph.cutting.rules import Pooling, Rule
from modpm.core.graph.index_views import ZERO as NO_INDEX
from modpm.core.graph.index_views import View
from modpm.core.graph.operators.activation import LARGEST
from modpm.core.graph.operators.definition import (
    Operator,
    Shape,
    ShapeError,
    Shapes,
    float_of,
    image_shape,
    int_of,
    ints_of,
    is_recorded,
    meta_buffer,
    pair_of,
    same_shape,
    vector_size,
)
from modpm.core.graph.translation import (
    Arguments,
    Constant,
    Handler,
    Translator,
    UntranslatableError,
    only,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.formats.network_graph import Node
    from modpm.core.graph.cutting.rules import Flow


# --- pixels -----------------------------------------------------------------------------------


def pad(padding: Sequence[int], value: float) -> nn.Module:
    """Return a layer that adds pixels around the image."""
    left, right, top, bottom = padding
    return nn.ConstantPad2d((left, right, top, bottom), value)


def _pad_shape(node: Node, shapes: Shapes) -> Shape:
    channels, height, width = image_shape(shapes)
    left, right, top, bottom = ints_of(node, "padding")
    return channels, height + top + bottom, width + left + right


def _padded_zero(node: Node) -> int:
    is_padded = any(ints_of(node, "padding")) and float_of(node, "value") != 0
    return VARYING if is_padded else ZERO


def _padded_constant(node: Node) -> int:
    return VARYING if any(ints_of(node, "padding")) else CONSTANT


def _pad(t: Translator, a: Arguments) -> View:
    if a.get("mode", "constant") != "constant":
        return _repeated(t, a)
    amounts, value = list(a["pad"]), float(a.get("value") or 0.0)
    view = a["self"]
    if value == 0:
        batch = torch.nn.functional.pad(view.batch_indices(), amounts, value=NO_INDEX)
        return _view_of(view, batch)
    amounts += [0] * (4 - len(amounts))
    if len(amounts) > 4 or min(amounts) < 0:  # noqa: PLR2004 - two sides of two dimensions
        raise UntranslatableError("padding with a number other than 0, of other than pixels")
    value = min(max(value, -LARGEST), LARGEST)  # what pads a maximum may be infinite
    return t.emit("pad", [t.image(view)], {"padding": amounts, "value": value})


def _repeated(t: Translator, a: Arguments) -> View:
    """Run an operator on indices that takes pixels as they are, but of real numbers alone."""
    view = only(a)
    numbers = {"self" if "self" in a else "input": view.batch_indices().double()}
    return _view_of(view, t.target(**{**a, **numbers}).long())


class SelectPixels(nn.Module):
    """Some rows and columns, in a given order, perhaps more than once."""

    rows: Tensor
    columns: Tensor

    def __init__(self, rows: Sequence[int], columns: Sequence[int], shape: Shape) -> None:
        super().__init__()
        factors = _repeats(rows, shape[1]), _repeats(columns, shape[2])
        self.factors = list(factors) if all(factors) else None
        self.register_buffer("rows", torch.tensor(rows), persistent=False)
        self.register_buffer("columns", torch.tensor(columns), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the selected pixels."""
        if self.factors is not None:
            return F.interpolate(x, scale_factor=self.factors, mode="nearest")
        return x.index_select(2, self.rows).index_select(3, self.columns)


def _repeats(positions: Sequence[int], size: int) -> float:
    """Return how often each position in turn is there, if that is a power of two; else 0."""
    factor = len(positions) // size
    is_power = factor.bit_count() == 1  # by which a division is exact
    is_each = list(positions) == [place for place in range(size) for _ in range(factor)]
    return float(factor) if is_power and is_each else 0.0


def _select_pixels_shape(node: Node, shapes: Shapes) -> Shape:
    channels, *sizes = image_shape(shapes)
    taken = [ints_of(node, name) for name in ("rows", "columns")]
    for positions, size in zip(taken, sizes, strict=True):
        if max(positions) >= size:
            raise ShapeError(f"pixel {max(positions)} is outside of {size}")
    return (channels, *map(len, taken))


class Subsample(nn.Module):
    """A window of the image, or every so manieth pixel of it."""

    def __init__(
        self, start: tuple[int, int], step: tuple[int, int], size: tuple[int, int]
    ) -> None:
        super().__init__()
        self.rows, self.columns = (
            slice(at, at + by * (count - 1) + 1, by)
            for at, by, count in zip(start, step, size, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return those pixels."""
        return x[:, :, self.rows, self.columns]


def _subsample_shape(node: Node, shapes: Shapes) -> Shape:
    channels, *sizes = image_shape(shapes)
    start, step, size = (pair_of(node, name) for name in ("start", "step", "size"))
    for at, by, count, limit in zip(start, step, size, sizes, strict=True):
        if at + by * (count - 1) >= limit:
            raise ShapeError(f"pixel {at + by * (count - 1)} is outside of {limit}")
    return (channels, *size)


# --- vectors ----------------------------------------------------------------------------------


class FlattenRule(Rule):
    """Each channel's pixels one after another."""

    def _area(self, node: Node, flow: Flow) -> int:
        return math.prod(flow.shapes[node.inputs[0]][1:])

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return each channel's kind for each of its pixels."""
        return np.repeat(flow.kinds[node.inputs[0]], self._area(node, flow))

    def values(self, node: Node, flow: Flow, inputs: Sequence[Tensor], _layer: nn.Module) -> Tensor:
        """Return each channel's constant for each of its pixels."""
        return inputs[0].repeat_interleave(self._area(node, flow))

    def needs(self, node: Node, wanted: Sequence[int], flow: Flow) -> list[list[int]]:
        """Return the channels of the wanted pixels."""
        area = self._area(node, flow)
        return [sorted({feature // area for feature in wanted})]

    def cut(self, node: Node, wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Add the node on the whole channels of the wanted pixels."""
        area, (channels,) = self._area(node, flow), self.needs(node, wanted, flow)
        source = cutter.conform(node.inputs[0], channels, node.name)
        layout = [channel * area + pixel for channel in channels for pixel in range(area)]
        return Piece(cutter.add(node, [source]), tuple(layout))


def _unflatten_shape(node: Node, shapes: Shapes) -> Shape:
    shape = tuple(ints_of(node, "shape"))
    if math.prod(shape) != vector_size(shapes):
        raise ShapeError(f"{vector_size(shapes)} features do not fill the shape {shape}")
    return shape


class UnflattenRule(Rule):
    """Features as the pixels of channels."""

    def _shape(self, node: Node) -> tuple[int, int]:
        channels, height, width = ints_of(node, "shape")
        return channels, height * width

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return the kind of a channel whose pixels are alike."""
        channels, area = self._shape(node)
        pixels = flow.kinds[node.inputs[0]].reshape(channels, area)
        largest = pixels.max(1)
        return largest if area == 1 else np.where(largest == CONSTANT, VARYING, largest)

    def values(
        self, node: Node, _flow: Flow, inputs: Sequence[Tensor], _layer: nn.Module
    ) -> Tensor:
        """Return each channel's constant: that of its first pixel."""
        return inputs[0].view(self._shape(node))[:, 0]

    def needs(self, node: Node, wanted: Sequence[int], _flow: Flow) -> list[list[int]]:
        """Return all features of the wanted channels."""
        _, area = self._shape(node)
        return [[channel * area + pixel for channel in wanted for pixel in range(area)]]

    def cut(self, node: Node, wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Add the node with as many channels as are wanted."""
        source = cutter.conform(node.inputs[0], self.needs(node, wanted, flow)[0], node.name)
        shape = [len(wanted), *ints_of(node, "shape")[1:]]
        return Piece(cutter.add(node, [source], {"shape": shape}), tuple(wanted))


# --- channels ---------------------------------------------------------------------------------


class SelectChannels(nn.Module):
    """Some channels, in a given order."""

    indices: Tensor

    def __init__(self, indices: Sequence[int], n_channels: int) -> None:
        super().__init__()
        first, count = indices[0], len(indices)
        is_run = list(indices) == list(range(first, first + count)) and first + count <= n_channels
        self.run = (first, count) if is_run else None
        self.register_buffer("indices", torch.tensor(indices), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the selected channels."""
        if self.run is not None:
            return x.narrow(1, *self.run)
        if is_recorded() or _memory_format(x) is not torch.channels_last:
            return x.index_select(1, self.indices)
        # By itself `index_select` gives the default format, on which later layers are slow.
        pixels = x.permute(0, 2, 3, 1)
        selected = pixels.reshape(-1, x.shape[1]).index_select(1, self.indices)
        return selected.view(*pixels.shape[:3], -1).permute(0, 3, 1, 2)


def _memory_format(x: Tensor) -> torch.memory_format:
    is_image = x.dim() == 4  # noqa: PLR2004 - images, channels, height, width
    if is_image and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def _select_shape(node: Node, shapes: Shapes) -> Shape:
    indices = ints_of(node, "indices")
    if max(indices) >= shapes[0][0]:
        raise ShapeError(f"channel {max(indices)} is outside of {shapes[0][0]}")
    return (len(indices), *shapes[0][1:])


class SelectRule(Rule):
    """Some channels, in a given order."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return the kinds of the selected channels."""
        return flow.kinds[node.inputs[0]][ints_of(node, "indices")]

    def needs(self, node: Node, wanted: Sequence[int], _flow: Flow) -> list[list[int]]:
        """Return the channels that the wanted ones are."""
        indices = ints_of(node, "indices")
        return [[indices[channel] for channel in wanted]]

    def cut(self, node: Node, wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Select from what is left of the input, unless that is it already."""
        (channels,) = self.needs(node, wanted, flow)
        source = cutter.conform(node.inputs[0], channels, node.name, name=node.name)
        return Piece(source, tuple(wanted))


class ScatterChannels(nn.Module):
    """Channels put in their places among constant ones."""

    indices: Tensor
    sources: Tensor
    fill: Tensor | None

    def __init__(
        self, indices: Sequence[int], n_channels: int, *, rank: int, has_fill: bool
    ) -> None:
        super().__init__()
        self.n_channels = n_channels
        self.trailing = (1,) * (rank - 1)
        first, count = indices[0], len(indices)
        is_run = list(indices) == list(range(first, first + count))
        around = (*(0,) * (2 * rank - 2), first, n_channels - first - count)
        self.around = around if is_run else None
        self.register_buffer("indices", torch.tensor(indices), persistent=False)
        self.register_buffer("fill", meta_buffer(n_channels) if has_fill else None)
        sources = torch.full((n_channels,), count)
        sources[self.indices] = torch.arange(count)
        self.register_buffer("sources", sources, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return all channels."""
        if self.around is not None and self.fill is None:
            return F.pad(x, self.around)
        is_laid_out = _memory_format(x) is torch.channels_last
        if self.fill is None and is_laid_out and not is_recorded():
            # `index_copy` gives the default format, on which later layers are slow.
            pixels = F.pad(x.permute(0, 2, 3, 1), (0, 1))  # the last is the constant one
            placed = pixels.view(-1, pixels.shape[3]).index_select(1, self.sources)
            return placed.view(*pixels.shape[:3], -1).permute(0, 3, 1, 2)
        shape = (x.shape[0], self.n_channels, *x.shape[2:])
        filled = x.new_empty(shape).to(memory_format=_memory_format(x))
        if self.fill is None:
            filled.zero_()
        else:
            filled.copy_(self.fill.view(1, -1, *self.trailing).expand(shape))
        return filled.index_copy(1, self.indices, x)


def _scatter_shape(node: Node, shapes: Shapes) -> Shape:
    indices, n_channels = ints_of(node, "indices"), int_of(node, "n_channels")
    if len(indices) != shapes[0][0]:
        raise ShapeError(f"{len(indices)} indices for {shapes[0][0]} channels")
    if max(indices) >= n_channels or len(set(indices)) != len(indices):
        raise ShapeError(f"indices must be distinct and below {n_channels}")
    return (n_channels, *shapes[0][1:])


class ScatterRule(Rule):
    """Channels in their places among constant ones, which are as good as not there."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return the input's kinds in their places, and constants elsewhere."""
        filled = CONSTANT if "fill" in node.tensors else ZERO
        kinds = all_of(filled, int_of(node, "n_channels"))
        kinds[ints_of(node, "indices")] = flow.kinds[node.inputs[0]]
        return kinds

    def needs(self, node: Node, wanted: Sequence[int], _flow: Flow) -> list[list[int]]:
        """Return the input's channels among the wanted ones."""
        inverse = {channel: place for place, channel in enumerate(ints_of(node, "indices"))}
        return [[inverse[channel] for channel in wanted if channel in inverse]]

    def cut(self, node: Node, _wanted: Sequence[int], _flow: Flow, cutter: Cutter) -> Piece:
        """Add nothing: the next node that needs the constants has them filled in."""
        indices, piece = ints_of(node, "indices"), cutter.pieces[node.inputs[0]]
        layout = [UNUSED if place == UNUSED else indices[place] for place in piece.layout]
        return Piece(piece.node, tuple(layout))


# --- the input itself, and constants ----------------------------------------------------------


class IdentityRule(Rule):
    """The input itself."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return the input's kinds."""
        return flow.kinds[node.inputs[0]]

    def cut(self, node: Node, _wanted: Sequence[int], _flow: Flow, cutter: Cutter) -> Piece:
        """Add nothing."""
        return cutter.pieces[node.inputs[0]]


class ConstantChannels(nn.Module):
    """The same channels for every image."""

    fill: Tensor | None

    def __init__(self, shape: tuple[int, ...], *, has_fill: bool) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("fill", meta_buffer(shape[0]) if has_fill else None)

    def forward(self, x: Tensor) -> Tensor:
        """Return the channels for as many images as there are."""
        fill = x.new_zeros(self.shape[0]) if self.fill is None else self.fill
        ones = (1,) * (len(self.shape) - 1)
        return fill.view(1, -1, *ones).expand(x.shape[0], *self.shape)


def _constant_shape(node: Node, _shapes: Shapes) -> Shape:
    shape = tuple(ints_of(node, "shape"))
    if len(shape) not in {1, 3}:
        raise ShapeError(f"{shape} is neither (C, H, W) nor (F,)")
    return shape


class ConstantRule(Rule):
    """Channels that are constant from the start."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return constant, or zero."""
        filled = CONSTANT if "fill" in node.tensors else ZERO
        return all_of(filled, flow.shapes[node.name][0])

    def needs(self, _node: Node, _wanted: Sequence[int], _flow: Flow) -> list[list[int]]:
        """Return nothing: it reads the image only for the number of images."""
        return [[]]

    def cut(self, _node: Node, _wanted: Sequence[int], _flow: Flow, _cutter: Cutter) -> Piece:
        """Return nothing: whoever needs the constants has them filled in."""
        return Piece()


def _zeros_like(_t: Translator, a: Arguments) -> Constant:
    return Constant(torch.zeros((2, *a["self"].shape)))


def _new_zeros(_t: Translator, a: Arguments) -> Constant:
    return Constant(torch.zeros(a["size"]))


def _empty_like(_t: Translator, a: Arguments) -> Constant:
    return Constant(torch.full((2, *a["self"].shape), torch.nan))


def _new_empty(_t: Translator, a: Arguments) -> Constant:
    return Constant(torch.full(a["size"], torch.nan))


# --- calls that only move numbers -------------------------------------------------------------

MOVES = (
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "permute",
    "transpose", "t", "slice", "select", "chunk", "split", "split_with_sizes", "unsafe_chunk",
    "unsafe_split", "unbind", "narrow", "expand", "index_select", "pixel_shuffle",
    "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "movedim", "swapaxes",
    "swapdims", "moveaxis", "roll", "flip", "repeat", "view_as", "expand_as", "reshape_as",
    "tensor_split", "index", "repeat_interleave", "numpy_T", "mT", "tile",
)  # fmt: skip


def _moved(t: Translator, a: Arguments) -> object:
    """Run an operator that only moves numbers on their indices."""
    view = next(value for value in a.values() if isinstance(value, View))
    results = t.target(**{name: _as_indices(value) for name, value in a.items()})
    if isinstance(results, Tensor):
        return _view_of(view, results)
    return [_view_of(view, result) for result in results]


def _view_of(view: View, batch: Tensor) -> View:
    moved = view.moved(batch)
    if moved is None:
        raise UntranslatableError("it mixes the images of a batch")
    return moved


def _as_indices(value: object) -> object:
    if isinstance(value, View):
        return value.batch_indices()
    if isinstance(value, list):
        return [_as_indices(entry) for entry in value]
    return value.tensor if isinstance(value, Constant) else value


ALIASES = ("contiguous", "alias", "to", "_to_copy", "lift_fresh_copy", "type_as")


def _alias(_t: Translator, a: Arguments) -> View:
    view = only(a)
    if a.get("dtype") not in {None, torch.float32, torch.float64}:
        raise UntranslatableError(f"a change to {a['dtype']}")
    return view


def _asserted(_t: Translator, _a: Arguments) -> None:
    """Pass over what torch asserts of a value before it changes its type."""


def _clone(_t: Translator, a: Arguments) -> View:
    view: View = a["self"]
    return replace(view)  # what is changed in place afterwards is this one alone


def _detach(_t: Translator, _a: Arguments) -> View:
    raise UntranslatableError("it keeps gradients from what is before it")


OPERATORS: dict[str, Operator] = {
    "identity": Operator(
        cut=IdentityRule(), layer=lambda _node, _shapes: nn.Identity(), output_shape=same_shape
    ),
    "pad": Operator(
        cut=Pooling(of_zero=_padded_zero, of_constant=_padded_constant),
        layer=lambda node, _shapes: pad(ints_of(node, "padding"), float_of(node, "value")),
        output_shape=_pad_shape,
        attributes={"padding": integers(length=4, minimum=0), "value": NUMBER},
    ),
    "subsample": Operator(
        cut=Pooling(),
        layer=lambda node, _shapes: Subsample(
            pair_of(node, "start"), pair_of(node, "step"), pair_of(node, "size")
        ),
        output_shape=_subsample_shape,
        attributes={"start": NATURAL_PAIR, "step": PAIR, "size": PAIR},
    ),
    "select_pixels": Operator(
        cut=Pooling(),
        layer=lambda node, shapes: SelectPixels(
            ints_of(node, "rows"), ints_of(node, "columns"), shapes[0]
        ),
        output_shape=_select_pixels_shape,
        attributes={"rows": integers(minimum=0), "columns": integers(minimum=0)},
    ),
    "flatten": Operator(
        cut=FlattenRule(),
        layer=lambda _node, _shapes: nn.Flatten(),
        output_shape=lambda _node, shapes: (math.prod(image_shape(shapes)),),
    ),
    "unflatten": Operator(
        cut=UnflattenRule(),
        layer=lambda node, _shapes: nn.Unflatten(1, tuple(ints_of(node, "shape"))),
        output_shape=_unflatten_shape,
        attributes={"shape": integers(length=3, minimum=1)},
    ),
    "select_channels": Operator(
        cut=SelectRule(),
        layer=lambda node, shapes: SelectChannels(ints_of(node, "indices"), shapes[0][0]),
        output_shape=_select_shape,
        attributes={"indices": integers(minimum=0)},
    ),
    "scatter_channels": Operator(
        cut=ScatterRule(),
        layer=lambda node, shapes: ScatterChannels(
            ints_of(node, "indices"),
            int_of(node, "n_channels"),
            rank=len(shapes[0]),
            has_fill="fill" in node.tensors,
        ),
        output_shape=_scatter_shape,
        attributes={"indices": integers(minimum=0), "n_channels": POSITIVE},
        optional=("fill",),
        tensor_shapes=lambda node, _shapes: {"fill": (int_of(node, "n_channels"),)},
    ),
    "constant": Operator(
        cut=ConstantRule(),
        layer=lambda node, _shapes: ConstantChannels(
            tuple(ints_of(node, "shape")), has_fill="fill" in node.tensors
        ),
        output_shape=_constant_shape,
        attributes={"shape": integers(minimum=1)},
        optional=("fill",),
        tensor_shapes=lambda node, _shapes: {"fill": (ints_of(node, "shape")[0],)},
    ),
}


ATEN: dict[str, Handler] = {
    **dict.fromkeys(MOVES, _moved),
    **dict.fromkeys(ALIASES, _alias),
    "_assert_tensor_metadata": _asserted,
    "clone": _clone,
    "detach": _detach,
    "pad": _pad,
    "constant_pad_nd": _pad,
    "zeros_like": _zeros_like,
    "new_zeros": _new_zeros,
    "empty_like": _empty_like,
    "new_empty": _new_empty,
    "upsample_nearest2d": _repeated,
    "_upsample_nearest_exact2d": _repeated,
}
