"""A machine whose rates are made up."""

from __future__ import annotations

from modpm.core.estimating.machine import Machine, this_host
from modpm.core.estimating.rates import Rate
from modpm.core.estimating.work import BATCH_SIZES, kinds


def made_up(start: float = 1e-5) -> Machine:
    """Return a machine on which each step takes a while, and nothing else does."""
    rate = Rate(seconds=[start, 0.0, 0.0, 0.0, 0.0])
    rates = {str(size): dict.fromkeys(kinds(size), rate) for size in BATCH_SIZES}
    return Machine(host=this_host(), n_threads=1, rates=rates)
