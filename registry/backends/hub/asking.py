"""Asking the Hub through huggingface_hub, with answers and refusals as modpm's own.

No error ever holds a token: what a server says is cleaned of it, since a server can say back what
it was sent, and the library's exceptions, which hold the request, are left behind.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

import httpx2
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    OIDCError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from modpm.core.errors import ModpmError
from modpm.registry.backends.hub.session import patiently

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")

UNAUTHORISED, FORBIDDEN, MISSING, CONFLICT, STALE = 401, 403, 404, 409, 412

_FOREIGN = (
    httpx2.HTTPError,
    OfflineModeIsEnabled,
    OIDCError,
    ValueError,
    LookupError,
    TypeError,
)
_MAX_TOLD = 500
_ADDRESS = re.compile(r"\S*://\S*")  # it may be signed, and as good as a token


class RefusalError(ModpmError):
    """What the Hub does not do.

    Args:
        status: The status of HTTP that it answered with.
        what, code, where, why, hint: As for `ModpmError`.
    """

    def __init__(
        self, status: int, what: str, *, code: str, where: str, why: str, hint: str | None = None
    ) -> None:
        super().__init__(what, code=code, where=where, why=why, hint=hint)
        self.status = status


class MissingError(RefusalError):
    """A repository, revision or file that is not there, or not for who asks."""


def ask(call: Callable[[], Answer], where: str) -> Answer:
    """Return what a call of huggingface_hub gives.

    Args:
        call: The call.
        where: The registry or repository, for errors.

    Raises:
        MissingError: Code `missing-file`.
        RefusalError: Any other answer that is an error: `not-authorised` or `network-failed`.
        ModpmError: `network-failed`, `rate-limited` or `invalid-card`.
    """
    try:
        with patiently():
            return call()
    except _FOREIGN as error:
        failure = _failure(error, where)
    except RuntimeError as error:
        # What fails while a large file is uploaded is wrapped by huggingface_hub.
        failure = _failure(error.__cause__ or error, where)
    # Not where it was caught: what the library raises holds the request, and that the token.
    raise failure


def _failure(error: BaseException, where: str) -> ModpmError:
    if isinstance(error, ModpmError):
        return error
    if isinstance(error, HfHubHTTPError):
        return _refusal(error, where)
    if isinstance(error, OIDCError):
        return _not_authorised(UNAUTHORISED, where, "no token was given for `HF_OIDC_RESOURCE`")
    if isinstance(error, ValueError) and str(error).startswith("Invalid metadata"):
        return _invalid_card(error, where)
    if isinstance(error, OfflineModeIsEnabled):
        return _failed(where, "`HF_HUB_OFFLINE` is set", "unset it, or use what is in the store")
    return _failed(where, _reason(error))


def _reason(error: BaseException) -> str:
    kind = type(error).__name__
    if isinstance(error, httpx2.HTTPError):
        return f"the connection failed ({kind})"
    if isinstance(error, RuntimeError):
        return f"the upload failed: {_ADDRESS.sub('…', str(error))[:_MAX_TOLD]}"
    return f"its answer cannot be understood ({kind})"


def _invalid_card(error: ValueError, where: str) -> ModpmError:
    return ModpmError(
        "the Hub does not accept the front matter of the card",
        code="invalid-card",
        where=f"{where}, README.md",
        why=str(error).partition("\n")[2][:_MAX_TOLD],
        hint="make the distribution again without a card of your own, or mend the card",
    )


def _refusal(error: HfHubHTTPError, where: str) -> ModpmError:
    status, told = error.response.status_code, _told(error)
    if isinstance(error, GatedRepoError):
        return _not_authorised(status, where, "the repository is gated: its owner decides who")
    if isinstance(error, RepositoryNotFoundError):
        return _missing(status, where, "there is no such repository, or it is private")
    if isinstance(error, RevisionNotFoundError):
        return _missing(status, where, "the repository has no such tag or commit")
    if isinstance(error, RemoteEntryNotFoundError):
        return _missing(status, where, "the repository has no such file")
    if status in {UNAUTHORISED, FORBIDDEN}:
        return _not_authorised(status, where, told)
    return RefusalError(
        status, "the Hub refuses the request", code="network-failed", where=where, why=told
    )


def _missing(status: int, where: str, why: str) -> MissingError:
    return MissingError(
        status,
        "this is not on the Hub",
        code="missing-file",
        where=where,
        why=why,
        hint="if it is private, log in with `modpm login`",
    )


def _not_authorised(status: int, where: str, why: str) -> RefusalError:
    return RefusalError(
        status,
        "the Hub does not allow this",
        code="not-authorised",
        where=where,
        why=why,
        hint="log in with `modpm login`, with a token that may do this",
    )


def _failed(where: str, why: str, hint: str | None = None) -> ModpmError:
    return ModpmError(
        "the Hub cannot be asked",
        code="network-failed",
        where=where,
        why=why,
        hint=hint or "check the connection, and run the command again",
    )


def _told(error: HfHubHTTPError) -> str:
    """Return what the server said, on one line and without the token that it was sent."""
    status = f"it answers with status {error.response.status_code}"
    said = " ".join((error.server_message or "").split())
    if token := error.response.request.headers.get("authorization", "").partition(" ")[2]:
        said = said.replace(token, "(your token)")
    said = "".join(c for c in said if c.isprintable())[:_MAX_TOLD]
    return f"{status}: {said}" if said else status
