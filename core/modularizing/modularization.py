"""What modularizing gave: the distributions, and how modular the network is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import mean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from modpm.core.shown_text import Percent, Points
from modpm.core.training.evidence import Cutoff

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from modpm.core.costs.making import Costs
    from modpm.core.formats.distribution import Distribution
    from modpm.core.formats.manifest import Manifest, Origin
    from modpm.core.modularizing.choice import TradeOff


TILE = 512
"""Rows of a tile of the pairwise matrix, which is never held whole and stays in a CPU's caches."""


def jaccard_matrix(first: Tensor, second: Tensor) -> Tensor:
    """Return the Jaccard index of every set of `first` with every set of `second`.

    Two empty sets are equal, so their index is 1.

    Shapes:
        first: (M, K), boolean, a set a row.
        second: (N, K), boolean.
        returns: (M, N)
    """
    a, b = first.float(), second.float()
    sizes = a.sum(1)[:, None] + b.sum(1)
    intersection = a @ b.T
    index = intersection / (sizes - intersection).clamp_(min=1)
    return index.masked_fill_(sizes == 0, 1.0)


def mean_pairwise_jaccard(sets: Tensor, tile: int = TILE) -> float:
    """Return the mean Jaccard index of all pairs i < j of sets; 1 where there is no pair.

    Exact: the pairwise matrix is made tile by tile, by matrix products of zeros and ones.

    Args:
        sets: One set a row.
        tile: Rows and columns of a tile.

    Shapes:
        sets: (N, K), boolean.
    """
    n = len(sets)
    if n < 2:  # noqa: PLR2004 -- a pair has two
        return 1.0
    tiles = torch.split(sets, tile)
    total = 0.0
    for i, rows in enumerate(tiles):
        total += _sum_above_diagonal(jaccard_matrix(rows, rows))
        total += sum(_sum(jaccard_matrix(rows, columns)) for columns in tiles[i + 1 :])
    return total / (n * (n - 1) / 2)


def _sum(values: Tensor) -> float:
    return float(values.sum(dtype=torch.float64))


def _sum_above_diagonal(values: Tensor) -> float:
    return _sum(values.triu(diagonal=1))


def cohesion(sample_masks: Callable[[int], Tensor], masks: Mapping[str, Tensor]) -> float:
    """Return how much the samples of one class activate the same kernels, averaged over classes.

    It is the mean Jaccard index between the masks of all pairs of samples of a class, over the
    kernels that the class retains in the layers that have a mask generator.

    Args:
        sample_masks: Gives the masks of all samples of one class, layers side by side in the
            order of `masks`.
        masks: Module masks, by layer.

    Shapes:
        sample_masks: (n, K) for each class, boolean; K the kernels of all layers.
        masks: (n_classes, K) each, boolean.

    Source:
        Modularizing while Training (arXiv 2306.09376), cohesion.
        Departs: samples that both activate none of the retained kernels have index 1, and so has
        a class of one sample, where there is nothing to average.
    """
    joined = join(masks)
    indices = range(len(joined))
    return sum(mean_pairwise_jaccard(sample_masks(i)[:, joined[i]]) for i in indices) / len(joined)


def coupling(masks: Mapping[str, Tensor]) -> float:
    """Return the mean Jaccard index between the module masks of different classes.

    Args:
        masks: Module masks, by layer.

    Shapes:
        masks: (n_classes, K) each, boolean.

    Source:
        Modularizing while Training (arXiv 2306.09376), coupling.
        Departs: a network of one class has coupling 0, where there is nothing to average.
    """
    joined = join(masks)
    return mean_pairwise_jaccard(joined) if len(joined) > 1 else 0.0


def kernel_overlap(masks: Mapping[str, Tensor]) -> Tensor:
    """Return the Jaccard index between the module masks of every two classes.

    Shapes:
        masks: (n_classes, K) each, boolean.
        returns: (n_classes, n_classes), symmetric, 1 on the diagonal.
    """
    joined = join(masks)
    return jaccard_matrix(joined, joined)


def join(masks: Mapping[str, Tensor]) -> Tensor:
    """Put the module masks of all layers side by side; (n_classes, K) each to (n_classes, ΣK)."""
    return torch.cat(list(masks.values()), dim=1)


def retention_by_layer(
    retained: Sequence[Mapping[str, Sequence[int]]], kernels: Mapping[str, int]
) -> Tensor:
    """Return the share of each convolution's kernels that each class retains.

    Args:
        retained: Retained kernels of each class, by convolution.
        kernels: How many kernels each convolution has.

    Shapes:
        returns: (n_classes, n_convolutions)
    """
    return torch.tensor([[len(one[conv]) / n for conv, n in kernels.items()] for one in retained])


_MEASURED = ("precision", "recall", "average_precision")
_COUNTED = ("n_parameters", "size_bytes", "macs")


@dataclass(frozen=True)
class Modularization:
    """One distribution for each class of a modular network, and what was measured.

    Attributes:
        folder: Where the distributions are, each in a folder of its own.
        distributions: In the order of the network's classes.
        masks: The module masks, by convolution.
        cutoff: What said which kernels are retained.
        cohesion: How much samples of one class use the same kernels; None where it is unknown.
        coupling: How much classes use each other's.
        curve: What every candidate gives, where the cutoff was chosen; else empty.
        origin_balanced_accuracy: Of the network on the test images, where there are any: the mean
            of the accuracy over the classes.
        costs: What it took, beside training a network anew.

    Shapes:
        masks: (n_classes, K) each, boolean.
    """

    folder: Path
    distributions: tuple[Distribution, ...]
    masks: dict[str, Tensor]
    cutoff: Cutoff
    cohesion: float | None
    coupling: float
    curve: tuple[TradeOff, ...] = ()
    origin_balanced_accuracy: float | None = None
    costs: Costs | None = None

    @property
    def manifests(self) -> list[Manifest]:
        """The manifests, in the order of the network's classes."""
        return [distribution.module_manifest for distribution in self.distributions]

    @property
    def origin(self) -> Origin:
        """The modular network."""
        return self.manifests[0].origin

    @property
    def kernel_retention_rate(self) -> float:
        """Mean over the class modules."""
        return mean(manifest.kernel_retention_rate for manifest in self.manifests)

    @cached_property
    def overlap(self) -> Tensor:
        """Jaccard index between the module masks of every two classes; (n_classes, n_classes)."""
        return kernel_overlap(self.masks)

    @cached_property
    def retention(self) -> Tensor:
        """Share of each convolution's kernels that each class retains; (n_classes, n_convs)."""
        kernels = self.origin.graph.kernels()
        retained = [
            {conv: manifest.retained[conv].retained for conv in kernels}
            for manifest in self.manifests
        ]
        return retention_by_layer(retained, kernels)

    def summary(self) -> str:
        """Return in one line how it was cut, how modular it is and where that was measured."""
        cohesion = "" if self.cohesion is None else f"cohesion {self.cohesion:.3f}, "
        return (
            f"{self.cutoff}: mean kernel retention rate {self.kernel_retention_rate:.3f}, "
            f"{cohesion}coupling {self.coupling:.3f}, measured on "
            f"{self.manifests[0].metrics[0].split}"
        )

    def to_json(self, relative_to: Path | None = None) -> dict[str, Any]:
        """Return all of it as JSON.

        Args:
            relative_to: The folder that the paths of the modules are given from.
        """
        return {
            "modules": [_module_record(one, relative_to) for one in self.distributions],
            "origin": {
                "digest": self.origin.digest,
                "accuracy": self.origin.accuracy,
                "balanced_accuracy": self.origin_balanced_accuracy,
                **{field: getattr(self.origin, field) for field in _COUNTED},
            },
            "kernel_retention_rate": self.kernel_retention_rate,
            "cohesion": self.cohesion,
            "coupling": self.coupling,
            "threshold": self.cutoff.threshold,
            "retention": self.cutoff.retention,
            "curve": [asdict(point) for point in self.curve],
        }


def _module_record(distribution: Distribution, relative_to: Path | None) -> dict[str, Any]:
    manifest, folder = distribution.module_manifest, distribution.folder
    measured = manifest.metrics[0]
    return {
        "name": manifest.name,
        "version": manifest.version,
        "path": str(folder if relative_to is None else folder.relative_to(relative_to)),
        "digest": distribution.digest,
        "kernel_retention_rate": manifest.kernel_retention_rate,
        **{field: getattr(manifest, field) for field in _COUNTED},
        **{field: getattr(measured, field) for field in _MEASURED},
        "split": measured.split,
    }


MODULE_COLUMNS = (
    "module",
    "version",
    "retention rate",
    "parameters",
    "multiply-accumulates",
    "precision",
    "recall",
    "average precision",
)


def module_rows(made: Modularization) -> list[list[object]]:
    """Return a row for each class module, in the columns of `MODULE_COLUMNS`."""
    return [
        [
            manifest.name,
            manifest.version,
            Percent(manifest.kernel_retention_rate),
            manifest.n_parameters,
            manifest.macs,
            Percent(manifest.metrics[0].precision),
            Percent(manifest.metrics[0].recall),
            manifest.metrics[0].average_precision,
        ]
        for manifest in made.manifests
    ]


CURVE_COLUMNS = (
    "cutoff",
    "retention rate",
    "parameters",
    "fused accuracy",
    "independent accuracy",
    "composed as",
    "points lost",
    "chosen",
)


def curve_rows(made: Modularization) -> list[list[object]]:
    """Return a row for each cutoff that was tried, in the columns of `CURVE_COLUMNS`."""
    return [
        [
            str(Cutoff(point.threshold, point.retention)),
            Percent(point.kernel_retention_rate),
            round(point.n_parameters),
            Percent(point.fused_accuracy),
            Percent(point.independent_accuracy),
            point.strategy,
            Points(point.accuracy_loss),
            "yes" if Cutoff(point.threshold, point.retention) == made.cutoff else "",
        ]
        for point in made.curve
    ]


def render_report(made: Modularization) -> str:
    """Return the tables for people, in Markdown."""
    origin = made.origin
    accuracy = "not measured" if origin.accuracy is None else str(Percent(origin.accuracy))
    if made.origin_balanced_accuracy is not None:
        accuracy += f" (balanced {Percent(made.origin_balanced_accuracy)})"
    text = (
        f"# Class modules of {origin.architecture}\n\n"
        f"Origin `{origin.digest}`: accuracy {accuracy}, {origin.n_parameters:,} parameters, "
        f"{origin.macs:,} multiply-accumulates an image.\n\n"
        f"Cut by {made.summary()}.\n\n"
        f"{_table(MODULE_COLUMNS, module_rows(made))}"
    )
    if made.curve:
        text += f"\n## Sizes that were tried\n\n{_table(CURVE_COLUMNS, curve_rows(made))}"
    return text


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *([_cell(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float) and not isinstance(value, Percent | Points):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
