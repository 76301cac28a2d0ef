"""The repository of one module on the Hub: its files, its commits, its tags."""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.hub_address import OnHub
from modpm.core.formats.manifest import CARD_FILE
from modpm.registry.backends.hub.asking import (
    BAD,
    CONFLICT,
    NONSENSE,
    Hub,
    MissingError,
    RefusalError,
    failed,
    field,
)
from modpm.registry.backends.web import Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from huggingface_hub import CommitOperationAdd

MAIN = "main"

_LINKED_ETAG, _ETAG, _COMMIT = "X-Linked-Etag", "ETag", "X-Repo-Commit"


@dataclass(frozen=True)
class Head:
    """What a branch or tag names: a commit, and the names of all its files."""

    commit: str
    files: frozenset[str]


@dataclass(frozen=True)
class LinkedFile:
    """What a revision has under the name of a large file: its commit, and the digest of the file.

    There is none if the Hub does not keep it as a large one.
    """

    commit: str
    digest: str | None


class ModuleRepository:
    """A repository, `OWNER/NAME`, whether it is there or not."""

    def __init__(self, hub: Hub, id: str) -> None:  # noqa: A002 -- the Hub's word
        self._hub = hub
        self.id = id

    @property
    def owner(self) -> OnHub:
        """Where it is, and the other modules of its owner."""
        return OnHub(self._hub.endpoint, self.id.partition("/")[0])

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
        adds: Sequence[CommitOperationAdd],
        removes: Iterable[str] = (),
        branch: str = MAIN,
    ) -> str:
        """Change files, if nobody changed any since; return the commit.

        Raises:
            RefusalError: With the status `STALE`, if somebody did.
            ModpmError: `invalid-card`.
        """
        for add in adds:
            if add.path_in_repo == CARD_FILE:
                self._check_card(add)
        large = self._large_ones(branch, adds)
        self._upload(branch, [add for add in adds if add.path_in_repo in large])
        gone = sorted(set(removes) & parent.files)
        header = {"summary": message, "description": "", "parentCommit": parent.commit}
        lines = [("header", header), *_operations(adds, gone, large)]
        content = b"".join(json.dumps({"key": k, "value": v}).encode() + b"\n" for k, v in lines)
        path = f"/api/models/{self.id}/commit/{branch}"
        answer = self._hub.call("POST", path, self.id, content, "application/x-ndjson")
        return str(field(answer, "commitOid", self.id))

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

    def _check_card(self, add: CommitOperationAdd) -> None:
        with add.as_file() as file:
            said = {"content": file.read().decode(errors="replace"), "repoType": "model"}
        try:
            self._hub.call("POST", "/api/validate-yaml", self.id, said)
        except RefusalError as refusal:
            if refusal.status != BAD:
                raise
            raise ModpmError(
                "the Hub does not accept the front matter of the card",
                code="invalid-card",
                where=f"{self.id}, {CARD_FILE}",
                why=refusal.why,
                hint="make the distribution again without a card of your own, or mend the card",
            ) from None

    def _large_ones(self, branch: str, adds: Sequence[CommitOperationAdd]) -> set[str]:
        """Return the names of the files that the Hub wants to have before the commit."""
        files = [
            {
                "path": add.path_in_repo,
                "sample": base64.b64encode(add.upload_info.sample).decode(),
                "size": add.upload_info.size,
            }
            for add in adds
        ]
        answer = self._hub.call("POST", self._api("preupload", branch), self.id, {"files": files})
        return {
            str(field(file, "path", self.id))
            for file in field(answer, "files", self.id)
            if field(file, "uploadMode", self.id) == "lfs"
        }

    def _upload(self, branch: str, adds: Sequence[CommitOperationAdd]) -> None:
        if not adds:
            return
        by_digest = {add.upload_info.sha256.hex(): add for add in adds}
        said = {
            "operation": "upload",
            "transfers": ["basic"],
            "objects": [{"oid": o, "size": add.upload_info.size} for o, add in by_digest.items()],
            "hash_algo": "sha256",
            "ref": {"name": branch},
        }
        path = f"/{self.id}.git/info/lfs/objects/batch"
        answer = self._hub.call("POST", path, self.id, said, _LFS)
        for wanted in field(answer, "objects", self.id):
            add = by_digest.get(field(wanted, "oid", self.id))
            if add is None or "error" in wanted:
                raise failed(self.id, NONSENSE)
            if wanted.get("actions"):  # otherwise it is there
                self._upload_one(add, wanted["actions"])

    def _upload_one(self, add: CommitOperationAdd, actions: object) -> None:
        # The address is signed: it needs no token, and must not get it.
        upload = field(actions, "upload", self.id)
        headers = {str(k): str(v) for k, v in (upload.get("header") or {}).items()}
        place = str(field(upload, "href", self.id))
        request = Request("PUT", place, headers, add.as_file)
        self._hub.ask(request, self.id, is_known=False).close()
        if isinstance(actions, dict) and actions.get("verify"):
            place = str(field(actions["verify"], "href", self.id))
            size, digest = add.upload_info.size, add.upload_info.sha256.hex()
            self._hub.call("POST", place, self.id, {"oid": digest, "size": size})

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


_LFS = "application/vnd.git-lfs+json"


def _operations(
    adds: Sequence[CommitOperationAdd], gone: Sequence[str], large: set[str]
) -> Iterator[tuple[str, dict[str, object]]]:
    for add in adds:
        value: dict[str, object] = {"path": add.path_in_repo}
        if add.path_in_repo in large:
            oid, size = add.upload_info.sha256.hex(), add.upload_info.size
            yield "lfsFile", {**value, "algo": "sha256", "oid": oid, "size": size}
        else:
            with add.as_file() as file:
                content = base64.b64encode(file.read()).decode()
            yield "file", {**value, "content": content, "encoding": "base64"}
    for name in gone:
        yield "deletedFile", {"path": name}
