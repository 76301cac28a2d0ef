"""Patching: an ordinary network, of which one class is scored by a class module.

The network needs no training and no class modules of its own. Its logits become log-odds, by one
slope and one intercept for all its classes, which leaves their order as it is; the output of the
class is cut off, and the module's log-odds take its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.classifiers.class_module import Scorer
from modpm.core.classifiers.classifier import Classifier
from modpm.core.classifiers.recipe import UNRELEASED, Composition, Pin
from modpm.core.composition.compose import keep_independent, origin_macs, pin
from modpm.core.composition.fused import fuse, with_affine
from modpm.core.data.naming import default_namespace, module_names
from modpm.core.formats.composition_manifest import ComposedNetwork, strategy_of
from modpm.core.formats.manifest import Calibration
from modpm.core.origins.origin import HELD_OUT
from modpm.core.slicing import slice_graph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.classifiers.class_module import ClassModule
    from modpm.core.origins.origin import OriginNetwork


def labels_of(origin: OriginNetwork) -> list[str]:
    """Return what the classes of a network are called in a classifier: `cifar10/cat`.

    Raises:
        ModpmError: The data set or a class has a name that no label has (`invalid-name`,
            `bad-class-names`).
    """
    namespace = default_namespace(origin.trained.data_set)
    module_names(namespace, origin.classes)
    return [f"{namespace}/{name}" for name in origin.classes]


def as_scored(origin: OriginNetwork, labels: Sequence[str]) -> Scorer:
    """Return some outputs of a network as log-odds.

    Args:
        origin: The network.
        labels: Of these outputs, as `labels_of` gives them.
    """
    every = labels_of(origin)
    outputs = [every.index(label) for label in labels]
    sliced, tensors = slice_graph(origin.graph, origin.tensors, {}, outputs)
    slope, intercept = origin.logit_calibration
    n = len(labels)
    made = with_affine(sliced, tensors, "score", [slope] * n, [intercept] * n)
    return Scorer(labels, origin.contract, *made)


def patch_network(origin: OriginNetwork, label: str, module: ClassModule) -> Classifier:
    """Make a classifier of a network in which a class module scores one class.

    Args:
        origin: The network, of two classes at least.
        label: Of the class, as `labels_of` gives it.
        module: The class module, of any origin and image size.
    """
    labels = labels_of(origin)
    place = labels.index(label)
    others = [i for i in range(len(labels)) if i != place]
    networks = _networks(others, place)
    pins = [pin(module, label) if one == label else _own_pin(origin, one) for one in labels]
    macs = {
        origin.digest: origin.cost.macs,
        module.manifest.origin.digest: module.manifest.origin.macs,
    }
    composition = Composition(
        strategy=strategy_of(networks),
        modules=pins,
        networks=networks,
        origin_macs=sum(macs.values()),
    )
    scorers = [
        as_scored(origin, [labels[i] for i in others]),
        keep_independent([module], [label]),
    ]
    return Classifier(scorers, labels, None, composition)


def patch_modules(modules: Sequence[ClassModule], labels: Sequence[str], place: int) -> Classifier:
    """Make the same classifier of a network's class modules that keep all of it, and the new one.

    Args:
        modules: One for each label, from distributions.
        labels: As `labels_of` gives them.
        place: Where among them the new one is.
    """
    others = [i for i in range(len(labels)) if i != place]
    networks = _networks(others, place)
    composition = Composition(
        strategy=strategy_of(networks),
        modules=[pin(module, label) for module, label in zip(modules, labels, strict=True)],
        networks=networks,
        origin_macs=origin_macs(modules),
    )
    scorers = [
        fuse([modules[i] for i in others], [labels[i] for i in others]),
        keep_independent([modules[place]], [labels[place]]),
    ]
    return Classifier(scorers, labels, None, composition)


def _networks(others: Sequence[int], place: int) -> list[ComposedNetwork]:
    return [
        ComposedNetwork(strategy="fused", modules=list(others)),
        ComposedNetwork(strategy="independent", modules=[place]),
    ]


def _own_pin(origin: OriginNetwork, label: str) -> Pin:
    """Return the record of a class that the network scores itself."""
    slope, intercept = origin.logit_calibration
    namespace, _, name = label.partition("/")
    (own,) = module_names(namespace, [name])
    return Pin(
        label=label,
        name=str(own),
        version=UNRELEASED,
        origin=origin.digest,
        calibration=Calibration(
            kind="platt",
            split=HELD_OUT,
            n=len(origin.validation),
            slope=slope,
            intercept=intercept,
        ),
    )
