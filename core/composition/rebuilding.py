"""A composed classifier as the manifest of its release says it, and made again of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from modpm.core.composition.classifier import Classifier
from modpm.core.composition.compose import FUSED, origin_macs, pin
from modpm.core.composition.fused import fuse
from modpm.core.composition.independent import keep_independent
from modpm.core.composition.recipe import Composition
from modpm.core.composition.saving import not_composed
from modpm.core.errors import ModpmError
from modpm.core.formats.composition_manifest import (
    ComposedModule,
    ComposedNetwork,
    CompositionRecord,
    strategy_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.composition.class_module import ClassModule
    from modpm.core.composition.recipe import Pin
    from modpm.core.composition.scorer import Scorer


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
