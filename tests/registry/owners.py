"""Keys of those who sign releases in tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.formats.distribution import verify_distribution
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.signing.keys import SigningKey, new_key, read_signing_key
from modpm.registry.signing.signature import sign_distribution

if TYPE_CHECKING:
    from pathlib import Path


def made_key(path: Path) -> SigningKey:
    """Return a new key without a passphrase; it is left in a file, its public part beside it."""
    new_key(path)
    return read_signing_key(path, lambda: None)


def slip_in(folder: Path, registry: Path, key: SigningKey | None = None) -> None:
    """Publish a distribution as somebody does who does not care who may sign it."""
    distribution = verify_distribution(folder)
    if key is not None:
        sign_distribution(distribution, key)
    DirectoryRegistry(registry).publish([distribution])
