"""Editing `modpm.toml`: what people wrote stays as it is, comments and order too (W-3)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from modpm.core.formats.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tomlkit import TOMLDocument

    from modpm.registry.addresses import Address
    from modpm.registry.projects.project import Wishes


@dataclass(frozen=True)
class Edit:
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
    namespaces: Mapping[str, str] = field(default_factory=dict)
    same_origin: bool | None = None

    def keeping(self, wishes: Wishes) -> Edit:
        """Return the edit without the bare names of what is asked for already (W-3)."""
        listed = {_key(requirement) for requirement in wishes.all_requirements()}
        add = (r for r in self.add if not (r.is_bare and _key(r) in listed))
        return replace(self, add=tuple(add))

    def applied(self, wishes: Wishes) -> Wishes:
        """Return what a project wishes after the edit."""
        requirements = list(wishes.requirements)
        for requirement in self.add:
            _put(requirements, requirement)
        for requirement in self.remove:
            _take(requirements, requirement)
        names = {address.name for address in wishes.registries}
        return msgspec.structs.replace(
            wishes,
            requirements=tuple(requirements),
            registries=(*wishes.registries, *(a for a in self.registries if a.name not in names)),
            namespaces={**wishes.namespaces, **self.namespaces},
            same_origin=wishes.same_origin if self.same_origin is None else self.same_origin,
        )


def edited(toml: bytes, edit: Edit) -> bytes:
    """Return `modpm.toml` with an edit made, and the rest as it was.

    Args:
        toml: The file as it is; empty if there is none.
        edit: What is to change.
    """
    import tomlkit  # noqa: PLC0415 -- only a change of the file needs it

    document = tomlkit.parse(toml)
    if edit.add and "requirements" not in document:
        document["requirements"] = tomlkit.array().multiline(multiline=True)
    for requirement in edit.add:
        _put(document["requirements"], requirement)
    for requirement in edit.remove:
        _take(document.get("requirements", []), requirement)
    if edit.same_origin is not None:
        _set_same_origin(document, is_on=edit.same_origin)
    for registry in edit.registries:
        _put_registry(document, registry)
    if edit.namespaces:
        _put_namespaces(document, edit.namespaces)
    return tomlkit.dumps(document).encode()


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


def _set_same_origin(document: TOMLDocument, *, is_on: bool) -> None:
    if is_on:
        document["same-origin"] = True
    else:
        document.pop("same-origin", None)


def _put_registry(document: TOMLDocument, registry: Address) -> None:
    import tomlkit  # noqa: PLC0415 -- as above

    if registry.name in {str(listed["name"]) for listed in document.get("registries", ())}:
        return
    if "registries" not in document:
        if len(document) > 0:
            document.add(tomlkit.nl())
        document["registries"] = tomlkit.aot()
    document["registries"].append({"name": registry.name, "url": registry.url})


def _put_namespaces(document: TOMLDocument, namespaces: Mapping[str, str]) -> None:
    import tomlkit  # noqa: PLC0415 -- as above

    if "namespaces" not in document:
        if len(document) > 0:
            document.add(tomlkit.nl())
        document["namespaces"] = tomlkit.table()
    for namespace, name in sorted(namespaces.items()):
        document["namespaces"][namespace] = name
