"""The files of a release, and what manifests, indexes and lockfiles say of them."""

from typing import Annotated

import msgspec

from modpm.core.formats.digest import Digest
from modpm.core.formats.records import Record

MANIFEST_FILE = "manifest.json"
TENSOR_FILE = "module.safetensors"
SHARED_FILE = "shared.safetensors"
CARD_FILE = "README.md"
LICENSE_FILE = "LICENSE"
TENSOR_FILES = (TENSOR_FILE, SHARED_FILE)
FILE_NAMES = (*TENSOR_FILES, CARD_FILE, LICENSE_FILE)
SIGNATURE_FILE = "signature.json"

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=10_000)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Name = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(?=[^/]{1,64}/[^/]{1,64}$)(?!(.*/)?(con|prn|aux|nul|(com|lpt)[0-9])(/|$))"
        r"[a-z0-9]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*$(?!\n)",
        description="a normalized module name, such as `cifar10/cat`",
    ),
]
Namespace = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(?=.{1,64}$)(?!(con|prn|aux|nul|(com|lpt)[0-9])$)[a-z0-9]+(-[a-z0-9]+)*$(?!\n)",
        description="a normalized namespace, such as `cifar10`",
    ),
]


class FileRecord(Record, frozen=True, kw_only=True):
    """One file of a distribution.

    Attributes:
        size_bytes: Its size.
        digest: The digest of its bytes.
    """

    size_bytes: Count
    digest: Digest
