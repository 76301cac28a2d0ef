"""Which class of a data set each label of a classifier meets."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from modpm.core.composition.class_module import ClassModule
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modpm.core.composition.classifier import Classifier


def known_labels(subject: Classifier | ClassModule) -> tuple[str, ...]:
    """Return the labels of a classifier, or the one of a class module."""
    return (subject.label,) if isinstance(subject, ClassModule) else subject.labels


def match_labels(
    labels: Sequence[str], classes: Sequence[str], mapping: Mapping[str, str]
) -> dict[str, int]:
    """Return the position of the class that each label meets; one that meets none is left out.

    Args:
        labels: `cifar10/cat`; or a class's own name.
        classes: As the data set names them.
        mapping: Label to class, where their names differ.

    Raises:
        ModpmError: The mapping names what there is not (`unknown-label`, `unknown-class`).
    """
    for label, name in mapping.items():
        _check_known(label, labels, "label")
        _check_known(name, classes, "class")
    positions = {name: i for i, name in enumerate(classes)}
    met = {label: mapping.get(label, _own_name(label, positions)) for label in labels}
    return {label: positions[name] for label, name in met.items() if name in positions}


def _own_name(label: str, positions: Mapping[str, int]) -> str:
    """Return a label without its namespace; a class may have a slash in its own name."""
    return label if label in positions else label.partition("/")[2]


def restrict(classes: Sequence[str], wanted: Sequence[str] | None) -> set[int]:
    """Return the positions of the wanted classes; of all where None.

    Raises:
        ModpmError: The data set has no such class (`unknown-class`).
    """
    if wanted is None:
        return set(range(len(classes)))
    for name in wanted:
        _check_known(name, classes, "class")
    return {list(classes).index(name) for name in wanted}


def _check_known(name: str, known: Sequence[str], kind: str) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        raise ModpmError(
            f"there is no {kind} `{name}`",
            code=f"unknown-{kind}",
            why=f"there are: {', '.join(known)}",
            hint=f"did you mean `{close[0]}`?" if close else None,
            exit_code=2,
        )
