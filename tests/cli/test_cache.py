from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run


def stored(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "home" / "blobs").glob("sha256/??/" + "?" * 64))


def test_the_folder_is_printed(run: Run, tmp_path: Path) -> None:
    folder = str(tmp_path / "home" / "blobs")

    assert run("cache", "dir") == (0, f"{folder}\n", "")
    assert json.loads(run("cache", "dir", "--json").out) == {"folder": folder}


def test_sizes_are_printed(run: Run, registry: Path, tmp_path: Path) -> None:
    run("install", "digits/7", "--registry", registry)
    n_bytes = sum(path.stat().st_size for path in stored(tmp_path))

    code, out, err = run("cache", "size")
    data = json.loads(run("cache", "size", "--json").out)

    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["files", "number"],
        ["used", str(len(stored(tmp_path)))],
        ["unused", "0"],
        ["partial", "0"],
        ["images", "0"],
    ]
    assert err == f"in {tmp_path / 'home' / 'blobs'}\n"
    assert data["used"] == {"n_files": len(stored(tmp_path)), "size_bytes": n_bytes}


def test_pruning_is_told(run: Run, registry: Path, tmp_path: Path, here: Path) -> None:
    run("install", "digits/7", "--registry", registry)
    n = len(stored(tmp_path))
    nothing = "removed 0 files that no project uses, 0 bytes\n"
    assert run("cache", "prune") == (0, "", nothing)

    for path in (here / ".modpm" / "modules").rglob("*"):
        if path.is_file():
            path.unlink()
    foreseen = run("cache", "prune", "--dry-run")
    assert foreseen.err.startswith(f"would remove {n} files")
    assert len(stored(tmp_path)) == n
    data = json.loads(run("cache", "prune", "--json").out)
    assert data["files"]["n_files"] == n
    assert data["dry_run"] is False
    assert stored(tmp_path) == []


def test_a_damaged_store_exits_with_1_and_is_repaired(
    run: Run, registry: Path, tmp_path: Path
) -> None:
    run("install", "digits/7", "--registry", registry)
    assert run("cache", "verify") == (0, "", "every file is intact\n")
    path = stored(tmp_path)[0]
    path.chmod(0o644)
    path.write_bytes(b"other")

    refused = run("cache", "verify")
    assert refused.code == 1
    assert refused.err.startswith("error: files of the store are damaged\n")
    assert f"sha256:{path.name} (5 bytes)" in refused.err
    assert "modpm verify --repair" in refused.err
    assert json.loads(run("cache", "verify", "--json").out)["error"]["code"] == "damaged-store"

    repaired = run("cache", "verify", "--repair", "--json")
    assert json.loads(repaired.out) == {
        "removed": [{"digest": f"sha256:{path.name}", "size_bytes": 5}]
    }
    assert run("cache", "verify") == (0, "", "every file is intact\n")


def test_cleaning_empties_the_store_and_leaves_projects_as_they_are(
    run: Run, registry: Path, tmp_path: Path
) -> None:
    run("install", "digits/7", "--registry", registry)
    n = len(stored(tmp_path))
    assert run("cache", "clean", "--dry-run").err.startswith(f"would remove {n} files, ")
    assert len(stored(tmp_path)) == n

    data = json.loads(run("cache", "clean", "--json").out)

    assert (data["files"]["n_files"], data["dry_run"], stored(tmp_path)) == (n, False, [])
    assert run("verify").code == 0
    assert run("cache", "clean") == (0, "", "removed 0 files, 0 bytes\n")


def test_decoded_images_are_shown_and_cleaned(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "images"
    folder.mkdir(parents=True)
    (folder / f"{'0' * 64}.safetensors").write_bytes(bytes(2000))

    assert "images 1" in " ".join(run("cache", "size").out.split())
    assert json.loads(run("cache", "size", "--json").out)["images"] == {
        "n_files": 1,
        "size_bytes": 2000,
    }
    assert "would remove 1 decoded data sets" in run("cache", "clean", "--dry-run").err
    assert json.loads(run("cache", "clean", "--json").out)["images"]["n_files"] == 1
    assert not list(folder.iterdir())
