"""`plain`: cross-entropy, to compare with; a network that learns nothing of modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.slicing import own_kernels
from modpm.core.training.evidence import Evidence, Importance
from modpm.core.training.methods.method import Losses, Method
from modpm.core.training.ranking import importance_of_kernels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from modpm.core.graph import GraphNetwork
    from modpm.core.training.batches import TrainingImages


class Plain(Method):
    """Cross-entropy alone.

    What its kernels are worth to each class is measured when the network is cut.
    """

    def loss(self, *inputs: Tensor) -> Losses:
        """Return the cross-entropy of images, (N, C, H, W), and labels, (N,)."""
        images, labels = inputs
        output = self.network.graph.output
        entropy = self.entropy(self.run(images, (output,))[output], labels)
        return {"loss": entropy, "cross_entropy": entropy}

    @classmethod
    def evidence_type(cls) -> type[Evidence]:
        """Return `Importance`."""
        return Importance

    @classmethod
    def evidence(
        cls,
        network: GraphNetwork,
        findings: Mapping[str, Tensor],  # noqa: ARG003 -- it finds nothing while it trains
        images: TrainingImages,
        progress: Callable[[int, int], None] | None = None,  # noqa: ARG003 -- it reads few images
    ) -> Evidence:
        """Return how much each kernel matters to each class."""
        n_all = own_kernels(network.graph)
        return Importance(importance_of_kernels(network, images), n_all)
