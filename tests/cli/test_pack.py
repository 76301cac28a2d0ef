"""A composed classifier on its way to others: packed, published, installed, made again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from tests.composition.tiny_origins import images, publish, tiny_origin
from tests.composition.tiny_projects import make_image_folder, make_project, run

import modpm
from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.digest import digest_bytes

if TYPE_CHECKING:
    from tests.composition.tiny_projects import Outcome

PACKED = ("--name", "acme/pets", "--license", "CC-BY-4.0")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a registry and a project that has everything of it."""
    folder = tmp_path_factory.mktemp("pack")
    make_project(folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of that; the current folder is its project."""
    copied = shutil.copytree(made, tmp_path / "made")
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "home"))
    project = copied / "project"
    for path in (project / "modpm.toml", project / "modpm.lock"):
        path.write_text(path.read_text("utf-8").replace(str(made), str(copied)), "utf-8")
    monkeypatch.chdir(project)
    return copied


def packed(folder: Path, *compose: str, to: str = "dist/pets", pack: tuple[str, ...] = ()) -> Path:
    """Compose a classifier and pack it; return the distribution."""
    composed = run("compose", *compose, "-o", "clf")
    assert composed.code == 0, composed.stderr
    outcome = run("pack", "clf", *PACKED, *pack, "-o", folder / to)
    assert outcome.code == 0, outcome.stderr
    return folder / to


def published(folder: Path, *compose: str) -> None:
    outcome = run("publish", packed(folder, *compose), "--registry", folder / "registry")
    assert outcome.code == 0, outcome.stderr


def new_project(folder: Path, monkeypatch: pytest.MonkeyPatch, *requirements: str) -> Outcome:
    """Install requirements into a new project, which becomes the current folder."""
    (folder / "new").mkdir()
    monkeypatch.chdir(folder / "new")
    return run("install", *requirements, "--registry", folder / "registry", "--json")


def test_pack_prints_what_the_composition_requires(folder: Path) -> None:
    run("compose", "tiny/dog", "tiny5/cat", "-o", "clf")
    outcome = run("pack", "clf", *PACKED, "--version", "1.0", "-o", folder / "dist" / "pets")
    assert outcome.code == 0
    assert outcome.stdout == "tiny/dog==1.0.0\ntiny5/cat==1.0.0\n"
    assert "acme/pets 1.0, a composition of 2 class modules, sha256:" in outcome.stderr
    names = {path.name for path in (folder / "dist" / "pets").iterdir()}
    assert names == {"manifest.json", "README.md", "LICENSE", "picture.png"}


def test_pack_prints_json(folder: Path) -> None:
    run("compose", "tiny/dog", "-o", "clf")
    data = run("pack", "clf", *PACKED, "-o", folder / "p", "--json").data
    assert data == {
        "name": "acme/pets",
        "version": "1.0.0",
        "digest": digest_bytes((folder / "p" / "manifest.json").read_bytes()),
        "path": str(folder / "p"),
        "requires": ["tiny/dog==1.0.0"],
    }


def test_the_same_classifier_gives_the_same_bytes(folder: Path) -> None:
    words = ("--summary", "Pets", "--author", "Acme")
    one = packed(folder, "tiny/cat", "tiny5/cat", to="one", pack=words)
    other = packed(folder, "tiny/cat", "tiny5/cat", to="other", pack=words)
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes()
    assert run("pack", "clf", *PACKED, *words, "-o", one).code == 0  # and again in its place


@pytest.mark.parametrize(
    "arguments",
    [
        ("tiny/dog", "tiny/cat"),
        ("tiny5/cat", "tiny/dog", "tiny4/frog", "tiny/cat", "--reject", "0.3"),
        ("tiny/cat", "tiny/dog", "tiny5/cat", "--strategy", "independent"),
        ("tiny/cat", "--strategy", "fused", "--alias", "tiny/cat=acme/Tom Cat"),
    ],
)
def test_who_installs_a_composition_gets_the_classifier_that_was_packed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    published(folder, *arguments)
    packed_one = modpm.Classifier.from_folder("clf")
    named = {
        argument for argument in arguments if argument.startswith("tiny") and "=" not in argument
    }

    outcome = new_project(folder, monkeypatch, "acme/pets")

    assert {module["name"] for module in outcome.data["modules"]} == {"acme/pets", *named}
    assert run("compose", "acme/pets", "-o", "clf").code == 0
    for path in (folder / "project" / "clf").iterdir():
        assert path.read_bytes() == (folder / "new" / "clf" / path.name).read_bytes()
    again = modpm.compose(["acme/pets"])
    assert (again.labels, again.reject) == (packed_one.labels, packed_one.reject)
    assert torch.equal(again.score_images(images(6)), packed_one.score_images(images(6)))


def test_packing_what_was_made_again_gives_the_same_release(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(folder, "tiny/cat", "tiny5/cat", "--reject", "0.2")
    new_project(folder, monkeypatch, "acme/pets")
    again = packed(folder, "acme/pets", to="again")
    first, second = (f / "manifest.json" for f in (folder / "dist" / "pets", again))
    assert first.read_bytes() == second.read_bytes()


def test_what_was_measured_goes_with_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_image_folder(folder / "data")
    run("compose", "tiny/cat", "tiny/dog", "-o", "clf")
    assert run("evaluate", "clf", data, "--record").code == 0
    run("pack", "clf", *PACKED, "-o", folder / "pets")
    run("publish", folder / "pets", "--registry", folder / "registry")
    new_project(folder, monkeypatch, "acme/pets")

    (measured,) = run("info", "acme/pets", "--json").data["manifest"]["composition"]["measured"]

    assert measured["classes"] == ["cat", "dog"]
    assert measured["n"] == 6
    composed = modpm.compose(["acme/pets"]).composition
    assert composed is not None
    assert [one.accuracy for one in composed.measured] == [measured["accuracy"]]
    other = modpm.compose(["acme/pets"], reject=0.9).composition
    assert other is not None
    assert other.measured == []


def test_a_composition_can_be_asked_for_otherwise(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(folder, "tiny/cat", "tiny/dog", "--alias", "tiny/cat=tom")
    new_project(folder, monkeypatch, "acme/pets", "tiny5/cat")

    def labels(*arguments: str) -> list[str]:
        labeled: list[str] = run("compose", *arguments, "-o", "clf", "--json").data["labels"]
        return labeled

    assert labels("acme/pets") == ["tiny/tom", "tiny/dog"]
    assert labels("acme/pets", "--alias", "tiny/dog=rex") == ["tiny/tom", "tiny/rex"]
    assert labels("acme/pets", "tiny5/cat") == ["tiny/tom", "tiny/dog", "tiny5/cat"]
    assert labels("acme/pets", "tiny/dog") == ["tiny/tom", "tiny/dog"]
    assert labels() == ["tiny/cat", "tiny/dog", "tiny5/cat"]  # compositions are passed over
    apart = run("compose", "acme/pets", "--strategy", "independent", "-o", "clf", "--json").data
    assert apart["strategy"] == "independent"


def test_a_folder_of_a_composition_is_made_of_what_is_installed(folder: Path) -> None:
    dist = packed(folder, "tiny/cat", "tiny/dog")
    assert run("compose", dist, "-o", "again").code == 0
    for path in Path("clf").iterdir():
        assert path.read_bytes() == (Path("again") / path.name).read_bytes()


def test_a_namespace_of_compositions_alone_says_what_to_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(folder, "tiny/cat")
    new_project(folder, monkeypatch, "acme/pets")
    outcome = run("compose", "acme/*", "-o", "clf")
    assert outcome.code == 1
    assert "of `acme/*` only compositions are installed" in outcome.stderr
    assert "hint: name the one that you want: `modpm compose acme/pets -o CLF`" in outcome.stderr


def test_a_composition_is_evaluated_by_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(folder, "tiny/cat", "tiny/dog")
    data = make_image_folder(folder / "data")
    expected = run("evaluate", "clf", data, "--json").data
    new_project(folder, monkeypatch, "acme/pets")
    assert run("evaluate", "acme/pets", data, "--json").data == expected


def test_loading_a_composition_says_what_makes_a_classifier_of_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(folder, "tiny/cat", "tiny/dog")
    new_project(folder, monkeypatch, "acme/pets")
    with pytest.raises(ModpmError) as caught:
        modpm.load("acme/pets")
    assert caught.value.code == "is-composition"
    assert caught.value.hint is not None
    assert 'modpm.compose(["acme/pets"])' in caught.value.hint


def test_python_packs_as_the_command_does(folder: Path) -> None:
    dist = packed(folder, "tiny/cat", "tiny/dog", "--reject", "0.5")
    classifier = modpm.compose(["tiny/cat", "tiny/dog"], reject=0.5)
    made = modpm.pack(classifier, "Acme/Pets", folder / "python", license="CC-BY-4.0")
    assert made.manifest.to_bytes() == (dist / "manifest.json").read_bytes()
    by_folder = modpm.pack("clf", "acme/pets", folder / "folder", license="CC-BY-4.0")
    assert by_folder.digest == made.digest


# What cannot be packed


def test_a_classifier_of_local_folders_is_refused(folder: Path) -> None:
    near = tiny_origin()
    publish(near.module("frog"), folder / "dist" / "frog")
    run("compose", "tiny/cat", folder / "dist" / "frog", "-o", "clf")
    outcome = run("pack", "clf", *PACKED, "-o", folder / "p")
    assert outcome.code == 1
    assert outcome.stderr == (
        "error: a composition is made of releases of a registry, and this classifier is not\n"
        f"  at: {folder / 'project'}\n"
        "  because: tiny/frog 1.0.0: is not installed here\n"
        "\nhint: publish its class modules, `modpm install` them, and compose it of what is "
        "installed; or name the project that has them by `--project`\n"
    )
    assert not (folder / "p").exists()


def test_a_local_module_under_the_name_of_a_release_is_refused(folder: Path) -> None:
    near = tiny_origin()
    publish(near.module("cat", near.some(9)), folder / "dist" / "cat")
    run("compose", folder / "dist" / "cat", "-o", "clf")
    error = run("pack", "clf", *PACKED, "-o", folder / "p", "--json").data["error"]
    assert error["code"] == "not-released"
    assert error["why"] == ("tiny/cat 1.0.0: the release that is installed here has other bytes")


def test_a_classifier_of_another_project_is_packed_with_that(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("compose", "tiny/cat", "-o", "clf")
    clf = Path("clf").absolute()
    monkeypatch.chdir(folder)
    assert run("pack", clf, *PACKED, "-o", "p", "--json").data["error"]["code"] == "not-released"
    assert run("pack", clf, *PACKED, "-o", "p", "--project", folder / "project").code == 0


def repin(name: str) -> None:
    """Make `clf/composition.json` vouch for a changed file."""
    path = Path("clf") / "composition.json"
    composition = json.loads(path.read_bytes())
    data = (Path("clf") / name).read_bytes()
    composition["files"][name] = {"size_bytes": len(data), "digest": digest_bytes(data)}
    path.write_bytes(canonical_json.encode(composition))


def test_a_classifier_with_other_weights_than_its_modules_is_refused(folder: Path) -> None:
    run("compose", "tiny/cat", "tiny/dog", "-o", "clf")
    path = Path("clf") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\x00\x00\x80\x3f")
    repin("model.safetensors")
    error = run("pack", "clf", *PACKED, "-o", folder / "p", "--json").data["error"]
    assert error["code"] == "classifier-differs"
    assert "model.safetensors" in error["why"]
    assert not (folder / "p").exists()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (("--name", "pets"), 2, "invalid-name"),
        (("--version", "newest"), 2, "invalid-version"),
        (("--version", "1.0+here"), 2, "invalid-version"),
        (("--license", "mine"), 2, "invalid-license"),
        (("--summary", "x" * 501), 2, "bad-setting"),
        (("--name", "tiny/cat"), 1, "invalid-manifest"),
        (("--author", ""), 1, "invalid-manifest"),
    ],
)
def test_what_cannot_be_said_of_a_composition_is_refused(
    folder: Path, arguments: tuple[str, ...], exit_code: int, code: str
) -> None:
    run("compose", "tiny/cat", "-o", "clf")
    outcome = run("pack", "clf", *PACKED, *arguments, "-o", folder / "p", "--json")
    assert (outcome.code, outcome.data["error"]["code"]) == (exit_code, code)
    assert not (folder / "p").exists()


def test_something_else_than_a_classifier_is_refused(folder: Path) -> None:
    outcome = run("pack", folder / "dist", *PACKED, "-o", folder / "p", "--json")
    assert outcome.data["error"]["code"] == "not-a-classifier"


def test_another_distribution_in_its_place_is_kept(folder: Path) -> None:
    dist = packed(folder, "tiny/cat")
    before = (dist / "manifest.json").read_bytes()
    run("compose", "tiny/dog", "-o", "clf")
    outcome = run("pack", "clf", *PACKED, "-o", dist, "--json")
    assert outcome.data["error"]["code"] == "distribution-exists"
    assert (dist / "manifest.json").read_bytes() == before


def test_a_composition_without_a_license_is_packed_and_not_published(folder: Path) -> None:
    run("compose", "tiny/cat", "-o", "clf")
    assert run("pack", "clf", "--name", "acme/pets", "-o", folder / "p").code == 0
    outcome = run("publish", folder / "p", "--registry", folder / "registry")
    assert outcome.code == 1
    assert "no license is stated (`modpm pack --license SPDX`)" in outcome.stderr


# What is shown of it


def test_info_shows_what_a_composition_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(folder, "tiny/dog", "tiny5/cat", "--alias", "tiny5/cat=tom", "--reject", "0.5")
    new_project(folder, monkeypatch, "acme/pets")
    lines = run("info", "acme/pets").stdout.splitlines()
    digests = {
        module["name"]: module["digest"].removeprefix("sha256:")
        for module in run("list", "--json").data["modules"]
    }
    assert lines[:5] == [
        "acme/pets 1.0.0",
        "  composes     2 class modules, independent",
        f"               tiny/dog: tiny/dog 1.0.0 ({digests['tiny/dog'][:12]})",
        f"               tiny5/tom: tiny5/cat 1.0.0 ({digests['tiny5/cat'][:12]})",
        "  rejects      where no label's own probability reaches 0.5",
    ]
    assert lines[5].startswith("  size         ")
    assert lines[6] == "  license      CC-BY-4.0"


def test_list_tells_kinds_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(folder, "tiny/dog")
    new_project(folder, monkeypatch, "acme/pets")
    lines = run("list").stdout.splitlines()
    (row,) = (line for line in lines if line.startswith("acme/pets "))
    assert "composition" in row.split()
    (row,) = (line for line in lines if line.startswith("tiny/dog "))
    assert "module" in row.split()
    listed = run("list", "--json").data["modules"]
    assert {m["name"]: m["kind"] for m in listed} == {
        "acme/pets": "composition",
        "tiny/dog": "module",
    }


def test_search_finds_a_composition_by_its_labels(folder: Path) -> None:
    published(folder, "tiny/dog", "tiny5/cat", "--alias", "tiny5/cat=tom")
    registry = ("--registry", folder / "registry", "--json")

    def found(*arguments: str) -> list[str]:
        return [m["name"] for m in run("search", *arguments, *registry).data["modules"]]

    assert found("--class", "tom") == ["acme/pets"]
    assert found("--class", "tiny/dog") == ["acme/pets", "tiny/dog"]
    assert found("tiny5/tom") == ["acme/pets"]
    assert found("--namespace", "acme") == ["acme/pets"]
    assert "acme/pets" not in found("--min-recall", "0")
    (one,) = run("search", "--class", "tom", *registry).data["modules"]
    assert (one["kind"], one["label"]) == ("composition", None)
    assert one["labels"] == ["tiny/dog", "tiny5/tom"]
    lines = run("search", "--class", "tom", "--registry", folder / "registry").stdout.splitlines()
    (row,) = (line for line in lines if line.startswith("acme/pets  1.0.0  "))
    assert row.endswith("tiny/dog, tiny5/tom")


def test_outdated_shows_how_the_accuracy_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_image_folder(folder / "data")
    for version, modules in (("1.0.0", ["tiny/cat"]), ("1.1.0", ["tiny/cat", "tiny/dog"])):
        run("compose", *modules, "-o", "clf")
        assert run("evaluate", "clf", data, "--record", "--open-set").code == 0
        run("pack", "clf", *PACKED, "--version", version, "-o", folder / version)
        run("publish", folder / version, "--registry", folder / "registry")
    new_project(folder, monkeypatch, "acme/pets==1.0.0")

    (change,) = run("outdated", "--json").data["modules"][0]["measured"]
    row = run("outdated").stdout.splitlines()[1]

    before, after = (f"{100 * change[when]['accuracy']:.2f} %" for when in ("before", "after"))
    assert row.startswith("acme/pets  1.0.0      1.0.0  1.1.0   ")
    assert row.endswith(f", test, open set: accuracy {before} -> {after}")


def test_a_signed_composition_is_installed_and_its_signer_trusted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("key", "new", "-o", "owner.pem").code == 0
    dist = packed(folder, "tiny/cat")
    outcome = run("publish", dist, "--registry", folder / "registry", "--sign", "owner.pem")
    assert outcome.code == 0, outcome.stderr
    new_project(folder, monkeypatch, "acme/pets")
    assert '[signers]\n"acme" = ' in (folder / "new" / "modpm.lock").read_text("utf-8")
    assert run("verify").code == 0


def test_a_composition_that_claims_too_little_is_refused(folder: Path) -> None:
    published(folder, "tiny/cat", "tiny/dog")
    run("compose", "tiny/dog", "-o", "clf")
    run("pack", "clf", *PACKED, "--version", "1.0.1", "-o", folder / "next")
    outcome = run("publish", folder / "next", "--registry", folder / "registry", "--check-version")
    assert outcome.code == 1
    assert (
        "acme/pets 1.0.1 after 1.0.0 must move the first number: the labels change from tiny/cat, "
        "tiny/dog to tiny/dog" in outcome.stderr
    )
