"""Pages of origins: kept in step with what is published, after it is listed (clause H-19)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlencode

from huggingface_hub import CommitOperationAdd
from msgspec import UNSET

from modpm.core.errors import ModpmError
from modpm.core.formats.composition_manifest import parse_manifest
from modpm.core.formats.hub_address import OnHub
from modpm.core.formats.manifest import CARD_FILE, MANIFEST_FILE, Manifest
from modpm.core.formats.names import ModuleName
from modpm.core.system.threads import in_threads
from modpm.registry.backends.hub.asking import CONFLICT, STALE, RefusalError, field
from modpm.registry.backends.hub.naming import module_of, repository_of
from modpm.registry.backends.hub.origin_card import Listed, ListedTogether, render_origin_card
from modpm.registry.backends.hub.repository import ModuleRepository
from modpm.registry.backends.protocol import ReleaseFile
from modpm.registry.backends.retrying import busy, turns
from modpm.registry.index import CompositionRelease, ModuleRelease
from modpm.registry.storage.transfer import receive

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import BinaryIO

    from modpm.registry.backends.hub.asking import Hub
    from modpm.registry.backends.publishing_plan import Entry
    from modpm.registry.index import Index, Release

MAX_MODULES, MAX_COMPOSITIONS = 64, 64
"""Of an origin, that a page shows."""


class Origin(NamedTuple):
    """What has a page: the class modules of a namespace that were cut from one network.

    Attributes:
        namespace: The namespace.
        digest: Of the network.
    """

    namespace: str
    digest: str


class Releases(Protocol):
    """The part of the registry that pages are made of."""

    location: str

    def index(self, module: ModuleName) -> Index | None:
        """As `Backend.index`."""

    def open_file(self, file: ReleaseFile) -> BinaryIO:
        """As `Backend.open_file`."""


class OriginPages:
    """The pages that belong to what is published.

    Args:
        hub: Where they are.
        owner: The user or organization.
        releases: The registry.
        entries: What is published.
    """

    def __init__(self, hub: Hub, owner: str, releases: Releases, entries: Sequence[Entry]) -> None:
        self._hub = hub
        self._owner = owner
        self._releases = releases
        found: dict[Origin, set[ModuleName]] = {}
        for entry in entries:
            if (origin := _origin_of(entry.module, entry.release)) is not None:
                names = found.setdefault(origin, {entry.module})
                names |= {entry.module, *_sisters(origin, entry.distribution.module_manifest)}
        self._names = {
            origin: sorted(names)[:MAX_MODULES]
            for origin, names in found.items()
            if self._is_of_several(origin, names, entries)
        }

    def has(self, module: ModuleName, release: Release) -> bool:
        """Tell whether the origin of a release has a page once it is published."""
        return _origin_of(module, release) in self._names

    def write(self) -> None:
        """Write the pages that say something else by now, when all releases are listed.

        Raises:
            ModpmError: `busy`, and what asking the Hub raises; the releases are listed all the
                same, and publishing them again writes the pages.
        """
        for origin in self._names:
            self._write(origin)

    def _is_of_several(
        self, origin: Origin, names: Iterable[ModuleName], entries: Sequence[Entry]
    ) -> bool:
        """Tell whether more than one class module is published of an origin, or listed."""
        coming = {one.module for one in entries if _origin_of(one.module, one.release) == origin}
        others = [name for name in names if name not in coming]
        return len(coming) > 1 or bool(coming and self._listed(origin, others[:MAX_MODULES]))

    def _listed(self, origin: Origin, names: Sequence[ModuleName]) -> list[_Newest]:
        """Return the class modules of an origin that are listed, of some names."""
        near = [name for name in names if repository_of(self._owner, name) is not None]
        indexes = in_threads(self._releases.index, near, "indexes cannot be read")
        newest = [
            _Newest(name, release)
            for name, index in zip(near, indexes, strict=True)
            if index is not None and (release := index.newest()) is not None
        ]
        return [one for one in newest if _origin_of(*one) == origin]

    def _write(self, origin: Origin) -> None:
        owner = OnHub(self._hub.endpoint, self._owner)
        repository = ModuleRepository(self._hub, owner.origin_repository(*origin))
        for _ in turns():
            head = repository.head()
            if head is None:
                repository.create()
                continue
            found = self._listed(origin, self._names[origin])
            members = in_threads(self._described, found, "manifests cannot be read")
            text = render_origin_card(members, self._compositions(found), owner).encode()
            if CARD_FILE in head.files and repository.read(CARD_FILE, head.commit) == text:
                return
            card = CommitOperationAdd(CARD_FILE, text)
            try:
                repository.commit("Show the class modules side by side", head, adds=[card])
            except RefusalError as refusal:
                if refusal.status not in {CONFLICT, STALE}:
                    raise
            else:
                return
        raise busy(f"registry {self._releases.location}, {repository.id}")

    def _described(self, one: _Newest) -> Listed:
        manifest_file = one.release.installed_files[MANIFEST_FILE]
        where = f"{MANIFEST_FILE} of {one.module} {one.release.version}"
        asked = ReleaseFile(one.module, one.release.version, MANIFEST_FILE)
        with self._releases.open_file(asked) as source:
            manifest = parse_manifest(receive(source, manifest_file, where), where)
        if not isinstance(manifest, Manifest):
            raise ModpmError(
                "the index and the manifest differ", code="release-changed", where=where
            )
        return Listed(one.release, manifest)

    def _compositions(self, members: Sequence[_Newest]) -> list[ListedTogether]:
        """Return the newest releases of compositions of these releases and no others."""
        own = {f"{one.module}=={one.release.version}" for one in members}
        asked = [("author", self._owner), ("filter", "modpm"), ("filter", "modpm-composition")]
        place = self._releases.location
        models = self._hub.listed(f"/api/models?{urlencode(asked)}", place)
        ids = (str(field(model, "id", place)) for model in models)
        found = sorted({one for id_ in ids if (one := module_of(self._owner, id_)) is not None})
        indexes = in_threads(
            self._releases.index, found[:MAX_COMPOSITIONS], "indexes cannot be read"
        )
        newest = [(index.name, index.newest()) for index in indexes if index is not None]
        return [
            ListedTogether(name, release)
            for name, release in newest
            if isinstance(release, CompositionRelease) and own.issuperset(release.requires)
        ]


class _Newest(NamedTuple):
    module: ModuleName
    release: Release


def _origin_of(module: ModuleName, release: Release) -> Origin | None:
    """Return the origin on whose page a release is; None for compositions and variants."""
    if not isinstance(release, ModuleRelease) or release.variant is not UNSET:
        return None
    return Origin(module.namespace, release.origin)


def _sisters(origin: Origin, manifest: Manifest) -> list[ModuleName]:
    """Return what the class modules of a network are called where nobody called them otherwise."""
    found = []
    for name in manifest.origin.classes:
        try:
            found.append(ModuleName.parse(f"{origin.namespace}/{name}"))
        except ModpmError:  # no module can be called so
            continue
    return found
