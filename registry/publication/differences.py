"""In what two releases of a name differ, and which part of a version that moves (V-9, V-15)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

from modpm.core.formats.manifest import TENSOR_FILE, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modpm.core.formats.composition_manifest import AnyManifest, CompositionManifest
    from modpm.core.formats.manifest import ClassMetrics

_MEASURED = ("precision", "recall", "average_precision")
_ROUNDING = 1e-9


class Part(IntEnum):
    """The number of a version that a change must move; NONE where none need."""

    MAJOR = 0
    MINOR = 1
    PATCH = 2
    NONE = 3

    def __str__(self) -> str:
        return ("first", "second", "third", "no")[self] + " number"


@dataclass(frozen=True)
class Difference:
    """One thing in which two releases differ, and the part of the version that it moves."""

    part: Part
    what: str


def differences(
    before: AnyManifest, after: AnyManifest, budget_points: float
) -> Iterator[Difference]:
    """Give in what two manifests differ, but for whether scores of class modules do."""
    if isinstance(before, Manifest) and isinstance(after, Manifest):
        yield from _of_modules(before, after, budget_points)
    elif isinstance(before, Manifest) or isinstance(after, Manifest):
        kinds = " to ".join(
            "a class module" if isinstance(m, Manifest) else "a composition"
            for m in (before, after)
        )
        yield Difference(Part.MAJOR, f"what the name stands for changes from {kinds}")
    else:
        yield from _of_compositions(before, after, budget_points)


def has_other_network(before: AnyManifest, after: AnyManifest) -> bool:
    """Tell whether two class modules may give other scores, as far as their manifests say."""
    if not isinstance(before, Manifest) or not isinstance(after, Manifest):
        return False
    return before.graph != after.graph or _tensors(before) != _tensors(after)


def _of_modules(before: Manifest, after: Manifest, budget_points: float) -> Iterator[Difference]:
    for what, old, new in (
        ("the label", before.label, after.label),
        ("the size or colour of the input", _shape(before), _shape(after)),
        ("the preprocessing", _preprocessing(before), _preprocessing(after)),
        ("the meaning of the output", before.output.kind, after.output.kind),
    ):
        if old != new:
            yield Difference(Part.MAJOR, f"{what} changes from {old} to {new}")
    yield from _falls(before, after, budget_points)
    if _logit_calibration(before) != _logit_calibration(after):
        yield Difference(Part.MINOR, "the calibration of the logit in compositions changes")
    if _described(before) != _described(after):
        yield Difference(Part.PATCH, "what the manifest says besides changes")


def _of_compositions(
    before: CompositionManifest, after: CompositionManifest, budget_points: float
) -> Iterator[Difference]:
    old, new = before.composition, after.composition
    if old.labels != new.labels:
        what = f"the labels change from {', '.join(old.labels)} to {', '.join(new.labels)}"
        yield Difference(Part.MAJOR, what)
    if old.reject != new.reject:
        what = f"the threshold of rejecting changes from {old.reject} to {new.reject}"
        yield Difference(Part.MAJOR, what)
    yield from _accuracy_falls(before, after, budget_points)
    releases = {one.label: f"{one.name} {one.version}" for one in old.modules}
    digests = {one.label: one.digest for one in old.modules}
    for one in new.modules:
        if digests.get(one.label, one.digest) != one.digest:
            was = releases[one.label]
            what = f"{one.label} moves from {was} to {one.name} {one.version}"
            yield Difference(Part.MINOR, what)
    if old.networks != new.networks:
        yield Difference(Part.MINOR, "the class modules are put together otherwise")
    if _composition_described(before) != _composition_described(after):
        yield Difference(Part.PATCH, "what the manifest says besides changes")


def _accuracy_falls(
    before: CompositionManifest, after: CompositionManifest, budget_points: float
) -> Iterator[Difference]:
    old = {(one.fingerprint, one.open_set): one for one in before.composition.measured}
    for now in after.composition.measured:
        was = old.get((now.fingerprint, now.open_set))
        if was is not None:
            what = f"accuracy on {now.data_set}, {now.split},"
            yield from _fall(what, was.accuracy, now.accuracy, budget_points)


def _composition_described(manifest: CompositionManifest) -> tuple[object, ...]:
    return (
        manifest.summary,
        manifest.license,
        manifest.authors,
        manifest.files,
        manifest.composition.measured,
        manifest.unknown_keys,
    )


def _falls(before: Manifest, after: Manifest, budget_points: float) -> Iterator[Difference]:
    """Give the metrics that fall by more than the budget, on the same split of the same data."""
    if before.provenance.data_set != after.provenance.data_set:
        return
    old: dict[str, ClassMetrics] = {metrics.split: metrics for metrics in before.metrics}
    for metrics in after.metrics:
        if metrics.split in old:
            for name in _MEASURED:
                what = f"{name.replace('_', ' ')} on {metrics.split}"
                was, now = getattr(old[metrics.split], name), getattr(metrics, name)
                yield from _fall(what, was, now, budget_points)


def _fall(what: str, was: float, now: float, budget_points: float) -> Iterator[Difference]:
    if 100 * (was - now) > budget_points + _ROUNDING:
        points = f"{budget_points:g} {'point' if budget_points == 1 else 'points'}"
        fall = f"{what} falls from {was:.3f} to {now:.3f}, by more than {points}"
        yield Difference(Part.MAJOR, fall)


def _shape(manifest: Manifest) -> str:
    contract = manifest.input
    return f"{contract.channels} x {contract.height} x {contract.width}"


def _preprocessing(manifest: Manifest) -> str:
    return f"mean {manifest.input.mean}, std {manifest.input.std}"


def _logit_calibration(manifest: Manifest) -> tuple[float, float]:
    return manifest.calibration.slope, manifest.calibration.intercept


def _tensors(manifest: Manifest) -> str:
    return manifest.files[TENSOR_FILE].digest


def _described(manifest: Manifest) -> tuple[object, ...]:
    """Return what may change with no more than the third number."""
    return (
        manifest.summary,
        manifest.license,
        manifest.authors,
        manifest.requires,
        manifest.origin,
        manifest.retained,
        msgspec.structs.replace(manifest.calibration, slope=0.0, intercept=0.0),
        manifest.modularizer,
        manifest.metrics,
        manifest.composed,
        manifest.kernel_retention_rate,
        manifest.provenance,
        {name: file for name, file in manifest.files.items() if name != TENSOR_FILE},
        manifest.unknown_keys,
    )
