"""`modpm trust`: saying whose signatures are trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.registry.signing.trusted_keys import (
    TrustFile,
    accept_unsigned,
    distrust_key,
    refuse_unsigned,
    trust_key,
)
from modpm.registry.system.errors import explained

if TYPE_CHECKING:
    from modpm.registry.signing.trusted_keys import TrustedKey


def add(namespace: str, key: str | None = None, *, unsigned: bool = False) -> TrustedKey | None:
    """Trust a key with the releases of a namespace, and no key that was not added.

    Args:
        namespace: The namespace.
        key: The file of a public key, or the id of a key.
        unsigned: Accept unsigned releases of the namespace.

    Returns:
        What is trusted; None if no key was named.

    Raises:
        ModpmError: `usage`, if neither is asked; what `trust_key` and `accept_unsigned` raise.
    """
    _check_named(key, unsigned)
    with explained("change whom you trust"):
        if unsigned:
            accept_unsigned(namespace)
        return None if key is None else trust_key(namespace, key)


def remove(namespace: str, key: str | None = None, *, unsigned: bool = False) -> TrustedKey | None:
    """Trust a key with the releases of a namespace no longer.

    Args:
        namespace: The namespace.
        key: The file of a public key, or the id of a key.
        unsigned: Refuse unsigned releases of the namespace again.

    Returns:
        What is trusted no longer; None if no key was named.

    Raises:
        ModpmError: `usage`, if neither is asked; what `distrust_key` and `refuse_unsigned` raise.
    """
    _check_named(key, unsigned)
    with explained("change whom you trust"):
        if unsigned:
            refuse_unsigned(namespace)
        return None if key is None else distrust_key(namespace, key)


def list() -> TrustFile:  # noqa: A001 -- the verb's name
    """Return the keys that are trusted, and with what.

    Raises:
        ModpmError: `invalid-trust`.
    """
    return TrustFile.of_user()


def _check_named(key: str | None, unsigned: bool) -> None:
    if key is None and not unsigned:
        raise ModpmError(
            "neither a key nor `--unsigned` is named",
            code="usage",
            hint="give the file of a public key, its key id, or `--unsigned`",
            exit_code=2,
        )
