"""Answering a server that asks who is there, by what `docker login` or `oras login` stored."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import oras.auth
import oras.container
from oras.auth.utils import parse_auth_header

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    import requests

    from modpm.registry.backends.oci.server import Endpoint

# oras prints what it thinks of credentials to stderr, some of it in a server's own words.
logging.getLogger("oras.logger").disabled = True


class Credentials:
    """Who we are, for one server.

    Args:
        session: What is used to ask for a token.
        endpoint: The server.
    """

    def __init__(self, session: requests.Session, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        is_plain = endpoint.scheme == "http"
        self._tokens = oras.auth.get_auth_backend("token", session, insecure=is_plain)
        self._is_loaded = False

    def answer(self, refusal: requests.Response) -> dict[str, str] | None:
        """Return the headers with which a refused request may be accepted.

        Args:
            refusal: A response of status 401 or 403.

        Returns:
            The headers; None if there is nothing to answer with.

        Raises:
            ModpmError: `not-authorised`, if the stored credentials cannot be read.
            requests.RequestException: The server of tokens cannot be reached.
        """
        self._load()
        challenge = refusal.headers.get("WWW-Authenticate", "")
        if challenge.lower().startswith("basic"):
            basic: str | None = getattr(self._tokens, "_basic_auth", None)
            return None if basic is None else {"Authorization": f"Basic {basic}"}
        if not challenge.lower().startswith("bearer") or not self._is_safe(challenge):
            return None
        self._tokens.token = None  # it was refused, or is for another repository
        headers, is_changed = self._tokens.authenticate_request(refusal, {})
        return dict(headers) if is_changed else None

    def _is_safe(self, challenge: str) -> bool:
        """Say whether a password may be sent where the challenge says: not in the open."""
        realm = parse_auth_header(challenge).realm or ""
        return self._endpoint.scheme == "http" or urlsplit(realm).scheme == "https"

    def _load(self) -> None:
        if self._is_loaded:
            return
        config = self._endpoint.docker_config
        container = oras.container.Container("any/name")
        container.registry = self._endpoint.host
        try:
            self._tokens.load_configs(container, [config] if config else None)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise _unreadable(self._endpoint.host) from None
        self._is_loaded = True


def _unreadable(host: str) -> ModpmError:
    return ModpmError(
        "the stored credentials cannot be read",
        code="not-authorised",
        where=f"registry oci://{host}",
        why="Docker's `config.json`, or the helper that it names, is damaged",
        hint="run `docker login` or `oras login` again",
    )
