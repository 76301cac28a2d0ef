"""Why there is no resolution: the solver's proof, in sentences and as data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nab_resolver.root import ROOT
from nab_resolver.types import Incompatibility, IncompatibilityCause, Term

from modpm.registry.resolver.demands import Demand
from modpm.registry.resolver.origins import ORIGIN
from modpm.registry.resolver.packages import ModulePackage, Obstacle
from modpm.registry.resolver.refusals import END, demand_facts, plural
from modpm.registry.resolver.version_sets import VersionSet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modpm.registry.resolver.packages import Package

Clause = Incompatibility[Any, int]

# As many reasons as a sentence can have and be read.
_MAX_REASONS = 3
_MAX_LINES = 24


@dataclass(frozen=True)
class Step:
    """One step of a proof: a fact, or what follows from two steps before it.

    Attributes:
        kind: `demand`, `requirement`, `obstacle` or `conclusion`.
        text: The step as part of a sentence.
        causes: The steps it follows from, by their places; none of a fact.
        facts: What else is known of it, as JSON.
        clause: The solver's own form of it.
    """

    kind: str
    text: str
    causes: tuple[int, ...]
    facts: Mapping[str, Any]
    clause: Clause = field(repr=False)


class Derivation:
    """The steps of a proof, causes before what follows from them; the last is that it ends.

    Args:
        conclusion: The clause that cannot be avoided, with its causes.
        package: Gives the package of a name.
    """

    def __init__(self, conclusion: Clause, package: Callable[[str], Package]) -> None:
        self._package = package
        self.steps: list[Step] = []
        places: dict[int, int] = {}
        for clause in _causes_first(conclusion):
            causes = tuple(places[id(cause)] for cause in _causes(clause))
            places[id(clause)] = len(self.steps)
            self.steps.append(self._step(clause, causes))

    def data(self) -> list[dict[str, Any]]:
        """Return the steps as JSON, numbered from 1."""
        return [
            {
                "step": number,
                "kind": step.kind,
                "text": step.text,
                "because": [cause + 1 for cause in step.causes],
                **step.facts,
            }
            for number, step in enumerate(self.steps, 1)
        ]

    def words(self) -> str:
        """Return the proof in sentences, a line each."""
        lines = _Story(self.steps).lines()
        n_left_out = max(0, len(lines) - _MAX_LINES)
        if n_left_out:
            lines[:n_left_out] = [f"({n_left_out} steps before these: `--json` shows them)"]
        return "\n".join(lines)

    def facts(self, kind: str) -> list[Step]:
        """Return the steps of a kind."""
        return [step for step in self.steps if step.kind == kind]

    def _step(self, clause: Clause, causes: tuple[int, ...]) -> Step:
        if causes:
            return Step("conclusion", self._conclusion(clause), causes, {}, clause)
        if clause.cause is IncompatibilityCause.ROOT:
            return _demand(clause)
        if clause.cause is IncompatibilityCause.DEPENDENCY:
            return self._requirement(clause)
        return self._obstacle(clause)

    def _requirement(self, clause: Clause) -> Step:
        subject = clause.terms[0]
        package = self._package(subject.package)
        name, needed = subject.package, clause.dependency_range
        if len(clause.terms) > 1:
            name, needed = clause.terms[1].package, clause.terms[1].constraint
        text = package.words_of_need(_set(subject.constraint), name, _set(needed))
        facts = self._subject(subject) | {"on": name}
        if isinstance(package, ModulePackage):
            facts["requires"] = package.requirements_on(_set(subject.constraint), name)
        return Step("requirement", text, (), facts, clause)

    def _obstacle(self, clause: Clause) -> Step:
        (term,) = clause.terms
        if isinstance(clause.origin, Obstacle):
            text, code = clause.origin.text, clause.origin.error.code
        else:
            text, code = f"{self._words(term)} does not exist", "no-version-fits"
        return Step("obstacle", text, (), self._subject(term) | {"code": code}, clause)

    def _subject(self, term: Term[Any, int]) -> dict[str, Any]:
        kind = "origins" if term.package == ORIGIN else "versions"
        versions = self._package(term.package).listed(_set(term.constraint))
        return {"module": term.package, kind: versions}

    def _conclusion(self, clause: Clause) -> str:
        terms = [term for term in clause.terms if term.package is not ROOT]
        if not terms:
            return END
        chosen = [self._words(term) for term in terms if term.is_positive()]
        needed = " or ".join(self._words(term) for term in terms if not term.is_positive())
        if not chosen:
            return f"{needed} is needed"
        subject = " together with ".join(chosen)
        if needed:
            return f"{subject} {'need' if plural(subject) else 'needs'} {needed}"
        if subject.startswith("every "):
            return f"no {subject.removeprefix('every ')} can be used"
        return f"{subject} cannot be used"

    def _words(self, term: Term[Any, int]) -> str:
        return self._package(term.package).words(_set(term.constraint))


def _set(constraint: object) -> VersionSet:
    assert isinstance(constraint, VersionSet)
    return constraint


def _demand(clause: Clause) -> Step:
    demand = clause.origin
    facts = demand_facts(demand) if isinstance(demand, Demand) else {}
    return Step("demand", str(demand), (), facts, clause)


def _causes(clause: Clause) -> list[Clause]:
    return [cause for cause in (clause.cause_left, clause.cause_right) if cause is not None]


def _causes_first(conclusion: Clause) -> list[Clause]:
    """Return each clause once, after its causes; without recursion, for proofs may be deep."""
    found: dict[int, Clause] = {}
    to_do = [(conclusion, False)]
    while to_do:
        clause, is_ready = to_do.pop()
        if is_ready:
            found.setdefault(id(clause), clause)
        elif id(clause) not in found:
            to_do.append((clause, True))
            to_do += [(cause, False) for cause in reversed(_causes(clause))]
    return list(found.values())


class _Story:
    """A proof as few sentences: a step that is used once is told where it is used."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._n_uses = Counter(cause for step in steps for cause in step.causes)
        self._reasons = self._find_reasons()
        self._told = self._find_told()

    def lines(self) -> list[str]:
        """Return a sentence for each step that is told by itself."""
        numbers = self._numbers()
        lines: list[str] = []
        for place, step in enumerate(self._told):
            before = self._told[place - 1] if place else None
            reasons = [self._reason(r, before, numbers) for r in self._reasons[step]]
            first = "And " if before in self._reasons[step] else ""
            number = f" ({numbers[step]})" if step in numbers else ""
            stated = ", ".join(reason for reason in reasons[:-1] if reason)
            stated = " and ".join(part for part in (stated, reasons[-1]) if part)
            lines.append(f"{first}{stated}, so {self._steps[step].text}{number}.")
        return lines

    def _find_reasons(self) -> list[list[int]]:
        """Return what each step is told to follow from."""
        reasons: list[list[int]] = []
        for step in self._steps:
            told: list[int] = []
            for i, cause in enumerate(step.causes):
                inner = reasons[cause]
                n_others = len(told) + len(step.causes) - i - 1
                fits = self._n_uses[cause] == 1 and len(inner) + n_others <= _MAX_REASONS
                told += inner if inner and fits else [cause]
            reasons.append(list(dict.fromkeys(told)))
        return reasons

    def _find_told(self) -> list[int]:
        """Return the steps that the last one is told by, in order."""
        needed = {len(self._steps) - 1}
        for step in reversed(range(len(self._steps))):
            if step in needed:
                needed |= {reason for reason in self._reasons[step] if self._reasons[reason]}
        return sorted(needed)

    def _numbers(self) -> dict[int, int]:
        """Number the steps that are referred to from elsewhere than the next sentence."""
        referred = {
            reason
            for place, step in enumerate(self._told)
            for reason in self._reasons[step]
            if self._reasons[reason] and (place == 0 or reason != self._told[place - 1])
        }
        return {step: number for number, step in enumerate(sorted(referred), 1)}

    def _reason(self, step: int, before: int | None, numbers: Mapping[int, int]) -> str:
        if step == before:
            return ""
        number = f" ({numbers[step]})" if step in numbers else ""
        return self._steps[step].text + number
