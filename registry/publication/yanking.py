"""Yanking: nobody new gets a release, and whoever locked it keeps it (V-12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.registry.addresses import publish_target
from modpm.registry.publication.release_name import ReleaseName
from modpm.registry.system.errors import explained

if TYPE_CHECKING:
    import os

    from modpm.registry.index import Index, Release

MAX_REASON_LENGTH = 500


def yank(release: str, reason: str, registry: str | os.PathLike[str] | None = None) -> Release:
    """Keep a release from everyone who has not locked it.

    Args:
        release: Its name and version, `cifar10/cat==1.2.0`.
        reason: Why; whoever has it is shown this.
        registry: As for `publish`.

    Returns:
        The release as it is now listed.

    Raises:
        ModpmError: `bad-reason`; `unknown-release`, `unknown-module`; what `Backend.change`
            and `ReleaseName.parse` raise.
    """
    return _set(ReleaseName.parse(release), _checked(reason), registry)


def unyank(release: str, registry: str | os.PathLike[str] | None = None) -> Release:
    """Take back that a release was yanked.

    Args:
        release: As for `yank`.
        registry: As for `publish`.

    Returns:
        The release as it is now listed.

    Raises:
        ModpmError: As `yank`.
    """
    return _set(ReleaseName.parse(release), None, registry)


def _set(name: ReleaseName, reason: str | None, registry: str | os.PathLike[str] | None) -> Release:
    target = publish_target(registry)
    where = f"registry {target.location}"

    def change(index: Index) -> Index:
        return index.with_yanked(name.in_index(index, where), reason)

    with explained("change the registry"):
        return name.in_index(target.change(name.module, change), where)


def _checked(reason: str) -> str:
    line = " ".join(reason.split())
    if not line or len(line) > MAX_REASON_LENGTH or not line.isprintable():
        raise ModpmError(
            "the reason cannot be shown",
            code="bad-reason",
            why=f"it is one line of 1 to {MAX_REASON_LENGTH} characters",
            hint='say what is wrong with the release, such as `--reason "labels are swapped"`',
            exit_code=2,
        )
    return line
