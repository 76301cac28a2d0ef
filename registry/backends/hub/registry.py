"""A registry on the Hugging Face Hub: one model repository for each module (`specs/hub.md`)."""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlencode

from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.manifest import MANIFEST_FILE, TENSOR_FILE
from modpm.core.formats.names import ModuleName
from modpm.core.system.threads import in_threads
from modpm.registry.backends.hub.asking import NONSENSE, Hub, failed, field
from modpm.registry.backends.hub.naming import (
    MAX_NAME_LENGTH,
    module_of,
    owner_of,
    repository_of,
    tag_of,
)
from modpm.registry.backends.hub.origin_pages import OriginPages
from modpm.registry.backends.hub.releasing import INDEX_FILE, ReleaseWriter
from modpm.registry.backends.hub.repository import ModuleRepository
from modpm.registry.backends.publishing_plan import (
    Entry,
    in_waves,
    planned_by_module,
)
from modpm.registry.backends.refusals import not_listed
from modpm.registry.backends.shards import Shard, scanned_module
from modpm.registry.index import CompositionRelease, Index, release_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modpm.core.formats.distribution import Distribution
    from modpm.registry.backends.protocol import Published, ReleaseFile


class HubRegistry:
    """The modules that a user or organization has on the Hub, at `hf://OWNER`.

    The endpoint is that of `HF_ENDPOINT` and the token that of huggingface_hub's own store, both
    as they are when the registry is opened.

    Raises:
        ModpmError: `unknown-registry-kind`.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        self._owner = owner_of(location)
        self._hub = Hub.of_environment(location)
        self._indexes: dict[ModuleName, Index] = {}

    def names(self, namespace: str | None = None) -> list[ModuleName]:
        """Return the modules that have an index, sorted."""
        return sorted(self._listed(namespace))

    def index(self, module: ModuleName) -> Index | None:
        """Return what is listed for a name; None if nothing is."""
        repository = self._repository(module)
        if repository is None:
            return None
        index = ReleaseWriter(repository, module, self.location).index()
        if index is not None:
            self._indexes[module] = index
        return index

    def revision(self, module: ModuleName, version: str) -> str | None:
        """Return the commit of a version's tag.

        Raises:
            ModpmError: `missing-file`, or `release-changed`, if the tag was moved to other files.
        """
        repository = self._required(module)
        release = release_in(self._indexes.get(module) or self.index(module), version)
        if isinstance(release, CompositionRelease):
            commit = repository.linked(MANIFEST_FILE, tag_of(release.version)).commit
            data = repository.read(MANIFEST_FILE, commit)
            if data is None or digest_bytes(data) != release.digest:
                raise self._moved(repository.id, release.version, commit)
            return commit
        found = repository.linked(TENSOR_FILE, tag_of(version))
        listed = None if release is None else release.files.get(TENSOR_FILE)
        if listed is not None and found.digest not in {None, listed.digest}:
            raise self._moved(repository.id, version, found.commit)
        return found.commit

    def open_file(self, file: ReleaseFile, offset: int = 0) -> BinaryIO:
        """Open a file of a release to read its bytes, by the commit where one was locked."""
        revision = file.revision or tag_of(file.version)
        return self._required(file.module).open(file.name, revision, offset)

    def publish(self, distributions: Sequence[Distribution]) -> list[Published]:
        """Publish distributions that have been verified, one repository after the other.

        They are looked at together first: if a version of one is taken, none is published. What a
        failure leaves undone is done by publishing the same again.

        Raises:
            ModpmError: `version-taken`, `invalid-name`, `invalid-card`, `busy`, `truncated`,
                `wrong-digest`; what the Hub does is `not-authorized`, `rate-limited`,
                `network-failed`.
        """
        for distribution in distributions:
            module = ModuleName.parse(distribution.manifest.name)
            if repository_of(self._owner, module) is None:
                raise ModpmError(
                    f"`{module}` cannot be published to the Hub",
                    code="invalid-name",
                    why=f"a repository there has at most {MAX_NAME_LENGTH} characters in its "
                    "name, and does not end in `.git`",
                    hint="give the module a shorter or another name",
                )
        entries, groups = planned_by_module(distributions, self.index, self.location)
        pages = OriginPages(self._hub, self._owner, self, entries)
        publish = partial(self._publish, pages=pages)
        done = in_waves(publish, groups, "modules cannot be published")
        pages.write()
        new = list(chain.from_iterable(done))
        return [entry.published(self.location, is_new=entry in new) for entry in entries]

    def change(self, module: ModuleName, change: Callable[[Index], Index]) -> Index:
        """Change what is listed for a name, if nobody else did since it was read."""
        repository = self._repository(module)
        changed = None
        if repository is not None:
            changed = ReleaseWriter(repository, module, self.location).change(change)
        if changed is None:
            raise not_listed(module, self.location)
        return changed

    def catalogue(self, namespace: str | None, seen: Mapping[str, str]) -> list[Shard]:
        """Return what is shown of the modules: one part each, whose state is its last commit."""
        states = self._listed(namespace)

        def part(module: ModuleName) -> Shard:
            state = states[module]
            if state is not None and seen.get(str(module)) == state:
                return Shard(str(module), module.namespace, state, None)
            shard = scanned_module(self.index, module)
            return shard if shard.problem is not None else shard._replace(state=state)

        return in_threads(part, sorted(states), "indexes cannot be read")

    def reindex(self) -> list[Shard]:
        """Return what the indexes say: there is no other catalogue."""
        return self.catalogue(None, {})

    def _repository(self, module: ModuleName) -> ModuleRepository | None:
        repository = repository_of(self._owner, module)
        return None if repository is None else ModuleRepository(self._hub, repository)

    def _required(self, module: ModuleName) -> ModuleRepository:
        repository = self._repository(module)
        if repository is None:
            raise ModpmError(
                f"`{module}` is not on the Hub",
                code="missing-file",
                where=f"registry {self.location}",
                why="the Hub does not allow a repository of such a name",
            )
        return repository

    def _listed(self, namespace: str | None) -> dict[ModuleName, str | None]:
        """Return the modules that have an index, each with the last commit of its repository."""
        tags = ["modpm"] if namespace is None else ["modpm", f"modpm-namespace:{namespace}"]
        asked = [("author", self._owner), *(("filter", tag) for tag in tags), ("full", "true")]
        models = self._hub.listed(f"/api/models?{urlencode(asked)}", self.location)
        found: dict[ModuleName, str | None] = {}
        for model in filter(self._has_index, models):
            module = module_of(self._owner, str(field(model, "id", self.location)))
            if module is not None and namespace in {None, module.namespace}:
                commit = model.get("sha") if isinstance(model, dict) else None
                found[module] = commit if isinstance(commit, str) else None
        return found

    def _has_index(self, model: object) -> bool:
        siblings = field(model, "siblings", self.location)
        if not isinstance(siblings, list):
            raise failed(self.location, NONSENSE)
        names = [field(sibling, "rfilename", self.location) for sibling in siblings]
        return INDEX_FILE in names

    def _publish(self, entries: Sequence[Entry], pages: OriginPages) -> list[Entry]:
        """Publish releases of one module, one after the other; return those that were new."""
        module = entries[0].module
        writer = ReleaseWriter(
            self._required(module),
            module,
            self.location,
            has_origin=any(pages.has(module, entry.release) for entry in entries),
        )
        return [entry for entry in entries if writer.publish(entry.distribution, entry.release)]

    def _moved(self, repository: str, version: str, commit: str) -> ModpmError:
        return ModpmError(
            f"the tag `{tag_of(version)}` names other files than those that were published",
            code="release-changed",
            where=f"registry {self.location}, {repository}",
            why=f"it was moved to commit {commit}, whose files are not those that the index lists",
            hint="a release never changes: find out from its owner who moved the tag; what is "
            "locked is still installed by its commit",
        )
