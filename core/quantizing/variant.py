"""Variants: class modules anew with weights and values of 8 bits (clause M-36)."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import torch

from modpm.core.calibrations import find_calibration
from modpm.core.calibrations.scores import Readings, fit_scores, less_penalty
from modpm.core.data import load_data
from modpm.core.data.image_data import aligned
from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import Distribution, write_distribution
from modpm.core.formats.manifest import Variant
from modpm.core.formats.names import MAX_PART_LENGTH, ModuleName
from modpm.core.formats.release_files import INT8, variant_name
from modpm.core.graph import GraphNetwork, build, count, infer_shapes
from modpm.core.graph.stored_weights import stored
from modpm.core.modularizing.description import files_of, quantiles_of, shared_tensors
from modpm.core.modularizing.fitting import confusion, measure
from modpm.core.origins.origin import HELD_OUT, N_DIGITS, TEST
from modpm.core.origins.trained_network import DataSet, Particulars
from modpm.core.quantizing.network import LAYERS, folded, round_network
from modpm.core.system.whole_files import whole_tree
from modpm.core.training.inference import accuracy, normalizing, read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from modpm.core.calibrations.scores import FittedScore
    from modpm.core.classifiers.class_module import ClassModule
    from modpm.core.data import ImageData
    from modpm.core.formats.manifest import ClassMetrics, Manifest, OwnScores
    from modpm.core.formats.network_graph import Graph, Node

N_IMAGES = 512
"""Training images that ranges and statistics are taken from."""

MOST_NUMBERS = 2**24
"""Of a value of all these images; where an image has more of them, there are fewer images."""

VAL_FRACTION = 0.1
"""Of each class is held out of images that the release was not made of."""


class Made(NamedTuple):
    """A variant, and the release that it is made of.

    Attributes:
        distribution: Of the variant.
        release: The manifest of the release.
    """

    distribution: Distribution
    release: Manifest

    @property
    def manifest(self) -> Manifest:
        """Of the variant."""
        return self.distribution.module_manifest

    @property
    def metrics(self) -> tuple[ClassMetrics, ClassMetrics]:
        """What the variant measured, and the release on the same images."""
        variant = self.manifest.variant
        assert isinstance(variant, Variant)
        assert variant.before is not None
        return self.manifest.metrics[0], variant.before


@dataclass(frozen=True)
class Quantization:
    """What was made of some class modules.

    Attributes:
        folder: Where the distributions lie.
        variants: One of each module, in their order.
        split: Which images both were measured on.
        n: How many these are.
        before, after: The share of them that the modules of one origin, side by side, name
            rightly, where there are two or more.
    """

    folder: Path
    variants: tuple[Made, ...]
    split: str
    n: int
    before: float | None = None
    after: float | None = None


@dataclass(frozen=True)
class _Images:
    """Images of the classes of an origin that some data set has."""

    source: DataSet
    device: torch.device

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.classes

    @cached_property
    def held_out(self) -> ImageData:
        return self.source.validation_data()

    @cached_property
    def test(self) -> ImageData | None:
        try:
            data = aligned(self.source.data(TEST), self.classes)
        except ModpmError as error:
            if error.code != "split-not-found":
                raise
            return None
        return data if len(data) else None

    def some(self, n: int) -> Tensor:
        """Return some training images as networks read them."""
        training = self.source.training_data()
        chance = torch.Generator().manual_seed(0)
        chosen = training.select(torch.randperm(len(training), generator=chance)[:n])
        return normalizing(self.source.contract)(chosen.images)

    @property
    def measured(self) -> tuple[str, ImageData]:
        """The images that variants are measured on, and what they are called."""
        return (HELD_OUT, self.held_out) if self.test is None else (TEST, self.test)

    @property
    def named(self) -> tuple[str, int]:
        """What these are called, and how many they are."""
        split, data = self.measured
        return split, len(data)

    def read(self, network: GraphNetwork, node: str, data: ImageData) -> Tensor:
        """Return the values of a node for images; (N, F)."""
        prepare = normalizing(self.source.contract)
        return read(network, data.pixels, prepare, (node,), device=self.device)[node]


@dataclass(frozen=True)
class _Rounded:
    """A class module whose network was rounded, and its score fitted anew.

    Attributes:
        module: The module as it was.
        graph, tensors: What it is now.
        fitted: How its score is made.
        n_images: How many images it was rounded by.
        before, after: Scores of the images that both are measured on.
    """

    module: ClassModule
    graph: Graph
    tensors: dict[str, Tensor]
    fitted: FittedScore
    n_images: int
    before: Tensor
    after: Tensor


def quantize_modules(
    modules: Sequence[ClassModule],
    data: str | Path,
    output: Path,
    *,
    skip_bad: bool = False,
    device: torch.device,
    progress: Callable[[str, int, int], None],
    report: Callable[[str], None],
) -> Quantization:
    """Make variants of 8 bits of class modules of one origin, and write a distribution for each.

    Args:
        modules: From distributions.
        data: What they were made of, as `load_data` takes it.
        output: A folder that is free.
        skip_bad: Leave out images that cannot be decoded.
        device: Where networks run.
        progress: Told what is done, and how much of it.
        report: Is told in a sentence where the images are others than the modules were made of.

    Raises:
        ModpmError: `cannot-quantize`; `different-origins`; `unknown-class` or `one-class`, where
            the data lack a class of a module, or all others; what loading the data raises.
    """
    for module in modules:
        check_can_be_quantized(module)
    _check_origin(modules)
    images = _images(modules, data, device, skip_bad=skip_bad)
    if images.source.fingerprint != modules[0].manifest.provenance.fingerprint:
        report("the images are not those that the modules were made of")
    rounded = []
    for i, module in enumerate(modules):
        progress("quantizing class modules", i, len(modules))
        rounded.append(_rounded(module, images))
    progress("quantizing class modules", len(modules), len(modules))
    manifests = _manifests(rounded, images)
    tensors = [stored(one.graph, one.tensors) for one in rounded]
    shared = shared_tensors(tensors)
    made = []
    with whole_tree(output) as folder:
        for one, manifest, own in zip(rounded, manifests, tensors, strict=True):
            name = ModuleName.parse(manifest.name).name
            written = write_distribution(folder / name, manifest, files_of(own, manifest, shared))
            made.append(Made(replace(written, folder=output / name), one.module.manifest))
    return _compared(Quantization(output, tuple(made), *images.named), rounded, images)


def check_can_be_quantized(module: ClassModule) -> None:
    """Check that a variant can be made of a class module.

    Raises:
        ModpmError: `cannot-quantize`.
    """
    manifest = module.manifest
    why = None
    if isinstance(manifest.variant, Variant):
        why = f"it is the variant `{manifest.variant.kind}` of {manifest.variant.name} already"
    elif any(node.operator == "quantize" for node in module.graph.nodes):
        why = "its network rounds values to 8 bits already"
    elif module.digest is None:
        why = "it is of no distribution"
    elif not all(bool(tensor.isfinite().all()) for tensor in module.tensors.values()):
        why = "its tensors hold numbers that are not finite"
    elif len(ModuleName.parse(variant_name(manifest.name, INT8)).name) > MAX_PART_LENGTH:
        why = f"its name and `-{INT8}` are longer than {MAX_PART_LENGTH} characters"
    elif _tail(module) is None:
        why = "its score is not made of its logit as `modularize` makes it"
    if why is not None:
        raise ModpmError(
            f"`{manifest.name}` cannot be quantized",
            code="cannot-quantize",
            where=f"{manifest.name} {manifest.version}",
            why=why,
        )


def _check_origin(modules: Sequence[ClassModule]) -> None:
    first = modules[0].manifest
    for one in (module.manifest for module in modules[1:]):
        if (one.origin.digest, one.input, one.provenance) != (
            first.origin.digest, first.input, first.provenance,
        ):  # fmt: skip
            raise ModpmError(
                "class modules of different origins are not quantized together",
                code="different-origins",
                why=f"{first.name}: {first.origin.digest}\n{one.name}: {one.origin.digest}",
                hint="quantize those of each origin by themselves",
            )


def _images(
    modules: Sequence[ClassModule], data: str | Path, device: torch.device, *, skip_bad: bool
) -> _Images:
    manifest, contract = modules[0].manifest, modules[0].input
    size, channels = (contract.height, contract.width), contract.channels
    found = load_data(data, "train", skip_bad=skip_bad, image_size=size, channels=channels)
    classes = tuple(name for name in manifest.origin.classes if name in found.classes)
    for module in modules:
        own = _class_of(module)
        if own not in classes:
            raise ModpmError(
                f"the data have no class `{own}`",
                code="unknown-class",
                where=f"{found.source}, split {found.split}",
                why=f"they have {', '.join(found.classes[:10])}",
                hint=f"`{module.manifest.name}` needs images of its class, and of others beside it",
                exit_code=2,
            )
    fraction = VAL_FRACTION
    if found.fingerprint == manifest.provenance.fingerprint:
        n = int(torch.isin(found.labels, _places(found, classes)).sum())
        fraction = min(manifest.calibration.n / n, 0.5)
    said = Particulars(
        data=data, val_fraction=fraction, seed=manifest.provenance.seed or 0, skip_bad=skip_bad
    )
    return _Images(DataSet(str(data), classes, contract, said), device)


def _places(found: ImageData, classes: Sequence[str]) -> Tensor:
    return torch.tensor([found.classes.index(name) for name in classes])


def _class_of(module: ClassModule) -> str:
    manifest = module.manifest
    return manifest.origin.classes[manifest.output.class_index]


class _Tail(NamedTuple):
    """What makes the score of what the network of a module says.

    Attributes:
        source: The node whose value is read, the logit last.
        score: The node that gives the score, before anything is taken off.
        penalty: The nodes of what is taken off, and the last one, which does; none without.
    """

    source: str
    score: str
    penalty: tuple[Node, ...]


def _tail(module: ClassModule) -> _Tail | None:
    output, graph = module.manifest.output, module.graph
    source = output.features or output.logit
    if find_calibration(module.manifest.calibration.kind).reads_features != bool(output.features):
        return None
    if not isinstance(output.penalty, str):
        return _Tail(source, output.score, ())
    last = graph.node(output.score)
    if last.operator != "sub" or last.inputs[1:] != (output.penalty,):
        return None
    live = msgspec.structs.replace(graph, output=output.penalty).live()
    nodes = tuple(node for node in graph.nodes if node.name in live)
    return _Tail(source, last.inputs[0], (*nodes, last))


def _rounded(module: ClassModule, images: _Images) -> _Rounded:
    tail, tensors = _tail(module), {n: t.float() for n, t in module.tensors.items()}
    assert tail is not None
    body, own = folded(*_part(module.graph, tensors, tail.source))
    some = images.some(_n_images(body))
    rounded = round_network(body, own, some, _layers(body, module.manifest.output.logit))
    fitted = _fitted(build(rounded.graph, rounded.tensors), tail.source, module, images)
    own = rounded.tensors | {
        name: tensors[name] for node in tail.penalty for name in node.tensors.values()
    }
    graph, own = _scored(rounded.graph, own, tail, fitted, module.graph.output)
    _, data = images.measured
    before = images.read(module.network, module.graph.output, data)[:, 0]
    if images.test is None:
        after = fitted.held_out_scores.float()
    else:
        after = images.read(build(graph, own), graph.output, data)[:, 0]
    return _Rounded(module, graph, own, fitted, len(some), before, after)


def _n_images(graph: Graph) -> int:
    largest = max(math.prod(shape) for shape in infer_shapes(graph).values())
    return max(1, min(N_IMAGES, MOST_NUMBERS // largest))


def _part(graph: Graph, tensors: dict[str, Tensor], output: str) -> tuple[Graph, dict[str, Tensor]]:
    """Return the part of a network that one of its values is computed by."""
    part = msgspec.structs.replace(graph, output=output)
    live = part.live()
    nodes = tuple(node for node in graph.nodes if node.name in live)
    named = {name for node in nodes for name in node.tensors.values()}
    return msgspec.structs.replace(part, nodes=nodes), {name: tensors[name] for name in named}


def _layers(graph: Graph, logit: str) -> set[str]:
    """Return the layers that the logit is computed by, but for those that are used twice."""
    live = msgspec.structs.replace(graph, output=logit).live()
    layers = [node for node in graph.nodes if node.operator in LAYERS]
    times = Counter(node.tensors["weight"] for node in layers)
    return {one.name for one in layers if one.name in live and times[one.tensors["weight"]] == 1}


def _fitted(
    network: GraphNetwork, source: str, module: ClassModule, images: _Images
) -> FittedScore:
    """Fit the score anew, less what is taken off for unusual images."""
    manifest, data = module.manifest, images.held_out
    label = images.classes.index(_class_of(module))
    values = images.read(network, source, data)
    readings = Readings(values[:, :-1], values[:, -1], data.labels)
    fitted = fit_scores([readings], [label], manifest.calibration.kind, images.device)[0]
    if not isinstance(manifest.output.penalty, str):
        return fitted
    taken = images.read(module.network, manifest.output.penalty, data)[:, 0]
    return less_penalty(fitted, taken, data.labels == label)


def _scored(
    graph: Graph, tensors: dict[str, Tensor], tail: _Tail, fitted: FittedScore, output: str
) -> tuple[Graph, dict[str, Tensor]]:
    """Return a network with the nodes that make its score."""
    n_read = infer_shapes(graph)[tail.source][0]
    added, numbers = fitted.calibrator.nodes(tail.source, n_read, tail.score)
    nodes = (*graph.nodes, *added, *tail.penalty)
    scored = msgspec.structs.replace(graph, nodes=nodes, output=output)
    return scored, tensors | {name: tensor.float() for name, tensor in numbers.items()}


def _manifests(rounded: Sequence[_Rounded], images: _Images) -> list[Manifest]:
    origin = rounded[0].module.manifest.origin.classes
    by_class = {_class_of(one.module): one for one in rounded}
    own_scores: dict[str, OwnScores] = {}
    if list(by_class) and all(name in by_class for name in origin):
        labels = images.held_out.labels
        scores = torch.stack([by_class[name].fitted.held_out_scores for name in images.classes], 1)
        own_scores = {
            name: quantiles_of(scores[labels == i], i) for i, name in enumerate(images.classes)
        }
    return [_manifest(one, images, own_scores.get(_class_of(one.module))) for one in rounded]


def _manifest(one: _Rounded, images: _Images, own_scores: OwnScores | None) -> Manifest:
    split, data = images.measured
    release, fitted = one.module.manifest, one.fitted
    own = images.classes.index(_class_of(one.module))
    is_class = data.labels == own
    cost = count(one.graph, one.tensors)
    assert one.module.digest is not None
    return msgspec.structs.replace(
        release,
        name=variant_name(release.name, INT8),
        graph=one.graph,
        calibration=msgspec.structs.replace(
            release.calibration,
            split=HELD_OUT,
            n=len(images.held_out),
            brier_score=round(fitted.brier_score, N_DIGITS),
            log_loss=round(fitted.log_loss, N_DIGITS),
        ),
        metrics=[measure(one.after, is_class, split)],
        composed=msgspec.UNSET,
        confusion=confusion(one.after, data.labels, own, images.classes, split),
        pictures=msgspec.UNSET,
        examples=msgspec.UNSET,
        own_scores=own_scores or msgspec.UNSET,
        variant=Variant(
            kind=INT8,
            name=release.name,
            version=release.version,
            digest=one.module.digest,
            n_images=one.n_images,
            before=measure(one.before, is_class, split),
        ),
        n_parameters=cost.n_parameters,
        size_bytes=cost.size_bytes,
        macs=cost.macs,
    )


def _compared(made: Quantization, rounded: Sequence[_Rounded], images: _Images) -> Quantization:
    """Say how many images the modules together name rightly, of those that show their classes."""
    _, data = images.measured
    classes = [_class_of(one.module) for one in rounded]
    if len(set(classes)) < max(2, len(classes)):
        return made
    own = aligned(data, classes)
    shown = torch.isin(data.labels, _places(data, classes))
    before, after = (
        accuracy(torch.stack(scores, 1)[shown], own.labels)
        for scores in ([one.before for one in rounded], [one.after for one in rounded])
    )
    return replace(made, n=len(own), before=before, after=after)
