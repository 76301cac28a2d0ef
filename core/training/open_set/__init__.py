"""What networks can be trained for besides their classes, to tell unknown images: one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.training.open_set.logit_norm import LogitNorm
from modpm.core.training.open_set.open_set import OpenSet
from modpm.core.training.open_set.rotation import Rotation

if TYPE_CHECKING:
    from collections.abc import Mapping

OPEN_SETS: Mapping[str, type[OpenSet]] = {"rotation": Rotation, "logitnorm": LogitNorm}
"""By what a user calls them."""


def find_open_set(name: str | None) -> type[OpenSet]:
    """Return what a configuration calls so; of None what changes nothing."""
    return OpenSet if name is None else OPEN_SETS[name]
