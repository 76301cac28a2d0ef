"""Signing a distribution, and verifying that one was signed, and with which key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import SIGNATURE_FILE, Distribution
from modpm.core.formats.manifest import MANIFEST_FILE
from modpm.core.formats.whole_files import read_error, sync_folder, write_error, write_new
from modpm.registry.signing.bundle import (
    MAX_BUNDLE_BYTES,
    Bundle,
    bad_signature,
    signed_message,
)
from modpm.registry.signing.keys import PublicKey, SigningKey
from modpm.registry.signing.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def signed_files(distribution: Distribution) -> dict[str, str]:
    """Return the digest of every file that a signature of a distribution is about (K-7)."""
    files = {name: file.digest for name, file in distribution.manifest.files.items()}
    return {MANIFEST_FILE: distribution.digest, **files}


def sign_distribution(distribution: Distribution, key: SigningKey) -> None:
    """Write the signature of a distribution that was verified into its folder.

    The same key gives the same bytes. A signature of another key is replaced.

    Raises:
        ModpmError: `disk-full`, `permission-denied` or `cannot-write`; what was there is
            unchanged.
    """
    manifest = distribution.manifest
    name = f"{manifest.name}=={manifest.version}"
    payload = Statement.of(name, signed_files(distribution), key.public).to_bytes()
    bundle = Bundle.of(payload, key.sign(signed_message(payload)), key.public.hint)
    _write(distribution.folder, bundle.to_bytes())


def _write(folder: Path, data: bytes) -> None:
    # Beside the folder, which a crash would leave with a file that no manifest names.
    temporary = folder.with_name(f".{folder.name}.signature.new")
    try:
        temporary.unlink(missing_ok=True)
        write_new(temporary, data)
        temporary.replace(folder / SIGNATURE_FILE)
        sync_folder(folder)
    except OSError as error:
        raise write_error(error, folder / SIGNATURE_FILE) from error


def is_signed(distribution: Distribution) -> bool:
    """Tell whether a distribution has a signature, whatever it is worth."""
    return (distribution.folder / SIGNATURE_FILE).is_file()


def verify_signature(
    data: bytes, files: Mapping[str, str], known: Iterable[PublicKey], where: str
) -> PublicKey:
    """Return the key that signed these files.

    Args:
        data: All of `signature.json`.
        files: Digest of every file of the release but `signature.json`.
        known: Keys that may have signed, for a signature that does not carry its own.
        where: The signature, for errors.

    Raises:
        ModpmError: `bad-signature`; `unknown-signer`, for a signature that does not carry its
            key, which is none of those that are known.
    """
    bundle = Bundle.from_bytes(data, where)
    payload = bundle.payload(where)
    statement = Statement.from_bytes(payload, where)
    hint = bundle.verification_material.public_key.hint
    key = _carried_key(statement, where) or _known_key(hint, known, where)
    if key.hint != hint:
        raise bad_signature("it carries another key than the one it names", where)
    if not key.has_signed(signed_message(payload), bundle.signature(where)):
        raise bad_signature("it was not made by its key, of what it says", where)
    statement.check(files, where)
    return key


def verify_distribution_signature(
    distribution: Distribution, known: Iterable[PublicKey] = ()
) -> PublicKey:
    """Return the key that signed a distribution that was verified and has a signature.

    Raises:
        ModpmError: As `verify_signature`; `unreadable-file`.
    """
    path = distribution.folder / SIGNATURE_FILE
    return verify_signature(
        read_signature(path), signed_files(distribution), known, where=str(path)
    )


def read_signature(path: Path) -> bytes:
    """Return a signature file, one byte above the limit at most.

    Raises:
        ModpmError: `unreadable-file`.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_BUNDLE_BYTES + 1)
    except OSError as error:
        raise read_error(error, path) from error


def claimed_signer(data: bytes, where: str) -> str | None:
    """Return the key that a signature says it was made with; nothing is verified.

    Raises:
        ModpmError: `bad-signature`.
    """
    statement = Statement.from_bytes(Bundle.from_bytes(data, where).payload(where), where)
    key = _carried_key(statement, where)
    return None if key is None else key.key_id


def _carried_key(statement: Statement, where: str) -> PublicKey | None:
    pem = statement.predicate.public_key
    if not isinstance(pem, str):
        return None
    try:
        return PublicKey.of_pem(pem)
    except ModpmError as error:
        raise bad_signature(f"the key that it carries: {error.why}", where) from None


def _known_key(hint: str, known: Iterable[PublicKey], where: str) -> PublicKey:
    found = next((key for key in known if key.hint == hint), None)
    if found is None:
        raise ModpmError(
            "nobody knows the key that the signature was made with",
            code="unknown-signer",
            where=where,
            why=f"the signature does not carry it; the SHA-256 of its PEM is {hint}",
            hint="get the public key from the owner, and run `modpm trust add NAMESPACE KEY.pub`",
        )
    return found
