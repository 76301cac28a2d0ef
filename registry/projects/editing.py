"""Editing `modpm.toml`: what people wrote stays as it is, comments and order too (W-3)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats.requirements import Requirement
from modpm.core.system.durable import make_folders
from modpm.core.system.whole_files import explained
from modpm.registry.addresses import given_addresses
from modpm.registry.projects.project import PROJECT_FILE, Wishes
from modpm.registry.projects.toml_file import toml_string

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from tomlkit import TOMLDocument
    from tomlkit.items import Item

    from modpm.registry.addresses import Address, Registries

_EMPTY = b"""\
# The class modules that this project uses; `modpm install NAMESPACE/NAME` adds one.
requirements = [
]
"""


class Replaced(msgspec.Struct, frozen=True):
    """A request that gave way to another on the same name."""

    before: str
    after: str


class Edit(msgspec.Struct, frozen=True):
    """What is to change in `modpm.toml`.

    Attributes:
        add: Requirements; each takes the place of the one on the same name.
        remove: Requirements, known by their names.
        registries: Registries; one that is listed already stays where it is, another goes last,
            where it takes no name from the others.
        namespaces: The registries that namespaces belong to, by name.
        same_origin: The setting `same-origin`; None to leave it.
    """

    add: tuple[Requirement, ...] = ()
    remove: tuple[Requirement, ...] = ()
    registries: tuple[Address, ...] = ()
    namespaces: Mapping[str, str] = msgspec.field(default_factory=dict)
    same_origin: bool | None = None

    def keeping(self, wishes: Wishes) -> Edit:
        """Return the edit without the bare names of what is asked for already (W-3)."""
        listed = {_key(requirement) for requirement in wishes.all_requirements()}
        add = (r for r in self.add if not (r.is_bare and _key(r) in listed))
        return msgspec.structs.replace(self, add=tuple(add))

    def replaced(self, wishes: Wishes) -> tuple[Replaced, ...]:
        """Return which requests of a project give way to others on the same names."""
        listed = {_key(one): one for one in wishes.all_requirements()}
        pairs = ((listed.get(_key(new), new), new) for new in self.add)
        return tuple(Replaced(str(old), str(new)) for old, new in pairs if old != new)

    def applied(self, wishes: Wishes) -> Wishes:
        """Return what a project wishes after the edit."""
        requirements = list(wishes.requirements)
        for requirement in self.add:
            _put(requirements, requirement)
        for requirement in self.remove:
            _take(requirements, requirement)
        registries: dict[str, Address] = {}
        for address in (*wishes.registries, *self.registries):
            registries.setdefault(address.name, address)
        return msgspec.structs.replace(
            wishes,
            requirements=tuple(requirements),
            registries=tuple(registries.values()),
            namespaces={**wishes.namespaces, **self.namespaces},
            same_origin=wishes.same_origin if self.same_origin is None else self.same_origin,
        )


def edited(toml: bytes, edit: Edit) -> bytes:
    """Return `modpm.toml`, which may be empty, with an edit made, and the rest as it was."""
    if not toml:
        return _begun(edit)
    import tomlkit  # noqa: PLC0415 -- only a change of the file needs it

    document = tomlkit.parse(toml)
    if edit.add and "requirements" not in document:
        document["requirements"] = tomlkit.array().multiline(multiline=True)
    for requirement in edit.add:
        _put(document["requirements"], requirement)
    for requirement in edit.remove:
        _take(document.get("requirements", []), requirement)
    if edit.same_origin:
        document["same-origin"] = True
    elif edit.same_origin is not None:
        document.pop("same-origin", None)
    listed = {str(registry["name"]) for registry in document.get("registries", ())}
    for registry in edit.registries:
        if registry.name not in listed:
            listed.add(registry.name)
            table = {"name": registry.name, "url": registry.url}
            _section(document, "registries", tomlkit.aot()).append(table)
    for namespace, name in sorted(edit.namespaces.items()):
        _section(document, "namespaces", tomlkit.table())[namespace] = name
    return tomlkit.dumps(document).encode()


def _begun(edit: Edit) -> bytes:
    """Return a new `modpm.toml` as editing an empty one would, which waits for a library."""
    wishes = edit.applied(Wishes())
    listed = [f"    {toml_string(text)}," for text in wishes.requirements]
    owners = [f"{space} = {toml_string(name)}" for space, name in sorted(edit.namespaces.items())]
    parts = [
        [
            *(["requirements = [", *listed, "]"] if listed else []),
            *(["same-origin = true"] if edit.same_origin else []),
        ],
        *(
            ["[[registries]]", f"name = {toml_string(one.name)}", f"url = {toml_string(one.url)}"]
            for one in wishes.registries
        ),
        ["[namespaces]", *owners] if owners else [],
    ]
    return "\n".join("".join(f"{line}\n" for line in part) for part in parts if part).encode()


def init(
    folder: str | os.PathLike[str] = ".",
    registry: Registries = None,
    *,
    same_origin: bool = False,
) -> Path:
    """Make a folder a project, which asks for nothing yet.

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
    edit = Edit(registries=given_addresses(registry, root), same_origin=same_origin or None)
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


def _key(requirement: Requirement) -> tuple[str, str | None]:
    return requirement.namespace, requirement.name


def _put(listed: list[str], requirement: Requirement) -> None:
    for i, text in enumerate(listed):
        other = Requirement.parse(text)
        if _key(other) == _key(requirement):
            if other != requirement:
                listed[i] = str(requirement)
            return
    listed.append(str(requirement))


def _take(listed: list[str], requirement: Requirement) -> None:
    for i in reversed(range(len(listed))):
        if _key(Requirement.parse(listed[i])) == _key(requirement):
            del listed[i]


def _section(document: TOMLDocument, key: str, empty: Item) -> Any:  # noqa: ANN401 -- of either kind
    """Return the tables below a key, which are begun at the end if there are none."""
    import tomlkit  # noqa: PLC0415 -- as above

    if key not in document:
        if len(document) > 0:
            document.add(tomlkit.nl())
        document[key] = empty
    return document[key]
