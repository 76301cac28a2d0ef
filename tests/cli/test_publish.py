from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run


def test_a_table_of_releases_is_printed(run: Run, dist: Path, tmp_path: Path) -> None:
    outcome = run("publish", dist, "--registry", tmp_path / "new")

    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == f"registry {tmp_path / 'new'}"
    assert lines[1].split() == ["name", "version", "size", "state", "digest"]
    assert [line.split()[:2] for line in lines[2:]] == [
        ["digits/7", "1.0.0"],
        ["digits/7", "1.1.0"],
        ["digits/8", "1.0.0"],
    ]
    assert all(line.split()[4] == "new" for line in lines[2:])
    assert outcome.err == "3 published\n"


def test_publishing_again_is_done_already(run: Run, dist: Path, registry: Path) -> None:
    outcome = run("publish", dist / "7-1.0.0", dist / "8-1.0.0", "--registry", registry)

    assert outcome.code == 0
    assert outcome.out.count("  there  ") == 2
    assert outcome.err == "0 published, 2 there already\n"


def test_json_is_data_only(run: Run, dist: Path, tmp_path: Path) -> None:
    outcome = run("publish", dist / "8-1.0.0", "--json")

    assert (outcome.code, outcome.err) == (0, "")
    (module,) = json.loads(outcome.out)["modules"]
    assert module["digest"].startswith("sha256:")
    assert {key: module[key] for key in ("name", "version", "registry", "is_new", "signer")} == {
        "name": "digits/8",
        "version": "1.0.0",
        "registry": str(tmp_path / "home" / "registry"),
        "is_new": True,
        "signer": None,
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


def test_a_dry_run_publishes_nothing(run: Run, dist: Path, tmp_path: Path) -> None:
    outcome = run("publish", dist, "--registry", tmp_path / "new", "--dry-run")

    assert outcome.code == 0
    assert outcome.out.count("  new  ") == 3
    assert outcome.err == "3 would be published\n"
    assert not (tmp_path / "new").exists()


def test_a_tag_and_a_signature_go_with_the_releases(
    run: Run, dist: Path, here: Path, tmp_path: Path
) -> None:
    run("key", "new", "-o", "my.pem")

    outcome = run("publish", dist / "7-1.0.0", "--tag", "stable", "--sign", "my.pem")
    assert outcome.err.endswith("tagged as `stable`: digits/7 1.0.0\n")

    index = json.loads((tmp_path / "home" / "registry" / "digits/7/index.json").read_text())
    assert outcome.code == 0
    assert index["tags"] == {"stable": "1.0.0"}
    assert index["releases"][0]["signer"].startswith("sha256:")
    assert (here / "my.pem").is_file()


def test_json_names_the_signer_before_and_after(run: Run, dist: Path, here: Path) -> None:
    key_id = json.loads(run("key", "new", "-o", here / "my.pem", "--json").out)["key_id"]
    words = ("publish", dist / "7-1.0.0", "--json")

    for options in (("--sign", "my.pem", "--dry-run"), ("--sign", "my.pem"), ()):
        (module,) = json.loads(run(*words, *options).out)["modules"]
        assert module["signer"] == key_id


def test_what_is_missing_is_listed(run: Run, dist: Path) -> None:
    for version in ("1.0.0", "1.1.0"):
        manifest = dist / f"7-{version}" / "manifest.json"
        text = manifest.read_text().replace('"Apache-2.0"', '"LicenseRef-unstated"')
        manifest.write_text(text.replace('"split":"test"', '"split":"train"'))

    outcome = run("publish", dist)

    assert outcome.code == 1
    assert outcome.err.splitlines()[0] == "error: 2 of 3 distributions cannot be published"
    assert outcome.err.count("no license is stated (`modpm modularize --license SPDX`)") == 2
    assert outcome.err.count("all of its metrics are of `train`") == 2


def test_a_version_that_claims_too_little_is_refused(run: Run, dist: Path, registry: Path) -> None:
    for name, label in (("7-1.1.0", "digits/7"), ("8-1.0.0", "digits/8")):
        manifest = dist / name / "manifest.json"
        text = manifest.read_text().replace('"label":"digits/7"', f'"label":"{label}"')
        text = text.replace('"version":"1.1.0"', '"version":"1.2.0"').replace(
            '"version":"1.0.0"', '"version":"1.0.1"'
        )
        manifest.write_text(text)

    outcome = run("publish", dist, "--registry", registry, "--check-version")
    fine = run(
        "publish",
        dist / "7-1.1.0",
        "--registry",
        registry,
        "--check-version",
        "--dry-run",
        "--json",
    )

    assert outcome.code == 1
    assert "1 version claims less than has changed" in outcome.err
    assert (
        "digits/8 1.0.1 after 1.0.0 must move the first number: "
        "the label changes from digits/7 to digits/8"
    ) in outcome.err
    assert json.loads(fine.out)["version_checks"] == [
        {
            "name": "digits/7",
            "version": "1.2.0",
            "previous": "1.1.0",
            "claimed": "minor",
            "needed": "none",
            "has_probed": False,
            "differences": [],
        }
    ]


def test_other_weights_are_found_by_their_scores(run: Run, dist: Path, registry: Path) -> None:
    folder = dist / "7-1.1.0"
    tensors = (folder / "module.safetensors").read_bytes()
    (folder / "module.safetensors").write_bytes(tensors[:-1] + b"\x40")
    manifest = (folder / "manifest.json").read_text()
    manifest = manifest.replace(
        sha256(tensors).hexdigest(), sha256(tensors[:-1] + b"\x40").hexdigest()
    )
    for version, code in (("1.1.1", 1), ("1.2.0", 0)):
        text = manifest.replace('"version":"1.1.0"', f'"version":"{version}"')
        (folder / "manifest.json").write_text(text)

        outcome = run("publish", folder, "--registry", registry, "--check-version", "--dry-run")

        assert outcome.code == code, outcome.err
        assert "scores on the probe batch change by up to " in outcome.err
