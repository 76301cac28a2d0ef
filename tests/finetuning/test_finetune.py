"""A composed classifier learns from images of its labels, and stays a composition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import torch
from tests.composition.tiny_colors import ColorOrigin, color_project, make_color_photos
from tests.composition.tiny_origins import CLASSES, images, tiny_origin
from tests.composition.tiny_projects import run

import modpm
from modpm.core.calibrations.scores import fit_common_platt
from modpm.core.classifiers.class_module import Scorer
from modpm.core.classifiers.classifier import Classifier
from modpm.core.classifiers.saving import encode_classifier
from modpm.core.composition.adjusting import adjust
from modpm.core.composition.compose import compose_modules
from modpm.core.errors import ModpmError
from modpm.core.finetuning.joint_network import joint_network, parted
from modpm.core.formats.composition_manifest import Adjustment
from modpm.core.formats.distribution import read_distribution, write_distribution
from modpm.core.formats.measurement import Measurement
from modpm.core.formats.release_files import WEIGHTS_FILE
from modpm.core.graph import build
from modpm.core.tensors import decode_tensors, encode_tensors
from modpm.core.training import checkpoint
from modpm.core.training.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modpm.core.finetuning.finetune import FineTuned
    from modpm.core.training.session import Progress

SETTINGS: dict[str, Any] = {
    "epochs": 2,
    "lr": 0.02,
    "batch_size": 16,
    "val_fraction": 0.4,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_color_photos(tmp_path_factory.mktemp("finetune"), split="train", size=8)


def composed(strategy: str = "fused", reject: float | None = None) -> Classifier:
    """Return a classifier that hardly ever says cat."""
    weak = ColorOrigin("weak", shifts={"cat": -20})
    modules = [weak.module(name, slope=1.0, intercept=0.0) for name in CLASSES]
    return compose_modules(modules, strategy, reject=reject)


@pytest.fixture(scope="module")
def tuned(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> FineTuned:
    output = tmp_path_factory.mktemp("tuned") / "clf"
    return modpm.finetune(composed(), str(photos), output=output, **SETTINGS)


def accuracy_of(classifier: Classifier, run: Run) -> float:
    """Return the accuracy on what a run held out; its outputs are in the order of its classes."""
    held_out = run.validation_data()
    order = [f"weak/{name}" for name in run.classes]
    scores = classifier.score_images(held_out.images)
    places = torch.tensor([order.index(label) for label in classifier.labels])
    return float((places[scores.argmax(1)] == held_out.labels).float().mean())


def test_the_classifier_is_better_on_images_that_were_held_out(tuned: FineTuned) -> None:
    run = Run.open(tuned.run)
    assert tuned.accuracy_before == pytest.approx(accuracy_of(composed(), run)) == 0.75
    assert tuned.is_better
    saved = Classifier.from_folder(Path(str(tuned.run).removesuffix(".run")))
    assert accuracy_of(saved, run) == pytest.approx(tuned.accuracy_after)
    best = max(line["val_accuracy"] for line in run.metrics())
    assert tuned.accuracy_after == best == run.metrics()[tuned.epoch - 1]["val_accuracy"]


def test_independent_networks_of_two_origins_learn_together(photos: Path, tmp_path: Path) -> None:
    weak, other = ColorOrigin("weak", shifts={"cat": -20}), ColorOrigin("other")
    other.input = msgspec.structs.replace(other.input, mean=[0.1] * 3, std=[0.5] * 3)
    modules = [weak.module("cat"), weak.module("dog"), other.module("bird"), other.module("frog")]
    classifier = compose_modules(modules, "independent")
    made = modpm.finetune(classifier, photos, output=tmp_path / "clf", **SETTINGS)
    assert made.accuracy_after > made.accuracy_before
    before, after = (one.networks() for one in (classifier, made.classifier))
    for was, now in zip(before, after, strict=True):
        changed = now.network.state_dict()
        assert all(not torch.equal(x, changed[n]) for n, x in was.network.named_parameters())
        assert was.contract == now.contract


def test_what_it_was_made_of_and_trained_on_is_recorded(tuned: FineTuned) -> None:
    recipe, run = tuned.classifier.composition, Run.open(tuned.run)
    assert recipe is not None
    assert tuple(recipe.modules) == composed().pins
    (entry,) = recipe.finetuned
    assert entry.fingerprint == run.fingerprint == run.data("train").fingerprint
    assert (entry.n, entry.n_held_out) == (48, 32)
    assert (entry.epochs, entry.epoch, entry.seed) == (2, tuned.epoch, 0)
    assert (entry.accuracy_before, entry.accuracy_after) == pytest.approx(
        (tuned.accuracy_before, tuned.accuracy_after)
    )
    again = Classifier.from_folder(Path(str(tuned.run).removesuffix(".run")))
    assert again.composition is not None
    assert again.composition.finetuned == [entry]


def test_scores_are_log_odds_of_images_that_were_held_out(tuned: FineTuned) -> None:
    held_out = Run.open(tuned.run).validation_data()
    scores = tuned.classifier.score_images(held_out.images)
    assert fit_common_platt(scores, held_out.labels) == pytest.approx((1, 0), abs=1e-3)


def test_it_can_be_trained_again_and_each_time_is_recorded(
    tuned: FineTuned, photos: Path, tmp_path: Path
) -> None:
    entry = tuned.classifier.composition.finetuned[0]  # type: ignore[union-attr]  # it was composed
    swapped = {"weak/bird": "cat", "weak/cat": "bird"}
    settings = SETTINGS | {"epochs": 4}
    again = modpm.finetune(
        tuned.classifier, photos, output=tmp_path / "clf", mapping=swapped, **settings
    )
    assert again.accuracy_before == 0.5
    assert again.is_better
    assert again.classifier.composition is not None
    assert again.classifier.composition.finetuned[0] == entry
    assert len(again.classifier.composition.finetuned) == 2
    graphs = [one.networks()[0].graph for one in (tuned.classifier, again.classifier)]
    assert graphs[0] == graphs[1]
    held_out = Run.open(again.run).validation_data()
    scores = again.classifier.score_images(held_out.images)
    assert fit_common_platt(scores, held_out.labels) == pytest.approx((1, 0), abs=1e-3)


def test_where_no_epoch_is_better_the_classifier_is_as_it_was(photos: Path, tmp_path: Path) -> None:
    composed().save(tmp_path / "before")
    outcome = run(
        *("finetune", tmp_path / "before", photos, "-o", tmp_path / "after", "--lr", "1e-9"),
        *("--epochs", "1", "--batch-size", "16"),
    )
    assert outcome.code == 0, outcome.stderr
    assert "no epoch is better" in outcome.stderr
    for name in ("composition.json", "config.json", "model.safetensors"):
        assert (tmp_path / "after" / name).read_bytes() == (tmp_path / "before" / name).read_bytes()


def test_what_was_interrupted_goes_on_and_comes_to_the_same_bytes(
    tuned: FineTuned, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    composed().save(tmp_path / "weak")
    given = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]

    def stop(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (2, 1):
            raise KeyboardInterrupt

    with pytest.raises(ModpmError, match="what is kept is ") as caught:
        modpm.finetune(
            tmp_path / "weak", photos, output=tmp_path / "clf", progress=stop, **SETTINGS
        )
    assert caught.value.code == "interrupted"
    assert "modpm finetune" in str(caught.value.hint)
    assert not (tmp_path / "clf").exists()
    taken = run("finetune", tmp_path / "weak", photos, "-o", tmp_path / "clf", *given)
    assert (
        "run-exists"
        in run(
            "finetune", tmp_path / "weak", photos, "-o", tmp_path / "clf", *given, "--json"
        ).stdout
    )
    assert "--resume" in taken.stderr
    outcome = run("finetune", tmp_path / "weak", photos, "-o", tmp_path / "clf", "--resume")
    assert outcome.code == 0, outcome.stderr
    whole = Path(str(tuned.run).removesuffix(".run"))
    for name in ("config.json", "model.safetensors", "composition.json"):
        assert (tmp_path / "clf" / name).read_bytes() == (whole / name).read_bytes()


def test_statistics_are_those_that_it_had(photos: Path, tmp_path: Path) -> None:
    origin = tiny_origin()
    classifier = compose_modules([origin.module("cat"), origin.module("dog")], "fused")
    made = modpm.finetune(
        classifier, photos, output=tmp_path / "clf", **SETTINGS | {"lr": 0.002, "epochs": 1}
    )
    trained = Run.open(made.run).network()[1]
    statistics = {
        name: tensor
        for name, tensor in joint_network(classifier.networks()).tensors.items()
        if name.endswith(("running_mean", "running_var"))
    }
    assert statistics
    assert all(torch.equal(trained[name], tensor) for name, tensor in statistics.items())


def test_networks_as_one_give_what_each_gives_of_its_own_images() -> None:
    one, other = tiny_origin(), tiny_origin(5)
    moved = msgspec.structs.replace(other.input, mean=[0.1, 0.2, 0.3], std=[0.5, 0.4, 0.3])
    modules = [one.module("cat", one.some(1)), one.module("dog"), other.module("frog", input=moved)]
    classifier = compose_modules(modules, "independent")
    joint = joint_network(classifier.networks())
    pixels = images(5)
    normalized = classifier.preprocessings[0](pixels.float() / 255)
    network = build(joint.graph, joint.tensors).eval()
    torch.testing.assert_close(
        network(normalized), classifier.image_outputs(pixels), rtol=1e-4, atol=1e-4
    )
    assert joint.fixed == {"network1.normalized.weight", "network1.normalized.bias"}
    for own, scorer in zip(parted(joint.tensors, 2), classifier.networks(), strict=True):
        assert own.keys() == scorer.network.state_dict().keys()
        assert all(torch.equal(own[n], x) for n, x in scorer.network.state_dict().items())


def test_what_was_measured_of_other_weights_is_left_out_with_a_word(
    photos: Path, tmp_path: Path
) -> None:
    measured = Measurement(
        data_set="other", split="test", fingerprint="other", classes=["a"], n=1, n_rejected=0,
        accuracy=1.0,
    )  # fmt: skip
    classifier = composed()
    assert classifier.composition is not None
    classifier.composition = msgspec.structs.replace(
        classifier.composition, measured=[measured], false_rejections=0.05
    )
    classifier.reject = 0.01
    made = modpm.finetune(classifier, photos, output=tmp_path / "clf", **SETTINGS)
    assert len(made.notes) == 2
    assert made.classifier.reject is None
    assert made.classifier.composition is not None
    assert made.classifier.composition.measured == []
    assert made.classifier.false_rejections is None


def test_a_threshold_that_a_user_chose_stays(photos: Path, tmp_path: Path) -> None:
    made = modpm.finetune(composed(reject=0.3), photos, output=tmp_path / "clf", **SETTINGS)
    assert made.notes == ()
    assert made.classifier.reject == 0.3


def voting() -> Classifier:
    modules = [ColorOrigin(name).module("cat") for name in ("weak", "other")]
    return compose_modules(modules, labels=["weak/cat", "weak/cat"], ensemble=True)


def adjusted() -> Classifier:
    classifier = composed()
    origin = classifier.pins[0].origin
    return adjust(
        classifier,
        [
            Adjustment(
                origin=origin, how="labeled", slope=2.0, intercept=0.0, data_set="x",
                fingerprint="x", n=4, before=1.0, after=0.5,
            )
        ],
    )  # fmt: skip


def of_two_sizes() -> Classifier:
    modules = [ColorOrigin("weak").module("cat"), ColorOrigin("other", size=12).module("dog")]
    return compose_modules(modules)


def halved() -> Classifier:
    before = composed()
    scorers = [
        Scorer(one.labels, one.contract, one.graph, {
            name: x.half() for name, x in one.network.state_dict().items()
        })
        for one in before.networks()
    ]  # fmt: skip
    return Classifier(scorers, before.labels, None, before.composition)


def measured_on(photos: Path) -> Classifier:
    classifier = composed()
    assert classifier.composition is not None
    fingerprint = modpm.core.data.load_data(str(photos), "train", image_size=(8, 8)).fingerprint
    one = Measurement(
        data_set="these", split="test", fingerprint=fingerprint, classes=["a"], n=1, n_rejected=0,
        accuracy=1.0,
    )  # fmt: skip
    classifier.composition = msgspec.structs.replace(classifier.composition, measured=[one])
    return classifier


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (voting, "vote for one label"),
        (adjusted, "adjusted by origin"),
        (of_two_sizes, "8 x 8 of 3 channels and 12 x 12"),
        (halved, "float16"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_read(
    make: Callable[[], Classifier], why: str, tmp_path: Path
) -> None:
    with pytest.raises(ModpmError, match=why) as caught:
        modpm.finetune(make(), "no such data", output=tmp_path / "clf")
    assert caught.value.code == "cannot-finetune"
    assert list(tmp_path.iterdir()) == []


def test_images_that_it_was_measured_on_are_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ModpmError, match="was measured on these images"):
        modpm.finetune(measured_on(photos), photos, output=tmp_path / "clf")
    assert list(tmp_path.iterdir()) == []


def labeled(labels: Sequence[str]) -> Classifier:
    weak = ColorOrigin("weak")
    return compose_modules([weak.module(name) for name in CLASSES], labels=labels)


@pytest.mark.parametrize(
    ("labels", "mapping", "code"),
    [
        (["x/a", "x/b", "x/c", "x/d"], {}, "no-common-class"),
        (["x/bird", "x/cat", "x/dog", "x/toad"], {}, "label-without-images"),
        (["x/bird", "x/cat", "x/dog", "y/bird"], {}, "labels-of-one-class"),
        (["x/bird", "x/cat", "x/dog", "x/frog"], {"x/frog": "toad"}, "unknown-class"),
    ],
)
def test_labels_that_do_not_meet_classes_are_refused(
    labels: list[str], mapping: dict[str, str], code: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModpmError) as caught:
        modpm.finetune(labeled(labels), photos, output=tmp_path / "clf", mapping=mapping)
    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_one_image_of_a_class_is_too_few(tmp_path: Path) -> None:
    photos = make_color_photos(tmp_path / "photos", split="train")
    for path in sorted((photos / "train" / "cat").iterdir())[1:]:
        path.unlink()
    with pytest.raises(ModpmError, match="`cat` has 1") as caught:
        modpm.finetune(composed(), photos, output=tmp_path / "clf")
    assert caught.value.code == "too-few-images"
    assert not (tmp_path / "clf.run").exists()


def test_a_folder_with_something_else_is_left_alone(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "clf").mkdir()
    (tmp_path / "clf" / "mine.txt").write_text("mine")
    with pytest.raises(ModpmError) as caught:
        modpm.finetune(composed(), photos, output=tmp_path / "clf")
    assert caught.value.code == "folder-exists"
    assert not (tmp_path / "clf.run").exists()


def test_a_network_that_was_not_composed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModpmError, match="only a composed classifier"):
        modpm.finetune(Classifier(composed().networks()), "x", output=tmp_path / "clf")


def test_a_run_goes_on_with_what_it_was_started_with(tuned: FineTuned, photos: Path) -> None:
    output = Path(str(tuned.run).removesuffix(".run"))
    with pytest.raises(ModpmError, match="seed was 0, now 1") as caught:
        modpm.finetune(composed(), photos, output=output, resume=True, **SETTINGS | {"seed": 1})
    assert caught.value.code == "settings-differ"


def test_the_command_prints_the_accuracy_before_and_after(photos: Path, tmp_path: Path) -> None:
    composed().save(tmp_path / "weak")
    given = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    words: list[str | Path] = ["finetune", tmp_path / "weak", photos, *given]
    words += ["-o", tmp_path / "clf"]
    outcome = run(*words, "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.data["accuracy"]["before"] == 0.75
    assert outcome.data["accuracy"]["after"] > 0.75
    assert outcome.data["is_better"] is True
    assert json.loads((tmp_path / "clf" / "composition.json").read_bytes())["finetuned"]
    shown = run(*words, "--resume").stdout
    assert shown.startswith("accuracy 75.00 %, after epoch ")
    assert shown.endswith(" of 32 held-out images\n")


@pytest.fixture(scope="module")
def published(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a project, and what was trained there: `clf`, and `packed`."""
    place = tmp_path_factory.mktemp("published")
    project = color_project(place)
    names = [f"weak/{name}" for name in CLASSES]
    modpm.compose(names, "independent", project=project).save(place / "weak")
    swapped = {"weak/bird": "dog", "weak/dog": "bird"}  # so that there is something to learn
    made = modpm.finetune(
        place / "weak", photos, output=place / "clf", mapping=swapped, **SETTINGS | {"epochs": 4}
    )
    assert made.is_better
    terms = {"license": "MIT", "authors": ["Acme"]}
    modpm.pack(place / "clf", "acme/pets", place / "packed", project=project, **terms)  # type: ignore[arg-type]  # each as its parameter says
    modpm.publish([place / "packed"], place / "registry")
    return place


def test_who_installs_it_gets_the_same_classifier(published: Path, tmp_path: Path) -> None:
    modpm.install(["acme/pets"], tmp_path, published / "registry")
    again = modpm.compose(["acme/pets"], project=tmp_path)
    encoded, kept = encode_classifier(again), published / "clf"
    for name in ("config.json", "model.safetensors", "composition.json", "README.md"):
        assert encoded[name] == (kept / name).read_bytes(), name
    assert "weak/cat==1.0.0" in (published / "packed" / "manifest.json").read_text()
    modpm.verify(project=tmp_path)
    shown = run("info", "acme/pets", "--project", tmp_path).stdout
    assert "once it was composed (48 images, epoch " in shown
    assert (
        "It holds the weights that it was trained to"
        in (published / "packed" / "README.md").read_text()
    )


def test_what_is_installed_is_trained_again(published: Path, photos: Path, tmp_path: Path) -> None:
    words = ("finetune", "acme/pets", photos, "--project", tmp_path, "-o", tmp_path / "clf")
    modpm.install(["acme/pets"], tmp_path, published / "registry")
    outcome = run(*words, "--epochs", "1", "--lr", "1e-9", "--batch-size", "16")
    assert outcome.code == 0, outcome.stderr
    assert "of 8 held-out images" in outcome.stdout


def test_its_scores_can_be_adjusted_and_it_is_packed_then_too(
    published: Path, photos: Path, tmp_path: Path
) -> None:
    project, data = published / "project", str(photos)
    scaled = modpm.compose([published / "packed"], project=project, calibrate=data)
    assert scaled.composition is not None
    origin = scaled.pins[0].origin
    one = msgspec.structs.replace(scaled.composition.adjustments[0], origin=origin, slope=2.0)
    scaled = adjust(modpm.compose([published / "packed"], project=project), [one])
    modpm.pack(scaled, "acme/scaled", tmp_path / "scaled", project=project)
    again = modpm.compose([tmp_path / "scaled"], project=project)
    pixels = images(5)
    torch.testing.assert_close(again.score_images(pixels), scaled.score_images(pixels))


def test_weights_of_other_networks_are_refused(published: Path, tmp_path: Path) -> None:
    manifest = read_distribution(published / "packed").manifest
    weights = decode_tensors((published / "packed" / WEIGHTS_FILE).read_bytes())
    name, tensor = next(iter(weights.items()))
    files = {n: (published / "packed" / n).read_bytes() for n in manifest.files}
    for i, changed in enumerate(
        ({**weights, name: tensor[..., None]}, {**weights, "more": tensor}, {"other": tensor})
    ):
        written = files | {WEIGHTS_FILE: encode_tensors(changed)}
        write_distribution(tmp_path / str(i), manifest, written)
        with pytest.raises(ModpmError, match="weights are not those") as caught:
            modpm.compose([tmp_path / str(i)], project=published / "project")
        assert caught.value.code == "broken-composition"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("compose", "PACKED", "other/cat", "--dry-run"), "fine-tuned"),
        (("compose", "PACKED", "--strategy", "fused", "--dry-run"), "fine-tuned"),
        (("compose", "PACKED", "--reject", "auto", "--dry-run"), "no-own-scores"),
        (
            ("replace", "CLF", "--class", "cat", "--with", "other/cat", "--data", "DATA"),
            "fine-tuned",
        ),
    ],
)
def test_what_would_lose_its_weights_is_refused(
    words: tuple[str, ...], code: str, published: Path
) -> None:
    places = {"PACKED": published / "packed", "CLF": published / "clf"}
    given = [places.get(word, word) for word in words]
    outcome = run(*given, "--project", published / "project", "--json")
    assert outcome.code == 1
    assert outcome.data["error"]["code"] == code


def test_images_that_it_was_trained_on_are_told_from_others(published: Path, photos: Path) -> None:
    measured = modpm.evaluate(published / "clf", str(photos), "train")
    assert measured.n_trained_on == 80
