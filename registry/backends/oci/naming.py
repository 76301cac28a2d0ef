"""What repositories and OCI tags are called (clauses O-1, O-2, O-9, O-10).

An OCI tag has letters, digits, `_`, `.` and `-`; a version may also hold `!` and `+`. Versions
begin with a digit, a module's own tags never begin with `_`, and records begin with `_yank.`, so
that each OCI tag can be read in one way only.
"""

from __future__ import annotations

import re

from packaging.utils import canonicalize_version

from modpm.core.errors import ModpmError
from modpm.core.formats.requirements import Requirement
from modpm.registry.index import read_version

YANK_PREFIX = "_yank."

_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_REPLACED = str.maketrans({"!": "-", "+": "_"})
_RESTORED = str.maketrans({"-": "!", "_": "+"})


def tag_of_version(version: str) -> str:
    """Return the OCI tag of a version in canonical form."""
    tag = version.translate(_REPLACED)
    return tag if tag == version else f"_{tag}"


def version_of_tag(tag: str) -> str | None:
    """Return the version whose OCI tag it is; None for any other tag."""
    text = tag[1:].translate(_RESTORED) if tag.startswith("_") else tag
    return text if read_version(text) is not None and tag_of_version(text) == tag else None


def claim_key(version: str) -> str:
    """Return what claims call a version: 1.0 and 1.0.0 are one."""
    return tag_of_version(canonicalize_version(version))


def yank_tag(version: str) -> str:
    """Return the OCI tag of the record that says whether a version is yanked."""
    return f"{YANK_PREFIX}{tag_of_version(version)}"


def is_module_tag(tag: str) -> bool:
    """Say whether an OCI tag can be a tag of a module, such as `stable`."""
    try:
        return Requirement.parse(f"a/b@{tag}", where="").tag == tag
    except ModpmError:
        return False


def is_repository(text: str) -> bool:
    """Say whether a text can be the name of a repository, or a part of one."""
    return all(_COMPONENT.fullmatch(part) for part in text.split("/"))
