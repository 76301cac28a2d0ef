"""Size and speed of class modules against their origin: counted, and measured.

Parameters, bytes and multiply-accumulates are counted. Latency is measured at batch 1 and 64: the
module and its origin take turns, and the median of the ratios is printed.

Usage: python benchmarks/modules.py RUN DIST
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from modpm.core.composition.class_module import ClassModule
from modpm.core.graph import build
from modpm.core.training.run import Run

BATCH_SIZES = (1, 64)
WARM_UP = 3


def seconds(network: nn.Module, images: Tensor) -> float:
    """Return the time of one forward pass."""
    started = time.perf_counter()
    network(images)
    return time.perf_counter() - started


@torch.inference_mode()
def latency_ratio(module: nn.Module, origin: nn.Module, images: Tensor, n: int) -> float:
    """Return the median ratio of a module's latency to its origin's over n pairs."""
    pairs = [(seconds(module, images), seconds(origin, images)) for _ in range(WARM_UP + n)]
    return statistics.median(m / o for m, o in pairs[WARM_UP:])


def main() -> None:
    """Print one line for each class module, as shares of the origin."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path)
    parser.add_argument("distributions", type=Path)
    parser.add_argument("-n", type=int, default=30)
    options = parser.parse_args()
    run = Run.open(options.run)
    origin = build(*run.network()).eval()
    shape = (run.input.channels, run.input.height, run.input.width)
    folders = sorted(path.parent for path in options.distributions.glob("*/manifest.json"))
    print("| module | retention | parameters | bytes | MACs | latency, batch 1 | batch 64 |")
    print("|---|---|---|---|---|---|---|")
    for folder in folders:
        module = ClassModule.from_folder(folder)
        manifest = module.manifest
        whole = manifest.origin
        ratios = [
            latency_ratio(module, origin, torch.randn(size, *shape), options.n)
            for size in BATCH_SIZES
        ]
        print(
            f"| {manifest.name} | {manifest.kernel_retention_rate:.3f} "
            f"| {manifest.n_parameters / whole.n_parameters:.3f} "
            f"| {manifest.size_bytes / whole.size_bytes:.3f} "
            f"| {manifest.macs / whole.macs:.3f} "
            f"| {ratios[0]:.2f} | {ratios[1]:.2f} |"
        )


if __name__ == "__main__":
    main()
