"""Logistic regressions: many at once, by Newton's method, and the calibrations that are one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch.nn import functional as F  # noqa: N812 -- torch's own name for it

from modpm.core.calibrations.calibration import Calibration
from modpm.core.formats.network_graph import Node

if TYPE_CHECKING:
    from torch import Tensor

    from modpm.core.calibrations.calibration import Examples, Fitted


class LogisticRegression(Calibration):
    """A score that is a weighted sum of what a module reads, and a constant.

    The weight of the logit is free, those of standardized features have a ridge.

    Attributes:
        ridge: Its strength: 1 / C of scikit-learn.

    Source:
        Platt, Probabilistic outputs for support vector machines (1999), with his smoothed
        targets.
        Departs: the odds of the class in the data are taken out (see `calibration.py`).
    """

    ridge: ClassVar[float] = 0.0

    def fit(self, examples: Examples, near: Fitted | None = None) -> Fitted:
        """Return `weight`, (M, D + 1), the logit's last, and `bias`, (M,)."""
        inputs = examples.inputs(with_features=self.reads_features)
        mean, scale = inputs.mean(1), inputs.std(1, correction=0)
        scale = torch.where(scale > 0, scale, 1.0)
        ridge = torch.full_like(mean, self.ridge)
        ridge[:, -1] = 0.0
        targets = smoothed_targets(examples.is_class)
        odds = targets.mean(1).logit()
        start = None
        if near is not None:
            weight, bias = near["weight"], near["bias"]
            start = weight * scale, bias + (weight * mean).sum(1) + odds
        inputs = inputs.sub_(mean[:, None]).div_(scale[:, None])
        weight, bias = fit_logistic(inputs, targets, ridge, start)
        weight = weight / scale
        return {"weight": weight, "bias": bias - (weight * mean).sum(1) - odds}

    def scores(self, fitted: Fitted, examples: Examples) -> Tensor:
        """Return the weighted sums."""
        inputs = examples.inputs(with_features=self.reads_features)
        return (inputs @ fitted["weight"][:, :, None])[:, :, 0] + fitted["bias"][:, None]

    def nodes(
        self, fitted: Fitted, source: str, n_read: int, score: str
    ) -> tuple[list[Node], Fitted]:
        """Return one linear node."""
        roles = {"weight": f"{score}.weight", "bias": f"{score}.bias"}
        tensors = {
            roles["weight"]: fitted["weight"][None, -n_read:],
            roles["bias"]: fitted["bias"][None],
        }
        return [Node(score, "linear", (source,), {"n_features": 1}, roles)], tensors


def smoothed_targets(is_class: Tensor) -> Tensor:
    """Return Platt's targets: (n + 1) / (n + 2) for the n images of the class, 1 / (m + 2) else.

    No target is 0 or 1, so that a class that a threshold separates has finite odds.

    Shapes:
        is_class: (M, N), boolean, to (M, N), float64.
    """
    n_class = is_class.sum(1, keepdim=True).double()
    n_other = is_class.shape[1] - n_class
    return torch.where(is_class, (n_class + 1) / (n_class + 2), 1 / (n_other + 2))


MAX_STEPS = 100
MAX_HALVINGS = 40
TOLERANCE = 1e-12
"""Steps end where the next would lower the loss of an image by less than this."""

STEPS_A_CURVATURE = 3
"""Steps that are taken with one curvature, which is nearly all of the work of a step."""

FLOOR = 1e-9
"""Added to the curvature, so that inputs that repeat each other can be solved for."""


@dataclass(frozen=True)
class _Problems:
    """Inputs with a column of ones, (M, N, D + 1); targets, (M, N); ridges, (M, D + 1)."""

    inputs: Tensor
    targets: Tensor
    ridge: Tensor

    def logits(self, theta: Tensor) -> Tensor:
        return (self.inputs @ theta[:, :, None])[:, :, 0]

    def losses(self, theta: Tensor) -> Tensor:
        """Return the summed cross-entropy and the penalty of each; (M,)."""
        entropy = F.binary_cross_entropy_with_logits(
            self.logits(theta), self.targets, reduction="none"
        )
        return entropy.sum(1) + (self.ridge * theta**2).sum(1) / 2

    def gradients(self, theta: Tensor) -> Tensor:
        residuals = self.logits(theta).sigmoid() - self.targets
        return (residuals[:, None] @ self.inputs)[:, 0] + self.ridge * theta

    def curvatures(self, theta: Tensor) -> Tensor:
        """Return the second derivatives, summed in single precision.

        They decide how fast the steps converge, the gradients to what.
        """
        p = self.logits(theta).sigmoid()
        weighted = self.inputs.float() * (p * (1 - p)).sqrt().float()[:, :, None]
        return (weighted.mT @ weighted).double() + torch.diag_embed(self.ridge + FLOOR)


def fit_logistic(
    inputs: Tensor, targets: Tensor, ridge: Tensor, start: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Minimize the summed cross-entropy plus half the ridge times the squared weights.

    Args:
        inputs: Numbers of about unit scale, for each of M problems.
        targets: Probabilities, none of them 0 or 1 where the ridge is 0.
        ridge: The penalty of each weight; the bias has none.
        start: Weights and biases that are near; None for zeros.

    Shapes:
        inputs: (M, N, D); targets: (M, N); ridge: (M, D); all float64.

    Returns:
        The weights, (M, D), and the biases, (M,).

    Source:
        Newton's method with halved steps as Lin, Lin and Weng, A note on Platt's probabilistic
        outputs for support vector machines (2007).
        Departs: of several problems at once, and several steps with one curvature (Shamanskii).
    """
    problems = _Problems(F.pad(inputs, (0, 1), value=1.0), targets, F.pad(ridge, (0, 1)))
    theta = torch.zeros_like(problems.ridge)
    if start is not None:
        theta = torch.cat([start[0], start[1][:, None]], 1)
    is_open = torch.ones(len(theta), dtype=torch.bool, device=theta.device)
    for done in range(MAX_STEPS):
        if done % STEPS_A_CURVATURE == 0:
            factors, pivots = torch.linalg.lu_factor(problems.curvatures(theta))
        gradients = problems.gradients(theta)
        steps = torch.linalg.lu_solve(factors, pivots, gradients[:, :, None])[:, :, 0]
        is_open &= (gradients * steps).sum(1) / 2 >= TOLERANCE * targets.shape[1]
        before, theta = theta, _descended(problems, theta, steps * is_open[:, None])
        is_open &= (theta != before).any(1)
        if not is_open.any():
            break
    return theta[:, :-1], theta[:, -1]


def _descended(problems: _Problems, theta: Tensor, steps: Tensor) -> Tensor:
    """Take each step, or the first of its half, its quarter … that does not raise the loss."""
    before = problems.losses(theta)
    for _ in range(MAX_HALVINGS):
        is_raised = problems.losses(theta - steps) > before
        if not is_raised.any():
            return theta - steps
        steps = torch.where(is_raised[:, None], steps / 2, steps)
    return torch.where(is_raised[:, None], theta, theta - steps)
