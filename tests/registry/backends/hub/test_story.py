"""The Hub as a user sees it: publish, be found, install by range, update, and trust the lock.

Every step is the real command, and where somebody else acts the real client, in a process of its
own against a strict server.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.registry.backends.hub_server import Account, running_hub

from modpm.core.formats.card import render_card
from modpm.core.formats.distribution import read_distribution, write_distribution

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.registry.backends.hub_server import HubServer

TOKEN = "hf_token-of-alice"  # noqa: S105 -- the server's own

MOVE_THE_TAG = """
from huggingface_hub import CommitOperationAdd, HfApi
api = HfApi()
other = CommitOperationAdd("module.safetensors", b"other tensors")
commit = api.create_commit("acme/pets.cat", [other], commit_message="Other tensors")
api.delete_tag("acme/pets.cat", tag="v1.1.0")
api.create_tag("acme/pets.cat", tag="v1.1.0", revision=commit.oid)
"""
FIND_CATS = """
from huggingface_hub import HfApi
print([model.id for model in HfApi().list_models(filter=["modpm", "modpm-class:cat"])])
"""


class User:
    """Somebody with a home, a project, and nothing that anybody else has."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.folder = folder
        self.project = folder / "project"
        self.project.mkdir(parents=True)
        kept = {name: text for name, text in os.environ.items() if not name.startswith("HF_")}
        self._environment = {
            **kept,
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(folder / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": TOKEN,
            "MODPM_HOME": str(folder / "home"),
        }

    def python(self, code: str) -> str:
        return self._run([sys.executable, "-c", code], 0).stdout

    def modpm(self, *arguments: str | Path, code: int = 0) -> str:
        """Run the command; return what it says, on stderr too where it fails."""
        command = [sys.executable, "-m", "modpm.cli", *map(str, arguments)]
        process = self._run(command, code)
        return process.stdout + (process.stderr if code else "")

    def json(self, *arguments: str | Path, code: int = 0) -> Any:  # noqa: ANN401 -- any document
        command = [sys.executable, "-m", "modpm.cli", *map(str, arguments), "--json"]
        return json.loads(self._run(command, code).stdout)

    def files(self) -> dict[str, bytes]:
        """Return what is installed."""
        place = self.project / ".modpm"
        return {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}

    def forget_everything_but_the_lock(self) -> None:
        for place in (self.project / ".modpm", self.folder / "home"):
            shutil.rmtree(place)

    def _run(self, command: list[str], code: int) -> subprocess.CompletedProcess[str]:
        process = subprocess.run(
            command,
            env=self._environment,
            cwd=self.project,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert process.returncode == code, process.stdout + process.stderr
        assert TOKEN not in process.stdout + process.stderr
        return process


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with running_hub() as server:
        server.accounts[TOKEN] = Account("alice", ("acme",))
        yield server


def release(folder: Path, repository: Path, name: str, version: str) -> Path:
    """Write a distribution of a pet, with a card of its own."""
    golden = read_distribution(repository / "specs" / "vectors" / "distribution" / "digits-7")
    manifest = msgspec.structs.replace(golden.manifest, name=name, version=version, label=name)
    files = {file: (golden.folder / file).read_bytes() for file in golden.manifest.files}
    files["README.md"] = render_card(manifest).encode()
    return write_distribution(
        folder / f"{name.replace('/', '-')}-{version}", manifest, files
    ).folder


@pytest.mark.slow
def test_modules_are_published_found_installed_updated_and_kept_by_the_lock(
    hub: HubServer, tmp_path: Path, repository: Path
) -> None:
    owner, user = User(tmp_path / "owner", hub.url), User(tmp_path / "user", hub.url)
    pets = ["pets/bird", "pets/cat", "pets/dog"]

    # Three modules are published by one command, and by the same command once more.
    dist = [release(tmp_path / "dist", repository, name, "1.0.0") for name in pets]
    for is_new in (True, False):
        published = owner.json("publish", *dist, "--registry", "hf://acme")["modules"]
        assert [(p["name"], p["is_new"]) for p in published] == [(name, is_new) for name in pets]

    # Anybody finds them, by the Hub's own means and by ours, without a byte of tensors.
    hub.requests.clear()
    assert user.python(FIND_CATS) == "['acme/pets.cat']\n"
    found = user.json("search", "--class", "cat", "--registry", "hf://acme")
    assert [module["name"] for module in found["modules"]] == ["pets/cat"]
    known = user.json("info", "pets/cat", "--registry", "hf://acme")
    assert (known["name"], known["version"]) == ("pets/cat", "1.0.0")
    assert not [request for request in hub.requests if "/storage/" in request]

    # They are installed by range, with the commits of their tags.
    user.modpm("install", "pets/cat>=1,<2", "pets/dog", "--registry", "hf://acme")
    lock = (user.project / "modpm.lock").read_text()
    cats = hub.repositories["acme/pets.cat"]
    assert f'revision = "{cats.tags["v1.0.0"]}"' in lock

    # A newer one in the range is taken by `update`, one beyond it is not.
    newer = [release(tmp_path / "dist", repository, "pets/cat", v) for v in ("1.1.0", "2.0.0")]
    owner.modpm("publish", *newer, "--registry", "hf://acme")
    user.modpm("sync")
    assert (user.project / "modpm.lock").read_text() == lock
    user.modpm("update")
    lock = (user.project / "modpm.lock").read_text()
    assert f'revision = "{cats.tags["v1.1.0"]}"' in lock
    assert cats.tags["v2.0.0"] not in lock
    installed = user.files()

    # The tag is moved: what is locked is still installed, to the byte, by who never had it.
    locked = cats.tags["v1.1.0"]
    owner.python(MOVE_THE_TAG)
    assert cats.tags["v1.1.0"] != locked
    user.forget_everything_but_the_lock()
    user.modpm("sync", "--frozen")
    assert user.files() == installed

    # Nobody gets the other files: choosing anew is refused, and changes nothing.
    stranger = User(tmp_path / "stranger", hub.url)
    error = stranger.json("install", "pets/cat<2", "--registry", "hf://acme", code=1)["error"]
    assert error["code"] == "release-changed"
    assert not (stranger.project / "modpm.lock").exists()
    told = user.modpm("update", code=1)
    assert "the tag `v1.1.0` names other files than those that were published" in told
    assert cats.tags["v1.1.0"] in told
    assert (user.project / "modpm.lock").read_text() == lock
    assert user.files() == installed

    # The token is nowhere, and nobody was told anything about the machine.
    ours = [p for u in (owner, user, stranger) for p in u.folder.rglob("*") if p.is_file()]
    assert ours
    assert not [path for path in ours if TOKEN.encode() in path.read_bytes()]
    by_modpm = [request for request in hub.requests if "harness" in request]
    assert len(by_modpm) <= 2  # the two programs above, which are not modpm
