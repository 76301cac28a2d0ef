"""Calibrations: one file each, and where a name leads to one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.named_classes import NamedClasses

if TYPE_CHECKING:
    from modpm.core.calibrations.calibration import Calibration

PLATT = "platt"
HEAD = "one-vs-rest-head"

CALIBRATIONS = NamedClasses(
    kind="calibration",
    what="calibration",
    group="modpm.calibrations",
    shipped={
        PLATT: f"{__name__}.platt:Platt",
        HEAD: f"{__name__}.one_vs_rest_head:OneVsRestHead",
    },
    base=f"{__name__}.calibration:Calibration",
)


def find_calibration(name: str) -> type[Calibration]:
    """Return a calibration.

    Args:
        name: `platt`, `one-vs-rest-head`, what another package calls its own, or
            `package.module:Class`.

    Raises:
        ModpmError: There is no such calibration (`unknown-calibration`).
    """
    return CALIBRATIONS.find(name)
