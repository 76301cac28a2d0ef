"""A proof that there is no resolution, as the error that a user sees."""

from __future__ import annotations

from itertools import combinations, islice, product
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.registry.resolver.demands import Demand
from modpm.registry.resolver.origins import ORIGIN
from modpm.registry.resolver.packages import Obstacle
from modpm.registry.resolver.refusals import END, ResolutionError, found, hint, ruled_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from modpm.core.formats.requirements import Requirement
    from modpm.registry.resolver.derivation import Derivation, Step
    from modpm.registry.resolver.shelves import Shelves

_MAX_LISTED = 3
_MAX_PAIRS = 500  # of those who ask for one module; two are enough to say why


class Explanation:
    """What a proof comes to: a code, one sentence, the releases that nearly fitted, and a hint.

    Args:
        derivation: The proof.
        shelves: All releases.
    """

    def __init__(self, derivation: Derivation, shelves: Shelves) -> None:
        self._derivation = derivation
        self._shelves = shelves
        self._requirements = self._find_requirements()
        several = sorted(name for name, asked in self._requirements.items() if len(asked) > 1)
        self._contested = [name for name in several if name != ORIGIN]
        self._obstacles = [
            step.clause.origin
            for step in derivation.facts("obstacle")
            if isinstance(step.clause.origin, Obstacle)
        ]

    def error(self) -> ResolutionError:
        """Return the error."""
        notes, hints = self._near_misses()
        error = self._headline()
        if hints and error.code == "conflict":
            error.hint = hints[0]
        why = "\n".join([self._derivation.words(), *self._found(), *notes])
        return ResolutionError(error, why, self._derivation.data())

    def _headline(self) -> ModpmError:
        if ORIGIN in self._requirements:
            return ModpmError(
                "there is no one origin for the modules that are asked for",
                code="no-common-origin",
                hint="ask for other versions, or leave out `--same-origin`",
            )
        errors = [obstacle.error for obstacle in self._obstacles]
        if errors and not self._contested and len({error.code for error in errors}) == 1:
            return errors[0]
        return self._conflict()

    def _conflict(self) -> ModpmError:
        what, where = END, None
        if len(self._contested) == 1:
            (name,) = self._contested
            what = f"no release of `{name}` satisfies everybody who asks for it"
            where = f"registry {self._shelves.place_of(_module(name))}"
        return ModpmError(
            what, code="conflict", where=where, hint="loosen one of these requirements"
        )

    def _find_requirements(self) -> dict[str, list[list[Requirement]]]:
        """Return what is required of each package, apart by who requires it."""
        found: dict[tuple[str, object], list[Requirement]] = {}
        for step in [*self._derivation.facts("demand"), *self._derivation.facts("requirement")]:
            name, asked_by, requirements = self._required(step)
            found.setdefault((name, asked_by), []).extend(requirements)
        of_packages: dict[str, list[list[Requirement]]] = {}
        for (name, _), requirements in found.items():
            of_packages.setdefault(name, []).append(requirements)
        return of_packages

    def _required(self, step: Step) -> tuple[str, object, list[Requirement]]:
        # A clause that grew while the solver learned stands in a proof in several sizes.
        required = step.clause.terms[-1]
        name = step.facts.get("on", required.package)
        demand = step.clause.origin
        if isinstance(demand, Demand):
            return name, demand, [demand.requirement]
        texts = step.facts.get("requires", [])
        asked_by = (step.facts.get("module"), tuple(texts))
        return name, asked_by, [self._shelves.requirement(text) for text in texts]

    def _found(self) -> list[str]:
        looked_at = {str(module) for obstacle in self._obstacles for module in obstacle.modules}
        names = sorted(looked_at | set(self._contested))
        candidates = [self._shelves.candidates(_module(name)) for name in names[:_MAX_LISTED]]
        if len(names) == 1:
            return [f"releases found: {found(candidates[0])}"]
        return [f"releases found of {one.module}: {found(one)}" for one in candidates]

    def _near_misses(self) -> tuple[list[str], list[str]]:
        """Name what only yanked and pre-releases would satisfy of two that ask, with hints."""
        notes: dict[str, str] = {}
        for name in self._contested:
            candidates = self._shelves.candidates(_module(name))
            for requirements in islice(_pairs(self._requirements[name]), _MAX_PAIRS):
                accepted = candidates.accepted(requirements)
                if not accepted.is_empty and (accepted & candidates.plain).is_empty:
                    note = f"of {name}, {ruled_out(candidates, requirements)}"
                    notes[note] = hint(candidates, requirements)
        return list(notes), list(notes.values())


def _pairs(asked: Iterable[list[Requirement]]) -> Iterator[tuple[Requirement, Requirement]]:
    for left, right in combinations(asked, 2):
        yield from product(left, right)


def _module(name: str) -> ModuleName:
    return ModuleName(*name.split("/"))
