"""The repository of one module on the Hub: its files, its commits, its tags."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.registry.backends.hub.asking import CONFLICT, Hub, MissingError, RefusalError, field
from modpm.registry.backends.hub.committing import commit
from modpm.registry.backends.web import Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from huggingface_hub import CommitOperationAdd

MAIN = "main"

_LINKED_ETAG, _ETAG, _COMMIT = "X-Linked-Etag", "ETag", "X-Repo-Commit"


@dataclass(frozen=True)
class Head:
    """What a branch or tag names.

    Attributes:
        commit: The commit.
        files: The names of all its files.
    """

    commit: str
    files: frozenset[str]


@dataclass(frozen=True)
class LinkedFile:
    """What a revision has under the name of a large file.

    Attributes:
        commit: The commit that the revision names.
        digest: The digest of the file; None if the Hub does not keep it as a large one.
    """

    commit: str
    digest: str | None


class ModuleRepository:
    """A repository, whether it is there or not.

    Args:
        hub: The Hub.
        id: `OWNER/NAME`.
    """

    def __init__(self, hub: Hub, id: str) -> None:  # noqa: A002 -- the Hub's word
        self._hub = hub
        self.id = id

    def create(self) -> None:
        """Make the repository, if it is not there."""
        owner, _, name = self.id.partition("/")
        with _there_already():
            self._hub.call(
                "POST", "/api/repos/create", self.id, {"name": name, "organization": owner}
            )

    def head(self, revision: str = MAIN) -> Head | None:
        """Return what a branch or tag names; None if it, or the repository, is not there."""
        try:
            info = self._hub.call("GET", self._api("revision", revision), self.id)
        except MissingError:
            return None
        siblings = field(info, "siblings", self.id) or ()
        files = frozenset(str(field(sibling, "rfilename", self.id)) for sibling in siblings)
        return Head(str(field(info, "sha", self.id)), files)

    def open(self, file: str, revision: str, offset: int = 0) -> BinaryIO:
        """Open a file to read its bytes.

        Raises:
            MissingError: It, the revision or the repository is not there.
        """
        return self._hub.opened(self._file(file, revision), self._where(file, revision), offset)

    def read(self, file: str, revision: str) -> bytes | None:
        """Return a JSON document, or as much of it as shows that it is too large."""
        path, where = self._file(file, revision), self._where(file, revision)
        try:
            return self._hub.read(Request("GET", path), where, canonical_json.MAX_SIZE_BYTES)[0]
        except MissingError:
            return None

    def linked(self, file: str, revision: str) -> LinkedFile:
        """Return what a revision has under the name of a large file.

        Raises:
            MissingError: It, the revision or the repository is not there.
        """
        path, where = self._file(file, revision), self._where(file, revision)
        response = self._hub.ask(Request("HEAD", path, led="here"), where)
        response.close()
        headers = response.headers
        etag = (
            str(headers.get(_LINKED_ETAG) or headers.get(_ETAG, "")).removeprefix("W/").strip('"')
        )
        digest = f"sha256:{etag}" if len(etag) == len("0" * 64) else None
        return LinkedFile(field(dict(headers), _COMMIT.lower(), where), digest)

    def commit(
        self,
        message: str,
        parent: Head,
        *,
        adds: Iterable[CommitOperationAdd],
        removes: Iterable[str] = (),
        branch: str = MAIN,
    ) -> str:
        """Change files, if nobody changed any since; return the commit.

        Raises:
            RefusalError: With the status `STALE`, if somebody did.
            ModpmError: `invalid-card`.
        """
        gone = sorted(set(removes) & parent.files)
        header = {"summary": message, "description": "", "parentCommit": parent.commit}
        return commit(self._hub, self.id, branch, header, adds=list(adds), gone=gone)

    def make_branch(self, branch: str, commit: str) -> None:
        """Make a branch, if it is not there."""
        with _there_already():
            self._hub.call("POST", self._api("branch", branch), self.id, {"startingPoint": commit})

    def remove_branch(self, branch: str) -> None:
        """Remove a branch, if it is there; one that stays harms nobody."""
        with suppress(ModpmError):
            self._hub.call("DELETE", self._api("branch", branch), self.id)

    def make_tag(self, tag: str, commit: str) -> bool:
        """Make a tag; return whether it was free."""
        try:
            self._hub.call("POST", self._api("tag", commit), self.id, {"tag": tag})
        except RefusalError as refusal:
            if refusal.status != CONFLICT:
                raise
            return False
        return True

    def _api(self, part: str, revision: str) -> str:
        return f"/api/models/{self.id}/{part}/{quote(revision, safe='')}"

    def _file(self, file: str, revision: str) -> str:
        return f"/{self.id}/resolve/{quote(revision, safe='')}/{quote(file)}"

    def _where(self, file: str, revision: str) -> str:
        return f"{self.id}, {file} at {revision}"


@contextmanager
def _there_already() -> Iterator[None]:
    """Make something unless it is there."""
    try:
        yield
    except RefusalError as refusal:
        if refusal.status != CONFLICT:
            raise
