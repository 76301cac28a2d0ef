"""What a version claims to change, against what did change (N-6, V-8 to V-11)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.version import Version

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.core.home import home
from modpm.registry.addresses import Address
from modpm.registry.backends.publishing_plan import listed_index
from modpm.registry.installing.fetching import fetch
from modpm.registry.installing.module_folders import make_folder
from modpm.registry.projects.lockfile import Pin
from modpm.registry.publication.differences import (
    Difference,
    Part,
    differences,
    has_other_network,
)
from modpm.registry.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        name: The module.
        version: The version of the distribution.
        previous: The version of that release; None if there is none.
        claimed: The part of the version that was moved.
        needed: The part that must be moved.
        differences: Why.
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
    """Compare distributions with the newest releases before them.

    Args:
        distributions: Verified ones.
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
