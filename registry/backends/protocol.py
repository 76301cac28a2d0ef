"""What every kind of registry can do. The rest of modpm knows registries by this alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modpm.core.formats.distribution import Distribution
    from modpm.core.formats.names import ModuleName
    from modpm.registry.backends.shards import Shard
    from modpm.registry.index import Index


class Published(NamedTuple):
    """A release in a registry, as `publish` leaves it.

    Attributes:
        digest: The digest of the manifest, which names the release.
        is_new: False if the same bytes were published before.
        signer: The key that its signature says it was made with; None if it is not signed, does
            not say, or was not looked at.
    """

    name: ModuleName
    version: str
    digest: str
    size_bytes: int
    registry: str
    is_new: bool
    signer: str | None = None


class ReleaseFile(NamedTuple):
    """A file of a release.

    Attributes:
        version: The version, in canonical form.
        name: The name of the file.
        revision: What `Backend.revision` returned when the release was locked.
    """

    module: ModuleName
    version: str
    name: str
    revision: str | None = None


class Backend(Protocol):
    """The code for one kind of registry.

    What a backend gives has been parsed and checked against the limits; whoever fetches a file
    checks its digest. A catalogue raises what names and changes do.
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

    def revision(self, module: ModuleName, version: str) -> str | None:
        """Return what names the files of a release for ever, beside their digests.

        Returns:
            The commit, for a registry that has commits; None for any other kind.

        Raises:
            ModpmError: `registry-missing`, `missing-file`.
        """

    def open_file(self, file: ReleaseFile, offset: int = 0) -> BinaryIO:
        """Open a file of a release to read its bytes.

        Args:
            file: The file.
            offset: The first byte wanted; those before it are not sent.

        Raises:
            ModpmError: `missing-file`, `not-a-regular-file` or `registry-missing`; what the
                network does is `network-failed`, `rate-limited`, `not-authorized`.
        """

    def publish(self, distributions: Sequence[Distribution]) -> list[Published]:
        """Publish distributions that have been verified, all or none of them.

        Publishing the same bytes again changes nothing.

        Raises:
            ModpmError: `version-taken`, if a version holds other bytes.
        """

    def change(self, module: ModuleName, change: Callable[[Index], Index]) -> Index:
        """Change what is listed for a name, and lose nobody else's change.

        Args:
            module: A module that has an index.
            change: Gives the new index; called again if somebody else was faster.

        Returns:
            The index as it is now.

        Raises:
            ModpmError: `unknown-module`, `read-only-registry`, `busy`, or what `change` raises.
        """

    def catalogue(self, namespace: str | None, seen: Mapping[str, str]) -> list[Shard]:
        """Return what is shown of the modules, in parts, and of a part that was seen nothing more.

        A part that cannot be used is told with the reason, and hides no other.

        Args:
            namespace: Only this one; None for all.
            seen: The states of parts that the caller has, by their keys.

        Returns:
            All parts that there are now.
        """

    def reindex(self) -> list[Shard]:
        """Make the catalogue anew from the indexes; return what was read of each module.

        Where none is kept, since it is read from the indexes each time, nothing is made.
        """
