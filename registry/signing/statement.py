"""What is signed: an in-toto statement that names every file of a distribution (K-5 to K-9)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from modpm.core.formats import canonical_json
from modpm.core.formats.distribution import SIGNATURE_FILE
from modpm.registry.signing.bundle import Hexadecimal, bad_signature, read_strictly

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modpm.registry.signing.keys import PublicKey

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
MAX_RESOURCES = 64

_PREFIX = "sha256:"


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
    """What is said of the subject.

    Attributes:
        serialization: How the files became resources.
        resources: The files.
        public_key: The key that signs, in PEM; absent in what other programs sign.
    """

    serialization: Serialization
    resources: Annotated[tuple[Resource, ...], msgspec.Meta(min_length=1, max_length=MAX_RESOURCES)]
    public_key: Annotated[str, msgspec.Meta(max_length=1000)] | msgspec.UnsetType = msgspec.UNSET


class Statement(msgspec.Struct, frozen=True, rename="camel"):
    """The payload of a signature."""

    type: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    subject: Annotated[tuple[Subject, ...], msgspec.Meta(min_length=1, max_length=1)]
    predicate_type: Literal["https://model_signing/signature/v1.0"]
    predicate: Predicate

    @classmethod
    def of(cls, name: str, files: Mapping[str, str], key: PublicKey) -> Statement:
        """Return the statement of a distribution.

        Args:
            name: What people call it.
            files: Digest of every file but `signature.json`.
            key: The public part of the key that signs.
        """
        resources = tuple(
            Resource(file, "sha256", files[file].removeprefix(_PREFIX)) for file in sorted(files)
        )
        serialization = Serialization("files", "sha256", ignore_paths=(SIGNATURE_FILE,))
        predicate = Predicate(serialization, resources, key.pem)
        subject = Subject(name, SubjectDigest(_root_digest(resources)))
        return cls(STATEMENT_TYPE, (subject,), PREDICATE_TYPE, predicate)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Statement:
        """Read a statement; keys that are not known are ignored, as in-toto says (K-5).

        Raises:
            ModpmError: `bad-signature`.
        """
        return read_strictly(cls, data, where)

    def to_bytes(self) -> bytes:
        """Return the statement as canonical JSON."""
        return canonical_json.encode(msgspec.to_builtins(self))

    def check(self, files: Mapping[str, str], where: str) -> None:
        """Check that the statement is about exactly these files.

        Args:
            files: Digest of every file of the distribution but `signature.json`.
            where: The signature, for errors.

        Raises:
            ModpmError: `bad-signature`, naming what is missing, added and changed.
        """
        signed = {resource.name: resource.digest for resource in self.predicate.resources}
        if len(signed) < len(self.predicate.resources):
            raise bad_signature("it names a file twice", where)
        if self.subject[0].digest.sha256 != _root_digest(self.predicate.resources):
            raise bad_signature("its subject is not the digest of its resources", where)
        present = {name: digest.removeprefix(_PREFIX) for name, digest in files.items()}
        problems = [
            *(f"`{name}` is signed, and missing" for name in sorted(signed.keys() - present)),
            *(f"`{name}` is not signed" for name in sorted(present.keys() - signed)),
            *(
                f"`{name}` is not the file that was signed"
                for name in sorted(signed.keys() & present)
                if signed[name] != present[name]
            ),
        ]
        if problems:
            raise bad_signature("\n".join(problems), where)


def _root_digest(resources: tuple[Resource, ...]) -> str:
    joined = b"".join(bytes.fromhex(resource.digest) for resource in resources)
    return hashlib.sha256(joined).hexdigest()
