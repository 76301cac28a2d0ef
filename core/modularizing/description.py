"""Manifests of class modules, and the other files of their distributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import msgspec
import torch

from modpm.core.formats.card import render_card
from modpm.core.formats.manifest import (
    CARD_FILE,
    LICENSE_FILE,
    SHARES,
    TENSOR_FILE,
    Calibration,
    ClassMetrics,
    ComposedAccuracy,
    Manifest,
    Modularizer,
    Origin,
    OutputContract,
    OwnScores,
    Provenance,
    RetainedKernels,
)
from modpm.core.formats.release_files import SHARED_FILE
from modpm.core.formats.release_terms import license_text
from modpm.core.origins.origin import HELD_OUT, N_DIGITS
from modpm.core.reports.thumbnail import with_picture
from modpm.core.tensors import encode_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from torch import Tensor

    from modpm.core.formats.manifest import Confusion
    from modpm.core.formats.names import ModuleName
    from modpm.core.graph import Graph, Node
    from modpm.core.modularizing.fitting import FittedNetwork
    from modpm.core.origins.origin import OriginNetwork
    from modpm.core.training.evidence import Cutoff


Measurement = TypeVar("Measurement")


@dataclass(frozen=True)
class ReleaseDetails:
    """What is the same for all releases that are made of one origin, and is not measured.

    Attributes:
        names: The module name of each class.
        version: Of the releases, canonical.
        license: An SPDX license expression.
        authors: Who made them.
        summary: One line for people; None for one that names the class.
    """

    names: tuple[ModuleName, ...]
    version: str
    license: str
    authors: tuple[str, ...] = ()
    summary: str | None = None


@dataclass(frozen=True)
class Findings:
    """What was measured of a class's module.

    Attributes:
        metrics: How good it is.
        composed: What it gives together with the modules of all other classes.
        own_scores: How high scores are on held-out images of its class.
        confusion: What it takes for its class.
    """

    metrics: Sequence[ClassMetrics] = ()
    composed: ComposedAccuracy | None = None
    own_scores: OwnScores | None = None
    confusion: Confusion | None = None


class Describer:
    """Makes the manifests of one origin's class modules.

    Args:
        origin: The modular network.
        details: What is the same for all.
        accuracy: Of the origin on the test split, where there is one.
    """

    def __init__(
        self, origin: OriginNetwork, details: ReleaseDetails, accuracy: float | None = None
    ) -> None:
        self._origin = origin
        self._details = details
        self._slope, self._intercept = origin.logit_calibration
        self._origin_record = _origin_record(origin, accuracy)

    def manifest(
        self,
        network: FittedNetwork,
        cutoff: Cutoff,
        findings: Findings = Findings(),
    ) -> Manifest:
        """Return the manifest of one class's module; its `files` are not filled in.

        Args:
            network: The module's network.
            cutoff: What said which kernels it retains.
            findings: What was measured of it.
        """
        name, trained = self._details.names[network.class_index], self._origin.trained
        return Manifest(
            name=str(name),
            version=self._details.version,
            label=f"{name.namespace}/{self._origin.classes[network.class_index]}",
            summary=self._summary(network.class_index),
            license=self._details.license,
            authors=list(self._details.authors),
            origin=self._origin_record,
            input=self._origin.contract,
            output=_output(network),
            graph=network.scored.graph,
            retained=_retained(self._origin.graph, network),
            calibration=self._calibration(network),
            modularizer=Modularizer(
                method=trained.effort.method,
                threshold=cutoff.threshold,
                parameters=self._parameters(cutoff, network),
            ),
            metrics=list(findings.metrics),
            composed=_or_unset(findings.composed),
            own_scores=_or_unset(findings.own_scores),
            confusion=_or_unset(findings.confusion),
            kernel_retention_rate=network.kernel_retention_rate,
            n_parameters=network.cost.n_parameters,
            size_bytes=network.cost.size_bytes,
            macs=network.cost.macs,
            provenance=self._provenance(),
        )

    def own_scores(self, networks: Sequence[FittedNetwork]) -> list[OwnScores | None]:
        """Return how high scores are on held-out images of each class; None where there are none.

        Args:
            networks: Of all classes, in their order.
        """
        labels = self._origin.validation.labels
        scores = torch.stack([network.fitted.held_out_scores for network in networks], dim=1)
        return [
            quantiles_of(scores[labels == i], i) if bool((labels == i).any()) else None
            for i in range(len(networks))
        ]

    def _summary(self, class_index: int) -> str:
        if self._details.summary is not None:
            return self._details.summary
        classes = self._origin.classes
        return (
            f"Recognizes {classes[class_index]} among the {len(classes)} classes of "
            f"{self._origin.trained.data_set}."
        )

    def _calibration(self, network: FittedNetwork) -> Calibration:
        fitted = network.fitted
        return Calibration(
            kind=fitted.calibrator.kind,
            split=HELD_OUT,
            n=len(fitted.held_out_scores),
            slope=self._slope,
            intercept=self._intercept,
            brier_score=round(fitted.brier_score, N_DIGITS),
            log_loss=round(fitted.log_loss, N_DIGITS),
        )

    def _provenance(self) -> Provenance:
        trained = self._origin.trained
        return Provenance(
            data_set=trained.data_set,
            fingerprint=trained.images.fingerprint,
            seed=trained.seed,
            versions=trained.versions,
        )

    def _parameters(self, cutoff: Cutoff, network: FittedNetwork) -> dict[str, float | str]:
        parameters = {**self._origin.trained.effort.parameters, **network.corrections}
        if cutoff.retention is not None:
            parameters["retention"] = cutoff.retention
        return parameters


def _or_unset(value: Measurement | None) -> Measurement | msgspec.UnsetType:
    return msgspec.UNSET if value is None else value


def _origin_record(origin: OriginNetwork, accuracy: float | None) -> Origin:
    return Origin(
        digest=origin.digest,
        architecture=origin.trained.architecture,
        classes=list(origin.classes),
        graph=origin.graph,
        accuracy=accuracy,
        n_parameters=origin.cost.n_parameters,
        size_bytes=origin.cost.size_bytes,
        macs=origin.cost.macs,
    )


def _output(network: FittedNetwork) -> OutputContract:
    scored = network.scored
    return OutputContract(
        score=scored.score,
        logit=scored.logit,
        features=scored.features,
        penalty=msgspec.UNSET if scored.penalty is None else scored.penalty,
        class_index=network.class_index,
    )


def quantiles_of(scores: Tensor, class_index: int) -> OwnScores:
    """Return the quantiles of the scores of the images of a class; (n, n_classes)."""
    return OwnScores(
        split=HELD_OUT,
        n=len(scores),
        own=_quantiles(scores[:, class_index]),
        highest=_quantiles(scores.max(1).values),
    )


def _quantiles(scores: Tensor) -> list[float]:
    shares = torch.tensor(SHARES, dtype=torch.float64)
    return [round(value, N_DIGITS) for value in torch.quantile(scores.double(), shares).tolist()]


def _retained(graph: Graph, network: FittedNetwork) -> dict[str, RetainedKernels]:
    sizes = {node.name: _size(node) for node in graph.nodes}
    return {
        layer: RetainedKernels(total=sizes[layer], retained=indices)
        for layer, indices in network.retained.items()
    }


def _size(layer: Node) -> int:
    size = layer.attributes.get("n_kernels", layer.attributes.get("n_features", 0))
    assert isinstance(size, int)
    return size


SHARED_BYTES = 4096
"""Fewer of tensors in common are not worth a file of their own."""


def shared_tensors(networks: Sequence[Mapping[str, Tensor]]) -> frozenset[str]:
    """Return the names of the tensors that all networks have alike, if they are worth a file.

    Args:
        networks: The tensors of each, as they are written.
    """
    first, *others = networks
    shared = {
        name: tensor
        for name, tensor in first.items()
        if all(name in other and torch.equal(tensor, other[name]) for other in others)
    }
    n_bytes = sum(tensor.nbytes for tensor in shared.values())
    return frozenset(shared if others and n_bytes >= SHARED_BYTES else ())


def files_of(
    tensors: Mapping[str, Tensor], manifest: Manifest, shared: AbstractSet[str]
) -> dict[str, bytes]:
    """Return the files of a distribution besides its manifest.

    Args:
        tensors: Of its network, as they are written.
        manifest: What is to be said of it.
        shared: The tensors that go into a file of their own, which others have too.
    """
    manifest, picture = with_picture(manifest)
    parts = {
        TENSOR_FILE: {name: tensor for name, tensor in tensors.items() if name not in shared},
        SHARED_FILE: {name: tensor for name, tensor in tensors.items() if name in shared},
    }
    return {
        **{name: encode_tensors(own) for name, own in parts.items() if own or name == TENSOR_FILE},
        CARD_FILE: render_card(manifest).encode(),
        LICENSE_FILE: license_text(manifest.license, manifest.authors).encode(),
        **picture,
    }
