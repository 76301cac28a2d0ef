"""Reshaping, slicing and shuffling, followed on indices instead of on numbers.

Networks write a channel shuffle, a chunk or a flatten in a hundred ways. None computes anything:
each only moves numbers. So the tracer runs them on an array of indices, and asks afterwards what
became of the channels, the rows and the columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modpm.core.formats.network_graph import AttributeValue
from modpm.core.graph.attributes import LARGEST_LIST

if TYPE_CHECKING:
    from modpm.core.graph.operators.definition import Shape

ZERO = -1
"""The index of a number that is no number of the base, but zero."""

_IMAGE_RANK = 3  # channels, height, width


@dataclass(frozen=True)
class View:
    """A value whose numbers are those of a node, moved.

    Attributes:
        base: The node.
        base_shape: Shape of its value, for one image.
        index: For each number its place in the base's value (`ZERO`: it is zero), or None
            where nothing was moved.
    """

    base: str
    base_shape: Shape
    index: Tensor | None = None

    @property
    def shape(self) -> Shape:
        """Shape of the value for one image."""
        return self.base_shape if self.index is None else tuple(self.index.shape)

    def indices(self) -> Tensor:
        """Return the index array, also where nothing was moved."""
        if self.index is not None:
            return self.index
        return torch.arange(math.prod(self.base_shape)).reshape(self.base_shape)

    def batch_indices(self) -> Tensor:
        """Return the indices of a batch of two images, as one array."""
        first = self.indices()
        second = torch.where(first == ZERO, ZERO, first + math.prod(self.base_shape))
        return torch.stack([first, second])

    def moved(self, batch: Tensor) -> View | None:
        """Return the view that a batch's moved indices describe; None where images mix."""
        size = math.prod(self.base_shape)
        if batch.dim() == 0 or batch.shape[0] != 2:  # noqa: PLR2004 - the batch's two images
            return None
        first, second = batch[0].contiguous(), batch[1]
        shifted = torch.where(first == ZERO, ZERO, first + size)
        if bool((first >= size).any()) or not torch.equal(shifted, second):
            return None
        return self.reindexed(first)

    def reindexed(self, index: Tensor) -> View:
        """Return the view of the same base by another index array."""
        same = tuple(index.shape) == self.base_shape
        if same and torch.equal(index.flatten(), torch.arange(index.numel())):
            return View(self.base, self.base_shape)
        return View(self.base, self.base_shape, index)


@dataclass(frozen=True)
class Progression:
    """Evenly spaced positions with zeros around them."""

    before: int
    start: int
    step: int
    size: int
    after: int


@dataclass(frozen=True)
class Line:
    """Where a view's channels, rows or columns come from: positions of the base, or `ZERO`."""

    positions: list[int]

    def progression(self) -> Progression | None:
        """Return the progression that describes the line, if one does."""
        taken = [place for place, position in enumerate(self.positions) if position != ZERO]
        if not taken or taken != list(range(taken[0], taken[-1] + 1)):
            return None
        values = [self.positions[place] for place in taken]
        step = values[1] - values[0] if len(values) > 1 else 1
        if step < 1 or values != list(range(values[0], values[-1] + 1, step)):
            return None
        after = len(self.positions) - taken[-1] - 1
        return Progression(taken[0], values[0], step, len(values), after)


def separated(index: Tensor, base_shape: Shape) -> tuple[Line, Line, Line] | None:
    """Explain an index array of shape (C, H, W) by its channels, rows and columns.

    Returns:
        Three lines whose combinations are the array, or None where there are none such.
    """
    _, height, width = base_shape
    zero = index == ZERO
    parts = (index // (height * width), index // width % height, index % width)
    lines = []
    for dimension, part in enumerate(parts):
        others = tuple(d for d in range(_IMAGE_RANK) if d != dimension)
        largest = torch.where(zero, ZERO, part).amax(others)
        lines.append(Line(largest.tolist()))
    return tuple(lines) if torch.equal(_combined(lines, base_shape), index) else None  # type: ignore[return-value]  # three of them


def _combined(lines: Sequence[Line], base_shape: Shape) -> Tensor:
    _, height, width = base_shape
    channels, rows, columns = (torch.tensor(line.positions) for line in lines)
    index = channels[:, None, None] * (height * width) + rows[:, None] * width + columns
    zero = (channels == ZERO)[:, None, None] | (rows == ZERO)[:, None] | (columns == ZERO)
    return torch.where(zero, ZERO, index)


Emit = Callable[[str, View, dict[str, AttributeValue]], View]
"""Adds a node: operator, input, attributes → the node's value."""


def materialised(view: View, emit: Emit, *, number_by_number: bool) -> View | None:
    """Add the nodes that compute a view, and return their value; None where none can.

    Args:
        view: A view.
        emit: What adds a node.
        number_by_number: Whether to take each number by itself where whole channels, rows and
            columns were not kept together.
    """
    if view.index is None:
        return view
    whole = _image(view, emit) if len(view.shape) == _IMAGE_RANK else _vector(view, emit)
    if whole is not None or not number_by_number or len(view.shape) not in {1, _IMAGE_RANK}:
        return whole
    base = View(view.base, view.base_shape)
    flat = base if len(base.shape) == 1 else emit("flatten", base, {})
    numbers = _channels(flat, view.indices().flatten().tolist(), emit)
    if numbers is None or len(view.shape) == 1:
        return numbers
    return emit("unflatten", numbers, {"shape": list(view.shape)})


def _image(view: View, emit: Emit) -> View | None:
    if len(view.base_shape) == _IMAGE_RANK:
        return _moved_image(view, view.indices(), emit)
    flat = _channels(View(view.base, view.base_shape), view.indices().flatten().tolist(), emit)
    return None if flat is None else emit("unflatten", flat, {"shape": list(view.shape)})


def _vector(view: View, emit: Emit) -> View | None:
    if len(view.shape) != 1:
        return None
    if len(view.base_shape) == 1:
        return _channels(View(view.base, view.base_shape), view.indices().tolist(), emit)
    area, size = math.prod(view.base_shape[1:]), view.indices().numel()
    shapes = [(size, 1, 1)] if size % area else [(size // area, *view.base_shape[1:]), (size, 1, 1)]
    for shape in shapes:
        image = _moved_image(view, view.indices().reshape(shape), emit)
        if image is not None:
            return emit("flatten", image, {})
    return None


def _moved_image(view: View, index: Tensor, emit: Emit) -> View | None:
    """Add the nodes for channels, rows and columns that were moved apart from each other."""
    lines = separated(index, view.base_shape) if len(view.base_shape) == _IMAGE_RANK else None
    if lines is None:
        return None
    channels, *space = lines
    value = View(view.base, view.base_shape)
    if any(line.progression() is None for line in space):
        selected = _pixels(value, space, emit)
        return selected and _channels(selected, channels.positions, emit)
    progressions = [line.progression() for line in space]
    tall, wide = (progression for progression in progressions if progression is not None)
    if not all(
        p.start == 0 and p.step == 1 and p.size == size
        for p, size in zip((tall, wide), view.base_shape[1:], strict=True)
    ):
        taken = {
            "start": [tall.start, wide.start],
            "step": [tall.step, wide.step],
            "size": [tall.size, wide.size],
        }
        value = emit("subsample", value, {**taken})
    padding = [wide.before, wide.after, tall.before, tall.after]
    if any(padding):
        value = emit("pad", value, {"padding": padding, "value": 0.0})
    return _channels(value, channels.positions, emit)


def _pixels(value: View, space: Sequence[Line], emit: Emit) -> View | None:
    """Add the node that takes rows and columns in any order; None where some are zeros."""
    rows, columns = (line.positions for line in space)
    if ZERO in rows or ZERO in columns or max(len(rows), len(columns)) > LARGEST_LIST:
        return None
    return emit("select_pixels", value, {"rows": rows, "columns": columns})


def _channels(value: View, positions: list[int], emit: Emit) -> View | None:
    """Add the nodes that select channels, and that put them among channels of zeros."""
    places = [place for place, position in enumerate(positions) if position != ZERO]
    taken = [positions[place] for place in places]
    if not taken or len(taken) > LARGEST_LIST:
        return None
    if taken != list(range(value.shape[0])):
        value = emit("select_channels", value, {"indices": taken})
    if len(places) == len(positions):
        return value
    return emit("scatter_channels", value, {"indices": places, "n_channels": len(positions)})
