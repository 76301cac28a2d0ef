"""In what two releases of a name differ, and which part of a version that moves (V-9, V-15)."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from modpm.core.formats.manifest import TENSOR_FILE, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modpm.core.formats.composition_manifest import AnyManifest, CompositionManifest

_MEASURED = ("precision", "recall", "average_precision")
_ROUNDING = 1e-9
_TOLD_BY_OTHERS = {
    *("format_version", "name", "version", "kind", "label", "input", "output", "graph"),
    *("n_parameters", "size_bytes", "macs", "composition"),
}
"""Fields of which other differences tell, and numbers that follow from these."""


class Part(IntEnum):
    """The number of a version that a change must move; NONE where none need."""

    MAJOR = 0
    MINOR = 1
    PATCH = 2
    NONE = 3

    def __str__(self) -> str:
        return ("first", "second", "third", "no")[self] + " number"


class Difference(NamedTuple):
    """One thing in which two releases differ, and the part of the version that it moves."""

    part: Part
    what: str


def differences(
    before: AnyManifest, after: AnyManifest, budget_points: float
) -> Iterator[Difference]:
    """Give in what two manifests differ, but for whether scores of class modules do."""
    if isinstance(before, Manifest) and isinstance(after, Manifest):
        yield from _of_modules(before, after)
    elif not (isinstance(before, Manifest) or isinstance(after, Manifest)):
        yield from _of_compositions(before, after)
    else:
        yield from _change("what the name stands for", _kind(before), _kind(after))
        return
    yield from _falls(before, after, budget_points)
    if _besides(before) != _besides(after):
        yield Difference(Part.PATCH, "what the manifest says besides changes")


def has_other_network(before: AnyManifest, after: AnyManifest) -> bool:
    """Tell whether two class modules may give other scores, as far as their manifests say."""
    if not isinstance(before, Manifest) or not isinstance(after, Manifest):
        return False
    tensors, others = before.files[TENSOR_FILE], after.files[TENSOR_FILE]
    return before.graph != after.graph or tensors.digest != others.digest


def _of_modules(before: Manifest, after: Manifest) -> Iterator[Difference]:
    yield from _change("the label", before.label, after.label)
    yield from _change("the size or colour of the input", _shape(before), _shape(after))
    yield from _change("the preprocessing", _preprocessing(before), _preprocessing(after))
    yield from _change("the meaning of the output", before.output.kind, after.output.kind)
    old, new = before.calibration, after.calibration
    if (old.slope, old.intercept) != (new.slope, new.intercept):
        yield Difference(Part.MINOR, "the calibration of the logit in compositions changes")


def _of_compositions(
    before: CompositionManifest, after: CompositionManifest
) -> Iterator[Difference]:
    old, new = before.composition, after.composition
    if old.labels != new.labels:
        what = f"the labels change from {', '.join(old.labels)} to {', '.join(new.labels)}"
        yield Difference(Part.MAJOR, what)
    yield from _change("the threshold of rejecting", old.reject, new.reject)
    of_label = {one.label: one for one in old.modules}
    for one in new.modules:
        was = of_label.get(one.label, one)
        if was.digest != one.digest:
            moves = f"from {was.name} {was.version} to {one.name} {one.version}"
            yield Difference(Part.MINOR, f"{one.label} moves {moves}")
    if old.networks != new.networks:
        yield Difference(Part.MINOR, "the class modules are put together otherwise")


def _change(what: str, before: object, after: object) -> Iterator[Difference]:
    if before != after:
        yield Difference(Part.MAJOR, f"{what} changes from {before} to {after}")


def _falls(before: AnyManifest, after: AnyManifest, budget_points: float) -> Iterator[Difference]:
    """Give what falls by more than the budget, measured on the same images."""
    old = _measured(before)
    for on, (what, now) in _measured(after).items():
        _, was = old.get(on, (what, now))
        if 100 * (was - now) > budget_points + _ROUNDING:
            points = f"{budget_points:g} {'point' if budget_points == 1 else 'points'}"
            fall = f"{what} falls from {was:.3f} to {now:.3f}, by more than {points}"
            yield Difference(Part.MAJOR, fall)


def _measured(manifest: AnyManifest) -> dict[tuple[object, ...], tuple[str, float]]:
    """Return what was measured in words and numbers, by what and on which images."""
    if isinstance(manifest, Manifest):
        return {
            (name, metrics.split, manifest.provenance.data_set): (
                f"{name.replace('_', ' ')} on {metrics.split}",
                getattr(metrics, name),
            )
            for metrics in manifest.metrics
            for name in _MEASURED
        }
    return {
        (one.fingerprint, one.open_set): (f"accuracy on {one.data_set}, {one.split},", one.accuracy)
        for one in manifest.composition.measured
    }


def _besides(manifest: AnyManifest) -> dict[str, object]:
    """Return what may change with no more than the third number."""
    fields = (name for name in manifest.__struct_fields__ if name not in _TOLD_BY_OTHERS)
    said = {name: getattr(manifest, name) for name in fields}
    said["files"] = {n: file for n, file in manifest.files.items() if n != TENSOR_FILE}
    if isinstance(manifest, Manifest):
        calibration = msgspec.structs.replace(manifest.calibration, slope=0.0, intercept=0.0)
        return {**said, "calibration": calibration}
    return {**said, "requires": None, "measured": manifest.composition.measured}


def _kind(manifest: AnyManifest) -> str:
    return "a class module" if isinstance(manifest, Manifest) else "a composition"


def _shape(manifest: Manifest) -> str:
    contract = manifest.input
    return f"{contract.channels} x {contract.height} x {contract.width}"


def _preprocessing(manifest: Manifest) -> str:
    return f"mean {manifest.input.mean}, std {manifest.input.std}"
