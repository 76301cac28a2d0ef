"""Measuring what an update would do to the classifiers of a project, before it is made."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.classifiers.classifier import Classifier
from modpm.core.classifiers.evaluation import evaluate
from modpm.core.classifiers.saving import is_classifier_folder
from modpm.core.composition.compose import AUTO as BY_COST
from modpm.core.composition.compose import FUSED, INDEPENDENT, compose_modules
from modpm.core.composition.fused import obstacle
from modpm.core.composition.rejecting import AUTO as BY_SHARE
from modpm.core.composition.replacing import Comparison
from modpm.core.errors import ModpmError
from modpm.core.training.device import AUTO, choose_device
from modpm.registry.installing.installation import make_apart
from modpm.registry.projects.project import LOCK_FILE, Project
from modpm.verbs.judging import prepared_images
from modpm.verbs.recording import path_inside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import torch

    from modpm.core.classifiers.recipe import Composition
    from modpm.registry.installing.fetching import Progress
    from modpm.registry.installing.installation import Installation
    from modpm.registry.projects.lockfile import Lockfile
    from modpm.registry.projects.measurements import LockedMeasurement


@dataclass(frozen=True)
class MeasuredUpdate:
    """What an update would make of a classifier, measured on the images that it was recorded on.

    Attributes:
        classifier: Its folder, from that of the project.
        comparison: Every label before and after.
    """

    classifier: str
    comparison: Comparison

    def to_json(self) -> dict[str, Any]:
        """Return the fields that scripts rely on."""
        return {"classifier": self.classifier, **self.comparison.to_json()}


def measure_update(
    update: Installation,
    data: str,
    *,
    offline: bool = False,
    device: str = AUTO,
    report: Callable[[str], None] = lambda _sentence: None,
    progress: Progress | None = None,
) -> list[MeasuredUpdate]:
    """Measure the classifiers that `modpm.lock` has a record of, as they are and after an update.

    The newer class modules come into the store; the project stays as it is. They are composed as
    those before them were; adjustments by images are left out, with a word.

    Args:
        update: What `update` with `dry_run` returned.
        data: The images of the record, as for `evaluate`.
        offline: Open no registry.
        device: As for `evaluate`.
        report: Is told what was done, in sentences.
        progress: As for `install`.

    Returns:
        What becomes of each classifier of which class modules would move.

    Raises:
        ModpmError: No classifier was recorded, or none on these images (`nothing-recorded`);
            `no-such-device`; what `install`, `compose` and `evaluate` raise.
    """
    where, place = choose_device(device), Project(update.project)
    lock = place.lock()
    if lock is None or not lock.measured:
        raise _nothing_recorded(f"{LOCK_FILE} has no record of a classifier", str(place.root))
    if update.plan is None:
        return []
    moving = list(_moving(lock, update.plan.lock))
    if not moving:
        return []
    with tempfile.TemporaryDirectory(prefix="modpm-update-") as folder:
        made = make_apart(place, update.plan, Path(folder), offline=offline, progress=progress)
        newer = {name: made[digest] for name, digest in update.plan.lock.digests.items()}
        found = [_measured(place, one, data, newer, device=where, report=report) for one in moving]
    measured = [one for one in found if one is not None]
    if not measured:
        told = ", ".join(f"{one.classifier} on {one.data_set}, {one.split}" for one in moving)
        raise _nothing_recorded(f"what was recorded is {told}: other images", data)
    return measured


def _moving(before: Lockfile, after: Lockfile) -> Iterator[LockedMeasurement]:
    """Give the measurements of classifiers of which modules would be other releases."""
    for one in before.measured:
        if not one.open_set and not one.holds(after.digests):
            yield one


def _measured(
    place: Project,
    recorded: LockedMeasurement,
    data: str,
    newer: Mapping[str, Path],
    *,
    device: torch.device,
    report: Callable[[str], None],
) -> MeasuredUpdate | None:
    """Return what becomes of one classifier; None where the images are not those of its record."""
    before, composition = _opened(place, recorded)
    images = prepared_images(before, data, recorded.split)
    if images[0].fingerprint != recorded.fingerprint:
        return None
    gone = [pin.name for pin in composition.modules if pin.name not in newer]
    if gone:
        report(f"{recorded.classifier} would lose {', '.join(gone)}")
        return None
    for note in images[0].notes:
        report(note)
    modules = [ClassModule.from_folder(newer[pin.name]) for pin in composition.modules]
    after = _composed(before, composition, modules)
    if composition.adjustments or composition.linear:
        report(f"{recorded.classifier} was adjusted by images, and is measured without that")
    again = images
    if after.contracts != before.contracts:
        again = prepared_images(after, data, recorded.split)
    pins = zip(composition.modules, modules, strict=True)
    targets = {pin.label: None for pin, module in pins if pin.digest != module.digest}
    compared = [evaluate(before.to(device), images), evaluate(after.to(device), again)]
    return MeasuredUpdate(recorded.classifier, Comparison(tuple(targets), *compared))


def _opened(place: Project, recorded: LockedMeasurement) -> tuple[Classifier, Composition]:
    """Return a classifier that was recorded.

    Raises:
        ModpmError: Its folder is gone, or has another one (`nothing-recorded`).
    """
    folder = place.root / recorded.classifier
    if path_inside(place, folder) is not None and is_classifier_folder(folder):
        classifier = Classifier.from_folder(folder)
        if classifier.composition is not None and recorded.modules == {
            pin.name: pin.digest for pin in classifier.pins
        }:
            return classifier, classifier.composition
    raise _nothing_recorded(
        f"`{recorded.classifier}` is not there, or was composed of other modules since",
        str(folder),
    )


def _composed(
    before: Classifier, composition: Composition, modules: Sequence[ClassModule]
) -> Classifier:
    """Compose other releases as a classifier was; fused where they can be."""
    of_one_origin = len({module.manifest.origin.digest for module in modules}) == 1
    is_fused = composition.strategy == FUSED and of_one_origin and obstacle(modules) is None
    strategy = composition.strategy if is_fused or composition.strategy == INDEPENDENT else BY_COST
    labels = [pin.label for pin in composition.modules]
    share = composition.false_rejections
    return compose_modules(
        modules,
        strategy,
        labels=labels,
        reject=before.reject if share is msgspec.UNSET else BY_SHARE,
        false_rejections=None if share is msgspec.UNSET else share,
        ensemble=len(set(labels)) < len(labels),
    )


def _nothing_recorded(why: str, where: str) -> ModpmError:
    return ModpmError(
        "no classifier can be compared on these images",
        code="nothing-recorded",
        where=where,
        why=why,
        hint="run `modpm evaluate CLF DATA --record` in the project first",
    )
