"""Trust: who signs the releases of a namespace, and that nobody else does (K-12 to K-15)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.distribution import SIGNATURE_FILE
from modpm.registry.signing.signature import bad_signature, read_signature, verify_signature
from modpm.registry.signing.trusted_keys import TrustFile, check_first_use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from modpm.registry.projects.lockfile import Pin
    from modpm.registry.signing.keys import PublicKey


@dataclass(frozen=True)
class _Policy:
    """Who may sign the releases of one namespace.

    Attributes:
        namespace: The namespace.
        trusted: The ids of the keys of the user's trust file; where there are any, no other
            key is accepted.
        keys: Those of them that are there whole.
        recorded: The key that the project recorded at first use.
        known: The key of the first use by this user.
        accepts_unsigned: Whether the user accepts unsigned releases.
    """

    namespace: str
    trusted: frozenset[str]
    keys: tuple[PublicKey, ...]
    recorded: str | None
    known: str | None
    accepts_unsigned: bool

    def accepted(self) -> frozenset[str]:
        """Return the ids of the keys that may sign; none where the first one decides."""
        first = (key for key in (self.known, self.recorded) if key is not None)
        return self.trusted or frozenset(first)


def checked_signers(
    pins: Iterable[Pin], folder_of: Callable[[Pin], Path], signers: Mapping[str, str]
) -> dict[str, str]:
    """Check that releases are signed by whom their namespaces are trusted to.

    Args:
        pins: The releases, all that a project is to have of a namespace.
        folder_of: Gives the folder of a release that has its files; of these only
            `signature.json` is read, the others are known by the digests of the pin.
        signers: Namespace to the id of the key that the project recorded for it.

    Returns:
        Namespace to the id of the key to record, for the namespaces of pins that are signed.

    Raises:
        ModpmError: `unsigned`, `other-signer`, `bad-signature`, `unknown-signer`; what
            `TrustFile.of_user` raises.
    """
    file = TrustFile.of_user()
    found: dict[str, str] = {}
    ordered = sorted(pins, key=lambda pin: pin.module)
    for namespace, group in groupby(ordered, key=lambda pin: pin.module.namespace):
        policy = _Policy(
            namespace,
            file.ids(namespace),
            file.public_keys(namespace),
            signers.get(namespace),
            file.first_used.get(namespace),
            namespace in file.unsigned,
        )
        signer = _check_namespace(policy, list(group), folder_of)
        if signer is not None:
            found[namespace] = signer
    return found


def _check_namespace(
    policy: _Policy, pins: Sequence[Pin], folder_of: Callable[[Pin], Path]
) -> str | None:
    """Return the key to record for a namespace; None if nothing of it is signed."""
    unsigned = [pin for pin in pins if SIGNATURE_FILE not in pin.files]
    signed = [pin for pin in pins if SIGNATURE_FILE in pin.files]
    accepted = policy.accepted()
    if None not in {policy.recorded, policy.known} and not policy.trusted:
        check_first_use(policy.namespace, str(policy.recorded), str(policy.known))
    signers: list[str] = []
    for pin in signed:
        signer = _signer(pin, folder_of(pin), policy)
        if signer not in (accepted or signers or {signer}):
            raise _other_signer(pin, signer, sorted(accepted or signers), policy)
        signers.append(signer)
    if unsigned and (accepted or signers) and not policy.accepts_unsigned:
        raise _unsigned(unsigned[0], sorted({*accepted, *signers}), policy)
    if policy.recorded in signers:
        return policy.recorded
    return signers[0] if signers else None


def _signer(pin: Pin, folder: Path, policy: _Policy) -> str:
    path = folder / SIGNATURE_FILE
    where = f"{SIGNATURE_FILE} of {pin.module} {pin.version}, registry {pin.registry.url}"
    data = read_signature(path)
    if digest_bytes(data) != pin.files[SIGNATURE_FILE].digest:
        raise bad_signature("it is not the file that is pinned, or is too large for one", where)
    files = {name: file.digest for name, file in pin.files.items() if name != SIGNATURE_FILE}
    return verify_signature(data, files, policy.keys, where).key_id


def _other_signer(pin: Pin, signer: str, accepted: Sequence[str], policy: _Policy) -> ModpmError:
    return ModpmError(
        f"`{pin.module}` {pin.version} is signed with another key than `{policy.namespace}` is "
        "trusted to",
        code="other-signer",
        where=f"registry {pin.registry.url}",
        why=f"it is signed with {signer}; {_source(policy)}: {', '.join(accepted)}",
        hint="do not use it before its owner told you, not by this registry, that the key is "
        f"theirs; then run `modpm trust add {policy.namespace} KEY.pub`",
    )


def _unsigned(pin: Pin, accepted: Sequence[str], policy: _Policy) -> ModpmError:
    return ModpmError(
        f"`{pin.module}` {pin.version} is not signed, and `{policy.namespace}` is",
        code="unsigned",
        where=f"registry {pin.registry.url}",
        why=f"{_source(policy)}: {', '.join(accepted)}",
        hint="ask the owner for a signed release, or take a version that is signed; to accept "
        f"unsigned ones all the same, run `modpm trust add {policy.namespace} --unsigned`",
    )


def _source(policy: _Policy) -> str:
    if policy.trusted:
        return "your trust file names"
    if policy.known is not None:
        return "you have used it first with"
    if policy.recorded is not None:
        return "modpm.lock has recorded"
    return "other releases of the namespace are signed with"
