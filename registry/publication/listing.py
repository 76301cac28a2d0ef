"""What a registry lists for a name before anything of it is published there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from modpm.core.formats.names import ModuleName
    from modpm.registry.backends.protocol import Backend
    from modpm.registry.index import Index, Release

# What a registry that nothing was published to yet may be: publishing makes it.
_NOT_YET = ("registry-missing", "not-a-registry")


def listed_index(target: Backend, module: ModuleName) -> Index | None:
    """Return what is listed for a name; None if nothing is, or nothing was published there yet.

    Raises:
        ModpmError: What `Backend.index` raises.
    """
    try:
        return target.index(module)
    except ModpmError as error:
        if error.code not in _NOT_YET:
            raise
        return None


def listed_release(target: Backend, module: ModuleName, version: str) -> Release | None:
    """Return what is listed for a version; None if nothing is, as `listed_index` says.

    Raises:
        ModpmError: What `Backend.index` raises.
    """
    index = listed_index(target, module)
    return None if index is None else index.find(version)
