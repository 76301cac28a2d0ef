"""The folder of a classifier: written whole, and read as if a stranger had written it.

`config.json` is the networks as data, `model.safetensors` their tensors, `composition.json` the
recipe and the digests of the other two, `README.md` a card. `PyTorchModelHubMixin` knows the
names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import msgspec
from huggingface_hub.repocard_data import CardData

from modpm.core.classifiers.recipe import FORMAT_VERSION, Composition
from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.composition_card import (
    ON_THE_HUB,
    VOTING,
    adjusted_in_words,
    finetuned_in_words,
    linear_in_words,
)
from modpm.core.formats.composition_manifest import (
    adjustment_problems,
    linear_problems,
    network_problems,
)
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.manifest import FileRecord, InputContract, Label, Share
from modpm.core.formats.network_graph import Graph  # noqa: TC001 -- a record has one
from modpm.core.formats.records import Problem, Record, problems_error, read_record, to_plain
from modpm.core.graph.stored_weights import restored, stored
from modpm.core.shown_text import Percent
from modpm.core.system.whole_files import (
    is_free,
    read_file,
    write_file,
    write_folder,
)
from modpm.core.tensors import decode_tensors, encode_tensors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

    from modpm.core.classifiers.classifier import Classifier
    from modpm.core.classifiers.recipe import Pin
    from modpm.core.formats.measurement import Measurement


def render_card(classifier: Classifier) -> str:
    """Return the text of a composed classifier's card; equal classifiers give equal text."""
    composition = classifier.composition
    assert composition is not None
    metadata = CardData(**_front_matter(composition)).to_yaml(line_break="\n")
    sections = (
        _about(classifier, composition),
        _measured(composition.measured),
        _input(classifier),
        _use(),
    )
    return f"---\n{metadata}\n---\n\n" + "\n".join(sections)


def _front_matter(composition: Composition) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "library_name": "modpm",
        "pipeline_tag": "image-classification",
        "tags": ["modpm", "pytorch_model_hub_mixin"],
    }
    if composition.measured:
        results = [_result(measurement) for measurement in composition.measured]
        metadata["model-index"] = [{"name": "classifier", "results": results}]
    return metadata


def _result(measurement: Measurement) -> dict[str, Any]:
    data_set = measurement.data_set
    return {
        "task": {"type": "image-classification"},
        "dataset": {"type": data_set, "name": data_set, "split": measurement.split},
        "metrics": [{"type": "accuracy", "value": measurement.accuracy}],
    }


def _about(classifier: Classifier, composition: Composition) -> str:
    rejects = "It gives every image one of its labels."
    if classifier.reject is not None:
        rejects = (
            "An image for which no label's own probability reaches "
            f"{classifier.reject:g} is none of the above."
        )
    voting = f"{VOTING} " if len(classifier.labels) < len(composition.modules) else ""
    adjusted = adjusted_in_words(composition.adjustments) + linear_in_words(composition.linear)
    return (
        "# A classifier composed of class modules\n\n"
        "Composed by modpm without training. It is no detector: it says what an image shows, and "
        f"not where. {finetuned_in_words(composition.finetuned)}{rejects} "
        f"Strategy: {composition.strategy}; {classifier.n_parameters:,} parameters, "
        f"{classifier.macs:,} multiply-accumulates an image (the origins of its modules: "
        f"{composition.origin_macs:,}).\n\n"
        f"{adjusted}"
        f"{voting}Label, release and digest of each class module:\n\n"
        + _verbatim(_pin_line(pin) for pin in composition.modules)
    )


def _pin_line(pin: Pin) -> str:
    return f"{pin.label}  {pin.name} {pin.version}  {pin.digest or 'not published'}"


def _measured(measurements: list[Measurement]) -> str:
    lines = [
        f"{one.data_set}, split {one.split}: accuracy {Percent(one.accuracy)} of {one.n:,} images, "
        f"{one.n_rejected:,} of them none of the above ({one.fingerprint})"
        for one in measurements
    ]
    return "## Measured\n\n" + (_verbatim(lines) if lines else "Nothing was measured.\n")


def _input(classifier: Classifier) -> str:
    height, width = classifier.input_size
    return (
        "## Input\n\n"
        f"Red, green and blue from 0 to 1, {height} by {width} pixels; every module scales and "
        "normalizes them for itself.\n"
    )


def _use() -> str:
    return (
        "## Use\n\n"
        "```shell\nmodpm predict FOLDER photo.png\n```\n\n"
        "```python\nfrom modpm import Classifier\n"
        'classifier = Classifier.from_pretrained("FOLDER")  # a torch.nn.Module\n```\n\n'
        f"{ON_THE_HUB}"
    )


def _verbatim(lines: Iterable[str]) -> str:
    # An indented block shows whatever a label holds as it is.
    return "".join(f"    {' '.join(line.splitlines())}\n" for line in lines)


CONFIG_FILE = "config.json"
TENSOR_FILE = "model.safetensors"
COMPOSITION_FILE = "composition.json"
CARD_FILE = "README.md"
FILES = (CONFIG_FILE, TENSOR_FILE, COMPOSITION_FILE, CARD_FILE)

MAX_CONFIG_BYTES = 64 * 1024 * 1024
"""Graphs of many modules are larger than one manifest may be."""

R = TypeVar("R", bound=Record)


class ScorerConfig(Record, frozen=True, kw_only=True):
    """One network of a classifier as data.

    Attributes:
        labels: What it scores, in the order of its outputs.
        input: What an image must be.
        graph: The network.
    """

    labels: Annotated[list[Label], msgspec.Meta(min_length=1)]
    input: InputContract
    graph: Graph


class ClassifierConfig(Record, frozen=True, kw_only=True):
    """What `config.json` says.

    Attributes:
        format_version: The version of the classifier folder.
        library_name: Tells other programs what can read it.
        labels: In the order of the classifier's outputs.
        reject: The threshold for none of the above, if there is one.
        scorers: Its networks.
    """

    format_version: int = FORMAT_VERSION
    library_name: str = "modpm"
    labels: Annotated[list[Label], msgspec.Meta(min_length=1)]
    reject: Share | None = None
    scorers: Annotated[list[ScorerConfig], msgspec.Meta(min_length=1)]


class SavedClassifier(NamedTuple):
    """A classifier's folder, read and checked; the tensors by scorer."""

    config: ClassifierConfig
    composition: Composition
    tensors: list[dict[str, Tensor]]


def encode_classifier(classifier: Classifier) -> dict[str, bytes]:
    """Return the files of a classifier; the same classifier gives the same bytes.

    Raises:
        ModpmError: It was not composed of class modules (`not-composed`).
    """
    if classifier.composition is None:
        raise not_composed()
    files = {
        CONFIG_FILE: canonical_json.encode(to_plain(_config(classifier))),
        TENSOR_FILE: encode_tensors(_stored(classifier)),
    }
    records = {
        name: FileRecord(size_bytes=len(data), digest=digest_bytes(data))
        for name, data in files.items()
    }
    composition = msgspec.structs.replace(classifier.composition, files=records)
    files[COMPOSITION_FILE] = canonical_json.encode(to_plain(composition))
    files[CARD_FILE] = render_card(classifier).encode()
    return files


def _stored(classifier: Classifier) -> dict[str, Tensor]:
    """Return the tensors of all scorers, by the names that they have in the file."""
    return {
        f"{_prefix(i)}{name}": tensor
        for i, scorer in enumerate(classifier.networks())
        for name, tensor in stored(scorer.graph, scorer.network.state_dict()).items()
    }


def _config(classifier: Classifier) -> ClassifierConfig:
    return ClassifierConfig(
        labels=list(classifier.labels),
        reject=classifier.reject,
        scorers=[
            ScorerConfig(labels=list(scorer.labels), input=scorer.contract, graph=scorer.graph)
            for scorer in classifier.networks()
        ],
    )


def write_classifier(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a classifier's folder in one step.

    Args:
        folder: A new or empty folder, or that of a classifier, which is replaced.
        files: What `encode_classifier` returned.

    Raises:
        ModpmError: The folder holds something else (`folder-exists`) or cannot be written.
    """
    check_replaceable(folder)
    write_folder(folder, files)


def check_replaceable(folder: Path) -> None:
    """Check that a classifier may be written to a folder.

    Raises:
        ModpmError: It holds something else than a classifier (`folder-exists`).
    """
    if is_free(folder):
        return
    if not folder.is_dir() or folder.is_symlink() or not _is_classifier(folder):
        raise ModpmError(
            f"`{folder.name}` exists and is not a classifier",
            code="folder-exists",
            where=str(folder),
            hint="choose another folder with `-o`",
        )


def _is_classifier(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir()}
    return COMPOSITION_FILE in names and names <= set(FILES)


def is_classifier_folder(folder: Path) -> bool:
    """Say whether a folder is meant as a classifier; it may still be damaged."""
    return (folder / COMPOSITION_FILE).is_file()


def record(folder: Path, classifier: Classifier, measurement: Measurement) -> None:
    """Write down in a classifier's folder what the classifier was measured at.

    An older measurement of the same images is replaced.

    Raises:
        ModpmError: It was not composed (`not-composed`), or the folder cannot be written.
    """
    if classifier.composition is None:
        raise not_composed()
    others = [
        one
        for one in classifier.composition.measured
        if (one.fingerprint, one.open_set) != (measurement.fingerprint, measurement.open_set)
    ]
    classifier.composition = msgspec.structs.replace(
        classifier.composition, measured=[*others, measurement]
    )
    files = encode_classifier(classifier)
    for name in (COMPOSITION_FILE, CARD_FILE):
        write_file(folder / name, files[name])


def read_classifier(folder: Path) -> SavedClassifier:
    """Read the folder of a classifier.

    Raises:
        ModpmError: `not-a-classifier`; `damaged-classifier`, where a file is not what
            `composition.json` says or does not fit the others; `unknown-format-version`;
            `invalid-json`, `too-large`, `invalid-tensors`, `truncated-tensors`.
    """
    if not is_classifier_folder(folder):
        raise ModpmError(
            f"`{folder.name}` is not a classifier",
            code="not-a-classifier",
            where=str(folder),
            why=f"it has no {COMPOSITION_FILE}" if folder.exists() else "there is no such folder",
            hint="`modpm compose` makes classifiers",
        )
    path = folder / COMPOSITION_FILE
    composition = _parse(Composition, read_file(path, MAX_CONFIG_BYTES), path)
    files = {name: _read_pinned(folder / name, composition) for name in (CONFIG_FILE, TENSOR_FILE)}
    config = _parse(ClassifierConfig, files[CONFIG_FILE], folder / CONFIG_FILE)
    where = str(folder / TENSOR_FILE)
    tensors = restored(decode_tensors(files[TENSOR_FILE], where), where)
    problems = [*_label_problems(config, composition), *_tensor_problems(config, tensors)]
    if problems:
        raise _damaged(folder, problems)
    return SavedClassifier(config, composition, _by_scorer(config, tensors))


def _read_pinned(path: Path, composition: Composition) -> bytes:
    record = composition.files.get(path.name)
    if record is None:
        raise _damaged(path, [Problem("", f"{COMPOSITION_FILE} does not name it")])
    data = read_file(path, record.size_bytes)
    if (len(data), digest_bytes(data)) != (record.size_bytes, record.digest):
        n_bytes = len(data) if len(data) <= record.size_bytes else f"more than {record.size_bytes}"
        why = f"has {n_bytes} bytes of digest {digest_bytes(data)}; {COMPOSITION_FILE} says "
        why += f"{record.size_bytes} of {record.digest}"
        raise _damaged(path, [Problem("", why)])
    return data


def _parse(kind: type[R], data: bytes, path: Path) -> R:
    raw = canonical_json.decode(data, str(path), MAX_CONFIG_BYTES)
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version != FORMAT_VERSION:
        raise ModpmError(
            f"the classifier has format version {version}",
            code="unknown-format-version",
            where=str(path),
            why=f"this version of modpm reads format version {FORMAT_VERSION}",
            hint="upgrade modpm" if version > FORMAT_VERSION else None,
        )
    record, problems = read_record(kind, raw)
    if record is None:
        raise _damaged(path, problems)
    return record


def _label_problems(config: ClassifierConfig, composition: Composition) -> Iterator[Problem]:
    scored = [label for scorer in config.scorers for label in scorer.labels]
    if len(set(config.labels)) < len(config.labels):
        yield Problem("config.json labels", "names a label twice")
    if set(scored) != set(config.labels):
        yield Problem("config.json labels", "are not those of its scorers")
    pinned = [pin.label for pin in composition.modules]
    if list(dict.fromkeys(pinned)) != config.labels:
        yield Problem("composition.json modules", "are not the labels of config.json")
    yield from adjustment_problems(composition.adjustments)
    yield from linear_problems(composition.linear, config.labels)
    problems = list(network_problems(composition))
    yield from problems
    if problems:
        return
    composed = [[pinned[i] for i in network.modules] for network in composition.networks]
    if composed != [scorer.labels for scorer in config.scorers]:
        yield Problem("composition.json networks", "are not the scorers of config.json")


def _tensor_problems(config: ClassifierConfig, tensors: Mapping[str, Tensor]) -> Iterator[Problem]:
    named = {
        f"{_prefix(i)}{name}"
        for i, scorer in enumerate(config.scorers)
        for node in scorer.graph.nodes
        for name in node.tensors.values()
    }
    for name in sorted(named ^ tensors.keys())[:10]:
        yield Problem(TENSOR_FILE, f"{'lacks' if name in named else 'has a needless'} `{name}`")


def _by_scorer(config: ClassifierConfig, tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    return [
        {
            name: tensors[f"{_prefix(i)}{name}"]
            for node in scorer.graph.nodes
            for name in node.tensors.values()
        }
        for i, scorer in enumerate(config.scorers)
    ]


def _prefix(i: int) -> str:
    return f"scorers.{i}.network."


def not_composed() -> ModpmError:
    """Return the error for a classifier that has no recipe."""
    return ModpmError("only a composed classifier has a folder", code="not-composed")


def _damaged(path: Path, problems: list[Problem]) -> ModpmError:
    return problems_error(
        problems,
        what="the classifier is damaged",
        code="damaged-classifier",
        where=str(path),
        hint="compose it again",
    )
