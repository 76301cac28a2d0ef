"""`one-vs-rest-head`: a new last layer, which tells one class from the rest."""

from __future__ import annotations

from modpm.core.calibrations.logistic import LogisticRegression


class OneVsRestHead(LogisticRegression):
    """Reads every feature too, with a ridge; as the ridge grows it becomes `platt`."""

    reads_features = True
    ridge = 10.0
