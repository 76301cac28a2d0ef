"""What a version claims to change, against what did change (N-6, V-8 to V-11)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from packaging.version import Version

from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import Manifest
from modpm.core.formats.names import ModuleName
from modpm.core.formats.release_files import WEIGHT_FILES
from modpm.core.system.home import home
from modpm.registry.addresses import Address
from modpm.registry.backends.publishing_plan import listed_index
from modpm.registry.installing.fetching import fetch
from modpm.registry.installing.module_folders import make_folder
from modpm.registry.projects.lockfile import Pin
from modpm.registry.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modpm.core.formats.composition_manifest import (
        AnyManifest,
        ComposedModule,
        CompositionManifest,
        CompositionRecord,
    )
    from modpm.core.formats.distribution import Distribution
    from modpm.registry.backends.protocol import Backend
    from modpm.registry.index import Index, Release

DEFAULT_BUDGET_POINTS = 1.0

ScoreDifference = Callable[[Path, Path], float]
"""Gives the largest difference of the scores of two distributions on the probe batch."""


@dataclass(frozen=True)
class VersionCheck:
    """A distribution against the newest release before it.

    Attributes:
        previous: The version of that release; None if there is none.
        claimed: The part of the version that was moved.
        needed: The part that must be moved.
        has_probed: Whether scores were compared, and not only manifests.
    """

    name: ModuleName
    version: str
    previous: str | None
    claimed: Part
    needed: Part
    differences: tuple[Difference, ...] = ()
    has_probed: bool = False

    @property
    def is_honest(self) -> bool:
        """Whether the version claims as much as has changed."""
        return self.previous is None or self.claimed <= self.needed


def check_claims(
    distributions: Sequence[Distribution],
    target: Backend,
    score_difference: ScoreDifference | None = None,
    budget_points: float = DEFAULT_BUDGET_POINTS,
) -> list[VersionCheck]:
    """Compare verified distributions with the newest releases before them.

    Args:
        distributions: The distributions.
        target: The registry that has the releases.
        score_difference: Compares scores; None to go by the manifests alone.
        budget_points: How far precision, recall and average precision may fall before the first
            number must move.

    Raises:
        ModpmError: `version-too-low`, naming every version that claims less than has changed;
            `bad-setting`, for a budget that is no number of points; what fetching raises.
    """
    if not budget_points >= 0:
        raise ModpmError(
            f"a budget of {budget_points:g} points is not possible",
            code="bad-setting",
            hint="it is how many points a metric may fall: 0 or more",
            exit_code=2,
        )
    checks = [_check(one, target, score_difference, budget_points) for one in distributions]
    if dishonest := [check for check in checks if not check.is_honest]:
        raise _too_low(dishonest)
    return checks


def claimed_part(before: Version, after: Version) -> Part:
    """Return the part of a version that was moved, from the left."""
    if before.epoch != after.epoch:
        return Part.MAJOR
    numbers = [(version.major, version.minor, version.micro) for version in (before, after)]
    pairs = enumerate(zip(*numbers, strict=True))
    return next((Part(i) for i, (old, new) in pairs if old != new), Part.NONE)


def _check(
    distribution: Distribution,
    target: Backend,
    score_difference: ScoreDifference | None,
    budget_points: float,
) -> VersionCheck:
    manifest = distribution.manifest
    module, version = ModuleName.parse(manifest.name), Version(manifest.version)
    previous = _previous(listed_index(target, module), version)
    if previous is None:
        return VersionCheck(module, manifest.version, None, Part.NONE, Part.NONE)
    with tempfile.TemporaryDirectory(prefix="modpm-") as folder:
        before = _fetched(module, previous, target, Path(folder) / "previous")
        found = list(differences(before.manifest, manifest, budget_points))
        is_comparable = all(difference.part > Part.MAJOR for difference in found)
        is_other = has_other_network(before.manifest, manifest)
        compare = score_difference if is_comparable and is_other else None
        if is_other:
            found.append(_score_difference(before.folder, distribution.folder, compare))
    return VersionCheck(
        name=module,
        version=manifest.version,
        previous=previous.version,
        claimed=claimed_part(Version(previous.version), version),
        needed=min((difference.part for difference in found), default=Part.NONE),
        differences=tuple(sorted(found, key=lambda difference: difference.part)),
        has_probed=compare is not None,
    )


def _previous(index: Index | None, version: Version) -> Release | None:
    """Return the newest final release below a version that is not yanked."""
    for release in reversed([] if index is None else index.releases):
        other = Version(release.version)
        if other < version and not other.is_prerelease and release.yanked is None:
            return release
    return None


def _fetched(module: ModuleName, release: Release, target: Backend, folder: Path) -> Distribution:
    """Get a release through the store, verified, into a folder."""
    address = Address("previous", target.location)
    pin = Pin.of(module, release, address, target.revision(module, release.version))
    with Store.of_user().in_use():
        verified = fetch([pin], (), home())
        return make_folder(folder, pin, is_checked=pin in verified)


def _score_difference(before: Path, after: Path, compare: ScoreDifference | None) -> Difference:
    """Return what another network means for the version."""
    if compare is None:
        return Difference(Part.MINOR, "the network or its weights change")
    difference = compare(before, after)
    if difference == 0:
        what = "the network is written otherwise, and its scores are the same"
        return Difference(Part.PATCH, what)
    return Difference(Part.MINOR, f"scores on the probe batch change by up to {difference:.3g}")


def _too_low(checks: Sequence[VersionCheck]) -> ModpmError:
    lines = [
        f"{check.name} {check.version} after {check.previous} must move the {check.needed}: "
        f"{difference.what}"
        for check in checks
        for difference in check.differences
        if difference.part == check.needed
    ]
    n = len(checks)
    return ModpmError(
        f"{n} {'version claims' if n == 1 else 'versions claim'} less than has changed",
        code="version-too-low",
        why="\n".join(lines),
        hint="make the distribution again with a higher `--version`; nothing was published",
    )


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
    return before.graph != after.graph or _tensor_files(before) != _tensor_files(after)


def _tensor_files(manifest: AnyManifest) -> dict[str, str]:
    return {n: file.digest for n, file in manifest.files.items() if n in WEIGHT_FILES}


def _of_modules(before: Manifest, after: Manifest) -> Iterator[Difference]:
    yield from _change("the label", before.label, after.label)
    yield from _change("the size or color of the input", _shape(before), _shape(after))
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
    of_label: dict[str, list[ComposedModule]] = {}
    for one in old.modules:
        of_label.setdefault(one.label, []).append(one)
    for one in new.modules:
        votes = of_label.get(one.label, [one])
        if one.digest not in {was.digest for was in votes}:
            names = ", ".join(f"{was.name} {was.version}" for was in votes)
            moves = f"from {names} to {one.name} {one.version}"
            yield Difference(Part.MINOR, f"{one.label} moves {moves}")
    if _scaling(old) != _scaling(new):
        yield Difference(Part.MINOR, "the scores of origins are adjusted otherwise")
    if _layer(old) != _layer(new):
        yield Difference(Part.MINOR, "another linear layer makes the scores")
    if old.trainings != new.trainings or _tensor_files(before) != _tensor_files(after):
        yield Difference(Part.MINOR, "the networks were trained otherwise once they were composed")
    if old.networks != new.networks:
        yield Difference(Part.MINOR, "the class modules are put together otherwise")


def _scaling(composition: CompositionRecord) -> list[tuple[str, float, float]]:
    taken = (one for one in composition.adjustments if not one.is_identity)
    return [(one.origin, one.slope, one.intercept) for one in taken]


def _layer(composition: CompositionRecord) -> tuple[object, ...]:
    linear = composition.linear
    return () if isinstance(linear, msgspec.UnsetType) else (linear.weight, linear.bias)


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
    said["files"] = {n: file for n, file in manifest.files.items() if n not in WEIGHT_FILES}
    if isinstance(manifest, Manifest):
        calibration = msgspec.structs.replace(manifest.calibration, slope=0.0, intercept=0.0)
        return {**said, "calibration": calibration}
    record = manifest.composition
    fits = (record.adjustments, record.linear)
    return {**said, "requires": None, "measured": record.measured, "fits": fits}


def _kind(manifest: AnyManifest) -> str:
    return "a class module" if isinstance(manifest, Manifest) else "a composition"


def _shape(manifest: Manifest) -> str:
    contract = manifest.input
    return f"{contract.channels} x {contract.height} x {contract.width}"


def _preprocessing(manifest: Manifest) -> str:
    return f"mean {manifest.input.mean}, std {manifest.input.std}"
