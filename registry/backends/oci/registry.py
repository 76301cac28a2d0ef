"""A registry kept by a server of OCI artifacts (`specs/oci.md`).

    <prefix>/<namespace>/<name>                 the repository of a module
        1.0.0, stable                           releases, by version and by tag
        _yank.1.0.0                             whether a version is yanked
    <prefix>/<namespace>/<name>/modpm.claims    who publishes which version

There is no document of the whole module: its index is made of the OCI tags, each of which is
written by itself, so that no writer can lose what another wrote.
"""

from __future__ import annotations

import time
from functools import cached_property, partial
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from msgspec.structs import replace
from packaging.version import Version

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.core.formats.records import to_plain
from modpm.core.formats.requirements import Requirement
from modpm.core.system.threads import in_threads
from modpm.registry.backends import layout
from modpm.registry.backends.oci import naming
from modpm.registry.backends.oci.claims import Claims
from modpm.registry.backends.oci.modelpack import EMPTY, Artifact, annotation, pack, unpack
from modpm.registry.backends.oci.repository import Repository, is_digest, listed
from modpm.registry.backends.oci.server import (
    FORBIDDEN,
    NOT_ALLOWED,
    NOT_FOUND,
    OK,
    UNAUTHORIZED,
    Endpoint,
    Server,
)
from modpm.registry.backends.publishing_plan import Entry, planned
from modpm.registry.backends.refusals import cannot_list, check_same, not_listed, version_taken
from modpm.registry.backends.retrying import persistently
from modpm.registry.backends.shards import scanned
from modpm.registry.backends.web import Request, Web
from modpm.registry.index import Index, Release, Skipped, read_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from modpm.core.formats.distribution import Distribution
    from modpm.registry.backends.protocol import Published, ReleaseFile
    from modpm.registry.backends.shards import Shard

YANK_ANNOTATION = "modpm.yanked"
HELP_AFTER_SECONDS = 2.0
"""How long the writer that was chosen is given to show its release, before others do it."""

_POLL_SECONDS = 0.1
_MAX_REPOSITORY_LENGTH = 255


class OciRegistry:
    """A registry on a server of OCI artifacts, at `oci://host[:port][/prefix]`.

    Raises:
        ModpmError: `invalid-registry-url`.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._prefix = parts.netloc, parts.path.strip("/")
        if "@" in self._host or (self._prefix and not naming.is_repository(self._prefix)):
            raise _bad_url(parts.hostname or "")
        self.location = f"oci://{self._host}/{self._prefix}".rstrip("/")
        # As the environment is now, whenever the server of a repository is asked.
        endpoint = Endpoint.of_environment(self._host)
        self._new_server = partial(Server, endpoint, Web(self.location))
        self._server = self._new_server()
        self._repositories: dict[str, Repository] = {}
        self._artifacts: dict[str, Artifact] = {}

    def names(self, namespace: str | None = None) -> list[ModuleName]:
        """Return the modules that have a release, sorted.

        Raises:
            ModpmError: `cannot-list`, if the server does not tell what it has.
        """
        found = set(self._catalogue(namespace))
        return sorted(module for module in found if self._versions(module))

    def index(self, module: ModuleName) -> Index | None:
        """Return what is listed for a name; None if nothing is."""
        repository = self._repository(module)
        wanted = [tag for tag in repository.tags() or () if _is_ours(tag)]
        found = in_threads(repository.listed_manifest, wanted, "OCI manifests cannot be read")
        pairs = zip(wanted, found, strict=True)
        data = {tag: content for tag, content in pairs if content is not None}
        index = _read_index(module, data, repository.location)
        if not (index.releases or index.skipped):
            self._check_server()
            return None
        index.to_bytes()  # refuses what no index lists, such as one version twice
        return index

    def revision(self, module: ModuleName, version: str) -> str | None:
        """Return the digest of the OCI manifest."""
        return self._artifact_of(module, version, None).digest

    def open_file(self, file: ReleaseFile, offset: int = 0) -> BinaryIO:
        """Open a file of a release to read its bytes."""
        module, version, name, revision = file
        record = self._artifact_of(module, version, revision).release.all_files.get(name)
        repository = self._repository(module)
        opened = repository.open_blob(record.digest, offset) if record is not None else None
        if opened is None:
            raise self._lost(module, version, f"`{name[:100]}` is not there")
        return opened

    def publish(self, distributions: Sequence[Distribution]) -> list[Published]:
        """Publish distributions that have been verified.

        Everything is uploaded before the first of them can be seen. The releases then appear one
        after the other; whoever is interrupted publishes again, and what is there is passed over.
        """
        for distribution in distributions:
            self._check_length(ModuleName.parse(distribution.manifest.name))
        entries = planned(distributions, self._published_before, self.location)
        artifacts = [self._upload(entry) if entry.is_new else None for entry in entries]
        return [self._published(*pair) for pair in zip(entries, artifacts, strict=True)]

    def change(self, module: ModuleName, change: Callable[[Index], Index]) -> Index:
        """Change tags and yanks, each of which is a record of its own (clause O-12).

        Raises:
            ModpmError: `invalid-requirement`, for a tag that is none.
        """
        index = self.index(module)
        if index is None:
            raise not_listed(module, self.location)
        changed = change(index)
        if _unchangeable(changed) != _unchangeable(index):
            raise ValueError("releases are published, and only tags and yanks are changed")
        repository = self._repository(module)
        for tag, version in changed.tags.items():
            if index.tags.get(tag) != version:
                Requirement.parse(f"{module}@{tag}", self.location)
                artifact = self._artifact_of(module, version, None)
                repository.put_manifest(tag, artifact.data)
        for tag in set(index.tags) - set(changed.tags):
            repository.put_record(tag, {})
        self._write_yanks(module, index, changed)
        return self.index(module) or changed

    def catalogue(self, namespace: str | None, seen: Mapping[str, str]) -> list[Shard]:  # noqa: ARG002 -- Backend's
        """Return what is shown of the modules, by reading all they have."""
        return scanned(self.index, self.names(namespace))

    def reindex(self) -> list[Shard]:
        """Return what the OCI tags say: there is no other catalogue."""
        return self.catalogue(None, {})

    # Reading

    def _repository(self, module: ModuleName, part: str = "") -> Repository:
        name = "/".join(filter(None, (self._prefix, str(module), part)))
        if name not in self._repositories:
            self._repositories[name] = Repository(self._new_server(), name)
        return self._repositories[name]

    def _catalogue(self, namespace: str | None) -> Iterator[ModuleName]:
        try:
            for page in listed(self._server, "/v2/_catalog?n=1000", "repositories"):
                if page is None:
                    raise self._no_catalogue()
                yield from filter(None, (self._module_of(name, namespace) for name in page))
        except ModpmError as error:
            if error.code in {"not-authorized", "read-only-registry"}:
                raise self._no_catalogue() from None
            raise

    def _module_of(self, repository: str, namespace: str | None) -> ModuleName | None:
        """Return the module whose repository it is; None for any other repository."""
        prefix = f"{self._prefix}/" if self._prefix else ""
        is_below = repository.startswith(prefix)
        module = layout.module_named(repository.removeprefix(prefix)) if is_below else None
        return module if module is not None and namespace in {None, module.namespace} else None

    def _versions(self, module: ModuleName) -> list[str]:
        """Return the versions that have an OCI tag."""
        tags = self._repository(module).tags() or []
        return [version for tag in tags if (version := naming.version_of_tag(tag)) is not None]

    def _artifact_of(self, module: ModuleName, version: str, revision: str | None) -> Artifact:
        """Return the release of a version."""
        if revision is not None and revision in self._artifacts:
            return self._artifacts[revision]
        if revision is not None and not is_digest(revision):
            raise self._lost(module, version, f"the locked revision {revision!r:.100} is no digest")
        artifact = self._artifact(module, revision or naming.tag_of_version(version))
        if artifact is None:
            self._check_server()
            raise self._lost(module, version, "the repository does not hold it")
        self._artifacts[artifact.digest] = artifact
        return artifact

    def _artifact(self, module: ModuleName, reference: str) -> Artifact | None:
        repository = self._repository(module)
        data = repository.manifest(reference)
        return None if data is None else unpack(data, f"{repository.location} {reference}")

    # Publishing

    def _published_before(self, module: ModuleName, version: Version) -> Release | None:
        same = [text for text in self._versions(module) if Version(text) == version]
        for text in same:
            artifact = self._artifact(module, naming.tag_of_version(text))
            if artifact is None:
                raise version_taken(
                    module,
                    text,
                    f"the tag `{naming.tag_of_version(text)}` is in use for it",
                    self.location,
                    how="as something that is no module",
                    hint="publish under another version",
                )
            return artifact.release
        return None

    def _upload(self, entry: Entry) -> Artifact:
        """Upload everything but the OCI tags."""
        repository = self._repository(entry.module)
        for name, file in entry.release.all_files.items():
            repository.put_blob(file, entry.distribution.folder / name)
        artifact, config = pack(entry.distribution.manifest, entry.release)
        repository.put_bytes(config)
        repository.put_manifest(artifact.digest, artifact.data)
        return artifact

    def _published(self, entry: Entry, artifact: Artifact | None) -> Published:
        is_new = artifact is not None and self._is_chosen(entry, artifact)
        return entry.published(self.location, is_new=is_new)

    def _is_chosen(self, entry: Entry, artifact: Artifact) -> bool:
        """Publish a release unless another writer was chosen; say which it was."""
        claims = self._repository(entry.module, "modpm.claims")
        chosen = Claims(claims, naming.claim_key(entry.release.version)).choose(artifact.digest)
        if chosen == artifact.digest:
            self._show(entry.module, artifact)
            return True
        other = self._shown(entry.module, chosen)
        check_same(other.release, entry.module, entry.release, self.location)
        return False

    def _show(self, module: ModuleName, artifact: Artifact) -> None:
        tag = naming.tag_of_version(artifact.release.version)
        self._repository(module).put_manifest(tag, artifact.data)

    def _shown(self, module: ModuleName, digest: str) -> Artifact:
        """Return the release that was chosen, once it can be seen; show it if its writer fails."""
        chosen = self._artifact(module, digest)
        if chosen is None:
            raise self._lost(module, digest, "it was chosen to be published")
        tag = naming.tag_of_version(chosen.release.version)
        end = time.monotonic() + HELP_AFTER_SECONDS
        while self._repository(module).manifest(tag) is None:
            if time.monotonic() > end:
                self._show(module, chosen)
            time.sleep(_POLL_SECONDS)
        return chosen

    # Tags and yanks

    def _write_yanks(self, module: ModuleName, before: Index, after: Index) -> None:
        reasons = {release.version: release.yanked for release in before.releases}
        for release in after.releases:
            if release.yanked != reasons[release.version]:
                annotations = {} if release.yanked is None else {YANK_ANNOTATION: release.yanked}
                tag = naming.yank_tag(release.version)
                self._repository(module).put_record(tag, annotations)

    # Errors

    @cached_property
    def _answers(self) -> bool:
        """Whether the server speaks the OCI distribution protocol."""
        accepted = (OK, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, NOT_ALLOWED)
        ask = partial(self._server.ask, Request("GET", "/v2/"), *accepted)
        response = persistently(ask, self.location)
        response.close()
        return response.status_code not in {NOT_FOUND, NOT_ALLOWED}

    def _check_server(self) -> None:
        if not self._answers:
            why = "the server does not know `/v2/`, where OCI registries answer"
            raise layout.not_a_registry(self.location, why)

    def _check_length(self, module: ModuleName) -> None:
        name = f"{self._prefix}/{module}/modpm.claims"
        if len(name) > _MAX_REPOSITORY_LENGTH:
            raise _bad_url(self._host)

    def _no_catalogue(self) -> ModpmError:
        return cannot_list(self.location, "the server does not offer `/v2/_catalog` to you")

    def _lost(self, module: ModuleName, version: str, why: str) -> ModpmError:
        where = self._repository(module).location
        return layout.missing_file(module, version, where, why)


def _is_ours(tag: str) -> bool:
    """Say whether an OCI tag can be one that modpm wrote."""
    is_yank = tag.startswith(naming.YANK_PREFIX)
    return is_yank or naming.version_of_tag(tag) is not None or naming.is_module_tag(tag)


def _read_index(module: ModuleName, data: Mapping[str, bytes], where: str) -> Index:
    """Make sense of OCI manifests by their tags; pass over what is not of a module."""
    entries: dict[str, Release | Skipped] = {}
    of_data: dict[bytes, str] = {}
    for tag, content in data.items():
        version = naming.version_of_tag(tag)
        if version is None:
            continue
        yank = naming.yank_tag(version)
        try:
            artifact = unpack(content, f"{where}:{tag}")
            reason = annotation(data.get(yank, EMPTY), YANK_ANNOTATION, f"{where}:{yank}")
        except ModpmError as error:
            is_newer = error.code == "unknown-format-version"
            why = error.why or error.what
            entries[version] = Skipped({"version": version}, why, is_newer)
        else:
            if artifact is None or artifact.release.version != version:
                continue
            entries[version] = read_entry(to_plain(replace(artifact.release, yanked=reason)))
        of_data[content] = version
    ordered = [entries[version] for version in sorted(entries, key=Version)]
    return Index(
        name=str(module),
        tags={
            tag: of_data[content]
            for tag, content in data.items()
            if naming.is_module_tag(tag) and content in of_data
        },
        releases=[each for each in ordered if isinstance(each, Release)],
        skipped=tuple(each for each in ordered if isinstance(each, Skipped)),
    )


def _unchangeable(index: Index) -> Index:
    releases = [replace(release, yanked=None) for release in index.releases]
    return replace(index, tags={}, releases=releases)


def _bad_url(host: str) -> ModpmError:
    return ModpmError(
        "this cannot be the address of an OCI registry",
        code="invalid-registry-url",
        where=f"oci://{host}",
        why="its path must be lower-case words between `/`, its names must fit 255 characters, "
        "and it must hold no password",
        hint="write `oci://host/prefix`, and log in with `docker login` or `oras login`",
        exit_code=2,
    )
