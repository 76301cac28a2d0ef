"""What modular training costs in accuracy, and what composing without training keeps.

Trains one architecture by several methods, each at the best of some learning rates on held-out
images, cuts the networks, and compares on the test split, for 2, 3, 5 and 10 classes (the mean of
random subsets): the network restricted to the classes, and its class modules composed `fused` and
`independent`; and modules of random kernels, as many of each layer. The test split is read once,
after everything is chosen; `--split held-out` does not read it. With several seeds each number is
their mean, and after it how far the seeds are apart.

Usage:
    python benchmarks/cifar10.py --data cifar10 --seeds 0,1,2 -o results/cifar10
    python benchmarks/cifar10.py --data cifar10 --init resnet20 --weights resnet20.safetensors \
        --epochs 8 --lrs 0.02 --retention 0.5 -o results/resnet20

An interrupted benchmark continues where it was; runs that are finished are not trained again.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import modpm
from modpm.core.classifiers.class_module import ClassModule
from modpm.core.composition.compose import compose_modules
from modpm.core.graph import build, count
from modpm.core.shown_text import Percent
from modpm.core.slicing import cuttable_convolutions, own_kernels
from modpm.core.training.device import DEVICES, choose_device
from modpm.core.training.evidence import Evidence, Ranking
from modpm.core.training.inference import normalizing, predict
from modpm.core.training.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from modpm.core.data import ImageData

N_SUBSETS = 20
SUBSET_SIZES = (2, 3, 5, 10)
RESNET20_MEAN, RESNET20_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


Accuracies = dict[int, float]
"""In percent, by the number of classes."""


@dataclass(frozen=True)
class Row:
    """One line of the table, of one seed."""

    name: str
    lr: float
    retention_rate: float
    n_parameters: float
    macs: float
    accuracy: Accuracies


def train_all(options: argparse.Namespace, method: str) -> list[Run]:
    """Train with each learning rate and seed, or take the finished runs; return the best rate's."""
    by_rate = {lr: [train_one(options, method, lr, s) for s in options.seeds] for lr in options.lrs}
    return max(by_rate.values(), key=lambda runs: statistics.fmean(r.val_accuracy for r in runs))


def train_one(options: argparse.Namespace, method: str, lr: float, seed: int) -> Run:
    """Train one network, or continue to, or take the finished run."""
    from_weights = options.init is not None
    return trained(
        options.output / "runs" / f"{method}-lr{lr:g}-seed{seed}",
        options,
        arch=options.init or options.arch,
        init=options.weights,
        lr=lr,
        seed=seed,
        method=method,
        mean=RESNET20_MEAN if from_weights else None,
        std=RESNET20_STD if from_weights else None,
    )


def trained(folder: Path, options: argparse.Namespace, **how: Any) -> Run:  # noqa: ANN401 -- passed on
    """Train a network into a folder, or continue to, or take the finished run."""
    run = (
        Run.open(folder)
        if (folder / "finished.json").exists()
        else modpm.train(
            options.data,
            output=folder,
            epochs=options.epochs,
            precision=options.precision,
            device=options.device,
            retention=options.retention,
            resume=(folder / "run.json").exists(),
            **how,
        )
    )
    print(f"{folder.name}: {Percent(run.val_accuracy)} on held-out images", flush=True)
    return run


def cut(run: Run, options: argparse.Namespace, *, is_random: bool) -> list[ClassModule]:
    """Cut a run into class modules, or take what was cut from it before."""
    folder = options.output / "modules" / f"{run.folder.name}{'-random' if is_random else ''}"
    evidence = random_kernels(run) if is_random else None
    return cut_into(folder, run, options, measure_on=options.split, evidence=evidence)


def cut_into(folder: Path, run: Run, options: argparse.Namespace, **how: Any) -> list[ClassModule]:  # noqa: ANN401 -- passed on
    """Cut a run into class modules in a folder, or take what is there."""
    if not folder.exists():
        # Not `auto`: one kind of score for all, so that the two compositions can be compared.
        modpm.modularize(
            run,
            output=folder,
            calibration="platt",
            device=options.device,
            namespace="cifar10",
            **how,
        )
    modules = [ClassModule.from_folder(path.parent) for path in folder.glob("*/manifest.json")]
    return sorted(modules, key=lambda module: module.manifest.output.class_index)


def random_kernels(run: Run) -> Evidence:
    """Return a random order of each layer's kernels for each class."""
    kernels, chance = run.graph.kernels(), torch.Generator().manual_seed(run.config.seed)
    places = {
        layer: torch.rand(len(run.classes), kernels[layer], generator=chance).argsort(1)
        for layer in cuttable_convolutions(run.graph)
    }
    return Ranking(places, own_kernels(run.graph))


def subsets(n_classes: int, seed: int) -> dict[int, list[list[int]]]:
    """Draw the random subsets of classes; one subset where all classes are asked for."""
    chance = random.Random(seed)  # noqa: S311 - a draw, no secret
    return {
        size: [sorted(chance.sample(range(n_classes), size)) for _ in range(N_SUBSETS)]
        if size < n_classes
        else [list(range(n_classes))]
        for size in SUBSET_SIZES
    }


def restricted_accuracy(scores: Tensor, labels: Tensor, classes: Sequence[int]) -> float:
    """Return the accuracy in percent on the images of some classes, among these classes.

    Shapes:
        scores: (N, n_classes)
        labels: (N,)
    """
    chosen = torch.tensor(classes)
    shown = torch.isin(labels, chosen)
    predicted = chosen[scores[shown][:, chosen].argmax(1)]
    return 100 * (predicted == labels[shown]).float().mean().item()


def fused_accuracy(
    modules: Sequence[ClassModule], data: ImageData, classes: list[int], device: torch.device
) -> float:
    """Return the accuracy in percent of the fused composition of some classes."""
    classifier = compose_modules([modules[c] for c in classes], "fused").to(device)
    chosen = torch.tensor(classes)
    shown = torch.isin(data.labels, chosen)
    scores = torch.cat([classifier.score_images(part) for part in data.images[shown].split(500)])
    return 100 * (chosen[scores.argmax(1).cpu()] == data.labels[shown]).float().mean().item()


def scores_of(module: ClassModule, data: ImageData, device: torch.device) -> Tensor:
    """Return the scores of all images, (N,), computed on a device."""
    scores = module.to(device).score_images(data.images).cpu()
    module.cpu()
    return scores


def mean_accuracy(measure: Callable[[list[int]], float], seed: int) -> Accuracies:
    """Return the mean over the random subsets, by the number of classes."""
    drawn = subsets(10, seed)
    return {size: statistics.fmean(map(measure, drawn[size])) for size in SUBSET_SIZES}


def network_row(name: str, run: Run, data: ImageData, options: argparse.Namespace) -> Row:
    """Measure a whole network."""
    cost = count(*run.network())
    measured = network_accuracies(run, data, choose_device(options.device))
    return Row(name, run.config.lr, 1.0, cost.n_parameters, cost.macs, measured)


def network_accuracies(run: Run, data: ImageData, device: torch.device) -> Accuracies:
    """Measure a whole network restricted to some of its classes."""
    outputs = predict(build(*run.network()), data.pixels, normalizing(run.input), device=device)
    seed = run.config.seed
    return mean_accuracy(lambda c: restricted_accuracy(outputs, data.labels, c), seed)


def composed_accuracies(
    modules: Sequence[ClassModule], data: ImageData, device: torch.device, seed: int
) -> dict[str, Accuracies]:
    """Measure both compositions of some of a network's class modules."""
    scores = torch.stack([scores_of(module, data, device) for module in modules], 1)
    measures: dict[str, Callable[[list[int]], float]] = {
        "fused": lambda c: fused_accuracy(modules, data, c, device),
        "independent": lambda c: restricted_accuracy(scores, data.labels, c),
    }
    return {name: mean_accuracy(measure, seed) for name, measure in measures.items()}


def module_rows(
    run: Run, data: ImageData, options: argparse.Namespace, *, is_random: bool = False
) -> list[Row]:
    """Measure the compositions of a network's class modules."""
    modules = cut(run, options, is_random=is_random)
    retention = statistics.fmean(m.manifest.kernel_retention_rate for m in modules)
    n_parameters = statistics.fmean(m.manifest.n_parameters for m in modules)
    macs = statistics.fmean(m.manifest.macs for m in modules)
    device, seed = choose_device(options.device), run.config.seed
    kernels = "random kernels, " if is_random else ""
    return [
        Row(
            f"{run.config.method}, {kernels}{name}",
            run.config.lr,
            retention,
            n_parameters,
            macs,
            measured,
        )
        for name, measured in composed_accuracies(modules, data, device, seed).items()
    ]


def rows_of(run: Run, options: argparse.Namespace) -> list[Row]:
    """Measure a network, its class modules, and modules of random kernels."""
    data = run.data("test") if options.split == "test" else run.validation_data()
    rows = [network_row(f"{run.config.method}, whole network", run, data, options)]
    if run.config.method != "plain":
        rows += module_rows(run, data, options)
        if run.method.evidence_type() is Ranking:
            rows += module_rows(run, data, options, is_random=True)
    return rows


def print_table(rows: Sequence[Sequence[Row]]) -> None:
    """Print as a Markdown table what each row has for all seeds."""
    sizes = " | ".join(f"{size} classes" for size in SUBSET_SIZES)
    print(f"| network | lr | retention rate | parameters | MACs | {sizes} |")
    print("|---" * (5 + len(SUBSET_SIZES)) + "|")
    for same in rows:
        accuracies = " | ".join(_cell([row.accuracy[n] for row in same]) for n in SUBSET_SIZES)
        rate, n_parameters, macs = (
            statistics.fmean(getattr(row, field) for row in same)
            for field in ("retention_rate", "n_parameters", "macs")
        )
        print(
            f"| {same[0].name} | {same[0].lr:g} | {rate:.3f} | {n_parameters:,.0f} "
            f"| {macs / 1e6:.2f} M | {accuracies} |"
        )


def _cell(values: Sequence[float]) -> str:
    apart = f" ({max(values) - min(values):.1f})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{apart}"


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", default="cifar10", help="a Hub id or a folder of parquet files")
    parser.add_argument("--arch", default="small_vgg")
    parser.add_argument("--init", choices=["resnet20"], help="start from trained weights of it")
    parser.add_argument("--weights", type=Path, help="the weights of --init")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--lrs", type=lambda t: [float(x) for x in t.split(",")], default=[0.1])
    parser.add_argument("--methods", type=lambda t: t.split(","), default=["views", "mwt"])
    parser.add_argument("--retention", type=float, default=0.32, help="of the modules")
    parser.add_argument("--split", default="test", choices=["test", "held-out"])
    parser.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--device", default="auto", choices=DEVICES)
    parser.add_argument("--seeds", type=lambda t: [int(x) for x in t.split(",")], default=[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    """Train, cut, measure and print."""
    options = parse_options()
    names = options.methods if options.init else ["plain", *options.methods]
    best = [train_all(options, name) for name in names]
    rows = [
        row for runs in best for row in zip(*(rows_of(run, options) for run in runs), strict=True)
    ]
    print_table(rows)
    report = json.dumps([asdict(row) for same in rows for row in same], indent=2)
    (options.output / "results.json").write_text(report + "\n", "utf-8")


if __name__ == "__main__":
    main()
