from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest
import torch
from huggingface_hub import ModelCard
from tests.composition.tiny_origins import images, tiny_origin

from modpm.core.classifiers.classifier import Classifier
from modpm.core.classifiers.saving import FILES
from modpm.core.composition.compose import compose_modules
from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.measurement import Measurement

if TYPE_CHECKING:
    from pathlib import Path


def mixed_classifier(reject: float | None = 0.25) -> Classifier:
    near, gray = tiny_origin(), tiny_origin(4, channels=1, size=6)
    modules = [
        near.module("cat", near.some(1)),
        gray.module("frog"),
        near.module("dog", near.some(2)),
    ]
    return compose_modules(modules, reject=reject)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    mixed_classifier().save(tmp_path / "clf")
    return tmp_path / "clf"


def code_of_reading(folder: Path) -> str:
    with pytest.raises(ModpmError) as raised:
        Classifier.from_folder(folder)
    return raised.value.code


def repin(folder: Path, name: str) -> None:
    """Make `composition.json` agree with a changed file, as an attacker would."""
    path = folder / "composition.json"
    composition = json.loads(path.read_bytes())
    data = (folder / name).read_bytes()
    composition["files"][name] = {"size_bytes": len(data), "digest": digest_bytes(data)}
    path.write_text(json.dumps(composition))


def test_a_classifier_read_back_scores_and_decides_as_the_saved_one(folder: Path) -> None:
    saved, read = mixed_classifier(), Classifier.from_folder(folder)
    assert torch.equal(read.score_images(images(4)), saved.score_images(images(4)))
    assert read.predict(images(4)) == saved.predict(images(4))
    assert (read.labels, read.reject, read.macs) == (saved.labels, saved.reject, saved.macs)
    assert read.origin_macs == saved.origin_macs


def test_equal_classifiers_are_equal_bytes(folder: Path, tmp_path: Path) -> None:
    Classifier.from_folder(folder).save(tmp_path / "again")
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    assert {path.name for path in folder.iterdir()} == set(FILES)


def test_the_hub_mixin_saves_and_loads_the_same_classifier(folder: Path, tmp_path: Path) -> None:
    loaded = Classifier.from_pretrained(str(folder))
    loaded.save_pretrained(str(tmp_path / "by_hub"))
    for name in FILES:
        assert (tmp_path / "by_hub" / name).read_bytes() == (folder / name).read_bytes()
    again = Classifier.from_pretrained(tmp_path / "by_hub")
    assert torch.equal(again.score_images(images(2)), loaded.score_images(images(2)))


def test_the_composition_pins_every_module_and_says_how_it_was_composed(folder: Path) -> None:
    composition = json.loads((folder / "composition.json").read_bytes())
    assert composition["strategy"] == "mixed"
    assert [pin["name"] for pin in composition["modules"]] == ["tiny/cat", "tiny4/frog", "tiny/dog"]
    assert composition["modules"][0]["calibration"]["slope"] == 1.5
    assert composition["measured"] == []


def test_the_card_is_one_that_the_hub_reads(folder: Path, tmp_path: Path) -> None:
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "modpm"
    assert "tiny4/frog 1.0.0" in card.text
    classifier = Classifier.from_folder(folder)
    assert classifier.composition is not None
    measured = Measurement(
        data_set="tiny", split="test", fingerprint="sha256:0", n=4, n_rejected=1, accuracy=0.75
    )
    classifier.composition = msgspec.structs.replace(classifier.composition, measured=[measured])
    classifier.save(tmp_path / "measured")
    card = ModelCard.load(tmp_path / "measured" / "README.md")
    assert "accuracy 75.00 % of 4 images" in card.text
    assert card.data.eval_results is not None
    assert card.data.eval_results[0].metric_value == 0.75


def test_a_classifier_is_replaced_by_another(folder: Path) -> None:
    compose_modules([tiny_origin().module("bird")]).save(folder)
    assert Classifier.from_folder(folder).labels == ("tiny/bird",)


def test_a_folder_of_anything_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ModpmError) as raised:
        mixed_classifier().save(tmp_path)
    assert raised.value.code == "folder-exists"
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_a_classifier_with_a_strangers_file_beside_it_is_not_replaced(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ModpmError) as raised:
        mixed_classifier().save(folder)
    assert raised.value.code == "folder-exists"


def test_what_is_no_classifier_is_not_read(tmp_path: Path) -> None:
    assert code_of_reading(tmp_path) == "not-a-classifier"
    assert code_of_reading(tmp_path / "nowhere") == "not-a-classifier"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_changed_or_missing_file_is_found(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    assert code_of_reading(folder) == "damaged-classifier"
    (folder / name).write_bytes(data[:-10])
    assert code_of_reading(folder) == "damaged-classifier"
    (folder / name).unlink()
    assert code_of_reading(folder) == "unreadable-file"


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("config.json", {"format_version": 2}, "unknown-format-version"),
        ("config.json", {"labels": ["a/b"]}, "damaged-classifier"),
        ("config.json", {"labels": []}, "damaged-classifier"),
        ("config.json", {"reject": 7}, "damaged-classifier"),
        ("config.json", {"scorers": []}, "damaged-classifier"),
        ("composition.json", {"format_version": 9}, "unknown-format-version"),
        ("composition.json", {"modules": []}, "damaged-classifier"),
        ("composition.json", {"files": {}}, "damaged-classifier"),
        ("composition.json", {"files": {"config.json": 3}}, "damaged-classifier"),
    ],
)
def test_documents_out_of_step_are_refused(
    folder: Path, name: str, change: dict[str, object], code: str
) -> None:
    document = json.loads((folder / name).read_bytes())
    (folder / name).write_text(json.dumps({**document, **change}))
    if name == "config.json":
        repin(folder, name)
    assert code_of_reading(folder) == code


@pytest.mark.parametrize("text", ["", "[]", "{", "nan", '{"a": 1, "a": 2}', "[" * 10_000])
@pytest.mark.parametrize("name", ["config.json", "composition.json"])
def test_documents_of_strangers_are_read_with_distrust(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    if name == "config.json":
        repin(folder, name)
    assert code_of_reading(folder) in {"invalid-json", "damaged-classifier"}


def test_a_graph_that_its_tensors_do_not_fit_is_refused(folder: Path) -> None:
    document = json.loads((folder / "config.json").read_bytes())
    nodes = document["scorers"][0]["graph"]["nodes"]
    conv = next(node for node in nodes if node["operator"] == "conv2d")
    conv["attributes"]["n_kernels"] = 1000
    (folder / "config.json").write_text(json.dumps(document))
    repin(folder, "config.json")
    assert code_of_reading(folder) == "invalid-graph"


def test_a_network_that_was_not_composed_cannot_be_saved(tmp_path: Path) -> None:
    classifier = Classifier(compose_modules([tiny_origin().module("cat")]).networks())
    with pytest.raises(ModpmError) as raised:
        classifier.save(tmp_path / "clf")
    assert raised.value.code == "not-composed"
    assert not (tmp_path / "clf").exists()
