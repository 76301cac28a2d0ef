"""What modularizing gave: the distributions, and how modular the network is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import mean
from typing import TYPE_CHECKING, Any

from modpm.core.modularizing.metrics import kernel_overlap, retention_by_layer
from modpm.core.training.evidence import Criterion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from modpm.core.formats.distribution import Distribution
    from modpm.core.formats.manifest import Manifest, Origin
    from modpm.core.modularizing.choice import TradeOff

_MEASURED = ("precision", "recall", "average_precision")
_COUNTED = ("n_parameters", "size_bytes", "macs")


@dataclass(frozen=True)
class Modularization:
    """One distribution for each class of a modular network, and what was measured.

    Attributes:
        folder: Where the distributions are, each in a folder of its own.
        distributions: In the order of the network's classes.
        masks: The module masks, by convolution.
        criterion: What said which kernels are retained.
        cohesion: How much samples of one class use the same kernels; None where it is unknown.
        coupling: How much classes use each other's.
        curve: What every candidate gives, where the criterion was chosen; else empty.

    Shapes:
        masks: (n_classes, K) each, boolean.
    """

    folder: Path
    distributions: tuple[Distribution, ...]
    masks: dict[str, Tensor]
    criterion: Criterion
    cohesion: float | None
    coupling: float
    curve: tuple[TradeOff, ...] = ()

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
            f"{self.criterion}: mean kernel retention rate {self.kernel_retention_rate:.3f}, "
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
                **{field: getattr(self.origin, field) for field in _COUNTED},
            },
            "kernel_retention_rate": self.kernel_retention_rate,
            "cohesion": self.cohesion,
            "coupling": self.coupling,
            "threshold": self.criterion.threshold,
            "retention": self.criterion.retention,
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
            manifest.kernel_retention_rate,
            manifest.n_parameters,
            manifest.macs,
            *(getattr(manifest.metrics[0], field) for field in _MEASURED),
        ]
        for manifest in made.manifests
    ]


CURVE_COLUMNS = (
    "criterion",
    "retention rate",
    "parameters",
    "fused accuracy",
    "independent accuracy",
    "composed as",
    "points lost",
    "chosen",
)


def curve_rows(made: Modularization) -> list[list[object]]:
    """Return a row for each criterion that was tried, in the columns of `CURVE_COLUMNS`."""
    return [
        [
            str(Criterion(point.threshold, point.retention)),
            point.kernel_retention_rate,
            round(point.n_parameters),
            point.fused_accuracy,
            point.independent_accuracy,
            point.strategy,
            point.accuracy_loss,
            "yes" if Criterion(point.threshold, point.retention) == made.criterion else "",
        ]
        for point in made.curve
    ]


def render_report(made: Modularization) -> str:
    """Return the tables for people, in Markdown."""
    origin = made.origin
    accuracy = "not measured" if origin.accuracy is None else f"{origin.accuracy:.2%}"
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
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
