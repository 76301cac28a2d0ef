"""The page of an origin on the Hub: its class modules side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.composition.tiny_origins import publish, tiny_origin
from tests.registry.backends.hub_cards import card_problems, front_matter
from tests.registry.changed_distributions import variant_of

from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import read_distribution
from modpm.core.formats.manifest import ComposedAccuracy, ConfusedClass, Confusion
from modpm.core.formats.measurement import Measurement
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.hub.registry import HubRegistry

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.backends.hub_server import HubServer
    from tests.registry.conftest import MakeComposition

    from modpm.core.formats.distribution import Distribution

COMPOSED = ComposedAccuracy(split="validation", n=40, fused=0.75, independent=0.7)
CONFUSION = Confusion(split="test", classes=[ConfusedClass(name="frog", n=9, share=1 / 9)])
PAGE = f"acme/tiny-origin-{tiny_origin().module('cat').manifest.origin.digest[7:19]}"


def module(folder: Path, name: str, version: str = "1.0.0") -> Distribution:
    origin = tiny_origin()
    said = {"composed": COMPOSED, "confusion": CONFUSION, "version": version}
    one = origin.module(name, origin.some(1), slope=1.0, intercept=0.0, **said)
    place = folder / f"{name}-{version}"
    return read_distribution(publish(one, place))


def page(hub: HubServer) -> str:
    return hub.repositories[PAGE].main["README.md"].content.decode()


def card(hub: HubServer, repository: str) -> str:
    return hub.repositories[repository].main["README.md"].content.decode()


def test_modules_published_together_have_a_page_of_their_origin(
    hub: HubServer, registry_of_acme: HubRegistry, tmp_path: Path
) -> None:
    cat, dog = module(tmp_path, "cat"), module(tmp_path, "dog")
    registry_of_acme.publish([cat, dog])
    text = page(hub)

    assert list(card_problems(text)) == []
    for one in (cat, dog):
        manifest = one.module_manifest
        link = f"[{manifest.name}]({hub.url}/acme/{manifest.name.replace('/', '.')}) 1.0.0"
        (row,) = (line for line in text.splitlines() if link in line)
        for number in ("1.000", "0.800", "test, 10 images", f"{manifest.macs:,}"):
            assert f"| {number} |" in row
        assert f"[its class modules]({hub.url}/{PAGE})" in card(
            hub, f"acme/{manifest.name.replace('/', '.')}"
        )
    for words in (
        "no detectors",
        "2 more of its classes are not here.",
        "| cat | frog 11.11 % |",
        "| 4 | all class modules | fused | 75.00 % | validation, 40 images |",
        "| cat | 1.00 | ",
        "## Limits",
        f"| {cat.module_manifest.origin.macs:,} |",
    ):
        assert words in text
    metadata = front_matter(text)
    assert metadata["license"] == "apache-2.0"
    accuracies = [one["metrics"][0]["value"] for one in metadata["model-index"][0]["results"]]
    assert accuracies == [0.75, 0.7]


def test_the_page_is_made_of_what_is_listed_whenever_it_was_published(
    hub: HubServer, registry_of_acme: HubRegistry, tmp_path: Path
) -> None:
    registry_of_acme.publish([module(tmp_path, "cat")])
    assert PAGE not in hub.repositories
    assert "its class modules" not in card(hub, "acme/tiny.cat")
    HubRegistry("hf://acme").publish([module(tmp_path, "dog")])
    both = page(hub)
    HubRegistry("hf://acme").publish([module(tmp_path, "cat", version="1.1.0")])

    assert "acme/tiny.cat) 1.0.0" in both
    assert "acme/tiny.dog) 1.0.0" in both
    assert page(hub) == both.replace("acme/tiny.cat) 1.0.0", "acme/tiny.cat) 1.1.0")


def test_compositions_of_the_modules_stand_on_the_page(
    hub: HubServer,
    registry_of_acme: HubRegistry,
    make_composition: MakeComposition,
    tmp_path: Path,
) -> None:
    members = [module(tmp_path, "cat"), module(tmp_path, "dog")]
    measured = Measurement(
        data_set="tiny", split="test", fingerprint="f", n=20, n_rejected=0, accuracy=0.9
    )
    pets = make_composition("acme/pets", members, changed={"measured": [measured]})
    registry_of_acme.publish([*members, pets])

    row = f"| 2 | [acme/pets]({hub.url}/acme/acme.pets) 1.0.0 | independent | 90.00 % | test, 20 "
    assert row in page(hub)
    results = front_matter(page(hub))["model-index"][0]["results"]
    assert results[-1]["metrics"] == [{"type": "accuracy", "value": 0.9}]


def test_variants_are_not_on_the_page(
    hub: HubServer, registry_of_acme: HubRegistry, tmp_path: Path
) -> None:
    cat = module(tmp_path, "cat")
    registry_of_acme.publish([cat, variant_of(cat, tmp_path / "int8")])
    assert PAGE not in hub.repositories


def test_a_page_that_could_not_be_written_is_written_by_publishing_the_same_again(
    hub: HubServer,
    registry_of_acme: HubRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    some = [module(tmp_path, "cat"), module(tmp_path, "dog")]
    with monkeypatch.context() as patch:
        patch.setattr("modpm.registry.backends.hub.origin_pages.render_origin_card", refuse)
        with pytest.raises(ModpmError, match="not now"):
            registry_of_acme.publish(some)
    assert registry_of_acme.index(ModuleName("tiny", "dog")) is not None
    again = HubRegistry("hf://acme").publish(some)
    assert [one.is_new for one in again] == [False, False]
    n_commits = len(hub.repositories[PAGE].commits)
    assert "acme/tiny.dog) 1.0.0" in page(hub)
    HubRegistry("hf://acme").publish(some)
    assert len(hub.repositories[PAGE].commits) == n_commits  # nothing else was to be said


def refuse(*_arguments: object) -> str:
    raise ModpmError("not now", code="network-failed")


def test_a_page_is_no_module(hub: HubServer, registry_of_acme: HubRegistry, tmp_path: Path) -> None:
    some = [module(tmp_path, "cat"), module(tmp_path, "dog")]
    registry_of_acme.publish(some)
    assert PAGE in hub.repositories
    names = [ModuleName("tiny", "cat"), ModuleName("tiny", "dog")]
    assert HubRegistry("hf://acme").names() == names
