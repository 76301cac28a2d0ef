"""Logistic regression by Newton's method, to the last digit and the same on every run."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- torch's own name for it

MAX_STEPS = 100
MAX_HALVINGS = 40
TOLERANCE = 1e-12
"""Steps end where the next would lower the loss of an image by less than this."""

FLOOR = 1e-9
"""Added to the curvature, so that inputs that repeat each other can be solved for."""


@dataclass(frozen=True)
class _Problem:
    """Inputs with a column of ones, (N, D + 1); targets, (N,); the ridge of each, (D + 1,)."""

    inputs: Tensor
    targets: Tensor
    ridge: Tensor

    def loss(self, theta: Tensor) -> float:
        """Return the summed cross-entropy and the penalty."""
        entropy = F.binary_cross_entropy_with_logits(
            self.inputs @ theta, self.targets, reduction="sum"
        )
        return float(entropy + (self.ridge * theta**2).sum() / 2)

    def newton_step(self, theta: Tensor) -> tuple[Tensor, float]:
        """Return the step to take away, and how much it lowers the loss if it is quadratic.

        The curvature, nearly all of the work, is summed in single precision: it decides how fast
        the steps converge, the gradient to what.
        """
        p = (self.inputs @ theta).sigmoid()
        gradient = self.inputs.T @ (p - self.targets) + self.ridge * theta
        weighted = (self.inputs * (p * (1 - p)).sqrt()[:, None]).float()
        curvature = (weighted.T @ weighted).double() + torch.diag(self.ridge + FLOOR)
        step = torch.linalg.solve(curvature, gradient)
        return step, float(gradient @ step) / 2


def fit_logistic(
    inputs: Tensor, targets: Tensor, ridge: Tensor, start: tuple[Tensor, float] | None = None
) -> tuple[Tensor, float]:
    """Minimise the summed cross-entropy plus half the ridge times the squared weights.

    Args:
        inputs: Numbers of about unit scale.
        targets: Probabilities, none of them 0 or 1 where the ridge is 0.
        ridge: The penalty of each weight; the bias has none.
        start: Weights and a bias that are near; None for zeros.

    Shapes:
        inputs: (N, D); targets: (N,); ridge: (D,); all float64.

    Returns:
        The weights, (D,), and the bias.

    Source:
        Newton's method with halved steps as Lin, Lin and Weng, A note on Platt's probabilistic
        outputs for support vector machines (2007).
    """
    problem = _Problem(F.pad(inputs, (0, 1), value=1.0), targets, F.pad(ridge, (0, 1)))
    theta = torch.zeros(inputs.shape[1] + 1, dtype=torch.float64)
    if start is not None:
        theta = torch.cat([start[0], theta.new_tensor([start[1]])])
    for _ in range(MAX_STEPS):
        step, gain = problem.newton_step(theta)
        if gain < TOLERANCE * len(targets):
            break
        before, theta = theta, _descended(problem, theta, step)
        if theta is before:
            break
    return theta[:-1], float(theta[-1])


def _descended(problem: _Problem, theta: Tensor, step: Tensor) -> Tensor:
    """Take the step, or the first of its half, its quarter … that does not raise the loss."""
    before = problem.loss(theta)
    for _ in range(MAX_HALVINGS):
        if problem.loss(theta - step) <= before:
            return theta - step
        step = step / 2
    return theta
