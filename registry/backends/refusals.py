"""What is said where a name is not listed, or a version is taken, whatever kind a registry is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from modpm.core.formats.names import ModuleName
    from modpm.registry.index import Release


def not_listed(module: ModuleName, location: str) -> ModpmError:
    """Return the error of a module that a registry does not list."""
    return ModpmError(
        f"there is no module `{module}`",
        code="unknown-module",
        where=f"registry {location}",
        hint="check the name, or publish it first",
    )


def version_taken(
    module: ModuleName, release: Release, listed: Release, location: str
) -> ModpmError:
    """Return the error of a release whose version is published with other bytes."""
    return ModpmError(
        f"`{module}` {listed.version} is published already, with other bytes",
        code="version-taken",
        where=f"registry {location}",
        why=f"the published release has digest {listed.digest}, this one {release.digest}",
        hint="a release never changes: give this one a higher version",
    )
