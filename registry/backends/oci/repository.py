"""One repository of an OCI registry: tags, manifests and blobs."""

from __future__ import annotations

import io
import os
import re
import time
from functools import partial
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlencode, urljoin, urlsplit

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.digest import DIGEST_PATTERN, digest_bytes
from modpm.core.formats.manifest import FileRecord
from modpm.registry.backends.oci.modelpack import EMPTY, MANIFEST_TYPE, record
from modpm.registry.backends.oci.server import (
    ACCEPTED,
    CREATED,
    NOT_FOUND,
    OK,
    PARTIAL_CONTENT,
    Server,
)
from modpm.registry.backends.retrying import ServerFault, persistently
from modpm.registry.backends.web import Request
from modpm.registry.storage.transfer import wrong_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import httpx2

MAX_TAGS = 100_000
BAD_REQUEST, RANGE_NOT_SATISFIABLE = 400, 416

_PAUSES_SECONDS = (0.02, 0.1)


class Repository:
    """One repository; nothing else uses its server, whose token is for it.

    Whatever asks the server raises what `Server.ask` does.
    """

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self._name = name
        self._has_empty_blob = False

    @property
    def location(self) -> str:
        """Where it is, for errors."""
        return f"oci://{self._server.host}/{self._name}"

    def tags(self) -> list[str] | None:
        """Return the OCI tags; None if there is no such repository.

        Raises:
            ModpmError: `too-large`; `invalid-json`.
        """
        pages = listed(self._server, f"/v2/{self._name}/tags/list", "tags")
        tags: list[str] = []
        for page in pages:
            if page is None:
                return None
            tags += page
            if len(tags) > MAX_TAGS:
                raise ModpmError(
                    f"the repository has more than {MAX_TAGS} tags",
                    code="too-large",
                    where=self.location,
                )
        return tags

    def manifest(self, reference: str) -> bytes | None:
        """Return the OCI manifest that a tag or a digest names; None if there is none.

        Raises:
            ModpmError: `wrong-digest`; `too-large`.
        """
        data = persistently(partial(self._manifest_once, reference), self.location)
        if data is not None and is_digest(reference) and digest_bytes(data) != reference:
            named = FileRecord(size_bytes=len(data), digest=reference)
            raise wrong_digest(digest_bytes(data), named, f"{self.location}@{reference}")
        return data

    def listed_manifest(self, tag: str) -> bytes | None:
        """Return the OCI manifest of a tag that was listed; None if it has been deleted.

        docker-registry misses a tag for a moment when it is written again.
        """
        for pause_seconds in _PAUSES_SECONDS:
            data = self.manifest(tag)
            if data is not None:
                return data
            time.sleep(pause_seconds)
        return self.manifest(tag)

    def put_manifest(self, reference: str, data: bytes) -> None:
        """Write an OCI manifest under a tag, which it may have already, or under its digest.

        Its blobs are there already.
        """
        persistently(partial(self._put_manifest_once, reference, data), self.location)

    def put_record(self, tag: str, annotations: Mapping[str, str]) -> None:
        """Write an OCI manifest that says something by its annotations alone."""
        if not self._has_empty_blob:
            self.put_bytes(EMPTY)
            self._has_empty_blob = True
        self.put_manifest(tag, record(annotations))

    def put_bytes(self, data: bytes) -> None:
        """Write a blob."""
        file = FileRecord(size_bytes=len(data), digest=digest_bytes(data))
        self.put_blob(file, data)

    def put_blob(self, file: FileRecord, content: Path | bytes) -> None:
        """Write a blob that may be there already; the server checks that it is the file.

        Raises:
            ModpmError: `wrong-digest`, if it is something else.
        """
        look = Request("HEAD", f"/v2/{self._name}/blobs/{file.digest}")
        ask = partial(self._server.ask, look, OK, NOT_FOUND)
        response = persistently(ask, self.location)
        response.close()
        if response.status_code == OK:
            return
        persistently(partial(self._upload_once, file, content), self.location)

    def open_blob(self, digest: str, offset: int) -> BinaryIO | None:
        """Open a blob from a byte on; None if it is not there."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        request = Request("GET", f"/v2/{self._name}/blobs/{digest}", headers)
        accepted = (OK, PARTIAL_CONTENT, NOT_FOUND, RANGE_NOT_SATISFIABLE)
        response = persistently(partial(self._server.ask, request, *accepted), self.location)
        if response.status_code == NOT_FOUND:
            response.close()
            return None
        return self._server.web.opened(response, offset, self.location)

    def _manifest_once(self, reference: str) -> bytes | None:
        path = f"/v2/{self._name}/manifests/{reference}"
        headers = {"Accept": f"{MANIFEST_TYPE}, */*;q=0.1"}
        response = self._server.ask(Request("GET", path, headers), OK, NOT_FOUND)
        if response.status_code == NOT_FOUND:
            response.close()
            return None
        limit = canonical_json.MAX_SIZE_BYTES
        return self._server.read(response, limit, "an OCI manifest")

    def _put_manifest_once(self, reference: str, data: bytes) -> None:
        path, headers = f"/v2/{self._name}/manifests/{reference}", {"Content-Type": MANIFEST_TYPE}
        request = Request("PUT", path, headers, data)
        response = self._server.ask(request, OK, CREATED, BAD_REQUEST, NOT_FOUND)
        if response.status_code in {BAD_REQUEST, NOT_FOUND}:
            # docker-registry misses a blob for a moment when another writer uploads it again.
            why = self._server.web.told(response)
            raise ServerFault(f"it does not take an OCI manifest: {why}")
        response.close()

    def _upload_once(self, file: FileRecord, content: Path | bytes) -> None:
        started = self._server.ask(Request("POST", f"/v2/{self._name}/blobs/uploads/"), ACCEPTED)
        started.close()
        place = self._place_of(started)
        joint = "&" if urlsplit(place).query else "?"
        request = Request(
            "PUT",
            f"{place}{joint}{urlencode({'digest': file.digest})}",
            {"Content-Type": "application/octet-stream"},
            partial(_open_whole, content, file, self.location),
        )
        response = self._server.ask(request, CREATED, ACCEPTED, BAD_REQUEST)
        response.close()
        if response.status_code == BAD_REQUEST:
            raise _other_bytes(file, self.location)

    def _place_of(self, started: httpx2.Response) -> str:
        place = urljoin(str(started.url), started.headers.get("Location", ""))
        if urlsplit(place).scheme != self._server.scheme:
            raise ServerFault("it asks for an upload to be sent elsewhere, without encryption")
        return place


def listed(server: Server, path: str, key: str) -> Iterator[list[str] | None]:
    """Give the pages of a list that the server calls `key`; None if there is no such list.

    Raises:
        ModpmError: As `Server.ask`; `invalid-json`; `too-large`.
    """
    next_path: str | None = path
    while next_path is not None:
        page, next_path = persistently(partial(_page, server, next_path, key), server.location)
        yield page


def is_digest(reference: str) -> bool:
    """Say whether a reference is a digest, and no tag."""
    return re.match(DIGEST_PATTERN, reference) is not None


def _page(server: Server, path: str, key: str) -> tuple[list[str] | None, str | None]:
    response = server.ask(Request("GET", path), OK, NOT_FOUND)
    if response.status_code == NOT_FOUND:
        response.close()
        return None, None
    raw = canonical_json.decode(
        server.read(response, canonical_json.MAX_SIZE_BYTES, "a list"), server.location
    )
    found = raw.get(key) if isinstance(raw, dict) else None
    texts = [text for text in found if isinstance(text, str)] if isinstance(found, list) else []
    link = response.links.get("next", {}).get("url")
    # A page without anything in it is the last, lest a server sends us round for ever.
    return texts, urljoin(str(response.url), link) if link and texts else None


def _open_whole(content: Path | bytes, file: FileRecord, where: str) -> BinaryIO:
    opened = io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
    if opened.seek(0, os.SEEK_END) != file.size_bytes:
        opened.close()
        raise _other_bytes(file, where)
    opened.seek(0)
    return opened


def _other_bytes(file: FileRecord, where: str) -> ModpmError:
    return ModpmError(
        "a file is not the one that was verified",
        code="wrong-digest",
        where=where,
        why=f"the registry finds that its bytes have not the digest {file.digest}",
        hint="the file changed meanwhile: write the distribution again, and publish it then",
    )
