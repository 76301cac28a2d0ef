"""Composed networks with weights that were trained once they were composed (clause M-37).

Their graphs are those of composing, and one node after each that makes log-odds of its scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.classifiers.class_module import Scorer
from modpm.core.classifiers.classifier import Classifier
from modpm.core.composition.fused import with_affine
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from modpm.core.formats.network_graph import Graph, Node

_NODE = "finetuned"


def with_scores(
    scorer: Scorer,
    tensors: dict[str, Tensor],
    slope: float,
    intercept: float,
    *,
    is_first: bool,
) -> Scorer:
    """Return a composed network with other weights, whose scores are made log-odds.

    Args:
        scorer: The network.
        tensors: Its new ones.
        slope: What makes log-odds of what it says with these,
        intercept: and what is added.
        is_first: Whether it was never trained since it was composed. The node that makes log-odds
            is there once.
    """
    if is_first:
        n = len(scorer.labels)
        made = with_affine(scorer.graph, tensors, _NODE, [slope] * n, [intercept] * n)
        return Scorer(scorer.labels, scorer.contract, *made)
    last = scorer.graph.node(scorer.graph.output).tensors
    again = {
        last["weight"]: slope * tensors[last["weight"]],
        last["bias"]: slope * tensors[last["bias"]] + intercept,
    }
    return Scorer(scorer.labels, scorer.contract, scorer.graph, tensors | again)


def with_weights(classifier: Classifier, weights: Mapping[str, Tensor]) -> Classifier:
    """Return a classifier, as its modules give it, with the weights that it was trained to.

    Args:
        classifier: Composed of its class modules.
        weights: Its tensors, by their names in the classifier's state dict.

    Raises:
        ModpmError: They are not those of its networks (`broken-composition`).
    """
    scorers = [
        with_scores(one, one.network.state_dict(), 1.0, 0.0, is_first=True)
        for one in classifier.networks()
    ]
    made = Classifier(
        scorers, classifier.labels, classifier.reject, classifier.composition, classifier.reasons
    )
    own = made.state_dict()
    differing = sorted(
        name
        for name in own.keys() | weights.keys()
        if name not in own
        or name not in weights
        or (own[name].shape, own[name].dtype) != (weights[name].shape, weights[name].dtype)
    )
    if differing:
        raise ModpmError(
            "the weights are not those of the composition's networks",
            code="broken-composition",
            why=f"{', '.join(differing[:3])} of {len(own)} tensors: one is lacking, needless, or "
            "of another shape",
            hint="ask the publisher of the composition to pack it again",
        )
    made.load_state_dict(weights)
    return made


def own_weights(classifier: Classifier) -> dict[str, Tensor]:
    """Return the tensors that `with_weights` takes: without what adjusts scores after them.

    Args:
        classifier: One that was trained once it was composed.
    """
    later = {
        f"scorers.{i}.network.{name}"
        for i, scorer in enumerate(classifier.networks())
        for node in _after_scores(scorer.graph)
        for name in node.tensors.values()
    }
    return {name: x for name, x in classifier.state_dict().items() if name not in later}


def _after_scores(graph: Graph) -> Sequence[Node]:
    places = [i for i, node in enumerate(graph.nodes) if node.name.startswith(_NODE)]
    return graph.nodes[places[-1] + 1 :] if places else ()


def is_finetuned(what: str, hint: str) -> ModpmError:
    """Return the error for what cannot be done with a classifier that has its own weights.

    Args:
        what: What cannot be done.
        hint: What to do instead.
    """
    return ModpmError(
        what,
        code="fine-tuned",
        why="its networks were trained once they were composed, and are no longer those of its "
        "class modules",
        hint=hint,
    )
