"""Replacing: the score of one label becomes that of another class module, and what that changes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from modpm.core.composition.compose import INDEPENDENT, read_alike, rebuild
from modpm.core.composition.fused import obstacle
from modpm.core.errors import ModpmError, suggestion
from modpm.core.formats.composition_manifest import ComposedModule, ComposedNetwork, strategy_of
from modpm.core.shown_text import Percent, Points, short_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modpm.core.classifiers.class_module import ClassModule
    from modpm.core.classifiers.classifier import Classifier
    from modpm.core.classifiers.evaluation import Evaluation, LabelMetrics
    from modpm.core.formats.composition_manifest import CompositionRecord


def find_label(name: str, labels: Sequence[str]) -> str:
    """Return the label that a user means by its whole name, or by its last part alone.

    Raises:
        ModpmError: There is none, or there are several (`unknown-label`).
    """
    short = short_labels(labels)
    meant = [label for label in labels if label == name] or [
        label for label in labels if name in (short[label], label.partition("/")[2])
    ]
    if len(meant) == 1:
        return meant[0]
    raise ModpmError(
        f"several labels are called `{name}`" if meant else f"there is no label `{name}`",
        code="unknown-label",
        why=f"there are: {', '.join(meant or labels)}",
        hint=suggestion(name, {*labels, *short.values()}),
        exit_code=2,
    )


def replace_module(
    record: CompositionRecord, members: Sequence[ClassModule], label: str, module: ClassModule
) -> Classifier:
    """Make the classifier of a composition in which one label is scored by another class module.

    The other labels keep their class modules. A module leaves the network that it is in, which
    becomes what the others make without it; the new one joins a network of its origin, if there
    is one, and runs by itself otherwise. Its log-odds stand beside those of the others. Where
    several modules voted for the label, it takes the place of all of them. Origins stay adjusted
    as they were; a linear layer over the scores, which knew the module before, is left out.

    Args:
        record: What the composition says.
        members: Its class modules, in its order.
        label: One of its labels, which stays.
        module: A release of a class module.

    Raises:
        ModpmError: The module is in the composition already (`already-composed`), or is no
            release (`not-released`); what `rebuild` raises.
    """
    targets = [i for i, one in enumerate(record.modules) if one.label == label]
    _check_new(record, targets, module)
    kept = [i for i in range(len(members)) if i == targets[0] or i not in targets]
    modules = [module if i == targets[0] else members[i] for i in kept]
    composed = [_as_composed(module, label) if i == targets[0] else record.modules[i] for i in kept]
    networks = _networks(record.networks, kept, targets[0], modules)
    origins = {one.manifest.origin.digest for one in modules}
    replaced = msgspec.structs.replace(
        record,
        modules=composed,
        networks=networks,
        strategy=strategy_of(networks),
        adjustments=[one for one in record.adjustments if one.origin in origins],
        linear=msgspec.UNSET,
        measured=[],
    )
    return rebuild(replaced, modules)


def _as_composed(module: ClassModule, label: str) -> ComposedModule:
    manifest = module.manifest
    return ComposedModule(
        label=label, name=manifest.name, version=manifest.version, digest=module.digest or ""
    )


def _check_new(record: CompositionRecord, targets: Sequence[int], module: ClassModule) -> None:
    if module.digest is None:
        raise ModpmError(
            f"`{module.manifest.name}` is no release",
            code="not-released",
            why="it is not from a distribution",
            hint="name an installed module, or the folder of a distribution",
        )
    for i, one in enumerate(record.modules):
        is_alone = [i] == targets and module.digest == one.digest
        if is_alone or (i not in targets and one.name == module.manifest.name):
            raise ModpmError(
                f"`{module.manifest.name}` is in the composition already",
                code="already-composed",
                why=f"{one.name} {one.version} scores `{one.label}`",
                hint="name another module, or another release of it",
            )


def _networks(
    networks: Sequence[ComposedNetwork],
    kept: Sequence[int],
    position: int,
    modules: Sequence[ClassModule],
) -> list[ComposedNetwork]:
    """Return networks of the modules that are kept, and of the one that is at a position now."""
    place = kept.index(position)
    found, is_placed = [], False
    for network in networks:
        own = [kept.index(i) for i in network.modules if i in kept and i != position]
        if (
            own
            and not is_placed
            and _can_join(network.strategy, [modules[i] for i in own], modules[place])
        ):
            own, is_placed = sorted([*own, place]), True
        if own:
            found.append(msgspec.structs.replace(network, modules=own))
    alone = ComposedNetwork(strategy="independent", modules=[place])
    return found if is_placed else [*found, alone]


def _can_join(strategy: str, others: Sequence[ClassModule], module: ClassModule) -> bool:
    is_alike = read_alike(others[0], module)
    return is_alike and (strategy == INDEPENDENT or obstacle([*others, module]) is None)


@dataclass(frozen=True)
class Comparison:
    """What other scores for some labels change, measured on the same images.

    Attributes:
        targets: The labels.
        before, after: The classifier without the change and with it.
    """

    targets: Sequence[str]
    before: Evaluation
    after: Evaluation

    def changes(self) -> Iterator[tuple[str, LabelMetrics, LabelMetrics]]:
        """Give each label with its metrics before and after."""
        for label, metrics in self.before.per_class.items():
            yield label, metrics, self.after.per_class[label]

    def gained(self, label: str) -> float | None:
        """Return the points of recall that a label gains; None where no image shows it."""
        before, after = self.before.per_class[label].recall, self.after.per_class[label].recall
        return None if before is None or after is None else 100 * (after - before)

    def check(self, budget: float) -> None:
        """Check that no label loses more recall than is allowed, the targets neither.

        Args:
            budget: Points of recall.

        Raises:
            ModpmError: One does (`budget-not-met`).
        """
        gains = {label: self.gained(label) for label, _, _ in self.changes()}
        lost = {
            label: -gain
            for label, gain in gains.items()
            if gain is not None and -gain > budget + 1e-9
        }
        if lost:
            raise self._too_dear(lost, budget)

    def _too_dear(self, lost: dict[str, float], budget: float) -> ModpmError:
        allowed = math.ceil(100 * max(lost.values()) - 1e-6) / 100
        told = dict.fromkeys([*self.targets, *lost])
        return ModpmError(
            f"of {len(self.before.per_class)} labels {len(lost)} lose more than {budget:g} points "
            "of recall",
            code="budget-not-met",
            why="\n".join(map(self._line, told)),
            hint=f"allow `--budget {allowed:.2f}`, or take another module",
        )

    def _line(self, label: str) -> str:
        before, after = self.before.per_class[label], self.after.per_class[label]
        gain = self.gained(label) or 0.0
        return (
            f"{label}: {'loses' if gain < 0 else 'gains'} {Points(abs(gain))} points, from "
            f"{Percent(before.recall or 0)} to {Percent(after.recall or 0)} of {after.n:,} images"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields that scripts rely on."""
        return {
            "n": self.after.n,
            "accuracy": {"before": self.before.accuracy, "after": self.after.accuracy},
            "per_class": {
                label: {
                    "n": after.n,
                    "precision": {"before": before.precision, "after": after.precision},
                    "recall": {"before": before.recall, "after": after.recall},
                }
                for label, before, after in self.changes()
            },
        }


def check_budget(budget: float) -> float:
    """Return a budget in points, which must be one.

    Raises:
        ModpmError: It is not (`bad-setting`).
    """
    if not (math.isfinite(budget) and budget >= 0):
        raise ModpmError(
            f"a budget of {budget:g} points is not possible",
            code="bad-setting",
            hint="it is how many points of accuracy may be lost: 0 or more",
            exit_code=2,
        )
    return budget
