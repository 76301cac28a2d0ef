"""The images that a composed classifier is trained on: those of its labels, and no others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from modpm.core.classifiers.evaluation import match_labels, nothing_in_common
from modpm.core.data import aligned, carve_validation, check_trainable, load_data
from modpm.core.data.image_data import N_TO_ONE, imbalance
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modpm.core.classifiers.recipe import Composition
    from modpm.core.data import ImageData
    from modpm.core.formats.manifest import InputContract
    from modpm.core.training.configuration import TrainingConfiguration


@dataclass(frozen=True)
class Examples:
    """Images of the classes that labels meet, in the order of the labels.

    Attributes:
        fingerprint: Names the split that they are of.
        training, validation: Those that are trained on, and held out.
        is_unbalanced: Whether some class has few images beside another.
        notes: Sentences about them.
    """

    fingerprint: str
    training: ImageData
    validation: ImageData
    is_unbalanced: bool
    notes: tuple[str, ...]

    @classmethod
    def read(
        cls,
        configuration: TrainingConfiguration,
        contract: InputContract,
        labels: Sequence[str],
        mapping: Mapping[str, str],
        composition: Composition,
    ) -> Self:
        """Read those of the split `train`.

        Args:
            configuration: Says where they are, and how some are held out.
            contract: What they are brought to.
            labels: What is trained.
            mapping: Label to the class that it meets, where their names differ.
            composition: What was measured already.

        Raises:
            ModpmError: They cannot be loaded, or do not do for these labels.
        """
        every = load_data(
            configuration.data,
            "train",
            skip_bad=configuration.skip_bad,
            image_size=(contract.height, contract.width),
            channels=contract.channels,
        )
        _check_unmeasured(every, composition)
        data = aligned(every, _classes(labels, every, mapping))
        check_trainable(data)
        fraction, seed = configuration.val_fraction, configuration.seed
        training, validation = carve_validation(data, fraction, seed)
        notes = list(every.notes)
        if n_others := len(every) - len(data):
            notes.append(f"{n_others:,} images of other classes are left out")
        is_unbalanced = imbalance(data.counts()) >= N_TO_ONE
        if is_unbalanced:
            notes.append("images are drawn so that each class comes equally often")
        return cls(every.fingerprint, training, validation, is_unbalanced, tuple(notes))


def _check_unmeasured(data: ImageData, composition: Composition) -> None:
    """Refuse to train on the images that the composition was measured on."""
    for one in composition.measured:
        if one.fingerprint == data.fingerprint:
            raise ModpmError(
                "the composition was measured on these images",
                code="cannot-finetune",
                where=f"{data.source}, split {data.split}",
                why=f"its accuracy on {one.data_set}, split {one.split}, is recorded, which are "
                "the same: trained on them, it could not be measured there again",
                hint="train it on others",
            )


def _classes(labels: Sequence[str], data: ImageData, mapping: Mapping[str, str]) -> tuple[str, ...]:
    """Return the class of the data that each label meets.

    Raises:
        ModpmError: `no-common-class`, `label-without-images`, `labels-of-one-class`.
    """
    met = match_labels(labels, data.classes, mapping)
    if not met:
        raise nothing_in_common(labels, data)
    where = f"{data.source}, split {data.split}"
    if lacking := [label for label in labels if label not in met]:
        raise ModpmError(
            f"the label `{lacking[0]}` has no images to train on",
            code="label-without-images",
            where=where,
            why=f"no class is called so; the classes are {', '.join(data.classes)}",
            hint=f"name the class that it meets: `--map {lacking[0]}=CLASS`",
        )
    names = tuple(data.classes[met[label]] for label in labels)
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ModpmError(
                f"the labels `{labels[names.index(name)]}` and `{labels[i]}` are of one class of "
                "the data set",
                code="labels-of-one-class",
                where=where,
                why=f"both meet `{name}`: no image can tell one from the other",
                hint="compose it of one of them",
            )
    return names
