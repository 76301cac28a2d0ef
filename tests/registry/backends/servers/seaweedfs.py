"""SeaweedFS: an object store that speaks S3, with conditional writes, on loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.registry.backends.servers.ports import free_ports, wait_for_port

_LISTENERS = ("s3", "master", "volume", "filer")


def program() -> str | None:
    """Return where `weed` is: beside this Python, or on the path."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.is_file() else shutil.which("weed")


class SeaweedFS:
    """A server of its own, with one identity that may do everything.

    Args:
        folder: For what it keeps.
    """

    access_key = "modpm-tests"
    secret_key = "only-on-loopback"  # noqa: S105 - nothing else is kept there

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        """Start it, and wait until S3 answers."""
        weed = program()
        assert weed is not None
        credentials = {"accessKey": self.access_key, "secretKey": self.secret_key}
        identity = {"name": "modpm", "credentials": [credentials], "actions": ["Admin"]}
        config = self._folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}))
        ports = dict(zip(self._port_flags(), free_ports(2 * len(_LISTENERS)), strict=True))
        self.port = ports["s3.port"]
        flags = {
            **ports,
            "dir": self._folder,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 64,
            "volume.max": 100,
            "filer.localSocket": self._folder / "filer.sock",
            "s3.localSocket": self._folder / "s3.sock",
            "s3.config": config,
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
        }
        command = [weed, f"-logdir={self._folder}", "server", "-s3"]
        with (self._folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [*command, *(f"-{name}={value}" for name, value in flags.items())],
                stdout=output,
                stderr=output,
            )
        wait_for_port(self.port)

    def stop(self) -> None:
        """Stop it at once: nothing that it keeps is wanted again, and it takes its time."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _port_flags(self) -> list[str]:
        return [f"{name}.port{kind}" for name in _LISTENERS for kind in ("", ".grpc")]
