"""A catalogue in memory, and releases to put into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import FileRecord, InputContract
from modpm.core.formats.names import ModuleName
from modpm.registry.index import Index, ModuleRelease

if TYPE_CHECKING:
    from collections.abc import Iterable

DIGEST = "sha256:" + "0" * 64
CONTRACT = InputContract(channels=1, height=8, width=8, mean=[0.0], std=[1.0])

Listing = dict[str, list[ModuleRelease]]


def release(
    version: str, requires: Iterable[str] = (), yanked: str | None = None, origin: str = DIGEST
) -> ModuleRelease:
    return ModuleRelease(
        version=version,
        digest=DIGEST,
        manifest_size_bytes=1,
        files={"module.safetensors": FileRecord(size_bytes=1, digest=DIGEST)},
        requires=list(requires),
        origin=origin,
        label="n/x",
        license="Apache-2.0",
        input=CONTRACT,
        n_parameters=1,
        macs=1,
        published="2025-01-31T12:00:00Z",
        yanked=yanked,
    )


@dataclass
class Shelf:
    """What is listed, in the order in which it is given; of `n/unreachable` nobody can know."""

    listing: Listing

    def modules(self, namespace: str) -> list[ModuleName]:
        names = [ModuleName.parse(name) for name in self.listing]
        found = [name for name in names if name.namespace == namespace]
        if not found:
            raise ModpmError(f"there are no modules of `{namespace}`", code="unknown-namespace")
        return found

    def index(self, module: ModuleName) -> Index:
        if str(module) == "n/unreachable":
            raise ModpmError("the server does not answer", code="network-failed")
        if str(module) not in self.listing:
            raise ModpmError(f"there is no module `{module}`", code="unknown-module")
        return Index(name=str(module), releases=[*self.listing[str(module)]])

    def place_of(self, module: ModuleName) -> str:
        return f"shelf of {module.namespace}"
