"""A registry that is a folder (`specs/directory-registry.md`).

A release exists from the moment its index lists it. Readers take no lock: every file they can
reach is whole, and an index is replaced in one step.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.system.durable import (
    entries_below,
    exclusively,
    is_real_folder,
    move,
    place,
    refuse_links,
    remove_folder,
    replace_files,
    sync_folders,
)
from modpm.core.system.threads import in_threads
from modpm.core.system.whole_files import sync_folder, write_new
from modpm.registry.backends import layout
from modpm.registry.backends.file_registry import FileRegistry, Reading
from modpm.registry.backends.layout import INDEX_FILE, REGISTRY_FILE
from modpm.registry.storage.transfer import transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from modpm.core.formats.distribution import Distribution
    from modpm.core.formats.names import ModuleName
    from modpm.registry.backends.protocol import Published
    from modpm.registry.backends.publishing_plan import Entry


class DirectoryRegistry(FileRegistry):
    """A registry in a folder, of this machine or of a shared file system."""

    is_near = True

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder).absolute()
        self._staging = self._folder / ".staging"
        super().__init__(str(self._folder))

    def names(self, namespace: str | None = None) -> list[ModuleName]:
        """Return the modules that have an index, sorted."""
        self._check_layout()
        spaces = entries_below(self._folder, 1) if namespace is None else [self._folder / namespace]
        found = (
            f"{space.name}/{folder.name}" for space in spaces for folder in self._modules_in(space)
        )
        return sorted(filter(None, map(layout.module_named, found)))

    def _modules_in(self, space: Path) -> Iterator[Path]:
        if is_real_folder(space, self._folder):
            for folder in entries_below(space, 1):
                if is_real_folder(folder, space) and os.path.lexists(folder / INDEX_FILE):
                    yield folder

    def publish(self, distributions: Sequence[Distribution]) -> list[Published]:
        """Publish distributions that have been verified, all or none of them."""
        from modpm.registry.backends.publishing_plan import listed_with, planned_by_module  # noqa: PLC0415 -- readers do not plan

        self._refuse_other_folders()
        with exclusively(self._folder / ".lock", self._staging):
            path = self._folder / REGISTRY_FILE
            if not path.exists():
                replace_files({path: layout.LAYOUT}, self._staging)
            entries, groups = planned_by_module(distributions, self.index, self.location)
            in_threads(self._stage, list(chain(*groups)), "releases cannot be copied")
            for group in groups:
                module = group[0].module
                before = self.index(module)
                index = listed_with(group, before, self.location).after(before)
                write_new(self._staging / layout.index_path(module), index.to_bytes())
            self._commit(entries)
        return [entry.published(self.location, is_new=entry.is_new) for entry in entries]

    def _stage(self, entry: Entry) -> None:
        """Copy what was verified: other bytes, of a folder that changes meanwhile, are refused."""
        folder = self._staging / _folder_of(entry)
        folder.mkdir(parents=True)
        for name, record in entry.release.all_files.items():
            path = entry.distribution.folder / name
            with _open_regular(path) as source:
                transfer(source, folder / name, record, str(path))
        sync_folder(folder)

    def _commit(self, entries: Sequence[Entry]) -> None:
        """Rename everything into place: releases first, which nobody sees, then the indexes."""
        new = [entry for entry in entries if entry.is_new]
        for entry in new:
            folder = self._folder / _folder_of(entry)
            refuse_links(folder, self._folder)
            remove_folder(folder)  # left by a crash: no index lists it
            place(self._staging / _folder_of(entry), folder)
        # In the order of the entries: class modules before the compositions of them.
        modules = list(dict.fromkeys(entry.module for entry in new))
        folders = {self._folder / str(module) for module in modules}
        above = {parent for folder in folders for parent in (folder.parent, self._folder)}
        sync_folders(folders | above)
        for module in modules:
            move(
                self._staging / layout.index_path(module), self._folder / layout.index_path(module)
            )
        # Also of what was published before: the catalogue may lack that.
        self._note(entry.module for entry in entries)

    def _read(self, path: str, seen: str | None = None) -> Reading | None:
        """Read a document unless it is the one that was seen; every one is a new file."""
        file = self._open(path, 0)
        if file is None:
            return None
        with file:
            status = os.fstat(file.fileno())
            state = f"{status.st_ino} {status.st_mtime_ns} {status.st_ctime_ns}"
            data = None if state == seen else file.read(canonical_json.MAX_SIZE_BYTES + 1)
            return Reading(data, state)

    def _open(self, path: str, offset: int) -> BinaryIO | None:
        refuse_links(self._folder / path, self._folder)
        try:
            opened = _open_regular(self._folder / path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        opened.seek(offset)
        return opened

    def _update(self, path: str, change: Callable[[bytes | None], bytes | None]) -> None:
        data = self._document(path)
        changed = change(data)
        if changed is not None and changed != data:
            replace_files({self._folder / path: changed}, self._staging)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._check_layout()
        with exclusively(self._folder / ".lock", self._staging):
            yield

    def _refuse_other_folders(self) -> None:
        """Refuse to publish into a folder that holds something else."""
        if self._folder.exists() and not self._folder.is_dir():
            raise layout.not_a_registry(self.location, "it is a file")
        # Listed first: whoever publishes the first modules meanwhile writes the layout before.
        names = {path.name for path in self._folder.iterdir()} if self._folder.is_dir() else set()
        if (self._folder / REGISTRY_FILE).exists():
            self._check_layout()
        elif names - {".lock", ".staging"}:
            raise layout.not_a_registry(self.location, "it holds other files")

    def _missing(self) -> ModpmError:
        if self._folder.is_dir():
            return layout.not_a_registry(self.location, f"it has no `{REGISTRY_FILE}`")
        if self._folder.exists():
            return layout.not_a_registry(self.location, "it is a file")
        return layout.registry_missing(self.location, "the folder does not exist")


def _folder_of(entry: Entry) -> str:
    return layout.release_path(entry.module, entry.release.version)


def _open_regular(path: Path) -> BinaryIO:
    """Open a file that is one: no symlink, which could lead anywhere, no pipe, which could hang."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    flags |= getattr(os, "O_BINARY", 0)
    if path.is_symlink():
        raise _not_a_file(path, "it is a symbolic link")
    handle = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _not_a_file(path, "it is not a regular file")
    return os.fdopen(handle, "rb")


def _not_a_file(path: Path, why: str) -> ModpmError:
    return ModpmError(
        "this is not a file of a module", code="not-a-regular-file", where=str(path), why=why
    )
