"""What modular training and modularizing cost in time, against plain work of the same network.

Steps: a training step with mask generators and both losses and a plain step of the same network
take turns on the same batch; the ratio is that of each pair, its median and quartiles are printed.
Modularizing: `modpm.modularize` of a run against a plain evaluation pass over its training images,
once as one pass plus fitting, measured on what was held out for that, and once as it is by default,
which reads the test split too, with the origin and with every module.

Usage:
    python benchmarks/cost.py step --arch resnet20
    python benchmarks/cost.py modularize RUN
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import modpm
from modpm.core.graph import build, trace
from modpm.core.networks import create
from modpm.core.training.inference import predict_batches
from modpm.core.training.mask_generators import attach_mask_generators, mask_nodes
from modpm.core.training.objectives import MwtObjective, PlainObjective
from modpm.core.training.optimiser import create_optimiser, set_learning_rate
from modpm.core.training.run import Run
from modpm.core.training.running_frequencies import RunningFrequencies

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

N_CLASSES = 10
WARM_UP = 5


def objectives(arch: str, *, is_half: bool) -> tuple[PlainObjective, MwtObjective]:
    """Return what the plain and the modular network of an architecture minimise."""
    graph, tensors = trace(create(arch, N_CLASSES), torch.zeros(2, 3, 32, 32))
    modular = build(*attach_mask_generators(graph, tensors, generator=torch.Generator()))
    kernels = modular.graph.kernels()
    masked = {conv: kernels[conv] for conv in mask_nodes(modular.graph)}
    frequencies = RunningFrequencies(N_CLASSES, masked)
    plain = PlainObjective(build(graph, tensors), is_half=is_half)
    return plain, MwtObjective(modular, frequencies, alpha=0.5, beta=1.5, is_half=is_half)


def stepper(objective: PlainObjective, images: Tensor, labels: Tensor) -> Callable[[], float]:
    """Return a function that trains one step and returns its seconds."""
    objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    objective.train()
    optimiser = create_optimiser(objective)
    set_learning_rate(optimiser, 1e-3)

    def step() -> float:
        started = time.perf_counter()
        loss = objective(images, labels)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return time.perf_counter() - started

    return step


def compare_steps(options: argparse.Namespace) -> None:
    """Print the ratio of a modular step to a plain one."""
    torch.manual_seed(0)
    images = torch.randn(options.batch_size, 3, 32, 32)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(N_CLASSES, (options.batch_size,))
    is_half = options.precision == "bfloat16"
    plain, modular = (
        stepper(objective, images, labels)
        for objective in objectives(options.arch, is_half=is_half)
    )
    pairs = [(plain(), modular()) for _ in range(WARM_UP + options.n)][WARM_UP:]
    low, median, high = statistics.quantiles([m / p for p, m in pairs], n=4)
    print(
        f"{options.arch}, batch {options.batch_size}, {options.precision}, "
        f"{torch.get_num_threads()} threads, n = {options.n}: plain step "
        f"{1000 * statistics.median(p for p, _ in pairs):.1f} ms, modular step "
        f"{1000 * statistics.median(m for _, m in pairs):.1f} ms, ratio {median:.3f} "
        f"(quartiles {low:.3f} to {high:.3f})"
    )


def modularize_once(run: Run, *, measure_on: str) -> None:
    """Modularize a run, and throw the result away."""
    with tempfile.TemporaryDirectory() as folder:
        modpm.modularize(run, output=Path(folder) / "modules", measure_on=measure_on)


def compare_modularize(options: argparse.Namespace) -> None:
    """Print the time of modularizing in evaluation passes over the training images."""
    run = Run.open(options.run)
    images = run.training_data().images
    network = build(*run.network())
    jobs: dict[str, Callable[[], object]] = {
        "pass": partial(predict_batches, network, images, run.input),
        "pass and fitting": partial(modularize_once, run, measure_on="held-out"),
        "and the test split": partial(modularize_once, run, measure_on="test"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _, (name, job) in itertools.product(range(options.n), jobs.items()):
        started = time.perf_counter()
        job()
        seconds[name].append(time.perf_counter() - started)
    one, *cuts = jobs
    print(
        f"{options.run}: {len(images)} images, {torch.get_num_threads()} threads, "
        f"n = {options.n}: evaluation pass {statistics.median(seconds[one]):.1f} s"
    )
    for name in cuts:
        ratios = [cut / plain for cut, plain in zip(seconds[name], seconds[one], strict=True)]
        print(
            f"modularize, {name}: {statistics.median(seconds[name]):.1f} s, ratio "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(required=True)
    step = commands.add_parser("step")
    step.add_argument("--arch", default="resnet20")
    step.add_argument("--batch-size", type=int, default=128)
    step.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    step.add_argument("-n", type=int, default=40)
    step.set_defaults(measure=compare_steps)
    cut = commands.add_parser("modularize")
    cut.add_argument("run", type=Path)
    cut.add_argument("-n", type=int, default=3)
    cut.set_defaults(measure=compare_modularize)
    options = parser.parse_args()
    options.measure(options)


if __name__ == "__main__":
    main()
