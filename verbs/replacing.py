"""Replacing the class module of one label of a classifier."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.classifiers.classifier import Classifier
from modpm.core.classifiers.evaluation import evaluate
from modpm.core.classifiers.saving import is_classifier_folder
from modpm.core.composition import linear_layer
from modpm.core.composition.compose import rebuild, record_of
from modpm.core.composition.replacing import (
    Comparison,
    check_budget,
    find_label,
    replace_module,
)
from modpm.core.composition.tuned_weights import is_finetuned
from modpm.core.errors import ModpmError
from modpm.core.training.device import AUTO, choose_device
from modpm.verbs.judging import prepared_images
from modpm.verbs.loading import composition_of, load, load_members

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from modpm.core.classifiers.recipe import Pin
    from modpm.core.composition.labeled import Judged
    from modpm.core.composition.linear_layer import Calibrated


class Publishable(NamedTuple):
    """Distributions of a classifier and of its class modules.

    Attributes:
        folder: Where they are.
        name: What the composition is called.
        module: The class module that it takes from elsewhere: the registry that has it, or else the
            folder of its distribution.
        is_published: Which of both.
    """

    folder: Path
    name: str
    module: str
    is_published: bool

    def to_json(self) -> dict[str, Any]:
        """Return the fields that scripts rely on."""
        return {"path": str(self.folder), "name": self.name}


@dataclass(frozen=True)
class Replacement:
    """A classifier in which one label is scored by another class module.

    Attributes:
        classifier: It.
        label: The label.
        comparison: What that changed on labeled images, if there were any.
        calibrated: What a linear layer over its scores was found to be worth, if one was tried.
        publishable: What was written to be published, if anything was.
    """

    classifier: Classifier
    label: str
    comparison: Comparison | None
    calibrated: Judged | None = None
    publishable: Publishable | None = None

    @property
    def module(self) -> Pin:
        """The class module that scores the label now."""
        return next(pin for pin in self.classifier.pins if pin.label == self.label)


def replace(
    composition: str | os.PathLike[str],
    label: str,
    module: str | os.PathLike[str] | ClassModule,
    *,
    data: str | None = None,
    split: str = "test",
    budget: float = 0.5,
    calibrate: str | None = None,
    calibrate_split: str = "train",
    mapping: Mapping[str, str] | None = None,
    skip_bad: bool = False,
    device: str = AUTO,
    project: str | os.PathLike[str] = ".",
    report: Callable[[str], None] = lambda _sentence: None,
) -> Replacement:
    """Let another class module score one label of a composed classifier, without training.

    The label stays, and so do the class modules of the other labels, whose log-odds stand beside
    those of the new module.

    Args:
        composition: The folder of a composed classifier, or an installed composition.
        label: The label, or its last part.
        module: An installed name, the folder of a distribution, or a loaded class module.
        data: Labeled images to measure the change on; None to measure nothing.
        split: Which images of it.
        budget: How many points of recall each label may lose on them.
        calibrate: A data set with a few images of each label. One linear layer over the scores of
            all labels is fitted to them, and kept where cross-validation finds it better than
            log-odds beside log-odds by its standard error.
        calibrate_split: Which images of it.
        mapping: Label to the class of the data that it meets, where their names differ.
        skip_bad: Leave out images that cannot be decoded.
        device: As for `evaluate`.
        project: A folder in the project, which has the class modules installed.
        report: Is told what was done to the images, in sentences.

    Raises:
        ModpmError: `not-a-composition`; `unknown-label`; `class-mismatch`, where the names differ
            and there is no data to tell whether the class does; `already-composed`;
            `budget-not-met`; `fine-tuned`; `broken-composition`; `not-released`;
            what `load`, `evaluate` and, of `calibrate`, `linear_layer.calibrate` raise.
    """
    check_budget(budget)
    where = choose_device(device)
    before, members = _opened(composition, project)
    target = find_label(label, before.labels)
    new = module if isinstance(module, ClassModule) else load(module, project)
    if data is None:
        _check_same_class(target, new)
    record = record_of(before)
    if record.trainings:
        raise is_finetuned(
            f"the module of `{target}` cannot be replaced",
            "replace it in the composition as it was before, and train that",
        )
    after, judged = replace_module(record, members, target, new), None
    if record.linear:
        report("the linear layer over the scores was fitted to the module before, and is left out")
    if calibrate is not None:
        after, judged = calibrated(
            after.to(where), calibrate, calibrate_split, mapping, skip_bad=skip_bad, report=report
        )
    if data is None:
        return Replacement(after.to("cpu"), target, None, judged)
    comparison = compare(
        before.to(where),
        after.to(where),
        target,
        data=data,
        split=split,
        mapping=mapping,
        skip_bad=skip_bad,
        report=report,
    )
    comparison.check(budget)
    return Replacement(after.to("cpu"), target, comparison, judged)


def calibrated(
    classifier: Classifier,
    data: str,
    split: str,
    mapping: Mapping[str, str] | None,
    *,
    skip_bad: bool,
    report: Callable[[str], None],
) -> Calibrated:
    """Fit a linear layer over the scores of a classifier, and say what it was found to be worth.

    Args:
        classifier: A composed one.
        data: Labeled images, a few of each label.
        split: Which of them.
        mapping: Label to the class that it meets.
        skip_bad: Leave out images that cannot be decoded.
        report: Is told what was done, in sentences.

    Raises:
        ModpmError: What loading the images and `linear_layer.calibrate` raise.
    """
    images = prepared_images(classifier, data, split, skip_bad=skip_bad)
    for note in images[0].notes:
        report(note)
    made = linear_layer.calibrate(classifier, images, mapping)
    report(made.in_words())
    return made


def compare(
    before: Classifier,
    after: Classifier,
    target: str,
    *,
    data: str,
    split: str,
    mapping: Mapping[str, str] | None,
    skip_bad: bool,
    report: Callable[[str], None],
) -> Comparison:
    """Measure two classifiers of the same labels on the same images.

    Args:
        before: The classifier as it was.
        after: The one to compare with it.
        target: The label that is scored otherwise.
        data: Labeled images.
        split: Which images of it.
        mapping: Label to the class that it meets.
        skip_bad: Leave out images that cannot be decoded.
        report: Is told what was done to the images.

    Raises:
        ModpmError: No image shows the label (`unknown-class`); what `evaluate` raises.
    """
    images = prepared_images(before, data, split, skip_bad=skip_bad)
    for note in images[0].notes:
        report(note)
    measured = evaluate(before, images, mapping=mapping)
    if not measured.per_class[target].n:
        raise ModpmError(
            f"no image shows `{target}`",
            code="unknown-class",
            where=f"{images[0].source}, split {images[0].split}",
            why=f"the classes are {', '.join(images[0].classes)}",
            hint=f"name the class that it meets: `--map {target}=CLASS`",
            exit_code=2,
        )
    again = images
    if after.contracts != before.contracts:
        again = prepared_images(after, data, split, skip_bad=skip_bad)
    return Comparison((target,), measured, evaluate(after, again, mapping=mapping))


def open_composed(source: str | os.PathLike[str], project: str | os.PathLike[str]) -> Classifier:
    """Return a composed classifier.

    Args:
        source: Its folder, or an installed composition.
        project: A folder in the project.

    Raises:
        ModpmError: It is neither (`not-a-composition`), or damaged.
    """
    folder = Path(source).expanduser()
    if is_classifier_folder(folder):
        return Classifier.from_folder(folder)
    return _made_again(source, project)[0]


def _opened(
    source: str | os.PathLike[str], project: str | os.PathLike[str]
) -> tuple[Classifier, list[ClassModule]]:
    """Return a composed classifier and its class modules."""
    folder = Path(source).expanduser()
    if is_classifier_folder(folder):
        classifier = Classifier.from_folder(folder)
        return classifier, load_members(record_of(classifier).modules, project)
    return _made_again(source, project)


def _made_again(
    source: str | os.PathLike[str], project: str | os.PathLike[str]
) -> tuple[Classifier, list[ClassModule]]:
    """Return the classifier of an installed composition, and its class modules."""
    composition = composition_of(source, project)
    if composition is None:
        raise ModpmError(
            f"`{source}` is no composition",
            code="not-a-composition",
            why="it is neither the folder of a composed classifier nor an installed composition",
            hint="`modpm compose` makes classifiers of class modules",
        )
    record = composition.manifest.composition
    members = load_members(record.modules, project, composition.manifest.name)
    return rebuild(record, members, composition.weights()), members


def _check_same_class(label: str, module: ClassModule) -> None:
    """Check that a module's class has the name of the label that it is to score."""
    names = [(one.partition("/")[2] or one).casefold() for one in (label, module.label)]
    if names[0] != names[1]:
        raise ModpmError(
            f"`{module.manifest.name}` recognizes `{module.label}`, which is not `{label}` by name",
            code="class-mismatch",
            hint="if it is the same class by another name, show that by labeled images: `--data`",
        )
