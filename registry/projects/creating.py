"""Creating a project: a folder with a `modpm.toml` that asks for nothing yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.registry.addresses import given_addresses
from modpm.registry.projects.editing import Edit, edited
from modpm.registry.projects.project import PROJECT_FILE
from modpm.registry.system.durable import make_folders
from modpm.registry.system.errors import explained

if TYPE_CHECKING:
    import os

    from modpm.registry.addresses import Registries

_EMPTY = b"""\
# The class modules that this project uses; `modpm install NAMESPACE/NAME` adds one.
requirements = [
]
"""


def init(
    folder: str | os.PathLike[str] = ".",
    registry: Registries = None,
    *,
    same_origin: bool = False,
) -> Path:
    """Make a folder a project.

    Args:
        folder: The folder; it is made if it does not exist.
        registry: One or more registries that the project uses, the first first.
        same_origin: The setting `same-origin`.

    Returns:
        The path of its `modpm.toml`.

    Raises:
        ModpmError: `project-exists`; `permission-denied`, `disk-full`.
    """
    root = Path(folder).expanduser().absolute()
    addresses = given_addresses(registry, root)
    edit = Edit(registries=addresses, same_origin=same_origin or None)
    path = root / PROJECT_FILE
    with explained("make a project"):
        make_folders(root)
        try:
            with path.open("xb") as file:
                file.write(edited(_EMPTY, edit))
        except FileExistsError:
            raise ModpmError(
                "this folder is a project already",
                code="project-exists",
                where=str(path),
                hint="add modules by `modpm install NAMESPACE/NAME`, or edit the file",
            ) from None
    return path
