"""Class modules of one label vote: its score is the mean of theirs, wherever they come from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest
import torch
from tests.composition.test_adjusting import adjustment
from tests.composition.test_rebuilding import as_published, assert_same, pool
from tests.composition.tiny_origins import images
from tests.composition.tiny_projects import make_project, run

from modpm.core.classifiers.classifier import Classifier
from modpm.core.composition.adjusting import adjust
from modpm.core.composition.compose import compose_modules, rebuild
from modpm.core.errors import ModpmError
from modpm.core.exporting.onnx_export import onnx_bytes

if TYPE_CHECKING:
    from pathlib import Path

VOTES = ["a/x", "a/y", "a/x", "a/y", "a/z", "a/x"]


def voting(strategy: str = "auto") -> Classifier:
    """Return a classifier of three origins and sizes, with three votes, two, and one."""
    return compose_modules(pool(), strategy, labels=VOTES, ensemble=True)


@pytest.mark.parametrize("strategy", ["auto", "independent"])
def test_the_score_of_a_label_is_the_mean_of_its_modules_scores(strategy: str) -> None:
    apart = compose_modules(pool(), strategy, labels=[f"a/{i}" for i in range(6)])
    scores = apart.score_images(images(5))
    composed = voting(strategy)

    assert composed.labels == ("a/x", "a/y", "a/z")
    for label, found in zip(composed.labels, composed.score_images(images(5)).T, strict=True):
        votes = [i for i, own in enumerate(VOTES) if own == label]
        torch.testing.assert_close(found, scores[:, votes].mean(1))


def test_a_single_vote_is_counted_as_it_is() -> None:
    alone = compose_modules(pool()[4:5]).score_images(images(5))
    found = voting("independent").score_images(images(5))[:, 2:]
    torch.testing.assert_close(found, alone)


def test_modules_of_one_origin_vote_within_one_network() -> None:
    every = pool()
    modules = [every[i] for i in (0, 2, 5)]
    fused = compose_modules(modules, "fused", labels=["a/x", "a/y", "a/x"], ensemble=True)
    apart = compose_modules(modules, "fused", labels=["a/0", "a/1", "a/2"])
    scores = apart.score_images(images(4))
    expected = torch.stack([scores[:, [0, 2]].mean(1), scores[:, 1]], 1)

    torch.testing.assert_close(fused.score_images(images(4)), expected)
    assert_same(rebuild(as_published(fused), modules), fused)


def test_who_votes_is_said() -> None:
    names = [module.manifest.name for module in pool()]
    reasons = voting().reasons
    assert f"a/x: the mean of {names[0]}, {names[2]}, {names[5]}" in reasons
    assert not any(reason.startswith("a/z: the mean") for reason in reasons)


@pytest.mark.parametrize("strategy", ["auto", "independent"])
def test_a_classifier_that_votes_is_saved_read_and_rebuilt(tmp_path: Path, strategy: str) -> None:
    classifier = voting(strategy)
    classifier.save(tmp_path / "clf")

    assert_same(Classifier.from_folder(tmp_path / "clf"), classifier)
    assert_same(rebuild(as_published(classifier), pool()), classifier)
    assert "vote" in (tmp_path / "clf" / "README.md").read_text()


@pytest.mark.parametrize(
    "networks",
    [
        [],
        [{"strategy": "independent", "modules": [0]}],
        [{"strategy": "independent", "modules": [i]} for i in (1, 0, 2, 3, 4, 5)],
        [{"strategy": "independent", "modules": [i]} for i in (0, 1, 2, 3, 4, 9)],
        [{"strategy": "independent", "modules": [0, 1, 2, 3, 4, 5]}],
    ],
)
def test_networks_that_are_not_those_of_the_modules_are_refused(
    tmp_path: Path, networks: list[dict[str, object]]
) -> None:
    voting("independent").save(tmp_path / "clf")
    path = tmp_path / "clf" / "composition.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"networks": networks}))
    with pytest.raises(ModpmError) as caught:
        Classifier.from_folder(tmp_path / "clf")
    assert caught.value.code == "damaged-classifier"


def test_without_the_option_two_modules_of_one_label_are_refused_and_it_is_named() -> None:
    with pytest.raises(ModpmError) as caught:
        compose_modules(pool(), labels=VOTES)
    assert caught.value.code == "same-label"
    assert "--ensemble" in (caught.value.hint or "")


def test_onnxruntime_counts_the_same_adjusted_votes() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    classifier = compose_modules(pool()[1:4:2], labels=["a/x", "a/x"], ensemble=True)
    assert classifier.composition is not None
    origin = classifier.composition.modules[1].origin
    classifier = adjust(classifier, [msgspec.structs.replace(adjustment(slope=3.0), origin=origin)])
    session = onnxruntime.InferenceSession(onnx_bytes(classifier))
    pixels = images(3).float() / 255
    (scores,) = session.run(["scores"], {"images": pixels.numpy()})
    torch.testing.assert_close(
        torch.from_numpy(scores), classifier(pixels).detach(), rtol=1e-3, atol=1e-3
    )


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("voting"))


@pytest.fixture
def project(shared_project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(shared_project)
    return shared_project


@pytest.mark.usefixtures("project")
def test_two_publishers_modules_of_one_class_vote_and_are_packed(tmp_path: Path) -> None:
    made = run("compose", "tiny5/cat", "tiny/*", "--ensemble", "-o", tmp_path / "clf", "--json")
    assert made.data["labels"] == ["tiny5/cat", "tiny/dog"]
    assert "tiny5/cat: the mean of tiny5/cat, tiny/cat" in made.data["reasons"]

    assert run("pack", tmp_path / "clf", "--name", "acme/pets", "-o", tmp_path / "dist").code == 0
    again = run("compose", tmp_path / "dist", "-o", tmp_path / "again", "--json")
    assert again.data["labels"] == made.data["labels"]
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "clf" / name).read_bytes()
    assert "vote" in (tmp_path / "dist" / "README.md").read_text()


@pytest.mark.usefixtures("project")
def test_an_alias_keeps_a_module_from_voting_and_lets_another_vote(tmp_path: Path) -> None:
    made = run(
        *("compose", "tiny/cat", "tiny5/cat", "tiny/dog", "-o", tmp_path / "clf", "--json"),
        *("--ensemble", "--alias", "tiny5/cat=tabby", "--alias", "tiny/dog=cat"),
    )
    assert made.data["labels"] == ["tiny/cat", "tiny5/tabby"]


@pytest.mark.usefixtures("project")
def test_aliases_give_modules_of_a_composition_one_label_only_to_vote(tmp_path: Path) -> None:
    run("compose", "tiny/*", "-o", tmp_path / "clf")
    run("pack", tmp_path / "clf", "--name", "acme/pets", "-o", tmp_path / "dist")
    command: list[str | Path] = [
        "compose",
        tmp_path / "dist",
        "--alias",
        "tiny/dog=cat",
        "-o",
        tmp_path / "again",
    ]

    assert run(*command, "--json").data["error"]["code"] == "same-label"
    assert not (tmp_path / "again").exists()
    assert run(*command, "--ensemble", "--json").data["labels"] == ["tiny/cat"]
