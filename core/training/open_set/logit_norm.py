"""`logitnorm`: cross-entropy of logits of one length, so that a network is not sure by length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.functional import normalize

from modpm.core.errors import ModpmError
from modpm.core.training.open_set.open_set import OpenSet

if TYPE_CHECKING:
    from torch import Tensor

    from modpm.core.training.methods.method import Losses

TEMPERATURE = 0.04
"""Of the source for CIFAR-10: logits of length 25."""

_SHORTEST = 1e-7


class LogitNorm(OpenSet):
    """Cross-entropy of f / (0.04 · ‖f‖) in place of that of the logits f.

    The network itself gives f, whose length nothing has decided then. Scores do not see that: a
    calibration fits the logits' scale on held-out images.

    Source:
        Wei, Xie, Cheng, Feng, An and Li, Mitigating neural network overconfidence with logit
        normalization (ICML 2022, arXiv 2205.09310).
        Departs: where a method shows the network its modules, these are judged by their own
        logits, for a module has one.
    """

    def logits(self, logits: Tensor) -> Tensor:
        """Return the logits, each image's brought to the length 1 / `TEMPERATURE`."""
        return normalize(logits, dim=1, eps=_SHORTEST) / TEMPERATURE

    def add(self, losses: Losses) -> Losses:
        """Return the losses as they are: their cross-entropy is that of `logits`.

        Raises:
            ModpmError: The method has none (`bad-setting`).
        """
        if "cross_entropy" not in losses:
            raise ModpmError(
                "the method has no cross-entropy to take of logits of one length",
                code="bad-setting",
                why=f"its losses are {', '.join(losses)}",
                hint="leave out `--open-set logitnorm`, or let the method minimize its `entropy` "
                "and call it `cross_entropy`",
                exit_code=2,
            )
        return losses
