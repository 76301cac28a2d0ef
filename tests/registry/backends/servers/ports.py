"""Ports of 127.0.0.1 for servers that must be told which to take."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, closing

START_SECONDS = 30.0


def free_ports(n: int) -> list[int]:
    """Return ports that nobody listens on; all are held until the last is found."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for_port(port: int) -> None:
    """Wait until somebody listens.

    Raises:
        TimeoutError: If nobody does for half a minute.
    """
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(f"nobody listens on port {port}")
