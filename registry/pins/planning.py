"""Planning: what a project is to become, before anything in it is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats.names import normalize
from modpm.core.formats.requirements import parse_version
from modpm.registry.addresses import given_addresses
from modpm.registry.projects.editing import Replaced, edited
from modpm.registry.projects.lockfile import Lockfile, no_longer_measured
from modpm.registry.projects.project import PROJECT_FILE, lock_missing
from modpm.registry.projects.request import check_asked, check_locked
from modpm.registry.projects.requirement_graph import lock_problems, other_pins, out_of_date
from modpm.registry.projects.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from modpm.core.formats.names import ModuleName
    from modpm.core.formats.requirements import Requirement
    from modpm.registry.addresses import Address
    from modpm.registry.index import Release
    from modpm.registry.projects.editing import Edit
    from modpm.registry.projects.project import Project
    from modpm.registry.projects.request import Request


class Choice(msgspec.Struct, frozen=True):
    """What a project gets.

    Attributes:
        lock: What is to be installed.
        listed: What registries list of the releases that are chosen; None if nobody looked.
        lowered: Module to the reason why it gets a lower version than was locked.
        problems: Why modules and newer releases were left out that cannot be used.
    """

    lock: Lockfile
    listed: Mapping[ModuleName, Release] | None = None
    lowered: Mapping[ModuleName, str] = msgspec.field(default_factory=dict)
    problems: Sequence[ModpmError] = ()

    @property
    def yanked(self) -> dict[ModuleName, str]:
        """Module to the reason why its release was yanked, as far as somebody looked."""
        listed = (self.listed or {}).items()
        return {module: one.yanked for module, one in listed if one.yanked is not None}


class Plan(Choice, frozen=True, kw_only=True):
    """What a project is to become.

    Attributes:
        files_before: `modpm.toml` and `modpm.lock` as they were read; while they are the same,
            the plan holds.
        toml: `modpm.toml` as it is to be.
        saves: Whether `modpm.toml` and `modpm.lock` are to be written.
        addresses: The registries that may be asked, the first first.
        replaced: What `modpm.toml` asks for no longer, and what it asks for instead.
        unmeasured: Classifiers of other releases, of which `modpm.lock` says no longer how good
            they are.
    """

    files_before: tuple[bytes | None, ...]
    toml: bytes
    saves: bool = False
    addresses: tuple[Address, ...]
    replaced: tuple[Replaced, ...] = ()
    unmeasured: tuple[str, ...] = ()


def plan(place: Project, request: Request) -> Plan:
    """Choose what is to be installed.

    Raises:
        ModpmError: `not-locked` or `not-asked`, for what is to move or to go; `nothing-asked`;
            `lock-out-of-date` or `lock-missing`, if the lockfile may
            not change and has to; `offline`, if a registry has to be asked and may not; what
            `chosen_pins` and the readers of `modpm.toml`, `modpm.lock` and indexes raise.
    """
    from modpm.registry.pins.pinning import chosen_pins  # noqa: PLC0415 -- not to sync

    before, lock = place.files(), place.lock()
    toml = before[0] or b""
    old = place.parse_wishes(toml)
    check_asked(request.edit.remove, old, place)
    check_locked(request.moving, lock, place)
    if before[0] is None and not request.edit.add:
        raise _nothing_asked(place.root)
    given = given_addresses(request.registries, place.root, old.registries)
    edit = request.edit.keeping(old)
    edit = msgspec.structs.replace(edit, registries=given, namespaces=_moved(request, given))
    wishes = edit.applied(old)
    sources = Sources.of(place, wishes, request.registries)
    if lock is None and request.locked:
        raise lock_missing(place.root)
    lock = lock or Lockfile((), ())
    sources.check_given(request.named_namespaces, lock.pins)
    choice = chosen_pins(place, request, wishes, lock, sources)
    chosen = choice.lock
    edit = _settled(edit, chosen, sources.learned(chosen.pins))
    texts = Lockfile.of(edit.applied(old).all_requirements(), ()).requirements
    chosen = msgspec.structs.replace(chosen, requirements=texts)
    if request.locked:
        problems = lock_problems(lock, wishes, sources)
        if problems or chosen != lock:
            raise out_of_date(place, [*problems, *other_pins(lock, chosen)])
    toml = toml if edit.applied(old) == old else edited(toml, edit)
    saves = request.save and not request.locked
    return Plan(
        chosen,
        choice.listed,
        choice.lowered,
        choice.problems,
        files_before=before,
        toml=toml,
        saves=saves,
        addresses=sources.helping,
        replaced=edit.replaced(old) if saves else (),
        unmeasured=no_longer_measured(lock, chosen) if saves else (),
    )


def plan_of_lock(place: Project, request: Request) -> Plan:
    """Take `modpm.lock` as it is.

    Raises:
        ModpmError: `lock-missing`; `lock-out-of-date`, unless the lockfile is frozen; what the
            readers of `modpm.toml` and `modpm.lock` raise.
    """
    before = place.files()
    lock, wishes = place.locked(), place.parse_wishes(before[0] or b"")
    sources = Sources.of(place, wishes, request.registries)
    problems = [] if request.frozen else lock_problems(lock, wishes, sources)
    if problems:
        raise out_of_date(place, problems)
    toml = before[0] or b""
    return Plan(lock, files_before=before, toml=toml, addresses=sources.helping)


def _moved(request: Request, given: Sequence[Address]) -> Mapping[str, str]:
    """Return the first registry that the user names, for the namespaces that move to it (W-5)."""
    texts = request.moved_namespaces
    namespaces = [normalize(text) for text in ((texts,) if isinstance(texts, str) else texts)]
    if namespaces and not given:
        raise ModpmError(
            f"nothing says where `{namespaces[0]}` moves to",
            code="usage",
            hint="name its registry too, by `--registry URL`",
            exit_code=2,
        )
    return {namespace: given[0].name for namespace in namespaces}  # noqa: C420 -- given may be empty


def _settled(edit: Edit, chosen: Lockfile, learned: Edit) -> Edit:
    """Return an edit with what only choosing tells: bounds, and whose namespaces there are."""
    return msgspec.structs.replace(
        edit,
        add=tuple(_bounded(requirement, chosen) for requirement in edit.add),
        registries=(*edit.registries, *learned.registries),
        namespaces={**learned.namespaces, **edit.namespaces},
    )


def _bounded(requirement: Requirement, chosen: Lockfile) -> Requirement:
    pins = [pin for pin in chosen.pins if requirement.is_bare and pin.module == requirement.module]
    return requirement.compatible_with(parse_version(pins[0].version)) if pins else requirement


def _nothing_asked(root: Path) -> ModpmError:
    return ModpmError(
        "this project asks for nothing",
        code="nothing-asked",
        where=str(root),
        why=f"no requirement was given, and there is no `{PROJECT_FILE}`",
        hint="name a module, such as `modpm install cifar10/cat`, or run `modpm init`",
        exit_code=2,
    )
