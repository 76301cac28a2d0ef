"""Logging in to the Hub: the token goes into huggingface_hub's own store, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

import httpx2
import huggingface_hub
from huggingface_hub import get_token

from modpm.core.errors import ModpmError
from modpm.registry.backends.hub.asking import Hub, RefusalError, endpoint, field, kept_token

_ORGANIZATIONS_PREFIX = "api_org"


@dataclass(frozen=True)
class Identity:
    """Who is logged in, with the organizations that the user belongs to, sorted."""

    name: str
    organizations: tuple[str, ...]
    endpoint: str


def login(token: str) -> Identity:
    """Check a token and keep it where every program of the Hub finds it.

    Args:
        token: The token; it is shown nowhere.

    Raises:
        ModpmError: `not-authorized`, if the Hub does not know the token; `network-failed`,
            `rate-limited`.
    """
    if not token.strip() or token.startswith(_ORGANIZATIONS_PREFIX):
        raise _not_a_token("it is empty" if not token.strip() else "it is an organization's")
    identity = _identity(token.strip())
    failure = None
    try:
        huggingface_hub.login(token=token.strip(), add_to_git_credential=False)
    except (httpx2.HTTPError, OSError, ValueError) as error:
        failure = type(error).__name__
    # Not where it was caught: what the library raises holds the request, and that the token.
    if failure is not None:
        raise _not_a_token(f"it cannot be kept ({failure})")
    return identity


def logout() -> bool:
    """Remove every token from the store; return whether the environment still gives one."""
    try:
        huggingface_hub.logout()
    except OSError:
        # Raised after the tokens are gone: git is not there to be told, or the environment has one.
        return get_token() is not None
    return False


def whoami() -> Identity:
    """Return who is logged in.

    Raises:
        ModpmError: `not-authorized`, if nobody is; `network-failed`, `rate-limited`.
    """
    token = kept_token(endpoint())
    if token is None:
        raise ModpmError(
            "nobody is logged in to the Hub",
            code="not-authorized",
            where=endpoint(),
            hint="log in with `modpm login`",
        )
    return _identity(token)


def _identity(token: str) -> Identity:
    place = endpoint()
    try:
        answer = Hub(place, token).call("GET", "/api/whoami-v2", place)
    except RefusalError as refusal:
        raise _not_a_token(refusal.why or "it is refused") from None
    name = str(field(answer, "name", place))
    organizations = answer.get("orgs") or []
    names = sorted(str(field(each, "name", place)) for each in organizations)
    return Identity(name, tuple(names), place)


def _not_a_token(why: str) -> ModpmError:
    return ModpmError(
        "the Hub does not accept this token",
        code="not-authorized",
        where=endpoint(),
        why=why,
        hint=f"make one that may write at {endpoint()}/settings/tokens",
    )
