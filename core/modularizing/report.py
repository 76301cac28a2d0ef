"""What a modularization gave, as one page for people: `report.html`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from modpm.core.modularizing.modularization import (
    CURVE_COLUMNS,
    MODULE_COLUMNS,
    curve_rows,
    module_rows,
)
from modpm.core.origins.origin import TEST
from modpm.core.reports.page import Page
from modpm.core.reports.pictures import LARGEST_SIDE, grid, reliability, side_by_side
from modpm.core.shown_text import Percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from modpm.core.modularizing.fitting import Measured
    from modpm.core.modularizing.modularization import Modularization
    from modpm.core.origins.origin import OriginNetwork

N_BINS = 10
"""Of probabilities, from 0 to 1."""


def report_page(
    made: Modularization, origin: OriginNetwork, measured: Measured, told: Sequence[str]
) -> Page:
    """Return the report.

    Args:
        made: What there is.
        origin: The network that it was cut from.
        measured: What the modules say of images that decided nothing.
        told: What was said meanwhile.
    """
    page = Page(f"Class modules of {made.origin.architecture}, {origin.trained.data_set}")
    page.say(f"Cut by {made.summary()}.", *told)
    if len(origin.classes) > LARGEST_SIDE:
        page.say(f"Pictures show the first {LARGEST_SIDE} classes.")
    page.section("Class modules")
    page.table(MODULE_COLUMNS, module_rows(made))
    _kernels(page, made, origin)
    _confusion(page, origin, measured)
    _reliability(page, measured)
    if made.curve:
        page.section("Sizes that were tried")
        page.table(CURVE_COLUMNS, curve_rows(made))
    if made.costs is not None:
        page.section("What it took")
        page.say(*made.costs.sentences())
    return page


def _kernels(page: Page, made: Modularization, origin: OriginNetwork) -> None:
    page.section("Retained kernels")
    page.say("The share of each layer's kernels that each class retains.")
    layers = list(made.origin.graph.kernels())
    retention = made.retention.tolist()
    page.picture(grid(retention, origin.classes, layers, "Share of kernels, by class and layer"))
    page.section("Overlap")
    page.say("The Jaccard index of the kernels that two classes retain: 1 where they are the same.")
    title = "Jaccard index of retained kernels, by two classes"
    page.picture(grid(made.overlap.tolist(), origin.classes, origin.classes, title))


def _confusion(page: Page, origin: OriginNetwork, measured: Measured) -> None:
    logits = origin.test_logits if measured.split == TEST else origin.validation_logits
    assert logits is not None  # of the images that modules were measured on
    pictures = {}
    for name, outputs in (("network", logits), ("modules side by side", measured.scores)):
        found = outputs.argmax(1)
        right = Percent(float((found == measured.labels).double().mean()))
        shares = confusion(measured.labels, found, len(origin.classes)).tolist()
        title = f"{name}: {right} are right"
        pictures[title] = grid(shares, origin.classes, origin.classes, title)
    page.section("Confusion, before and after")
    page.say(
        f"Which share of each class's images (a row) is named as each class (a column), on "
        f"{len(measured.labels):,} images of {measured.split}."
    )
    page.picture(side_by_side(pictures))


def confusion(labels: Tensor, found: Tensor, n_classes: int) -> Tensor:
    """Return which share of each class's images is named as each; zeros where a class has none.

    Shapes:
        labels, found: (N,) -> (n_classes, n_classes)
    """
    counts = torch.bincount(labels * n_classes + found, minlength=n_classes**2)
    counts = counts.view(n_classes, n_classes)
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


def _reliability(page: Page, measured: Measured) -> None:
    bins, error = reliability_of(measured.labels, measured.scores)
    page.section("How reliable scores are")
    page.say(
        "How often an image shows a class, over how likely the score of its module says that it "
        "does, with the share that the class has of these images; of all modules together. The "
        f"two differ by {100 * error:.2f} points on average.",
    )
    page.picture(reliability(bins, "Share of images over the probability that is said"))
    page.table(
        ("probability", "share that shows the class", "scores"),
        [(Percent(said), Percent(so), n) for said, so, n in bins],
    )


def reliability_of(labels: Tensor, scores: Tensor) -> tuple[list[tuple[float, float, int]], float]:
    """Return what scores say of images beside what is so, in bins, and how far it is off.

    Shapes:
        labels: (N,); scores: (N, n_classes), log-odds under even odds.

    Returns:
        For each bin that has scores the mean of the probabilities, the share that is so, and how
        many there are; and the mean of their differences over all scores.
    """
    is_class = labels[:, None] == torch.arange(scores.shape[1])
    share = is_class.double().mean(0)
    likely = torch.sigmoid(scores.double() + torch.logit(share))
    place = (likely * N_BINS).long().clamp(max=N_BINS - 1).flatten()
    n = torch.bincount(place, minlength=N_BINS)
    said, so = (
        torch.bincount(place, weights=values.double().flatten(), minlength=N_BINS)
        for values in (likely, is_class)
    )
    error = float((said - so).abs().sum() / n.sum())
    bins = [(float(said[i] / n[i]), float(so[i] / n[i]), int(n[i])) for i in range(N_BINS) if n[i]]
    return bins, error
