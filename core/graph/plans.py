"""The order and form in which a network's nodes are executed for some of its values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from modpm.core.graph.operators.arithmetic import OfTwo, Scale, add_, scale_
from modpm.core.graph.operators.normalization import UncountedBatchNorm2d
from modpm.core.graph.operators.pooling import Mean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from torch import Tensor


@dataclass(frozen=True)
class Step:
    """One node's work: slots are places in the list of values of a run.

    Attributes:
        name: The node, the last one where it does the work of several.
        layer: Computes the node's value.
        inputs: Slots that it reads.
        output: Slot that it writes.
        dead: Slots that nothing reads afterwards.
    """

    name: str
    layer: Callable[..., Tensor]
    inputs: tuple[int, ...]
    output: int
    dead: tuple[int, ...] = ()


def scaled_steps(steps: Sequence[Step], scaled: Sequence[int]) -> list[Step]:
    """Return steps of which some values are multiplied as soon as they are computed.

    Args:
        steps: One for each node; the slots up to theirs are taken.
        scaled: The slots of those values. The factors stand in the slots after the steps', in
            this order.
    """
    after = len(steps) + 1
    places = {slot: i for i, slot in enumerate(scaled)}
    result: list[Step] = []
    for step in steps:
        place = places.get(step.output)
        if place is None:
            result.append(step)
            continue
        unscaled = after + len(scaled) + place
        result.append(replace(step, output=unscaled))
        result.append(Step(step.name, Scale(), (unscaled, after + place), step.output))
    return result


def plain_plan(steps: Sequence[Step], wanted: Collection[int]) -> list[Step]:
    """Return the steps that the wanted slots need, one for each node."""
    return _with_deaths(_needed(steps, wanted), wanted)


def fast_plan(steps: Sequence[Step], wanted: Collection[int]) -> list[Step]:
    """Return steps that compute the same with fewer passes over memory."""
    needed = _needed(steps, wanted)
    needed = _with_early_pools(_in_place(needed, wanted), wanted)
    return _with_deaths(_with_early_means(needed), wanted)


def _needed(steps: Sequence[Step], wanted: Collection[int]) -> list[Step]:
    alive, needed = set(wanted), []
    for step in reversed(steps):
        if step.output in alive:
            alive.update(step.inputs)
            needed.append(step)
    return needed[::-1]


def _with_deaths(steps: Sequence[Step], wanted: Collection[int]) -> list[Step]:
    alive, done = set(wanted), []
    for step in reversed(steps):
        done.append(replace(step, dead=tuple(set(step.inputs) - alive)))
        alive.update(step.inputs)
    return done[::-1]


def _only_readers(steps: Sequence[Step], wanted: Collection[int]) -> dict[int, Step]:
    """Return the step that reads a slot, of the slots that one step alone reads, and once."""
    readers: dict[int, list[Step]] = {}
    for step in steps:
        for slot in step.inputs:
            readers.setdefault(slot, []).append(step)
    return {
        slot: found[0] for slot, found in readers.items() if len(found) == 1 and slot not in wanted
    }


def _is_sum_of_images(step: Step) -> bool:
    layer = step.layer
    return isinstance(layer, OfTwo) and layer.function is torch.add and layer.trailing == (0, 0)


_FRESH = (nn.Conv2d, nn.Linear, UncountedBatchNorm2d, OfTwo, Scale)
"""Layers that make new values which their own gradients never read."""


def _in_place(steps: Sequence[Step], wanted: Collection[int]) -> list[Step]:
    """Let layers overwrite a value that they alone read and that no gradient needs."""
    only = _only_readers(steps, wanted)
    fresh = {s.output for s in steps if isinstance(s.layer, _FRESH) and s.output in only}
    return [_overwriting(step, only, fresh) for step in steps]


def _overwriting(step: Step, only: Mapping[int, Step], fresh: Collection[int]) -> Step:
    """Return what does the work of a step, and writes over its first input if it can."""
    inputs = tuple(sorted(step.inputs, key=lambda slot: slot not in fresh))
    if inputs[0] not in fresh:
        return step
    if _is_sum_of_images(step):
        return replace(step, layer=add_, inputs=inputs)
    if inputs != step.inputs:
        return step
    if type(step.layer) is nn.ReLU:
        return replace(step, layer=torch.relu_)
    if type(step.layer) is Scale:
        reader = only.get(step.output)
        is_before_relu = reader is not None and type(reader.layer) is nn.ReLU
        return replace(step, layer=partial(scale_, is_before_relu=is_before_relu))
    return step


def _with_early_pools(steps: Sequence[Step], wanted: Collection[int]) -> list[Step]:
    """Take the largest of windows before a relu instead of after it: it has less to do then."""
    only, swapped = _only_readers(steps, wanted), {}
    for relu in steps:
        pool = only.get(relu.output)
        is_relu = relu.layer is torch.relu_ or type(relu.layer) is nn.ReLU
        if is_relu and pool is not None and isinstance(pool.layer, nn.MaxPool2d):
            swapped[relu.output] = replace(
                pool, name=relu.name, inputs=relu.inputs, output=relu.output
            )
            swapped[pool.output] = replace(pool, layer=torch.relu_)
    return [swapped.get(step.output, step) for step in steps]


def _with_early_means(steps: Sequence[Step]) -> list[Step]:
    """Take each mean as soon as its input is there.

    The input is in the cache then, and the mean's gradient comes after the convolution's, to
    which it is added in place.
    """
    means = [step for step in steps if isinstance(step.layer, Mean)]
    ordered = [mean for mean in means if mean.inputs[0] == 0]
    for step in steps:
        if not isinstance(step.layer, Mean):
            ordered.append(step)
            ordered += [mean for mean in means if mean.inputs[0] == step.output]
    return ordered
