"""Debian's `docker-registry`, the reference server of the OCI distribution protocol.

Install it with `apt-get install docker-registry`. It is started on a free loopback port from a
configuration of its own, and stopped by its process id.
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from itertools import count
from pathlib import Path
from typing import ClassVar

from tests.registry.backends.kinds.kind import Access, Kind

PROGRAM = "docker-registry"
START_TIMEOUT_SECONDS = 10.0

_MEMORY = "/dev/shm"  # noqa: S108 - the server waits for the disk with every write

_CONFIGURATION = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: "{storage}"}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
auth:
  htpasswd: {{realm: modpm, path: "{folder}/htpasswd"}}
"""
# The password `kept` with bcrypt: the server knows no other form.
_HTPASSWD = "publisher:$2b$04$7BRLIm6mEC7QgWW9exm4m.0NAVYms3YBae9oDPct/14TJ0tqbwuRO\n"


class Oci(Kind):
    """A server of OCI artifacts that asks for a password."""

    name = "oci"
    is_http = True
    asks_for_credentials = True

    _numbers: ClassVar[count[int]] = count()

    @classmethod
    def unavailable(cls) -> str | None:
        return None if shutil.which(PROGRAM) else f"`{PROGRAM}` is not installed"

    def start(self) -> None:
        self._port = _free_port()
        (self.folder / "htpasswd").write_text(_HTPASSWD, encoding="utf-8")
        configuration = self.folder / "config.yml"
        self._storage = tempfile.mkdtemp(dir=_MEMORY if Path(_MEMORY).is_dir() else None)
        text = _CONFIGURATION.format(storage=self._storage, folder=self.folder, port=self._port)
        configuration.write_text(text, encoding="utf-8")
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "serve", str(configuration)], stdout=log, stderr=log
            )
        self._wait_until_it_answers()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._storage)

    def renew(self) -> None:
        self._prefix = f"place-{next(self._numbers)}/modules"

    @property
    def port(self) -> int:
        return self._port

    def access(self, port: int | None = None) -> Access:
        return self._access("publisher", "kept", port or self._port)

    def strangers_access(self) -> tuple[Access, str]:
        secret = "a-password-that-is-wrong"  # noqa: S105 - what the test looks for
        return self._access("stranger", secret, self._port), secret

    def _access(self, user: str, password: str, port: int) -> Access:
        """Store credentials as `docker login` does."""
        folder = self.folder / f"docker-{user}-{port}"
        folder.mkdir(exist_ok=True)
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        stored = {"auths": {f"127.0.0.1:{port}": {"auth": basic}}}
        (folder / "config.json").write_text(json.dumps(stored), encoding="utf-8")
        url = f"oci://127.0.0.1:{port}/{self._prefix}"
        return Access(url, {"DOCKER_CONFIG": str(folder)})

    def _wait_until_it_answers(self) -> None:
        end = time.monotonic() + START_TIMEOUT_SECONDS
        while not _answers(self._port):
            if self._process.poll() is not None or time.monotonic() > end:
                self._process.kill()
                raise RuntimeError((self.folder / "log").read_text(encoding="utf-8"))
            time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5).close()
    except urllib.error.HTTPError as error:
        return error.code == 401  # it asks who is there
    except OSError:
        return False
    return True
