"""Which kind of registry an address names, and opening it.

A kind is imported when it is opened, so that nobody waits for a client library of another.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import unquote, urlsplit

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.registry.backends.protocol import Backend


class _Kind(NamedTuple):
    """Where a kind of registry is: a class that takes the location, and what it needs."""

    module: str
    class_name: str
    package: str
    extra: str | None


_DIRECTORY = _Kind("directory", "DirectoryRegistry", "", None)
_OBJECT_STORE = _Kind("object_store", "ObjectStoreRegistry", "obstore", "s3")
_STATIC = _Kind("static", "StaticRegistry", "httpx2", None)
_KINDS = {
    "s3": _OBJECT_STORE,
    "gs": _OBJECT_STORE,
    "az": _OBJECT_STORE,
    "hf": _Kind("hub", "HubRegistry", "huggingface_hub", None),
    "oci": _Kind("oci", "OciRegistry", "httpx2", None),
    "https": _STATIC,
    "http": _STATIC,
}


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
    if "://" not in url:
        # Unlike `Path.expanduser`, it leaves the `~` of nobody as it is.
        return os.path.normpath(base.absolute() / os.path.expanduser(url))  # noqa: PTH111 -- pathlib refuses names of unknown users
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _unknown_kind(url) from None
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return os.path.normpath(unquote(parts.path))
    if "@" in parts.netloc:
        raise _holds_password()
    if parts.scheme in _KINDS and parts.netloc and not parts.query and not parts.fragment:
        return url.rstrip("/")
    raise _unknown_kind(url)


def _unknown_kind(url: str) -> ModpmError:
    return ModpmError(
        f"`{url[:200]}` is not a kind of registry that modpm knows",
        code="unknown-registry-kind",
        hint=f"name a folder, or a URL of {', '.join(f'{kind}://' for kind in _KINDS)}",
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
    kind = _KINDS.get(scheme, _DIRECTORY)
    try:
        module = import_module(f"modpm.registry.backends.{kind.module}")
    except ModuleNotFoundError as error:
        if error.name != kind.package:
            raise
        raise _missing_extra(scheme, kind) from None
    return cast("Backend", getattr(module, kind.class_name)(location))


def _missing_extra(scheme: str, kind: _Kind) -> ModpmError:
    extra = f"[{kind.extra}]" if kind.extra is not None else ""
    return ModpmError(
        f"registries of {scheme}:// need the package `{kind.package}`",
        code="missing-extra",
        why="it is not installed",
        hint=f"pip install 'modpm{extra}'",
    )
