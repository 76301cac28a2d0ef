"""Size and speed of class modules against their origin: counted, and measured.

Parameters, bytes and multiply-accumulates are counted. Latency is measured at batch 1 and 64, of
networks as they predict: a module and its origin take turns, and what is printed is the median of
the ratios with their quartiles; beside other work `--clock processor` disturbs them less. The last
column is how many times the module's share of the arithmetic its latency at batch 64 is.

Time does not hang on what weights are. So without a run, modules with a head are cut from networks
that were not trained, by kernels of chance, at the quotas of a retention rate.

Usage:
    python benchmarks/modules.py cut RUN DIST
    python benchmarks/modules.py untrained small_vgg=0.32 resnet20=0.5
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modpm.core.calibrations import HEAD
from modpm.core.calibrations.scores import Calibrator
from modpm.core.composition.class_module import ClassModule
from modpm.core.graph import GraphNetwork, build, count, infer_shapes, trace
from modpm.core.modularizing.cutting import cut, kernel_retention_rate, with_score
from modpm.core.networks import create
from modpm.core.slicing import cuttable_convolutions
from modpm.core.system.memory import keep_freed_memory
from modpm.core.training.evidence import Criterion, Importance
from modpm.core.training.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH_SIZES = (1, 64)
WARM_UP = 3
N_CLASSES, SHAPE = 10, (3, 32, 32)  # of CIFAR-10
QUARTERS = 4
HEADER = """\
| module | retention | parameters | bytes | MACs | latency, batch 1 | batch 64 | batch 64 / MACs |
|---|---|---|---|---|---|---|---|"""


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def seconds(
    network: Callable[[Tensor], Tensor], images: Tensor, clock: Callable[[], float]
) -> float:
    """Return the time of one forward pass."""
    started = clock()
    network(images)
    return clock() - started


@torch.inference_mode()
def latency_ratios(
    module: GraphNetwork, origin: GraphNetwork, images: Tensor, options: argparse.Namespace
) -> list[float]:
    """Return the quartiles of the ratios of a module's latency to its origin's over n pairs."""
    images = images.contiguous(memory_format=torch.channels_last)  # as preprocessing gives them
    ratios = []
    clock = CLOCKS[options.clock]
    for i in range(WARM_UP + options.n):
        pair = [module, origin] if i % 2 else [origin, module]
        took = {network: seconds(network.predict, images, clock) for network in pair}
        ratios.append(took[module] / took[origin])
    return statistics.quantiles(ratios[WARM_UP:], n=QUARTERS)


def print_row(
    name: str,
    shares: list[float],
    module: GraphNetwork,
    origin: GraphNetwork,
    options: argparse.Namespace,
) -> None:
    """Measure a module and print it as shares of its origin, that of the arithmetic last."""
    shape = origin.graph.input_shape
    found = [
        latency_ratios(module, origin, torch.randn(size, *shape), options) for size in BATCH_SIZES
    ]
    cells = [name, *(f"{share:.3f}" for share in shares)]
    cells += [f"{median:.2f} ({low:.2f} to {high:.2f})" for low, median, high in found]
    print(f"| {' | '.join([*cells, f'{found[-1][1] / shares[-1]:.2f}'])} |", flush=True)


def measure_cut(options: argparse.Namespace) -> None:
    """Measure each class module of a run."""
    run = Run.open(options.run)
    origin = build(*run.network()).eval()
    for path in sorted(options.distributions.glob("*/manifest.json")):
        module = ClassModule.from_folder(path.parent)
        manifest, whole = module.manifest, module.manifest.origin
        shares = [
            manifest.kernel_retention_rate,
            manifest.n_parameters / whole.n_parameters,
            manifest.size_bytes / whole.size_bytes,
            manifest.macs / whole.macs,
        ]
        print_row(manifest.name, shares, module.network, origin, options)


def measure_untrained(options: argparse.Namespace) -> None:
    """Measure one module of each architecture with new weights and kernels of chance."""
    for wanted in options.networks:
        arch, _, rate = wanted.partition("=")
        origin, module, retention = untrained(arch, float(rate))
        whole, part = (count(one.graph, one.state_dict()) for one in (origin, module))
        shares = [
            retention,
            part.n_parameters / whole.n_parameters,
            part.size_bytes / whole.size_bytes,
            part.macs / whole.macs,
        ]
        print_row(arch, shares, module, origin, options)


def untrained(arch: str, rate: float) -> tuple[GraphNetwork, GraphNetwork, float]:
    """Return an origin, a class module of it with a head, and its kernel retention rate."""
    torch.manual_seed(0)
    graph, tensors = trace(create(arch, N_CLASSES, SHAPE[0]), torch.randn(2, *SHAPE))
    kernels = graph.kernels()
    importance = {
        name: torch.rand(N_CLASSES, kernels[name]) for name in cuttable_convolutions(graph)
    }
    evidence = Importance(importance, sum(kernels.values()))
    network = cut(graph, tensors, evidence.masks(Criterion(retention=rate)), class_index=0)
    shapes = infer_shapes(network.with_features)
    n_read = sum(shapes[node.name][0] for node in network.features) + 1
    fitted = {"weight": torch.randn(n_read).double(), "bias": torch.zeros(()).double()}
    scored = with_score(network, Calibrator(HEAD, fitted))
    module = build(scored.graph, scored.tensors).eval()
    return build(graph, tensors).eval(), module, kernel_retention_rate(network.retained, kernels)


def main() -> None:
    """Print one line for each class module, as shares of the origin."""
    keep_freed_memory()  # as the command does
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("cut", help="the class modules of a run")
    one.add_argument("run", type=Path)
    one.add_argument("distributions", type=Path)
    one.set_defaults(measure=measure_cut)
    other = commands.add_parser("untrained", help="modules of networks that were not trained")
    other.add_argument("networks", nargs="*", default=["small_vgg=0.32", "resnet20=0.5"])
    other.set_defaults(measure=measure_untrained)
    for command in (one, other):
        command.add_argument("-n", type=int, default=30)
        command.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    print(HEADER)
    options.measure(options)
    print(
        f"\nn = {options.n} pairs, {torch.get_num_threads()} threads, {options.clock} time; "
        "quartiles in brackets"
    )


if __name__ == "__main__":
    main()
