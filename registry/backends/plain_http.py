"""To whom modpm speaks without encryption: to this machine, and to whom the user says."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

from modpm.core.errors import ModpmError
from modpm.registry.permissions import PLAIN_HTTP

VARIABLE = "MODPM_ALLOW_HTTP"
"""`1` for every server, or the servers (`host` or `host:port`), between commas."""


def check(url: str) -> None:
    """Refuse an address of plain http that nobody allowed.

    Raises:
        ModpmError: `insecure-http`.
    """
    parts = urlsplit(url)
    if parts.scheme == "http" and not (may_be(parts.netloc) or may_be(parts.hostname or "")):
        raise ModpmError(
            "this server would be asked without encryption",
            code="insecure-http",
            where=f"http://{parts.netloc.rpartition('@')[2][:200]}",
            why="whoever is on the way could read and change what is sent",
            hint="use https://, or allow it with `--allow-http` or the variable "
            f"`{VARIABLE}` (`1`, or names of servers between commas)",
        )


def check_endpoint(variable: str, url: str) -> None:
    """Refuse what a variable gives as the address of a server, if it is none, or a plain one.

    Raises:
        ModpmError: `invalid-environment`, `insecure-http`.
    """
    if not url.startswith(("http://", "https://")):
        raise ModpmError(
            f"`{variable}` is not the address of a server",
            code="invalid-environment",
            why="it has no `https://` at its beginning",
            hint=f"write `https://` and the name of the server into `{variable}`",
        )
    check(url)


def may_be(host: str) -> bool:
    """Say whether a server, by name or name and port, may be spoken to without encryption."""
    return PLAIN_HTTP.is_given or os.environ.get(VARIABLE) == "1" or is_expected(host)


def is_expected(host: str) -> bool:
    """Say whether a server is spoken to without encryption: one of this machine, or named so."""
    named = {part.strip().lower() for part in os.environ.get(VARIABLE, "").split(",")}
    return host.lower() in named - {""} or is_loopback(host)


def is_loopback(host: str) -> bool:
    """Say whether a server, by its name or its name and port, is this machine."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
