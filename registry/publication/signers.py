"""Who may sign what is published: as those who install it will see it (V-19)."""

from __future__ import annotations

from functools import partial
from itertools import chain, groupby
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.core.system.threads import in_threads
from modpm.registry.backends.publishing_plan import listed_index
from modpm.registry.index import release_in
from modpm.registry.installing.trust import accepted_keys
from modpm.registry.signing.signature import (
    is_signed,
    verify_distribution_signature,
)
from modpm.registry.signing.trusted_keys import TrustFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modpm.core.formats.distribution import Distribution
    from modpm.registry.backends.protocol import Backend
    from modpm.registry.index import Index


def check_signers(distributions: Iterable[Distribution], target: Backend) -> None:
    """Refuse new releases that nobody who knows their namespace would install.

    Who may sign is said by the publisher's trust file, or else by the releases that there are.

    Raises:
        ModpmError: `other-signer` or `unsigned`, naming who may sign; `bad-signature`,
            `unknown-signer`; what reading the registry raises.
    """
    file = TrustFile.of_user()
    ordered = sorted(distributions, key=_module)
    for namespace, group in groupby(ordered, key=lambda one: _module(one).namespace):
        signed = [(one, _signer(one, file)) for one in group]
        accepted, source = accepted_keys(file, namespace)
        if not accepted:
            accepted = _listed_signers([_module(one) for one, _ in signed], target)
            source = "the releases that it has are signed with"
        may = {*accepted, *([None] if namespace in file.unsigned or not accepted else [])}
        for one, signer in signed:
            if signer not in may and accepted and not _is_listed(one, target):
                raise _refused(one, signer, f"{source} {', '.join(sorted(accepted))}", target)


def _module(distribution: Distribution) -> ModuleName:
    return ModuleName.parse(distribution.manifest.name)


def _signer(distribution: Distribution, file: TrustFile) -> str | None:
    if not is_signed(distribution):
        return None
    known = file.public_keys(_module(distribution).namespace)
    return verify_distribution_signature(distribution, known).key_id


def _listed_signers(modules: Sequence[ModuleName], target: Backend) -> frozenset[str]:
    """Return who has signed releases of the modules; of the namespace, if these are new."""
    read = in_threads(partial(listed_index, target), modules, "indexes cannot be read")
    indexes = [index for index in read if index is not None]
    if indexes:
        return frozenset(filter(None, map(_newest_signer, indexes)))
    try:
        shards = target.catalogue(modules[0].namespace, {})
    except ModpmError as error:
        if error.code not in {"registry-missing", "not-a-registry", "cannot-list"}:
            raise
        return frozenset()
    entries = chain.from_iterable((shard.entries or {}).values() for shard in shards)
    return frozenset(one.signer for one in entries if one is not None and one.signer is not None)


def _newest_signer(index: Index) -> str | None:
    newest = index.newest()
    return None if newest is None else newest.signer


def _is_listed(distribution: Distribution, target: Backend) -> bool:
    """Tell whether these bytes are published: then the signature that they have is settled."""
    index = listed_index(target, _module(distribution))
    there = release_in(index, distribution.manifest.version)
    return there is not None


def _refused(one: Distribution, signer: str | None, who: str, target: Backend) -> ModpmError:
    module, version = _module(one), one.manifest.version
    namespace = module.namespace
    trust = f"`modpm trust add {namespace} KEY.pub`"
    if signer is None:
        return ModpmError(
            f"`{module}` {version} is not signed, and `{namespace}` is",
            code="unsigned",
            where=f"registry {target.location}",
            why=who,
            hint="sign it by `--sign KEY`; those who know the namespace would refuse it without. "
            f"To go on without, run `modpm trust add {namespace} --unsigned` first",
        )
    return ModpmError(
        f"`{module}` {version} is to be signed with another key than `{namespace}` is",
        code="other-signer",
        where=f"registry {target.location}",
        why=f"the key is {signer}; {who}",
        hint=f"sign it with that key. If `{namespace}` is yours, and has a new key, run {trust} "
        "first, and have those who install do so, too: they would refuse it",
    )
