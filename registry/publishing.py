"""Publishing: distributions become releases."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import Distribution, verify_distribution
from modpm.core.formats.manifest import MANIFEST_FILE
from modpm.registry.addresses import publish_target
from modpm.registry.system_errors import explained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.registry.backends.protocol import Published


def publish(
    paths: Sequence[str | os.PathLike[str]],
    registry: str | os.PathLike[str] | None = None,
) -> list[Published]:
    """Publish distributions: all of them, or none.

    Args:
        paths: Distributions, or folders of them as `modularize` makes.
        registry: A folder; by default the one that `MODPM_REGISTRY` names, else that under
            `MODPM_HOME`.

    Returns:
        One for each distribution; `is_new` is false where the same bytes were published before.

    Raises:
        ModpmError: `not-a-distribution`, or what `verify_distribution` raises; `version-taken`,
            if other bytes were published under the same version; `not-a-registry`, `busy`,
            `disk-full`, `permission-denied`.
    """
    with explained("publish"):
        target = publish_target(registry)
        folders = [folder for path in paths for folder in _distribution_folders(Path(path))]
        return target.publish(_verified(dict.fromkeys(folders)))


def _distribution_folders(path: Path) -> list[Path]:
    """Return the folder itself, if it is a distribution, or else those in it that are."""
    folder = path.absolute()
    if not folder.is_dir():
        raise _not_a_distribution(path, "there is no such folder")
    if os.path.lexists(folder / MANIFEST_FILE):
        return [folder]
    inside = sorted(f for f in folder.iterdir() if os.path.lexists(f / MANIFEST_FILE))
    # What begins with a dot is what a crash left behind, of a tool that makes folders whole.
    found = [f for f in inside if not f.is_symlink() and not f.name.startswith(".")]
    if not found:
        raise _not_a_distribution(path, f"neither it nor a folder in it has a `{MANIFEST_FILE}`")
    return found


def _verified(folders: Sequence[Path] | dict[Path, None]) -> list[Distribution]:
    distributions: list[Distribution] = []
    errors: list[ModpmError] = []
    for folder in folders:
        try:
            distributions.append(verify_distribution(folder))
        except ModpmError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise _several(errors, len(folders))
    return distributions


def _several(errors: Sequence[ModpmError], n: int) -> ModpmError:
    return ModpmError(
        f"{len(errors)} of {n} distributions cannot be published",
        code=errors[0].code,
        why="\n".join(f"{e.where}: {e.what}{': ' if e.why else ''}{e.why or ''}" for e in errors),
        hint="make them again; nothing was published",
    )


def _not_a_distribution(path: Path, why: str) -> ModpmError:
    return ModpmError(
        f"`{path}` is not a distribution",
        code="not-a-distribution",
        where=str(path.absolute()),
        why=why,
        hint="give a folder that `modpm modularize` made",
    )
