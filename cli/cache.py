"""`modpm cache`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modpm.cli.groups import Group
from modpm.cli.module_table import size_in_words
from modpm.cli.output import emit, say, show, table
from modpm.verbs import cache

if TYPE_CHECKING:
    from modpm.registry.storage.caching import Removed, Share, StoredFile

_as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group("cache", cls=Group, epilog="Example: modpm cache prune --dry-run")
def command() -> None:
    """Look after the store of downloaded files, and after decoded images.

    The store has every file that was installed once, for all projects. Projects have the same
    files by hard links, reflinks or copies; nothing that is removed from the store is removed
    from a project. Data sets are kept decoded, up to 32 GiB of them, so that training and
    evaluating start at once.
    """


@command.command("dir", epilog="Example: du -sh $(modpm cache dir)")
@_as_json
def folder(as_json: bool) -> None:
    """Print where the store is."""
    path = str(cache.dir())
    if as_json:
        emit({"folder": path})
    else:
        show(path)


@command.command("size", epilog="Example: modpm cache size --json")
@_as_json
def size(as_json: bool) -> None:
    """Show what the store and decoded images take.

    Files are in use if a project on the same file system has them by hard links.
    """
    measured = cache.size()
    names = ("used", "unused", "partial", "images")
    shares = {name: getattr(measured, name) for name in names}
    if as_json:
        data = {name: _share_data(share) for name, share in shares.items()}
        emit({"folder": str(measured.folder), **data})
        return
    rows = [
        [name, share.n_files, size_in_words(share.size_bytes)] for name, share in shares.items()
    ]
    table(rows, ["files", "number", "size"])
    say(f"in {measured.folder}")


_dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be removed.")


@command.command("prune", epilog="Example: modpm cache prune --dry-run")
@_dry_run
@_as_json
def prune(dry_run: bool, as_json: bool) -> None:
    """Remove files that no project uses.

    These are the files without a hard link in a project, and partial downloads of more than a day
    ago. A project that got reflinks or copies keeps them; what is needed again is fetched again.
    """
    _report(cache.prune(dry_run=dry_run), "files that no project uses", dry_run, as_json)


@command.command("clean", epilog="Example: modpm cache clean --dry-run")
@_dry_run
@_as_json
def clean(dry_run: bool, as_json: bool) -> None:
    """Remove every file of the store, and all decoded images.

    Projects keep what they have; what is needed again is fetched or decoded again.
    """
    removed = cache.clean(dry_run=dry_run)
    _report(removed, "files", dry_run, as_json, images=removed.images)


def _report(
    removed: Removed, what: str, dry_run: bool, as_json: bool, images: Share | None = None
) -> None:
    files, partial = removed.files, removed.partial
    if as_json:
        shares = {"files": _share_data(files), "partial": _share_data(partial)}
        if images is not None:
            shares["images"] = _share_data(images)
        emit({"folder": str(removed.folder), "dry_run": dry_run, **shares})
        return
    done = "would remove" if dry_run else "removed"
    say(f"{done} {files.n_files} {what}, {size_in_words(files.size_bytes)}")
    if partial.n_files:
        n_bytes = size_in_words(partial.size_bytes)
        say(f"{done} {partial.n_files} old partial downloads, {n_bytes}")
    if images is not None and images.n_files:
        n_bytes = size_in_words(images.size_bytes)
        say(f"{done} {images.n_files} decoded data sets, {n_bytes}")


@command.command("verify", epilog="Example: modpm cache verify --repair")
@click.option("--repair", is_flag=True, help="Remove damaged files; they are fetched again.")
@_as_json
def verify(repair: bool, as_json: bool) -> None:
    """Check every file of the store against its digest."""
    removed = cache.verify(repair=repair)
    if as_json:
        emit({"removed": [_file_data(file) for file in removed]})
        return
    for file in removed:
        say(f"- {file.digest} {size_in_words(file.size_bytes)}")
    say(f"removed {len(removed)} damaged files" if removed else "every file is intact")


def _share_data(share: Share) -> dict[str, int]:
    return {"n_files": share.n_files, "size_bytes": share.size_bytes}


def _file_data(file: StoredFile) -> dict[str, str | int]:
    return {"digest": file.digest, "size_bytes": file.size_bytes}
