"""A project: the folder with `modpm.toml`, `modpm.lock` and `.modpm/`.

modpm.toml                      what the project asks for, and where; people edit it
modpm.lock                      the releases that it got
.modpm/installed.lock           the lock of what is installed: replaced in one step, it is
                                the moment at which an installation happens
.modpm/modules/<namespace>/<name>/<version>-<12 digits of its digest>/…
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats.release_files import Namespace
from modpm.core.formats.requirements import Requirement
from modpm.core.system.durable import exclusively, refuse_other_kinds
from modpm.core.system.whole_files import read_at_most, read_error
from modpm.registry.addresses import DEFAULT_NAME, Address, RegistryName
from modpm.registry.projects.lockfile import Lockfile, Pin
from modpm.registry.projects.toml_file import MAX_SIZE_BYTES, TomlFile

PROJECT_FILE = "modpm.toml"
LOCK_FILE = "modpm.lock"

_TOML_HINT = f"correct `{PROJECT_FILE}`, or restore it from version control"
_LOCK_HINT = f"restore `{LOCK_FILE}` from version control, or delete it and run `modpm install`"
R = TypeVar("R", bound="Registered")

_INSTALLED_HINT = "run `modpm install`"


class Registered(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The registries that a file names, the first first, and to which namespaces belong."""

    registries: tuple[Address, ...] = ()
    namespaces: dict[Namespace, RegistryName] = {}


class Wishes(Registered, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What `modpm.toml` asks for, and whether all must come from one origin, to be fused."""

    requirements: tuple[str, ...] = ()
    same_origin: bool = False

    def all_requirements(self) -> tuple[Requirement, ...]:
        """Return the requirements, parsed.

        Raises:
            ModpmError: `invalid-requirement` or `invalid-name`.
        """
        return tuple(Requirement.parse(text, PROJECT_FILE) for text in self.requirements)


class Project:
    """A folder that class modules are installed into."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.lock_path = self.root / LOCK_FILE
        own = self.root / ".modpm"
        self.modules_path = own / "modules"
        self.installed_path = own / "installed.lock"
        self.ignore_path = own / ".gitignore"
        self.staging = own / "staging"
        # What is locked and what is installed are mostly the same bytes.
        self._known_locks: dict[bytes, Lockfile] = {}

    @classmethod
    def discover(cls, start: str | os.PathLike[str] = ".") -> Self:
        """Return the project that a folder is in: the nearest with `modpm.toml`, or itself."""
        folder = Path(start).absolute()
        if not folder.is_dir():
            raise ModpmError(
                "there is no such project folder",
                code="no-such-folder",
                where=str(folder),
                hint="name a folder that there is, or make a project there by `modpm init FOLDER`",
            )
        holders = (f for f in (folder, *folder.parents) if (f / PROJECT_FILE).is_file())
        return cls(next(holders, folder))

    @property
    def toml_path(self) -> Path:
        """`modpm.toml`, or what it is a link to: that is what people edit."""
        path = self.root / PROJECT_FILE
        return Path(os.path.realpath(path)) if path.is_symlink() else path  # not stopped by a loop

    def module_path(self, pin: Pin) -> Path:
        """Return the folder of an installed module."""
        of_release = f"{pin.version}-{pin.digest.removeprefix('sha256:')[:12]}"
        return self.modules_path / pin.module.namespace / pin.module.name / of_release

    def wishes(self) -> Wishes:
        """Read `modpm.toml`; a project without one asks for nothing.

        Raises:
            ModpmError: `invalid-project`, or what the parts of a requirement raise.
        """
        return self.parse_wishes(read(self.toml_path) or b"")

    def parse_wishes(self, toml: bytes) -> Wishes:
        """Read what is, or is to be, in `modpm.toml`."""
        wishes = parse_registered(Wishes, toml, self.toml_path, _TOML_HINT)
        wishes.all_requirements()
        return wishes

    def files(self) -> tuple[bytes | None, ...]:
        """Return the bytes of `modpm.toml` and `modpm.lock`; None for one that is not there."""
        return read(self.toml_path), read(self.lock_path)

    def lock(self) -> Lockfile | None:
        """Read `modpm.lock`; None if there is none.

        Raises:
            ModpmError: `invalid-lock`.
        """
        return self._read_lock(self.lock_path, _LOCK_HINT)

    def locked(self, path: Path | None = None) -> Lockfile:
        """Read `modpm.lock`, or another lockfile, which has to be there.

        Raises:
            ModpmError: `lock-missing` or `invalid-lock`.
        """
        lock = self._read_lock(path or self.lock_path, _LOCK_HINT)
        if lock is None:
            raise lock_missing(self.root)
        return lock

    def installed(self) -> Lockfile | None:
        """Read the lock of what is installed; None if nothing was ever installed.

        Raises:
            ModpmError: `invalid-lock`; `link-in-the-way`.
        """
        self.refuse_links()
        return self._read_lock(self.installed_path, _INSTALLED_HINT)

    def installed_or_nothing(self) -> Lockfile:
        """Read the lock of what is installed; a damaged one counts as nothing installed.

        Raises:
            ModpmError: `link-in-the-way`.
        """
        self.refuse_links()  # which `installed` does, too, and does not pass over here
        try:
            return self.installed() or Lockfile((), ())
        except ModpmError:
            return Lockfile((), ())

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Keep other processes from changing the project.

        Raises:
            ModpmError: `busy`.
        """
        self.refuse_links()
        with exclusively(self.root / ".modpm" / ".lock", self.staging):
            yield

    def refuse_links(self) -> None:
        """Refuse links where modpm has its own folders and files: a clone may hold anything.

        Raises:
            ModpmError: `link-in-the-way`.
        """
        own = self.root / ".modpm"
        refuse_other_kinds(
            {
                own: stat.S_IFDIR,
                self.modules_path: stat.S_IFDIR,
                self.installed_path: stat.S_IFREG,
                self.ignore_path: stat.S_IFREG,
            }
        )

    def _read_lock(self, path: Path, hint: str) -> Lockfile | None:
        data = read(path)
        if data is None:
            return None
        if data not in self._known_locks:
            self._known_locks[data] = Lockfile.from_bytes(data, path, hint)
        return self._known_locks[data]


def lock_missing(root: Path) -> ModpmError:
    """Return the error of a lockfile that is needed, and not there."""
    return ModpmError(
        f"there is no `{LOCK_FILE}`",
        code="lock-missing",
        where=str(root),
        hint="run `modpm lock`, or restore it from version control",
    )


def parse_registered(kind: type[R], toml: bytes, path: Path, hint: str) -> R:
    """Read a file that names registries, as a type (W-1, W-2); `hint` says how to mend it.

    Raises:
        ModpmError: `invalid-project`.
    """
    of_file = TomlFile(path, "invalid-project", hint)
    registered = of_file.convert(kind, of_file.parse(toml))
    for why in _problems(registered):
        what = f"`{path.name}` names registries that it does not have, or two by one name"
        raise ModpmError(what, code=of_file.code, where=str(path), why=why, hint=hint)
    return registered


def _problems(registered: Registered) -> Iterator[str]:
    names = [address.name for address in registered.registries]
    yield from (f"two registries are called `{n}`" for n in names if names.count(n) > 1)
    for namespace, name in registered.namespaces.items():
        if name not in {DEFAULT_NAME, *names}:
            yield f"`{namespace}` belongs to `{name}`, and no registry is called so"


def read(path: Path) -> bytes | None:
    """Return the bytes of a file; None if there is none.

    Raises:
        ModpmError: `unreadable-file`.
    """
    try:
        return read_at_most(path, MAX_SIZE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise read_error(error, path) from error
