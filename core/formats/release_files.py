"""The files of a release, and what manifests, indexes and lockfiles say of them."""

from typing import Annotated, Final

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
WEIGHTS_FILE = "weights.safetensors"
"""The weights of a composition that was trained once it was composed (clause M-37)."""

RELEASE_FILES = (*FILE_NAMES, WEIGHTS_FILE)
"""What a release of either kind may have."""

WEIGHT_FILES = (*TENSOR_FILES, WEIGHTS_FILE)
SIGNATURE_FILE = "signature.json"

PICTURE_FILE = "picture.png"
MAX_EXAMPLES = 8
PICTURE_FILES = (PICTURE_FILE, *(f"example-{i + 1}.png" for i in range(MAX_EXAMPLES)))
"""Files that are for the eyes of who chooses: no installed release has them (clause M-33)."""

MAX_PICTURE_BYTES = 256 * 1024

INT8: Final = "int8"
VARIANTS = (INT8,)
"""Other forms that a release of a class module may have, each a release too (clause M-36)."""

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


def example_files(n: int) -> tuple[str, ...]:
    """Return what the files of `n` example images are called."""
    return PICTURE_FILES[1 : n + 1]


def variant_name(name: str, kind: str) -> str:
    """Return what a variant of a module is called (clause M-36)."""
    return f"{name}-{kind}"


class FileRecord(Record, frozen=True, kw_only=True):
    """One file of a distribution.

    Attributes:
        size_bytes: Its size.
        digest: The digest of its bytes.
    """

    size_bytes: Count
    digest: Digest
