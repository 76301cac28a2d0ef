"""The limits of the formats, each enforced before memory is spent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fuzz.attacks import MIB, tensor_file

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.manifest import Manifest
from modpm.core.formats.tensor_file import parse_header

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="memory is limited as Linux does it"
)


def code_of_manifest(data: bytes) -> str:
    with pytest.raises(ModpmError) as caught:
        Manifest.from_bytes(data)
    return caught.value.code


def test_a_manifest_has_at_most_4_mib() -> None:
    assert canonical_json.MAX_SIZE_BYTES == 4 * MIB
    assert code_of_manifest(b"{}" + b" " * (4 * MIB - 2)) == "invalid-manifest"
    assert code_of_manifest(b"{}" + b" " * (4 * MIB - 1)) == "too-large"


def test_a_header_has_at_most_8_mib() -> None:
    assert parse_header_of(b"{}" + b" " * (8 * MIB - 2)) is None
    assert parse_header_of(b"{}" + b" " * (8 * MIB - 1)) == "invalid-tensors"


@pytest.mark.parametrize("metadata", [b"", b'"__metadata__":{},'])
def test_a_file_has_at_most_100_000_tensors(metadata: bytes) -> None:
    def names(n: int) -> bytes:
        entries = b",".join(
            b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(n)
        )
        return b"{" + metadata + entries + b"}"

    assert parse_header_of(names(100_000)) is None
    assert parse_header_of(names(100_001)) == "invalid-tensors"


def parse_header_of(header: bytes) -> str | None:
    data = tensor_file(header)
    try:
        parse_header(data, len(data))
    except ModpmError as error:
        return error.code
    return None


def test_no_document_takes_more_memory_than_its_limit(tmp_path: Path, repository: Path) -> None:
    program = Path(__file__).with_name("in_little_memory.py")

    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path)],
        env={
            **os.environ,
            "MODPM_HOME": str(tmp_path / "home"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(repository), str(repository / "src")]),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "0 failures" in done.stdout
