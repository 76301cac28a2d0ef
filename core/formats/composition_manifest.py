"""The manifest of a composition: which class modules make which classifier.

It has no graph, and no tensors unless it was trained once it was composed. The classifier is made
anew of the releases that it names by their digests, and is the same. Clauses
M-20 to M-27, M-31, M-37 and M-38.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, Protocol

import msgspec

from modpm.core.formats import canonical_json
from modpm.core.formats.digest import Digest
from modpm.core.formats.manifest import (
    CARD_FILE,
    COMPOSITION_FORMAT_VERSION,
    LICENSE_FILE,
    Count,
    Label,
    Manifest,
    Name,
    PositiveCount,
    ReleaseManifest,
    Share,
    Text,
    version_problems,
)
from modpm.core.formats.measurement import ClassShare, Measurement
from modpm.core.formats.records import Problem, Record
from modpm.core.formats.release_files import PICTURE_FILE, WEIGHTS_FILE

MAX_MODULES = 4096
MAX_MEASUREMENTS = 100
MAX_FINETUNINGS = 100

Strategy = Literal["independent", "fused", "mixed"]
"""How all modules of a composition are put together."""


class ComposedModule(Record, frozen=True, kw_only=True):
    """A class module of a composition.

    Attributes:
        label: What its score is called; its own label, or an alias.
        name, version: Its release.
        digest: The digest of the release.
    """

    label: Label
    name: Name
    version: Text
    digest: Digest

    @property
    def requirement(self) -> str:
        """What brings it, and no other release."""
        return f"{self.name}=={self.version}"


class ComposedNetwork(Record, frozen=True, kw_only=True):
    """One network of a composed classifier.

    Attributes:
        strategy: Whether its modules are side by side, each as it is, or fused.
        modules: Their positions among the modules of the composition, ascending.
    """

    strategy: Literal["independent", "fused"]
    modules: Annotated[list[Count], msgspec.Meta(min_length=1, max_length=MAX_MODULES)]


MIN_SLOPE, MAX_SLOPE, MAX_INTERCEPT = 0.01, 100.0, 100.0


class Adjustment(Record, frozen=True, kw_only=True):
    """What is made of the scores of an origin's modules, to fit those of other origins.

    Attributes:
        origin: The digest of the origin.
        how: Whether it was fitted to images with labels or without.
        slope, intercept: The score times the one, plus the other.
        data_set: The images.
        fingerprint: Names exactly these.
        n: How many.
        before, after: What the fitting of all origins lowers: with labels the cross-entropy of
            the classifier by cross-validation, without them how far the shares of its labels are
            from equal ones.
        accuracy_before, accuracy_after: By cross-validation, where there were labels.
    """

    origin: Digest
    how: Literal["labeled", "unlabeled"]
    slope: Annotated[float, msgspec.Meta(ge=MIN_SLOPE, le=MAX_SLOPE)]
    intercept: Annotated[float, msgspec.Meta(ge=-MAX_INTERCEPT, le=MAX_INTERCEPT)]
    data_set: Text
    fingerprint: Text
    n: PositiveCount
    before: Annotated[float, msgspec.Meta(ge=0)]
    after: Annotated[float, msgspec.Meta(ge=0)]
    accuracy_before: Share | None = None
    accuracy_after: Share | None = None

    @property
    def is_identity(self) -> bool:
        """Whether it leaves scores as they are."""
        return (self.slope, self.intercept) == (1, 0)


MAX_LAYER_LABELS = 256
"""Of more, a manifest has no room for the weights of a layer, and a few images do not fit them."""

MAX_WEIGHT = 1e6

Weight = Annotated[float, msgspec.Meta(ge=-MAX_WEIGHT, le=MAX_WEIGHT)]


class LinearLayer(Record, frozen=True, kw_only=True):
    """What makes the scores of all labels of these, after all else, where one was fitted.

    Attributes:
        weight: A row for each label: by what the scores of all labels are multiplied, to be added
            up.
        bias: What is added to each of these.
        data_set: The images that it was fitted to.
        fingerprint: Names exactly these.
        n: How many.
        before, after: The cross-entropy of the classifier without it and with it, by
            cross-validation.
        accuracy_before, accuracy_after: The same of its accuracy.
    """

    weight: Annotated[
        list[Annotated[list[Weight], msgspec.Meta(min_length=2, max_length=MAX_LAYER_LABELS)]],
        msgspec.Meta(min_length=2, max_length=MAX_LAYER_LABELS),
    ]
    bias: Annotated[list[Weight], msgspec.Meta(min_length=2, max_length=MAX_LAYER_LABELS)]
    data_set: Text
    fingerprint: Text
    n: PositiveCount
    before: Annotated[float, msgspec.Meta(ge=0)]
    after: Annotated[float, msgspec.Meta(ge=0)]
    accuracy_before: Share
    accuracy_after: Share


class FineTuning(Record, frozen=True, kw_only=True):
    """A training of a classifier's networks, after they were composed.

    Attributes:
        data_set: The images.
        fingerprint: Names exactly these.
        n: How many of them it trained on.
        n_held_out: How many others chose the epoch, and made log-odds of the scores.
        epochs: How many passes over these it took.
        epoch: That of which the weights are, from 1.
        lr, batch_size, seed: As it was asked for.
        accuracy_before, accuracy_after: On those that were held out.
    """

    data_set: Text
    fingerprint: Text
    n: PositiveCount
    n_held_out: PositiveCount
    epochs: PositiveCount
    epoch: PositiveCount
    lr: Annotated[float, msgspec.Meta(gt=0)]
    batch_size: PositiveCount
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
    accuracy_before: Share
    accuracy_after: Share


class CompositionRecord(Record, frozen=True, kw_only=True):
    """A classifier, as far as its class modules do not say it.

    Attributes:
        strategy: How they are put together.
        modules: In the order of the classifier's labels; those of one label vote.
        networks: Its networks; each module is in one of them.
        finetuned: How its networks were trained once they were composed, in this order.
        adjustments: What is made of the scores of modules of an origin, in this order.
        linear: What is made of the scores of all labels after that, where it is.
        reject: An image is none of the above where no score's own probability reaches this; None
            where every image gets a label.
        false_rejections: The share of known images that the threshold was set for, where it was.
        n_parameters, size_bytes, macs: Numbers in it; bytes of its tensors;
            multiply-accumulates for one image.
        origin_macs: Multiply-accumulates of the modules' origins, each counted once.
        measured: What it was measured at.
    """

    strategy: Strategy
    modules: Annotated[list[ComposedModule], msgspec.Meta(min_length=1, max_length=MAX_MODULES)]
    networks: Annotated[list[ComposedNetwork], msgspec.Meta(min_length=1, max_length=MAX_MODULES)]
    finetuned: (
        Annotated[list[FineTuning], msgspec.Meta(min_length=1, max_length=MAX_FINETUNINGS)]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    adjustments: Annotated[list[Adjustment], msgspec.Meta(max_length=2 * MAX_MODULES)] = (
        msgspec.field(default_factory=list)
    )
    linear: LinearLayer | msgspec.UnsetType = msgspec.UNSET
    reject: Share | None = None
    false_rejections: Share | msgspec.UnsetType = msgspec.UNSET
    n_parameters: Count
    size_bytes: Count
    macs: Count
    origin_macs: Count
    measured: Annotated[list[Measurement], msgspec.Meta(max_length=MAX_MEASUREMENTS)] = (
        msgspec.field(default_factory=list)
    )

    @property
    def trainings(self) -> list[FineTuning]:
        """How its networks were trained once they were composed; none as a rule."""
        return [] if isinstance(self.finetuned, msgspec.UnsetType) else self.finetuned

    @property
    def labels(self) -> list[str]:
        """What the classifier tells apart, in the order of its outputs."""
        return list(dict.fromkeys(module.label for module in self.modules))


class CompositionManifest(ReleaseManifest, frozen=True, kw_only=True):
    """The record of one release of a composition.

    Attributes:
        kind: Tells it from what later versions may have under this format version.
        composition: The classifier.
    """

    own_format_version: ClassVar[int] = COMPOSITION_FORMAT_VERSION

    format_version: int = COMPOSITION_FORMAT_VERSION
    kind: Literal["composition"]
    composition: CompositionRecord

    def problems(self) -> Iterator[Problem]:
        """Give what is wrong with a manifest whose fields have the right types each."""
        yield from ReleaseManifest.problems(self)
        yield from _module_problems(self.composition.modules)
        yield from _requires_problems(self)
        yield from network_problems(self.composition)
        yield from adjustment_problems(self.composition.adjustments)
        yield from linear_problems(self.composition.linear, self.composition.labels)
        yield from _reject_problems(self.composition)
        yield from _measured_problems(self.composition.measured)
        yield from finetuning_problems(self.composition.trainings)
        yield from _file_problems(self.files, has_weights=bool(self.composition.trainings))
        if self.all_pictures.keys() - {PICTURE_FILE}:
            yield Problem("pictures", f"are others than {PICTURE_FILE}")


AnyManifest = Manifest | CompositionManifest


def parse_manifest(data: bytes, where: str | None = None) -> AnyManifest:
    """Read a manifest of either kind that nobody has vouched for.

    Args:
        data: The bytes of `manifest.json`.
        where: The file it is, for errors.

    Raises:
        ModpmError: As `ReleaseManifest.from_bytes`.
    """
    return manifest_of_json(canonical_json.decode(data, where), where)


def manifest_of_json(raw: canonical_json.Json, where: str | None = None) -> AnyManifest:
    """Read what `canonical_json.decode` made of a manifest of either kind.

    Raises:
        ModpmError: As `ReleaseManifest.from_json`.
    """
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if version == COMPOSITION_FORMAT_VERSION:
        return CompositionManifest.from_json(raw, where)
    return Manifest.from_json(raw, where)


def requires_of(modules: Sequence[ComposedModule]) -> list[str]:
    """Return the requirements of a composition of these modules (clause M-22)."""
    return sorted(module.requirement for module in modules)


def strategy_of(networks: Sequence[ComposedNetwork]) -> Strategy:
    """Return how modules are put together by these networks (clause M-23)."""
    n_fused = sum(network.strategy == "fused" for network in networks)
    if n_fused == 0:
        return "independent"
    return "fused" if len(networks) == 1 else "mixed"


def _module_problems(modules: Sequence[ComposedModule]) -> Iterator[Problem]:
    names: set[str] = set()
    for i, module in enumerate(modules):
        at = f"composition.modules[{i}]"
        if module.name in names:
            yield Problem(f"{at}.name", f"`{module.name}` is there already")
        yield from version_problems(module.version, f"{at}.version")
        names.add(module.name)


def _requires_problems(manifest: CompositionManifest) -> Iterator[Problem]:
    modules = manifest.composition.modules
    if manifest.requires != requires_of(modules):
        yield Problem("requires", "are not the releases of its modules, sorted")
    if manifest.name in {module.name for module in modules}:
        yield Problem("composition.modules", "hold the composition itself")


def _reject_problems(record: CompositionRecord) -> Iterator[Problem]:
    if record.reject is None and record.false_rejections is not msgspec.UNSET:
        yield Problem("composition.false_rejections", "is of a threshold, and there is none")


class Networked(Protocol):
    """What says of which modules its networks are made."""

    @property
    def strategy(self) -> str:
        """How all modules are put together."""

    @property
    def modules(self) -> Sequence[object]:
        """All of them."""

    @property
    def networks(self) -> Sequence[ComposedNetwork]:
        """Each with the positions of its modules."""


def network_problems(record: Networked) -> Iterator[Problem]:
    """Give what is wrong with the networks of a composition (clause M-23)."""
    placed: list[int] = []
    for i, network in enumerate(record.networks):
        at = f"composition.networks[{i}]"
        if any(a >= b for a, b in pairwise(network.modules)):
            yield Problem(f"{at}.modules", "is not ascending")
        placed += network.modules
    if sorted(placed) != list(range(len(record.modules))):
        yield Problem("composition.networks", "do not have each module once")
    if record.strategy != strategy_of(record.networks):
        yield Problem(
            "composition.strategy", f"is not the {strategy_of(record.networks)!r} of them"
        )


def adjustment_problems(adjustments: Sequence[Adjustment]) -> Iterator[Problem]:
    """Give what is wrong with the adjustments of a composition (clause M-31)."""
    seen: set[tuple[str, str]] = set()
    for i, one in enumerate(adjustments):
        if (one.origin, one.how) in seen:
            at = f"composition.adjustments[{i}]"
            yield Problem(at, f"adjusts an origin by {one.how} images again")
        seen.add((one.origin, one.how))


def linear_problems(
    linear: LinearLayer | msgspec.UnsetType, labels: Collection[str]
) -> Iterator[Problem]:
    """Give what is wrong with the linear layer of a composition (clause M-38)."""
    if not isinstance(linear, LinearLayer):
        return
    if len(linear.weight) != len(labels) or any(len(row) != len(labels) for row in linear.weight):
        yield Problem("composition.linear.weight", "is not a number for each two labels")
    if len(linear.bias) != len(labels):
        yield Problem("composition.linear.bias", "is not a number for each label")


def _measured_problems(measured: Sequence[Measurement]) -> Iterator[Problem]:
    seen: set[tuple[str, bool]] = set()
    for i, one in enumerate(measured):
        if one.n_rejected > one.n:
            yield Problem(f"composition.measured[{i}].n_rejected", "is more than n")
        if one.per_class is not msgspec.UNSET:
            yield from _per_class_problems(
                one, one.per_class, f"composition.measured[{i}].per_class"
            )
        for field in () if one.open_set else ("auroc", "false_rejections"):
            if getattr(one, field) is not msgspec.UNSET:
                yield Problem(f"composition.measured[{i}].{field}", "is of an open set alone")
        if (one.fingerprint, one.open_set) in seen:
            yield Problem(f"composition.measured[{i}]", "is of images that were measured already")
        seen.add((one.fingerprint, one.open_set))


def _per_class_problems(
    one: Measurement, per_class: Sequence[ClassShare], at: str
) -> Iterator[Problem]:
    if len(per_class) != len(one.classes):
        yield Problem(at, "are not as many as the classes")
    elif sum(share.n for share in per_class) != one.n:
        yield Problem(at, "have other images than n in total")


def finetuning_problems(finetuned: Sequence[FineTuning]) -> Iterator[Problem]:
    """Give what is wrong with what is said of trainings of a composition (clause M-37)."""
    for i, one in enumerate(finetuned):
        if one.epoch > one.epochs:
            yield Problem(f"composition.finetuned[{i}].epoch", "is more than epochs")


def _file_problems(files: Collection[str], *, has_weights: bool) -> Iterator[Problem]:
    allowed = [CARD_FILE, LICENSE_FILE] + [WEIGHTS_FILE] * has_weights
    for name in files:
        if name not in allowed:
            yield Problem("files", f"{name[:100]!r} is none of {', '.join(allowed)}")
    if has_weights and WEIGHTS_FILE not in files:
        yield Problem("files", f"lack {WEIGHTS_FILE}, though it was trained once it was composed")
