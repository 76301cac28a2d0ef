from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from huggingface_hub import ModelCard, ModelCardData
from hypothesis import given, settings
from hypothesis import strategies as st

from modpm.core.formats.card import completed_card, front_matter, render_card, search_tags
from modpm.core.formats.card_text import line, plain, result
from modpm.core.formats.composition_manifest import CompositionManifest, parse_manifest
from modpm.core.formats.distribution import read_distribution
from modpm.core.formats.hub_address import OnHub
from modpm.core.formats.manifest import ConfusedClass, Confusion, FileRecord, Manifest

if TYPE_CHECKING:
    from pathlib import Path

    from huggingface_hub.repocard_data import CardData


def metadata_of(manifest: Manifest) -> dict[str, Any]:
    return as_plain(ModelCard(render_card(manifest)).data)


def as_plain(data: CardData) -> dict[str, Any]:
    plain: dict[str, Any] = data.to_dict()  # type: ignore[no-untyped-call]  # the Hub's own
    return plain


def test_the_hub_reads_the_front_matter(complete: Manifest) -> None:
    data = ModelCard(render_card(complete)).data
    assert isinstance(data, ModelCardData)
    assert (data.library_name, data.pipeline_tag) == ("modpm", "image-classification")
    assert data.tags == ["modpm", "modpm-namespace:digits", "modpm-class:7"]
    assert data.datasets == ["digits"]
    assert data.license == "apache-2.0"
    assert data.eval_results is not None
    assert {result.metric_type: result.metric_value for result in data.eval_results} == {
        "precision": 0.95,
        "recall": 0.9,
        "average_precision": 0.96875,
    }
    assert {result.dataset_split for result in data.eval_results} == {"test"}


def test_the_front_matter_survives_the_hubs_own_round_trip(complete: Manifest) -> None:
    assert metadata_of(complete) == front_matter(complete)
    assert as_plain(ModelCardData(**front_matter(complete))) == front_matter(complete)


def test_golden_manifests_have_their_cards(vectors: Path) -> None:
    manifests = sorted((vectors / "card").glob("*.json"))
    assert manifests
    for path in manifests:
        manifest = parse_manifest(path.read_bytes())
        assert render_card(manifest) == path.with_suffix(".txt").read_text(encoding="utf-8")


def test_the_same_manifest_gives_the_same_card(complete: Manifest) -> None:
    again = type(complete).from_bytes(complete.to_bytes())
    assert render_card(again) == render_card(complete)
    assert render_card(msgspec.structs.replace(complete, files={})) == render_card(complete)
    turned = dict(reversed(complete.provenance.versions.items()))
    provenance = msgspec.structs.replace(complete.provenance, versions=turned)
    parameters = dict(reversed(complete.modularizer.parameters.items()))
    modularizer = msgspec.structs.replace(complete.modularizer, parameters=parameters)
    assert list(turned) != list(complete.provenance.versions)
    assert list(parameters) != list(complete.modularizer.parameters)
    same = msgspec.structs.replace(complete, provenance=provenance, modularizer=modularizer)
    assert render_card(same) == render_card(complete)


@pytest.mark.parametrize(
    "text",
    [
        "**digits/7**",
        "8 by 8 pixels",
        "| test | 360 | 36 | 0.950 | 0.900 | 0.969 |",
        "| parameters | 27 | 59 | 45.76 % |",
        "modpm install digits/7\n",
        'modpm.load("digits/7")',
        "## License\n\nApache-2.0\n",
        "on 180 images of validation",
    ],
)
def test_a_card_says_what_a_person_needs_to_choose(complete: Manifest, text: str) -> None:
    assert text in render_card(complete)


def test_without_metrics_a_card_says_so(complete: Manifest) -> None:
    manifest = msgspec.structs.replace(complete, metrics=[])
    assert "Nothing was measured." in render_card(manifest)
    assert "model-index" not in metadata_of(manifest)


@pytest.mark.parametrize("license", ["MIT OR Apache-2.0", "LicenseRef-mine", "0BSD"])
def test_a_license_that_the_hub_does_not_know_is_other(complete: Manifest, license: str) -> None:
    data = metadata_of(msgspec.structs.replace(complete, license=license))
    assert (data["license"], data["license_name"]) == ("other", license)


def test_a_folder_of_images_is_no_data_set_of_the_hub(complete: Manifest) -> None:
    provenance = msgspec.structs.replace(complete.provenance, data_set="/home/me/photos")
    metadata = metadata_of(msgspec.structs.replace(complete, provenance=provenance))
    assert "datasets" not in metadata
    assert metadata["model-index"][0]["results"][0]["dataset"]["type"] == "private"


@pytest.mark.parametrize(
    ("label", "tag"),
    [
        ("animals/cat", "cat"),
        ("animals/Sports.Car", "sports-car"),
        ("animals/sports car", "7"),
        ("animals/cat/tabby", "7"),
    ],
)
def test_a_module_is_found_by_its_class_or_else_its_name(
    complete: Manifest, label: str, tag: str
) -> None:
    tags = search_tags(msgspec.structs.replace(complete, label=label))
    assert tags == ["modpm", "modpm-namespace:digits", f"modpm-class:{tag}"]


def test_a_card_that_has_everything_is_left_as_it_is(complete: Manifest) -> None:
    card = render_card(complete).replace("# digits/7", "# My own seven")
    assert completed_card(card, complete) == card


@pytest.mark.parametrize("card", [None, "---\nlicense: [\n---\nbroken\n", "---\n- a\n---\nlist\n"])
def test_without_a_card_that_can_be_read_there_is_the_usual_one(
    complete: Manifest, card: str | None
) -> None:
    assert completed_card(card, complete) == render_card(complete)


def test_a_card_of_ones_own_is_completed_and_keeps_what_it_says(complete: Manifest) -> None:
    card = (
        "---\nlicense: mit\nlanguage: en\ntags:\n- handwriting\n- modpm-class:8\n---\n\n"
        "# My own seven\n\nSlanted ones too.\n"
    )
    read = ModelCard(completed_card(card, complete))
    metadata = as_plain(read.data)
    assert read.text.strip() == "# My own seven\n\nSlanted ones too."
    assert metadata["tags"] == [*search_tags(complete), "handwriting"]
    assert (metadata["license"], metadata["language"]) == ("mit", "en")
    assert metadata["model-index"] == front_matter(complete)["model-index"]
    assert completed_card(str(read), complete) == str(read)


def test_a_card_without_front_matter_is_completed(complete: Manifest) -> None:
    read = ModelCard(completed_card("# Just words\n", complete))
    assert as_plain(read.data) == front_matter(complete)
    assert read.text.strip() == "# Just words"


def test_text_of_others_shows_as_it_is_on_one_line() -> None:
    assert plain("a | *b* [c](d) `e` <f> #g") == "a \\| \\*b\\* \\[c\\](d) \\`e\\` \\<f\\> \\#g"
    assert plain("one\n# two\u202e\x00 three") == "one \\# two three"
    assert line("\u200b") == "?"
    found = result("any", "my\npets", "te\nst", {})["dataset"]
    assert found == {"type": "private", "name": "my pets", "split": "te st"}


@settings(max_examples=30, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_no_text_breaks_out_of_its_place(complete: Manifest, text: str) -> None:
    provenance = msgspec.structs.replace(complete.provenance, data_set=text, fingerprint=text)
    manifest = msgspec.structs.replace(
        complete, summary=text, authors=[text], provenance=provenance
    )
    card = render_card(manifest)
    assert as_plain(ModelCard(card).data) == front_matter(manifest)
    headings = [line for line in card.splitlines() if line.startswith("## ")]
    assert headings == [
        f"## {title}"
        for title in (
            *("Measured", "Limits", "Use", "Input", "Size", "How it was made", "License"),
        )
    ]


@pytest.fixture(scope="module")
def composition(vectors: Path) -> CompositionManifest:
    path = vectors / "composition" / "valid" / "complete.json"
    return CompositionManifest.from_bytes(path.read_bytes())


def recorded(composition: CompositionManifest, **changes: object) -> CompositionManifest:
    record = msgspec.structs.replace(composition.composition, **changes)
    return msgspec.structs.replace(composition, composition=record)


def test_the_hub_reads_the_front_matter_of_a_composition(composition: CompositionManifest) -> None:
    data = ModelCard(render_card(composition)).data
    assert isinstance(data, ModelCardData)
    assert (data.library_name, data.pipeline_tag) == ("modpm", "image-classification")
    assert data.tags == [
        *("modpm", "modpm-namespace:acme", "modpm-composition"),
        *("modpm-class:cat", "modpm-class:seven", "modpm-class:dog"),
    ]
    assert data.datasets == ["pets"]
    assert data.eval_results is not None
    assert [(r.metric_type, r.metric_value) for r in data.eval_results] == [("accuracy", 0.91)]
    assert as_plain(data) == front_matter(composition)


@pytest.mark.parametrize(
    "text",
    [
        "a classifier of 3 class modules",
        "(strategy: mixed)",
        "reaches 0.5 is none of the above",
        "| digits/seven | digits/7 | 1.0.0 | `f853a3586bb6` |",
        "| pets | test | cat, dog, 7 | 300 | 12 | 91.00 % |",
        "modpm install acme/pets\n",
        'modpm.compose(["acme/pets"])',
        "Apache-2.0, for the composition; each class module has a license of its own",
    ],
)
def test_the_card_of_a_composition_says_what_a_person_needs_to_choose(
    composition: CompositionManifest, text: str
) -> None:
    assert text in render_card(composition)


def test_a_composition_that_was_not_measured_says_so(composition: CompositionManifest) -> None:
    manifest = recorded(composition, measured=[], reject=None)
    card = render_card(manifest)
    assert "Nothing was measured." in card
    assert "It gives every image one of its labels." in card
    assert "model-index" not in front_matter(manifest)
    assert "datasets" not in front_matter(manifest)


def test_a_composition_of_one_module_that_rejects_nothing_has_a_threshold_all_the_same(
    composition: CompositionManifest,
) -> None:
    (first, *_) = composition.composition.modules
    card = render_card(recorded(composition, modules=[first], reject=0.0))
    assert "a classifier of 1 class module," in card
    assert "reaches 0 is none of the above" in card


def test_what_was_measured_with_images_of_other_classes_says_so(
    composition: CompositionManifest,
) -> None:
    (one,) = composition.composition.measured
    many = msgspec.structs.replace(one, classes=[f"c{i}" for i in range(22)], open_set=True)
    unnamed = msgspec.structs.replace(one, classes=[])
    manifest = recorded(composition, measured=[one, many, unnamed])
    card = render_card(manifest)
    assert "| cat, dog, 7 |" in card
    assert ", c19 and 2 more (some are of no label) |" in card
    assert "| not named |" in card
    metadata = front_matter(manifest)
    assert metadata["datasets"] == ["pets"]
    tasks = [found["task"]["name"] for found in metadata["model-index"][0]["results"]]
    told = "telling the classes of its labels apart"
    assert tasks == [told, f"{told}, with images of other classes", told]


def test_labels_of_one_class_have_one_tag(composition: CompositionManifest) -> None:
    first, second, _ = composition.composition.modules
    alike = msgspec.structs.replace(second, label="digits/cat")
    tags = search_tags(recorded(composition, modules=[first, alike]))
    assert tags == ["modpm", "modpm-namespace:acme", "modpm-composition", "modpm-class:cat"]


def test_the_tags_of_a_composition_leave_the_card_of_a_class_module(complete: Manifest) -> None:
    own = "---\ntags:\n- modpm-composition\n- mine\n---\n\n# Mine\n"
    tags = as_plain(ModelCard(completed_card(own, complete)).data)["tags"]
    assert tags == [*search_tags(complete), "mine"]


def test_a_card_that_lacks_the_tags_of_a_composition_gets_them(
    composition: CompositionManifest,
) -> None:
    own = "---\nlicense: mit\ntags:\n- mine\n- modpm-class:cow\n---\n\n# Mine\n"
    completed = completed_card(own, composition)
    tags = as_plain(ModelCard(completed).data)["tags"]
    assert tags == [*search_tags(composition), "mine"]
    assert "# Mine" in completed
    assert completed_card(completed, composition) == completed


def test_a_card_says_under_which_odds_a_score_holds(complete: Manifest) -> None:
    text = render_card(complete)

    assert "where half of all images do" in text
    assert "add ln(p / (1 - p))" in text


def test_a_card_tells_what_a_module_confuses(complete: Manifest) -> None:
    often = ConfusedClass(name="a | b", n=1200, share=0.25)
    confusion = Confusion(split="test", classes=[often])
    card = render_card(msgspec.structs.replace(complete, confusion=confusion))
    assert "| class | images of it | taken for digits/7 |" in card
    assert r"| a \| b | 1,200 | 25.00 % |" in card
    confusion = Confusion(split="test", classes=[])
    card = render_card(msgspec.structs.replace(complete, confusion=confusion))
    assert "it took no image of another class of its origin for digits/7" in card
    assert "What it confuses" not in render_card(complete)


def test_a_card_says_what_a_module_is_not_and_how_it_was_made(complete: Manifest) -> None:
    card = render_card(complete)
    assert "It is a classifier and no detector" in card
    assert card.index("## Limits") < card.index("## Use") < card.index("## How it was made")
    assert "| method | mwt |" in card
    assert f"fitted on {complete.calibration.n:,} held-out images" in card


def test_a_card_says_what_a_module_makes_of_what_is_no_class_of_its_origin(vectors: Path) -> None:
    valid = vectors / "manifest" / "valid"
    plain_one, careful = (
        Manifest.from_bytes((valid / f"{name}.json").read_bytes())
        for name in ("complete", "penalty")
    )
    assert "none of them may get any score" in render_card(plain_one)
    assert "lose log-odds" in render_card(careful)


def test_a_card_shows_the_picture_that_there_is(complete: Manifest) -> None:
    record = FileRecord(size_bytes=1, digest=f"sha256:{'0' * 64}")
    card = render_card(msgspec.structs.replace(complete, pictures={"picture.png": record}))
    assert f"\n\n![{complete.name}](picture.png)\n\n" in card
    assert "![" not in render_card(complete)


def test_on_the_hub_a_card_leads_to_the_modules_of_a_composition(vectors: Path) -> None:
    manifest = read_distribution(vectors / "distribution" / "sevens").manifest
    card = render_card(manifest, OnHub("https://huggingface.co", "acme"))
    data = as_plain(ModelCard(card).data)
    assert data["base_model"] == ["acme/digits.7"]
    assert data["base_model_relation"] == "merge"
    assert "| [digits/7](https://huggingface.co/acme/digits.7) |" in card
    assert "thumbnail" not in data
    assert "base_model" not in render_card(manifest)
