"""The repository of one module on the Hub: its files, its commits, its tags."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    get_hf_file_metadata,
    get_session,
    hf_hub_url,
)
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented, not declared
    build_hf_headers,
    hf_raise_for_status,
)

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.registry.backends.hub.asking import CONFLICT, MissingError, RefusalError, ask
from modpm.registry.backends.hub.body import as_file, read_whole
from modpm.registry.backends.retrying import persistently

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

MAIN = "main"

_PARTIAL, _OUT_OF_RANGE = 206, 416


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
        api: The client, which knows the endpoint and the token.
        id: `OWNER/NAME`.
    """

    def __init__(self, api: HfApi, id: str) -> None:  # noqa: A002 -- the Hub's word
        self._api = api
        self.id = id

    def create(self) -> None:
        """Make the repository, if it is not there."""
        ask(partial(self._api.create_repo, self.id, exist_ok=True), self.id)

    def head(self, revision: str = MAIN) -> Head | None:
        """Return what a branch or tag names; None if it, or the repository, is not there."""
        try:
            info: ModelInfo = ask(
                partial(self._api.model_info, self.id, revision=revision), self.id
            )
        except MissingError:
            return None
        files = frozenset(sibling.rfilename for sibling in info.siblings or ())
        return Head(str(info.sha), files)

    def open(self, file: str, revision: str, offset: int = 0) -> BinaryIO:
        """Open a file to read its bytes.

        Raises:
            MissingError: It, the revision or the repository is not there.
        """
        where = f"{self.id}, {file} at {revision}"
        ranged = {"range": f"bytes={offset}-"} if offset else {}
        try:
            response = ask(partial(self._get, file, revision, ranged), where)
        except RefusalError as refusal:
            if refusal.status != _OUT_OF_RANGE:
                raise
            return io.BytesIO()  # what was asked for begins after the last byte
        return as_file(response, 0 if response.status_code == _PARTIAL else offset)

    def read(self, file: str, revision: str) -> bytes | None:
        """Return a JSON document, or as much of it as shows that it is too large."""
        where = f"{self.id}, {file} at {revision}"

        def read_once() -> bytes:
            response = ask(partial(self._get, file, revision, {}), where)
            return read_whole(response, canonical_json.MAX_SIZE_BYTES)

        try:
            return persistently(read_once, where)
        except MissingError:
            return None

    def linked(self, file: str, revision: str) -> LinkedFile:
        """Return what a revision has under the name of a large file.

        Raises:
            MissingError: It, the revision or the repository is not there.
        """
        where = f"{self.id}, {file} at {revision}"
        url = self._url(file, revision)
        metadata = ask(
            partial(get_hf_file_metadata, url, token=False, headers=self._headers()), where
        )
        is_digest = metadata.etag is not None and len(metadata.etag) == len("0" * 64)
        return LinkedFile(
            str(metadata.commit_hash), f"sha256:{metadata.etag}" if is_digest else None
        )

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
        """
        gone = [CommitOperationDelete(name) for name in sorted(set(removes) & parent.files)]
        commit = partial(
            self._api.create_commit,
            self.id,
            [*adds, *gone],
            commit_message=message,
            revision=branch,
            parent_commit=parent.commit,
        )
        return str(ask(commit, self.id).oid)

    def make_branch(self, branch: str, commit: str) -> None:
        """Make a branch, if it is not there."""
        make = partial(
            self._api.create_branch, self.id, branch=branch, revision=commit, exist_ok=True
        )
        ask(make, self.id)

    def remove_branch(self, branch: str) -> None:
        """Remove a branch, if it is there; one that stays harms nobody."""
        with suppress(ModpmError):
            ask(partial(self._api.delete_branch, self.id, branch=branch), self.id)

    def make_tag(self, tag: str, commit: str) -> bool:
        """Make a tag; return whether it was free."""
        try:
            ask(partial(self._api.create_tag, self.id, tag=tag, revision=commit), self.id)
        except RefusalError as refusal:
            if refusal.status != CONFLICT:
                raise
            return False
        return True

    def _url(self, file: str, revision: str) -> str:
        return hf_hub_url(self.id, file, revision=revision, endpoint=self._api.endpoint)

    def _headers(self) -> dict[str, str]:
        api = self._api
        return build_hf_headers(
            token=api.token, library_name=api.library_name, library_version=api.library_version
        )

    def _get(self, file: str, revision: str, headers: Mapping[str, str]) -> httpx2.Response:
        session = get_session()
        headers = {**self._headers(), "accept-encoding": "identity", **headers}
        request = session.build_request("GET", self._url(file, revision), headers=headers)
        response = session.send(request, stream=True)
        try:
            hf_raise_for_status(response)
        except BaseException:
            response.close()
            raise
        return response
