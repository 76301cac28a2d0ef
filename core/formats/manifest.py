"""The manifest: what there is to know of a release but its tensors (`specs/manifest.md`).

A manifest is read with every problem at once, and its bytes are canonical, so that the digest of
the bytes names the release. That of a class module is here, that of a composition in
`composition_manifest`.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.digest import Digest
from modpm.core.formats.names import ModuleName
from modpm.core.formats.network_graph import AttributeValue, Graph, Node
from modpm.core.formats.records import (
    Problem,
    Record,
    check_format_version,
    problems_error,
    read_record,
    to_plain,
)
from modpm.core.formats.release_files import (
    CARD_FILE,
    FILE_NAMES,
    LICENSE_FILE,
    MANIFEST_FILE,
    MAX_EXAMPLES,
    MAX_PICTURE_BYTES,
    PICTURE_FILE,
    PICTURE_FILES,
    TENSOR_FILE,
    Count,
    FileRecord,
    Name,
    Text,
    example_files,
    variant_name,
)
from modpm.core.formats.requirements import Requirement, parse_version

# What a lockfile says of files too is in `release_files`, which takes no time to import.
__all__ = [
    "CARD_FILE",
    "FILE_NAMES",
    "LICENSE_FILE",
    "MANIFEST_FILE",
    "TENSOR_FILE",
    "Count",
    "FileRecord",
    "Name",
    "Text",
]

FORMAT_VERSION = 1
"""Of the manifest of a class module."""

COMPOSITION_FORMAT_VERSION = 2
COMPOSITION = "composition"
"""The `kind` of all manifests of format version 2."""

_INVALID = "the manifest is not valid"

PositiveCount = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
MAX_IMAGE_SIDE = 4096
ImageSide = Annotated[int, msgspec.Meta(ge=1, le=MAX_IMAGE_SIDE)]
Label = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(?=[^/]{1,64}/)[a-z0-9]+(-[a-z0-9]+)*/[^\x00-\x1f\x7f]{1,200}$(?!\n)",
        description="a namespace, `/`, and the class as its data set names it",
    ),
]
License = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9(][A-Za-z0-9.+() -]{0,199}$(?!\n)",
        description="an SPDX license expression, such as `Apache-2.0`",
    ),
]


class Origin(Record, frozen=True, kw_only=True):
    """The modular network a class module was cut from.

    Attributes:
        digest: Names the origin: modules of one origin can be fused.
        architecture: What it was created by (`resnet20`, `package.module:factory`).
        classes: Its classes in the order of its outputs, as the data set names them.
        graph: The whole network.
        accuracy: Its accuracy on the test split, where it was measured.
        n_parameters, size_bytes, macs: What it costs, counted as for the class module.
    """

    digest: Digest
    architecture: Text
    classes: Annotated[list[Text], msgspec.Meta(min_length=1)]
    graph: Graph
    accuracy: Share | None = None
    n_parameters: Count
    size_bytes: Count
    macs: Count


class InputContract(Record, frozen=True, kw_only=True):
    """What an image must be before a network sees it.

    Attributes:
        channels: 1 for gray, 3 for red, green and blue.
        height, width: In pixels.
        mean, std: One per channel; a pixel in [0, 1] enters as (pixel - mean) / std.
    """

    channels: Literal[1, 3]
    height: ImageSide
    width: ImageSide
    mean: list[float]
    std: list[Annotated[float, msgspec.Meta(gt=0)]]


class OutputContract(Record, frozen=True, kw_only=True):
    """What the output of a class module means.

    Attributes:
        kind: The output is a calibrated log-odds under even odds: before the image is seen, the
            class is as likely as all else together.
        score: The node that gives it, shape (N, 1); the output of the graph.
        logit: The node that gives the class's logit as the origin gives it, shape (N, 1).
        features: The node whose value the head reads, shape (N, D), where there is a head.
        penalty: The node that gives what was taken off the score for an image unlike the
            held-out ones, shape (N, 1), where anything is (clause M-30).
        class_index: The class's position in `origin.classes`.
    """

    kind: Literal["log-odds"] = "log-odds"
    score: Text
    logit: Text
    features: Text | None = None
    penalty: Text | msgspec.UnsetType = msgspec.UNSET
    class_index: Count


class RetainedKernels(Record, frozen=True, kw_only=True):
    """The kernels of one layer of the origin that a class module retained.

    Attributes:
        total: How many the layer has in the origin.
        retained: Their indices, ascending.
    """

    total: PositiveCount
    retained: list[Count]


class Calibration(Record, frozen=True, kw_only=True):
    """How the score was made of the module's outputs; its tensors are in the tensor file.

    Attributes:
        kind: `platt`, or `one-vs-rest-head` for a head on the last features.
        split: The held-out part of the training data it was fitted on.
        n: How many images that part has.
        slope, intercept: Make log-odds (slope * logit + intercept) of the class's logit as the
            whole origin gives it, or a fusion of its modules; the same for all its classes.
        brier_score, log_loss: Measured on that part by cross-fitting, where they were measured.
    """

    kind: Text
    split: Text
    n: PositiveCount
    slope: float = 1.0
    intercept: float = 0.0
    brier_score: Share | None = None
    log_loss: Annotated[float, msgspec.Meta(ge=0)] | None = None


class Modularizer(Record, frozen=True, kw_only=True):
    """What chose the retained kernels.

    Attributes:
        method: `views`, `mwt`, …
        threshold: Frequency at or above which a kernel was retained; None if it was not that.
        parameters: Whatever else the method was told.
    """

    method: Text
    threshold: Share | None = None
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)


class ClassMetrics(Record, frozen=True, kw_only=True):
    """How well the score tells the class from the others, at a score of 0.

    Attributes:
        split: The split it was measured on.
        n, n_positive: Images in it; images of the class in it.
        precision, recall, average_precision: Each in [0, 1].
    """

    split: Text
    n: PositiveCount
    n_positive: Count
    precision: Share
    recall: Share
    average_precision: Share


class ComposedAccuracy(Record, frozen=True, kw_only=True):
    """What the class modules of all classes of an origin gave as one classifier (clause M-28).

    Attributes:
        split: The images it was measured on, which were held out of training.
        n: Images in it.
        fused: Share that was named rightly by one network of all modules.
        independent: The same by the modules side by side.
    """

    split: Text
    n: PositiveCount
    fused: Share
    independent: Share


SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""The shares of images that published quantiles are of."""

Quantiles = Annotated[list[float], msgspec.Meta(min_length=len(SHARES), max_length=len(SHARES))]


class OwnScores(Record, frozen=True, kw_only=True):
    """How high scores are on held-out images of the class (clause M-32).

    Attributes:
        split: The held-out part of the training data.
        n: How many images of the class it has.
        own: Quantiles of the module's score, of the shares `SHARES`.
        highest: The same of the highest score of the modules of all classes of the origin.
    """

    split: Text
    n: PositiveCount
    own: Quantiles
    highest: Quantiles


MAX_CONFUSED = 5


class ConfusedClass(Record, frozen=True, kw_only=True):
    """A class of the origin, of which some images are taken for another (clause M-35).

    Attributes:
        name: The class, as in `origin.classes`.
        n: How many images of it there were.
        share: Share of them whose score is above 0.
    """

    name: Text
    n: PositiveCount
    share: Share


class Confusion(Record, frozen=True, kw_only=True):
    """What a class module takes for its class most often (clause M-35).

    Attributes:
        split: The split of `metrics` it was measured on.
        classes: Other classes of the origin, by their shares, of which none is 0.
    """

    split: Text
    classes: Annotated[list[ConfusedClass], msgspec.Meta(max_length=MAX_CONFUSED)]


class Example(Record, frozen=True, kw_only=True):
    """What a class module says of an example image that is published with it (clause M-34).

    Attributes:
        score: Its score of the image as it is published.
    """

    score: float


Examples = Annotated[list[Example], msgspec.Meta(min_length=1, max_length=MAX_EXAMPLES)]


class Variant(Record, frozen=True, kw_only=True):
    """Which release a class module is another form of (clause M-36).

    Attributes:
        kind: `int8`: weights and values of 8 bits.
        name, version, digest: The release.
        n_images: How many training images its ranges and statistics were taken from.
        before: What that release measured on the images of the first of `metrics`.
    """

    kind: Literal["int8"]
    name: Name
    version: Text
    digest: Digest
    n_images: PositiveCount
    before: ClassMetrics | None = None


class Provenance(Record, frozen=True, kw_only=True):
    """Where a class module comes from, for people who want to make it again.

    Attributes:
        data_set: The data set it was trained on (`cifar10`, a Hub id).
        fingerprint: Names the exact training images and labels.
        seed: What the training run was seeded with.
        versions: Packages and their versions.
    """

    data_set: Text
    fingerprint: Text
    seed: int | None = None
    versions: dict[str, str] = msgspec.field(default_factory=dict)


class ReleaseManifest(Record, frozen=True, kw_only=True):
    """What the manifests of releases of every kind say.

    Attributes:
        format_version: The version of the format, which tells the kinds apart.
        name, version: What the release is called; the name normalized, the version canonical.
        summary: One line for people.
        license: An SPDX license expression.
        authors: Who made it.
        files: Every other file of the distribution but `signature.json` and the pictures.
        pictures: Files for the eyes, which nobody needs to use the release (clause M-33).
        requires: Requirements on class modules.
    """

    own_format_version: ClassVar[int] = FORMAT_VERSION

    format_version: int
    name: Name
    version: Text
    summary: Annotated[str, msgspec.Meta(max_length=500)] = ""
    license: License
    authors: list[Text] = msgspec.field(default_factory=list)
    files: dict[str, FileRecord] = msgspec.field(default_factory=dict)
    pictures: dict[str, FileRecord] | msgspec.UnsetType = msgspec.UNSET
    requires: list[Text] = msgspec.field(default_factory=list)

    @classmethod
    def from_bytes(cls, data: bytes, where: str | None = None) -> Self:
        """Read a manifest that nobody has vouched for.

        Args:
            data: The bytes of `manifest.json`.
            where: The file it is, for errors.

        Raises:
            ModpmError: `too-large` or `invalid-json`; `unknown-format-version`;
                `invalid-manifest`, naming every problem.
        """
        return cls.from_json(canonical_json.decode(data, where), where)

    @classmethod
    def from_json(cls, raw: canonical_json.Json, where: str | None = None) -> Self:
        """Read a manifest that was decoded; as `from_bytes`."""
        is_composition = isinstance(raw, dict) and raw.get("kind") == COMPOSITION
        latest = COMPOSITION_FORMAT_VERSION if is_composition else FORMAT_VERSION
        check_format_version(raw, latest, what="the manifest", where=where)
        manifest, problems = read_record(cls, raw, cls.problems)
        if manifest is None:
            raise problems_error(problems, what=_INVALID, code="invalid-manifest", where=where)
        return manifest

    def to_bytes(self) -> bytes:
        """Return the canonical bytes of a valid manifest.

        Raises:
            ModpmError: `invalid-manifest`, naming every problem; `too-large`; `invalid-json`,
                for a number that is not finite.
        """
        # Read back, so that the bytes are those of what a reader would get (1 as 1.0).
        manifest, problems = read_record(type(self), to_plain(self), type(self).problems)
        if manifest is None:
            raise problems_error(
                problems, what=_INVALID, code="invalid-manifest", where=f"{self.name}"
            )
        data = canonical_json.encode(to_plain(manifest))
        if len(data) > canonical_json.MAX_SIZE_BYTES:
            raise ModpmError(
                f"the manifest would have {len(data)} bytes",
                code="too-large",
                where=self.name,
                why=f"a manifest has at most {canonical_json.MAX_SIZE_BYTES}",
            )
        return data

    @property
    def all_pictures(self) -> dict[str, FileRecord]:
        """The pictures; none where the manifest does not speak of any."""
        return self.pictures if isinstance(self.pictures, dict) else {}

    def problems(self) -> Iterator[Problem]:
        """Give what is wrong with a manifest whose fields have the right types each."""
        if self.format_version != self.own_format_version:
            yield Problem("format_version", f"is {self.format_version}, that of another kind")
        yield from _name_problems(self)
        yield from picture_problems(self.all_pictures)


class Manifest(ReleaseManifest, frozen=True, kw_only=True):
    """The record of one release of a class module (M-1 to M-19, M-28 to M-30, M-32 to M-36).

    Attributes:
        label: What the module recognizes: a namespace and a class (`cifar10/cat`).
        origin: The modular network it was cut from.
        input: What an image must be.
        output: What the output means.
        graph: The sliced network that is executed; its output is one score an image.
        retained: For every convolution (and cut linear layer) of the origin, what was kept.
        calibration: How the score was calibrated.
        modularizer: What chose the kernels.
        metrics: How good it is, by split.
        composed: What it gives together with the modules of all other classes of its origin.
        own_scores: How high scores are on held-out images of the class.
        confusion: Which other classes of its origin it takes for its own most often.
        examples: What it says of each example image, in the order of their numbers.
        variant: Of which release it is another form, where it is of one.
        kernel_retention_rate: Retained kernels / all kernels of the origin, but for those of
            depthwise convolutions, which follow others.
        n_parameters, size_bytes, macs: Numbers in it; bytes of its tensors;
            multiply-accumulates for one image.
        provenance: Where it comes from.
    """

    format_version: int = FORMAT_VERSION
    label: Label
    origin: Origin
    input: InputContract
    output: OutputContract
    graph: Graph
    retained: dict[str, RetainedKernels]
    calibration: Calibration
    modularizer: Modularizer
    metrics: list[ClassMetrics] = msgspec.field(default_factory=list)
    composed: ComposedAccuracy | msgspec.UnsetType = msgspec.UNSET
    own_scores: OwnScores | msgspec.UnsetType = msgspec.UNSET
    confusion: Confusion | msgspec.UnsetType = msgspec.UNSET
    examples: Examples | msgspec.UnsetType = msgspec.UNSET
    variant: Variant | msgspec.UnsetType = msgspec.UNSET
    kernel_retention_rate: Share
    n_parameters: Count
    size_bytes: Count
    macs: Count
    provenance: Provenance

    def problems(self) -> Iterator[Problem]:
        """Give what is wrong with a manifest whose fields have the right types each."""
        yield from ReleaseManifest.problems(self)
        yield from _input_problems(self)
        yield from _output_problems(self)
        yield from _graph_problems(self.graph, "graph")
        yield from _graph_problems(self.origin.graph, "origin.graph")
        yield from _retained_problems(self)
        yield from _metrics_problems(self)
        yield from _own_scores_problems(self)
        yield from _confusion_problems(self)
        yield from _variant_problems(self)
        yield from _file_problems(self)
        yield from _example_problems(self)

    @property
    def all_examples(self) -> dict[str, Example]:
        """What it says of each example image, by the file of the image."""
        examples = self.examples if isinstance(self.examples, list) else []
        return dict(zip(example_files(len(examples)), examples, strict=True))


def _name_problems(manifest: ReleaseManifest) -> Iterator[Problem]:
    if str(ModuleName.parse(manifest.name)) != manifest.name:
        yield Problem("name", "is not normalized")
    yield from version_problems(manifest.version, "version")
    for i, text in enumerate(manifest.requires):
        yield from _requirement_problems(text, f"requires[{i}]")


def version_problems(text: str, path: str) -> Iterator[Problem]:
    """Give why a text is not the version of a release (clause M-6)."""
    try:
        version = parse_version(text)
    except ModpmError:
        yield Problem(path, f"{text[:100]!r} is not a version (PEP 440)")
        return
    if str(version) != text:
        yield Problem(path, f"is not in its canonical form, `{version}`")
    if version.local is not None:
        yield Problem(path, "a local version (`+…`) cannot be published")


def _requirement_problems(text: str, path: str) -> Iterator[Problem]:
    try:
        canonical = str(Requirement.parse(text))
    except ModpmError as error:
        yield Problem(path, error.what)
    else:
        if canonical != text:
            yield Problem(path, f"is not in its canonical form, `{canonical}`")


def _input_problems(manifest: Manifest) -> Iterator[Problem]:
    contract = manifest.input
    for field in ("mean", "std"):
        n = len(getattr(contract, field))
        if n != contract.channels:
            yield Problem(f"input.{field}", f"has {n} numbers for {contract.channels} channels")
    shape = (contract.channels, contract.height, contract.width)
    if manifest.graph.input_shape != shape:
        yield Problem(
            "graph.input_shape", f"is {manifest.graph.input_shape}, not the {shape} of input"
        )


def _output_problems(manifest: Manifest) -> Iterator[Problem]:
    output, graph = manifest.output, manifest.graph
    names = {node.name for node in graph.nodes}
    if output.score != graph.output:
        yield Problem("output.score", f"{output.score!r} is not the output of the graph")
    for field in ("logit", "features"):
        name = getattr(output, field)
        if name is not None and name not in names:
            yield Problem(f"output.{field}", f"{name!r} is not a node of the graph")
    if isinstance(output.penalty, str):
        yield from _penalty_problems(manifest, output.penalty)
    if output.class_index >= len(manifest.origin.classes):
        yield Problem(
            "output.class_index", f"the origin has {len(manifest.origin.classes)} classes"
        )


def _penalty_problems(manifest: Manifest, name: str) -> Iterator[Problem]:
    graph = manifest.graph
    if name not in {node.name for node in graph.nodes}:
        yield Problem("output.penalty", f"{name!r} is not a node of the graph")
        return
    live = msgspec.structs.replace(graph, output=name).live()
    own = (node for node in graph.nodes if node.name in live)
    if not set(_names(own)).isdisjoint(_names(manifest.origin.graph.nodes)):
        yield Problem("output.penalty", "reads layers of the origin, not the image alone")


def _names(nodes: Iterable[Node]) -> Iterator[str]:
    for node in nodes:
        yield from (node.name, *node.tensors.values())


def _graph_problems(graph: Graph, path: str) -> Iterator[Problem]:
    if min(graph.input_shape) < 1:
        yield Problem(f"{path}.input_shape", "has a side that is not positive")
    seen = {graph.input}
    for i, node in enumerate(graph.nodes):
        at = f"{path}.nodes[{i}]"
        if not node.name or node.name in seen:
            yield Problem(f"{at}.name", f"{node.name!r} is empty or taken")
        for name in node.inputs:
            if name not in seen:
                yield Problem(f"{at}.inputs", f"{name!r} is not the name of an earlier node")
        seen.add(node.name)
    if graph.output not in seen - {graph.input}:
        yield Problem(f"{path}.output", f"{graph.output!r} is not a node")


def _retained_problems(manifest: Manifest) -> Iterator[Problem]:
    layers = {node.name: node for node in manifest.origin.graph.nodes}
    for layer, kernels in manifest.retained.items():
        path = f"retained.{layer}"
        if layer not in layers:
            yield Problem(path, "is not a node of the origin's graph")
        elif kernels.total != _n_kernels(layers[layer]):
            yield Problem(f"{path}.total", "is not the number of kernels in the origin's graph")
        indices = kernels.retained
        if any(a >= b for a, b in pairwise(indices)):
            yield Problem(f"{path}.retained", "is not ascending")
        if max(indices, default=0) >= kernels.total:
            yield Problem(f"{path}.retained", f"has an index beyond the {kernels.total} kernels")


def _n_kernels(node: Node) -> AttributeValue | None:
    return node.attributes.get("n_kernels", node.attributes.get("n_features"))


def _metrics_problems(manifest: Manifest) -> Iterator[Problem]:
    seen: set[str] = set()
    for i, metrics in enumerate(manifest.metrics):
        if metrics.n_positive > metrics.n:
            yield Problem(f"metrics[{i}].n_positive", "is more than n")
        if metrics.split in seen:
            yield Problem(f"metrics[{i}].split", f"{metrics.split!r} has metrics already")
        seen.add(metrics.split)


def _own_scores_problems(manifest: Manifest) -> Iterator[Problem]:
    scores = manifest.own_scores
    if not isinstance(scores, OwnScores):
        return
    for field in ("own", "highest"):
        if any(a > b for a, b in pairwise(getattr(scores, field))):
            yield Problem(f"own_scores.{field}", "does not ascend")
    if any(a > b for a, b in zip(scores.own, scores.highest, strict=True)):
        yield Problem("own_scores.highest", "is below `own`")


def _confusion_problems(manifest: Manifest) -> Iterator[Problem]:
    confusion = manifest.confusion
    if not isinstance(confusion, Confusion):
        return
    if confusion.split not in {metrics.split for metrics in manifest.metrics}:
        yield Problem("confusion.split", f"{confusion.split!r} has no metrics")
    others = set(manifest.origin.classes)
    if manifest.output.class_index < len(manifest.origin.classes):
        others.discard(manifest.origin.classes[manifest.output.class_index])
    for i, one in enumerate(confusion.classes):
        if one.name not in others:
            why = "is no other class of the origin, or there already"
            yield Problem(f"confusion.classes[{i}].name", f"{one.name!r} {why}")
        others.discard(one.name)
    shares = [one.share for one in confusion.classes]
    if sorted(shares, reverse=True) != shares or 0 in shares:
        yield Problem("confusion.classes", "do not fall by their shares, to above 0")


def picture_problems(pictures: dict[str, FileRecord]) -> Iterator[Problem]:
    """Give what is wrong with what is said of pictures (clause M-33)."""
    for name, record in pictures.items():
        if name not in PICTURE_FILES:
            yield Problem("pictures", f"{name[:100]!r} is none of {', '.join(PICTURE_FILES)}")
        elif record.size_bytes > MAX_PICTURE_BYTES:
            yield Problem(f"pictures.{name}.size_bytes", f"is more than {MAX_PICTURE_BYTES}")


def _example_problems(manifest: Manifest) -> Iterator[Problem]:
    if manifest.all_pictures.keys() - {PICTURE_FILE} != manifest.all_examples.keys():
        yield Problem("examples", "are not one for each example image, from the first on")


def _variant_problems(manifest: Manifest) -> Iterator[Problem]:
    variant = manifest.variant
    if not isinstance(variant, Variant):
        return
    if manifest.name != (expected := variant_name(variant.name, variant.kind)):
        yield Problem("variant.name", f"its variant is called `{expected}`")
    if manifest.version != variant.version:
        yield Problem("variant.version", f"is {variant.version}, not {manifest.version}")


def _file_problems(manifest: Manifest) -> Iterator[Problem]:
    if TENSOR_FILE not in manifest.files:
        yield Problem("files", f"`{TENSOR_FILE}` is missing")
    for name in manifest.files:
        if name not in FILE_NAMES:
            yield Problem("files", f"{name[:100]!r} is none of {', '.join(FILE_NAMES)}")
