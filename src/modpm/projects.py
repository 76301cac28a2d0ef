"""What a project has installed, as networks: the verbs that load, compose and judge."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path
from typing import TYPE_CHECKING

from modpm.core.composition import saving
from modpm.core.composition.class_module import ClassModule
from modpm.core.composition.classifier import Classifier
from modpm.core.composition.compose import compose_modules
from modpm.core.composition.evaluation import Evaluation, evaluate
from modpm.core.composition.recipe import Measurement
from modpm.core.composition.run_network import as_classifier
from modpm.core.data import load_data, open_image
from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import MANIFEST_FILE
from modpm.core.formats.names import ModuleName, normalise
from modpm.core.training.run import Run
from modpm.registry.installing.installed import InstalledModule, find, installed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modpm.core.composition.prediction import Prediction
    from modpm.core.data import ImageData

Source = str | os.PathLike[str] | ClassModule
"""A class module: an installed name, the folder of a distribution, or a loaded one."""


def load(source: str | os.PathLike[str], project: str | os.PathLike[str] = ".") -> ClassModule:
    """Return a class module: an `nn.Module` that gives one score an image.

    Args:
        source: The name of an installed module (`cifar10/cat`), or the folder of a distribution.
            An installed name wins over a folder; `./cifar10/cat` is always the folder.
        project: A folder in the project.

    Raises:
        ModpmError: It is not installed, or not what its digest says.
    """
    module = _installed(source, project)
    if module is not None:
        return ClassModule.from_folder(module.path, module.digest)
    folder = Path(source).expanduser()
    if _is_path(source) or (folder / MANIFEST_FILE).exists():
        return ClassModule.from_folder(folder)
    # The project's own answer, which says what is installed and what may have been meant.
    return ClassModule.from_folder(find(os.fspath(source), project))


def _installed(
    source: str | os.PathLike[str], project: str | os.PathLike[str]
) -> InstalledModule | None:
    """Return the installed module of that name, if it is a name and there is one."""
    if _is_path(source):
        return None
    try:
        name = ModuleName.parse(os.fspath(source))
    except ModpmError:
        return None
    return next((m for m in installed(project) if m.name == name and m.path.is_dir()), None)


def _is_path(source: str | os.PathLike[str]) -> bool:
    """Say whether a source can only be a folder."""
    return not isinstance(source, str) or source.startswith((".", "/", "~")) or source.endswith("/")


def compose(
    sources: Sequence[Source] = (),
    strategy: str = "auto",
    reject: float | None = None,
    *,
    aliases: Mapping[str, str] | None = None,
    project: str | os.PathLike[str] = ".",
) -> Classifier:
    """Compose a classifier of class modules, without training.

    Args:
        sources: Installed names (`cifar10/cat`), whole namespaces (`cifar10/*`), folders of
            distributions, or loaded class modules; all installed modules where there are none.
        strategy: `independent` lets each module run as it is; `fused` makes one network of
            modules of one origin; `auto` does for each origin whichever costs less arithmetic.
        reject: An image is none of the above where no module's own probability reaches this;
            None to give every image a label.
        aliases: Module name, or folder as in `sources`, to the label its score gets.
        project: A folder in the project.

    Raises:
        ModpmError: A module is not installed or damaged, two have one label, or they cannot be
            composed so.
    """
    if isinstance(sources, str | os.PathLike):
        raise TypeError("sources is a list of modules, not one")
    named = _expanded(sources, project)
    modules = [
        source if isinstance(source, ClassModule) else load(source, project) for source in named
    ]
    labels = _labels(named, modules, aliases or {})
    return compose_modules(modules, strategy, labels=labels, reject=reject)


def _expanded(sources: Sequence[Source], project: str | os.PathLike[str]) -> list[Source]:
    """Put names in the place of patterns; a module that is named twice is one."""
    names = [str(module.name) for module in installed(project)]
    if not sources:
        return list(names)
    found: list[Source] = []
    for source in sources:
        is_pattern = isinstance(source, str) and source.endswith("/*")
        for one in _matching(str(source), names, project) if is_pattern else [source]:
            if isinstance(one, ClassModule) or one not in found:
                found.append(one)
    return found


def _matching(pattern: str, names: Sequence[str], project: str | os.PathLike[str]) -> Sequence[str]:
    namespace = normalise(pattern.removesuffix("/*"))
    matching = fnmatch.filter(names, f"{namespace}/*")
    if not matching:
        raise ModpmError(
            f"nothing of `{pattern}` is installed",
            code="not-installed",
            where=str(Path(project).absolute()),
            why=f"installed are: {', '.join(names) or 'no modules'}",
            hint=f"run `modpm install '{pattern}'`",
        )
    return matching


def _labels(
    sources: Sequence[Source], modules: Sequence[ClassModule], aliases: Mapping[str, str]
) -> list[str]:
    known = {
        name
        for source, module in zip(sources, modules, strict=True)
        for name in _names(source, module)
    }
    for name in aliases:
        if name not in known:
            raise ModpmError(
                f"`{name}` has an alias and is not among the modules",
                code="unknown-alias",
                why=f"the modules are {', '.join(module.manifest.name for module in modules)}",
                exit_code=2,
            )
    return [
        next(
            (_alias(aliases[name], module) for name in _names(source, module) if name in aliases),
            module.label,
        )
        for source, module in zip(sources, modules, strict=True)
    ]


def _names(source: Source, module: ClassModule) -> list[str]:
    """Return what a module may be called by an alias: what the user wrote first."""
    written = [] if isinstance(source, ClassModule) else [os.fspath(source)]
    return [*written, module.manifest.name]


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
    return f"{normalise(namespace, text)}/{name}"


def open_subject(
    source: str | os.PathLike[str], project: str | os.PathLike[str] = "."
) -> Classifier | ClassModule:
    """Return what can be evaluated: a classifier, the network of a run, or a class module.

    Args:
        source: The folder of a classifier, of a run or of a distribution, or an installed name.
        project: A folder in the project.

    Raises:
        ModpmError: It is none of these, or damaged.
    """
    folder = Path(source).expanduser()
    if saving.is_classifier_folder(folder):
        return Classifier.from_folder(folder)
    if (folder / "run.json").is_file():
        return as_classifier(Run.open(folder))
    if _installed(source, project) is not None or (folder / MANIFEST_FILE).exists():
        return load(source, project)
    names = ", ".join(str(module.name) for module in installed(project)) or "no modules"
    raise ModpmError(
        f"`{source}` is neither a classifier nor a run nor a class module",
        code="not-a-subject",
        where=str(folder.absolute()),
        why="the folder has no composition.json, run.json or manifest.json"
        if folder.is_dir()
        else f"there is no such folder, and installed are: {names}",
        hint="name a folder that `modpm compose` or `modpm train` made, or an installed module",
    )


def measure(
    source: str | os.PathLike[str],
    data: str,
    split: str = "test",
    *,
    classes: Sequence[str] | None = None,
    mapping: Mapping[str, str] | None = None,
    open_set: bool = False,
    skip_bad: bool = False,
    record: bool = False,
    project: str | os.PathLike[str] = ".",
    report: Callable[[str], None] = lambda _sentence: None,
) -> Evaluation:
    """Measure a classifier, a run's network or a class module on a data set.

    Args:
        source: As for `open_subject`.
        data: As for `load_data`.
        split: Which images of it.
        classes: As for `evaluate`.
        mapping: As for `evaluate`.
        open_set: As for `evaluate`.
        skip_bad: Leave out images that cannot be decoded.
        record: Write the accuracy into the classifier's folder.
        project: A folder in the project.
        report: Is told what was done to the images, in sentences.

    Raises:
        ModpmError: What `open_subject`, `load_data` and `evaluate` raise; `cannot-record`.
    """
    subject = open_subject(source, project)
    if record:
        _check_recordable(subject, classes, mapping)
    images = load_data(data, split, skip_bad=skip_bad, image_size=_image_size(subject))
    for note in images.notes:
        report(note)
    measured = evaluate(subject, images, classes=classes, mapping=mapping, open_set=open_set)
    if record and isinstance(subject, Classifier):
        saving.record(Path(source).expanduser(), subject, _measurement(images, measured, open_set))
    return measured


def _image_size(subject: Classifier | ClassModule) -> tuple[int, int]:
    if isinstance(subject, ClassModule):
        return subject.input.height, subject.input.width
    return subject.input_size


def _check_recordable(
    subject: Classifier | ClassModule,
    classes: Sequence[str] | None,
    mapping: Mapping[str, str] | None,
) -> None:
    """Refuse to record what is not the classifier's own accuracy.

    Raises:
        ModpmError: `cannot-record`.
    """
    why = None
    if not isinstance(subject, Classifier) or subject.composition is None:
        why = "it is not the folder of a composed classifier"
    elif classes or mapping:
        why = "`--classes` and `--map` measure something else than the classifier as it is"
    if why is not None:
        raise ModpmError(
            "the accuracy cannot be recorded", code="cannot-record", why=why, exit_code=2
        )


def _measurement(images: ImageData, measured: Evaluation, open_set: bool) -> Measurement:
    return Measurement(
        data_set=images.source,
        split=images.split,
        fingerprint=images.fingerprint,
        n=measured.n,
        n_rejected=measured.n_rejected,
        accuracy=measured.accuracy,
        open_set=open_set,
    )


def predict_files(
    classifier: str | os.PathLike[str], images: Sequence[str | os.PathLike[str]]
) -> list[Prediction]:
    """Say what the images in some files show.

    Args:
        classifier: The folder of a classifier.
        images: The files.

    Raises:
        ModpmError: The folder is no classifier, or a file is no image that can be used.
    """
    loaded = Classifier.from_folder(Path(classifier))
    return loaded.predict(open_image(Path(path)) for path in images)
