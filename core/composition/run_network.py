"""The network of a training run as a classifier of its classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.composition.classifier import Classifier
from modpm.core.composition.scorer import Scorer

if TYPE_CHECKING:
    from modpm.core.training.run import Run


def as_classifier(run: Run) -> Classifier:
    """Return a finished run's network; its labels are the classes as the data set names them.

    Raises:
        ModpmError: The run is not finished, or damaged.
    """
    graph, tensors = run.network()
    return Classifier([Scorer(run.classes, run.input, graph, tensors)])
