"""One calibrator, fitted to what one module says; and a calibration of another package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from modpm.core.calibrations import find_calibration
from modpm.core.calibrations.calibration import Calibration, Examples, Fitted
from modpm.core.calibrations.scores import Calibrator
from modpm.core.formats.network_graph import Node

if TYPE_CHECKING:
    from torch import Tensor


def fit(kind: str, features: Tensor, logits: Tensor, is_class: Tensor) -> Calibrator:
    """Fit a calibrator; (N, D), (N,) and (N,)."""
    examples = Examples(features[None], logits[None], is_class[None])
    fitted = find_calibration(kind)().fit(examples)
    return Calibrator(kind, {name: tensor[0] for name, tensor in fitted.items()})


class Midpoint(Calibration):
    """How far a logit is beyond the middle between those of the class and those of the rest."""

    def fit(
        self,
        examples: Examples,
        near: Fitted | None = None,  # noqa: ARG002 -- it needs no start
    ) -> Fitted:
        """Return the `middle`, (M,)."""
        logits, is_class = examples.logits.double(), examples.is_class
        means = [(logits * side).sum(1) / side.sum(1) for side in (is_class, ~is_class)]
        return {"middle": torch.stack(means).mean(0)}

    def scores(self, fitted: Fitted, examples: Examples) -> Tensor:
        """Return the distances."""
        return examples.logits.double() - fitted["middle"][:, None]

    def nodes(
        self,
        fitted: Fitted,
        source: str,
        n_read: int,  # noqa: ARG002 -- one number
        score: str,
    ) -> tuple[list[Node], Fitted]:
        """Return a constant that is added to the logit."""
        roles = {"weight": f"{score}.weight", "bias": f"{score}.bias"}
        tensors = {roles["weight"]: torch.ones(1), roles["bias"]: -fitted["middle"][None]}
        return [Node(score, "channel_affine", (source,), {}, roles)], tensors
