"""Which kind of registry an address names, and opening it.

A kind is imported when it is opened, so that nobody waits for a client library of another.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import unquote, urlsplit

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from pathlib import Path

    from modpm.registry.backends.protocol import Backend


class _Kind(NamedTuple):
    """Where a kind of registry is: a class that takes the location."""

    module: str
    class_name: str


ENTRY_POINTS = "modpm.backends"
"""Where other packages name their kinds: a scheme, and a class that is called with a location."""

_DIRECTORY = _Kind("directory", "DirectoryRegistry")
_OBJECT_STORE = _Kind("object_store", "ObjectStoreRegistry")
_STATIC = _Kind("static", "StaticRegistry")
_KINDS = {
    "s3": _OBJECT_STORE,
    "gs": _OBJECT_STORE,
    "az": _OBJECT_STORE,
    "hf": _Kind("hub", "HubRegistry"),
    "oci": _Kind("oci", "OciRegistry"),
    "https": _STATIC,
    "http": _STATIC,
}

_LIKE_A_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
"""Two letters at least: one is a drive of Windows."""


def is_remote(location: str) -> bool:
    """Tell whether a location, as `locate` gives it, is not on this machine's file system."""
    return "://" in location


def locate(url: str, base: Path) -> str:
    """Return the absolute path or the URL of a registry.

    Args:
        url: A path, a `file://` URL, or a URL of a kind that modpm knows.
        base: What a relative path is relative to.

    Raises:
        ModpmError: `unknown-registry-kind`, or `usage` for an address with a password in it.
    """
    if "://" not in url and _LIKE_A_SCHEME.match(url) is None:
        # Unlike `Path.expanduser`, it leaves the `~` of nobody as it is.
        return os.path.normpath(base.absolute() / os.path.expanduser(url))  # noqa: PTH111 -- pathlib refuses names of unknown users
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _unknown_kind(url) from None
    if "://" not in url:
        raise _unknown_kind(url)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return os.path.normpath(unquote(parts.path))
    if "@" in parts.netloc:
        raise _holds_password()
    if parts.netloc and not parts.query and not parts.fragment and _is_known(parts.scheme):
        return url.rstrip("/")
    raise _unknown_kind(url)


def _is_known(scheme: str) -> bool:
    return scheme in _KINDS or _of_others(scheme) is not None


def _of_others(scheme: str) -> EntryPoint | None:
    """Return the kind of registry that another installed package brings for a scheme."""
    from importlib.metadata import entry_points  # noqa: PLC0415 -- slow, and seldom needed

    return next(iter(entry_points(group=ENTRY_POINTS, name=scheme)), None)


def _unknown_kind(url: str) -> ModpmError:
    return ModpmError(
        f"`{url[:200]}` is not a kind of registry that modpm knows",
        code="unknown-registry-kind",
        hint=f"name a folder (`./{url[:200]}` if this is one), or a URL of "
        + ", ".join(f"{kind}://" for kind in _KINDS),
        exit_code=2,
    )


def _holds_password() -> ModpmError:
    # The address itself is not shown: whatever stands before the `@` is secret.
    return ModpmError(
        "the address of a registry must not hold a user or a password",
        code="usage",
        why="it is written into lockfiles",
        hint="give credentials in the environment",
        exit_code=2,
    )


def open_backend(location: str) -> Backend:
    """Return the registry at a location; nothing is read yet.

    Args:
        location: As `locate` gives it.

    Raises:
        ModpmError: `missing-extra`, if the client library of this kind is not installed.
    """
    scheme = urlsplit(location).scheme if is_remote(location) else ""
    kind = _KINDS.get(scheme) if scheme else _DIRECTORY
    if kind is None:
        return _opened_by_others(scheme, location)
    try:
        module = import_module(f"modpm.registry.backends.{kind.module}")
    except ModuleNotFoundError as error:
        if error.name != "obstore":  # no other kind needs more than modpm itself does
            raise
        raise ModpmError(
            f"registries of {scheme}:// need the package `obstore`",
            code="missing-extra",
            why="it is not installed",
            hint="pip install 'modpm[s3]'",
        ) from None
    return cast("Backend", getattr(module, kind.class_name)(location))


def _opened_by_others(scheme: str, location: str) -> Backend:
    found = _of_others(scheme)
    if found is None:
        raise _unknown_kind(location)
    try:
        return cast("Backend", found.load()(location))
    except ModpmError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a package does when it is loaded
        raise ModpmError(
            f"the package that brings {scheme}:// cannot be used",
            code="unknown-registry-kind",
            where=f"{found.value}, of {found.dist.name if found.dist else 'a package'}",
            why=f"{type(error).__name__}: {error}"[:500],
            hint="upgrade it, or remove it",
            exit_code=2,
        ) from None
