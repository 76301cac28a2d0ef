"""Size and speed of class modules against their origin: counted, and measured.

Parameters, bytes and multiply-accumulates are counted. Latency is measured at batch 1 and 64, of
networks as they predict: a module and its origin take turns, and what is printed is the median of
the ratios with their quartiles; beside other work `--clock processor` disturbs them less. The last
column is how many times the module's share of the arithmetic its latency at batch 64 is.

Time does not hang on what weights are. So without a run, modules with a head are cut from networks
that were not trained, by kernels of chance, at the quotas of a retention rate.

Several modules of one origin, composed `independent`, are measured as one classifier, too, in
torch and in ONNX Runtime. Their bytes are those that are downloaded: every file of a release,
manifests and cards too, and files that releases have in common once.

Usage:
    python benchmarks/modules.py cut RUN DIST
    python benchmarks/modules.py together RUN DIST
    python benchmarks/modules.py untrained small_vgg=0.32 resnet20=0.5
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime
import torch

from modpm.core.calibrations import HEAD
from modpm.core.calibrations.scores import Calibrator
from modpm.core.classifiers.class_module import ClassModule
from modpm.core.classifiers.classifier import as_classifier
from modpm.core.composition.compose import compose_modules
from modpm.core.costs.latency import BATCH_SIZES, ratios, seconds_in_turns
from modpm.core.exporting.onnx_export import onnx_bytes
from modpm.core.formats.manifest import MANIFEST_FILE
from modpm.core.graph import GraphNetwork, build, count, infer_shapes, trace
from modpm.core.modularizing.cutting import cut, kernel_retention_rate, with_score
from modpm.core.networks import create
from modpm.core.slicing import cuttable_convolutions
from modpm.core.system.memory import keep_freed_memory
from modpm.core.training.evidence import Cutoff, Importance
from modpm.core.training.run import Run

if TYPE_CHECKING:
    from torch import Tensor

    from modpm.core.classifiers.classifier import Classifier
    from modpm.core.costs.latency import Quartiles

N_CLASSES, SHAPE = 10, (3, 32, 32)  # of CIFAR-10
HEADER = """\
| module | retention | parameters | bytes | MACs | latency, batch 1 | batch 64 | batch 64 / MACs |
|---|---|---|---|---|---|---|---|"""


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def latency_ratios(
    module: GraphNetwork, origin: GraphNetwork, images: Tensor, options: argparse.Namespace
) -> Quartiles:
    """Return the quartiles of the ratios of a module's latency to its origin's over n pairs."""
    images = images.contiguous(memory_format=torch.channels_last)  # as preprocessing gives them
    jobs = [partial(network.predict, images) for network in (module, origin)]
    return ratios(*seconds_in_turns(jobs, options.n, CLOCKS[options.clock]))


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
    print_cells(name, shares, found)


def print_cells(name: str, shares: list[float], found: list[Quartiles]) -> None:
    """Print a line: shares of the origin, quartiles of latencies, and these per arithmetic."""
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


def measure_together(options: argparse.Namespace) -> None:
    """Measure the first modules of a run as one classifier."""
    run = Run.open(options.run)
    network = as_classifier(run)
    distributions = [path.parent for path in sorted(options.distributions.glob("*/manifest.json"))]
    for n in options.numbers:
        modules = [ClassModule.from_folder(folder) for folder in distributions[:n]]
        composed = compose_modules(modules, "independent")
        files = {
            record.digest: record.size_bytes
            for module in modules
            for record in module.manifest.files.values()
        }
        manifests = [(folder / MANIFEST_FILE).stat().st_size for folder in distributions[:n]]
        shares = [
            sum(module.manifest.kernel_retention_rate for module in modules),
            composed.n_parameters / network.n_parameters,
            (sum(files.values()) + sum(manifests)) / network.cost.size_bytes,
            composed.macs / network.macs,
        ]
        (one,), (origin,) = composed.networks(), network.networks()
        print_row(f"{n} together", shares, one.network, origin.network, options)
        print_row_in_onnx(f"{n}, ONNX Runtime", shares, composed, network, options)


def print_row_in_onnx(
    name: str,
    shares: list[float],
    composed: Classifier,
    network: Classifier,
    options: argparse.Namespace,
) -> None:
    """Measure exported classifiers."""
    sessions = [onnxruntime.InferenceSession(onnx_bytes(one)) for one in (composed, network)]
    clock, found = CLOCKS[options.clock], []
    for size in BATCH_SIZES:
        images = {"images": torch.rand(size, *shape_of(network)).numpy()}
        jobs = [partial(session.run, ["scores"], images) for session in sessions]
        found.append(ratios(*seconds_in_turns(jobs, options.n, clock)))
    print_cells(name, shares, found)


def shape_of(classifier: Classifier) -> tuple[int, int, int]:
    """Return the shape of images that a classifier reads."""
    (contract,) = classifier.contracts
    return contract.channels, contract.height, contract.width


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


def untrained(
    arch: str, rate: float, width: float = 1.0, seed: int = 0
) -> tuple[GraphNetwork, GraphNetwork, float]:
    """Return an origin, a class module of it with a head, and its kernel retention rate."""
    torch.manual_seed(seed)
    graph, tensors = trace(create(arch, N_CLASSES, SHAPE[0], width), torch.randn(2, *SHAPE))
    kernels = graph.kernels()
    importance = {
        name: torch.rand(N_CLASSES, kernels[name]) for name in cuttable_convolutions(graph)
    }
    evidence = Importance(importance, sum(kernels.values()))
    network = cut(graph, tensors, evidence.masks(Cutoff(retention=rate)), class_index=0)
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
    both = commands.add_parser("together", help="several class modules of a run as one classifier")
    both.add_argument("run", type=Path)
    both.add_argument("distributions", type=Path)
    both.add_argument("--numbers", type=int, nargs="*", default=[3, 10])
    both.set_defaults(measure=measure_together)
    other = commands.add_parser("untrained", help="modules of networks that were not trained")
    other.add_argument("networks", nargs="*", default=["small_vgg=0.32", "resnet20=0.5"])
    other.set_defaults(measure=measure_untrained)
    for command in (one, both, other):
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
