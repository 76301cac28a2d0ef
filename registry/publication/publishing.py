"""Publishing: distributions become releases (`specs/publishing.md`)."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.version import Version

from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import Distribution, verify_distribution
from modpm.core.formats.manifest import MANIFEST_FILE
from modpm.core.system.threads import in_threads
from modpm.core.system.whole_files import explained
from modpm.registry.addresses import publish_target
from modpm.registry.backends.publishing_plan import listed_index, planned
from modpm.registry.index import release_in
from modpm.registry.publication.changing import ReleaseName, checked_tag, set_tag
from modpm.registry.publication.completeness import check_required, made_of, missing
from modpm.registry.publication.signers import check_signers
from modpm.registry.seen import Seen
from modpm.registry.signing.signature import sign_distribution
from modpm.registry.storage.store import materialise

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from modpm.registry.backends.protocol import Published
    from modpm.registry.signing.keys import SigningKey


def publish(
    paths: Sequence[str | os.PathLike[str]],
    registry: str | os.PathLike[str] | None = None,
    *,
    tag: str | None = None,
    key: SigningKey | None = None,
    dry_run: bool = False,
) -> list[Published]:
    """Publish distributions as they are; `modpm.publish` can add example images to them first.

    Arguments, what is returned and errors are of `modpm.publish`, which says them.
    """
    tag = None if tag is None else checked_tag(tag)
    with explained("publish"):
        target = publish_target(registry)
        distributions = ready_distributions(paths)
        with _signed(distributions, key) as signed:
            check_signers(signed, target)
            if dry_run or any(map(made_of, signed)):
                # A registry that is not there yet has nothing.
                place, index = target.location, partial(listed_index, target)
                entries = planned(signed, lambda name, v: release_in(index(name), v), place)
                check_required(entries, target)
            if dry_run:
                return [one.published(place, is_new=one.is_new) for one in entries]
            published = target.publish(signed)
        Seen().remember_published(published)
        if tag is not None:
            for one in published:
                set_tag(target, ReleaseName(one.name, Version(one.version)), tag)
        return published


def ready_distributions(paths: Iterable[str | os.PathLike[str]]) -> list[Distribution]:
    """Return distributions that can be published (V-1 to V-7), each once; files are passed over."""
    # What lies beside distributions is passed over, so that all of a folder can be named.
    named = [Path(path) for path in paths]
    folders = [path for path in named if not path.is_file()]
    folders = list(
        dict.fromkeys(f for path in folders or named for f in distribution_folders(path))
    )
    what = f"of {len(folders)} distributions cannot be published"
    return in_threads(_ready, folders, what)


def _ready(folder: Path) -> Distribution:
    distribution = verify_distribution(folder)
    lacks = list(missing(distribution))
    if lacks:
        raise ModpmError(
            f"`{folder.name}` does not say what those who rely on it need",
            code="incomplete-distribution",
            where=str(folder),
            why="\n".join(lacks),
            hint="make it again with what is missing; nothing was published",
        )
    return distribution


def distribution_folders(path: Path) -> list[Path]:
    """Return the folder itself, if it is a distribution, or else those in it that are.

    Raises:
        ModpmError: `not-a-distribution`, if there are none.
    """
    folder = path.absolute()
    if not folder.is_dir():
        why = "it is a file" if folder.is_file() else "there is no such folder"
        raise _not_a_distribution(path, why)
    if os.path.lexists(folder / MANIFEST_FILE):
        return [folder]
    inside = sorted(f for f in folder.iterdir() if os.path.lexists(f / MANIFEST_FILE))
    # What begins with a dot is what a crash left behind, of a tool that makes folders whole.
    found = [f for f in inside if not f.is_symlink() and not f.name.startswith(".")]
    if not found:
        raise _not_a_distribution(path, f"neither it nor a folder in it has a `{MANIFEST_FILE}`")
    return found


@contextmanager
def _signed(
    distributions: Sequence[Distribution], key: SigningKey | None
) -> Iterator[Sequence[Distribution]]:
    """Give the distributions with signatures, beside the user's folders and not in them."""
    if key is None:
        yield distributions
        return
    with tempfile.TemporaryDirectory(prefix="modpm-") as folder:
        signed: list[Distribution] = []
        for i, distribution in enumerate(distributions):
            beside = Path(folder) / str(i)
            beside.mkdir()
            manifest = distribution.manifest
            for name in (MANIFEST_FILE, *manifest.files, *manifest.all_pictures):
                materialise(distribution.folder / name, beside / name)
            signed.append(replace(distribution, folder=beside))
            sign_distribution(signed[-1], key)
        yield signed


def _not_a_distribution(path: Path, why: str) -> ModpmError:
    return ModpmError(
        f"`{path}` is not a distribution",
        code="not-a-distribution",
        where=str(path.absolute()),
        why=why,
        hint="give a folder that `modpm modularize` or `modpm pack` made",
    )
