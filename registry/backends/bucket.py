"""A bucket of an object store: objects are read, created, and replaced by who knows their state.

Errors of the client library are told in our words: its own hold whole answers of the server,
with the name of the user's key in them.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotModifiedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import from_url

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.registry.backends import plain_http, retrying, streaming
from modpm.registry.backends.layout import REGISTRY_FILE, registry_missing
from modpm.registry.backends.refusals import network_failed, not_authorized
from modpm.registry.backends.web import Request, Web
from modpm.registry.storage.transfer import checked, receive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from obstore import (
        GetOptions,
        GetResult,
        PutMode,
        SignCapableStore,
        UpdateVersion,
    )
    from obstore.store import ClientConfig, ObjectStore

    from modpm.core.formats.manifest import FileRecord

PART_BYTES = 8 * 1024 * 1024
"""A larger file is uploaded in parts of this size."""

_N_PARTS_AT_ONCE = 2
_UPLOAD_PATIENCE = 30  # times the time for an answer: the client counts sending as waiting for it
_SMALL_BYTES = 64 * 1024
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT")
_STATUS = re.compile(r"status code: (\d{3})")
_ERROR_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist", re.IGNORECASE)
_CREDENTIAL_CODES = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId"}
_CREDENTIAL_SERVERS = ("169.254.", "metadata.google.internal")
_UNSIGNED = ("AWS_SKIP_SIGNATURE", "GOOGLE_SKIP_SIGNATURE", "AZURE_SKIP_SIGNATURE")
_YES = {"1", "true", "on", "yes", "y"}
_NOT_FOUND, _CONFLICT, _BEYOND_THE_END = 404, 409, 416
_DENIED = {401, 403}

_Answer = TypeVar("_Answer")


class Document(NamedTuple):
    """A small object, and what tells the store which state of it this is."""

    data: bytes | None
    state: UpdateVersion


class Folder(NamedTuple):
    """What is directly in a folder, by the ends of their names."""

    folders: set[str]
    objects: set[str]


class _BeyondTheEndError(Exception):
    """The first byte that was asked for is not in the object."""


class Bucket:
    """A bucket, or what is under a prefix of one: `s3://bucket/prefix`, `gs://…` or `az://…`.

    Credentials and endpoint come from the environment, as those stores name them.

    Raises:
        ModpmError: `not-authorized`, if the environment does not say enough.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._store = self._open(retrying.TIMEOUT_SECONDS)
        self._store_for_uploads = self._open(retrying.TIMEOUT_SECONDS * _UPLOAD_PATIENCE)

    def document(self, path: str, seen: str | None = None) -> Document | None:
        """Return a small object, or enough of it to see that it is too large; None if absent.

        There are no bytes if it still has the ETag that was `seen`.
        """
        options: GetOptions = {} if seen is None else {"if_none_match": seen}

        def ask() -> Document:
            result = obstore.get(self._store, path, options=options)
            n_bytes = canonical_json.MAX_SIZE_BYTES + 1
            content = bytearray()
            for piece in result.stream(min_chunk_size=1):
                content += piece
                if len(content) >= n_bytes:
                    break
            data = bytes(content[:n_bytes])
            # What the store knows a state by; not every store gives both.
            meta = cast("dict[str, Any]", result.meta)
            state = {name: meta[name] for name in ("e_tag", "version") if meta[name] is not None}
            return Document(data, cast("UpdateVersion", state))

        try:
            return self._asked(ask)
        except NotModifiedError:
            return Document(None, {"e_tag": seen})
        except FileNotFoundError:
            return None

    def replace(self, path: str, data: bytes, seen: Document | None) -> bool:
        """Replace a small object in one step, and say whether; not if it is not what was `seen`."""
        mode: PutMode = "create" if seen is None else seen.state
        try:
            self._asked_of_bucket(lambda: obstore.put(self._store, path, data, mode=mode))
        except (AlreadyExistsError, PreconditionError):
            return False
        return True

    def upload(self, path: str, source: Path, record: FileRecord) -> None:
        """Make sure that an object holds a file, whose digest its path names.

        It is written without conditions: whoever writes it writes the same bytes, and a store
        lets writers of one object wait for each other where they make conditions. A large one is
        not sent again if it is there.

        Raises:
            ModpmError: `truncated` or `wrong-digest`, if the file is not what its record says.
        """
        if record.size_bytes > _SMALL_BYTES and self._has(path, record):
            return
        store = self._store_for_uploads
        if record.size_bytes > PART_BYTES:
            self._asked_of_bucket(
                lambda: obstore.put(
                    store,
                    path,
                    _checked_parts(source, record),
                    use_multipart=True,
                    chunk_size=PART_BYTES,
                    max_concurrency=_N_PARTS_AT_ONCE,
                )
            )
            return
        with source.open("rb") as file:
            data = receive(file, record, str(source))
        self._asked_of_bucket(lambda: obstore.put(store, path, data, chunk_size=PART_BYTES))

    def pieces(self, path: str, offset: int) -> Iterator[bytes]:
        """Return the bytes of an object from one on; the server is asked for them at once.

        Raises:
            FileNotFoundError: There is no such object.
        """
        options: GetOptions = {"range": {"offset": offset}} if offset > 0 else {}
        try:
            result = self._asked(lambda: obstore.get(self._store, path, options=options))
        except _BeyondTheEndError:
            return iter(())
        return self._received(result, path)

    def folder(self, path: str | None) -> Folder:
        """Return what is directly in a folder; None for the outermost."""
        found = self._asked_of_bucket(lambda: obstore.list_with_delimiter(self._store, path))
        return Folder(
            {prefix.rpartition("/")[2] for prefix in found["common_prefixes"]},
            {item["path"].rpartition("/")[2] for item in found["objects"]},
        )

    def _open(self, answer_seconds: float) -> ObjectStore:
        client: ClientConfig = {
            "connect_timeout": timedelta(seconds=retrying.TIMEOUT_SECONDS),
            "read_timeout": timedelta(seconds=answer_seconds),
            "timeout": timedelta(days=1),  # of a whole file, however large
            "allow_http": _is_plain(),
        }
        try:
            # Asking again is decided in one place for every kind of registry.
            return from_url(self._url, client_options=client, retry_config={"max_retries": 0})
        except (BaseError, ValueError) as error:
            raise self._denied(str(error).partition("\n")[0][:200]) from None

    def _has(self, path: str, record: FileRecord) -> bool:
        try:
            head = self._asked(lambda: obstore.head(self._store, path))
        except FileNotFoundError:
            return False
        return head["size"] == record.size_bytes

    def _received(self, result: GetResult, path: str) -> Iterator[bytes]:
        pieces, pace, is_kept = iter(result.stream(min_chunk_size=1)), streaming.Pace(), True
        try:
            while is_kept:
                piece, is_kept = pace.is_kept(lambda: bytes(next(pieces, b"")))
                if not piece:
                    return
                yield piece
        except (BaseError, OSError):
            raise streaming.cut(f"{self._url}/{path}") from None
        fault = retrying.ServerFault("it sends next to nothing", self._url, is_unreachable=True)
        retrying.suspect(fault)
        raise streaming.cut(f"{self._url}/{path}", fault.why)

    def _asked(self, ask: Callable[[], _Answer]) -> _Answer:
        def ask_once() -> _Answer:
            retrying.check_host(self._url)
            try:
                answer = ask()
            except (AlreadyExistsError, NotModifiedError, PreconditionError):
                raise
            except (BaseError, OSError) as error:
                raise self._explained(error) from None
            retrying.host_answers(self._url)
            return answer

        return retrying.persistently(ask_once, self._url)

    def _asked_of_bucket(self, ask: Callable[[], _Answer]) -> _Answer:
        """Ask for what only a missing bucket can lack."""
        try:
            return self._asked(ask)
        except FileNotFoundError:
            raise self._missing() from None

    def _explained(self, error: Exception) -> Exception:
        text = str(error)
        status = int(match[1]) if (match := _STATUS.search(text)) else None
        code = match[1] if (match := _ERROR_CODE.search(text)) else ""
        if isinstance(error, FileNotFoundError) or status == _NOT_FOUND:
            return self._missing() if _NO_BUCKET.search(text) else FileNotFoundError()
        if status == _BEYOND_THE_END:
            return _BeyondTheEndError()
        if (
            isinstance(error, PermissionDeniedError | UnauthenticatedError)
            or status in _DENIED
            or code in _CREDENTIAL_CODES
        ):
            return self._denied(f"it answers {code or status}")
        if any(server in text for server in _CREDENTIAL_SERVERS):
            return self._denied("the environment holds no credentials")
        return self._fault(text, status, code)

    def _fault(self, text: str, status: int | None, code: str) -> Exception:
        if status == _CONFLICT:
            return retrying.ServerFault("other writers are at the same object")
        if "HTTP error" in text and status is None:
            late = "timed out" in text or "TimedOut" in text
            why = "it does not answer in time" if late else "no connection"
            return retrying.ServerFault(why, self._url, is_unreachable=True)
        fault = None if status is None else self._fault_of_status(status)
        why = f"it answers with status {status} {code}" if status else text.partition("\n")[0]
        hint = "check region and endpoint in the environment (for S3 AWS_REGION, AWS_ENDPOINT_URL)"
        what = "the object store refuses a request"
        return fault or network_failed(what, self._url, why, hint)

    def _fault_of_status(self, status: int) -> retrying.ServerFault | None:
        is_limit = status == retrying.TOO_MANY_REQUESTS
        return (self._rate_limit() if is_limit else None) or retrying.fault_of_status(
            status, None, self._url
        )

    def _rate_limit(self) -> retrying.ServerFault | None:
        """Ask once more by a signed address: the client library shows no `Retry-After`."""
        # To sign all the same, the client would look for credentials that are not there.
        if any(os.environ.get(name, "").lower() in _YES for name in _UNSIGNED):
            return None
        store = cast("SignCapableStore", self._store)
        try:
            url = obstore.sign(store, "HEAD", REGISTRY_FILE, timedelta(minutes=1))
            Web(self._url).ask(Request("HEAD", url, led="nowhere")).close()
        except retrying.ServerFault as fault:
            return replace(fault, host=self._url) if fault.is_rate_limit else None
        except (BaseError, OSError, ValueError, ModpmError):
            return None  # its text may hold the signed address
        return None

    def _missing(self) -> ModpmError:
        hint = "make the bucket, or correct the address"
        return registry_missing(self._url, "the bucket does not exist", hint)

    def _denied(self, why: str) -> ModpmError:
        hint = (
            "set its credentials in the environment (for S3 AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and AWS_REGION; AWS_SKIP_SIGNATURE=true for a public bucket)"
        )
        return not_authorized("the object store does not let you in", self._url, why, hint)


def _is_plain() -> bool:
    """Say whether the environment names an endpoint that is asked without encryption."""
    endpoints = {name: os.environ[name] for name in _ENDPOINTS if os.environ.get(name)}
    for name, url in endpoints.items():
        plain_http.check_endpoint(name, url)
    return any(url.startswith("http://") for url in endpoints.values())


def _checked_parts(source: Path, record: FileRecord) -> Iterator[bytes]:
    """Give the bytes of a file; whoever takes them learns before the end if they are others."""
    with source.open("rb") as file:
        block = memoryview(bytearray(PART_BYTES))  # not of the thread: any may take the next part
        yield from map(bytes, checked(file, record, str(source), block))
