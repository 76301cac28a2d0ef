"""Digests: what names exact bytes, `sha256:` and 64 lower-case hexadecimal digits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import msgspec

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from pathlib import Path

# In JSON Schema and in Python, `$` alone would let a line feed pass at the end.
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$(?!\n)"

Digest = Annotated[
    str,
    msgspec.Meta(
        pattern=DIGEST_PATTERN,
        description="a digest, `sha256:` and 64 lower-case hexadecimal digits",
    ),
]


def digest_bytes(data: bytes) -> str:
    """Return the digest of `data`."""
    from hashlib import sha256  # noqa: PLC0415 -- slow to import, and not always needed

    return f"sha256:{sha256(data).hexdigest()}"


def digest_file(path: Path) -> str:
    """Return the digest of a file's bytes, read in blocks.

    Raises:
        OSError: The file cannot be read.
    """
    from hashlib import file_digest  # noqa: PLC0415 -- as above

    with path.open("rb") as file:
        return f"sha256:{file_digest(file, 'sha256').hexdigest()}"


def parse_digest(text: str, where: str | None = None) -> str:
    """Return `text`, which is a digest.

    Raises:
        ModpmError: `invalid-digest`, if it is not one.
    """
    if re.match(DIGEST_PATTERN, text) is None:
        raise ModpmError(
            f"`{text[:100]}` is not a digest",
            code="invalid-digest",
            where=where,
            hint="a digest is `sha256:` and 64 lower-case hexadecimal digits",
        )
    return text
