"""A registry that is a folder (`specs/directory-registry.md`).

A release exists from the moment its index lists it. Readers take no lock: every file they can
reach is whole, and an index is replaced in one step.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, BinaryIO

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.names import ModuleName
from modpm.core.formats.whole_files import read_at_most, sync_folder, write_new
from modpm.registry.backends import layout
from modpm.registry.backends.cataloguing import FileCatalogue, Reading
from modpm.registry.backends.layout import INDEX_FILE, REGISTRY_FILE
from modpm.registry.backends.publishing_plan import Entry, planned
from modpm.registry.backends.refusals import not_listed
from modpm.registry.index import Index, Release, release_in
from modpm.registry.system.durable import (
    exclusively,
    move,
    place,
    refuse_links,
    remove_folder,
    replace_files,
    sync_folders,
)
from modpm.registry.system.threads import in_threads
from modpm.registry.system.transfer import transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from packaging.version import Version

    from modpm.core.formats.distribution import Distribution
    from modpm.registry.backends.protocol import Published
    from modpm.registry.backends.shards import Shard


class DirectoryRegistry:
    """A registry in a folder, of this machine or of a shared file system."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._staging = self._folder / ".staging"
        self._catalogue = FileCatalogue(self, self._read, self._update, is_near=True)
        self._has_layout = False

    @property
    def location(self) -> str:
        """The folder."""
        return str(self._folder)

    def names(self, namespace: str | None = None) -> list[ModuleName]:
        """Return the modules that have an index, sorted."""
        self._check_layout()
        found = self._folder.glob(f"{namespace or '*'}/*/{INDEX_FILE}")
        names = (_module_of(path.parent) for path in found)
        return sorted(name for name in names if name is not None)

    def index(self, module: ModuleName) -> Index | None:
        """Return what is listed for a name; None if nothing is."""
        path = self._index_path(module)
        refuse_links(path, self._folder)
        try:
            data = _read_regular(path)
        except (FileNotFoundError, NotADirectoryError):
            self._check_layout()
            return None
        return Index.from_bytes(data, module, str(path))

    def revision(self, module: ModuleName, version: str) -> str | None:  # noqa: ARG002 -- Backend's
        """Return None: a folder has no commits."""
        return None

    def open_file(
        self,
        module: ModuleName,
        version: str,
        file: str,
        *,
        offset: int = 0,
        revision: str | None = None,  # noqa: ARG002 -- Backend's
    ) -> BinaryIO:
        """Open a file of a release to read its bytes."""
        path = self._release_folder(module, version) / file
        refuse_links(path, self._folder)
        try:
            opened = _open_regular(path)
        except (FileNotFoundError, NotADirectoryError):
            self._check_layout()
            opened = self._open_by_digest(module, version, file)
        opened.seek(offset)
        return opened

    def publish(self, distributions: Sequence[Distribution]) -> list[Published]:
        """Publish distributions that have been verified, all or none of them."""
        self._refuse_other_folders()
        with exclusively(self._folder / ".lock", self._staging):
            self._write_layout()
            entries = planned(distributions, self._listed, self.location)
            new = [entry for entry in entries if entry.is_new]
            in_threads(self._stage, new, "releases cannot be copied")
            self._stage_indexes(entries)
            self._commit(entries)
        return [entry.published(self.location, is_new=entry.is_new) for entry in entries]

    def change(self, module: ModuleName, change: Callable[[Index], Index]) -> Index:
        """Change what is listed for a name, under the lock of the registry."""
        self._check_layout()
        with exclusively(self._folder / ".lock", self._staging):
            listed = self.index(module)
            if listed is None:
                raise not_listed(module, self.location)
            changed = change(listed).after(listed)
            replace_files({self._index_path(module): changed.to_bytes()}, self._staging)
            self._catalogue.note([module])
        return changed

    def catalogue(self, namespace: str | None, seen: Mapping[str, str]) -> list[Shard]:
        """Return what is shown of the modules, by the catalogue of the folder."""
        self._check_layout()
        return self._catalogue.parts(namespace, seen)

    def reindex(self) -> list[Shard]:
        """Make the catalogue anew, under the lock of the registry."""
        self._check_layout()
        with exclusively(self._folder / ".lock", self._staging):
            return self._catalogue.rebuild()

    def _open_by_digest(self, module: ModuleName, version: str, file: str) -> BinaryIO:
        """Open a file in a copy of a registry that names files by their digests."""
        release = release_in(self.index(module), version)
        record = None if release is None else release.all_files.get(file)
        path = self._release_folder(module, version) / file
        if record is not None:
            content = self._folder / layout.content_path(record.digest)
            refuse_links(content, self._folder)
            try:
                return _open_regular(content)
            except (FileNotFoundError, NotADirectoryError):
                pass
        raise layout.missing_file(module, version, str(path))

    def _listed(self, module: ModuleName, version: Version) -> Release | None:
        return release_in(self.index(module), version)

    def _stage(self, entry: Entry) -> None:
        """Copy what was verified: other bytes, of a folder that changes meanwhile, are refused."""
        folder = self._staged_release(entry)
        folder.mkdir(parents=True)
        for name, record in entry.release.all_files.items():
            path = entry.distribution.folder / name
            with _open_regular(path) as source:
                transfer(source, folder / name, record, str(path))
        sync_folder(folder)

    def _stage_indexes(self, entries: Sequence[Entry]) -> None:
        indexes: dict[ModuleName, Index] = {}
        for entry in entries:
            if entry.is_new:
                listed = indexes.get(entry.module) or self.index(entry.module)
                index = listed or Index(name=str(entry.module))
                indexes[entry.module] = index.with_release(entry.release)
        for module, index in indexes.items():
            written = index.after(self.index(module))
            write_new(self._staged_index(module), written.to_bytes())

    def _commit(self, entries: Sequence[Entry]) -> None:
        """Rename everything into place: releases first, which nobody sees, then the indexes."""
        new = [entry for entry in entries if entry.is_new]
        for entry in new:
            folder = self._release_folder(entry.module, entry.release.version)
            refuse_links(folder, self._folder)
            remove_folder(folder)  # left by a crash: no index lists it
            place(self._staged_release(entry), folder)
        # In the order of the entries: class modules before the compositions of them.
        modules = list(dict.fromkeys(entry.module for entry in new))
        folders = {self._index_path(module).parent for module in modules}
        above = {parent for folder in folders for parent in (folder.parent, self._folder)}
        sync_folders(folders | above)
        for module in modules:
            move(self._staged_index(module), self._index_path(module))
        # Also of what was published before: the catalogue may lack that.
        self._catalogue.note(entry.module for entry in entries)

    def _read(self, path: str, seen: str | None) -> Reading | None:
        """Read a document unless it is the one that was seen; every one is a new file."""
        try:
            with _open_regular(self._folder / path) as file:
                status = os.fstat(file.fileno())
                state = f"{status.st_ino} {status.st_mtime_ns} {status.st_ctime_ns}"
                data = None if state == seen else file.read(canonical_json.MAX_SIZE_BYTES + 1)
                return Reading(data, state)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _update(self, path: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """Replace a document by what `change` makes of it, under the lock that is held."""
        reading = self._read(path, None)
        changed = change(None if reading is None else reading.data)
        if changed is not None:
            replace_files({self._folder / path: changed}, self._staging)

    def _index_path(self, module: ModuleName) -> Path:
        return self._folder / module.namespace / module.name / INDEX_FILE

    def _release_folder(self, module: ModuleName, version: str) -> Path:
        return self._folder / module.namespace / module.name / version

    def _staged_release(self, entry: Entry) -> Path:
        module = entry.module
        return self._staging / module.namespace / module.name / entry.release.version

    def _staged_index(self, module: ModuleName) -> Path:
        return self._staging / module.namespace / module.name / INDEX_FILE

    def _refuse_other_folders(self) -> None:
        """Refuse to publish into a folder that holds something else."""
        if self._folder.exists() and not self._folder.is_dir():
            raise self._not_a_registry("it is a file")
        # Listed first: whoever publishes the first modules meanwhile writes the layout before.
        names = {path.name for path in self._folder.iterdir()} if self._folder.is_dir() else set()
        if (self._folder / REGISTRY_FILE).exists():
            self._check_layout()
        elif names - {".lock", ".staging"}:
            raise self._not_a_registry("it holds other files")

    def _write_layout(self) -> None:
        path = self._folder / REGISTRY_FILE
        if not path.exists():
            replace_files({path: layout.LAYOUT}, self._staging)

    def _check_layout(self) -> None:
        if self._has_layout:
            return
        try:
            data = read_at_most(self._folder / REGISTRY_FILE, canonical_json.MAX_SIZE_BYTES)
        except FileNotFoundError:
            raise self._missing() from None
        except NotADirectoryError:
            raise self._not_a_registry("it is a file") from None
        layout.check_layout(data, self.location)
        self._has_layout = True

    def _missing(self) -> ModpmError:
        if self._folder.exists():
            return self._not_a_registry(f"it has no `{REGISTRY_FILE}`")
        return layout.registry_missing(self.location, "the folder does not exist")

    def _not_a_registry(self, why: str) -> ModpmError:
        return layout.not_a_registry(self.location, why)


def _module_of(folder: Path) -> ModuleName | None:
    """Return the module whose folder it is; None for any other folder."""
    text = f"{folder.parent.name}/{folder.name}"
    try:
        module = ModuleName.parse(text)
    except ModpmError:
        return None
    return module if str(module) == text else None


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


def _read_regular(path: Path) -> bytes:
    """Read a document: all of it, or enough to see that it is too large."""
    with _open_regular(path) as file:
        return file.read(canonical_json.MAX_SIZE_BYTES + 1)


def _not_a_file(path: Path, why: str) -> ModpmError:
    return ModpmError(
        "this is not a file of a module", code="not-a-regular-file", where=str(path), why=why
    )
