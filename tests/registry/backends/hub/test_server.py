"""The strict server before the real client, as anybody would use it, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests.registry.backends.hub.conftest import TOKEN
from tests.registry.backends.hub_server import Account, HubServer, running_hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CALLS = """
import warnings
from huggingface_hub import *
from huggingface_hub.errors import *

def status_of(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except HfHubHTTPError as error:
        return error.response.status_code, type(error).__name__

api, card = HfApi(), b"---\\nlibrary_name: modpm\\nlicense: mit\\ntags:\\n- modpm\\n---\\nWords"
large = bytes(range(256)) * 4000
assert api.whoami()["name"] == "alice"
for name in ("acme/x.y", "acme/a", "acme/b", "alice/own"):
    api.create_repo(name)
api.create_repo("acme/x.y", exist_ok=True)
assert status_of(api.create_repo, "acme/x.y") == (409, "HfHubHTTPError")
assert status_of(api.create_repo, "bob/x") == (403, "HfHubHTTPError")
first = api.model_info("acme/x.y").sha
adds = [CommitOperationAdd("README.md", card), CommitOperationAdd("m.safetensors", large)]
second = api.create_commit("acme/x.y", adds, commit_message="Two", parent_commit=first).oid
other = lambda: [CommitOperationAdd("other", b"1")]
stale = dict(commit_message="Stale", parent_commit=first)
assert status_of(api.create_commit, "acme/x.y", other(), **stale) == (412, "HfHubHTTPError")
api.create_tag("acme/x.y", tag="v1", revision=second)
assert status_of(api.create_tag, "acme/x.y", tag="v1") == (409, "HfHubHTTPError")
api.create_branch("acme/x.y", branch="a/b", revision=first)
away = [CommitOperationDelete(".gitattributes"), *other()]
api.create_commit("acme/x.y", away, commit_message="Branch", revision="a/b")
assert api.list_repo_files("acme/x.y", revision="a/b") == ["other"]
api.delete_branch("acme/x.y", branch="a/b")
assert status_of(api.delete_branch, "acme/x.y", branch="a/b") == (404, "RevisionNotFoundError")
refs = api.list_repo_refs("acme/x.y")
assert [(t.name, t.target_commit) for t in refs.tags] == [("v1", second)]
assert [b.name for b in refs.branches] == ["main"]
assert [c.commit_id for c in api.list_repo_commits("acme/x.y")] == [second, first]
assert {m.id for m in api.list_models(author="acme")} == {"acme/x.y", "acme/a", "acme/b"}
assert [m.id for m in api.list_models(filter=["modpm", "license:mit"])] == ["acme/x.y"]
assert [m.id for m in api.list_models(search="OWN")] == ["alice/own"]
entry = {e.path: e for e in api.list_repo_tree("acme/x.y")}["m.safetensors"]
assert (entry.size, entry.lfs.size) == (len(large), len(large))
(info,) = api.get_paths_info("acme/x.y", ["README.md", "nothing"])
assert info.size == len(card)
metadata = get_hf_file_metadata(hf_hub_url("acme/x.y", "m.safetensors", revision="v1"))
assert (metadata.commit_hash, metadata.etag) == (second, entry.lfs.sha256)
assert metadata.size == len(large)
for name, content in (("m.safetensors", large), ("README.md", card)):
    path = api.hf_hub_download("acme/x.y", name, revision="v1")
    assert open(path, "rb").read() == content
missing = status_of(api.model_info, "acme/none")
assert missing == (404, "RepositoryNotFoundError")
assert status_of(HfApi(token=False).model_info, "acme/none") == (401, "RepositoryNotFoundError")
assert status_of(HfApi(token="hf_of-nobody").model_info, "acme/a") == (401, "HfHubHTTPError")
bad = [CommitOperationAdd("README.md", b"---\\nlicense: none-such\\n---\\n")]
try:
    api.create_commit("acme/x.y", bad, commit_message="Bad card")
    raise SystemExit("the card was accepted")
except ValueError as error:
    assert "license" in str(error)
api.delete_tag("acme/x.y", tag="v1")
api.delete_repo("acme/x.y")
assert not api.repo_exists("acme/x.y")
print("all of it")
"""


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with running_hub() as hub:
        hub.accounts[TOKEN] = Account("alice", ("acme",))
        yield hub


def test_the_real_client_gets_along_with_the_server(server: HubServer, tmp_path: Path) -> None:
    environment = {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_TOKEN": TOKEN,
    }
    process = subprocess.run(
        [sys.executable, "-c", CALLS],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert process.stdout == "all of it\n", process.stderr


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/datasets", 404),
        ("PATCH", "/api/models", 501),
        ("GET", "/api/models?color=red", 400),
        ("POST", "/api/repos/create", 400),
        ("GET", "/storage/acme/x/00", 403),
        ("GET", "/acme/none/resolve/main/README.md", 401),
    ],
)
def test_the_server_does_only_what_the_hub_does(
    server: HubServer, method: str, path: str, status: int
) -> None:
    assert httpx2.request(method, f"{server.url}{path}").status_code == status
