"""Training a composed classifier further."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from modpm.core.classifiers.classifier import Classifier
from modpm.core.finetuning.finetune import train_further
from modpm.core.training.device import AUTO
from modpm.verbs.replacing import open_composed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modpm.core.finetuning.finetune import FineTuned
    from modpm.core.training.session import Progress


def finetune(
    composition: str | os.PathLike[str] | Classifier,
    data: str | Path,
    *,
    output: str | os.PathLike[str],
    mapping: Mapping[str, str] | None = None,
    epochs: int = 5,
    lr: float | None = None,
    batch_size: int = 128,
    seed: int = 0,
    val_fraction: float = 0.1,
    flip: bool = True,
    skip_bad: bool = False,
    device: str = AUTO,
    resume: bool = False,
    project: str | os.PathLike[str] = ".",
    progress: Callable[[Progress], None] | None = None,
    report: Callable[[str], None] = lambda _sentence: None,
) -> FineTuned:
    """Train a composed classifier further, on labeled images of its labels.

    All of its networks are trained at once, by cross-entropy of the scores that they give together,
    with the statistics that they have. The epoch that is best on held-out images is kept, and
    scores are made log-odds on these; where none is better than what there was, the classifier
    stays as it is. What was recorded of its accuracy, and a threshold that was set by what its
    modules publish, are left out: they were of other weights.

    Args:
        composition: The folder of a composed classifier, an installed composition, or the
            classifier itself.
        data: Labeled images, as for `train`: those of its split `train`. Images of classes that no
            label meets are left out.
        output: The folder for the classifier: a new one, or that of a classifier, which is
            replaced. The run is in another folder beside it, of the same name and `.run`.
        mapping: Label to the class of the data that it meets, where their names differ.
        epochs: Passes over the images.
        lr: Peak learning rate; None for 0.01.
        batch_size: Images a step, of all processes together.
        seed: Of everything that is drawn.
        val_fraction: Share of the images of each class that is held out.
        flip: Mirror half of the images, unless that would make other classes of them.
        skip_bad: Leave out images that cannot be decoded.
        device: As for `train`.
        resume: Continue what was interrupted, with the settings it was started with.
        project: A folder in the project that has the composition installed.
        progress: Called after each step and each epoch, in the main process.
        report: Is told what was done to the images, in sentences, in the main process.

    Raises:
        ModpmError: `not-a-composition`; `cannot-finetune`, for modules that vote, adjusted scores,
            images of several shapes, other tensors than float32, or images that the composition was
            measured on; `no-common-class`, `label-without-images`, `labels-of-one-class`,
            `too-few-images`; `folder-exists`, `run-exists`; `settings-differ`, `data-changed`;
            what `train` raises of images and settings.
    """
    return train_further(
        composition if isinstance(composition, Classifier) else open_composed(composition, project),
        data,
        output=Path(output),
        source="CLF" if isinstance(composition, Classifier) else os.fspath(composition),
        mapping=mapping,
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        seed=seed,
        val_fraction=val_fraction,
        flip=flip,
        skip_bad=skip_bad,
        device=device,
        resume=resume,
        progress=progress,
        report=report,
    )
