"""What a user asks of modularizing, checked before any work is done."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modpm.core.data.naming import default_namespace, module_names
from modpm.core.errors import ModpmError
from modpm.core.formats.release_terms import checked_license, checked_summary, checked_version
from modpm.core.formats.whole_files import is_free
from modpm.core.modularizing.calibration import KINDS
from modpm.core.modularizing.description import ReleaseDetails
from modpm.core.modularizing.splits import TEST

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from modpm.core.training.evidence import Criterion, Evidence
    from modpm.core.training.run import Run

AUTO = "auto"
MEASURED_ON = (TEST, "held-out")


@dataclass(frozen=True)
class Request:
    """What modularizing is to do.

    Attributes:
        output: The folder for the distributions.
        criterion: What says which kernels are retained; None to choose it.
        budget: The most points of accuracy that may be lost, where it is chosen.
        calibration: The kind of the scores, or `auto`.
        measures_test: Whether the test split is read.
        details: What is the same for all releases.
    """

    output: Path
    criterion: Criterion | None
    budget: float
    calibration: str
    measures_test: bool
    details: ReleaseDetails


def checked_request(
    run: Run,
    *,
    output: Path,
    threshold: float | str | None,
    retention: float | None,
    budget: float,
    namespace: str | None,
    version: str,
    license: str,
    authors: Sequence[str],
    summary: str | None,
    calibration: str,
    measure_on: str,
    evidence_type: type[Evidence],
) -> Request:
    """Return what a user asks for, if it can be done.

    Raises:
        ModpmError: `invalid-threshold`, `bad-setting`, `invalid-name`, `same-name`,
            `invalid-version`, `invalid-license` or `folder-exists`.
    """
    details = ReleaseDetails(
        names=tuple(module_names(namespace or default_namespace(run.config.data), run.classes)),
        version=checked_version(version),
        license=checked_license(license),
        authors=tuple(authors),
        summary=None if summary is None else checked_summary(summary),
    )
    return Request(
        output=_checked_output(output),
        criterion=_checked_criterion(evidence_type, threshold, retention, run.config.retention),
        budget=_checked_budget(budget),
        calibration=_checked(calibration, (AUTO, *KINDS), "calibration"),
        measures_test=_checked(measure_on, MEASURED_ON, "split to measure on") == TEST,
        details=details,
    )


def _checked_criterion(
    kind: type[Evidence], threshold: float | str | None, retention: float | None, prepared: float
) -> Criterion | None:
    if threshold == AUTO and retention is None:
        return None
    try:
        number = None if threshold is None else float(threshold)
    except ValueError:
        raise ModpmError(
            f"`{threshold}` is no threshold",
            code="invalid-threshold",
            hint="give a number above 0 and at most 1, or `auto`",
            exit_code=2,
        ) from None
    if number is not None and retention is not None:
        raise ModpmError(
            "a threshold and a retention rate exclude each other",
            code="bad-setting",
            hint="give one of them",
            exit_code=2,
        )
    return kind.criterion(number, retention, prepared)


def _checked_budget(budget: float) -> float:
    if not (math.isfinite(budget) and budget >= 0):
        raise ModpmError(
            f"a budget of {budget:g} points is not possible",
            code="bad-setting",
            hint="it is how many points of accuracy may be lost: 0 or more",
            exit_code=2,
        )
    return budget


def _checked(value: str, allowed: Sequence[str], what: str) -> str:
    if value not in allowed:
        raise ModpmError(
            f"no {what} is called `{value}`",
            code="bad-setting",
            hint=f"take one of {', '.join(allowed)}",
            exit_code=2,
        )
    return value


def _checked_output(output: Path) -> Path:
    if not is_free(output):
        raise ModpmError(
            f"`{output.name}` exists",
            code="folder-exists",
            where=str(output),
            hint="choose another folder with `-o`, or remove this one",
        )
    return output
