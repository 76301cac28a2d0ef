"""Names of modules, for shells that complete what is typed; nobody is told of an error there."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    import click


def installed_names(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of installed modules that begin so."""
    from modpm.registry.installing.installed import installed  # noqa: PLC0415 -- only shells need it

    with suppress(ModpmError, OSError):
        names = [str(module.name) for module in installed(ctx.params.get("project") or ".")]
        return [name for name in names if name.startswith(incomplete)]
    return []


def known_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the names that begin so of modules that are installed, or that a search has seen."""
    from modpm.registry.discovery.searching import complete  # noqa: PLC0415 -- as above

    found = set(installed_names(ctx, parameter, incomplete))
    with suppress(ModpmError, OSError):
        project, registry = ctx.params.get("project"), ctx.params.get("registry")
        found.update(complete(incomplete, project or ".", registry))
    return sorted(found)
