"""Estimated latency against measured: of class modules that no rate was fitted to.

Each repetition measures the machine as `modpm benchmark --machine` does, by layers of its own, and
then class modules cut from networks that were not trained, by kernels of chance, at several widths
and retention rates: what each took is compared with what is estimated by its graph alone. Of each
the least of several passes counts. With one thread that is the processor's time, which other work
disturbs least.

Usage:
    OMP_NUM_THREADS=1 taskset -c 1 python benchmarks/latency.py --seeds 11 12 13
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

import torch
from modules import untrained

from modpm.core.costs.latency import classifier_pass
from modpm.core.costs.latency import untrained as with_numbers_of_chance
from modpm.core.costs.machine import measure_rates
from modpm.core.estimating.machine import Machine, estimate, this_host
from modpm.core.estimating.work import BATCH_SIZES
from modpm.core.formats.manifest import InputContract
from modpm.core.system.memory import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CONTRACT = InputContract(channels=3, height=32, width=32, mean=[0.5] * 3, std=[0.25] * 3)
NETWORKS = {
    "small_vgg": (0.25, 0.5, 1.0, 2.0),
    "resnet20": (0.25, 0.5, 1.0, 2.0),
    "mobilenet_v2": (0.25, 0.5, 1.0),
    "vgg16": (0.25, 0.5),
    "resnet18": (0.25, 0.5),
}
"""Architectures, and factors on their channels."""

RATES = (0.2, 0.35, 0.5, 0.75, 1.0)
SPREAD = 0.15  # around each of these
ROUNDS, PASSES = 3, {1: 12, 64: 3}
HEADER = """\
| seed | modules | batch | n | median error | 90th percentile | rank correlation |
|---|---|---|---|---|---|---|"""


class Judged(NamedTuple):
    """A module that was estimated and measured, in seconds an image."""

    arch: str
    batch_size: int
    estimated: float
    measured: float

    @property
    def error(self) -> float:
        """How far the estimate is from what was measured, of that."""
        return abs(self.estimated / self.measured - 1)


def judge(machine: Machine, seed: int) -> list[Judged]:
    """Estimate and measure modules that are drawn by a seed."""
    chance = random.Random(seed)  # noqa: S311 -- no secret
    drawn, jobs = [], []
    for arch, widths in NETWORKS.items():
        for width in widths:
            for rate in RATES:
                around = min(1.0, rate * chance.uniform(1 - SPREAD, 1 + SPREAD))
                graph = untrained(arch, around, width, seed)[1].graph
                classifier = with_numbers_of_chance(graph, CONTRACT)
                for one in estimate([graph], machine):
                    drawn.append((arch, one))
                    jobs.append(classifier_pass(classifier, one.batch_size))
    passes = [PASSES[one.batch_size] for _, one in drawn]
    least = least_seconds(jobs, passes, chance)
    return [
        Judged(arch, one.batch_size, one.seconds, took / one.batch_size)
        for (arch, one), took in zip(drawn, least, strict=True)
    ]


@torch.inference_mode()  # not where networks are made: those are told from others, and slower
def least_seconds(
    jobs: Sequence[Callable[[], object]], passes: Sequence[int], chance: random.Random
) -> list[float]:
    """Return the least that each job took in some passes of several rounds."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    least = [float("inf")] * len(jobs)
    for _ in range(ROUNDS):
        for i in chance.sample(range(len(jobs)), len(jobs)):
            jobs[i]()  # not counted
            for _ in range(passes[i]):
                started = clock()
                jobs[i]()
                least[i] = min(least[i], clock() - started)
    return least


def print_rows(seed: int, judged: list[Judged]) -> None:
    """Print errors and rank correlations: of all modules, then of each architecture."""
    for size in BATCH_SIZES:
        own = [one for one in judged if one.batch_size == size]
        print_row(seed, "all", size, own)
        for arch in NETWORKS:
            print_row(seed, arch, size, [one for one in own if one.arch == arch])


def print_row(seed: int, name: str, size: int, judged: list[Judged]) -> None:
    """Print the errors of some modules."""
    errors = [one.error for one in judged]
    middle, far = statistics.median(errors), statistics.quantiles(errors, n=10)[-1]
    rank = statistics.correlation(
        ranks([one.estimated for one in judged]), ranks([one.measured for one in judged])
    )
    cells = [seed, name, size, len(judged), f"{middle:.1%}", f"{far:.1%}", f"{rank:.3f}"]
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def ranks(values: list[float]) -> list[float]:
    """Return the place of each value in their order; equal ones share theirs."""
    return [sum(other < value for other in values) + values.count(value) / 2 for value in values]


def main() -> None:
    """Print a line for each repetition, kind of network and size of batches."""
    keep_freed_memory()  # as the command does
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    options = parser.parse_args()
    print(HEADER)
    for seed in options.seeds:
        rates = measure_rates()
        machine = Machine(host=this_host(), n_threads=torch.get_num_threads(), rates=rates)
        print_rows(seed, judge(machine, seed))
    print(f"\n{machine.in_words}")


if __name__ == "__main__":
    main()
