"""How releases are named in sentences, that none of them fits, and which ones nearly did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modpm.core.formats.requirements import Requirement
    from modpm.registry.resolver.candidates import Candidates
    from modpm.registry.resolver.demands import Demand
    from modpm.registry.resolver.version_sets import VersionSet

_MAX_RUN = 2
_MAX_LISTED = 12


class ResolutionError(ModpmError):
    """There is no resolution.

    Args:
        error: What is wrong, in one sentence.
        why: The proof in words.
        derivation: The proof as JSON, a step each.
    """

    def __init__(self, error: ModpmError, why: str, derivation: Sequence[dict[str, Any]]) -> None:
        super().__init__(error.what, code=error.code, where=error.where, why=why, hint=error.hint)
        self.derivation = list(derivation)


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


def nothing_fits(
    candidates: Candidates, requirements: Sequence[Requirement], place: str
) -> ModpmError:
    """Return the error that says that no release satisfies requirements.

    Args:
        candidates: All releases.
        requirements: The requirements.
        place: The registry.
    """
    wishes = dict.fromkeys(_wish(requirement) for requirement in requirements)
    return ModpmError(
        f"no release of `{candidates.module}` satisfies {' and '.join(f'`{w}`' for w in wishes)}",
        code="no-version-fits" if len(wishes) == 1 else "conflict",
        where=f"registry {place}",
        hint=hint(candidates, requirements),
    )


def refused(candidates: Candidates, demands: Sequence[Demand], place: str) -> ResolutionError:
    """Return the error for demands on one module that no release of it satisfies."""
    guilty = _guilty(candidates, demands)
    error = nothing_fits(candidates, [demand.requirement for demand in guilty], place)
    if len(guilty) == 1:
        why = f"it is asked by {guilty[0].asked_by}; releases found: {found(candidates)}"
    else:
        asked = " and ".join(map(str, guilty))
        why = f"{asked}, so no release is left.\nreleases found: {found(candidates)}"
    steps = [demand_facts(demand) for demand in guilty]
    steps.append({"kind": "obstacle", "text": error.what, "module": str(candidates.module)})
    steps[-1] |= {"versions": [r.version for r in candidates.releases], "code": error.code}
    numbered = [{"step": n, "because": [], **step} for n, step in enumerate(steps, 1)]
    end = {"step": len(steps) + 1, "because": [*range(1, len(steps) + 1)]}
    return ResolutionError(error, why, [*numbered, end | {"kind": "conclusion", "text": END}])


END = "what is asked for cannot be had together"


def demand_facts(demand: Demand) -> dict[str, Any]:
    """Return what is known of a demand, as JSON."""
    return {
        "kind": "demand",
        "text": str(demand),
        "requirement": str(demand.requirement),
        "asked_by": demand.asked_by,
    }


def ruled_out(candidates: Candidates, requirements: Iterable[Requirement]) -> str:
    """Name the releases that satisfy requirements and are yanked, or pre-releases."""
    accepted = candidates.accepted(requirements)
    releases = candidates.releases
    yanked = [
        f"{releases[position].version} is yanked: {releases[position].yanked}"
        for position in accepted & candidates.yanked
    ]
    prereleases = [
        f"{releases[position].version} is a pre-release"
        for position in (accepted & candidates.prereleases) - candidates.yanked
    ]
    return "; ".join([*yanked, *prereleases])


def found(candidates: Candidates) -> str:
    """List all releases, the yanked and the left out ones with reasons."""
    plain = [release.version for release in candidates.releases if release.yanked is None]
    yanked = [
        f"{release.version} is yanked: {release.yanked}"
        for release in candidates.releases
        if release.yanked is not None
    ]
    newer = (
        [f"{listed(candidates.newer)} newer than {candidates.until}"] if candidates.newer else []
    )
    aside = "; ".join([*yanked, *newer])
    return listed(plain) + (f" ({aside})" if aside else "")


def hint(candidates: Candidates, requirements: Iterable[Requirement]) -> str:
    """Say what to ask for instead."""
    module, releases = candidates.module, candidates.releases
    accepted = candidates.accepted(requirements)
    for name, kind in {
        "pre-release": candidates.prereleases - candidates.yanked,
        "yanked release": candidates.yanked,
    }.items():
        if not (accepted & kind).is_empty:
            version = releases[(accepted & kind).last].version
            return f"to take the {name} all the same, ask for `{module}=={version}`"
    if candidates.newer:
        return "give a later time by `--exclude-newer`, or loosen the requirement"
    offered = candidates.everything - candidates.yanked
    if not offered.is_empty:
        newest = releases[offered.last].version
        return f"loosen the requirement; the newest release is `{module}=={newest}`"
    if releases:
        return f"a yanked release is installed by `{module}=={releases[-1].version}`"
    return "publish a release first"


def _guilty(candidates: Candidates, demands: Sequence[Demand]) -> list[Demand]:
    """Return demands that nothing satisfies, none of which can be left out."""
    guilty = list(demands)
    for demand in demands:
        others = [other for other in guilty if other is not demand]
        if others and candidates.fitting([d.requirement for d in others]).is_empty:
            guilty = others
    return guilty


def _wish(requirement: Requirement) -> str:
    if requirement.tag is not None:
        return f"@{requirement.tag}"
    return requirement.versions or "*"


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
