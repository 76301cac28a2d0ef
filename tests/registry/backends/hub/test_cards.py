"""The card of a module before the Hub's own validation."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx2
import pytest
from huggingface_hub import ModelCard, constants, metadata_load
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.composition.tiny_origins import tiny_origin
from tests.registry.backends.hub_cards import card_problems
from tests.registry.backends.hub_cards import front_matter as metadata_of

from modpm.core.composition.compose import compose_modules
from modpm.core.formats.card import completed_card, front_matter, render_card
from modpm.core.formats.composition_manifest import CompositionManifest
from modpm.core.formats.distribution import read_distribution, write_distribution
from modpm.core.formats.names import ModuleName
from modpm.core.reports.thumbnail import with_picture
from modpm.registry.backends.protocol import ReleaseFile

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.backends.hub_server import HubServer
    from tests.registry.conftest import MakeComposition, MakeDistribution

    from modpm.core.formats.manifest import Manifest
    from modpm.registry.backends.hub.registry import HubRegistry

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@pytest.fixture(scope="module")
def manifest(repository: Path) -> Manifest:
    folder = repository / "specs" / "vectors" / "distribution" / "digits-7"
    return read_distribution(folder).module_manifest


def test_the_hub_accepts_the_card(
    hub: HubServer, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    ModelCard(render_card(manifest)).validate()
    with pytest.raises(ValueError, match="license"):
        ModelCard("---\nlicense: of-my-own\n---\n").validate()


def test_the_front_matter_survives_the_hubs_reading_of_files(
    manifest: Manifest, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text(render_card(manifest), encoding="utf-8")
    assert metadata_load(tmp_path / "README.md") == front_matter(manifest)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(own=texts, tags=st.lists(texts, max_size=3))
def test_any_card_is_completed_to_one_that_the_hub_accepts(
    manifest: Manifest, own: str, tags: list[str]
) -> None:
    listed = "".join(f"- {tag!a}\n" for tag in tags)
    for card in (own, f"---\n{own}\n---\n", f"---\ntags:\n{listed}\n---\n{own}"):
        completed = completed_card(card, manifest)
        assert list(card_problems(completed)) == []
        assert completed_card(completed, manifest) == completed


def test_on_main_a_composition_leads_to_its_modules_and_shows_its_picture(
    hub: HubServer,
    registry_of_acme: HubRegistry,
    make_distribution: MakeDistribution,
    make_composition: MakeComposition,
    tmp_path: Path,
) -> None:
    cat, dog = make_distribution("digits/cat"), make_distribution("digits/dog")
    bare = make_composition("acme/pets", [cat, dog]).manifest
    assert isinstance(bare, CompositionManifest)
    manifest, picture = with_picture(bare)
    files = {"README.md": render_card(manifest).encode(), "LICENSE": b"Apache-2.0", **picture}
    pets = write_distribution(tmp_path / "pets", manifest, files)

    registry_of_acme.publish([cat, dog, pets])

    page = hub.repositories["acme/acme.pets"]
    card = page.main["README.md"].content.decode()
    metadata = metadata_of(card)
    assert metadata["base_model"] == ["acme/digits.cat", "acme/digits.dog"]
    assert metadata["base_model_relation"] == "merge"
    for name in ("digits.cat", "digits.dog"):
        assert f"({hub.url}/acme/{name})" in card
        assert f"acme/{name}" in hub.repositories
    assert "![acme/pets](picture.png)" in card
    shown = f"{hub.url}/acme/acme.pets/resolve/main/picture.png"
    assert metadata["thumbnail"] == shown
    assert httpx2.get(shown, follow_redirects=True).content == picture["picture.png"]
    with registry_of_acme.open_file(
        ReleaseFile(ModuleName("acme", "pets"), "1.0.0", "README.md")
    ) as file:
        assert file.read() == files["README.md"]  # the release is what was published


CLASSIFIER = """
import sys
from huggingface_hub import HfApi, ModelCard
from PIL import Image
from modpm import Classifier

image = Image.radial_gradient("L").resize((12, 9))
classifier = Classifier.from_folder(sys.argv[1])
classifier.push_to_hub("acme/pets")
ModelCard.load("acme/pets").validate()
again = Classifier.from_pretrained("acme/pets")
assert again.predict(image) == classifier.predict(image)
assert again.labels == classifier.labels
print(*sorted(HfApi().list_repo_files("acme/pets")))
"""


def test_a_classifier_is_pushed_to_the_hub_and_read_from_there(
    hub: HubServer, tmp_path: Path
) -> None:
    tiny = tiny_origin()
    compose_modules([tiny.module("cat"), tiny.module("dog")]).save(tmp_path / "clf")

    process = subprocess.run(
        [sys.executable, "-c", CLASSIFIER, str(tmp_path / "clf")],
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert process.returncode == 0, process.stderr
    assert process.stdout == (
        ".gitattributes README.md composition.json config.json model.safetensors\n"
    )
    card = hub.repositories["acme/pets"].main["README.md"].content.decode()
    assert card == (tmp_path / "clf" / "README.md").read_text()
    assert 'classifier = Classifier.from_pretrained("OWNER/NAME")' in card
