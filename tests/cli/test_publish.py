from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run


def test_a_table_of_releases_is_printed(run: Run, dist: Path, tmp_path: Path) -> None:
    outcome = run("publish", dist, "--registry", tmp_path / "new")

    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["name", "version", "digest", "size", "registry", "state"]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["digits/7", "1.0.0"],
        ["digits/7", "1.1.0"],
        ["digits/8", "1.0.0"],
    ]
    assert all(line.endswith("  published") for line in lines[1:])
    assert outcome.err == f"3 published to {tmp_path / 'new'}\n"


def test_publishing_again_is_done_already(run: Run, dist: Path, registry: Path) -> None:
    outcome = run("publish", dist / "7-1.0.0", dist / "8-1.0.0", "--registry", registry)

    assert outcome.code == 0
    assert outcome.out.count("already published") == 2


def test_json_is_data_only(run: Run, dist: Path, tmp_path: Path) -> None:
    outcome = run("publish", dist / "8-1.0.0", "--json")

    assert (outcome.code, outcome.err) == (0, "")
    (module,) = json.loads(outcome.out)["modules"]
    assert module["digest"].startswith("sha256:")
    assert {key: module[key] for key in ("name", "version", "registry", "is_new")} == {
        "name": "digits/8",
        "version": "1.0.0",
        "registry": str(tmp_path / "home" / "registry"),
        "is_new": True,
    }


def test_other_bytes_under_a_version_exit_with_1(run: Run, dist: Path, registry: Path) -> None:
    folder = dist / "7-1.0.0"
    manifest = folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"handwritten", b"typewritten"))

    outcome = run("publish", folder, "--registry", registry)

    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: `digits/7` 1.0.0 is published already, with other bytes")
    assert "hint: a release never changes: give this one a higher version" in outcome.err


def test_a_truncated_tensor_file_exits_with_1(run: Run, dist: Path, tmp_path: Path) -> None:
    path = dist / "7-1.0.0" / "module.safetensors"
    path.write_bytes(path.read_bytes()[:-8])

    outcome = run("publish", dist, "--registry", tmp_path / "new")

    assert outcome.code == 1
    assert "module.safetensors: has 732 bytes; the manifest says 740" in outcome.err
    assert not (tmp_path / "new").exists()


def test_what_is_not_a_distribution_exits_with_1(run: Run, here: Path) -> None:
    outcome = run("publish", here, "--json")

    assert (outcome.code, outcome.err) == (1, "")
    assert json.loads(outcome.out)["error"]["code"] == "not-a-distribution"


def test_nothing_to_publish_exits_with_2(run: Run) -> None:
    outcome = run("publish")

    assert outcome.code == 2
    assert "missing argument" in outcome.err
