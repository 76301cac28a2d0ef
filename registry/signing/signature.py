"""The file `signature.json`: which files a release has, and that a key has signed it (K-1 to K-9).

What is signed is an in-toto statement in a sigstore bundle, as model-signing has them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.distribution import SIGNATURE_FILE, Distribution
from modpm.core.formats.manifest import MANIFEST_FILE
from modpm.core.formats.records import convert
from modpm.core.system.whole_files import (
    read_file,
    sync_folder,
    write_error,
    write_new,
)
from modpm.registry.signing.keys import PublicKey, SigningKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

MAX_BUNDLE_BYTES = 64 * 1024
MAX_RESOURCES = 64
MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"

_MAX_SHOWN = 1000
_PREFIX = "sha256:"

Hexadecimal = Annotated[
    str,
    msgspec.Meta(pattern=r"^[0-9a-f]{64}$(?!\n)", description="64 lower-case hexadecimal digits"),
]
Base64 = Annotated[str, msgspec.Meta(min_length=1)]

T = TypeVar("T", bound=msgspec.Struct)


class KeyHint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which key made the signature: the SHA-256 of the public key in PEM."""

    hint: Hexadecimal


class VerificationMaterial(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What a signature is verified with; entries of transparency logs are not supported."""

    public_key: KeyHint
    tlog_entries: Annotated[tuple[None, ...], msgspec.Meta(max_length=0)] = ()


class EnvelopeSignature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The signature itself, in base64."""

    sig: Base64
    keyid: Annotated[str, msgspec.Meta(max_length=200)] = ""


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The DSSE envelope: what is signed, in base64, and its signature."""

    payload: Base64
    payload_type: Literal["application/vnd.in-toto+json"]
    signatures: Annotated[tuple[EnvelopeSignature, ...], msgspec.Meta(min_length=1, max_length=1)]


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The whole file."""

    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]
    verification_material: VerificationMaterial
    dsse_envelope: Envelope


# Keys of a statement that are not known are ignored, as in-toto says (K-5).


class SubjectDigest(msgspec.Struct, frozen=True):
    """The SHA-256 over the digests of all resources."""

    sha256: Hexadecimal


class Subject(msgspec.Struct, frozen=True):
    """The distribution as a whole; its name is for people."""

    name: Annotated[str, msgspec.Meta(max_length=1000)]
    digest: SubjectDigest


class Resource(msgspec.Struct, frozen=True):
    """One file."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    algorithm: Literal["sha256"]
    digest: Hexadecimal


class Serialization(msgspec.Struct, frozen=True):
    """How the files became resources: each file one, but those that are ignored."""

    method: Literal["files"]
    hash_type: Literal["sha256"]
    allow_symlinks: bool = False
    ignore_paths: tuple[str, ...] = ()


class Predicate(msgspec.Struct, frozen=True):
    """What is said of the subject; other programs leave out the key that signs, in PEM."""

    serialization: Serialization
    resources: Annotated[tuple[Resource, ...], msgspec.Meta(min_length=1, max_length=MAX_RESOURCES)]
    public_key: Annotated[str, msgspec.Meta(max_length=1000)] | msgspec.UnsetType = msgspec.UNSET


class Statement(msgspec.Struct, frozen=True, rename="camel"):
    """The payload of a signature."""

    type: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    subject: Annotated[tuple[Subject, ...], msgspec.Meta(min_length=1, max_length=1)]
    predicate_type: Literal["https://model_signing/signature/v1.0"]
    predicate: Predicate


def read_strictly(kind: type[T], data: bytes, where: str) -> T:
    """Read a bundle or statement that nobody has vouched for.

    Raises:
        ModpmError: `bad-signature`.
    """
    try:
        return convert(canonical_json.decode(data, where, MAX_BUNDLE_BYTES), kind)
    except ModpmError as error:
        raise bad_signature(error.why or error.what, where) from None
    except msgspec.ValidationError as error:
        message = str(error)
        raise bad_signature(message[:1].lower() + message[1:], where) from None


def signed_files(distribution: Distribution) -> dict[str, str]:
    """Return the digest of every file that a signature of a distribution is about (K-7)."""
    files = {name: file.digest for name, file in distribution.manifest.files.items()}
    return {MANIFEST_FILE: distribution.digest, **files}


def is_signed(distribution: Distribution) -> bool:
    """Tell whether a distribution has a signature, whatever it is worth."""
    return (distribution.folder / SIGNATURE_FILE).is_file()


def sign_distribution(distribution: Distribution, key: SigningKey) -> None:
    """Write the signature of a distribution that was verified into its folder.

    The same key gives the same bytes. A signature of another key is replaced.

    Raises:
        ModpmError: `disk-full`, `permission-denied` or `cannot-write`; what was there is
            unchanged.
    """
    payload = _encoded(_statement(distribution, key.public))
    signature = EnvelopeSignature(base64.b64encode(key.sign(_signed_message(payload))).decode())
    envelope = Envelope(base64.b64encode(payload).decode(), PAYLOAD_TYPE, (signature,))
    material = VerificationMaterial(KeyHint(key.public.hint))
    _write(distribution.folder, _encoded(Bundle(MEDIA_TYPE, material, envelope)))


def verify_signature(
    data: bytes, files: Mapping[str, str], known: Iterable[PublicKey], where: str
) -> PublicKey:
    """Return the key that signed the files of a release, by their digests.

    For a signature that does not carry its key, it is one of those that are `known`.

    Raises:
        ModpmError: `bad-signature`; `unknown-signer`, for a signature that does not carry its
            key, which is none of those that are known.
    """
    bundle, payload, statement = _opened(data, where)
    hint = bundle.verification_material.public_key.hint
    key = _carried_key(statement, where) or _known_key(hint, known, where)
    if key.hint != hint:
        raise bad_signature("it carries another key than the one it names", where)
    signature = _decoded(bundle.dsse_envelope.signatures[0].sig, "signature", where)
    if not key.has_signed(_signed_message(payload), signature):
        raise bad_signature("it was not made by its key, of what it says", where)
    _check_is_about(statement, files, where)
    return key


def verify_distribution_signature(
    distribution: Distribution, known: Iterable[PublicKey] = ()
) -> PublicKey:
    """Return the key that signed a distribution that was verified and has a signature.

    Raises:
        ModpmError: As `verify_signature`; `unreadable-file`.
    """
    path = distribution.folder / SIGNATURE_FILE
    return verify_signature(read_signature(path), signed_files(distribution), known, str(path))


def read_signature(path: Path) -> bytes:
    """Return a signature file, one byte above the limit at most.

    Raises:
        ModpmError: `unreadable-file`.
    """
    return read_file(path, MAX_BUNDLE_BYTES)


def claimed_signer(data: bytes, where: str) -> str | None:
    """Return the key that a signature says it was made with; nothing is verified.

    Raises:
        ModpmError: `bad-signature`.
    """
    _, _, statement = _opened(data, where)
    key = _carried_key(statement, where)
    return None if key is None else key.key_id


def bad_signature(why: str, where: str) -> ModpmError:
    """Return the error of a signature that proves nothing; `why` may quote what it holds."""
    shown = "".join(c if c.isprintable() or c == "\n" else "?" for c in why[:_MAX_SHOWN])
    return ModpmError(
        "the signature is not valid",
        code="bad-signature",
        where=where,
        why=shown,
        hint="do not use the release; ask its owner to sign it again, as a higher version",
    )


def _statement(distribution: Distribution, key: PublicKey) -> Statement:
    resources = tuple(
        Resource(name, "sha256", digest.removeprefix(_PREFIX))
        for name, digest in sorted(signed_files(distribution).items())
    )
    serialization = Serialization("files", "sha256", ignore_paths=(SIGNATURE_FILE,))
    manifest, digest = distribution.manifest, SubjectDigest(_root_digest(resources))
    subject = Subject(f"{manifest.name}=={manifest.version}", digest)
    predicate = Predicate(serialization, resources, key.pem)
    return Statement(STATEMENT_TYPE, (subject,), PREDICATE_TYPE, predicate)


def _check_is_about(statement: Statement, files: Mapping[str, str], where: str) -> None:
    """Check that a statement names exactly these files, or say which are missing or others."""
    resources = statement.predicate.resources
    signed = {resource.name: resource.digest for resource in resources}
    if len(signed) < len(resources):
        raise bad_signature("it names a file twice", where)
    if statement.subject[0].digest.sha256 != _root_digest(resources):
        raise bad_signature("its subject is not the digest of its resources", where)
    present = {name: digest.removeprefix(_PREFIX) for name, digest in files.items()}
    both = sorted(signed.keys() & present)
    problems = [f"`{name}` is signed, and missing" for name in sorted(signed.keys() - present)]
    problems += [f"`{name}` is not signed" for name in sorted(present.keys() - signed)]
    changed = (name for name in both if signed[name] != present[name])
    problems += [f"`{name}` is not the file that was signed" for name in changed]
    if problems:
        raise bad_signature("\n".join(problems), where)


def _root_digest(resources: tuple[Resource, ...]) -> str:
    joined = b"".join(bytes.fromhex(resource.digest) for resource in resources)
    return hashlib.sha256(joined).hexdigest()


def _signed_message(payload: bytes) -> bytes:
    """Return what is signed of a payload: its pre-authentication encoding (DSSE)."""
    return f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload)} ".encode() + payload


def _encoded(document: msgspec.Struct) -> bytes:
    return canonical_json.encode(msgspec.to_builtins(document))


def _opened(data: bytes, where: str) -> tuple[Bundle, bytes, Statement]:
    bundle = read_strictly(Bundle, data, where)
    payload = _decoded(bundle.dsse_envelope.payload, "payload", where)
    return bundle, payload, read_strictly(Statement, payload, where)


def _decoded(text: str, what: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise bad_signature(f"the {what} is not base64", where) from None


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
