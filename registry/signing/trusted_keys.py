"""The user's trust file: the keys that may sign the releases of a namespace (K-10, K-11)."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.digest import Digest, parse_digest
from modpm.core.formats.names import normalize
from modpm.core.formats.records import (
    Problem,
    Record,
    check_format_version,
    parse_record,
    to_plain,
)
from modpm.core.formats.release_files import Namespace, Text
from modpm.core.system.durable import locked
from modpm.core.system.home import home, trust_path
from modpm.core.system.whole_files import explained, read_at_most, write_file
from modpm.registry.signing.keys import PublicKey, read_public_key

FORMAT_VERSION = 1
_LOCK_FILE = ".trust.lock"


class TrustedKey(Record, frozen=True, kw_only=True):
    """A key that may sign the releases of a namespace.

    Attributes:
        public_key: The key, in PEM; None where only its id was given, which is enough for
            signatures that carry their key.
    """

    namespace: Namespace
    key_id: Digest
    public_key: Text | None = None


class TrustFile(Record, frozen=True, kw_only=True):
    """Whom a user trusts, in all projects.

    Attributes:
        keys: By namespace and key id, ascending.
        unsigned: Namespaces whose unsigned releases are accepted, ascending.
        first_used: Namespace to the key that its releases were signed with when the first of them
            was installed; of namespaces that no key was added for.
    """

    format_version: int = FORMAT_VERSION
    keys: list[TrustedKey] = msgspec.field(default_factory=list)
    unsigned: list[Namespace] = msgspec.field(default_factory=list)
    first_used: dict[Namespace, Digest] = msgspec.field(default_factory=dict)

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
        """Read the trust file under `MODPM_HOME`; an empty one where there is none."""
        path = trust_path()
        try:
            data = read_at_most(path, canonical_json.MAX_SIZE_BYTES)
        except FileNotFoundError:
            return cls()
        return cls.from_bytes(data, str(path))

    def to_bytes(self) -> bytes:
        """Return the file as canonical JSON."""
        return canonical_json.encode(to_plain(self))

    def knows(self, namespace: str) -> bool:
        """Tell whether there is a key for a namespace, added or of its first use."""
        return namespace in self.first_used or any(k.namespace == namespace for k in self.keys)

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


def trust(namespace: str, key: str | None = None, *, unsigned: bool = False) -> TrustedKey | None:
    """Trust a key with the releases of a namespace, and no key that was not added.

    The key of its first use is forgotten: one that was added goes before.

    Args:
        namespace: The namespace.
        key: The file of a public key, or the id of a key.
        unsigned: Accept unsigned releases of the namespace, though others of it were signed.

    Returns:
        What is trusted; None if no key was named.

    Raises:
        ModpmError: `usage`, if neither is asked; `invalid-name`, `bad-key`, `invalid-digest`,
            `unreadable-file`; what `TrustFile.of_user` raises.
    """
    if key is None and not unsigned:
        raise ModpmError(
            "neither a key nor `--unsigned` is named",
            code="usage",
            hint="give the file of a public key, its key id, or `--unsigned`",
            exit_code=2,
        )
    normalized, trusted = _named(namespace, key)

    def change(file: TrustFile) -> dict[str, Any]:
        accepted = {*file.unsigned, *([normalized] if unsigned else [])}
        if trusted is None:
            return {"unsigned": sorted(accepted)}
        # Of a key that is given twice, the whole one stays.
        keys = sorted([*file.keys, trusted], key=lambda one: one.public_key is not None)
        unique = {(one.namespace, one.key_id): one for one in keys}
        return {
            "keys": [unique[which] for which in sorted(unique)],
            "unsigned": sorted(accepted),
            "first_used": _without(file.first_used, normalized),
        }

    _change(change)
    return trusted


def distrust(namespace: str, key: str | None = None, *, unsigned: bool = False) -> list[TrustedKey]:
    """Trust a key with the releases of a namespace no longer, added or of its first use.

    Args:
        namespace: The namespace; all that is known of it goes if neither of the others is given.
        key: The file of a public key, or the id of a key.
        unsigned: Refuse unsigned releases of the namespace again.

    Returns:
        What is trusted no longer.

    Raises:
        ModpmError: `not-trusted`, `invalid-name`, `bad-key`, `invalid-digest`,
            `unreadable-file`; what `TrustFile.of_user` raises.
    """
    normalized, trusted = _named(namespace, key)
    takes_all = trusted is None and not unsigned
    gone: list[TrustedKey] = []

    def change(file: TrustFile) -> dict[str, Any]:
        known = [one for one in _all_keys(file) if one.namespace == normalized]
        gone[:] = [one for one in known if takes_all or _is_same(one, trusted)]
        was_unsigned = normalized in file.unsigned
        if unsigned and not was_unsigned:
            raise _not_trusted(f"unsigned releases of `{normalized}` are not accepted")
        if trusted is not None and not gone:
            raise _not_trusted(f"the key {trusted.key_id} is not trusted with `{normalized}`")
        if takes_all and not (gone or was_unsigned):
            raise _not_trusted(f"nothing is known of whom `{normalized}` is trusted to")
        ids = {one.key_id for one in gone}
        first = file.first_used
        refused = {normalized} if unsigned or takes_all else set()
        return {
            "keys": [one for one in file.keys if one not in gone],
            "unsigned": [name for name in file.unsigned if name not in refused],
            "first_used": _without(first, normalized) if first.get(normalized) in ids else first,
        }

    _change(change)
    return gone


def _all_keys(file: TrustFile) -> list[TrustedKey]:
    """Return the keys that were added, and those of first uses."""
    first = file.first_used.items()
    return [*file.keys, *(TrustedKey(namespace=name, key_id=key) for name, key in first)]


def _is_same(one: TrustedKey, other: TrustedKey | None) -> bool:
    return other is not None and one.key_id == other.key_id


def remember_signers(signers: Mapping[str, str]) -> None:
    """Keep the keys of namespaces that are used for the first time, as ssh does of hosts (K-13).

    Raises:
        ModpmError: `other-signer`, if somebody else has kept another meanwhile; what
            `TrustFile.of_user` raises.
    """
    file = TrustFile.of_user()
    if all(map(file.knows, signers)):
        return

    def change(file: TrustFile) -> dict[str, Any]:
        for namespace in signers.keys() & file.first_used.keys():
            check_first_use(namespace, signers[namespace], file.first_used[namespace])
        new = {name: key for name, key in signers.items() if not file.knows(name)}
        return {"first_used": dict(sorted({**file.first_used, **new}.items()))}

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


def _named(namespace: str, key: str | None) -> tuple[str, TrustedKey | None]:
    """Return what a user names: a namespace in normal form, and a key of it."""
    normalized = normalize(namespace)
    if key is None:
        return normalized, None
    if key.startswith("sha256:"):
        return normalized, TrustedKey(namespace=normalized, key_id=parse_digest(key))
    public = read_public_key(Path(key))
    trusted = TrustedKey(namespace=normalized, key_id=public.key_id, public_key=public.pem)
    return normalized, trusted


def _change(change: Callable[[TrustFile], Mapping[str, Any]]) -> None:
    with explained("change whom you trust"), locked(home() / _LOCK_FILE):
        file = TrustFile.of_user()
        write_file(trust_path(), msgspec.structs.replace(file, **change(file)).to_bytes())


def _without(first_used: Mapping[str, str], namespace: str) -> dict[str, str]:
    return {name: key for name, key in first_used.items() if name != namespace}


def _problems(file: TrustFile) -> Iterator[Problem]:
    for i, trusted in enumerate(file.keys):
        try:
            public = None if trusted.public_key is None else PublicKey.of_pem(trusted.public_key)
        except ModpmError as error:
            yield Problem(f"keys[{i}].public_key", error.why or error.what)
        else:
            if public is not None and public.key_id != trusted.key_id:
                yield Problem(f"keys[{i}].key_id", "is not that of the public key")


def _not_trusted(what: str) -> ModpmError:
    return ModpmError(what, code="not-trusted", hint="see `modpm trust list`")
