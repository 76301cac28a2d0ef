"""Making the catalogue of a registry anew, from what it lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modpm.registry.addresses import publish_target
from modpm.registry.system.errors import explained

if TYPE_CHECKING:
    import os

    from modpm.core.errors import ModpmError


@dataclass(frozen=True)
class Reindexed:
    """What the catalogue of a registry was made of.

    Attributes:
        registry: The registry.
        n_modules: How many modules it has.
        problems: Why nothing can be shown of some of them.
    """

    registry: str
    n_modules: int
    problems: tuple[ModpmError, ...]


def reindex(registry: str | os.PathLike[str] | None = None) -> Reindexed:
    """Make anew what search and completion know of a registry.

    Args:
        registry: As for `publish`.

    Raises:
        ModpmError: `registry-missing`, `not-a-registry`, `read-only-registry`, `busy`.
    """
    target = publish_target(registry)
    with explained("change the registry"):
        shards = target.reindex()
    problems = tuple(shard.problem for shard in shards if shard.problem is not None)
    return Reindexed(target.location, sum(len(shard.entries or {}) for shard in shards), problems)
