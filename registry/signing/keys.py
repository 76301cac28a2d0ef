"""Keys that sign releases: ECDSA on the curve secp256r1, kept in PEM files.

The library of cryptography is imported where a key is used, so that whoever only names keys does
not wait for it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_bytes
from modpm.core.system.whole_files import read_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec

MAX_KEY_FILE_BYTES = 16 * 1024

_BEGIN, _END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"
_LINE = 64
# What the DER of every public key on that curve begins with; a point of 64 bytes follows.
_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
_POINT_BYTES = 64


@dataclass(frozen=True)
class PublicKey:
    """The public part of a key: its SubjectPublicKeyInfo, in DER."""

    der: bytes

    @classmethod
    def of_pem(cls, text: str, where: str | None = None) -> PublicKey:
        """Read a public key in PEM; whether its point is on the curve is seen when it is used.

        Raises:
            ModpmError: `bad-key` (K-3).
        """
        lines = text.strip().split()
        body = " ".join(lines)
        if not (body.startswith(_BEGIN) and body.endswith(_END)):
            raise _bad_key("it is no public key in PEM", where)
        try:
            encoded = body.removeprefix(_BEGIN).removesuffix(_END).replace(" ", "")
            der = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise _bad_key("what is between its first and last line is not base64", where) from None
        if not der.startswith(_P256) or len(der) != len(_P256) + _POINT_BYTES:
            raise _bad_key("it is not one of the curve secp256r1", where)
        return cls(der)

    @property
    def key_id(self) -> str:
        """What the key is known by: the digest of its DER (K-3)."""
        return digest_bytes(self.der)

    @property
    def pem(self) -> str:
        """The key in PEM."""
        body = base64.b64encode(self.der).decode()
        lines = [body[i : i + _LINE] for i in range(0, len(body), _LINE)]
        return "".join(f"{line}\n" for line in (_BEGIN, *lines, _END))

    @property
    def hint(self) -> str:
        """What a bundle says of the key that made it (K-3)."""
        return hashlib.sha256(self.pem.encode()).hexdigest()

    def check(self, where: str | None = None) -> None:
        """Check that the key can be used at all.

        Raises:
            ModpmError: `bad-key`, if its point is not on the curve.
        """
        try:
            self._loaded()
        except ValueError:
            raise _bad_key("its point is not on the curve", where) from None

    def has_signed(self, message: bytes, signature: bytes) -> bool:
        """Tell whether a signature of a message was made with this key (K-4)."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 -- only for signatures

        try:
            self._loaded().verify(signature, message, _ecdsa())
        except (InvalidSignature, ValueError):
            return False
        return True

    def _loaded(self) -> ec.EllipticCurvePublicKey:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 -- as above
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 -- as above

        key = serialization.load_der_public_key(self.der)
        assert isinstance(key, ec.EllipticCurvePublicKey)  # the DER begins as such a key's does
        return key


@dataclass(frozen=True)
class SigningKey:
    """A whole key."""

    public: PublicKey
    _private: ec.EllipticCurvePrivateKey = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message; the same message has the same (K-4)."""
        return self._private.sign(message, _ecdsa())


def new_key(path: Path, passphrase: str | None = None) -> PublicKey:
    """Make a key: the private part in a file that only its owner reads, the public beside it.

    The private part is encrypted if there is a passphrase.

    Raises:
        ModpmError: `key-exists`; `usage`, if the file has the ending of public keys.
    """
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 -- as above
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 -- as above

    public_path = public_key_path(path)
    if path == public_path:
        raise ModpmError(
            f"`{path.name}` would be taken for a public key",
            code="usage",
            where=str(path),
            hint="give the private key another ending, such as `.pem`",
            exit_code=2,
        )
    for taken in (path, public_path):
        if os.path.lexists(taken):
            raise _key_exists(taken)
    private = ec.generate_private_key(ec.SECP256R1())
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    public = _public(private)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    public_path.write_text(public.pem, encoding="ascii")
    return public


def public_key_path(path: Path) -> Path:
    """Return where the public part of a key is kept."""
    return path.with_suffix(".pub")


def read_public_key(path: Path) -> PublicKey:
    """Read a public key from a file.

    Raises:
        ModpmError: `bad-key`, `unreadable-file`.
    """
    text = _read(path).decode("ascii", errors="replace")
    if "PRIVATE KEY" in text:
        raise _bad_key("it is a private key, which is to stay secret", str(path))
    key = PublicKey.of_pem(text, str(path))
    key.check(str(path))
    return key


def read_signing_key(path: Path, passphrase: Callable[[], str | None]) -> SigningKey:
    """Read a private key from a file; the passphrase is asked for only if it is encrypted.

    Raises:
        ModpmError: `bad-key`, `wrong-passphrase`, `unreadable-file`.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 -- as above
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 -- as above
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 -- as above

    data = _read(path)
    secret = passphrase() if b"ENCRYPTED" in data else None
    if b"ENCRYPTED" in data and not secret:
        raise _wrong_passphrase(path, "it is encrypted, and no passphrase was given")
    try:
        key = serialization.load_pem_private_key(data, secret.encode() if secret else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if secret:
            raise _wrong_passphrase(path, "the passphrase does not open it") from None
        raise _bad_key("it is no private key in PEM", str(path)) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != ec.SECP256R1.name:
        raise _bad_key("it is not one of the curve secp256r1", str(path))
    return SigningKey(_public(key), key)


def _public(private: ec.EllipticCurvePrivateKey) -> PublicKey:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 -- as above

    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return PublicKey(private.public_key().public_bytes(encoding, form))


def _ecdsa() -> ec.ECDSA:
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 -- as above
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 -- as above

    # No number drawn by chance, whose weakness would give the key away (RFC 6979).
    return ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


def _read(path: Path) -> bytes:
    data = read_file(path, MAX_KEY_FILE_BYTES)
    if len(data) > MAX_KEY_FILE_BYTES:
        raise _bad_key("it is too large for a key", str(path))
    return data


def _bad_key(why: str, where: str | None) -> ModpmError:
    return ModpmError(
        "the key cannot be used",
        code="bad-key",
        where=where,
        why=why,
        hint="make one with `modpm key new`",
    )


def _wrong_passphrase(path: Path, why: str) -> ModpmError:
    return ModpmError(
        "the key cannot be opened",
        code="wrong-passphrase",
        where=str(path),
        why=why,
        hint="give it where it is asked for, or in `MODPM_KEY_PASSPHRASE`",
    )


def _key_exists(path: Path) -> ModpmError:
    return ModpmError(
        f"`{path.name}` exists",
        code="key-exists",
        where=str(path),
        why="releases may be signed with it, and who lost a key cannot sign as before",
        hint="choose another file with `-o`",
    )
