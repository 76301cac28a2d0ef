"""Debian's `docker-registry`, the reference server of the OCI distribution protocol.

Install it with `apt-get install docker-registry`. It is started on a free loopback port from a
configuration of its own, and stopped by its process id.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
from itertools import count
from pathlib import Path
from typing import ClassVar

from tests.registry.backends.kinds.kind import Access, Kind
from tests.registry.backends.servers.ports import free_ports, wait_for_port

PROGRAM = "docker-registry"

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
    keeps_indexes = False

    _numbers: ClassVar[count[int]] = count()

    @classmethod
    def unavailable(cls) -> str | None:
        return None if shutil.which(PROGRAM) else f"`{PROGRAM}` is not installed"

    def start(self) -> None:
        (self._port,) = free_ports(1)
        (self.folder / "htpasswd").write_text(_HTPASSWD, encoding="utf-8")
        configuration = self.folder / "config.yml"
        self._storage = tempfile.mkdtemp(dir=_MEMORY if Path(_MEMORY).is_dir() else None)
        text = _CONFIGURATION.format(storage=self._storage, folder=self.folder, port=self._port)
        configuration.write_text(text, encoding="utf-8")
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "serve", str(configuration)], stdout=log, stderr=log
            )
        wait_for_port(self._port)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._storage)

    def renew(self) -> None:
        self._prefix = f"place-{next(self._numbers)}/modules"

    @property
    def storage(self) -> Path:
        """Where the server keeps what it has."""
        return Path(self._storage)

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
