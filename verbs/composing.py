"""Composing classifiers of what a project has installed."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.composition import adjusting
from modpm.core.composition.compose import AUTO, check_labels, compose_modules, rebuild
from modpm.core.composition.rejecting import AUTO as BY_SHARE
from modpm.core.composition.rejecting import adjusted, asked_threshold
from modpm.core.composition.tuned_weights import is_finetuned
from modpm.core.data import load_data, open_image
from modpm.core.data.image_folder import images_in
from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_bytes, digest_file
from modpm.core.formats.names import normalize
from modpm.registry.installing.installed import installed
from modpm.verbs.loading import composition_of, load, load_members

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from modpm.core.classifiers.classifier import Classifier
    from modpm.verbs.loading import FoundComposition

Source = str | os.PathLike[str] | ClassModule
"""A class module: an installed name, the folder of a distribution, or a loaded one."""


class _Part(NamedTuple):
    """A class module of the classifier to be.

    Attributes:
        module: The module.
        label: What its score is called, if no alias says otherwise.
        names: What an alias may call the module: what the user wrote first.
    """

    module: ClassModule
    label: str
    names: tuple[str, ...]


def compose(
    sources: Sequence[Source] = (),
    strategy: str | None = None,
    reject: float | str | None = None,
    *,
    false_rejections: float | None = None,
    aliases: Mapping[str, str] | None = None,
    ensemble: bool = False,
    calibrate: str | None = None,
    split: str = "train",
    mapping: Mapping[str, str] | None = None,
    unlabeled: str | os.PathLike[str] | None = None,
    project: str | os.PathLike[str] = ".",
    report: Callable[[str], None] = lambda _sentence: None,
) -> Classifier:
    """Compose a classifier of class modules, without training.

    A composition that is named alone is made again exactly as it was published, but for what is
    asked otherwise here. One that is named beside others stands for its class modules, with the
    labels that it gives them; its strategy, its threshold and what it adjusts are not taken over.
    One that was trained once it was composed is more than its modules, and is named alone.

    Args:
        sources: Installed names (`cifar10/cat`, or a composition, `acme/pets`), whole namespaces
            (`cifar10/*`), folders of distributions, or loaded class modules. All installed class
            modules where there are none; neither that nor a namespace stands for compositions.
        strategy: `independent` lets each module run as it is; `fused` makes one network of
            modules of one origin; `auto` does for each origin whichever is better by what it
            costs and what it was recorded at.
            None: as a composition says that is named alone, and otherwise `auto`.
        reject: An image is none of the above where no module's own probability reaches this;
            `auto` for what rejects a share of the known images, by what the modules publish of
            their held-out images;
            None to give every image a label, or as a composition says that is named alone.
        false_rejections: The share of known images that `auto` may reject; None for 5 %.
        aliases: Module name, or folder as in `sources`, to the label its score gets.
        ensemble: Let modules of one class vote, those whose labels differ in the namespace alone:
            the mean of their scores is that of the first one's label.
        calibrate: A data set with a few images of each label, as for `evaluate`. Two numbers of
            each origin are fitted to them, where cross-validation finds these better by its
            standard error.
        split: Which images of that data set.
        mapping: Label to the class of that data set it meets, where their names differ.
        unlabeled: A folder of images, which show all labels about equally often. An intercept of
            each origin is fitted, so that labels are given so.
        project: A folder in the project.
        report: Is told what was done to images, in sentences.

    Raises:
        ModpmError: A module is not installed or damaged, two have one label, or they cannot be
            composed so; a composition that was trained is to be taken apart (`fine-tuned`);
            `broken-composition`; what loading images and `adjusting` raise.
    """
    if isinstance(sources, str | os.PathLike):
        raise TypeError("sources is a list of modules, not one")
    if mapping and calibrate is None:
        raise ModpmError(
            "`--map` says which class of the images that calibrate a label meets",
            code="usage",
            why="there is no `--calibrate`",
            exit_code=2,
        )
    fits = calibrate is not None or unlabeled is not None
    if fits and reject == BY_SHARE:
        raise adjusted()
    composed = _composed(
        _expanded(sources, project),
        strategy,
        (reject, false_rejections),
        aliases=aliases or {},
        ensemble=ensemble,
        project=project,
        fits=fits,
    )
    counted = composed.counted
    if calibrate is not None:
        composed = _calibrated(composed, calibrate, split, mapping, report)
    if unlabeled is not None:
        composed = _shared_out(composed, Path(unlabeled), report)
    # What fitting adds is told; what the modules cost, it leaves as it is.
    composed.counted = counted and counted._replace(together=composed.cost)
    return composed


def _calibrated(
    classifier: Classifier,
    data: str,
    split: str,
    mapping: Mapping[str, str] | None,
    report: Callable[[str], None],
) -> Classifier:
    # For each contract by itself, as `evaluate` does.
    prepared = [
        load_data(data, split, image_size=(one.height, one.width), channels=one.channels)
        for one in classifier.contracts
    ]
    for note in prepared[0].notes:
        report(note)
    return adjusting.calibrate(classifier, prepared, mapping)


def _shared_out(classifier: Classifier, folder: Path, report: Callable[[str], None]) -> Classifier:
    """Return a classifier whose origins are adjusted by images without labels.

    Raises:
        ModpmError: `no-images`, `bad-image`; what `adjusting.fit_shares` raises.
    """
    files = images_in(folder, report)
    outputs = classifier.image_outputs(open_image(path) for path in files)
    # Wherever they are, and whatever they are called.
    fingerprint = digest_bytes("\n".join(sorted(map(digest_file, files))).encode())
    return adjusting.fit_shares(classifier, outputs, str(folder), fingerprint)


def _composed(
    named: Sequence[Source],
    strategy: str | None,
    asked: tuple[float | str | None, float | None],
    *,
    aliases: Mapping[str, str],
    ensemble: bool,
    project: str | os.PathLike[str],
    fits: bool,
) -> Classifier:
    if len(named) == 1 and strategy is None and not isinstance(named[0], ClassModule):
        composition = composition_of(named[0], project)
        if composition is not None:
            return _rebuilt(composition, asked, aliases, ensemble, project, fits=fits)
    parts = _distinct(part for source in named for part in _parts(source, project))
    labels = _labels(parts, aliases)
    return compose_modules(
        [part.module for part in parts],
        strategy or AUTO,
        labels=_of_voters(labels) if ensemble else labels,
        reject=asked[0],
        false_rejections=asked[1],
        ensemble=ensemble,
    )


def _of_voters(labels: Sequence[str]) -> list[str]:
    """Return for each label the first one of its class, in whatever namespace."""
    first: dict[str, str] = {}
    return [first.setdefault(label.partition("/")[2], label) for label in labels]


def _distinct(parts: Iterable[_Part]) -> list[_Part]:
    """Return parts without those of a release that is there already, as of two compositions."""
    found: dict[object, _Part] = {}
    for part in parts:
        found.setdefault(part.module.digest or part.module, part)
    return list(found.values())


def _rebuilt(
    composition: FoundComposition,
    asked: tuple[float | str | None, float | None],
    aliases: Mapping[str, str],
    ensemble: bool,
    project: str | os.PathLike[str],
    *,
    fits: bool,
) -> Classifier:
    """Return the classifier of a composition; with another threshold, nothing was measured.

    Where origins will be fitted to images, they are not adjusted as the composition says.
    """
    record, parts = composition.manifest.composition, _parts_of(composition, project)
    labels = _labels(parts, aliases)
    if ensemble:
        labels = _of_voters(labels)
    elif len(record.labels) == len(parts):
        check_labels([part.module for part in parts], labels)
    n_before = len(record.labels)
    renamed = [
        msgspec.structs.replace(one, label=label)
        for one, label in zip(record.modules, labels, strict=True)
    ]
    record = msgspec.structs.replace(record, modules=renamed)
    notes = []
    if len(record.labels) != n_before:
        if record.linear:
            notes.append("without its linear layer, which is of the labels as they were")
        record = msgspec.structs.replace(record, linear=msgspec.UNSET, measured=[])
    if fits:
        record = msgspec.structs.replace(record, adjustments=[], linear=msgspec.UNSET, measured=[])
    has_other_scores = bool(record.adjustments or record.linear or record.trainings)
    if has_other_scores and asked[0] == BY_SHARE:
        raise adjusted()
    modules = [part.module for part in parts]
    # What is published says nothing of other scores.
    known = [] if has_other_scores else modules
    threshold = asked_threshold(known, record.networks, *asked)
    if threshold.reject not in (None, record.reject):
        record = msgspec.structs.replace(
            record,
            reject=threshold.reject,
            false_rejections=threshold.false_rejections,
            measured=[],
        )
    classifier = rebuild(record, modules, composition.weights())
    classifier.reasons = (*notes, *threshold.notes)
    return classifier


def _parts(source: Source, project: str | os.PathLike[str]) -> list[_Part]:
    if isinstance(source, ClassModule):
        return [_Part(source, source.label, (source.manifest.name,))]
    composition = composition_of(source, project)
    if composition is not None:
        if composition.manifest.composition.trainings:
            raise is_finetuned(
                f"`{composition.manifest.name}` cannot be taken apart",
                "name it alone and as it is, or name its class modules in its place",
            )
        return _parts_of(composition, project)
    module = load(source, project)
    return [_Part(module, module.label, (os.fspath(source), module.manifest.name))]


def _parts_of(composition: FoundComposition, project: str | os.PathLike[str]) -> list[_Part]:
    manifest = composition.manifest
    members = load_members(manifest.composition.modules, project, manifest.name)
    return [
        _Part(module, one.label, (one.name,))
        for one, module in zip(manifest.composition.modules, members, strict=True)
    ]


def _expanded(sources: Sequence[Source], project: str | os.PathLike[str]) -> list[Source]:
    """Put names in the place of patterns; a module that is named twice is one."""
    if not sources:
        return [str(m.name) for m in installed(project) if not m.is_composition]
    found: list[Source] = []
    for source in sources:
        is_pattern = isinstance(source, str) and source.endswith("/*")
        for one in _matching(str(source), project) if is_pattern else [source]:
            if isinstance(one, ClassModule) or one not in found:
                found.append(one)
    return found


def _matching(pattern: str, project: str | os.PathLike[str]) -> Sequence[str]:
    namespace = normalize(pattern.removesuffix("/*"))
    present = installed(project)
    of_namespace = [m for m in present if fnmatch.fnmatchcase(str(m.name), f"{namespace}/*")]
    matching = [str(module.name) for module in of_namespace if not module.is_composition]
    if matching:
        return matching
    if of_namespace:
        raise ModpmError(
            f"of `{pattern}` only compositions are installed",
            code="nothing-to-compose",
            where=str(Path(project).absolute()),
            why=f"they are: {', '.join(str(module.name) for module in of_namespace)}",
            hint=f"name the one that you want: `modpm compose {of_namespace[0].name} -o CLF`",
        )
    names = ", ".join(str(module.name) for module in present)
    raise ModpmError(
        f"nothing of `{pattern}` is installed",
        code="not-installed",
        where=str(Path(project).absolute()),
        why=f"installed are: {names or 'no modules'}",
        hint=f"run `modpm install '{pattern}'`",
    )


def _labels(parts: Sequence[_Part], aliases: Mapping[str, str]) -> list[str]:
    known = {name for part in parts for name in part.names}
    for name in aliases:
        if name not in known:
            raise ModpmError(
                f"`{name}` has an alias and is not among the modules",
                code="unknown-alias",
                why=f"the modules are {', '.join(part.module.manifest.name for part in parts)}",
                exit_code=2,
            )
    return [next(_aliased(part, aliases), part.label) for part in parts]


def _aliased(part: _Part, aliases: Mapping[str, str]) -> Iterator[str]:
    return (_alias(aliases[name], part.module) for name in part.names if name in aliases)


def _alias(text: str, module: ClassModule) -> str:
    """Return an alias with a namespace, which is the module's where it has none."""
    namespace, slash, name = text.partition("/")
    if not slash:
        namespace, name = module.label.partition("/")[0], text
    if not name or not name.isprintable():
        raise ModpmError(
            f"`{text}` is not a label",
            code="invalid-label",
            hint="write `NAME=label` or `NAME=namespace/label`",
            exit_code=2,
        )
    return f"{normalize(namespace, text)}/{name}"
