"""Changing the files of a repository on the Hub: large ones are sent first, to where it says."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import CARD_FILE
from modpm.registry.backends.hub.asking import BAD, NONSENSE, Hub, RefusalError, failed, field
from modpm.registry.backends.web import Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from huggingface_hub import CommitOperationAdd

_LFS = "application/vnd.git-lfs+json"


def commit(
    hub: Hub,
    repository: str,
    branch: str,
    header: dict[str, str],
    *,
    adds: Sequence[CommitOperationAdd],
    gone: Sequence[str],
) -> str:
    """Change files in one commit, and return it.

    Args:
        hub: The Hub.
        repository: `OWNER/NAME`.
        branch: What the commit is added to.
        header: What it says of itself: `summary`, `description` and `parentCommit`.
        adds: Files that are written.
        gone: Names of files that are removed.

    Raises:
        RefusalError: With the status `STALE`, if the parent is not the newest any more.
        ModpmError: `invalid-card`, and what asking the Hub raises.
    """
    for add in adds:
        if add.path_in_repo == CARD_FILE:
            _check_card(hub, repository, add)
    large = _large_ones(hub, repository, branch, adds)
    _upload(hub, repository, branch, [add for add in adds if add.path_in_repo in large])
    lines = [("header", header), *_operations(adds, gone, large)]
    content = b"".join(json.dumps({"key": k, "value": v}).encode() + b"\n" for k, v in lines)
    path = f"/api/models/{repository}/commit/{branch}"
    answer = hub.call("POST", path, repository, content, "application/x-ndjson")
    return str(field(answer, "commitOid", repository))


def _check_card(hub: Hub, repository: str, add: CommitOperationAdd) -> None:
    with add.as_file() as file:
        text = file.read().decode(errors="replace")
    try:
        said = {"content": text, "repoType": "model"}
        hub.call("POST", "/api/validate-yaml", repository, said)
    except RefusalError as refusal:
        if refusal.status != BAD:
            raise
        raise ModpmError(
            "the Hub does not accept the front matter of the card",
            code="invalid-card",
            where=f"{repository}, {CARD_FILE}",
            why=refusal.why,
            hint="make the distribution again without a card of your own, or mend the card",
        ) from None


def _large_ones(
    hub: Hub, repository: str, branch: str, adds: Sequence[CommitOperationAdd]
) -> set[str]:
    """Return the names of the files that the Hub wants to have before the commit."""
    files = [
        {
            "path": add.path_in_repo,
            "sample": base64.b64encode(add.upload_info.sample).decode(),
            "size": add.upload_info.size,
        }
        for add in adds
    ]
    path = f"/api/models/{repository}/preupload/{branch}"
    answer = hub.call("POST", path, repository, {"files": files})
    modes = {
        field(file, "path", repository): field(file, "uploadMode", repository)
        for file in field(answer, "files", repository)
    }
    return {str(name) for name, mode in modes.items() if mode == "lfs"}


def _upload(hub: Hub, repository: str, branch: str, adds: Sequence[CommitOperationAdd]) -> None:
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
    path = f"/{repository}.git/info/lfs/objects/batch"
    answer = hub.call("POST", path, repository, said, _LFS)
    for wanted in field(answer, "objects", repository):
        add = by_digest.get(field(wanted, "oid", repository))
        if add is None or "error" in wanted:
            raise failed(repository, NONSENSE)
        if wanted.get("actions"):  # otherwise it is there
            _upload_one(hub, repository, add, wanted["actions"])


def _upload_one(hub: Hub, repository: str, add: CommitOperationAdd, actions: object) -> None:
    # The address is signed: it needs no token, and must not get it.
    upload = field(actions, "upload", repository)
    headers = {str(k): str(v) for k, v in (upload.get("header") or {}).items()}
    place = str(field(upload, "href", repository))
    hub.ask(Request("PUT", place, headers, add.as_file), repository, is_known=False).close()
    if isinstance(actions, dict) and actions.get("verify"):
        place = str(field(actions["verify"], "href", repository))
        size, digest = add.upload_info.size, add.upload_info.sha256.hex()
        hub.call("POST", place, repository, {"oid": digest, "size": size})


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
