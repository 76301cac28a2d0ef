"""`platt`: a slope and an intercept of the logit."""

from __future__ import annotations

from modpm.core.calibrations.logistic import LogisticRegression


class Platt(LogisticRegression):
    """Reads the logit alone."""
