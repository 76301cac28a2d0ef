"""Measuring again what a composition was recorded at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modpm.core.classifiers.classifier import Classifier
from modpm.core.classifiers.evaluation import evaluate
from modpm.core.errors import ModpmError
from modpm.core.shown_text import Percent, Points
from modpm.core.training.device import AUTO, choose_device
from modpm.registry.installing.installed import installed
from modpm.verbs.judging import open_subject, prepared_images

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from modpm.core.classifiers.evaluation import Evaluation
    from modpm.core.formats.measurement import Measurement

N_STANDARD_ERRORS = 2


@dataclass(frozen=True)
class AccuracyCheck:
    """An accuracy that was recorded, and what it is now.

    Attributes:
        subject: The composition.
        recorded: What it was recorded at.
        measured: What was measured now.
        has_same_images: Whether the images are those of the record.
    """

    subject: str
    recorded: Measurement
    measured: Evaluation
    has_same_images: bool

    @property
    def moved(self) -> float:
        """By how many points the accuracy moved."""
        return 100 * (self.measured.accuracy - self.recorded.accuracy)

    @property
    def allowed(self) -> float:
        """Return two standard errors of the difference of two shares, in points.

        Source:
            The pooled test of two proportions: both are taken as samples of one share.
        """
        n, m = self.recorded.n, self.measured.n
        share = (n * self.recorded.accuracy + m * self.measured.accuracy) / (n + m)
        variance = share * (1 - share) * (1 / n + 1 / m)
        return 100 * N_STANDARD_ERRORS * math.sqrt(max(variance, 0.0))

    @property
    def has_moved(self) -> bool:
        """Whether it moved by more than chance would."""
        return abs(self.moved) > self.allowed + 1e-9

    def __str__(self) -> str:
        """Say the numbers."""
        images = "the same images" if self.has_same_images else "other images"
        return (
            f"{self.subject}: {Percent(self.recorded.accuracy)} of {self.recorded.n:,} images "
            f"recorded, {Percent(self.measured.accuracy)} of {self.measured.n:,} now ({images}); "
            f"moved by {Points(self.moved)} points, two standard errors are {Points(self.allowed)}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields that scripts rely on."""
        return {
            "subject": self.subject,
            "recorded": {"accuracy": self.recorded.accuracy, "n": self.recorded.n},
            "measured": {"accuracy": self.measured.accuracy, "n": self.measured.n},
            "has_same_images": self.has_same_images,
            "moved_points": self.moved,
            "allowed_points": self.allowed,
        }


def verify_accuracy(
    data: str,
    classifiers: Sequence[str | os.PathLike[str]] = (),
    *,
    device: str = AUTO,
    project: str | os.PathLike[str] = ".",
    report: Callable[[str], None] = lambda _sentence: None,
) -> list[AccuracyCheck]:
    """Measure compositions again, and compare what they were recorded at.

    The record of the same images is taken, or the newest where there is none of them; its split is
    the one that is read.

    Args:
        data: As for `evaluate`.
        classifiers: Folders of composed classifiers, or installed compositions; all installed
            compositions where there are none.
        device: As for `evaluate`.
        project: A folder in the project.
        report: Is told what was done to the images, in sentences.

    Raises:
        ModpmError: An accuracy moved by more than two standard errors (`accuracy-moved`); there is
            no composition, or nothing is recorded of one (`nothing-recorded`); what `evaluate`
            raises.
    """
    subjects = [*map(str, classifiers)] or [
        str(one.name) for one in installed(project) if one.is_composition
    ]
    if not subjects:
        raise _nothing_recorded("no composition is installed", str(Path(project).absolute()))
    where = choose_device(device)
    checks = []
    for subject in subjects:
        opened = open_subject(subject, project)
        if not isinstance(opened, Classifier) or opened.composition is None:
            raise _nothing_recorded("it is no composition", subject)
        if not opened.composition.measured:
            raise _nothing_recorded("nothing was measured", subject)
        checks.append(_check(subject, opened.to(where), opened.composition.measured, data, report))
    if any(check.has_moved for check in checks):
        raise ModpmError(
            "the accuracy is not what was recorded",
            code="accuracy-moved",
            where=data,
            why="\n".join(str(check) for check in checks if check.has_moved),
            hint="if that is as it should be, `modpm evaluate CLF DATA --record` records it anew",
        )
    return checks


def _check(
    subject: str,
    classifier: Classifier,
    measured: Sequence[Measurement],
    data: str,
    report: Callable[[str], None],
) -> AccuracyCheck:
    newest = measured[-1]
    images = prepared_images(classifier, data, newest.split)
    for note in images[0].notes:
        report(note)
    same = [one for one in measured if one.fingerprint == images[0].fingerprint]
    recorded = (same or [newest])[-1]
    now = evaluate(classifier, images, open_set=recorded.open_set)
    return AccuracyCheck(subject, recorded, now, bool(same))


def _nothing_recorded(why: str, where: str) -> ModpmError:
    return ModpmError(
        "there is no accuracy that could be compared",
        code="nothing-recorded",
        where=where,
        why=why,
        hint="run `modpm evaluate CLF DATA --record` first",
    )
