"""What modules and versions are called on the Hub (clauses H-1 to H-4)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.registry.backends.layout import module_named

if TYPE_CHECKING:
    from modpm.core.formats.names import ModuleName

MAX_NAME_LENGTH = 96
"""The longest name that the Hub allows a repository to have, without its owner."""

_OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?")


def owner_of(location: str) -> str:
    """Return the user or organization whose repositories a registry, `hf://OWNER`, is.

    Raises:
        ModpmError: `unknown-registry-kind`.
    """
    owner = location.partition("://")[2]
    if _OWNER.fullmatch(owner) is None or "--" in owner or ".." in owner:
        raise ModpmError(
            f"`{location[:200]}` names no user or organization of the Hub",
            code="unknown-registry-kind",
            hint="write `hf://ORG`; each of its modules is a repository there",
            exit_code=2,
        )
    return owner


def repository_of(owner: str, module: ModuleName) -> str | None:
    """Return the id of a module's repository; None if the Hub does not allow such a name."""
    name = f"{module.namespace}.{module.name}"
    if len(name) > MAX_NAME_LENGTH or name.endswith(".git"):
        return None
    return f"{owner}/{name}"


def module_of(owner: str, repository: str) -> ModuleName | None:
    """Return the module whose repository it is; None for any other repository."""
    found_owner, _, name = repository.partition("/")
    is_ours = found_owner.casefold() == owner.casefold()
    return module_named(name.replace(".", "/", 1)) if is_ours else None


def tag_of(version: str) -> str:
    """Return the git tag of a version in canonical form."""
    return f"v{version}"
