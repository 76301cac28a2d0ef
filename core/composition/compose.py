"""Composing: one classifier of class modules, fused or apart.

The strategy `auto` chooses by what both cost and what they were measured at; ADR 0013 says why. The
cheaper of the two is taken, unless the other one's recorded accuracy is higher by more than its
arithmetic is worth: by a point for each doubling, and by half a point at least, below which a few
thousand images tell nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

from modpm.core.composition.class_module import Scorer
from modpm.core.composition.classifier import Classifier
from modpm.core.composition.fused import fuse, obstacle
from modpm.core.composition.recipe import Composition, Pin
from modpm.core.composition.saving import not_composed
from modpm.core.errors import ModpmError
from modpm.core.formats.composition_manifest import (
    ComposedModule,
    ComposedNetwork,
    CompositionRecord,
    strategy_of,
)
from modpm.core.formats.manifest import ComposedAccuracy
from modpm.core.shown_text import Percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.composition.class_module import ClassModule


def keep_independent(module: ClassModule, label: str) -> Scorer:
    """Return a class module as a scorer of one label; its scores are those of the module alone.

    Args:
        module: Of any origin and architecture.
        label: What its score is called in the classifier.
    """
    return Scorer((label,), module.input, module.graph, module.tensors)


POINTS_A_DOUBLING = 1.0
LEAST_POINTS = 0.5


class Verdict(NamedTuple):
    """How modules of one origin are composed.

    Attributes:
        is_fused: As one network, or each by itself.
        reason: In words.
    """

    is_fused: bool
    reason: str


def weigh(fused_macs: int, apart_macs: int, recorded: ComposedAccuracy | None) -> Verdict:
    """Choose between modules of one origin fused and apart.

    Args:
        fused_macs: Multiply-accumulates of them fused.
        apart_macs: The same of them apart, in total.
        recorded: What both measured for all classes of the origin, if that is known.
    """
    is_fused_cheaper = fused_macs <= apart_macs
    cheap, dear = ("fused", "independent") if is_fused_cheaper else ("independent", "fused")
    low, high = sorted((fused_macs, apart_macs))
    cost = f"{cheap} costs {low:,} multiply-accumulates, {dear} {high:,}"
    if recorded is None:
        return Verdict(is_fused_cheaper, f"{cost}; no accuracy is recorded")
    known = (
        f"all classes of the origin were recorded at {Percent(recorded.fused)} fused and "
        f"{Percent(recorded.independent)} independent"
    )
    gain = 100 * (getattr(recorded, dear) - getattr(recorded, cheap))
    if gain <= 0:
        return Verdict(is_fused_cheaper, f"{cost}, for no more accuracy; {known}")
    is_dear_worth = gain > worth(low, high)
    judged = "is worth" if is_dear_worth else "is not worth"
    reason = f"{cost}; {known}, which {judged} {high / max(low, 1):.2f} times the arithmetic"
    return Verdict(is_fused_cheaper != is_dear_worth, reason)


def worth(low: int, high: int) -> float:
    """Return how many points of accuracy some arithmetic must gain over less of it."""
    doublings = math.log2(max(high, 1) / max(low, 1))
    return max(LEAST_POINTS, POINTS_A_DOUBLING * doublings)


def recorded_accuracy(modules: Sequence[ClassModule]) -> ComposedAccuracy | None:
    """Return what the modules' manifests record of composing, where they all say the same."""
    first, *others = (module.manifest.composed for module in modules)
    if isinstance(first, ComposedAccuracy) and all(other == first for other in others):
        return first
    return None


AUTO, INDEPENDENT, FUSED, MIXED = "auto", "independent", "fused", "mixed"
STRATEGIES = (AUTO, INDEPENDENT, FUSED)


def compose_modules(
    modules: Sequence[ClassModule],
    strategy: str = AUTO,
    *,
    labels: Sequence[str] | None = None,
    reject: float | None = None,
) -> Classifier:
    """Compose a classifier of class modules, without training.

    Args:
        modules: Of any origins, architectures and input contracts.
        strategy: `independent` lets each module run as it is; `fused` makes one network of
            modules of one origin; `auto` does for each origin whichever is better by what it
            costs and what it was recorded at.
        labels: What the scores are called, in the order of the modules; None for the modules'
            own labels.
        reject: An image is none of the above where no score's own probability reaches this;
            None to give every image a label.

    Raises:
        ModpmError: No modules (`nothing-to-compose`), two of one label (`same-label`), a
            strategy or threshold that is none, or modules that cannot be fused.
    """
    names = [module.label for module in modules] if labels is None else list(labels)
    _check_request(modules, names, strategy)
    _check_reject(reject)
    scorers, reasons = _SCORERS[strategy](modules, names)
    composition = Composition(
        strategy=_strategy_of(scorers, strategy),
        modules=[pin(module, label) for module, label in zip(modules, names, strict=True)],
        origin_macs=origin_macs(modules),
    )
    return Classifier(scorers, names, reject, composition, reasons)


def pin(module: ClassModule, label: str) -> Pin:
    """Return the record of a class module in a composition."""
    manifest = module.manifest
    return Pin(
        label=label,
        name=manifest.name,
        version=manifest.version,
        digest=module.digest,
        origin=manifest.origin.digest,
        calibration=manifest.calibration,
    )


def origin_macs(modules: Sequence[ClassModule]) -> int:
    """Return the multiply-accumulates of the modules' origins, each counted once."""
    return sum({m.manifest.origin.digest: m.manifest.origin.macs for m in modules}.values())


class _Done(NamedTuple):
    """Networks, and why it is these."""

    scorers: list[Scorer]
    reasons: list[str]


def _independent(modules: Sequence[ClassModule], labels: Sequence[str]) -> _Done:
    apart = [keep_independent(one, label) for one, label in zip(modules, labels, strict=True)]
    return _Done(apart, [])


def _fused(modules: Sequence[ClassModule], labels: Sequence[str]) -> _Done:
    return _Done([fuse(modules, labels)], [])


def _auto(modules: Sequence[ClassModule], labels: Sequence[str]) -> _Done:
    groups: dict[str, list[int]] = {}
    for i, module in enumerate(modules):
        groups.setdefault(module.manifest.origin.digest, []).append(i)
    chosen = [
        _chosen([modules[i] for i in group], [labels[i] for i in group])
        for group in groups.values()
    ]
    return _Done(
        *([item for part in parts for item in part] for parts in zip(*chosen, strict=True))
    )


def _chosen(modules: Sequence[ClassModule], labels: Sequence[str]) -> _Done:
    """Return modules of one origin fused or apart, whichever is better."""
    apart = _independent(modules, labels).scorers
    if len(modules) == 1:
        return _Done(apart, [f"{labels[0]}: independent, the only one of its origin"])
    names = ", ".join(labels)
    why = obstacle(modules)
    if why is not None:
        return _Done(apart, [f"{names}: independent, for they cannot be fused: {why}"])
    fused = fuse(modules, labels)
    apart_macs = sum(scorer.cost.macs for scorer in apart)
    verdict = weigh(fused.cost.macs, apart_macs, recorded_accuracy(modules))
    taken = FUSED if verdict.is_fused else INDEPENDENT
    reasons = [f"{names}: {taken}, for {verdict.reason}"]
    return _Done([fused] if verdict.is_fused else apart, reasons)


_SCORERS = {AUTO: _auto, INDEPENDENT: _independent, FUSED: _fused}


def _strategy_of(scorers: Sequence[Scorer], asked: str) -> str:
    """Return what was done: `auto` is an answer only to the question."""
    if asked != AUTO:
        return asked
    is_fused = [len(scorer.labels) > 1 for scorer in scorers]
    if all(is_fused) and len(scorers) == 1:
        return FUSED
    return MIXED if any(is_fused) else INDEPENDENT


def _check_request(modules: Sequence[ClassModule], labels: Sequence[str], strategy: str) -> None:
    if strategy not in STRATEGIES:
        raise ModpmError(
            f"no strategy is called `{strategy}`",
            code="unknown-strategy",
            hint=f"the strategies are {', '.join(STRATEGIES)}",
            exit_code=2,
        )
    if not modules:
        raise ModpmError(
            "there is nothing to compose",
            code="nothing-to-compose",
            why="no class module was named, and none is installed",
            hint="run `modpm install NAMESPACE/NAME` first",
        )
    for i, label in enumerate(labels):
        if label in labels[:i]:
            raise _same_label(modules[labels.index(label)], modules[i], label)


def _same_label(first: ClassModule, second: ClassModule, label: str) -> ModpmError:
    releases = [f"{m.manifest.name} {m.manifest.version}" for m in (first, second)]
    return ModpmError(
        f"two class modules have the label `{label}`",
        code="same-label",
        why=" and ".join(releases),
        hint=f"take one of them, or call one otherwise: `--alias {second.manifest.name}=LABEL`",
    )


def _check_reject(reject: float | None) -> None:
    if reject is not None and not 0 <= reject <= 1:
        raise ModpmError(
            f"the threshold {reject:g} is not a probability",
            code="invalid-threshold",
            hint="take a number from 0 to 1, for example `--reject 0.5`",
            exit_code=2,
        )


def record_of(classifier: Classifier) -> CompositionRecord:
    """Return what a manifest says of a classifier (clauses M-21 to M-27).

    Raises:
        ModpmError: It was not composed (`not-composed`), or of a module that is in no
            distribution (`not-released`).
    """
    if classifier.composition is None:
        raise not_composed()
    networks = [_network(scorer, classifier) for scorer in classifier.networks()]
    return CompositionRecord(
        strategy=strategy_of(networks),
        modules=[_module(one) for one in classifier.pins],
        networks=networks,
        reject=classifier.reject,
        n_parameters=classifier.n_parameters,
        size_bytes=classifier.cost.size_bytes,
        macs=classifier.macs,
        origin_macs=classifier.composition.origin_macs,
        measured=list(classifier.composition.measured),
    )


def rebuild(record: CompositionRecord, modules: Sequence[ClassModule]) -> Classifier:
    """Make the classifier of a composition, which is the same wherever it is made.

    Args:
        record: What the manifest says.
        modules: The class modules that it names, in its order.

    Raises:
        ModpmError: A module is not the release that is named (`broken-composition`), or modules
            that are said to be fused cannot be (as for `fuse`).
    """
    for composed, module in zip(record.modules, modules, strict=True):
        _check_release(composed, module)
    composition = Composition(
        strategy=record.strategy,
        modules=[pin(module, label) for module, label in zip(modules, record.labels, strict=True)],
        origin_macs=origin_macs(modules),
        measured=list(record.measured),
    )
    scorers = [_scorer(network, record.labels, modules) for network in record.networks]
    return Classifier(scorers, record.labels, record.reject, composition)


def _network(scorer: Scorer, classifier: Classifier) -> ComposedNetwork:
    is_fused = len(scorer.labels) > 1 or classifier.strategy == FUSED
    strategy: Literal["fused", "independent"] = "fused" if is_fused else "independent"
    positions = [classifier.labels.index(label) for label in scorer.labels]
    return ComposedNetwork(strategy=strategy, modules=positions)


def _module(one: Pin) -> ComposedModule:
    if one.digest is None:
        raise ModpmError(
            f"`{one.name}` {one.version} is no release",
            code="not-released",
            why="it was composed without a distribution",
            hint="publish and install it, and compose again",
        )
    return ComposedModule(label=one.label, name=one.name, version=one.version, digest=one.digest)


def _scorer(
    network: ComposedNetwork, labels: Sequence[str], modules: Sequence[ClassModule]
) -> Scorer:
    if network.strategy == FUSED:
        return fuse([modules[i] for i in network.modules], [labels[i] for i in network.modules])
    (i,) = network.modules
    return keep_independent(modules[i], labels[i])


def _check_release(composed: ComposedModule, module: ClassModule) -> None:
    if module.digest == composed.digest:
        return
    raise ModpmError(
        f"`{composed.name}` is not the release that the composition is made of",
        code="broken-composition",
        why=f"the composition names {composed.version}, {composed.digest}; this is "
        f"{module.manifest.version}, {module.digest}",
        hint="run `modpm install` or `modpm verify --repair`",
    )
