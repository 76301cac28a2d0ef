"""Trust: who signs the releases of a namespace, and that nobody else does (K-12 to K-15)."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.release_files import SIGNATURE_FILE
from modpm.registry.signing.signature import bad_signature, read_signature, verify_signature
from modpm.registry.signing.trusted_keys import TrustFile, check_first_use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from modpm.registry.projects.lockfile import Pin
    from modpm.registry.signing.keys import PublicKey


def checked_signers(
    pins: Iterable[Pin], folder_of: Callable[[Pin], Path], signers: Mapping[str, str]
) -> dict[str, str]:
    """Check that releases are signed by whom their namespaces are trusted to.

    Of their folders only `signature.json` is read: the digests of the pins name the other files.

    Args:
        pins: All that a project is to have of a namespace.
        folder_of: Gives the folder of a release.
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
        recorded, of_namespace = signers.get(namespace), list(group)
        accepted, source = accepted_keys(file, namespace, recorded)
        by: list[str] = []
        for pin in of_namespace:
            if SIGNATURE_FILE in pin.files:
                signer = _signer(pin, folder_of(pin), file.public_keys(namespace))
                if signer not in (accepted or by or {signer}):
                    raise _other_signer(pin, signer, source, accepted or by)
                by.append(signer)
        unsigned = [pin for pin in of_namespace if SIGNATURE_FILE not in pin.files]
        if unsigned and (accepted or by) and namespace not in file.unsigned:
            raise _unsigned(unsigned[0], source, {*accepted, *by})
        if by:
            found[namespace] = recorded if recorded in by else by[0]
    return found


def accepted_keys(
    file: TrustFile, namespace: str, recorded: str | None = None
) -> tuple[frozenset[str], str]:
    """Return the keys that may sign, none where the first one decides, and who says so.

    Args:
        file: Whom the user trusts.
        namespace: The namespace.
        recorded: The key that the project recorded for it, if there is one.

    Raises:
        ModpmError: `other-signer`, if the project recorded another key than the user.
    """
    trusted, known = file.ids(namespace), file.first_used.get(namespace)
    if trusted:
        return trusted, "your trust file names"
    if known is not None:
        check_first_use(namespace, recorded or known, known)
        return frozenset({known}), "you have used it first with"
    if recorded is not None:
        return frozenset({recorded}), "modpm.lock has recorded"
    return frozenset(), "other releases of the namespace are signed with"


def _signer(pin: Pin, folder: Path, known: Iterable[PublicKey]) -> str:
    where = f"{SIGNATURE_FILE} of {pin.module} {pin.version}, registry {pin.registry.url}"
    data = read_signature(folder / SIGNATURE_FILE)
    if digest_bytes(data) != pin.files[SIGNATURE_FILE].digest:
        raise bad_signature("it is not the file that is pinned, or is too large for one", where)
    files = {name: file.digest for name, file in pin.files.items() if name != SIGNATURE_FILE}
    return verify_signature(data, files, known, where).key_id


def _other_signer(pin: Pin, signer: str, source: str, accepted: Iterable[str]) -> ModpmError:
    namespace = pin.module.namespace
    return ModpmError(
        f"`{pin.module}` {pin.version} is signed with another key than `{namespace}` is trusted to",
        code="other-signer",
        where=f"registry {pin.registry.url}",
        why=f"it is signed with {signer}; {source}: {', '.join(sorted(accepted))}",
        hint="do not use it before its owner told you, not by this registry, that the key is "
        f"theirs; then run `modpm trust add {namespace} KEY.pub`",
    )


def _unsigned(pin: Pin, source: str, accepted: Iterable[str]) -> ModpmError:
    namespace = pin.module.namespace
    return ModpmError(
        f"`{pin.module}` {pin.version} is not signed, and `{namespace}` is",
        code="unsigned",
        where=f"registry {pin.registry.url}",
        why=f"{source}: {', '.join(sorted(accepted))}",
        hint="ask the owner for a signed release, or take a version that is signed; to accept "
        f"unsigned ones all the same, run `modpm trust add {namespace} --unsigned`",
    )
