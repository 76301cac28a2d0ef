"""What a version claims, checked with the scores of the networks where torch is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from modpm.core.system.whole_files import explained
from modpm.registry.addresses import publish_target
from modpm.registry.publication.publishing import ready_distributions
from modpm.registry.publication.version_claims import DEFAULT_BUDGET_POINTS, check_claims

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from modpm.registry.publication.version_claims import ScoreDifference, VersionCheck


def check_versions(
    paths: Sequence[str | os.PathLike[str]],
    registry: str | os.PathLike[str] | None = None,
    *,
    budget_points: float = DEFAULT_BUDGET_POINTS,
) -> list[VersionCheck]:
    """Compare distributions with the newest releases before them, and what their versions claim.

    Args:
        paths: As for `publish`.
        registry: As for `publish`; it has the releases.
        budget_points: How far precision, recall and average precision may fall before the first
            number of the version must move.

    Raises:
        ModpmError: `version-too-low`; what `ready_distributions` and fetching raise.
    """
    with explained("compare the releases"):
        distributions = ready_distributions(paths)
        target = publish_target(registry)
        return check_claims(distributions, target, _score_difference(), budget_points)


def _score_difference() -> ScoreDifference | None:
    """Return what compares scores; None without torch, where manifests must do."""
    if find_spec("torch") is None:
        return None
    from modpm.core.classifiers.class_module import (  # noqa: PLC0415 -- torch only where it is needed
        score_difference,
    )

    return score_difference
