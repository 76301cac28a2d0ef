"""What networks cost, as it is counted of one and added up of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

CONSTANT_ROLES = frozenset({"running_mean", "running_var", "fill", "offset"})
"""Roles of tensors that no training step changes by a gradient: no parameters."""


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        n_parameters: Numbers that a training step may change by a gradient.
        macs: Multiply-accumulates of the convolutions and linear layers for one image.
        size_bytes: Bytes of all tensors as they are written, constants too.
    """

    n_parameters: int
    macs: int
    size_bytes: int

    @classmethod
    def total(cls, costs: Iterable[Self]) -> Self:
        """Return what several cost, of which nothing is shared."""
        known = list(costs)
        return cls(
            n_parameters=sum(one.n_parameters for one in known),
            macs=sum(one.macs for one in known),
            size_bytes=sum(one.size_bytes for one in known),
        )
