"""None of the above: how well compositions tell their images from others.

Some classes of CIFAR-10 are drawn and their modules composed; known
are test images of these, unknown are those of the classes that were not drawn, and images of no
class: MNIST, digits on color as of house numbers, and noise. In the table are AUROC of the highest
score, and which share of the known images the threshold of `--reject auto` rejects, as means and
standard deviations over the draws. The network of all classes has seen images of each class that
was not drawn, as others than those; images of no class it has not. Beside the modules as they are
published stand their scores before anything is taken off for unusual images (ADR 24).

Usage:
    modpm modularize RUN --namespace cifar10 -o DIST
    python benchmarks/unknown.py DIST --data cifar10 --mnist mnist
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- torch's own name for it

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.classifiers.evaluation import auroc
from modpm.core.classifiers.preprocessing import unit_pixels
from modpm.core.composition.compose import compose_modules
from modpm.core.data import load_data
from modpm.core.formats.manifest import OwnScores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SIDE = 32
BATCH_SIZE = 100
HELD_OUT_CLASSES = "held-out classes"


# --- images of no class -----------------------------------------------------------------------


def images_of_no_class(mnist: str, n: int, seed: int) -> dict[str, Tensor]:
    """Return images that show no class of CIFAR-10; (n, 3, 32, 32), bytes, each."""
    chance = torch.Generator().manual_seed(seed)
    digits = load_data(mnist, "test", image_size=(SIDE, SIDE), channels=3).images[: 3 * n]
    uniform = torch.rand(n, 3, SIDE, SIDE, generator=chance)
    gaussian = 0.5 + 0.25 * torch.randn(n, 3, SIDE, SIDE, generator=chance)
    return {
        "MNIST": digits[:n],
        "digits on color": as_bytes(on_color(digits[:, :1].float() / 255, chance)),
        "uniform noise": as_bytes(uniform),
        "Gaussian noise": as_bytes(gaussian),
        "blurred noise": as_bytes(blurred_noise(n, chance)),
    }


def as_bytes(images: Tensor) -> Tensor:
    """Return numbers in [0, 1] as bytes; what is beyond is cut off."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def blurred(images: Tensor, side: int) -> Tensor:
    """Return images averaged over squares, borders reflected."""
    margin = side // 2
    padded = F.pad(images, (margin, margin, margin, margin), mode="reflect")
    return F.avg_pool2d(padded, side, stride=1)


def blurred_noise(n: int, chance: torch.Generator) -> Tensor:
    """Return noise blurred over 3, 5 and 9 pixels in turn, of the contrast of photos."""
    parts = []
    for i, side in enumerate((3, 5, 9)):
        n_own = len(range(i, n, 3))
        noise = torch.rand(n_own, 3, SIDE, SIDE, generator=chance)
        smooth = blurred(blurred(noise, side), side)
        mean, std = (f(smooth, (1, 2, 3), keepdim=True) for f in (torch.mean, torch.std))
        parts.append(0.5 + 0.25 * (smooth - mean) / std)
    return torch.cat(parts)


def on_color(digits: Tensor, chance: torch.Generator) -> Tensor:
    """Return digits of one color on another, as photos of house numbers show them.

    Neighbors are cut off at both sides; a little blurred, lit from one side, with a little noise.

    Shapes:
        digits: (3 n, 1, 32, 32), in [0, 1] → (n, 3, 32, 32)
    """
    middle, left, right = digits.chunk(3)
    column = torch.arange(SIDE)
    neighbors = torch.maximum(
        torch.roll(left, -20, 3) * (column < 12),  # noqa: PLR2004 -- pixels
        torch.roll(right, 20, 3) * (column >= 20),  # noqa: PLR2004 -- pixels
    )
    shape = torch.maximum(middle, neighbors)
    n = len(shape)
    ground, ink = torch.rand(2, n, 3, 1, 1, generator=chance)
    is_near = (ground - ink).abs().mean(1, keepdim=True) < 0.25  # noqa: PLR2004 -- of contrast
    ink = torch.where(is_near, (ground + 0.5) % 1, ink)
    slope = torch.linspace(-0.08, 0.08, SIDE)
    across, down = torch.randn(2, n, 1, 1, 1, generator=chance)
    light = across * slope + down * slope[:, None]
    image = blurred(ground * (1 - shape) + ink * shape + light, 3)
    return image + 0.02 * torch.randn(n, 3, SIDE, SIDE, generator=chance)


# --- scores -----------------------------------------------------------------------------------


class Scores(NamedTuple):
    """The scores that modules give images, (N, n_modules) each.

    Attributes:
        published: As they are.
        before: Before anything was taken off for unusual images.
    """

    published: Tensor
    before: Tensor


@torch.inference_mode()
def read_scores(modules: Sequence[ClassModule], images: Tensor) -> Scores:
    """Return what each module says of images by itself."""
    published, before = [], []
    for module in modules:
        score, penalty = module.manifest.output.score, module.manifest.output.penalty
        nodes = (score, penalty) if isinstance(penalty, str) else (score,)
        values = [
            module.network.run(module.preprocessing(unit_pixels(batch)), nodes)
            for batch in images.split(BATCH_SIZE)
        ]
        own = torch.cat([one[score] for one in values])
        published.append(own)
        before.append(own + torch.cat([one[nodes[-1]] for one in values]) if nodes[1:] else own)
    return Scores(torch.cat(published, 1), torch.cat(before, 1))


class Draw(NamedTuple):
    """What one draw of classes measured: AUROC by what is unknown, and false rejections."""

    auroc: dict[str, float]
    false_rejections: float | None


def measured(known: Tensor, unknown: Mapping[str, Tensor], log_odds: float | None) -> Draw:
    """Measure how well the highest score tells known images.

    Shapes:
        known, unknown: (N, k), the scores of the modules that are composed.
    """
    own = known.max(1).values
    told = {}
    for name, scores in unknown.items():
        other = scores.max(1).values
        is_known = torch.arange(len(own) + len(other)) < len(own)
        told[name] = auroc(torch.cat([own, other]), is_known)
    rejected = None if log_odds is None else float((own < log_odds).double().mean())
    return Draw(told, rejected)


# --- the table --------------------------------------------------------------------------------


def print_unknown(options: argparse.Namespace) -> None:
    """Print the table of none of the above."""
    started = time.process_time()
    paths = sorted(path.parent for path in options.distributions.glob("*/manifest.json"))
    modules = [ClassModule.from_folder(path) for path in paths]
    classes = [module.label.partition("/")[2] for module in modules]
    test = load_data(options.data, "test", image_size=(SIDE, SIDE), channels=3)
    test = test.select(torch.arange(min(options.n_test, len(test))))
    place = torch.tensor([classes.index(name) for name in test.classes])
    labels = place[test.labels]
    others = images_of_no_class(options.mnist, options.n, options.seed)
    images = {"test": test.images, **others}
    scores = {name: read_scores(modules, one) for name, one in images.items()}
    print(header(others))
    chance = random.Random(options.seed)  # noqa: S311 -- no secret
    for size in options.sizes:
        draws = [sorted(chance.sample(range(len(modules)), size)) for _ in range(options.draws)]
        for name, rows in ways(modules, draws, labels, images, scores):
            print(row(name, size, rows), flush=True)
    print(
        f"\n{options.draws} draws of classes a row, seed {options.seed}; {len(labels):,} test "
        f"images, {options.n:,} of each kind of no class; {time.process_time() - started:.0f} "
        "seconds of processor time"
    )


def ways(
    modules: Sequence[ClassModule],
    draws: Sequence[Sequence[int]],
    labels: Tensor,
    images: Mapping[str, Tensor],
    scores: Mapping[str, Scores],
) -> Iterator[tuple[str, list[Draw]]]:
    """Give what is composed how, and what the draws measured."""
    for name, field in (("independent", "published"), ("before anything is taken off", "before")):
        rows = []
        for draw in draws:
            log_odds = threshold(modules, draw) if field == "published" else None
            own = {kind: getattr(one, field)[:, draw] for kind, one in scores.items()}
            rows.append(split_and_measured(own, labels, draw, log_odds))
        yield name, rows
    rows = []
    for draw in draws:
        classifier = compose_modules([modules[i] for i in draw], "fused")
        own = {kind: classifier.score_images(one) for kind, one in images.items()}
        rows.append(split_and_measured(own, labels, draw, None))
    yield "fused", rows


def threshold(modules: Sequence[ClassModule], draw: Sequence[int]) -> float | None:
    """Return the threshold of `--reject auto` as log-odds; None where nothing is published."""
    some = [modules[i] for i in draw]
    if not all(isinstance(one.manifest.own_scores, OwnScores) for one in some):
        return None
    reject = compose_modules(some, reject="auto").reject
    return float(torch.tensor(reject, dtype=torch.float64).logit())


def split_and_measured(
    scores: Mapping[str, Tensor], labels: Tensor, draw: Sequence[int], log_odds: float | None
) -> Draw:
    """Measure a draw: test images of its classes are known, the others not."""
    is_known = torch.isin(labels, torch.tensor(draw))
    others = {name: one for name, one in scores.items() if name != "test"}
    unknown = {HELD_OUT_CLASSES: scores["test"][~is_known], **others}
    return measured(scores["test"][is_known], unknown, log_odds)


def header(kinds: Mapping[str, Tensor]) -> str:
    """Return the first two lines of the table."""
    cells = ["classes", "composed", HELD_OUT_CLASSES, *kinds, "false rejections"]
    return f"| {' | '.join(cells)} |\n|{'---|' * len(cells)}"


def row(name: str, size: int, draws: Sequence[Draw]) -> str:
    """Return a line of the table, in percent."""
    told = [spread([draw.auroc[kind] for draw in draws]) for kind in draws[0].auroc]
    rejected = [draw.false_rejections for draw in draws if draw.false_rejections is not None]
    return f"| {' | '.join([str(size), name, *told, spread(rejected) if rejected else '—'])} |"


def spread(values: Sequence[float]) -> str:
    """Return the mean and the standard deviation in percent."""
    mean, deviation = 100 * statistics.mean(values), 100 * statistics.stdev(values)
    return f"{mean:.1f} ± {deviation:.1f}"


def main() -> None:
    """Print the table that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("distributions", type=Path, help="a folder of the modules of all classes")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--mnist", default="mnist")
    parser.add_argument("-n", type=int, default=1000, help="images of each kind of no class")
    parser.add_argument("--n-test", type=int, default=10_000, help="test images at most")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument(
        "--sizes", type=lambda text: [int(k) for k in text.split(",")], default=[2, 3, 5]
    )
    parser.add_argument("--seed", type=int, default=0)
    print_unknown(parser.parse_args())


if __name__ == "__main__":
    main()
