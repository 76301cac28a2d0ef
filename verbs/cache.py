"""`modpm cache`: looking after the store of downloaded files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.registry.storage.caching import clean, prune
from modpm.registry.storage.caching import measure as size
from modpm.registry.storage.caching import verify_store as verify
from modpm.registry.storage.store import Store

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["clean", "dir", "prune", "size", "verify"]


def dir() -> Path:  # noqa: A001 -- the verb's name
    """Return where the store is."""
    return Store.of_user().folder
