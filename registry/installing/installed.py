"""What is installed in a project, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from modpm.core.errors import ModpmError, suggestion
from modpm.core.formats.names import ModuleName
from modpm.core.formats.release_files import SIGNATURE_FILE
from modpm.core.system.durable import is_real_folder
from modpm.core.system.home import trust_path
from modpm.registry.installing.yanks import ask_and_keep, known_yanks
from modpm.registry.projects.lockfile import Lockfile, Pin
from modpm.registry.projects.project import Project

if TYPE_CHECKING:
    import os
    from pathlib import Path


class InstalledModule(msgspec.Struct, frozen=True):
    """A class module that a project can load, or a composition that it can rebuild.

    Attributes:
        digest: The digest of the manifest, which names the release.
        size_bytes: What all its files take.
        registry: Where it came from.
        path: The folder of its files.
        yanked: Why its release was yanked, as far as that is known.
        is_signed: Whether it has a signature, which was verified when it was installed.
    """

    name: ModuleName
    version: str
    digest: str
    size_bytes: int
    registry: str
    path: Path
    is_composition: bool = False
    is_signed: bool = False
    yanked: str | None = None

    @property
    def signer(self) -> str | None:
        """The key that its signature says it was made with; None where that cannot be read."""
        return signer_of(self.path) if self.is_signed else None

    @classmethod
    def of(cls, pin: Pin, project: Project, yanked: str | None = None) -> InstalledModule:
        """Return the module that a pin says is installed."""
        place, path = pin.registry.location(project.root), project.module_path(pin)
        release = pin.module, pin.version, pin.digest, pin.size_bytes
        return cls(
            *release,
            place,
            path,
            is_composition=pin.is_composition,
            is_signed=SIGNATURE_FILE in pin.files,
            yanked=yanked,
        )


def installed(project: str | os.PathLike[str] = ".", *, ask: bool = False) -> list[InstalledModule]:
    """Return the installed modules, sorted by name.

    Args:
        project: A folder in the project.
        ask: Ask registries which releases were yanked; else that is as they said last.

    Raises:
        ModpmError: `invalid-lock`; to ask, `rolled-back` or `release-changed`.
    """
    place = Project.discover(project)
    pins = (place.installed() or Lockfile((), ())).pins
    yanked = ask_and_keep(place, pins) if ask else known_yanks(place, pins)
    return [InstalledModule.of(pin, place, yanked.get(pin.module)) for pin in pins]


def find(name: str, project: str | os.PathLike[str] = ".") -> Path:
    """Return the folder of an installed module.

    Args:
        name: `namespace/name`.
        project: A folder in the project.

    Raises:
        ModpmError: `not-installed`, `invalid-name` or `invalid-lock`.
    """
    wanted = ModuleName.parse(name)
    modules = {module.name: module for module in installed(project)}
    modules_path = Project.discover(project).modules_path
    if wanted in modules and is_real_folder(modules[wanted].path, modules_path):
        return modules[wanted].path
    others = () if wanted in modules else map(str, modules)
    raise ModpmError(
        f"`{wanted}` is not installed",
        code="not-installed",
        where=str(Project.discover(project).root),
        why=f"installed are: {', '.join(map(str, modules)) or 'no modules'}",
        hint=suggestion(str(wanted), others, f"run `modpm install {wanted}`"),
    )


def signer_of(folder: Path) -> str | None:
    """Return the key that the signature in a folder says it was made with, if it can be read."""
    from modpm.registry.signing.signature import claimed_signer, read_signature  # noqa: PLC0415 -- only for signatures

    try:
        return claimed_signer(read_signature(folder / SIGNATURE_FILE), str(folder))
    except ModpmError:
        return None


def is_signed(lock: Lockfile) -> bool:
    """Tell whether there are signatures to check, or anybody who has to have signed."""
    if lock.signers or any(SIGNATURE_FILE in pin.files for pin in lock.pins):
        return True
    if not trust_path().exists():
        return False
    from modpm.registry.signing.trusted_keys import TrustFile  # noqa: PLC0415 -- only if there is one

    return any(map(TrustFile.of_user().knows, {pin.module.namespace for pin in lock.pins}))
