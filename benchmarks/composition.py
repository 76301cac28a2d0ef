"""What composing gives beside what others do.

`replace`: one class of a weak network is scored by another network's module, by three protocols on
the same draws. A draw is some labeled images of each class out of the test split, which the first
two protocols are fitted on; all are measured on the rest of it. `min-max` brings every output to
[0, 1] by its least and largest value on the draw; `linear` fits one linear layer over the outputs,
with the module's in the place of the class's; `log-odds` is `modpm patch`, which takes none of
the draw: one slope and one intercept for the network, and the module's own calibration, of
held-out training images. Modules keep every kernel of the network that they are of.

`overfit` trains a weak network of the third kind, beside one that is trained too briefly and one
that is too small: long, on few images, none of them mirrored.

Usage:
    python benchmarks/composition.py overfit --data cifar10 -o RUN
    python benchmarks/composition.py replace RUN... --data cifar10 --weights resnet20.safetensors \
        --arch resnet20 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from modpm.core.calibrations.calibration import Examples
from modpm.core.calibrations.platt import Platt
from modpm.core.composition.linear_layer import fit_layer
from modpm.core.data import aligned, load_data
from modpm.core.origins.origin import OriginNetwork
from modpm.core.origins.trained_network import Particulars, trained_network
from modpm.core.training.loop import train

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = """\
| network | protocol | recall of the class | least gain of a class | classes that gain | \
most lost by another class | others, mean | accuracy | least and largest gain of a draw |
|---|---|---|---|---|---|---|---|---|"""


class Outputs(NamedTuple):
    """What two networks say of images.

    Attributes:
        weak, strong: Logits of both.
        scores: Of the weak network's classes, as log-odds.
        modules: Of the strong network's modules, as log-odds.
        truth: The class of each image.

    Shapes:
        weak, strong, scores, modules: (N, n_classes); truth: (N,)
    """

    weak: Tensor
    strong: Tensor
    scores: Tensor
    modules: Tensor
    truth: Tensor

    def select(self, images: Tensor) -> Outputs:
        """Return what is said of some images."""
        return Outputs(*(part[images] for part in self))


def min_max(draw: Outputs, rest: Outputs, target: int) -> Tensor:
    """Return each image's label where every output is brought to [0, 1]."""
    seen, given = _with_target(draw, target), _with_target(rest, target)
    least, most = seen.min(0).values, seen.max(0).values
    return ((given - least) / (most - least)).argmax(1)


def linear(draw: Outputs, rest: Outputs, target: int) -> Tensor:
    """Return each image's label by one linear layer over the outputs, as `--calibrate` fits."""
    seen, given = _with_target(draw, target), _with_target(rest, target)
    return fit_layer(seen.double(), draw.truth).scores(given.double()).argmax(1)


def log_odds(_draw: Outputs, rest: Outputs, target: int) -> Tensor:
    """Return each image's label by log-odds against log-odds."""
    scores = rest.scores.clone()
    scores[:, target] = rest.modules[:, target]
    return scores.argmax(1)


def _with_target(outputs: Outputs, target: int) -> Tensor:
    logits = outputs.weak.clone()
    logits[:, target] = outputs.strong[:, target]
    return logits


PROTOCOLS = {"min-max": min_max, "linear": linear, "log-odds": log_odds}


def draws(truth: Tensor, n_a_class: int, n_draws: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Give which images are drawn, so many of each class, and which are left."""
    for seed in range(n_draws):
        chance = torch.rand(len(truth), generator=torch.Generator().manual_seed(seed))
        order = chance.argsort()
        drawn = torch.cat(
            [order[truth[order] == label][:n_a_class] for label in range(int(truth.max()) + 1)]
        )
        is_drawn = torch.zeros(len(truth), dtype=torch.bool)
        is_drawn[drawn] = True
        yield drawn, (~is_drawn).nonzero().squeeze(1)


def recalls(labels: Tensor, truth: Tensor, n_classes: int) -> Tensor:
    """Return the share of the images of each class that got it; (n_classes,), in percent."""
    hits = torch.bincount(truth[labels == truth], minlength=n_classes)
    return 100 * hits / torch.bincount(truth, minlength=n_classes)


def module_scores(origin: OriginNetwork, logits: Tensor) -> Tensor:
    """Return log-odds of modules that keep every kernel of a network."""

    def examples(of: Tensor, is_class: Tensor) -> Examples:
        return Examples(of.T.new_zeros(*of.T.shape, 0), of.T, is_class)

    labels = origin.validation.labels
    is_class = torch.nn.functional.one_hot(labels, logits.shape[1]).bool().T
    platt = Platt()
    fitted = platt.fit(examples(origin.validation_logits, is_class))
    unused = torch.zeros(logits.T.shape, dtype=torch.bool)
    return platt.scores(fitted, examples(logits, unused)).T.float()


class Change(NamedTuple):
    """What replacing each class changed.

    Attributes:
        before: Recall of each class.
        after: The same, where the class of the second dimension is replaced.

    Shapes:
        before: (n_draws, n_classes); after: (n_draws, n_classes, n_classes)
    """

    before: Tensor
    after: Tensor

    def row(self) -> str:
        """Return the cells of a row, of points of recall."""
        n_draws, n = self.before.shape
        change = self.after - self.before[:, None]
        gains = change.diagonal(dim1=1, dim2=2)
        of_classes, of_draws = gains.mean(0), gains.mean(1)
        others = change[:, ~torch.eye(n, dtype=torch.bool)].view(n_draws, n, n - 1)
        before = float(self.before.mean())
        cells = [
            f"{before:.1f} -> {before + float(gains.mean()):.1f}",
            f"{of_classes.min():+.1f}",
            f"{int((of_classes > 0).sum())} of {n}",
            f"{others.mean(0).min():+.1f}",
            f"{others.mean():+.2f}",
            f"{before:.1f} -> {self.after.mean():.1f}",
            f"{of_draws.min():+.1f}, {of_draws.max():+.1f} (sd {of_draws.std():.2f})",
        ]
        return " | ".join(cells)


def measure(protocol: str, outputs: Outputs, n_a_class: int, n_draws: int) -> Change:
    """Replace each class on each draw by a protocol."""
    n = outputs.weak.shape[1]
    before, after = [], []
    for drawn, left in draws(outputs.truth, n_a_class, n_draws):
        draw, rest = outputs.select(drawn), outputs.select(left)
        before.append(recalls(rest.weak.argmax(1), rest.truth, n))
        labels = [PROTOCOLS[protocol](draw, rest, target) for target in range(n)]
        after.append(torch.stack([recalls(one, rest.truth, n) for one in labels]))
    return Change(torch.stack(before), torch.stack(after))


def compare(arguments: argparse.Namespace) -> None:
    """Print the table of `replace`."""
    began = time.process_time()
    said = Particulars(
        data=arguments.data,
        arch=arguments.arch,
        mean=[float(part) for part in arguments.mean.split(",")],
        std=[float(part) for part in arguments.std.split(",")],
    )
    strong = OriginNetwork(trained_network(arguments.weights, said))
    test = aligned(load_data(arguments.data, "test"), strong.classes)
    chance = torch.rand(len(test), generator=torch.Generator().manual_seed(0))
    test = test.select(chance.argsort()[: arguments.images])
    strong_logits = strong.logits(test)
    modules = module_scores(strong, strong_logits)
    print(
        f"n={len(test):,} test images, {arguments.draws} draws of {arguments.per_class} images a "
        f"class, seeds 0 to {arguments.draws - 1}; the modules' network: "
        f"{100 * (strong_logits.argmax(1) == test.labels).double().mean():.1f} %\n\n{HEADER}"
    )
    for run in arguments.runs:
        weak = OriginNetwork(trained_network(run, Particulars()))
        logits = weak.logits(test)
        slope, intercept = weak.logit_calibration
        scores = slope * logits + intercept
        outputs = Outputs(logits, strong_logits, scores, modules, test.labels)
        for protocol in PROTOCOLS:
            change = measure(protocol, outputs, arguments.per_class, arguments.draws)
            print(f"| {Path(run).name} | {protocol} | {change.row()} |", flush=True)
    print(f"\n{time.process_time() - began:.0f} seconds of processor time")


def few(data: str, n_a_class: int) -> tuple[dict[str, tuple[Tensor, Tensor]], tuple[str, ...]]:
    """Return so many training images of each class, drawn, all test images, and the classes."""
    train, test = load_data(data, "train"), load_data(data, "test")
    drawn, _ = next(draws(train.labels, n_a_class, 1))
    test = aligned(test, train.classes)
    splits = {"train": train.select(drawn), "test": test}
    return {name: (one.images, one.labels) for name, one in splits.items()}, train.classes


def overfit(arguments: argparse.Namespace) -> None:
    """Train a network long on few images."""
    began = time.process_time()
    images, classes = few(arguments.data, arguments.per_class)
    run = train(
        images,
        arguments.arch,
        classes=classes,
        output=arguments.output,
        width=arguments.width,
        epochs=arguments.epochs,
        method="plain",
        flip=False,
    )
    origin = OriginNetwork(trained_network(run, Particulars()))
    own = run.training_data()
    known = 100 * (origin.logits(own).argmax(1) == own.labels).double().mean()
    print(
        f"{arguments.output}: {len(own):,} images, {arguments.epochs} epochs; accuracy "
        f"{known:.1f} % on them, {100 * (origin.test_accuracy or 0):.1f} % on the test split; "
        f"{time.process_time() - began:.0f} seconds of processor time"
    )


def main() -> None:
    """Run one table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    tables = parser.add_subparsers(required=True)
    one = tables.add_parser("replace", help="one class of a weak network, by three protocols")
    one.add_argument("runs", nargs="+", metavar="RUN", help="weak networks")
    one.add_argument("--data", required=True)
    one.add_argument("--weights", required=True, help="the modules' network")
    one.add_argument("--arch", required=True, help="of the weights")
    one.add_argument("--mean", required=True)
    one.add_argument("--std", required=True)
    one.add_argument("--draws", type=int, default=20)
    one.add_argument("--per-class", type=int, default=10, help="labeled images of a draw")
    one.add_argument("--images", type=int, default=10_000, help="test images at most")
    one.set_defaults(table=compare)
    weak = tables.add_parser("overfit", help="train a weak network: long, on few images")
    weak.add_argument("--data", required=True)
    weak.add_argument("--arch", default="small_vgg")
    weak.add_argument("--width", type=float, default=0.5)
    weak.add_argument("--per-class", type=int, default=100, help="training images of a class")
    weak.add_argument("--epochs", type=int, default=150)
    weak.add_argument("-o", dest="output", required=True, metavar="RUN")
    weak.set_defaults(table=overfit)
    arguments = parser.parse_args()
    arguments.table(arguments)


if __name__ == "__main__":
    main()
