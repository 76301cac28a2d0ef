"""`Steady`: cross-entropy of a network that computes in training what it does afterwards."""

from __future__ import annotations

from typing import Self

from modpm.core.training.methods.method import Recipe
from modpm.core.training.methods.plain import Plain

STEADY = f"{__name__}:Steady"
"""What a run calls it."""


class Steady(Plain):
    """Cross-entropy alone, with batch statistics and dropout as they are in evaluation.

    Statistics of class modules may have been taken anew once these were cut, and what does so
    (M-29) would undo those of a batch. And few images give poor ones.
    """

    @classmethod
    def recipe(cls, *, is_trained: bool) -> Recipe:  # noqa: ARG003 -- it always is
        """Return how steps are taken."""
        return Recipe(lr=0.01, weight_decay=5e-4, warm_up=0.15)

    def train(self, mode: bool = True) -> Self:
        """Keep the network in evaluation mode."""
        super().train(mode)
        self.network.eval()
        return self
