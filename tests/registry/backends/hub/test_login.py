"""Logging in, as a user runs it: the token is in huggingface_hub's store, and nowhere else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.registry.backends.hub_server import Account, running_hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.registry.backends.hub_server import HubServer

TOKEN, WRONG_TOKEN = "hf_token-of-alice", "hf_token-of-nobody"


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


class Desk:
    """A user's machine: a home, a project, and the command."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.hub_home = folder / "hf"
        self.own = [folder / "modpm-home", folder / "project"]
        for place in self.own:
            place.mkdir()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(self.hub_home),
            "MODPM_HOME": str(self.own[0]),
            "HOME": str(folder),
        }

    def run(self, *arguments: str, said: str = "", **environment: str) -> Outcome:
        process = subprocess.run(
            [sys.executable, "-m", "modpm.cli", *arguments],
            input=said,
            env={**self.environment, **environment},
            cwd=self.own[1],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Outcome(process.returncode, process.stdout, process.stderr)

    def has(self, secret: str) -> bool:
        """Tell whether a file of ours holds a text."""
        files = [path for place in self.own for path in place.rglob("*") if path.is_file()]
        return any(secret.encode() in path.read_bytes() for path in files)


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with running_hub() as hub:
        hub.accounts[TOKEN] = Account("alice", ("acme", "zoo"))
        yield hub


@pytest.fixture
def desk(tmp_path: Path, server: HubServer) -> Desk:
    return Desk(tmp_path, server.url)


def test_a_token_goes_into_the_hubs_store_and_nowhere_else(desk: Desk) -> None:
    outcomes = [
        desk.run("login", "--token-stdin", said=f"{TOKEN}\n"),
        desk.run("whoami"),
        desk.run("whoami", "--json"),
    ]
    assert [outcome.code for outcome in outcomes] == [0, 0, 0]
    assert outcomes[0].out == ""
    assert outcomes[0].err.endswith(" as alice\n")
    assert outcomes[1].out == "alice\n"
    assert json.loads(outcomes[2].out)["organizations"] == ["acme", "zoo"]
    assert (desk.hub_home / "token").read_text() == TOKEN
    assert not any(TOKEN in outcome.out + outcome.err for outcome in outcomes)
    assert not desk.has(TOKEN)

    assert desk.run("logout").code == 0
    assert not (desk.hub_home / "token").exists()
    after = desk.run("whoami")
    assert after.code == 1
    assert "modpm login" in after.err


@pytest.mark.parametrize("debug", ["0", "1"])
def test_a_wrong_token_is_refused_without_a_word_of_it(desk: Desk, debug: str) -> None:
    outcome = desk.run("login", "--token-stdin", said=WRONG_TOKEN, HF_DEBUG=debug)
    assert outcome.code == 1
    assert "the Hub does not accept this token" in outcome.err
    assert WRONG_TOKEN not in outcome.out + outcome.err
    assert not desk.has(WRONG_TOKEN)
    assert not (desk.hub_home / "token").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no terminals of that kind")
def test_a_token_that_is_typed_is_not_shown(desk: Desk) -> None:
    import pty  # noqa: PLC0415 -- not on every system

    child, terminal = pty.fork()
    if child == 0:
        os.chdir(desk.own[1])
        command = [sys.executable, "-m", "modpm.cli", "login"]
        os.execve(sys.executable, command, desk.environment)  # noqa: S606 -- a terminal of its own
    shown = b""
    while b"(not shown)" not in shown:
        shown += os.read(terminal, 1024)
    os.write(terminal, f"{TOKEN}\n".encode())
    with suppress(OSError):  # how a terminal ends
        while block := os.read(terminal, 1024):
            shown += block
    assert os.waitpid(child, 0)[1] == 0, shown
    os.close(terminal)
    assert b"as alice" in shown
    assert TOKEN.encode() not in shown
    assert (desk.hub_home / "token").read_text() == TOKEN


def test_no_token_at_all_is_refused(desk: Desk) -> None:
    assert "it is empty" in desk.run("login", "--token-stdin").err


def test_a_token_of_the_environment_is_named(desk: Desk) -> None:
    outcome = desk.run("logout", HF_TOKEN=TOKEN)
    assert outcome.code == 0
    assert "HF_TOKEN" in outcome.err
    assert TOKEN not in outcome.err
