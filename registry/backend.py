"""What every kind of registry can do. The rest of modpm knows registries by this alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.formats.distribution import Distribution
    from modpm.core.formats.names import ModuleName
    from modpm.registry.index import Index


@dataclass(frozen=True)
class Published:
    """A release in a registry, as `publish` leaves it.

    Attributes:
        name: The module.
        version: The version.
        digest: The digest of the manifest, which names the release.
        size_bytes: What all its files take.
        registry: Where it is.
        is_new: False if the same bytes were published before.
    """

    name: ModuleName
    version: str
    digest: str
    size_bytes: int
    registry: str
    is_new: bool


class Backend(Protocol):
    """The code for one kind of registry.

    What a backend gives has been parsed and checked against the limits; whoever fetches a file
    checks its digest.
    """

    @property
    def location(self) -> str:
        """Where the registry is, for people and for lockfiles of other projects."""

    def names(self, namespace: str | None = None) -> list[ModuleName]:
        """Return the modules that have an index, sorted.

        Args:
            namespace: Only this one; None for all.

        Raises:
            ModpmError: `registry-missing`, `not-a-registry`.
        """

    def index(self, module: ModuleName) -> Index | None:
        """Return what is listed for a name; None if nothing is.

        Raises:
            ModpmError: `registry-missing`, `not-a-registry`, `invalid-index`.
        """

    def open_file(self, module: ModuleName, version: str, file: str) -> BinaryIO:
        """Open a file of a release to read its bytes.

        Raises:
            ModpmError: `missing-file`, `not-a-regular-file` or `registry-missing`.
        """

    def publish(self, distributions: Sequence[Distribution]) -> list[Published]:
        """Publish distributions that have been verified, all or none of them.

        Publishing the same bytes again changes nothing.

        Raises:
            ModpmError: `version-taken`, if a version holds other bytes.
        """
