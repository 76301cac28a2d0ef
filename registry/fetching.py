"""Fetching: the files that pins name, from their registries into the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from modpm.core.errors import ModpmError
from modpm.registry.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from modpm.registry.addresses import Address
    from modpm.registry.lockfile import Pin


def fetch(pins: Sequence[Pin], addresses: Sequence[Address], base: Path) -> None:
    """Make sure that the store has every file of every pin.

    Args:
        pins: The releases.
        addresses: Registries that may help out with a file that a pin's own registry does not
            have: the digest decides whether it is the same.
        base: What relative paths of registries are relative to.

    Raises:
        ModpmError: `truncated`, `wrong-digest`, `missing-file` or `registry-missing`.
    """
    store = Store.of_user()
    for pin in pins:
        sources = dict.fromkeys([pin.registry, *addresses])
        for name, record in pin.files.items():
            where = f"{name} of {pin.module} {pin.version}, registry {pin.registry.url}"
            store.fetch(record, _opener(pin, name, list(sources), base), where)


def _opener(pin: Pin, name: str, sources: Sequence[Address], base: Path) -> Callable[[], BinaryIO]:
    def open_source() -> BinaryIO:
        errors: list[ModpmError] = []
        for address in sources:
            try:
                return address.open(base).open_file(
                    pin.module, pin.version, name, revision=pin.revision
                )
            except ModpmError as error:
                errors.append(error)
        raise errors[0]

    return open_source
