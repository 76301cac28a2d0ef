"""The file `signature.json`: a signed statement in a sigstore bundle (K-1 to K-4)."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.records import convert

MAX_BUNDLE_BYTES = 64 * 1024
MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"

_MAX_SHOWN = 1000

Hexadecimal = Annotated[
    str,
    msgspec.Meta(pattern=r"^[0-9a-f]{64}$(?!\n)", description="64 lower-case hexadecimal digits"),
]
Base64 = Annotated[str, msgspec.Meta(min_length=1)]

T = TypeVar("T", bound=msgspec.Struct)


class KeyHint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which key made the signature.

    Attributes:
        hint: The SHA-256 of the public key in PEM.
    """

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

    @classmethod
    def of(cls, payload: bytes, signature: bytes, hint: str) -> Bundle:
        """Return the bundle of a payload and its signature."""
        signed = EnvelopeSignature(base64.b64encode(signature).decode())
        envelope = Envelope(base64.b64encode(payload).decode(), PAYLOAD_TYPE, (signed,))
        return cls(MEDIA_TYPE, VerificationMaterial(KeyHint(hint)), envelope)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Bundle:
        """Read a bundle that nobody has vouched for.

        Raises:
            ModpmError: `bad-signature`.
        """
        return read_strictly(cls, data, where)

    def to_bytes(self) -> bytes:
        """Return the bundle as canonical JSON."""
        return canonical_json.encode(msgspec.to_builtins(self))

    def payload(self, where: str) -> bytes:
        """Return what is signed.

        Raises:
            ModpmError: `bad-signature`.
        """
        return _decoded(self.dsse_envelope.payload, "payload", where)

    def signature(self, where: str) -> bytes:
        """Return the signature.

        Raises:
            ModpmError: `bad-signature`.
        """
        return _decoded(self.dsse_envelope.signatures[0].sig, "signature", where)


def signed_message(payload: bytes) -> bytes:
    """Return what is signed of a payload: its pre-authentication encoding (DSSE)."""
    head = f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload)} "
    return head.encode() + payload


def read_strictly(kind: type[T], data: bytes, where: str) -> T:
    """Read a document of a signature.

    Raises:
        ModpmError: `bad-signature`.
    """
    try:
        raw = canonical_json.decode(data, where, MAX_BUNDLE_BYTES)
        return convert(raw, kind)
    except ModpmError as error:
        raise bad_signature(error.why or error.what, where) from None
    except msgspec.ValidationError as error:
        message = str(error)
        raise bad_signature(message[:1].lower() + message[1:], where) from None


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


def _decoded(text: str, what: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise bad_signature(f"the {what} is not base64", where) from None
