from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_bytes, digest_file, parse_digest

if TYPE_CHECKING:
    from pathlib import Path


@given(st.binary())
def test_a_digest_is_the_sha256_and_parses(data: bytes) -> None:
    digest = digest_bytes(data)
    assert digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert parse_digest(digest) == digest


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "f").write_bytes(data)
    assert digest_file(tmp_path / "f") == digest_bytes(data)


@pytest.mark.parametrize(
    "text",
    ["", "sha256:", "0" * 64, "md5:" + "0" * 64, "sha256:" + "0" * 63, "sha256:" + "A" * 64]
    + [f"sha256:{'0' * 64}{end}" for end in ("0", "\n", " ")],
)
def test_other_text_is_no_digest(text: str) -> None:
    with pytest.raises(ModpmError) as caught:
        parse_digest(text, "there")
    assert (caught.value.code, caught.value.where) == ("invalid-digest", "there")
