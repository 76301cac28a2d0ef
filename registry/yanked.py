"""Reasons not to use a release that is locked all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.version import Version

from modpm.core.errors import ModpmError
from modpm.registry.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from modpm.core.formats.names import ModuleName
    from modpm.registry.lockfile import Pin


def yanked_reasons(pins: Sequence[Pin], base: Path) -> dict[ModuleName, str]:
    """Return for releases that their registries have yanked since they were locked why.

    A registry that does not answer is no fault here: whoever needs its files will say so.

    Args:
        pins: The releases.
        base: What relative paths of registries are relative to.
    """
    reasons = in_threads(lambda pin: _reason(pin, base), pins, "indexes cannot be read")
    return {
        pin.module: reason for pin, reason in zip(pins, reasons, strict=True) if reason is not None
    }


def _reason(pin: Pin, base: Path) -> str | None:
    try:
        index = pin.registry.open(base).index(pin.module)
    except ModpmError:
        return None
    release = None if index is None else index.find(Version(pin.version))
    return None if release is None else release.yanked
