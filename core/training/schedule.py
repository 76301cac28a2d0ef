"""The learning rate over a run."""

from __future__ import annotations

import math

WARM_UP = 0.15  # share of the steps


def learning_rate(step: int, n_steps: int, peak: float) -> float:
    """Return the learning rate of one step: a linear warm-up, then half a cosine towards zero.

    Args:
        step: Steps done so far.
        n_steps: Steps of the whole run.
        peak: The highest rate, reached at the end of the warm-up.

    Source:
        Loshchilov and Hutter, arXiv 1608.03983, equation 5, without restarts.
        Departs: the warm-up, without which short runs at high rates diverge.
    """
    share = (step + 1) / (n_steps + 1)
    if share < WARM_UP:
        return peak * share / WARM_UP
    return peak * 0.5 * (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP)))
