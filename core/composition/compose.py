"""Composing: one classifier of class modules, without training."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from modpm.core.composition.automatic import recorded_accuracy, weigh
from modpm.core.composition.classifier import Classifier
from modpm.core.composition.fused import fuse, obstacle
from modpm.core.composition.independent import keep_independent
from modpm.core.composition.recipe import Composition, Pin
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.composition.class_module import ClassModule
    from modpm.core.composition.scorer import Scorer

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
