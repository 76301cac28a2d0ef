"""Latency: two networks timed in turns, so that what else a machine does meets both alike."""

from __future__ import annotations

import math
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch

from modpm.core.classifiers.class_module import Scorer
from modpm.core.classifiers.classifier import Classifier
from modpm.core.estimating.work import BATCH_SIZES
from modpm.core.graph.shapes import infer_shapes, tensor_shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from modpm.core.formats.manifest import InputContract
    from modpm.core.formats.network_graph import Graph

WARM_UP = 3
"""Passes of each that are not counted: the first are slower."""


class Quartiles(NamedTuple):
    """The middle of what was measured, and between which numbers half of it lies."""

    low: float
    median: float
    high: float


def quartiles(values: Sequence[float]) -> Quartiles:
    """Return the quartiles of two numbers or more."""
    return Quartiles(*statistics.quantiles(values, n=4, method="inclusive"))


def ratios(mine: Sequence[float], theirs: Sequence[float]) -> Quartiles:
    """Return the quartiles of the ratios of what was measured in pairs."""
    return quartiles([one / other for one, other in zip(mine, theirs, strict=True)])


@torch.inference_mode()
def seconds_in_turns(
    jobs: Sequence[Callable[[], object]],
    n: int,
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """Time jobs one after the other, n times, in an order that turns around each time.

    Args:
        jobs: Each does its work when called.
        n: How often each counts.
        clock: Tells the time.

    Returns:
        The seconds of each job, n of them.
    """
    found: list[list[float]] = [[] for _ in jobs]
    order = list(range(len(jobs)))
    for turn in range(WARM_UP + n):
        for i in order if turn % 2 else reversed(order):
            _finished()
            started = clock()
            jobs[i]()
            _finished()
            found[i].append(clock() - started)
    return [seconds[WARM_UP:] for seconds in found]


def _finished() -> None:
    """Wait for what an accelerator does, if there is one."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def untrained(graph: Graph, contract: InputContract) -> Classifier:
    """Return a network with numbers of chance, which takes as long as with its own.

    Args:
        graph: What it computes.
        contract: What an image must be.
    """
    labels = [f"class {i}" for i in range(infer_shapes(graph)[graph.output][0])]
    return Classifier([Scorer(labels, contract, graph, numbers_of(graph))])


def numbers_of(graph: Graph) -> dict[str, Tensor]:
    """Return numbers of chance for all tensors of a network."""
    chance = torch.Generator().manual_seed(0)
    return {name: _numbers(shape, chance) for name, shape in tensor_shapes(graph).items()}


def _numbers(shape: tuple[int, ...], chance: torch.Generator) -> Tensor:
    """Return numbers by which values keep their size: those of some sizes take longer."""
    if len(shape) < 2:  # noqa: PLR2004 -- a vector may be variances, which are positive
        return torch.rand(shape, generator=chance) + 0.5
    return torch.randn(shape, generator=chance) * math.sqrt(2 / math.prod(shape[1:]))


class Latency(NamedTuple):
    """How long one image takes, in batches of one size.

    Attributes:
        batch_size: Images of a batch.
        seconds: An image, of the classifier.
        origin_seconds: The same of the networks that its modules were cut from, where these are
            known, one after the other.
        ratio: Of the first to the second, by pairs.
    """

    batch_size: int
    seconds: Quartiles
    origin_seconds: Quartiles | None = None
    ratio: Quartiles | None = None


def time_classifier(
    classifier: Classifier, origins: Sequence[Classifier], n: int, device: torch.device
) -> list[Latency]:
    """Time a classifier beside its origins.

    Args:
        classifier: What is timed.
        origins: Networks that it stands for; none where they are not known.
        n: How many pairs count, 2 or more.
        device: Where they run.
    """
    for one in (classifier, *origins):
        one.to(device)
    return [_timed(classifier, origins, n, size) for size in BATCH_SIZES]


def _timed(classifier: Classifier, origins: Sequence[Classifier], n: int, size: int) -> Latency:
    own, *others = (classifier_pass(one, size) for one in (classifier, *origins))

    def all_others() -> None:
        for other in others:
            other()

    jobs = [own, all_others] if others else [own]
    found = [[seconds / size for seconds in one] for one in seconds_in_turns(jobs, n)]
    if not others:
        return Latency(size, quartiles(found[0]))
    return Latency(size, quartiles(found[0]), quartiles(found[1]), ratios(*found))


def classifier_pass(classifier: Classifier, size: int) -> Callable[[], object]:
    """Return what lets a classifier judge a batch of some images, which are ready."""
    channels = 1 if all(one.channels == 1 for one in classifier.contracts) else 3
    images = torch.rand(size, channels, *classifier.input_size).to(classifier.order.device)
    return partial(classifier, images.contiguous(memory_format=torch.channels_last))
