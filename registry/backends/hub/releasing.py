"""Publishing to the repository of one module, so that it can be taken up again after any crash.

First the version's tag, then the index (clauses H-7 to H-10): the tag decides whose bytes a
version has, and the index on `main`, changed in one commit with the files there, makes it a
release.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from huggingface_hub import CommitOperationAdd
from packaging.version import Version

from modpm.core.errors import ModpmError
from modpm.core.formats.card import completed_card
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.distribution import SIGNATURE_FILE
from modpm.core.formats.manifest import CARD_FILE, MANIFEST_FILE
from modpm.core.formats.release_files import PICTURE_FILES, RELEASE_FILES, WEIGHT_FILES
from modpm.registry.backends.hub.asking import CONFLICT, MISSING, STALE, RefusalError
from modpm.registry.backends.hub.naming import tag_of
from modpm.registry.backends.refusals import version_taken
from modpm.registry.backends.retrying import busy, turns
from modpm.registry.index import Index
from modpm.registry.storage.transfer import receive, wrong_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from modpm.core.formats.distribution import Distribution
    from modpm.core.formats.hub_address import OnHub
    from modpm.core.formats.manifest import FileRecord
    from modpm.core.formats.names import ModuleName
    from modpm.registry.backends.hub.repository import Head, ModuleRepository
    from modpm.registry.index import Release

INDEX_FILE = "index.json"
ATTRIBUTES_FILE = ".gitattributes"

_RELEASE_FILES = frozenset({MANIFEST_FILE, SIGNATURE_FILE, *RELEASE_FILES, *PICTURE_FILES})
_LASTING = frozenset({"version-taken", "invalid-card", "wrong-digest", "truncated"})
"""Errors after which nobody goes on with what was begun."""


@dataclass(frozen=True)
class _Change:
    """What one commit to `main` does."""

    message: str
    index: Index
    adds: Sequence[CommitOperationAdd] = ()
    removes: frozenset[str] = frozenset()


class ReleaseWriter:
    """Writes to the repository of a module, whether it is there or not.

    Args:
        repository: Where.
        module: Whose it is.
        location: The registry, for errors.
        has_origin: Whether the origin of what is published has a page (H-19).
    """

    def __init__(
        self,
        repository: ModuleRepository,
        module: ModuleName,
        location: str,
        *,
        has_origin: bool = False,
    ) -> None:
        self._repository = repository
        self._module = module
        self._location = location
        self._has_origin = has_origin

    def index(self, revision: str = "main") -> Index | None:
        """Return what the module's index lists at a revision; None if there is none.

        Raises:
            ModpmError: `invalid-index`, and what asking the Hub raises.
        """
        data = self._repository.read(INDEX_FILE, revision)
        where = f"{self._repository.id}, {INDEX_FILE} at {revision}"
        return None if data is None else Index.from_bytes(data, self._module, where)

    def publish(self, distribution: Distribution, release: Release) -> bool:
        """Publish a release, or what is missing of it; return whether it was not listed before.

        Raises:
            ModpmError: `version-taken`, `busy`, `wrong-digest`, `truncated`, `invalid-card`, and
                what asking the Hub raises.
        """
        branch = f"modpm-{tag_of(release.version)}-{release.digest.partition(':')[2][:12]}"
        try:
            self._claim(distribution, release, branch)
        except ModpmError as error:
            if error.code in _LASTING:
                self._repository.remove_branch(branch)
            raise
        is_new = self._list(distribution, release)
        self._repository.remove_branch(branch)
        return is_new

    def change(self, change: Callable[[Index], Index]) -> Index | None:
        """Change the index; return it as it is now, or None if there is none.

        Raises:
            ModpmError: `busy`, what `change` raises, and what asking the Hub raises.
        """

        def changed(index: Index | None) -> _Change | None:
            return None if index is None else _Change("Change the index", change(index))

        return self._change_main(changed)

    def _claim(self, distribution: Distribution, release: Release, branch: str) -> None:
        """Make sure that the version's tag names a commit with the files of the release."""
        for _ in turns():
            if self._repository.head(tag_of(release.version)) is not None:
                self._check_tagged(release)
                return
            try:
                if self._stage(distribution, release, branch):
                    return
            except RefusalError as refusal:
                # Somebody else is publishing the same bytes, by the same branch.
                if refusal.status not in {MISSING, CONFLICT, STALE}:
                    raise
        raise busy(f"registry {self._location}, {self._repository.id}")

    def _stage(self, distribution: Distribution, release: Release, branch: str) -> bool:
        """Commit the files to a branch of their own and tag them; return whether it was us."""
        main = self._main()
        if main is None:
            return False
        self._repository.make_branch(branch, main.commit)
        head = self._repository.head(branch)
        if head is None:
            return False
        commit = self._repository.commit(
            f"Files of {self._module} {release.version}",
            head,
            adds=additions(distribution, release),
            removes=head.files - release.all_files.keys() - {ATTRIBUTES_FILE},
            branch=branch,
        )
        return self._repository.make_tag(tag_of(release.version), commit)

    def _main(self) -> Head | None:
        """Return the head of `main`, in a repository that is made if it is not there."""
        head = self._repository.head()
        if head is not None:
            return head
        self._repository.create()
        return self._repository.head()

    def _check_tagged(self, release: Release) -> None:
        """Refuse a tag that has other bytes than the release."""
        for name in (MANIFEST_FILE, SIGNATURE_FILE):
            record = release.all_files.get(name)
            data = self._repository.read(name, tag_of(release.version))
            digest = None if data is None else digest_bytes(data)
            if digest != (None if record is None else record.digest):
                raise self._taken(release, digest)

    def _list(self, distribution: Distribution, release: Release) -> bool:
        """Make sure that the index lists the release; return whether it was us."""
        listed: Release | None = None

        def listing(index: Index | None) -> _Change | None:
            nonlocal listed
            index = index or Index(name=str(self._module))
            listed = index.find(Version(release.version))
            if listed is None:
                return self._listing(distribution, release, index.with_release(release))
            if listed.digest != release.digest:
                raise self._taken(release, listed.digest)
            return None

        changed = self._change_main(listing)
        # The same to the second: it was listed by us, and the answer to that was lost.
        return changed is not None or listed == release

    def _listing(self, distribution: Distribution, release: Release, index: Index) -> _Change:
        message = f"Publish {self._module} {release.version}"
        if index.newest() is not release:
            return _Change(message, index)
        adds = [add for add in additions(distribution, release) if add.path_in_repo != CARD_FILE]
        owner = self._repository.owner._replace(has_origins=self._has_origin)
        adds.append(main_card(distribution, release, owner))
        return _Change(message, index, adds, _RELEASE_FILES - {a.path_in_repo for a in adds})

    def _change_main(self, decide: Callable[[Index | None], _Change | None]) -> Index | None:
        """Change `main` by compare-and-swap on its head; return the index, None if unchanged."""
        for _ in turns():
            head = self._repository.head()
            listed = None if head is None else self.index(head.commit)
            change = decide(listed)
            if change is None:
                return None
            if head is None:
                continue
            changed = change.index.after(listed)
            index = CommitOperationAdd(INDEX_FILE, changed.to_bytes())
            adds = [*change.adds, index]
            try:
                self._repository.commit(change.message, head, adds=adds, removes=change.removes)
            except RefusalError as refusal:
                if refusal.status not in {CONFLICT, STALE}:
                    raise
            else:
                return changed
        raise busy(f"registry {self._location}, {self._repository.id}")

    def _taken(self, release: Release, digest: str | None) -> ModpmError:
        found = "has other files" if digest is None else f"has digest {digest}"
        why = f"what is there {found}, and this one has digest {release.digest}"
        return version_taken(self._module, release.version, why, self._location)


def additions(distribution: Distribution, release: Release) -> list[CommitOperationAdd]:
    """Return the files of a release, to be added to a repository.

    Raises:
        ModpmError: `truncated` or `wrong-digest`, if a file is not what was verified.
    """
    return [
        _addition(distribution.folder / name, name, record)
        for name, record in release.all_files.items()
    ]


def main_card(distribution: Distribution, release: Release, owner: OnHub) -> CommitOperationAdd:
    """Return the card of a release as `main` has it, with what the Hub searches by (H-6, H-18)."""
    record = release.all_files.get(CARD_FILE)
    text = None
    if record is not None:
        path = distribution.folder / CARD_FILE
        with path.open("rb") as file:
            text = receive(file, record, str(path)).decode(errors="replace")
    card = completed_card(text, distribution.manifest, owner)
    return CommitOperationAdd(CARD_FILE, card.encode())


def _addition(path: Path, name: str, record: FileRecord) -> CommitOperationAdd:
    if name not in WEIGHT_FILES:
        with path.open("rb") as file:
            return CommitOperationAdd(name, receive(file, record, str(path)))
    # Streamed from the disk: the server gets the digest with it, and refuses other bytes.
    addition = CommitOperationAdd(name, str(path))
    digest = f"sha256:{addition.upload_info.sha256.hex()}"
    if digest != record.digest:
        raise wrong_digest(digest, record, str(path))
    return addition
