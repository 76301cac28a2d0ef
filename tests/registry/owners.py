"""Keys of those who sign releases in tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.registry.signing.keys import SigningKey, new_key, read_signing_key

if TYPE_CHECKING:
    from pathlib import Path


def made_key(path: Path) -> SigningKey:
    """Return a new key without a passphrase; it is left in a file, its public part beside it."""
    new_key(path)
    return read_signing_key(path, lambda: None)
