"""A proof that there is no resolution, as the error that a user sees: in sentences and as data."""

from __future__ import annotations

from collections import Counter
from itertools import chain, combinations, islice, product
from typing import TYPE_CHECKING, Any

from nab_resolver.root import ROOT
from nab_resolver.types import Incompatibility, IncompatibilityCause, Term

from modpm.core.errors import ModpmError
from modpm.registry.resolver.origins import ORIGIN
from modpm.registry.resolver.refusals import (
    END,
    Demand,
    ResolutionError,
    Step,
    found,
    hint,
    plural,
    ruled_out,
)
from modpm.registry.resolver.shelves import ModulePackage, Obstacle
from modpm.registry.resolver.version_sets import version_set

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modpm.core.formats.requirements import Requirement
    from modpm.registry.resolver.solving import Provider

Clause = Incompatibility[Any, int]

# As many reasons as a sentence can have and be read.
_MAX_REASONS = 3
_MAX_LINES = 24
_MAX_LISTED = 3
_MAX_PAIRS = 500  # of those who ask for one module; two are enough to say why


class Explanation:
    """What a proof comes to: a code, sentences, the releases that nearly fitted, and a hint."""

    def __init__(self, conclusion: Clause, provider: Provider) -> None:
        self._provider = provider
        self._obstacles: list[Obstacle] = []
        # Name to what is required of it, apart by who requires it. A clause that grew while the
        # solver learned stands in a proof in several sizes.
        self._required: dict[str, dict[object, list[Requirement]]] = {}
        places: dict[int, int] = {}
        # Causes stand before what follows from them; the last step is that the proof ends.
        self._steps: list[Step] = []
        for clause in _causes_first(conclusion):
            causes = tuple(places[id(cause)] for cause in _causes(clause))
            places[id(clause)] = len(self._steps)
            self._steps.append(self._step(clause, causes))
        several = sorted(name for name, asked in self._required.items() if len(asked) > 1)
        self._contested = [name for name in several if name != ORIGIN]

    def error(self) -> ResolutionError:
        """Return the error."""
        notes, hints = self._near_misses()
        error = self._headline()
        if hints and error.code == "conflict":
            error.hint = hints[0]
        lines = _Story(self._steps).lines()
        n_left_out = max(0, len(lines) - _MAX_LINES)
        if n_left_out:
            lines[:n_left_out] = [f"({n_left_out} steps before these: `--json` shows them)"]
        return ResolutionError(error, "\n".join([*lines, *self._found(), *notes]), self._steps)

    def _step(self, clause: Clause, causes: tuple[int, ...]) -> Step:
        if causes:
            return Step("conclusion", self._conclusion(clause), causes)
        if clause.cause is IncompatibilityCause.ROOT:
            return self._demand(clause)
        if clause.cause is IncompatibilityCause.DEPENDENCY:
            return self._requirement(clause)
        return self._obstacle(clause)

    def _demand(self, clause: Clause) -> Step:
        name, demand = clause.terms[-1].package, clause.origin
        if not isinstance(demand, Demand):
            self._required[name] = {demand: []}
            return Step("demand", str(demand))
        self._required.setdefault(name, {})[demand] = [demand.requirement]
        return demand.step()

    def _requirement(self, clause: Clause) -> Step:
        subject = clause.terms[0]
        package = self._provider.package(subject.package)
        name, needed = subject.package, clause.dependency_range
        if len(clause.terms) > 1:
            name, needed = clause.terms[1].package, clause.terms[1].constraint
        text = package.words_of_need(version_set(subject.constraint), name, version_set(needed))
        facts, texts = self._subject(subject) | {"on": name}, list[str]()
        if isinstance(package, ModulePackage):
            texts = package.requirements_on(version_set(subject.constraint), name)
            facts["requires"] = texts
        asked_by = (subject.package, *texts)
        requirements = [self._provider.shelves.requirement(text) for text in texts]
        self._required.setdefault(name, {})[asked_by] = requirements
        return Step("requirement", text, (), facts)

    def _obstacle(self, clause: Clause) -> Step:
        (term,) = clause.terms
        text, code = f"{self._words(term)} does not exist", "no-version-fits"
        if isinstance(clause.origin, Obstacle):
            self._obstacles.append(clause.origin)
            text, code = clause.origin.text, clause.origin.error.code
        return Step("obstacle", text, (), self._subject(term) | {"code": code})

    def _subject(self, term: Term[Any, int]) -> dict[str, Any]:
        kind = "origins" if term.package == ORIGIN else "versions"
        versions = self._provider.package(term.package).listed(version_set(term.constraint))
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
        return self._provider.package(term.package).words(version_set(term.constraint))

    def _headline(self) -> ModpmError:
        if ORIGIN in self._required:
            return ModpmError(
                "there is no one origin for the modules that are asked for",
                code="no-common-origin",
                hint="ask for other versions, or give `--no-same-origin`",
            )
        errors = [obstacle.error for obstacle in self._obstacles]
        if errors and not self._contested and len({error.code for error in errors}) == 1:
            return errors[0]
        what, where = END, None
        if len(self._contested) == 1:
            (name,) = self._contested
            what = f"no release of `{name}` satisfies everybody who asks for it"
            where = f"registry {self._provider.shelves.place_of(self._module(name).module)}"
        return ModpmError(
            what, code="conflict", where=where, hint="loosen one of these requirements"
        )

    def _found(self) -> list[str]:
        looked_at = {str(module) for obstacle in self._obstacles for module in obstacle.modules}
        names = sorted(looked_at | set(self._contested))
        packages = [self._module(name) for name in names[:_MAX_LISTED]]
        if len(names) == 1:
            return [f"releases found: {found(packages[0])}"]
        return [f"releases found of {one.module}: {found(one)}" for one in packages]

    def _near_misses(self) -> tuple[list[str], list[str]]:
        """Name what only yanked and pre-releases would satisfy of two that ask, with hints."""
        notes: dict[str, str] = {}
        for name in self._contested:
            package = self._module(name)
            asked = combinations(self._required[name].values(), 2)
            pairs = chain.from_iterable(product(*two) for two in asked)
            for requirements in islice(pairs, _MAX_PAIRS):
                accepted = package.accepted(requirements)
                if not accepted.is_empty and (accepted & package.plain).is_empty:
                    note = f"of {name}, {ruled_out(package, requirements)}"
                    notes[note] = hint(package, requirements)
        return list(notes), list(notes.values())

    def _module(self, name: str) -> ModulePackage:
        package = self._provider.package(name)
        assert isinstance(package, ModulePackage)
        return package


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
