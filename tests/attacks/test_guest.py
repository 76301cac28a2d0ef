"""modpm is a guest in the host's process: it changes nothing that is not its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.registry.backends.hub_server import Account, running_hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.registry.backends.hub_server import HubServer

TOKEN = "hf_token-of-alice"  # noqa: S105 -- the server's own

# What the host has is written down by a program of its own, in which nothing else has happened.
HOST = """
import json, logging, os, signal, socket, sys, threading, warnings
import httpx2
import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.utils import _http, are_progress_bars_disabled
from huggingface_hub.utils import logging as hub_logging

def state():
    root, of_hub = logging.getLogger(), logging.getLogger("huggingface_hub")
    return {
        "constants": {k: repr(v) for k, v in vars(constants).items() if k.isupper()},
        "factories": [repr(_http._GLOBAL_CLIENT_FACTORY), repr(_http._GLOBAL_ASYNC_CLIENT_FACTORY)],
        "session": id(_http._GLOBAL_CLIENT),
        "bars": are_progress_bars_disabled(),
        "verbosity": hub_logging.get_verbosity(),
        "loggers": [
            (each.level, [repr(h) for h in each.handlers], each.propagate, each.disabled)
            for each in (root, of_hub, logging.getLogger("httpx2"))
        ],
        "disabled loggers": sorted(
            n for n, l in logging.root.manager.loggerDict.items() if getattr(l, "disabled", False)
        ),
        "warnings": [repr(each) for each in warnings.filters],
        "environment": dict(os.environ),
        "httpx2": {k: id(v) for k, v in vars(httpx2).items() if not k.startswith("__")},
        "client": {k: id(v) for k, v in vars(httpx2.Client).items()},
        "timeout of sockets": socket.getdefaulttimeout(),
        "hooks": [repr(sys.excepthook), repr(threading.excepthook)],
        "signals": [repr(signal.getsignal(n)) for n in (signal.SIGINT, signal.SIGTERM)],
        "folder": os.getcwd(),
    }

huggingface_hub.get_session()
steps = [("at first", state())]
import modpm
steps.append(("import modpm", state()))
from modpm.registry.backends.opening import open_backend
registry = open_backend("hf://acme")
steps.append(("open hf://", state()))
modpm.publish([sys.argv[1]], "hf://acme")
steps.append(("publish", state()))
found = modpm.search("", ".", ["hf://acme"])
steps.append(("search", state()))
modpm.install(["digits/7"], ".", "hf://acme")
steps.append(("install", state()))
first = steps[0][1]
changed = [
    (step, key) for step, now in steps for key in first if now[key] != first[key]
]
print(json.dumps({"changed": changed, "found": [str(one.name) for one in found]}))
"""


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with running_hub() as server:
        server.accounts[TOKEN] = Account("alice", ("acme",))
        yield server


def test_nothing_of_the_host_is_changed_by_whatever_modpm_does(
    hub: HubServer, tmp_path: Path, repository: Path
) -> None:
    seven = repository / "specs" / "vectors" / "distribution" / "digits-7"
    kept = {name: text for name, text in os.environ.items() if not name.startswith("HF_")}
    own = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": TOKEN,
        "MODPM_HOME": str(tmp_path / "home"),
    }
    process = subprocess.run(
        [sys.executable, "-c", HOST, str(seven)],
        cwd=tmp_path,
        env={**kept, **own},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert process.returncode == 0, process.stderr[-2000:]
    told = json.loads(process.stdout)
    assert told["found"] == ["digits/7"]
    assert told["changed"] == []
