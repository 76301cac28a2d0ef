"""Which release of a module fits, or why none does: how releases are named, and near misses."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from modpm.core.errors import ModpmError
from modpm.registry.index import UPGRADE
from modpm.registry.resolver.candidates import Candidates

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from modpm.core.formats.requirements import Requirement
    from modpm.registry.index import Index, Release
    from modpm.registry.resolver.version_sets import VersionSet

END = "what is asked for cannot be had together"

_MAX_RUN = 2
_MAX_LISTED = 12


class Step(NamedTuple):
    """One step of a proof: a fact, or what follows from steps before it.

    Attributes:
        kind: `demand`, `requirement`, `obstacle` or `conclusion`.
        text: The step as part of a sentence.
        causes: The steps it follows from, by their places; none of a fact.
        facts: What else is known of it, as JSON.
    """

    kind: str
    text: str
    causes: tuple[int, ...] = ()
    facts: Mapping[str, Any] = MappingProxyType({})


class ResolutionError(ModpmError):
    """There is no resolution; the proof is told as JSON too, its steps numbered from 1."""

    def __init__(self, error: ModpmError, why: str, steps: Sequence[Step]) -> None:
        super().__init__(error.what, code=error.code, where=error.where, why=why, hint=error.hint)
        self.derivation: list[dict[str, Any]] = [
            {
                "step": number,
                "kind": step.kind,
                "text": step.text,
                "because": [cause + 1 for cause in step.causes],
                **step.facts,
            }
            for number, step in enumerate(steps, 1)
        ]


class Demand(NamedTuple):
    """A requirement, and who asks for it."""

    requirement: Requirement
    asked_by: str

    def __str__(self) -> str:
        return f"`{self.requirement}` is asked for by {self.asked_by}"

    def step(self) -> Step:
        """Return it as a step of a proof."""
        facts = {"requirement": str(self.requirement), "asked_by": self.asked_by}
        return Step("demand", str(self), (), facts)


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
    """Return the error that says that no release satisfies requirements."""
    wishes = dict.fromkeys(
        r.versions or "*" if r.tag is None else f"@{r.tag}" for r in requirements
    )
    return ModpmError(
        f"no release of `{candidates.module}` satisfies {' and '.join(f'`{w}`' for w in wishes)}",
        code="no-version-fits" if len(wishes) == 1 else "conflict",
        where=f"registry {place}",
        hint=hint(candidates, requirements),
    )


def fitting(candidates: Candidates, demands: Sequence[Demand], place: str) -> VersionSet:
    """Return the releases of one module that may be chosen for all demands on it together.

    Raises:
        ModpmError: `unknown-tag`.
        ResolutionError: `no-version-fits` or `conflict`.
    """
    try:
        fits = candidates.fitting([demand.requirement for demand in demands])
    except ModpmError as error:
        error.where = error.where or demands[0].asked_by
        raise
    if fits.is_empty:
        raise _refused(candidates, demands, place)
    return fits


def newest_fitting(index: Index, requirements: Sequence[Requirement], place: str) -> Release:
    """Return the release of one module that `resolve` would prefer, whatever it requires itself.

    Raises:
        ModpmError: `unknown-tag`.
        ResolutionError: `no-version-fits` or `conflict`.
    """
    candidates = Candidates(index)
    demands = [Demand(requirement, "you") for requirement in requirements]
    return candidates.releases[fitting(candidates, demands, place).last]


def ruled_out(candidates: Candidates, requirements: Iterable[Requirement]) -> str:
    """Name the releases that satisfy requirements and are yanked, or pre-releases."""
    accepted = candidates.accepted(requirements)
    yanked = _yanked(candidates, accepted)
    prereleases = [
        f"{candidates.releases[position].version} is a pre-release"
        for position in (accepted & candidates.prereleases) - candidates.yanked
    ]
    return "; ".join([*yanked, *prereleases])


def found(candidates: Candidates) -> str:
    """List all releases, the yanked and the left out ones with reasons."""
    plain = [release.version for release in candidates.releases if release.yanked is None]
    newer = (
        [f"{listed(candidates.newer)} newer than {candidates.until}"] if candidates.newer else []
    )
    skipped = [candidates.skipped.why or ""] if candidates.skipped else []
    aside = "; ".join([*_yanked(candidates, candidates.everything), *newer, *skipped])
    return listed(plain) + (f" ({aside})" if aside else "")


def _yanked(candidates: Candidates, positions: VersionSet) -> list[str]:
    yanked = [candidates.releases[position] for position in positions & candidates.yanked]
    return [f"{release.version} is yanked: {release.yanked}" for release in yanked]


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
    if candidates.skipped is not None and candidates.skipped.hint == UPGRADE:
        return UPGRADE
    if candidates.newer:
        return "give a later time by `--exclude-newer`, or loosen the requirement"
    offered = candidates.everything - candidates.yanked
    if not offered.is_empty:
        newest = releases[offered.last].version
        return f"loosen the requirement; the newest release is `{module}=={newest}`"
    if releases:
        return f"a yanked release is installed by `{module}=={releases[-1].version}`"
    return "publish a release first"


def _refused(candidates: Candidates, demands: Sequence[Demand], place: str) -> ResolutionError:
    """Return the error for demands on one module that no release of it satisfies."""
    guilty = _guilty(candidates, demands)
    error = nothing_fits(candidates, [demand.requirement for demand in guilty], place)
    if len(guilty) == 1:
        why = f"it is asked by {guilty[0].asked_by}; releases found: {found(candidates)}"
    else:
        asked = " and ".join(map(str, guilty))
        why = f"{asked}, so no release is left.\nreleases found: {found(candidates)}"
    versions = [release.version for release in candidates.releases]
    facts = {"module": str(candidates.module), "versions": versions, "code": error.code}
    steps = [*(demand.step() for demand in guilty), Step("obstacle", error.what, (), facts)]
    return ResolutionError(error, why, [*steps, Step("conclusion", END, tuple(range(len(steps))))])


def _guilty(candidates: Candidates, demands: Sequence[Demand]) -> list[Demand]:
    """Return demands that nothing satisfies, none of which can be left out."""
    guilty = list(demands)
    for demand in demands:
        others = [other for other in guilty if other is not demand]
        if others and candidates.fitting([d.requirement for d in others]).is_empty:
            guilty = others
    return guilty


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
