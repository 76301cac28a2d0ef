"""A method of training as another package would bring it: kernels are drawn, not measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

from modpm.core.training.evidence import Evidence, Ranking
from modpm.core.training.methods.method import Losses, Method

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from modpm.core.graph import GraphNetwork
    from modpm.core.training.batches import TrainingImages


class Toy(Method):
    """Cross-entropy of smoothed labels; each class keeps kernels that are drawn for it."""

    settings = {"smoothing": 0.1}  # noqa: RUF012 -- as simple as it can be

    def loss(self, *inputs: Tensor) -> Losses:
        """Return the cross-entropy."""
        images, labels = inputs
        output = self.network.graph.output
        smoothing = self.task.settings["smoothing"]
        logits = self.run(images, (output,))[output]
        return {"loss": cross_entropy(logits, labels, label_smoothing=smoothing)}

    def findings(self) -> dict[str, Tensor]:
        """Return a random order of the kernels of all layers but the first."""
        chance = torch.Generator().manual_seed(0)
        sizes = list(self.network.graph.kernels().items())[1:]
        return {
            layer: torch.rand(self.task.n_classes, n, generator=chance).argsort(1).int()
            for layer, n in sizes
        }

    @classmethod
    def evidence_type(cls) -> type[Evidence]:
        """Return `Ranking`."""
        return Ranking

    @classmethod
    def evidence(
        cls,
        network: GraphNetwork,
        findings: Mapping[str, Tensor],
        images: TrainingImages,  # noqa: ARG003 -- it reads none
        progress: Callable[[int, int], None] | None = None,  # noqa: ARG003 -- the same
    ) -> Evidence:
        """Return that order."""
        return Ranking(findings, sum(network.graph.kernels().values()))
