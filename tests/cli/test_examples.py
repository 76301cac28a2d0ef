"""`modpm publish --examples`: images that are shown with a module."""

from __future__ import annotations

import io
import json
import shutil
from typing import TYPE_CHECKING

import pytest
from PIL import ExifTags, Image, PngImagePlugin
from tests.registry.owners import made_key

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.formats.distribution import (
    read_distribution,
    verify_distribution,
    write_distribution,
)
from modpm.core.formats.picture import picture_problem
from modpm.registry.signing.signature import sign_distribution

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Protocol

    from tests.cli.conftest import Outcome, Run

    class Publish(Protocol):
        def __call__(self, *options: str | Path) -> Outcome: ...


CAMERA = "The camera of somebody"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A photograph that says where it was taken, a gray picture, and a transparent one."""
    folder = tmp_path / "images"
    folder.mkdir()
    exif = Image.Exif()
    exif[ExifTags.Base.Model], exif[ExifTags.Base.Orientation] = CAMERA, 6
    exif.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    photo = Image.radial_gradient("L").resize((600, 300)).convert("RGB")
    photo.save(folder / "a.jpg", exif=exif, comment=CAMERA.encode())
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Author", CAMERA)
    Image.linear_gradient("L").resize((8, 8)).save(folder / "b.png", pnginfo=notes)
    Image.new("LA", (20, 10), (40, 128)).save(folder / "c.png")
    (folder / ".DS_Store").write_bytes(b"what a desktop leaves")
    return folder


@pytest.fixture
def publish_seven(run: Run, dist: Path, tmp_path: Path) -> Publish:
    def publish(*options: str | Path) -> Outcome:
        return run("publish", dist / "7-1.0.0", "--registry", tmp_path / "new", *options)

    return publish


def error_of(outcome: Outcome) -> dict[str, str]:
    assert outcome.err == ""
    error: dict[str, str] = json.loads(outcome.out)["error"]
    return error


def test_images_are_published_small_and_bare_with_what_the_module_says(
    publish_seven: Publish, images: Path, dist: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in dist.rglob("*") if path.is_file()}

    assert publish_seven("--examples", images).code == 0

    folder = tmp_path / "new" / "digits" / "7" / "1.0.0"
    published = verify_distribution(folder)
    manifest = published.module_manifest
    pictures = [folder / name for name in manifest.all_examples]
    assert [path.name for path in pictures] == ["example-1.png", "example-2.png", "example-3.png"]
    for path in pictures:
        assert picture_problem(path.read_bytes()) is None
        assert CAMERA.encode() not in path.read_bytes()
    shown = [Image.open(io.BytesIO(path.read_bytes())) for path in pictures]
    assert [(one.size, one.mode) for one in shown] == [
        ((80, 160), "RGB"),  # turned upright
        ((8, 8), "L"),
        ((20, 10), "L"),
    ]
    module = ClassModule.from_folder(folder)
    assert [one.score for one in manifest.all_examples.values()] == pytest.approx(
        module.score_images(shown).tolist(), abs=0.005
    )
    assert {path: path.read_bytes() for path in before} == before
    assert published.digest != read_distribution(dist / "7-1.0.0").digest


def test_the_card_shows_them(publish_seven: Publish, images: Path, tmp_path: Path) -> None:
    publish_seven("--examples", images)

    folder = tmp_path / "new" / "digits" / "7" / "1.0.0"
    card = (folder / "README.md").read_text()
    scores = read_distribution(folder).module_manifest.all_examples.values()
    assert "![Example 3](example-3.png)" in card
    assert f"| {' | '.join(f'{one.score:+.2f}' for one in scores)} |" in card
    assert card.startswith("---\nlicense:")


def test_a_card_of_ones_own_keeps_what_it_says(
    run: Run, images: Path, dist: Path, tmp_path: Path
) -> None:
    golden = read_distribution(dist / "7-1.0.0")
    files = {name: (golden.folder / name).read_bytes() for name in golden.manifest.files}
    files["README.md"] = b"---\nlibrary_name: modpm\n---\n\n# My own words\n"
    write_distribution(tmp_path / "mine", golden.manifest, files)

    run("publish", tmp_path / "mine", "--registry", tmp_path / "new", "--examples", images)

    card = (tmp_path / "new" / "digits" / "7" / "1.0.0" / "README.md").read_text()
    assert card.startswith(files["README.md"].decode())
    assert "(example-1.png)" in card


def test_who_installs_has_no_pictures_and_everything_else(
    publish_seven: Publish, run: Run, images: Path, here: Path, tmp_path: Path
) -> None:
    publish_seven("--examples", images)

    assert run("install", "digits/7", "--registry", tmp_path / "new").code == 0
    assert run("verify").code == 0
    assert not list(here.rglob("*.png"))
    assert run("install", "digits/7").err == "everything is installed already\n"


def test_publishing_with_the_same_images_again_changes_nothing(
    publish_seven: Publish, images: Path
) -> None:
    publish_seven("--examples", images)

    assert publish_seven("--examples", images).err == "0 published, 1 there already\n"
    assert publish_seven().code == 1  # without them it is another release


def test_a_module_has_the_images_of_its_own_folder(
    run: Run, images: Path, dist: Path, tmp_path: Path
) -> None:
    (images / "8").mkdir()
    (images / "b.png").rename(images / "8" / "b.png")

    assert run("publish", dist, "--registry", tmp_path / "new", "--examples", images).code == 0

    at = tmp_path / "new" / "digits"
    assert len(read_distribution(at / "8" / "1.0.0").manifest.all_pictures) == 1
    assert len(read_distribution(at / "7" / "1.1.0").manifest.all_pictures) == 2


def test_what_is_signed_already_gets_no_images_without_a_key(
    publish_seven: Publish, images: Path, dist: Path, tmp_path: Path
) -> None:
    sign_distribution(read_distribution(dist / "7-1.0.0"), made_key(tmp_path / "key"))

    error = error_of(publish_seven("--examples", images, "--json"))

    assert error["code"] == "bad-signature"
    assert "--sign KEY" in error["hint"]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("notes.txt", "it is not an image of a known format"),
        ("cut.png", ""),
        ("enormous.png", "it is enormous"),
    ],
)
def test_what_is_no_image_publishes_nothing(
    publish_seven: Publish, images: Path, repository: Path, tmp_path: Path, *, name: str, why: str
) -> None:
    path = images / name
    if name == "enormous.png":
        shutil.copy(repository / "specs/vectors/pictures/invalid/many-pixels.png", path)
    elif name == "cut.png":
        path.write_bytes((images / "c.png").read_bytes()[:-30])
    else:
        path.write_text("These are my pictures.")

    error = error_of(publish_seven("--examples", images, "--json"))

    assert error["code"] == "bad-image"
    assert error["where"] == str(path)
    assert why in error["why"]
    assert not (tmp_path / "new").exists()


def test_nine_images_are_too_many(publish_seven: Publish, images: Path) -> None:
    for i in range(6):
        Image.new("L", (8, 8)).save(images / f"more-{i}.png")

    error = error_of(outcome := publish_seven("--examples", images, "--json"))

    assert (outcome.code, error["code"]) == (2, "bad-setting")
    assert error["what"] == "9 example images are too many"


@pytest.mark.parametrize("is_there", [True, False])
def test_no_image_at_all_is_told(publish_seven: Publish, tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "none"
    if is_there:
        folder.mkdir()

    error = error_of(publish_seven("--examples", folder, "--json"))

    assert (error["code"], error["where"]) == ("no-images", str(folder))


def test_a_composition_has_no_examples(
    run: Run, images: Path, repository: Path, tmp_path: Path
) -> None:
    sevens = repository / "specs" / "vectors" / "distribution" / "sevens"

    outcome = run("publish", sevens, "--registry", tmp_path / "new", "--examples", images, "--json")

    assert error_of(outcome)["code"] == "is-composition"


def test_an_installed_module_is_not_published_without_the_pictures_it_names(
    run: Run, repository: Path, tmp_path: Path
) -> None:
    shown = repository / "specs" / "vectors" / "distribution" / "digits-7-shown"
    folder = shutil.copytree(shown, tmp_path / "installed", ignore=shutil.ignore_patterns("*.png"))

    error = error_of(run("publish", folder, "--registry", tmp_path / "new", "--json"))

    assert error["code"] == "incomplete-distribution"
    assert "its picture `example-1.png` is not there" in error["why"]
