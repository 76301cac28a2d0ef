"""`modpm cache`: looking after the store of downloaded files, and after decoded images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modpm.core import kept_images
from modpm.registry.storage import caching
from modpm.registry.storage.caching import Removed, Share, StoreSize, prune
from modpm.registry.storage.caching import verify_store as verify
from modpm.registry.storage.store import Store

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["clean", "dir", "prune", "size", "verify"]


def dir() -> Path:  # noqa: A001 -- the verb's name
    """Return where the store is."""
    return Store.of_user().folder


@dataclass(frozen=True)
class CacheSize(StoreSize):
    """What the store takes, and what decoded images take.

    Attributes:
        images: Data sets that were decoded.
    """

    images: Share


@dataclass(frozen=True)
class CacheRemoved(Removed):
    """What was removed from the store, and of decoded images, or would be.

    Attributes:
        images: Data sets that were decoded.
    """

    images: Share


def size() -> CacheSize:
    """Return what the store and decoded images take.

    Raises:
        ModpmError: `permission-denied` or `cannot-write`, if it cannot be read.
    """
    return CacheSize(**vars(caching.measure()), images=Share(*kept_images.measure()))


def clean(*, dry_run: bool = False) -> CacheRemoved:
    """Remove every file of the store, and all decoded images; what projects have stays in them.

    Args:
        dry_run: Remove nothing.

    Raises:
        ModpmError: As `prune`.
    """
    removed = caching.clean(dry_run=dry_run)
    return CacheRemoved(**vars(removed), images=Share(*kept_images.clean(dry_run=dry_run)))
