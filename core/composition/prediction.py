"""What a classifier says of an image: a label and its probability, or none of the above."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

NONE_OF_THE_ABOVE = -1


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one image.

    Attributes:
        label: The most likely label, or None for none of the above.
        probability: Of the label among the classifier's; where the label is None, the
            probability that not even the most likely one applies.
        scores: The log-odds of every label.
        runner_up: The second most likely label, or the most likely one where `label` is None.
    """

    label: str | None
    probability: float
    scores: dict[str, float]
    runner_up: str | None


def probabilities(scores: Tensor) -> Tensor:
    """Return the probability of each label, given that one of them applies.

    Of a single label there is nothing to choose from: its probability is that of its own score.

    Shapes:
        (N, K) → (N, K)
    """
    return scores.softmax(1) if scores.shape[1] > 1 else scores.sigmoid()


def decide(scores: Tensor, reject: float | None) -> Tensor:
    """Return the position of each image's label, or `NONE_OF_THE_ABOVE`.

    Args:
        scores: Log-odds.
        reject: An image is none of the above where no score's own probability reaches it; None
            to give every image a label.

    Shapes:
        (N, K) → (N,), int64
    """
    best, positions = scores.max(1)
    if reject is None:
        return positions
    return torch.where(best.sigmoid() >= reject, positions, NONE_OF_THE_ABOVE)


def describe(scores: Tensor, labels: Sequence[str], reject: float | None) -> list[Prediction]:
    """Put the scores of images into words.

    Shapes:
        scores: (N, K), K the number of labels.
    """
    decisions = decide(scores, reject).tolist()
    shares = probabilities(scores)
    return [
        _describe_one(scores[i], shares[i], labels, decision)
        for i, decision in enumerate(decisions)
    ]


def _describe_one(
    scores: Tensor, shares: Tensor, labels: Sequence[str], decision: int
) -> Prediction:
    ranked = [labels[position] for position in scores.argsort(descending=True).tolist()]
    by_label = dict(zip(labels, scores.tolist(), strict=True))
    if decision == NONE_OF_THE_ABOVE:
        return Prediction(None, float(1 - scores.max().sigmoid()), by_label, ranked[0])
    runner_up = ranked[1] if len(ranked) > 1 else None
    return Prediction(labels[decision], float(shares[decision]), by_label, runner_up)
