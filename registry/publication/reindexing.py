"""Making the catalogue of a registry anew, from what it lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.registry.addresses import publish_target
from modpm.registry.system.errors import explained

if TYPE_CHECKING:
    import os

    from modpm.registry.backends.shards import Shard


def reindex(registry: str | os.PathLike[str] | None = None) -> list[Shard]:
    """Make anew what search and completion know of a registry.

    Args:
        registry: As for `publish`.

    Returns:
        What was read of each module, with the reason where nothing can be shown of it.

    Raises:
        ModpmError: `registry-missing`, `not-a-registry`, `read-only-registry`, `busy`.
    """
    with explained("change the registry"):
        return publish_target(registry).reindex()
