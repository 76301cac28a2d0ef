"""What is said of names and versions that cannot be had, whatever kind a registry is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.formats.names import ModuleName
    from modpm.registry.index import Release

_HIGHER = "a release never changes: give {} a higher version"


def network_failed(what: str, where: str, why: str, hint: str) -> ModpmError:
    """Return the error of a server that gives no answer that helps."""
    return ModpmError(what, code="network-failed", where=where, why=why, hint=hint)


def not_authorized(what: str, where: str, why: str, hint: str) -> ModpmError:
    """Return the error of a server that does not accept who asks."""
    return ModpmError(what, code="not-authorized", where=where, why=why, hint=hint)


def not_listed(module: ModuleName, location: str) -> ModpmError:
    """Return the error of a module that a registry does not list."""
    return ModpmError(
        f"there is no module `{module}`",
        code="unknown-module",
        where=f"registry {location}",
        hint="check the name, or publish it first",
    )


def cannot_list(location: str, why: str, otherwise: str = "") -> ModpmError:
    """Return the error of a registry that does not say which modules it has."""
    return ModpmError(
        "the registry does not say which modules it has",
        code="cannot-list",
        where=location,
        why=why,
        hint="name modules by their whole names, such as `cifar10/cat`, and in modpm.toml the "
        f'registries of their namespaces, such as `namespaces = {{ cifar10 = "hub" }}`{otherwise}',
    )


def version_taken(
    module: ModuleName,
    version: str,
    why: str,
    location: str,
    *,
    how: str = "with other bytes",
    hint: str = _HIGHER.format("this one"),
) -> ModpmError:
    """Return the error of a release whose version is published with other bytes."""
    return ModpmError(
        f"`{module}` {version} is published already, {how}",
        code="version-taken",
        where=f"registry {location}",
        why=why,
        hint=hint,
    )


class Conflict(NamedTuple):
    """A release whose version is published otherwise: how, and why it is not the same."""

    module: ModuleName
    version: str
    how: str
    why: str


def conflict(listed: Release, module: ModuleName, release: Release) -> Conflict | None:
    """Return why a release is not the one that is listed: other bytes, or another signature (V-7).

    A signature that is not published yet is another one, too.
    """
    if listed.digest != release.digest:
        how = "with other bytes"
        why = f"the published release has digest {listed.digest}, this one {release.digest}"
    elif release.signature is not None and listed.signature is None:
        how, why = "without a signature", f"{release.signer} is to sign it"
    elif None not in (release.signer, listed.signer) and release.signer != listed.signer:
        how = "signed with another key"
        why = f"it is signed with {listed.signer}, and not with {release.signer}"
    else:
        return None
    return Conflict(module, listed.version, how, why)


def refuse_conflicts(conflicts: Sequence[Conflict], location: str) -> None:
    """Refuse to publish, if there are releases that are published otherwise; all are named.

    Raises:
        ModpmError: `version-taken`.
    """
    if not conflicts:
        return
    first, *others = conflicts
    if not others:
        raise version_taken(first.module, first.version, first.why, location, how=first.how)
    raise ModpmError(
        f"{len(conflicts)} releases are published already, otherwise than these",
        code="version-taken",
        where=f"registry {location}",
        why="\n".join(f"`{one.module}` {one.version}, {one.how}: {one.why}" for one in conflicts),
        hint=f"nothing was changed there: {_HIGHER.format('these')}",
    )


def check_same(listed: Release, module: ModuleName, release: Release, location: str) -> None:
    """Refuse a release whose version is published otherwise.

    Raises:
        ModpmError: `version-taken`.
    """
    found = conflict(listed, module, release)
    refuse_conflicts([found] if found else [], location)
