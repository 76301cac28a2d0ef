"""Reasons not to use a release that is locked all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.registry.backends.retrying import hurried
from modpm.registry.system.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from modpm.core.formats.names import ModuleName
    from modpm.registry.addresses import Address
    from modpm.registry.backends.protocol import Backend
    from modpm.registry.projects.lockfile import Pin


def yanked_reasons(pins: Iterable[Pin], base: Path) -> dict[ModuleName, str]:
    """Return for releases that their registries have yanked since they were locked why (W-8).

    A registry that does not answer, or may not be read, is no fault here, and not waited for:
    whoever needs its files will say so. One that has gone back could hide a yank.

    Args:
        pins: The releases.
        base: What relative paths of registries are relative to.

    Raises:
        ModpmError: `rolled-back`, `release-changed`.
    """
    of_registry: dict[Address, list[Pin]] = {}
    for pin in pins:
        of_registry.setdefault(pin.registry, []).append(pin)
    found: dict[ModuleName, str] = {}
    for address, locked in of_registry.items():
        try:
            with hurried():
                found |= _reasons(address.open(base), locked)
        except ModpmError as error:
            if error.code in {"rolled-back", "release-changed"}:
                raise
        except OSError:
            continue
    return found


def _reasons(backend: Backend, pins: Sequence[Pin]) -> dict[ModuleName, str]:
    from modpm.registry.backends.shards import DAMAGED  # noqa: PLC0415 -- as below
    from modpm.registry.seen import Seen  # noqa: PLC0415 -- only where a registry is asked

    seen = Seen()

    def reason(pin: Pin) -> str | None:
        try:
            index = seen.index(backend, pin.module)
            release = None if index is None else index.find(pin.version)
        except ModpmError as error:
            if error.code not in DAMAGED:
                raise
            return None
        return None if release is None else release.yanked

    reasons = in_threads(reason, pins, "indexes cannot be read")
    return {pin.module: why for pin, why in zip(pins, reasons, strict=True) if why is not None}
