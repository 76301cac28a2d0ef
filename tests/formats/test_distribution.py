from __future__ import annotations

import errno
import json
import os
import shutil
from typing import TYPE_CHECKING, NoReturn

import msgspec
import pytest
import torch

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json, distribution
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.distribution import (
    Distribution,
    read_distribution,
    verify_distribution,
    write_distribution,
)
from modpm.core.formats.manifest import FileRecord, Manifest
from modpm.core.tensors import decode_tensors, encode_tensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


NAMES = {"digits-7": "digits/7", "digits-7-shown": "digits/7", "sevens": "acme/sevens"}


@pytest.fixture
def golden(vectors: Path) -> Distribution:
    return read_distribution(vectors / "distribution" / "digits-7")


@pytest.fixture
def files(golden: Distribution) -> dict[str, bytes]:
    return {name: (golden.folder / name).read_bytes() for name in golden.manifest.files}


@pytest.fixture
def folder(golden: Distribution, tmp_path: Path) -> Path:
    return shutil.copytree(golden.folder, tmp_path / "digits-7")


def refused(folder: Path, digest: str | None = None) -> ModpmError:
    with pytest.raises(ModpmError) as caught:
        verify_distribution(folder, digest)
    return caught.value


def rewrite(folder: Path, manifest: Manifest) -> None:
    (folder / "manifest.json").write_bytes(manifest.to_bytes())


def test_the_golden_distribution_verifies(vectors: Path) -> None:
    for name, digest in json.loads((vectors / "distribution" / "expect.json").read_bytes()).items():
        verified = verify_distribution(vectors / "distribution" / name, digest)
        assert verified.digest == digest
        assert verified.manifest.name == NAMES[name]


def test_what_is_written_is_what_was_given(
    golden: Distribution, files: dict[str, bytes], tmp_path: Path
) -> None:
    unfilled = msgspec.structs.replace(golden.manifest, files={})
    written = write_distribution(tmp_path / "new" / "d", unfilled, files)
    assert written.digest == golden.digest
    assert verify_distribution(tmp_path / "new" / "d", golden.digest) == written
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["d"]
    for path in golden.folder.iterdir():
        assert (tmp_path / "new" / "d" / path.name).read_bytes() == path.read_bytes()


@pytest.fixture
def shown(vectors: Path, tmp_path: Path) -> Path:
    """Return the golden distribution with two example images."""
    return shutil.copytree(vectors / "distribution" / "digits-7-shown", tmp_path / "shown")


def test_pictures_are_written_beside_the_files(shown: Path, tmp_path: Path) -> None:
    before = read_distribution(shown)
    files = {path.name: path.read_bytes() for path in shown.iterdir()}
    del files["manifest.json"]
    written = write_distribution(tmp_path / "again", before.manifest, files)
    assert written.digest == before.digest
    assert written.manifest.files.keys().isdisjoint(written.manifest.all_pictures)


def test_a_release_is_whole_without_its_pictures(shown: Path) -> None:
    for path in shown.glob("example-*.png"):
        path.unlink()
        assert verify_distribution(shown).digest == read_distribution(shown).digest


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda data: data + b"\0", "wrong-size"),
        (lambda data: data[:-1] + b"\0", "wrong-digest"),
    ],
)
def test_a_picture_that_is_there_is_what_the_manifest_says(
    shown: Path, damage: Callable[[bytes], bytes], code: str
) -> None:
    picture = shown / "example-2.png"
    picture.write_bytes(damage(picture.read_bytes()))
    assert refused(shown).code == code


def test_a_picture_that_is_no_plain_png_is_refused(shown: Path, vectors: Path) -> None:
    bomb = (vectors / "pictures" / "invalid" / "bomb.png").read_bytes()
    manifest = read_distribution(shown).module_manifest
    record = FileRecord(size_bytes=len(bomb), digest=digest_bytes(bomb))
    pictures = {**manifest.all_pictures, "example-1.png": record}
    rewrite(shown, msgspec.structs.replace(manifest, pictures=pictures))
    (shown / "example-1.png").write_bytes(bomb)
    error = refused(shown)
    assert error.code == "invalid-picture"
    assert error.why == "example-1.png: has other pixels than its header says"


def test_a_picture_that_no_manifest_names_is_unexpected(shown: Path) -> None:
    shutil.copy(shown / "example-1.png", shown / "example-3.png")
    assert refused(shown).code == "unexpected-file"


def test_writing_again_changes_nothing(
    golden: Distribution, files: dict[str, bytes], folder: Path
) -> None:
    before = {path: path.stat().st_ino for path in folder.iterdir()}
    write_distribution(folder, golden.manifest, files)
    assert {path: path.stat().st_ino for path in folder.iterdir()} == before


def test_another_distribution_in_its_place_must_be_asked_for(
    golden: Distribution, files: dict[str, bytes], folder: Path
) -> None:
    other = msgspec.structs.replace(golden.manifest, version="1.0.1")
    with pytest.raises(ModpmError) as caught:
        write_distribution(folder, other, files)
    assert caught.value.code == "distribution-exists"
    assert read_distribution(folder).digest == golden.digest
    write_distribution(folder, other, files, overwrite=True)
    assert read_distribution(folder).manifest.version == "1.0.1"
    assert [path.name for path in folder.parent.iterdir()] == ["digits-7"]


@pytest.mark.parametrize("what", ["file", "other folder", "link"])
def test_what_is_no_distribution_is_not_replaced(
    golden: Distribution, files: dict[str, bytes], tmp_path: Path, what: str
) -> None:
    target = tmp_path / "here"
    if what == "file":
        target.write_text("mine")
    elif what == "link":
        target.symlink_to(tmp_path / "nowhere")
    else:
        target.mkdir()
        (target / "mine").write_text("mine")
    with pytest.raises(ModpmError) as caught:
        write_distribution(target, golden.manifest, files)
    assert caught.value.code == "distribution-exists"


def test_an_empty_folder_is_filled(
    golden: Distribution, files: dict[str, bytes], tmp_path: Path
) -> None:
    assert write_distribution(tmp_path, golden.manifest, files).digest == golden.digest
    verify_distribution(tmp_path)


@pytest.mark.parametrize("call", ["fsync", "rename"])
@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_full_disk_leaves_the_old_state(  # noqa: PLR0917 - fixtures
    golden: Distribution,
    files: dict[str, bytes],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    is_replaced: bool,
) -> None:
    target = folder if is_replaced else folder.parent / "new"
    manifest = msgspec.structs.replace(golden.manifest, version="1.0.1")
    before = sorted(folder.parent.rglob("*"))

    def fail(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        rename = type(folder).rename
        monkeypatch.setattr(
            type(folder),
            "rename",
            lambda path, new: fail() if path.suffix == ".new" else rename(path, new),
        )
    with pytest.raises(ModpmError) as caught:
        write_distribution(target, manifest, files, overwrite=True)
    assert caught.value.code == "disk-full"
    assert sorted(folder.parent.rglob("*")) == before
    verify_distribution(folder, golden.digest)


def truncate(folder: Path) -> None:
    path = folder / "module.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def flip(folder: Path) -> None:
    path = folder / "module.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def link(folder: Path) -> None:
    target = folder.parent / "card"
    (folder / "README.md").rename(target)
    (folder / "README.md").symlink_to(target)


def folder_for_file(folder: Path) -> None:
    (folder / "LICENSE").unlink()
    (folder / "LICENSE").mkdir()


def prettify(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=1))


def link_manifest(folder: Path) -> None:
    (folder / "manifest.json").rename(folder.parent / "m")
    (folder / "manifest.json").symlink_to(folder.parent / "m")


MUTATIONS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "D-1 no manifest": ("not-a-distribution", lambda f: (f / "manifest.json").unlink()),
    "D-1 linked manifest": ("not-a-distribution", link_manifest),
    "D-1 file missing": ("missing-file", lambda f: (f / "LICENSE").unlink()),
    "D-1 file more": ("unexpected-file", lambda f: (f / "x.py").write_text("")),
    "D-1 link": ("not-a-regular-file", link),
    "D-1 folder": ("not-a-regular-file", folder_for_file),
    "D-1 pipe": ("not-a-regular-file", lambda f: os.mkfifo(f / "signature.json")),
    "D-2 truncated": ("wrong-size", truncate),
    "D-2 longer": ("wrong-size", lambda f: (f / "README.md").write_bytes(bytes(9999))),
    "D-3 one bit": ("wrong-digest", flip),
    "D-5 pretty": ("not-canonical", prettify),
}


@pytest.mark.parametrize("case", MUTATIONS)
def test_a_changed_distribution_is_refused(folder: Path, case: str) -> None:
    code, mutate = MUTATIONS[case]
    mutate(folder)
    error = refused(folder)
    assert error.code == code
    assert error.where == str(folder)


def test_a_release_known_by_another_digest_is_refused(folder: Path) -> None:
    assert refused(folder, "sha256:" + "0" * 64).code == "wrong-digest"


def test_every_problem_is_named_at_once(folder: Path) -> None:
    truncate(folder)
    (folder / "LICENSE").unlink()
    (folder / "x").write_text("")
    error = refused(folder, "sha256:" + "0" * 64)
    assert error.code == "wrong-digest"
    assert error.why is not None
    assert [line.partition(":")[0] for line in error.why.splitlines()] == [
        "manifest.json",
        "module.safetensors",
        "x",
        "LICENSE",
    ]


def test_a_signature_is_not_named_by_the_manifest(folder: Path) -> None:
    (folder / "signature.json").write_text("{}")
    verify_distribution(folder)


def replace_tensors(folder: Path, data: bytes, **changes: object) -> None:
    """Put a tensor file into a distribution, with a manifest that vouches for it."""
    (folder / "module.safetensors").write_bytes(data)
    manifest = read_distribution(folder).module_manifest
    record = FileRecord(size_bytes=len(data), digest=digest_bytes(data))
    records = {**manifest.files, "module.safetensors": record}
    rewrite(folder, msgspec.structs.replace(manifest, files=records, **changes))


def header_of(data: bytes) -> tuple[dict[str, dict[str, object]], bytes]:
    n = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + n]), data[8 + n :]


def file_of(header: dict[str, dict[str, object]], data: bytes) -> bytes:
    text = canonical_json.encode(header)
    return len(text).to_bytes(8, "little") + text + data


def test_truncated_tensors_that_the_manifest_vouches_for_are_refused(
    folder: Path, files: dict[str, bytes]
) -> None:
    replace_tensors(folder, files["module.safetensors"][:-4])
    assert refused(folder).code == "truncated-tensors"


def test_tensors_of_other_names_are_refused(folder: Path, files: dict[str, bytes]) -> None:
    header, data = header_of(files["module.safetensors"])
    header["fc.wait"] = header.pop("fc.weight")
    replace_tensors(folder, file_of(header, data))
    error = refused(folder)
    assert error.code == "missing-tensor"
    assert error.why is not None
    assert "`fc.weight`" in error.why
    assert "`fc.wait`" in error.why


def test_a_tensor_that_nothing_uses_is_refused(folder: Path, files: dict[str, bytes]) -> None:
    header, data = header_of(files["module.safetensors"])
    n = len(data)
    header["stowaway"] = {"dtype": "U8", "shape": [4], "data_offsets": [n, n + 4]}
    replace_tensors(folder, file_of(header, data + bytes(4)), size_bytes=n + 4, n_parameters=31)
    assert refused(folder).code == "unexpected-tensor"


def test_other_metadata_are_refused(folder: Path, files: dict[str, bytes]) -> None:
    header, data = header_of(files["module.safetensors"])
    header["__metadata__"] = {"format": "pt"}
    replace_tensors(folder, file_of(header, data))
    assert refused(folder).code == "invalid-tensors"


@pytest.mark.parametrize("field", ["n_parameters", "size_bytes"])
def test_counts_that_are_not_true_are_refused(folder: Path, field: str) -> None:
    manifest = read_distribution(folder).module_manifest
    n = getattr(manifest, field)
    rewrite(folder, msgspec.structs.replace(manifest, **{field: n + 1}))
    error = refused(folder)
    assert error.code == "wrong-count"
    assert error.why is not None
    assert field in error.why


def test_a_distribution_out_of_step_is_not_written(
    golden: Distribution, files: dict[str, bytes], tmp_path: Path
) -> None:
    manifest = msgspec.structs.replace(golden.manifest, n_parameters=1)
    with pytest.raises(ModpmError) as caught:
        write_distribution(tmp_path / "d", manifest, files)
    assert caught.value.code == "wrong-count"
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_manifest_is_no_distribution(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ModpmError) as caught:
            read_distribution(folder)
        assert caught.value.code == "not-a-distribution"


def test_a_file_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(distribution, "digest_file", fail)
    assert refused(folder).code == "unreadable-file"


@pytest.fixture
def composition(vectors: Path, tmp_path: Path) -> Path:
    return shutil.copytree(vectors / "distribution" / "sevens", tmp_path / "sevens")


def test_a_composition_is_written_as_it_was(composition: Path, tmp_path: Path) -> None:
    read = read_distribution(composition)
    files = {name: (composition / name).read_bytes() for name in read.manifest.files}
    unfilled = msgspec.structs.replace(read.manifest, files={})
    assert write_distribution(tmp_path / "again", unfilled, files).digest == read.digest
    with pytest.raises(ModpmError) as caught:
        write_distribution(tmp_path / "more", unfilled, {**files, "module.safetensors": b"tensors"})
    assert caught.value.code == "invalid-manifest"


def test_a_composition_may_not_hold_tensors(composition: Path, golden: Distribution) -> None:
    shutil.copy(golden.folder / "module.safetensors", composition)
    assert refused(composition).code == "unexpected-file"


@pytest.mark.parametrize("name", ["README.md", "LICENSE"])
def test_a_damaged_composition_is_refused(composition: Path, name: str) -> None:
    data = (composition / name).read_bytes()
    (composition / name).write_bytes(data[:-1] + b"!")
    assert refused(composition).code == "wrong-digest"
    (composition / name).unlink()
    assert refused(composition).code == "missing-file"


def test_a_composition_is_no_class_module(composition: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        read_distribution(composition).module_manifest  # noqa: B018 - it is what raises
    assert caught.value.code == "is-composition"
    assert caught.value.hint is not None
    assert "modpm compose acme/sevens" in caught.value.hint


@pytest.fixture
def two_files(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files of the golden distribution, its tensors in two of them."""
    tensors = decode_tensors(files["module.safetensors"])
    names = list(tensors)
    return {
        **files,
        "module.safetensors": encode_tensors({name: tensors[name] for name in names[::2]}),
        "shared.safetensors": encode_tensors({name: tensors[name] for name in names[1::2]}),
    }


def test_tensors_may_be_in_two_files(
    golden: Distribution, two_files: dict[str, bytes], tmp_path: Path
) -> None:
    written = write_distribution(tmp_path / "d", golden.manifest, two_files)
    assert verify_distribution(tmp_path / "d", written.digest) == written
    assert written.digest != golden.digest
    there, before = (ClassModule.from_folder(one.folder).tensors for one in (written, golden))
    assert all(torch.equal(there[name], before[name]) for name in before)


def test_each_tensor_is_in_one_of_the_two_files(
    golden: Distribution, files: dict[str, bytes], two_files: dict[str, bytes], tmp_path: Path
) -> None:
    lacking = decode_tensors(two_files["shared.safetensors"])
    lacking.popitem()
    cases = {
        "unexpected-tensor": {**two_files, "module.safetensors": files["module.safetensors"]},
        "missing-tensor": {**two_files, "shared.safetensors": encode_tensors(lacking)},
        "truncated-tensors": {**two_files, "shared.safetensors": b"x"},
    }
    for code, changed in cases.items():
        with pytest.raises(ModpmError) as caught:
            write_distribution(tmp_path / code, golden.manifest, changed)
        assert caught.value.code == code
        assert not (tmp_path / code).exists()
    written = write_distribution(tmp_path / "d", golden.manifest, two_files)
    for name, data in cases["missing-tensor"].items():
        (written.folder / name).write_bytes(data)
    records = {
        name: FileRecord(size_bytes=len(data), digest=digest_bytes(data))
        for name, data in cases["missing-tensor"].items()
    }
    rewrite(written.folder, msgspec.structs.replace(golden.module_manifest, files=records))
    assert refused(written.folder).code == "missing-tensor"
