"""Which kind of registry an address names, and opening it.

A kind is imported when it is opened, so that nobody waits for a client library of another.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote, urlsplit

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from pathlib import Path

    from modpm.registry.backends.protocol import Backend


ENTRY_POINTS = "modpm.backends"
"""Where other packages name their kinds: a scheme, and a class that is called with a location."""

_OBJECT_STORE, _STATIC = "object_store.ObjectStoreRegistry", "static.StaticRegistry"
_KINDS = {
    "": "directory.DirectoryRegistry",
    **dict.fromkeys(("s3", "gs", "az"), _OBJECT_STORE),
    "hf": "hub.registry.HubRegistry",
    "oci": "oci.registry.OciRegistry",
    **dict.fromkeys(("https", "http"), _STATIC),
}

_LIKE_A_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
"""Two letters at least: one is a drive of Windows."""


def is_remote(location: str) -> bool:
    """Tell whether a location, as `locate` gives it, is not on this machine's file system."""
    return "://" in location


def locate(url: str, base: Path) -> str:
    """Return the absolute path or the URL of a registry, by a path, or a URL of a known kind.

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
        # The address itself is not shown: whatever stands before the `@` is secret.
        raise ModpmError(
            "the address of a registry must not hold a user or a password",
            code="usage",
            why="it is written into lockfiles",
            hint="give credentials in the environment",
            exit_code=2,
        )
    is_known = parts.scheme in _KINDS or _of_others(parts.scheme) is not None
    if parts.netloc and not parts.query and not parts.fragment and is_known:
        return url.rstrip("/")
    raise _unknown_kind(url)


def _of_others(scheme: str) -> EntryPoint | None:
    """Return the kind of registry that another installed package brings for a scheme."""
    from importlib.metadata import entry_points  # noqa: PLC0415 -- slow, and seldom needed

    return next(iter(entry_points(group=ENTRY_POINTS, name=scheme)), None)


def _unknown_kind(url: str) -> ModpmError:
    return ModpmError(
        f"`{url[:200]}` is not a kind of registry that modpm knows",
        code="unknown-registry-kind",
        hint=f"name a folder (`./{url[:200]}` if this is one), or a URL of "
        + ", ".join(f"{kind}://" for kind in _KINDS if kind),
        exit_code=2,
    )


def open_backend(location: str) -> Backend:
    """Return the registry at a location that `locate` gave; nothing is read yet.

    Raises:
        ModpmError: `missing-extra`, if the client library of this kind is not installed.
    """
    scheme = urlsplit(location).scheme if is_remote(location) else ""
    if scheme not in _KINDS:
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
    try:
        name, _, kind = _KINDS[scheme].rpartition(".")
        module = import_module(f"modpm.registry.backends.{name}")
    except ModuleNotFoundError as error:
        if error.name != "obstore":  # no other kind needs more than modpm itself does
            raise
        raise ModpmError(
            f"registries of {scheme}:// need the package `obstore`",
            code="missing-extra",
            why="it is not installed",
            hint="pip install 'modpm[s3]'",
        ) from None
    return cast("Backend", getattr(module, kind)(location))
