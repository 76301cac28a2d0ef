"""The card of a module before the Hub's own validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from huggingface_hub import ModelCard, constants, metadata_load
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.registry.backends.hub_cards import card_problems

from modpm.core.formats.card import completed_card, front_matter, render_card
from modpm.core.formats.distribution import read_distribution

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.backends.hub_server import HubServer

    from modpm.core.formats.manifest import Manifest

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
