"""Whether class modules are those that compositions name, or of one origin (clause W-14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.formats.composition_manifest import CompositionManifest
from modpm.core.formats.manifest import Manifest
from modpm.registry.projects.requirement_graph import RequirementGraph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from modpm.core.formats.composition_manifest import AnyManifest, ComposedModule
    from modpm.core.formats.names import ModuleName
    from modpm.registry.projects.lockfile import Lockfile, Pin


def check_members(lock: Lockfile, manifest_of: Callable[[Pin], AnyManifest]) -> None:
    """Check that every composition of a project has its class modules there.

    And that what is asked for together is of one origin, where the project wants that.

    Args:
        lock: All pins of the project.
        manifest_of: Gives the manifest of a pin, verified.

    Raises:
        ModpmError: `broken-composition`, naming every module that is not what it must be;
            `no-common-origin`.
    """
    lines = list(origin_problems(lock, manifest_of))
    if lines:
        raise ModpmError(
            "what is locked is not of one origin",
            code="no-common-origin",
            why="\n".join(lines),
            hint="run `modpm lock`; if the registry lists them as of one origin, do not trust it",
        )
    lines = list(member_problems(lock.pins, manifest_of))
    if lines:
        raise ModpmError(
            "the class modules of a composition are not those that it names",
            code="broken-composition",
            why="\n".join(lines),
            hint="ask who published it; a release never changes, and neither does what it names",
        )


def origin_problems(lock: Lockfile, manifest_of: Callable[[Pin], AnyManifest]) -> Iterator[str]:
    """Give the origins of the modules that are asked for, where they should be of one, and are not.

    Args:
        lock: As for `check_members`.
        manifest_of: As for `check_members`.
    """
    asked = RequirementGraph(lock).requires[None] if lock.same_origin else ()
    origins: dict[ModuleName, str] = {}
    for pin in (lock.find(edge.module) for edge in asked):
        manifest = None if pin is None else manifest_of(pin)
        if pin is not None and isinstance(manifest, Manifest):
            origins[pin.module] = manifest.origin.digest
    if len(set(origins.values())) > 1:
        yield from (f"`{module}` was cut from {origin}" for module, origin in origins.items())


def member_problems(
    pins: Sequence[Pin], manifest_of: Callable[[Pin], AnyManifest]
) -> Iterator[str]:
    """Give which class modules of compositions are not what they must be, in words.

    Args:
        pins: As for `check_members`.
        manifest_of: As for `check_members`.
    """
    by_name = {str(pin.module): pin for pin in pins}
    for pin in pins:
        if not pin.is_composition:
            continue
        manifest = manifest_of(pin)
        modules = manifest.composition.modules if isinstance(manifest, CompositionManifest) else []
        for one in modules:
            why = _obstacle(one, by_name.get(one.name))
            if why is not None:
                yield f"{pin.module} {pin.version}: {one.name} {one.version} {why}"


def _obstacle(named: ComposedModule, found: Pin | None) -> str | None:
    if found is None:
        return "is not there"
    if found.is_composition:
        return "is a composition, and compositions are made of class modules"
    if found.version != named.version:
        return f"is wanted, and {found.version} is there"
    if found.digest != named.digest:
        return f"has digest {found.digest}, and the composition names {named.digest}"
    return None
