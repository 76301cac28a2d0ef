"""What composing class modules of different origins costs against one network for all classes.

Each table is a command. `mixed`: classes of CIFAR-10 and of MNIST, as many of each, scored apart,
against a network trained on all of both. `halves`: CIFAR-10 in two halves of classes, each with a
network of its own, composed to ten, without data and with ten labeled images a class, against a
network for all ten of as many epochs. `publishers`: two networks for all ten classes; of each class
the module that is better on held-out images, and both voting, against the better network.

What is chosen or fitted is on held-out images; the test split is read once, after that. Of networks
and compositions that have more classes than a draw, the scores of its classes are compared.

Usage:
    python benchmarks/origins.py mixed --cifar10 cifar10 --mnist mnist -o results/mixed
    python benchmarks/origins.py halves --cifar10 cifar10 --quick -o results/halves
    python benchmarks/origins.py publishers --cifar10 cifar10 -o results/publishers

`--cifar10` and `--mnist` are folders of parquet files. An interrupted benchmark continues where it
was; runs that are finished are not trained again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from cifar10 import cut_into, restricted_accuracy, trained

from modpm.core.classifiers.classifier import as_classifier
from modpm.core.classifiers.evaluation import classifier_scores
from modpm.core.composition.adjusting import calibrate
from modpm.core.composition.compose import compose_modules
from modpm.core.data import ImageData, load_data
from modpm.core.training.device import DEVICES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from modpm.core.classifiers.class_module import ClassModule
    from modpm.core.classifiers.classifier import Classifier
    from modpm.core.training.run import Run

N_DRAWS = 20
IMAGES_A_CLASS = 10
QUICK = {"epochs": 3, "width": 0.5, "image_size": 16, "per_class": 1000, "draws": 3}
FULL = {"epochs": 15, "width": 1.0, "image_size": 32, "per_class": None, "draws": N_DRAWS}
SPLITS = ("train", "test")

Part = tuple[Path, list[str]]
"""A folder of parquet files, and the classes that are taken of it."""


def written(folder: Path, parts: Sequence[Part], per_class: int | None) -> Path:
    """Write the images of some classes of data sets as one data set, or take what is there.

    Args:
        folder: Where to.
        parts: The data sets; no two have a class in common.
        per_class: How many training images of each class; None for all.
    """
    names = [name for _, own in parts for name in own]
    for split in SPLITS:
        path = folder / f"{split}.parquet"
        if path.exists():
            continue
        limit = per_class if split == "train" else None
        images, labels = [], []
        for source, own in parts:
            for image, name in rows_of(source, split, own, limit):
                images.append(image)
                labels.append(names.index(name))
        features = {
            "image": {"_type": "Image"},
            "label": {"names": names, "_type": "ClassLabel"},
        }
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        table = pa.table({"image": images, "label": labels}).replace_schema_metadata(metadata)
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
    return folder


def rows_of(
    source: Path, split: str, classes: Sequence[str], limit: int | None
) -> list[tuple[dict[str, Any], str]]:
    """Return encoded images of some classes with their names, the first ones of each."""
    table = pq.read_table(next(source.glob(f"{split}*.parquet")))
    about = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    names = about["label"]["names"]
    image = next(name for name in table.column_names if name != "label")
    counts, found = dict.fromkeys(classes, 0), []
    for one, label in zip(table[image].to_pylist(), table["label"].to_pylist(), strict=True):
        name = names[label]
        if name in counts and (limit is None or counts[name] < limit):
            counts[name] += 1
            found.append((one, name))
    return found


def classes_of(source: Path) -> list[str]:
    """Return the names of a data set's classes."""
    schema = pq.read_schema(next(source.glob("test*.parquet")))
    names: list[str] = json.loads(schema.metadata[b"huggingface"])["info"]["features"]["label"][
        "names"
    ]
    return names


def train(
    name: str, data: Path, options: argparse.Namespace, arch: str = "small_vgg", seed: int = 0
) -> Run:
    """Train a network, or take the finished run."""
    options.data = str(data)
    return trained(
        options.output / "runs" / name,
        options,
        arch=arch,
        seed=seed,
        width=options.width if arch == "small_vgg" else 1.0,
        image_size=options.image_size,
    )


def modules_of(run: Run, options: argparse.Namespace) -> list[ClassModule]:
    """Cut a run into class modules, measured on held-out images, or take what is there."""
    folder = options.output / "modules" / run.folder.name
    return cut_into(folder, run, options, measure_on="held-out")


def side_by_side(
    modules: Sequence[ClassModule], classes: Sequence[str], strategy: str = "auto"
) -> Classifier:
    """Compose modules, those of one class voting; its scores are in the order of the classes."""
    by_class = {name: f"all/{name}" for name in classes}
    labels = [by_class[module.label.partition("/")[2]] for module in modules]
    order = sorted(range(len(modules)), key=lambda i: classes.index(labels[i][4:]))
    return compose_modules(
        [modules[i] for i in order],
        strategy,
        labels=[labels[i] for i in order],
        ensemble=True,
    )


def test_scores(classifier: Classifier, data: Path) -> tuple[Tensor, Tensor]:
    """Return the scores of the test images as `predict` gives them, and their labels."""
    prepared = [
        load_data(data, "test", image_size=(one.height, one.width), channels=one.channels)
        for one in classifier.contracts
    ]
    return classifier_scores(classifier, [one.pixels for one in prepared]), prepared[0].labels


def draws(n_draws: int, seed: int, draw: Callable[[random.Random], list[int]]) -> list[list[int]]:
    """Draw as often as is asked for."""
    chance = random.Random(seed)  # noqa: S311 -- a draw, no secret
    return [draw(chance) for _ in range(n_draws)]


def cell(values: Sequence[float]) -> str:
    """Return the mean of some draws, and their standard deviation."""
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}"


def print_row(name: str, one: Sequence[float], others: Sequence[Sequence[float]], n: int) -> None:
    """Print accuracies in percent, and the differences of each of the others to the first."""
    cells = [name, f"{len(one)}", f"{n:,}", cell(one)]
    for other in others:
        gains = [mine - whole for mine, whole in zip(other, one, strict=True)]
        cells += [cell(other), f"{statistics.fmean(gains):+.1f}"]
    print(f"| {' | '.join(cells)} |", flush=True)


def print_head(*columns: str) -> None:
    """Print the head of a table."""
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|", flush=True)


def mixed(options: argparse.Namespace) -> None:
    """Mix classes of both data sets, as many of each."""
    parts: list[Part] = [
        (source, classes_of(source)) for source in (options.cifar10, options.mnist)
    ]
    names = [name for _, own in parts for name in own]
    folders = [
        written(options.output / "data" / str(i), some, options.per_class)
        for i, some in enumerate([parts[:1], parts[1:], parts])
    ]
    runs = [train(name, folder, options) for name, folder in zip("abm", folders, strict=True)]
    modules = [module for run in runs[:2] for module in modules_of(run, options)]
    whole, labels = test_scores(as_classifier(runs[2]), folders[2])
    apart, _ = test_scores(side_by_side(modules, names, "independent"), folders[2])
    print_head("classes", "draws", "n", "one network", "composed", "difference")
    for size in (2, 3, 5):
        drawn = draws(
            N_DRAWS,
            options.seed,
            lambda chance, size=size: sorted(  # type: ignore[misc]  # bound at once
                [*chance.sample(range(10), size), *chance.sample(range(10, 20), size)]
            ),
        )
        one, other = (
            [restricted_accuracy(scores, labels, some) for some in drawn]
            for scores in (whole, apart)
        )
        print_row(f"{size} + {size}", one, [other], len(labels) * 2 * size // 20)


def halves(options: argparse.Namespace) -> None:
    """Compose CIFAR-10 of two halves of its classes."""
    names = classes_of(options.cifar10)
    everything = written(
        options.output / "data" / "all", [(options.cifar10, names)], options.per_class
    )
    whole_scores, labels = test_scores(
        as_classifier(train("whole", everything, options)), everything
    )
    whole = restricted_accuracy(whole_scores, labels, range(10))
    print_head(
        *("halves", "draws", "n", "one network", "composed", "difference"),
        *(f"{IMAGES_A_CLASS} images a class", "difference", "fits taken"),
    )
    drawn = draws(options.draws, options.seed, lambda chance: chance.sample(range(10), 5))
    for kind, archs in (
        ("one architecture", ("small_vgg", "small_vgg")),
        ("two architectures", ("small_vgg", "resnet20")),
    ):
        found = [
            composed_halves(i, some, archs, everything, options) for i, some in enumerate(drawn)
        ]
        apart, fitted, taken = zip(*found, strict=True)
        cells = [kind, f"{len(drawn)}", f"{len(labels):,}", f"{whole:.1f}"]
        for values in (apart, fitted):
            cells += [cell(values), f"{statistics.fmean(values) - whole:+.1f}"]
        print(f"| {' | '.join([*cells, f'{statistics.fmean(taken):.2f}'])} |", flush=True)


def composed_halves(
    i: int, half: Sequence[int], archs: Sequence[str], everything: Path, options: argparse.Namespace
) -> tuple[float, float, float]:
    """Return the accuracy of halves composed, without images and with, and how often these fit."""
    names = classes_of(options.cifar10)
    sides = [[names[k] for k in half], [name for k, name in enumerate(names) if k not in half]]
    runs = []
    for side, (own, arch) in enumerate(zip(sides, archs, strict=True)):
        folder = written(
            options.output / "data" / f"{i}-{side}", [(options.cifar10, own)], options.per_class
        )
        runs.append(train(f"{i}-{side}-{arch}", folder, options, arch))
    modules = [module for run in runs for module in modules_of(run, options)]
    composed = side_by_side(modules, names)
    scores, labels = test_scores(composed, everything)
    held_out, fitted, taken = held_out_of(runs, names), [], []
    for seed in range(3):
        adjusted = calibrate(composed, few(held_out, seed))
        assert adjusted.composition is not None
        taken.append(not all(one.is_identity for one in adjusted.composition.adjustments))
        found = test_scores(adjusted, everything)[0] if taken[-1] else scores
        fitted.append(restricted_accuracy(found, labels, range(10)))
    return (
        restricted_accuracy(scores, labels, range(10)),
        statistics.fmean(fitted),
        statistics.fmean(taken),
    )


def held_out_of(runs: Sequence[Run], names: Sequence[str]) -> ImageData:
    """Return the images that two networks held out, of all classes."""
    parts = [run.validation_data() for run in runs]
    labels = [
        torch.tensor([names.index(part.classes[k]) for k in part.labels.tolist()]) for part in parts
    ]
    pixels = torch.cat([part.images for part in parts])
    return ImageData(pixels, torch.cat(labels), tuple(names), "held out", "train")


def few(data: ImageData, seed: int) -> ImageData:
    """Draw a few images of each class."""
    chance = torch.Generator().manual_seed(seed)
    chosen = []
    for label in range(len(data.classes)):
        own = (data.labels == label).nonzero().squeeze(1)
        chosen.append(own[torch.randperm(len(own), generator=chance)[:IMAGES_A_CLASS]])
    return data.select(torch.cat(chosen))


def publishers(options: argparse.Namespace) -> None:
    """Take of two networks' modules the better ones, and let them vote."""
    names = classes_of(options.cifar10)
    data = written(options.output / "data" / "all", [(options.cifar10, names)], options.per_class)
    first = train("first", data, options)
    print_head(
        *("publishers", "classes", "draws", "n", "better network"),
        *("best modules", "difference", "voting", "difference"),
    )
    for kind, arch, seed in (("two seeds", "small_vgg", 1), ("two architectures", "resnet20", 0)):
        second = train(f"second-{arch}-{seed}", data, options, arch, seed)
        pair = [modules_of(run, options) for run in (first, second)]
        best = [max(both, key=held_out_f1) for both in zip(*pair, strict=True)]
        wholes = [test_scores(as_classifier(run), data) for run in (first, second)]
        labels = wholes[0][1]
        composed = [
            test_scores(side_by_side(modules, names), data)[0]
            for modules in (best, list(itertools.chain(*pair)))
        ]
        better = wholes[first.val_accuracy < second.val_accuracy][0]
        for size in (2, 3, 5, 10):
            drawn = draws(
                N_DRAWS if size < len(names) else 1,
                options.seed,
                lambda chance, size=size: sorted(chance.sample(range(10), size)),  # type: ignore[misc]  # bound at once
            )
            one, *others = (
                [restricted_accuracy(scores, labels, some) for some in drawn]
                for scores in (better, *composed)
            )
            print_row(f"{kind} | {size}", one, others, len(labels) * size // 10)


def held_out_f1(module: ClassModule) -> float:
    """Return the harmonic mean of precision and recall on held-out images."""
    (metrics,) = module.manifest.metrics
    total = metrics.precision + metrics.recall
    return 2 * metrics.precision * metrics.recall / total if total else 0.0


TABLES = {"mixed": mixed, "halves": halves, "publishers": publishers}


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--cifar10", type=Path, required=True, help="a folder of parquet files")
    parser.add_argument("--mnist", type=Path, help="the same, for `mixed`")
    parser.add_argument("--quick", action="store_true", help=f"small settings: {QUICK}")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--width", type=float, help="of small_vgg")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--per-class", type=int, help="training images; by default all")
    parser.add_argument("--draws", type=int, help="of halves, each of which is trained")
    parser.add_argument("--retention", type=float, default=0.32, help="of the modules")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--device", default="auto", choices=DEVICES)
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    for name, value in (QUICK if options.quick else FULL).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.table == "mixed" and options.mnist is None:
        parser.error("`mixed` needs --mnist")
    return options


def main() -> None:
    """Train, cut, compose and measure."""
    options, started = parse_options(), time.process_time()
    print(f"{options.table}: {vars(options)}", flush=True)
    TABLES[options.table](options)
    print(f"{time.process_time() - started:.0f} s of processor time")


if __name__ == "__main__":
    main()
