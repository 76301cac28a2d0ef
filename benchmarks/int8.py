"""What 8 bits cost class modules: accuracy of compositions, and bytes, before and after.

Classes are drawn, and the class modules of them composed `independent`, as they are and as variants
of 8 bits, by torch and by ONNX Runtime in whole numbers; accuracy is that on the test images of the
drawn classes. Bytes are those of the tensors, those of all files of a release, manifest and card
too, and of all releases together, where files that they have in common count once.

Usage:
    modpm quantize DIST --int8 --data cifar10 -o VARIANTS
    python benchmarks/int8.py DIST VARIANTS --data cifar10
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

import onnxruntime
import torch

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.composition.compose import compose_modules
from modpm.core.data import load_data
from modpm.core.exporting.onnx_export import onnx_bytes
from modpm.core.formats.manifest import MANIFEST_FILE
from modpm.core.system.memory import keep_freed_memory
from modpm.core.training.inference import normalizing, predict

if TYPE_CHECKING:
    from torch import Tensor

    from modpm.core.data import ImageData

BATCH = 100


def folders_of(path: Path) -> list[Path]:
    """Return the distributions in a folder."""
    return [found.parent for found in sorted(path.glob(f"*/{MANIFEST_FILE}"))]


def scores_of(modules: list[ClassModule], data: ImageData) -> Tensor:
    """Return the scores of modules side by side; (N, n_modules)."""
    prepare = normalizing(modules[0].input)
    each = [predict(module.network, data.pixels, prepare) for module in modules]
    return torch.cat(each, 1)


def scores_by_runtime(modules: list[ClassModule], data: ImageData) -> Tensor:
    """Return the same by ONNX Runtime, of one exported classifier of all."""
    session = onnxruntime.InferenceSession(onnx_bytes(compose_modules(modules, "independent")))
    parts = []
    for start in range(0, len(data), BATCH):
        images = data.select(torch.arange(start, min(start + BATCH, len(data)))).images
        (scores,) = session.run(["scores"], {"images": (images.float() / 255).numpy()})
        parts.append(torch.from_numpy(scores))
    return torch.cat(parts)


def accuracy(scores: Tensor, labels: Tensor, drawn: Tensor) -> float:
    """Return the percentage of the images of drawn classes that modules of them name rightly."""
    shown = torch.isin(labels, drawn)
    places = torch.searchsorted(drawn, labels[shown])
    return 100 * float((scores[shown][:, drawn].argmax(1) == places).double().mean())


def draws_of(n_classes: int, k: int, n: int) -> list[Tensor]:
    """Return so many draws of k classes; one where there is no other."""
    chance = torch.Generator().manual_seed(k)
    drawn = [torch.randperm(n_classes, generator=chance)[:k].sort().values for _ in range(n)]
    return drawn if k < n_classes else drawn[:1]


def print_accuracy(options: argparse.Namespace) -> None:
    """Print one line for each number of classes."""
    before, after = (
        [ClassModule.from_folder(folder) for folder in folders_of(path)]
        for path in (options.distributions, options.variants)
    )
    data = load_data(options.data, "test")
    own = [module.label.partition("/")[2] for module in before]
    labels = torch.tensor([own.index(name) for name in data.classes])[data.labels]
    scores = scores_of(before, data), scores_of(after, data), scores_by_runtime(after, data)
    print("| classes | as they are | 8 bits | ONNX Runtime | drop | worst draw |")
    print("|---|---|---|---|---|---|")
    for k in options.numbers:
        draws = draws_of(len(own), k, options.n)
        plain, small, run = ([accuracy(one, labels, d) for d in draws] for one in scores)
        drops = [a - b for a, b in zip(plain, small, strict=True)]
        cells = [f"{mean(one):.2f}" for one in (plain, small, run)]
        print(f"| {k} | {' | '.join(cells)} | {mean(drops):+.2f} | {max(drops):+.2f} |")
    print(f"\n{options.n} draws of classes, {len(data):,} test images of all classes\n")


def print_bytes(options: argparse.Namespace) -> None:
    """Print what releases weigh."""
    print("| bytes | as they are | 8 bits | share |")
    print("|---|---|---|---|")
    before, after = map(weights_of, (options.distributions, options.variants))
    for what, large, small in zip(ROWS, before, after, strict=True):
        print(f"| {what} | {large:,.0f} | {small:,.0f} | {small / large:.3f} |")


ROWS = (
    "tensors of a module, mean",
    "all files of a release, mean",
    "all releases together",
    "manifest and card of a release, mean",
)


def weights_of(path: Path) -> tuple[float, float, float, float]:
    """Return what the rows say of the distributions in a folder."""
    folders = folders_of(path)
    manifests = [ClassModule.from_folder(folder).manifest for folder in folders]
    own = [(folder / MANIFEST_FILE).stat().st_size for folder in folders]
    cards = [
        size + sum(r.size_bytes for name, r in one.files.items() if "safetensors" not in name)
        for size, one in zip(own, manifests, strict=True)
    ]
    files = [sum(record.size_bytes for record in one.files.values()) for one in manifests]
    once = {r.digest: r.size_bytes for one in manifests for r in one.files.values()}
    return (
        mean(one.size_bytes for one in manifests),
        mean(map(sum, zip(own, files, strict=True))),
        sum(own) + sum(once.values()),
        mean(cards),
    )


def main() -> None:
    """Print both tables."""
    keep_freed_memory()  # as the command does
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("distributions", type=Path)
    parser.add_argument("variants", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--numbers", type=int, nargs="*", default=[2, 3, 5, 10])
    parser.add_argument("-n", type=int, default=30)
    options = parser.parse_args()
    print_accuracy(options)
    print_bytes(options)


if __name__ == "__main__":
    main()
