"""Writing down what a classifier was measured at: in its folder, and in a project's lockfile."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from modpm.core.classifiers import saving
from modpm.core.formats.measurement import ClassShare, Measurement
from modpm.registry.projects.measurements import (
    INSIDE,
    LockedMeasurement,
    MeasuredClass,
    keep_measurement,
)
from modpm.registry.projects.project import LOCK_FILE, Project

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from modpm.core.classifiers.classifier import Classifier
    from modpm.core.classifiers.evaluation import Evaluation
    from modpm.core.classifiers.recipe import Composition
    from modpm.core.data import ImageData


def record_measurement(
    folder: Path,
    classifier: Classifier,
    images: ImageData,
    measured: Evaluation,
    *,
    open_set: bool,
    project: str | os.PathLike[str],
) -> str:
    """Write down what a composed classifier was measured at.

    Args:
        folder: Its folder.
        classifier: It.
        images: What it was measured on.
        measured: What was measured.
        open_set: Whether images of other classes took part.
        project: A folder in the project.

    Returns:
        Where it stands now, as a sentence.

    Raises:
        ModpmError: `not-composed`; a file cannot be written; `invalid-lock`, `busy`.
    """
    folder, place = folder.expanduser(), Project.discover(project)
    measurement = _measurement(images, measured, open_set=open_set)
    saving.record(folder, classifier, measurement)
    where = f"recorded in {folder / saving.COMPOSITION_FILE}"
    composition = classifier.composition
    if composition is None or composition.finetuned or place.lock() is None:
        return where
    inside = path_inside(place, folder)
    if inside is None:
        return f"{where}, and not in {LOCK_FILE}, which is of another folder"
    locked = _locked(inside, composition, measurement)
    if locked is not None and keep_measurement(place, locked):
        return f"{where} and {LOCK_FILE}"
    return f"{where}, and not in {LOCK_FILE}, which does not pin its class modules"


def path_inside(place: Project, folder: Path) -> str | None:
    """Return a folder's path from that of a project, as its lockfile writes it.

    None for a folder outside of it, which whoever clones the project does not have, also where a
    link leads there, and for one whose name other systems read as such.
    """
    root, found = place.root.resolve(), folder.resolve()
    path = found.relative_to(root).as_posix() if found.is_relative_to(root) else ""
    return path if re.search(INSIDE, path) else None


def _locked(
    classifier: str, composition: Composition, measured: Measurement
) -> LockedMeasurement | None:
    """Return what a lockfile says; None where class modules are no releases."""
    modules = {pin.name: pin.digest for pin in composition.modules if pin.digest is not None}
    if len(modules) < len(composition.modules):
        return None
    shares = [] if measured.per_class is msgspec.UNSET else measured.per_class
    error = measured.calibration_error
    return LockedMeasurement(
        classifier=classifier,
        data_set=measured.data_set,
        split=measured.split,
        fingerprint=measured.fingerprint,
        open_set=measured.open_set,
        n=measured.n,
        n_rejected=measured.n_rejected,
        accuracy=measured.accuracy,
        calibration_error=None if error is msgspec.UNSET else error,
        modules=modules,
        classes={
            name: MeasuredClass(one.n, one.recall)
            for name, one in zip(measured.classes, shares, strict=bool(shares))
        },
    )


def _measurement(images: ImageData, measured: Evaluation, *, open_set: bool) -> Measurement:
    known = measured.known
    return Measurement(
        data_set=images.source,
        split=images.split,
        fingerprint=images.fingerprint,
        classes=list(measured.classes),
        n=measured.n,
        n_rejected=measured.n_rejected,
        accuracy=measured.accuracy,
        per_class=[
            ClassShare(n=sum(row), recall=n_right / sum(row))
            for row, n_right in zip(measured.confusion, measured.rightly, strict=True)
        ],
        calibration_error=_given(measured.calibration_error),
        open_set=open_set,
        auroc=_given(None if known is None else known.auroc),
        false_rejections=_given(None if known is None else known.false_rejections),
    )


def _given(value: float | None) -> float | msgspec.UnsetType:
    return msgspec.UNSET if value is None else value
