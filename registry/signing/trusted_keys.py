"""The user's trust file: the keys that may sign the releases of a namespace (K-10, K-11)."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.digest import Digest, parse_digest
from modpm.core.formats.manifest import Text
from modpm.core.formats.names import normalise
from modpm.core.formats.records import (
    Problem,
    Record,
    check_format_version,
    parse_record,
    to_plain,
)
from modpm.core.formats.whole_files import write_file
from modpm.registry.signing.keys import PublicKey, read_public_key
from modpm.registry.system.durable import locked
from modpm.registry.system.home import home, trust_path

FORMAT_VERSION = 1
_LOCK_FILE = ".trust.lock"


class TrustedKey(Record, frozen=True, kw_only=True):
    """A key that may sign the releases of a namespace.

    Attributes:
        namespace: The namespace, normalised.
        key_id: What the key is known by.
        public_key: The key, in PEM; None where only its id was given, which is enough for
            signatures that carry their key.
    """

    namespace: Text
    key_id: Digest
    public_key: Text | None = None


class TrustFile(Record, frozen=True, kw_only=True):
    """Whom a user trusts, in all projects.

    Attributes:
        format_version: The version of this format.
        keys: By namespace and key id, ascending.
        unsigned: Namespaces whose unsigned releases are accepted, ascending.
        first_used: Namespace to the key that its releases were signed with when the first of them
            was installed; of namespaces that no key was added for.
    """

    format_version: int = FORMAT_VERSION
    keys: list[TrustedKey] = msgspec.field(default_factory=list)
    unsigned: list[Text] = msgspec.field(default_factory=list)
    first_used: dict[Text, Digest] = msgspec.field(default_factory=dict)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Self:
        """Read a trust file.

        Raises:
            ModpmError: `invalid-trust`, naming every problem; `unknown-format-version`,
                `invalid-json` or `too-large`.
        """
        raw = canonical_json.decode(data, where)
        check_format_version(raw, FORMAT_VERSION, what="the trust file", where=where)
        return parse_record(
            cls,
            data,
            what="the trust file cannot be used",
            code="invalid-trust",
            where=where,
            check=_problems,
            hint="mend it, or remove it and run `modpm trust add` again",
        )

    @classmethod
    def of_user(cls) -> Self:
        """Read the trust file under `MODPM_HOME`; an empty one where there is none.

        Raises:
            ModpmError: As `from_bytes`.
        """
        path = trust_path()
        try:
            with path.open("rb") as file:
                data = file.read(canonical_json.MAX_SIZE_BYTES + 1)
        except FileNotFoundError:
            return cls()
        return cls.from_bytes(data, str(path))

    def to_bytes(self) -> bytes:
        """Return the file as canonical JSON."""
        return canonical_json.encode(to_plain(self))

    def ids(self, namespace: str) -> frozenset[str]:
        """Return the ids of the keys that may sign the releases of a namespace."""
        return frozenset(key.key_id for key in self.keys if key.namespace == namespace)

    def public_keys(self, namespace: str) -> tuple[PublicKey, ...]:
        """Return those of the keys that are there whole."""
        return tuple(
            PublicKey.of_pem(key.public_key)
            for key in self.keys
            if key.namespace == namespace and key.public_key is not None
        )


def trust_key(namespace: str, key: str) -> TrustedKey:
    """Let a key sign the releases of a namespace, in all projects of this user.

    The key of its first use is forgotten: one that was added goes before.

    Args:
        namespace: The namespace.
        key: The file of the public key, or a key id.

    Raises:
        ModpmError: `invalid-name`, `bad-key`, `invalid-digest`, `unreadable-file`; what
            `TrustFile.of_user` raises.
    """
    key_id, pem = _named(key)
    trusted = TrustedKey(namespace=normalise(namespace), key_id=key_id, public_key=pem)
    _change(lambda file: _forgetting(_with_keys(file, [*file.keys, trusted]), trusted.namespace))
    return trusted


def distrust_key(namespace: str, key: str) -> TrustedKey:
    """Take back that a key may sign the releases of a namespace; that of its first use, too.

    Args:
        namespace: The namespace.
        key: The file of the public key, or the key id.

    Raises:
        ModpmError: `not-trusted`; as `trust_key`.
    """
    normalised = normalise(namespace)
    key_id, _ = _named(key)
    file = TrustFile.of_user()
    found = [k for k in file.keys if (k.namespace, k.key_id) == (normalised, key_id)]
    if found:
        _change(lambda file: _with_keys(file, [k for k in file.keys if k not in found]))
        return found[0]
    if file.first_used.get(normalised) != key_id:
        raise _not_trusted(f"the key {key_id} is not trusted with `{normalised}`")
    _change(lambda file: _forgetting(file, normalised))
    return TrustedKey(namespace=normalised, key_id=key_id)


def remember_signers(signers: Mapping[str, str]) -> None:
    """Keep the keys of namespaces that are used for the first time, as ssh does of hosts (K-13).

    Raises:
        ModpmError: `other-signer`, if somebody else has kept another meanwhile; what
            `TrustFile.of_user` raises.
    """
    if not _unknown(signers, TrustFile.of_user()):
        return

    def change(file: TrustFile) -> TrustFile:
        new = _unknown(signers, file)
        for namespace in signers.keys() & file.first_used.keys():
            check_first_use(namespace, signers[namespace], file.first_used[namespace])
        first_used = dict(sorted({**file.first_used, **new}.items()))
        return msgspec.structs.replace(file, first_used=first_used)

    _change(change)


def check_first_use(namespace: str, recorded: str, known: str) -> None:
    """Check that a project and its user have recorded one key for a namespace.

    Raises:
        ModpmError: `other-signer`, naming both.
    """
    if recorded != known:
        raise ModpmError(
            f"modpm.lock and you know `{namespace}` by different keys",
            code="other-signer",
            why=f"modpm.lock has recorded {recorded}; the first that you used was {known}",
            hint="ask its owner, not the registry, which key is theirs; then run "
            f"`modpm trust add {namespace} KEY.pub`",
        )


def accept_unsigned(namespace: str) -> str:
    """Accept unsigned releases of a namespace, though others of it were signed.

    Returns:
        The namespace, normalised.

    Raises:
        ModpmError: `invalid-name`; what `TrustFile.of_user` raises.
    """
    normalised = normalise(namespace)
    _change(lambda file: _with_unsigned(file, {*file.unsigned, normalised}))
    return normalised


def refuse_unsigned(namespace: str) -> str:
    """Take back that unsigned releases of a namespace are accepted.

    Returns:
        The namespace, normalised.

    Raises:
        ModpmError: `not-trusted`, `invalid-name`; what `TrustFile.of_user` raises.
    """
    normalised = normalise(namespace)
    if normalised not in TrustFile.of_user().unsigned:
        raise _not_trusted(f"unsigned releases of `{normalised}` are not accepted")
    _change(lambda file: _with_unsigned(file, {*file.unsigned} - {normalised}))
    return normalised


def _named(key: str) -> tuple[str, str | None]:
    """Return the id of a key that a user names, and its PEM where it is given."""
    if key.startswith("sha256:"):
        return parse_digest(key), None
    public = read_public_key(Path(key))
    return public.key_id, public.pem


def _change(change: Callable[[TrustFile], TrustFile]) -> None:
    folder = home()
    with locked(folder / _LOCK_FILE):
        write_file(trust_path(), change(TrustFile.of_user()).to_bytes())


def _with_keys(file: TrustFile, keys: list[TrustedKey]) -> TrustFile:
    # Of a key that is given twice, the whole one stays.
    ordered = sorted(keys, key=lambda key: key.public_key is not None)
    unique = {(key.namespace, key.key_id): key for key in ordered}
    return msgspec.structs.replace(file, keys=[unique[which] for which in sorted(unique)])


def _unknown(signers: Mapping[str, str], file: TrustFile) -> dict[str, str]:
    known = {*file.first_used, *(key.namespace for key in file.keys)}
    return {namespace: key for namespace, key in signers.items() if namespace not in known}


def _forgetting(file: TrustFile, namespace: str) -> TrustFile:
    kept = {name: key for name, key in file.first_used.items() if name != namespace}
    return msgspec.structs.replace(file, first_used=kept)


def _with_unsigned(file: TrustFile, namespaces: set[str]) -> TrustFile:
    return msgspec.structs.replace(file, unsigned=sorted(namespaces))


def _problems(file: TrustFile) -> Iterator[Problem]:
    for i, trusted in enumerate(file.keys):
        if not _is_namespace(trusted.namespace):
            yield Problem(f"keys[{i}].namespace", "is not a namespace in normal form")
        yield from _key_problems(trusted, f"keys[{i}]")
    for i, namespace in enumerate(file.unsigned):
        if not _is_namespace(namespace):
            yield Problem(f"unsigned[{i}]", "is not a namespace in normal form")
    for namespace in file.first_used:
        if not _is_namespace(namespace):
            yield Problem(f"first_used.{namespace[:100]}", "is not a namespace in normal form")


def _key_problems(trusted: TrustedKey, path: str) -> Iterator[Problem]:
    if trusted.public_key is None:
        return
    try:
        key_id = PublicKey.of_pem(trusted.public_key).key_id
    except ModpmError as error:
        yield Problem(f"{path}.public_key", error.why or error.what)
        return
    if key_id != trusted.key_id:
        yield Problem(f"{path}.key_id", "is not that of the public key")


def _is_namespace(text: str) -> bool:
    try:
        return normalise(text) == text
    except ModpmError:
        return False


def _not_trusted(what: str) -> ModpmError:
    return ModpmError(what, code="not-trusted", hint="see `modpm trust list`")
