"""How releases are named in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.registry.resolver.candidates import Candidates
    from modpm.registry.resolver.version_sets import VersionSet

_MAX_RUN = 2
_MAX_LISTED = 12


def named(candidates: Candidates, chosen: VersionSet) -> str:
    """Name releases: `n/cat 1.0 and 1.1`, `n/cat>=1.0,<=1.9`, or every release of it."""
    chosen = chosen & candidates.everything
    if len(chosen) > 1 and chosen.is_superset(candidates.plain):
        return f"every release of {candidates.module}"
    return " or ".join(_named_run(candidates, run) for run in _runs(candidates, chosen))


def plural(subject: str) -> bool:
    """Say whether a verb stands in the plural after named releases."""
    return " and " in subject or " or " in subject


def listed(versions: Sequence[str]) -> str:
    """Name versions, the middle of very many left out."""
    if len(versions) <= _MAX_LISTED:
        return ", ".join(versions) or "none"
    half = _MAX_LISTED // 2
    shown = ", ".join([*versions[:half], "…", *versions[-half:]])
    return f"{shown} ({len(versions)} in all)"


def _runs(candidates: Candidates, chosen: VersionSet) -> list[list[int]]:
    """Return the runs of releases that have no gap but for yanked and pre-releases."""
    runs: list[list[int]] = []
    is_gap = True
    for position in chosen | candidates.plain:
        if position not in chosen:
            is_gap = True
        elif is_gap:
            runs.append([position])
            is_gap = False
        else:
            runs[-1].append(position)
    return runs


def _named_run(candidates: Candidates, run: Sequence[int]) -> str:
    versions = [candidates.releases[position].version for position in run]
    if len(run) <= _MAX_RUN:
        return f"{candidates.module} {' and '.join(versions)}"
    if run[-1] >= candidates.plain.last:
        return f"{candidates.module}>={versions[0]}"
    return f"{candidates.module}>={versions[0]},<={versions[-1]}"
