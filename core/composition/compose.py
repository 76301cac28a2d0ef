"""Composing: one classifier of class modules, fused or apart.

The strategy `auto` chooses by what both cost and what they were measured at; ADR 0013 says why. The
cheaper of the two is taken, unless the other one's recorded accuracy is higher by more than its
arithmetic is worth: by a point for each doubling, and by half a point at least, below which a few
thousand images tell nothing. Beside modules of other origins a fusion of all classes of its own
counts for a point more than was recorded: its scores are those of one network, and tell better
whose class an image shows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec

from modpm.core.classifiers.class_module import Scorer
from modpm.core.classifiers.classifier import Classifier
from modpm.core.classifiers.recipe import UNRELEASED, Composition, Pin
from modpm.core.classifiers.saving import not_composed
from modpm.core.composition.adjusting import adjust
from modpm.core.composition.fused import fuse, obstacle
from modpm.core.composition.rejecting import asked_threshold
from modpm.core.composition.tuned_weights import with_weights
from modpm.core.errors import ModpmError
from modpm.core.estimating.cost import Cost
from modpm.core.estimating.together import Together, origin_cost
from modpm.core.formats.composition_manifest import (
    ComposedModule,
    ComposedNetwork,
    CompositionRecord,
    strategy_of,
)
from modpm.core.formats.manifest import ComposedAccuracy
from modpm.core.graph.cost import count
from modpm.core.graph.grouping import group
from modpm.core.graph.side_by_side import PlainNetwork
from modpm.core.shown_text import Percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import torch
    from torch import Tensor

    from modpm.core.classifiers.class_module import ClassModule


def keep_independent(modules: Sequence[ClassModule], labels: Sequence[str]) -> Scorer:
    """Return class modules side by side; the scores are those of each module alone.

    What modules of one origin have in common, such as layers that were not cut, is there once and
    computed once.

    Args:
        modules: One or more, of any architectures, that read the same images.
        labels: What their scores are called in the classifier, in the same order.
    """
    first = modules[0]
    if len(modules) == 1:
        return Scorer(labels, first.input, first.graph, first.tensors)
    together = group([PlainNetwork(one.graph, one.tensors) for one in modules])
    return Scorer(labels, first.input, together.graph, together.tensors)


POINTS_A_DOUBLING = 1.0
LEAST_POINTS = 0.5
BESIDE_OTHERS = 1.0
"""Points that a fusion gains on its modules apart, beside other origins, over what is recorded."""


class Verdict(NamedTuple):
    """How modules of one origin are composed.

    Attributes:
        is_fused: As one network, or each by itself.
        reason: In words.
    """

    is_fused: bool
    reason: str


def weigh(
    fused_macs: int,
    apart_macs: int,
    recorded: ComposedAccuracy | None,
    *,
    is_beside_others: bool = False,
) -> Verdict:
    """Choose between modules of one origin fused and apart.

    Args:
        fused_macs: Multiply-accumulates of them fused.
        apart_macs: The same of them apart, in total.
        recorded: What both measured for all classes of the origin, if that is known.
        is_beside_others: Whether they are all classes of their origin, and composed with modules
            of others.
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
    if is_beside_others:
        known += f", and fused gains about {BESIDE_OTHERS:g} point more beside other origins"
        gain += -BESIDE_OTHERS if is_fused_cheaper else BESIDE_OTHERS
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


AUTO: Final = "auto"
INDEPENDENT: Final = "independent"
FUSED: Final = "fused"
STRATEGIES = (AUTO, INDEPENDENT, FUSED)


def compose_modules(
    modules: Sequence[ClassModule],
    strategy: str = AUTO,
    *,
    labels: Sequence[str] | None = None,
    reject: float | str | None = None,
    false_rejections: float | None = None,
    ensemble: bool = False,
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
            `auto` for what rejects a share of the known images, by what the modules publish of
            their scores, for which they are not fused;
            None to give every image a label.
        false_rejections: That share; None for 5 %.
        ensemble: Let modules of one label vote: its score is the mean of theirs.

    Raises:
        ModpmError: No modules (`nothing-to-compose`), two of one label that do not vote
            (`same-label`), a strategy or threshold that is none, or modules that cannot be fused;
            as `asked_threshold`.
    """
    names = [module.label for module in modules] if labels is None else list(labels)
    _check_request(modules, strategy)
    if not ensemble:
        check_labels(modules, names)
    is_kept = reject == AUTO and strategy == AUTO
    parts = _parts(modules, names, INDEPENDENT if is_kept else strategy)
    networks = [network for part in parts for network in part.networks]
    threshold = asked_threshold(modules, networks, reject, false_rejections)
    composition = Composition(
        strategy=strategy_of(networks),
        modules=[pin(module, label) for module, label in zip(modules, names, strict=True)],
        networks=networks,
        false_rejections=threshold.false_rejections,
        origin_macs=origin_macs(modules),
    )
    scorers = _scorers(networks, names, modules)
    reasons = [reason for part in parts for reason in part.reasons]
    if is_kept:
        reasons.append("independent, for what modules publish of their scores holds of these alone")
    reasons += [*_votes(modules, names), *threshold.notes]
    labels_once = list(dict.fromkeys(names))
    classifier = Classifier(scorers, labels_once, threshold.reject, composition, reasons)
    classifier.counted = counted(classifier.cost, modules)
    return classifier


def _votes(modules: Sequence[ClassModule], labels: Sequence[str]) -> Iterator[str]:
    """Give which modules vote for each label that has several, in words."""
    voters: dict[str, list[str]] = {}
    for module, label in zip(modules, labels, strict=True):
        voters.setdefault(label, []).append(module.manifest.name)
    for label, names in voters.items():
        if len(names) > 1:
            yield f"{label}: the mean of {', '.join(names)}"


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


def counted(together: Cost, modules: Sequence[ClassModule]) -> Together:
    """Return what modules cost each by itself, and what of it is left together.

    Args:
        together: What they cost as they are composed.
        modules: The modules.
    """
    origins = {module.manifest.origin.digest: module.manifest.origin for module in modules}
    return Together(
        n_modules=len(modules),
        n_origins=len(origins),
        one_by_one=Cost.total(count(one.manifest.graph, one.tensors) for one in modules),
        together=together,
        origins=Cost.total(map(origin_cost, origins.values())),
    )


def origin_macs(modules: Sequence[ClassModule]) -> int:
    """Return the multiply-accumulates of the modules' origins, each counted once."""
    return sum({m.manifest.origin.digest: m.manifest.origin.macs for m in modules}.values())


class _Part(NamedTuple):
    """Networks of the modules of one origin, and why it is these."""

    networks: list[ComposedNetwork]
    reasons: Sequence[str] = ()


def _parts(modules: Sequence[ClassModule], labels: Sequence[str], strategy: str) -> list[_Part]:
    if strategy == FUSED:
        return [_Part([_network(FUSED, range(len(modules)))])]
    groups = _by_origin(modules)
    if strategy == INDEPENDENT:
        return [_Part([_network(INDEPENDENT, group)]) for group in groups]
    n_origins = len({module.manifest.origin.digest for module in modules})
    return [_chosen(one, modules, labels, is_beside_others=n_origins > 1) for one in groups]


def _by_origin(modules: Sequence[ClassModule]) -> list[list[int]]:
    """Return the positions of the modules of each origin that read the same images."""
    groups: list[list[int]] = []
    for i, module in enumerate(modules):
        alike = (group for group in groups if read_alike(modules[group[0]], module))
        group = next(alike, None)
        if group is None:
            groups.append([i])
        else:
            group.append(i)
    return groups


def read_alike(one: ClassModule, other: ClassModule) -> bool:
    """Say whether two modules are of one origin and read the same images."""
    return (
        one.manifest.origin.digest == other.manifest.origin.digest
        and one.input == other.input
        and one.graph.input == other.graph.input
        and _precision(one) == _precision(other)
    )


def _precision(module: ClassModule) -> torch.dtype:
    return next(iter(module.tensors.values())).dtype


def _network(strategy: Literal["independent", "fused"], modules: Iterable[int]) -> ComposedNetwork:
    return ComposedNetwork(strategy=strategy, modules=list(modules))


def _chosen(
    group: list[int],
    modules: Sequence[ClassModule],
    labels: Sequence[str],
    *,
    is_beside_others: bool,
) -> _Part:
    """Return modules of one origin fused or side by side, whichever is better."""
    some, named = [modules[i] for i in group], [labels[i] for i in group]
    apart, names = _network(INDEPENDENT, group), ", ".join(named)
    if len(some) == 1:
        return _Part([apart], [f"{names}: independent, the only one of its origin"])
    why = obstacle(some)
    if why is not None:
        return _Part([apart], [f"{names}: independent, for they cannot be fused: {why}"])
    fused_macs = fuse(some, named).cost.macs
    apart_macs = keep_independent(some, named).cost.macs
    are_all = len({one.manifest.output.class_index for one in some}) == len(
        some[0].manifest.origin.classes
    )
    verdict = weigh(
        fused_macs,
        apart_macs,
        recorded_accuracy(some),
        is_beside_others=is_beside_others and are_all,
    )
    taken: Literal["independent", "fused"] = FUSED if verdict.is_fused else INDEPENDENT
    return _Part([_network(taken, group)], [f"{names}: {taken}, for {verdict.reason}"])


def _scorers(
    networks: Iterable[ComposedNetwork], labels: Sequence[str], modules: Sequence[ClassModule]
) -> list[Scorer]:
    return [
        _MAKE[network.strategy](
            [modules[i] for i in network.modules], [labels[i] for i in network.modules]
        )
        for network in networks
    ]


_MAKE = {INDEPENDENT: keep_independent, FUSED: fuse}


def _check_request(modules: Sequence[ClassModule], strategy: str) -> None:
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


def check_labels(modules: Sequence[ClassModule], labels: Sequence[str]) -> None:
    """Check that no two modules have one label.

    Raises:
        ModpmError: `same-label`.
    """
    for i, label in enumerate(labels):
        if label in labels[:i]:
            raise _same_label(modules[labels.index(label)], modules[i], label)


def _same_label(first: ClassModule, second: ClassModule, label: str) -> ModpmError:
    releases = [f"{m.manifest.name} {m.manifest.version}" for m in (first, second)]
    return ModpmError(
        f"two class modules have the label `{label}`",
        code="same-label",
        why=" and ".join(releases),
        hint="take one of them, call one otherwise by "
        f"`--alias {second.manifest.name}=LABEL`, or let them vote by `--ensemble`",
    )


def record_of(classifier: Classifier) -> CompositionRecord:
    """Return what a manifest says of a classifier (clauses M-21 to M-27).

    Raises:
        ModpmError: It was not composed (`not-composed`), or of a module that is in no
            distribution (`not-released`).
    """
    if classifier.composition is None:
        raise not_composed()
    return CompositionRecord(
        strategy=classifier.composition.strategy,
        modules=[_module(one) for one in classifier.pins],
        networks=classifier.composition.networks,
        finetuned=classifier.composition.finetuned or msgspec.UNSET,
        adjustments=list(classifier.composition.adjustments),
        linear=classifier.composition.linear,
        reject=classifier.reject,
        false_rejections=classifier.composition.false_rejections,
        n_parameters=classifier.n_parameters,
        size_bytes=classifier.cost.size_bytes,
        macs=classifier.macs,
        origin_macs=classifier.composition.origin_macs,
        measured=list(classifier.composition.measured),
    )


def rebuild(
    record: CompositionRecord,
    modules: Sequence[ClassModule],
    weights: Mapping[str, Tensor] | None = None,
) -> Classifier:
    """Make the classifier of a composition, which is the same wherever it is made.

    Args:
        record: What the manifest says.
        modules: The class modules that it names, in its order.
        weights: Those of a composition that was trained once it was composed.

    Raises:
        ModpmError: A module is not the release that is named (`broken-composition`), or modules
            that are said to be fused cannot be (as for `fuse`), none is of an origin that is
            adjusted, or the weights are not those of the networks.
    """
    for composed, module in zip(record.modules, modules, strict=True):
        _check_release(composed, module)
    for network in record.networks:
        if network.strategy == INDEPENDENT:  # fusing checks for itself
            _check_alike([modules[i] for i in network.modules])
    labels = [one.label for one in record.modules]
    composition = Composition(
        strategy=record.strategy,
        modules=[pin(module, label) for module, label in zip(modules, labels, strict=True)],
        networks=record.networks,
        finetuned=record.trainings,
        linear=record.linear,
        false_rejections=record.false_rejections,
        origin_macs=origin_macs(modules),
    )
    scorers = _scorers(record.networks, labels, modules)
    unadjusted = Classifier(scorers, record.labels, record.reject, composition)
    if record.trainings:
        unadjusted = with_weights(unadjusted, weights or {})
    classifier = adjust(unadjusted, record.adjustments, record.measured)
    classifier.counted = counted(classifier.cost, modules)
    return classifier


def _module(one: Pin) -> ComposedModule:
    if one.digest is None:
        raise ModpmError(
            f"`{one.name}` {one.version} is no release",
            code="not-released",
            why="it was composed without a distribution",
            hint="what is published of it is written by `modpm patch NETWORK --class CLASS "
            "--with MODULE --dist DIST --name NAME --license SPDX`"
            if one.version == UNRELEASED
            else "publish and install it, and compose again",
        )
    return ComposedModule(label=one.label, name=one.name, version=one.version, digest=one.digest)


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


def _check_alike(modules: Sequence[ClassModule]) -> None:
    """Check that modules may be one network."""
    for module in modules[1:]:
        if not read_alike(modules[0], module):
            first, other = modules[0].manifest.name, module.manifest.name
            raise ModpmError(
                f"`{first}` and `{other}` cannot be side by side in one network",
                code="broken-composition",
                why="they are of different origins, or do not read the same images",
                hint="ask the publisher of the composition to compose it again",
            )
