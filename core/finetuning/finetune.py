"""Fine-tuning: a composed classifier's networks are trained further, on images of its labels.

All of them are trained at once, so that a label of one learns from images of the labels of others,
by cross-entropy of the scores that they give together. A run does it, as any other training, which
is why it can be interrupted. What is trained is exactly the composed networks, whose graphs stay as
they are; but for a slope and an intercept of all scores, fitted on held-out images, which keep
these log-odds.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
import torch

from modpm.core.calibrations.scores import fit_common_platt
from modpm.core.classifiers.classifier import Classifier
from modpm.core.classifiers.saving import check_replaceable, not_composed
from modpm.core.composition.tuned_weights import with_scores
from modpm.core.data.naming import absolute_if_folder
from modpm.core.errors import ModpmError
from modpm.core.finetuning.examples import Examples
from modpm.core.finetuning.joint_network import JointNetwork, joint_network, parted
from modpm.core.finetuning.steady import STEADY, Steady
from modpm.core.formats.composition_manifest import FineTuning
from modpm.core.graph import build
from modpm.core.training.checkpoint import network_digest
from modpm.core.training.configuration import (
    TrainingConfiguration,
    check_configuration,
    check_same,
)
from modpm.core.training.device import AUTO, choose_device
from modpm.core.training.inference import accuracy, normalizing, predict
from modpm.core.training.processes import begin, carry_out, start_processes
from modpm.core.training.run import Run, RunRecord, check_free, versions_here
from modpm.core.training.starting_network import freeze

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from modpm.core.classifiers.recipe import Composition
    from modpm.core.graph import GraphNetwork
    from modpm.core.training.session import Progress

COMPOSITION = "composition"
"""What a run says of the architecture."""

N_DIGITS = 6


@dataclass(frozen=True)
class FineTuned:
    """What training a composed classifier further has come to.

    Attributes:
        classifier: It; or as it was, where no epoch was better.
        run: The folder with what each epoch measured.
        accuracy_before: On held-out images.
        accuracy_after: The same after the best epoch, better or not.
        n_held_out: How many these are.
        epoch: The best, from 1.
        notes: What became of what was measured of the classifier before, in sentences.
    """

    classifier: Classifier
    run: Path
    accuracy_before: float
    accuracy_after: float
    n_held_out: int
    epoch: int
    notes: tuple[str, ...] = ()

    @property
    def is_better(self) -> bool:
        """Whether an epoch was better than what there was before."""
        return self.accuracy_after > self.accuracy_before


def run_folder(output: Path) -> Path:
    """Return where the run is that makes a classifier's folder."""
    return output.with_name(f"{output.name}.run")


def train_further(
    classifier: Classifier,
    data: str | Path,
    *,
    output: Path,
    source: str = "CLF",
    mapping: Mapping[str, str] | None = None,
    epochs: int = 5,
    lr: float | None = None,
    batch_size: int = 128,
    seed: int = 0,
    val_fraction: float = 0.1,
    device: str = AUTO,
    skip_bad: bool = False,
    flip: bool = True,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    report: Callable[[str], None] = lambda _sentence: None,
) -> FineTuned:
    """Train a composed classifier's networks on images of its labels, and write its folder.

    Arguments and errors are those of `modpm.finetune`, which opens the classifier and says them;
    `source` is what it is called on the command line.
    """
    where = choose_device(device)
    composition = check_trainable_further(classifier)
    check_replaceable(output)
    joint = joint_network(classifier.networks())
    configuration = TrainingConfiguration(
        data=absolute_if_folder(data),
        arch=COMPOSITION,
        init_digest=network_digest(joint.graph, joint.tensors),
        epochs=epochs,
        lr=Steady.recipe(is_trained=True).lr if lr is None else lr,
        batch_size=batch_size,
        seed=seed,
        val_fraction=val_fraction,
        method=STEADY,
        settings={},
        precision="float32",
        skip_bad=skip_bad,
        flip=flip,
        keep_best=True,
    )
    check_configuration(configuration)
    accelerator = start_processes(batch_size, where)
    folder = run_folder(output)
    if not resume:
        check_free(folder)
    labels = [label for scorer in classifier.networks() for label in scorer.labels]
    examples = Examples.read(configuration, joint.contract, labels, mapping or {}, composition)
    configuration = msgspec.structs.replace(configuration, balance=examples.is_unbalanced)
    network = build(joint.graph, joint.tensors)
    freeze(network, joint.fixed)
    if resume:
        run = _resumed(folder, configuration, examples.training.classes)
    else:
        for note in examples.notes if accelerator.is_main_process else ():
            report(note)
        words = ["modpm", "finetune", source, str(data), "--resume", "-o", str(output)]
        n_processes = accelerator.num_processes
        record = _record(examples, configuration, joint, n_processes, shlex.join(words))
        run = Run(folder, record, (examples.training, examples.validation))
        begin(run, network, accelerator)
    before = accuracy(_outputs(network, run, where), run.validation_data().labels)
    carry_out(run, accelerator, progress=progress)
    found = _found(classifier, run, before)
    if found.is_better:
        tuned = _tuned(found, joint, run, _tuning(run, found), where)
        found = replace(found, classifier=tuned, notes=tuple(_left_out(classifier)))
    if accelerator.is_main_process:
        found.classifier.save(output)
    return found


def _found(classifier: Classifier, run: Run, before: float) -> FineTuned:
    finished = run.finished()
    return FineTuned(
        classifier,
        run.folder,
        accuracy_before=before,
        accuracy_after=finished.val_accuracy,
        n_held_out=run.record.n_validation,
        epoch=finished.epoch or len(run.metrics()),
    )


def _tuning(run: Run, found: FineTuned) -> FineTuning:
    """Return what the composition says of a run."""
    return FineTuning(
        data_set=run.validation_data().source,
        fingerprint=run.fingerprint,
        n=run.record.n_training,
        n_held_out=run.record.n_validation,
        epochs=len(run.metrics()),
        epoch=found.epoch,
        lr=run.config.lr,
        batch_size=run.config.batch_size,
        seed=run.config.seed,
        accuracy_before=round(found.accuracy_before, N_DIGITS),
        accuracy_after=round(found.accuracy_after, N_DIGITS),
    )


def _record(
    examples: Examples,
    configuration: TrainingConfiguration,
    joint: JointNetwork,
    n_processes: int,
    command: str,
) -> RunRecord:
    """Return what a new run says."""
    return RunRecord(
        configuration=configuration,
        classes=list(examples.training.classes),
        input=joint.contract,
        fingerprint=examples.fingerprint,
        n_training=len(examples.training),
        n_validation=len(examples.validation),
        n_skipped=examples.training.n_skipped,
        n_processes=n_processes,
        versions=versions_here(),
        frozen=sorted(joint.fixed),
        command=command,
    )


def _resumed(folder: Path, asked: TrainingConfiguration, classes: Sequence[str]) -> Run:
    run = Run.open(folder)
    check_same(run.config, asked, str(folder))
    if run.classes != tuple(classes):
        raise ModpmError(
            "a run can be resumed only with the settings it was started with",
            code="settings-differ",
            where=str(folder),
            why=f"its classes were {', '.join(run.classes)}, now {', '.join(classes)}",
            hint="give the same `--map`, or start in another folder",
        )
    return run


def _outputs(network: GraphNetwork, run: Run, device: torch.device) -> Tensor:
    """Return what a network says of the images that a run holds out."""
    pixels = run.validation_data().pixels
    return predict(network, pixels, normalizing(run.input), device=device)


def _tuned(
    found: FineTuned, joint: JointNetwork, run: Run, tuning: FineTuning, device: torch.device
) -> Classifier:
    """Return a classifier with the weights of a finished run."""
    classifier = found.classifier
    composition, networks = _composition(classifier), classifier.networks()
    _, tensors = run.network()
    outputs = _outputs(build(joint.graph, tensors), run, device)
    slope, intercept = fit_common_platt(outputs, run.validation_data().labels)
    scorers = [
        with_scores(one, own, slope, intercept, is_first=not composition.finetuned)
        for one, own in zip(networks, parted(tensors, len(networks)), strict=True)
    ]
    changed = msgspec.structs.replace(
        composition,
        finetuned=[*composition.finetuned, tuning],
        false_rejections=msgspec.UNSET,
        measured=[],
    )
    reject = classifier.reject if classifier.false_rejections is None else None
    return Classifier(scorers, classifier.labels, reject, changed)


def _left_out(classifier: Classifier) -> Iterator[str]:
    """Give what is not true of other weights, in sentences."""
    if _composition(classifier).measured:
        yield "what was recorded of its accuracy is left out: it was of other weights"
    if classifier.false_rejections is not None:
        yield "its threshold is left out: it was set by what its modules publish of other weights"


def _composition(classifier: Classifier) -> Composition:
    if classifier.composition is None:
        raise not_composed()
    return classifier.composition


def check_trainable_further(classifier: Classifier) -> Composition:
    """Return the recipe of a classifier that can be trained further.

    Raises:
        ModpmError: It was not composed (`not-composed`), or what it is made of does not allow it
            (`cannot-finetune`).
    """
    composition = _composition(classifier)
    if len(classifier.labels) < len(composition.modules):
        raise _cannot(
            "several modules vote for one label, and training would make them alike",
            "compose it of one module for each label",
        )
    if composition.adjustments or composition.linear:
        raise _cannot(
            "its scores are made of what its networks say as images said of the weights that it "
            "has: adjusted by origin, or by a linear layer",
            "make it again without fitting scores to images: training fits what that would",
        )
    read = [(one.height, one.width, one.channels) for one in classifier.contracts]
    if len(set(read)) > 1:
        sizes = " and ".join("{} x {} of {} channels".format(*one) for one in dict.fromkeys(read))
        raise _cannot(
            f"its networks read images of different shapes: {sizes}",
            "compose it of modules that read images of one size, or tune each part by itself",
        )
    types = {
        tensor.dtype
        for one in classifier.networks()
        for tensor in one.network.state_dict().values()
    }
    if types != {torch.float32}:
        names = ", ".join(sorted(str(one).removeprefix("torch.") for one in types))
        raise _cannot(
            f"its tensors are {names}", "compose it of modules in single precision, float32"
        )
    return composition


def _cannot(why: str, hint: str) -> ModpmError:
    return ModpmError(
        "the composition cannot be fine-tuned", code="cannot-finetune", why=why, hint=hint
    )
