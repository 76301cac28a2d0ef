"""A machine measured: many small networks timed, and rates of each kind of work fitted to them."""

from __future__ import annotations

import random
import time
from functools import partial
from typing import TYPE_CHECKING

import torch

from modpm.core.classifiers.class_module import Scorer
from modpm.core.classifiers.classifier import Classifier
from modpm.core.costs.latency import numbers_of
from modpm.core.costs.layers import LARGEST_VALUE, stages
from modpm.core.estimating.fitting import Sample, fit
from modpm.core.estimating.work import BATCH_SIZES, image_work, works
from modpm.core.formats.manifest import InputContract
from modpm.core.formats.network_graph import Graph, Node
from modpm.core.graph import build

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modpm.core.estimating.rates import Rate

    Job = Callable[[], object]

ROUNDS = 3
"""How often all are timed, one after the other: what disturbs some of them in one round is over
in another."""

FEWEST, SECONDS = 3, 0.008
"""Of each network in a round: passes, and seconds of passes."""

_SIDES = (8, 16, 32, 64, 96, 128)


def measure_rates() -> dict[str, dict[str, Rate]]:
    """Return how fast this machine's processor is at each kind of work.

    Networks are timed as they predict, with as many threads as torch has, and of each the least of
    what it took counts. With one thread that is the processor's time, which other work disturbs
    less than the time that passes.

    Returns:
        The rates for each size of batches.
    """
    return {str(size): _rates(size) for size in BATCH_SIZES}


def _rates(batch_size: int) -> dict[str, Rate]:
    planned, numbers = list(stages(batch_size)), torch.rand(LARGEST_VALUE)
    graphs = [graph for stage in planned for graph in stage.graphs]
    whole = [_mean_of_channels(side) for side in _SIDES]
    jobs = [partial(_network_job, graph, batch_size, numbers) for graph in graphs]
    jobs += [partial(_classifier_job, graph, batch_size, numbers) for graph in whole]
    seconds = iter(_least_seconds([make() for make in jobs]))
    rates: dict[str, Rate] = {}
    for stage in planned:
        samples = [Sample(works(graph, batch_size), next(seconds)) for graph in stage.graphs]
        rates |= fit(samples, stage.kinds, rates)
    samples = [
        Sample([*works(graph, batch_size), image_work(graph.input_shape, batch_size)], took)
        for graph, took in zip(whole, seconds, strict=True)
    ]
    return rates | fit(samples, ("image",), rates)


@torch.inference_mode()
def _least_seconds(jobs: Sequence[Job]) -> list[float]:
    """Return the least that each job took."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    least = [float("inf")] * len(jobs)
    order, chance = list(range(len(jobs))), random.Random(0)  # noqa: S311 -- no secret
    for _ in range(ROUNDS):
        chance.shuffle(order)
        for i in order:
            jobs[i]()  # not counted: the first pass makes what the others use
            least[i] = min(least[i], _least(jobs[i], clock))
    return least


def _least(job: Job, clock: Callable[[], float]) -> float:
    least, total, n = float("inf"), 0.0, 0
    while n < FEWEST or total < SECONDS:
        started = clock()
        job()
        took = clock() - started
        least, total, n = min(least, took), total + took, n + 1
    return least


def _network_job(graph: Graph, batch_size: int, numbers: torch.Tensor) -> Job:
    network = build(graph, numbers_of(graph)).eval()
    return partial(network.predict, _images(graph, batch_size, numbers))


def _classifier_job(graph: Graph, batch_size: int, numbers: torch.Tensor) -> Job:
    channels, height, width = graph.input_shape
    contract = InputContract(
        channels=3,
        height=height,
        width=width,
        mean=[0.5] * channels,
        std=[0.25] * channels,
    )
    classifier = Classifier([Scorer(["one", "two", "three"], contract, graph, {})])
    return partial(classifier, _images(graph, batch_size, numbers))


def _images(graph: Graph, batch_size: int, numbers: torch.Tensor) -> torch.Tensor:
    """Return some numbers as images, channels last."""
    channels, height, width = graph.input_shape
    shape = batch_size, height, width, channels
    return numbers[: torch.Size(shape).numel()].view(shape).permute(0, 3, 1, 2)


def _mean_of_channels(side: int) -> Graph:
    mean = Node("mean", "mean", ("image",), {"keepdim": False})
    return Graph("image", (3, side, side), (mean,), "mean")
