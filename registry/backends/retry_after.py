"""How long an object store wants to be left alone, which its client library does not show."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import httpx2
import obstore
from obstore.exceptions import BaseError

from modpm.registry.backends import retrying

if TYPE_CHECKING:
    from obstore import SignCapableStore
    from obstore.store import ObjectStore

_VALIDITY = timedelta(minutes=1)
_UNSIGNED = ("AWS_SKIP_SIGNATURE", "GOOGLE_SKIP_SIGNATURE", "AZURE_SKIP_SIGNATURE")
_YES = {"1", "true", "on", "yes", "y"}


def retry_after(store: ObjectStore, path: str) -> str | None:
    """Ask a store that has had too many requests once more, and return its `Retry-After`.

    Args:
        store: The store.
        path: Any object; it need not be there.

    Returns:
        The header; None if the store does not say so, accepts requests again, or cannot be asked
        by a signed address.
    """
    # To sign all the same, the client would look for credentials that are not there.
    if any(os.environ.get(name, "").lower() in _YES for name in _UNSIGNED):
        return None
    try:
        url = obstore.sign(cast("SignCapableStore", store), "HEAD", path, _VALIDITY)
        answer = httpx2.head(url, timeout=retrying.TIMEOUT_SECONDS)
    except (BaseError, OSError, ValueError, httpx2.HTTPError, httpx2.InvalidURL):
        return None  # its text may hold the signed address
    if answer.status_code != retrying.TOO_MANY_REQUESTS:
        return None
    header: str | None = answer.headers.get("Retry-After")
    return header
