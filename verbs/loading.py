"""Loading class modules, of what a project has installed and of folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.errors import ModpmError
from modpm.core.formats.composition_manifest import CompositionManifest
from modpm.core.formats.distribution import read_distribution, verify_distribution
from modpm.core.formats.manifest import MANIFEST_FILE, Manifest
from modpm.core.formats.names import ModuleName
from modpm.core.formats.release_files import WEIGHTS_FILE
from modpm.core.tensors import decode_tensors
from modpm.registry.installing.installed import find, installed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from modpm.core.formats.composition_manifest import ComposedModule
    from modpm.registry.installing.installed import InstalledModule


def load(source: str | os.PathLike[str], project: str | os.PathLike[str] = ".") -> ClassModule:
    """Return a class module: an `nn.Module` that gives one score an image.

    Args:
        source: The name of an installed module (`cifar10/cat`), or the folder of a distribution.
            An installed name wins over a folder; `./cifar10/cat` is always the folder.
        project: A folder in the project.

    Raises:
        ModpmError: It is not installed, or not what its digest says; it is a composition
            (`is-composition`), which `compose` makes a classifier of.
    """
    module = installed_module(source, project)
    if module is not None:
        return ClassModule.from_folder(module.path, module.digest)
    folder = Path(source).expanduser()
    if _is_path(source) or (folder / MANIFEST_FILE).exists():
        return ClassModule.from_folder(folder)
    # The project's own answer, which says what is installed and what may have been meant.
    return ClassModule.from_folder(find(os.fspath(source), project))


def installed_module(
    source: str | os.PathLike[str], project: str | os.PathLike[str]
) -> InstalledModule | None:
    """Return the installed module of that name, if it is a name and there is one."""
    if _is_path(source):
        return None
    try:
        name = ModuleName.parse(os.fspath(source))
    except ModpmError:
        return None
    return next((m for m in installed(project) if m.name == name and m.path.is_dir()), None)


def _is_path(source: str | os.PathLike[str]) -> bool:
    """Say whether a source can only be a folder."""
    return not isinstance(source, str) or source.startswith((".", "/", "~")) or source.endswith("/")


class FoundComposition(NamedTuple):
    """A composition as it was published, verified.

    Attributes:
        manifest: What it says.
        folder: Its distribution.
    """

    manifest: CompositionManifest
    folder: Path

    def weights(self) -> dict[str, Tensor] | None:
        """Return its own, if it was trained once it was composed.

        Raises:
            ModpmError: They cannot be read.
        """
        if WEIGHTS_FILE not in self.manifest.files:
            return None
        path = self.folder / WEIGHTS_FILE
        return decode_tensors(path.read_bytes(), str(path))


def composition_of(
    source: str | os.PathLike[str], project: str | os.PathLike[str] = "."
) -> FoundComposition | None:
    """Return a composition, verified; None if it is a class module or nothing at all.

    Args:
        source: As for `load`.
        project: A folder in the project.

    Raises:
        ModpmError: What `read_distribution` and, of a composition, `verify_distribution` raise.
    """
    module = installed_module(source, project)
    if module is None:
        folder = Path(source).expanduser()
        if not (folder / MANIFEST_FILE).exists():
            return None
        if isinstance(read_distribution(folder).manifest, Manifest):
            return None
        found = verify_distribution(folder)
    elif module.is_composition:
        found = verify_distribution(module.path, module.digest)
    else:
        return None
    if not isinstance(found.manifest, CompositionManifest):
        return None
    return FoundComposition(found.manifest, found.folder)


def load_members(
    modules: Sequence[ComposedModule],
    project: str | os.PathLike[str] = ".",
    composition: str | None = None,
) -> list[ClassModule]:
    """Return the class modules of a composition, in its order, as the project has them.

    Args:
        modules: Those that it names.
        project: A folder in the project.
        composition: What the composition is called, if it is a release.

    Raises:
        ModpmError: One is not installed, or another release of it is (`broken-composition`).
    """
    present = {str(module.name): module for module in installed(project) if module.path.is_dir()}
    lines = [
        f"{one.name} {one.version}: "
        + (f"{present[one.name].version} is installed" if one.name in present else "is absent")
        for one in modules
        if one.name not in present or present[one.name].digest != one.digest
    ]
    if lines:
        of = "the classifier" if composition is None else f"`{composition}`"
        wanted = composition or " ".join(one.requirement for one in modules)
        raise ModpmError(
            f"the class modules of {of} are not installed as it names them",
            code="broken-composition",
            where=str(Path(project).absolute()),
            why="\n".join(lines),
            hint=f"run `modpm install {wanted}`",
        )
    return [load(one.name, project) for one in modules]
