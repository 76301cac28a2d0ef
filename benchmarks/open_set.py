"""Training for more than the classes (`train --open-set`), judged after equal seconds.

Every second class of CIFAR-10 is known: a network is trained on some images of these in each way,
cut, and its modules composed, side by side. Unknown are test images of the other classes (near),
which no network has seen, and images of no class as in `unknown.py` (far, the mean of the five
kinds). Turned images take time, so that rotation has fewer epochs; what training took is measured.
In the table are the accuracy among the known classes and AUROC of the highest score, also before
anything is taken off for unusual images (ADR 24), all in percent.

Usage:
    python benchmarks/open_set.py --data cifar10 --mnist mnist -o results/open-set
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from unknown import images_of_no_class, measured, read_scores, threshold

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.data import load_data
from modpm.core.graph import build
from modpm.core.modularizing.modularize import modularize
from modpm.core.training.inference import accuracy, normalizing, predict
from modpm.core.training.loop import train

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from modpm.core.data import ImageData
    from modpm.core.training.run import Run

EPOCHS = {
    "views": {None: 1.0, "logitnorm": 1.0, "rotation": 0.58},
    "plain": {None: 1.0, "logitnorm": 1.0, "rotation": 0.5},
}
"""Of each way, as a share of those that are asked for: by the images that a step sees."""

NEAR = "near"
COLUMNS = (
    "trained for",
    "epochs",
    "seconds",
    "network",
    "modules",
    "near",
    "far",
    "near, nothing taken off",
    "far, nothing taken off",
    "false rejections",
)


class Images(NamedTuple):
    """What networks are trained on and tested with.

    Attributes:
        training: Of known classes.
        known: Test images of these.
        unknown: Images of no known class, by their kind.
    """

    training: ImageData
    known: ImageData
    unknown: Mapping[str, Tensor]


def images_for(options: argparse.Namespace) -> Images:
    """Return known and unknown images."""
    training, test = (load_data(options.data, split) for split in ("train", "test"))
    test = test.select(range(min(options.n_test, len(test))))
    chance = torch.Generator().manual_seed(options.seed)
    places = torch.randperm(len(training), generator=chance)
    own = training.select(places[training.labels[places] % 2 == 0][: options.n_train])
    near = test.images[test.labels % 2 == 1]
    far = images_of_no_class(options.mnist, options.n, options.seed)
    return Images(own, test.select((test.labels % 2 == 0).nonzero()[:, 0]), {NEAR: near, **far})


def trained(images: Images, name: str | None, options: argparse.Namespace) -> tuple[Run, float]:
    """Train a network in one way; return its run and the seconds of processor time."""
    share = EPOCHS[options.method][name]
    started = time.process_time()
    run = train(
        (images.training.images, images.training.labels // 2),
        "small_vgg",
        classes=images.training.classes[::2],
        output=options.output / f"{options.method}-{name or 'classes'}",
        width=options.width,
        epochs=max(1, round(share * options.epochs)),
        method=options.method,
        seed=options.seed,
        precision="float32",
        device="cpu",
        open_set=name,
    )
    return run, time.process_time() - started


def row(images: Images, name: str | None, options: argparse.Namespace) -> list[str]:
    """Return a line of the table."""
    run, seconds = trained(images, name, options)
    labels = images.known.labels // 2
    outputs = predict(build(*run.network()), images.known.images, normalizing(run.input))
    made = modularize(run, output=run.folder.with_suffix(".dist"), namespace="known")
    modules = [ClassModule.from_folder(one.folder) for one in made.distributions]
    known = read_scores(modules, images.known.images)
    unknown = {kind: read_scores(modules, one) for kind, one in images.unknown.items()}
    log_odds = threshold(modules, range(len(modules)))
    told = []
    for field in ("published", "before"):
        others = {kind: getattr(one, field) for kind, one in unknown.items()}
        found = measured(getattr(known, field), others, log_odds if field == "published" else None)
        near = found.auroc.pop(NEAR)
        told += [near, statistics.mean(found.auroc.values())]
        if found.false_rejections is not None:
            rejected = found.false_rejections
    shares = accuracy(outputs, labels), accuracy(known.published, labels), *told, rejected
    cells = [name or "its classes", str(len(run.metrics())), f"{seconds:.0f}"]
    return cells + [f"{100 * share:.1f}" for share in shares]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--mnist", default="mnist")
    parser.add_argument("--method", choices=list(EPOCHS), default="views")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--n-train", type=int, default=10_000, help="training images")
    parser.add_argument("--n-test", type=int, default=10_000, help="test images at most")
    parser.add_argument("-n", type=int, default=1000, help="images of each kind of no class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    images = images_for(options)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for name in EPOCHS[options.method]:
        print(f"| {' | '.join(row(images, name, options))} |", flush=True)
    print(
        f"\none seed, {options.seed}; {len(images.training):,} training images, "
        f"{len(images.known):,} known test images, {len(images.unknown[NEAR]):,} near, "
        f"{options.n:,} of each kind of far"
    )


if __name__ == "__main__":
    main()
