"""How modpm speaks with the Hub: huggingface_hub's own session, made patient and quiet.

huggingface_hub waits for a server without end, asks an unreachable one for 23 seconds, and sleeps
as long as a server says. What is asked `patiently` gets modpm's own policy instead
(`registry.backends.retrying`); what other parts of the process ask keeps the library's.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from logging import ERROR
from threading import Lock
from typing import TYPE_CHECKING, Any

import httpx2
from huggingface_hub import constants, get_session, set_client_factory
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented, not declared
    disable_progress_bars,
    logging,
    parse_ratelimit_headers,
)

from modpm.core.errors import ModpmError
from modpm.registry.backends import retrying
from modpm.registry.backends.retrying import ServerFault, fault_of_status, persistently

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LIBRARY = "modpm"
CONNECT_SECONDS = 5.0
"""How long a server may take to be reached at all; it is not tried again then."""

_NO_LIMIT = httpx2.Timeout(None).as_dict()
_is_patient = ContextVar("_is_patient", default=False)
_preparing = Lock()  # a client that is replaced while another thread asks for it is None


def prepare() -> None:
    """Make huggingface_hub quiet, and able to be patient, for the rest of this process."""
    with _preparing:
        _prepare_once()


@cache
def _prepare_once() -> None:
    constants.HF_HUB_DISABLE_TELEMETRY = True
    disable_progress_bars()
    logging.set_verbosity(ERROR)
    hooks = get_session().event_hooks  # with the library's own, which refuse to work offline
    set_client_factory(
        lambda: _PatientClient(event_hooks=hooks, follow_redirects=True, timeout=None)
    )


@contextmanager
def patiently() -> Iterator[None]:
    """Ask by modpm's policy, for as long as the block lasts."""
    before = _is_patient.set(True)
    try:
        yield
    finally:
        _is_patient.reset(before)


class _PatientClient(httpx2.Client):
    """A client that asks again, and gives up, as modpm's policy says."""

    def request(self, method: str, url: httpx2.URL | str, **options: Any) -> httpx2.Response:  # noqa: ANN401 -- the base's
        """Send a request; the file that an upload holds is sent from its start each time."""
        file: Any = options.get("data")
        if not hasattr(file, "read"):
            return super().request(method, url, **options)
        del options["data"]  # httpx2 wants it to be called content
        if not _is_patient.get():
            return super().request(method, url, content=file, **options)

        def upload() -> httpx2.Response:
            file.seek(0)
            return self._send_once(self.build_request(method, url, content=file, **options), {})

        return persistently(upload, _origin(httpx2.URL(url)))

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:  # noqa: ANN401 -- the base's
        """Send a request, and again while the server is at fault.

        Raises:
            ModpmError: `network-failed` or `rate-limited`.
        """
        if not _is_patient.get():
            return super().send(request, **options)
        return persistently(partial(self._send_once, request, options), _origin(request.url))

    def _send_once(self, request: httpx2.Request, options: Mapping[str, Any]) -> httpx2.Response:
        if request.extensions.get("timeout") == _NO_LIMIT:
            request.extensions["timeout"] = _timeout().as_dict()
        failure: Exception
        try:
            response = super().send(request, **options)
        except httpx2.ConnectTimeout:
            failure = _unreachable(_origin(request.url))
        except httpx2.TransportError as error:
            failure = ServerFault(f"the connection failed ({type(error).__name__})")
        else:
            fault = fault_of_status(response.status_code, _retry_after(response.headers))
            if fault is None:
                return response
            response.close()
            failure = fault
        # Not where it was caught: what httpx2 raises holds the request, and that the token.
        raise failure


def _origin(url: httpx2.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def _timeout() -> httpx2.Timeout:
    seconds = retrying.TIMEOUT_SECONDS
    return httpx2.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds), pool=None)


def _retry_after(headers: Mapping[str, str]) -> str | None:
    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        return str(limit.reset_in_seconds)
    return headers.get("Retry-After")


def _unreachable(where: str) -> ModpmError:
    return ModpmError(
        "the Hub cannot be reached",
        code="network-failed",
        where=where,
        why=f"there was no connection in {CONNECT_SECONDS:g} seconds",
        hint="check the connection, and run the command again",
    )
