"""What a project has installed, judged: classifiers, runs and class modules on images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from modpm.core.classifiers import evaluation, saving
from modpm.core.classifiers.class_module import ClassModule
from modpm.core.classifiers.classifier import Classifier, as_classifier
from modpm.core.data import GivenImages, as_data, load_data, open_image
from modpm.core.data.image_folder import files_of
from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import MANIFEST_FILE
from modpm.core.training.device import AUTO, choose_device
from modpm.core.training.run import Run
from modpm.registry.installing.installed import installed
from modpm.verbs.composing import compose
from modpm.verbs.loading import composition_of, installed_module, load
from modpm.verbs.recording import record_measurement

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from PIL import Image

    from modpm.core.classifiers.classifier import Prediction
    from modpm.core.classifiers.evaluation import Evaluation
    from modpm.core.data import Data, ImageData
    from modpm.core.formats.manifest import InputContract


def open_subject(
    source: str | os.PathLike[str], project: str | os.PathLike[str] = "."
) -> Classifier | ClassModule:
    """Return what can be evaluated: a classifier, the network of a run, or a class module.

    Args:
        source: The folder of a classifier, of a run or of a distribution, or an installed name; a
            composition is made a classifier.
        project: A folder in the project.

    Raises:
        ModpmError: It is none of these, or damaged.
    """
    folder = Path(source).expanduser()
    if saving.is_classifier_folder(folder):
        return Classifier.from_folder(folder)
    if (folder / "run.json").is_file():
        return as_classifier(Run.open(folder))
    if installed_module(source, project) is not None or (folder / MANIFEST_FILE).exists():
        is_composition = composition_of(source, project) is not None
        return compose([source], project=project) if is_composition else load(source, project)
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


def evaluate(
    subject: str | os.PathLike[str],
    data: Data,
    split: str = "test",
    *,
    classes: Sequence[str] | None = None,
    mapping: Mapping[str, str] | None = None,
    open_set: bool = False,
    skip_bad: bool = False,
    record: bool = False,
    device: str = AUTO,
    project: str | os.PathLike[str] = ".",
    report: Callable[[str], None] = lambda _sentence: None,
) -> Evaluation:
    """Measure a classifier, a run's network or a class module on a data set.

    Args:
        subject: The folder of a classifier, of a run or of a distribution, or an installed name.
        data: `digits`, a folder of parquet files, a folder of class-named folders of images, or a
            data set of the Hugging Face Hub; or images in memory, as `train` takes them.
        split: Which images of it.
        classes: Restrict images and outputs to these classes, named as the data set names them; or
            the names of the classes of images in memory, in the order of their labels.
        mapping: Label to the class it meets, where their names differ.
        open_set: Judge images of classes that no label meets too: they must be none of the above.
        skip_bad: Leave out images that cannot be decoded.
        record: Write what was measured into the classifier's folder, and into `modpm.lock` where
            that pins its class modules.
        device: Where networks run: `cpu`, `cuda`, `mps`, or `auto` for the accelerator where there
            is one.
        project: A folder in the project.
        report: Is told what was done to the images, in sentences.

    Raises:
        ModpmError: `not-a-subject`; `cannot-record`; `no-such-device`; what loading the images
            raises, and matching labels with their classes.
    """
    where = choose_device(device)
    judged = open_subject(subject, project).to(where)
    if record:
        _check_recordable(judged, classes, mapping)
    given = as_data(data, classes, split=split)
    if isinstance(given, GivenImages):
        classes = None
    prepared = prepared_images(judged, given, split, skip_bad=skip_bad)
    images = prepared[0]
    for note in images.notes:
        report(note)
    measured = evaluation.evaluate(
        judged, prepared, classes=classes, mapping=mapping, open_set=open_set
    )
    if record and isinstance(judged, Classifier):
        where_it_stands = record_measurement(
            Path(subject), judged, images, measured, open_set=open_set, project=project
        )
        report(where_it_stands)
    return replace(measured, n_trained_on=_n_trained_on(subject, judged, images))


def prepared_images(
    subject: Classifier | ClassModule,
    data: str | Path | GivenImages,
    split: str,
    *,
    skip_bad: bool = False,
) -> list[ImageData]:
    """Return images for each input contract by itself, as `predict` prepares them.

    Args:
        subject: What will see them.
        data: As for `evaluate`.
        split: Which images of it.
        skip_bad: Leave out images that cannot be decoded.

    Raises:
        ModpmError: What loading the images raises.
    """
    return [
        load_data(
            data,
            split,
            skip_bad=skip_bad,
            image_size=(contract.height, contract.width),
            channels=contract.channels,
        )
        for contract in _contracts(subject)
    ]


def _n_trained_on(
    source: str | os.PathLike[str], judged: Classifier | ClassModule, images: ImageData
) -> int | None:
    """Return how many images a network was trained with, where what is judged can tell."""
    if isinstance(judged, ClassModule):
        is_same = judged.manifest.provenance.fingerprint == images.fingerprint
        return len(images) if is_same else None
    if judged.composition is not None:
        is_same = images.fingerprint in {one.fingerprint for one in judged.composition.finetuned}
        return len(images) if is_same else None
    is_run = (Path(source).expanduser() / "run.json").is_file()
    return Run.open(Path(source).expanduser()).n_trained_on(images) if is_run else None


def _contracts(subject: Classifier | ClassModule) -> Sequence[InputContract]:
    return [subject.input] if isinstance(subject, ClassModule) else subject.contracts


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


class JudgedImage(NamedTuple):
    """What a classifier says of one file.

    Attributes:
        image: The file.
        prediction: What it shows; None where it cannot be used.
        problem: Why it cannot; None where it can.
    """

    image: str
    prediction: Prediction | None
    problem: ModpmError | None = None


def predict(
    classifier: str | os.PathLike[str],
    images: Sequence[str | os.PathLike[str]],
    *,
    skip_bad: bool = False,
    device: str = AUTO,
    report: Callable[[str], None] = lambda _sentence: None,
) -> list[JudgedImage]:
    """Say what the images in some files show; one that cannot be used keeps none from that.

    Args:
        classifier: The folder of a classifier.
        images: The files, and folders, which stand for all images in them and below.
        skip_bad: Leave out images that cannot be decoded.
        device: As for `evaluate`.
        report: Is told how many files were left out, in sentences.

    Raises:
        ModpmError: `no-such-device`; the folder is no classifier; a folder has no images, or none
            is left (`no-images`); `out-of-memory`.
    """
    loaded = Classifier.from_folder(Path(classifier)).to(choose_device(device))
    paths = [path for image in images for path in files_of(Path(image), report)]
    problems: dict[Path, ModpmError] = {}
    # The last first: each is taken when its file is met.
    predictions = loaded.predict(_opened(paths, problems))[::-1]
    judged = [
        JudgedImage(str(path), None, problems[path])
        if path in problems
        else JudgedImage(str(path), predictions.pop())
        for path in paths
    ]
    return _without_bad(judged, report) if skip_bad else judged


def _opened(paths: Sequence[Path], problems: dict[Path, ModpmError]) -> Iterator[Image.Image]:
    """Open the images that can be, one at a time, and note why the others cannot."""
    for path in paths:
        try:
            image = open_image(path)
        except ModpmError as error:
            if error.code == "out-of-memory":
                raise
            problems[path] = error
        else:
            yield image


def _without_bad(judged: Sequence[JudgedImage], report: Callable[[str], None]) -> list[JudgedImage]:
    """Leave out what is no image that can be decoded, and say how many.

    Raises:
        ModpmError: None is left (`no-images`).
    """
    left = [one for one in judged if one.problem is None or one.problem.code != "bad-image"]
    n_bad = len(judged) - len(left)
    if n_bad:
        first = next(one for one in judged if one.problem and one.problem.code == "bad-image")
        why = "" if first.problem is None else first.problem.why
        report(
            f"{n_bad} of {len(judged)} images cannot be used and were left out, the first "
            f"{first.image}: {why}"
        )
    if not left:
        raise ModpmError(
            "no image is left",
            code="no-images",
            why=f"none of {n_bad} can be decoded",
            hint="without `--skip-bad`, each is named with its reason",
        )
    return left
