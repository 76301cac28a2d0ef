"""What origins say is adjusted to each other by a few images, with labels or without."""

from __future__ import annotations

import itertools
import json
from functools import cache
from typing import TYPE_CHECKING

import msgspec
import pytest
import torch
from tests.composition.test_rebuilding import as_published, assert_same, released
from tests.composition.tiny_origins import CLASSES, images, tiny_origin
from tests.composition.tiny_projects import make_image_folder, make_project, run

from modpm.core.classifiers.classifier import Classifier, probabilities
from modpm.core.composition.adjusting import adjust, calibrate, fit_shares
from modpm.core.composition.compose import compose_modules, rebuild, record_of
from modpm.core.composition.replacing import replace_module
from modpm.core.data import ImageData
from modpm.core.errors import ModpmError
from modpm.core.formats.composition_manifest import Adjustment

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from modpm.core.classifiers.class_module import ClassModule


@cache
def modules() -> list[ClassModule]:
    """Return two classes of one origin and two of another, in turn."""
    near, far = tiny_origin(), tiny_origin(5)
    cut = zip((near, far, near, far), CLASSES, strict=True)
    return [released(origin.module(name, origin.some(i))) for i, (origin, name) in enumerate(cut)]


def composed() -> Classifier:
    return compose_modules(modules(), "independent")


def adjustment(origin: int = 1, slope: float = 1.0, intercept: float = 0.0) -> Adjustment:
    return Adjustment(
        origin=modules()[origin].manifest.origin.digest,
        how="labeled",
        slope=slope,
        intercept=intercept,
        data_set="tiny",
        fingerprint="sha256:0",
        n=9,
        before=1.0,
        after=0.5,
    )


def sampled(classifier: Classifier, n: int, seed: int = 1) -> ImageData:
    """Return images whose labels are as likely as a classifier says, and some of each."""
    pixels = images(n, seed=seed)
    shares = probabilities(classifier.score_images(pixels))
    labels = torch.multinomial(shares, 1, generator=torch.Generator().manual_seed(seed)).squeeze(1)
    labels[: 2 * len(CLASSES)] = torch.arange(2 * len(CLASSES)) % len(CLASSES)
    return ImageData(pixels, labels, CLASSES, "tiny", "train")


def adjustments_of(classifier: Classifier) -> list[Adjustment]:
    assert classifier.composition is not None
    return classifier.composition.adjustments


def entropy(scores: Tensor, labels: Tensor) -> float:
    return float(torch.nn.functional.cross_entropy(scores, labels))


def test_an_origins_scores_are_multiplied_and_added_to_and_others_are_not() -> None:
    plain, photos = composed(), images(4)
    twice = [adjustment(slope=3.0, intercept=-1.0), adjustment(slope=0.5, intercept=2.0)]
    found = adjust(plain, twice).score_images(photos)
    before = plain.score_images(photos)

    assert torch.equal(found[:, [0, 2]], before[:, [0, 2]])
    torch.testing.assert_close(found[:, [1, 3]], before[:, [1, 3]] * 1.5 + 1.5)


@pytest.mark.parametrize("strategy", ["independent", "fused", "auto"])
def test_an_adjusted_classifier_is_saved_read_and_rebuilt(tmp_path: Path, strategy: str) -> None:
    chosen = modules()[1::2] if strategy == "fused" else modules()
    made = adjust(compose_modules(chosen, strategy), [adjustment(slope=1.7, intercept=0.3)])
    made.save(tmp_path / "clf")

    assert_same(Classifier.from_folder(tmp_path / "clf"), made)
    assert_same(rebuild(as_published(made), chosen), made)
    assert "adjusted on 9 labeled images of tiny" in (tmp_path / "clf" / "README.md").read_text()


def test_an_origin_that_speaks_too_loudly_is_made_to_fit() -> None:
    plain = composed()
    loud = adjust(plain, [adjustment(slope=4.0, intercept=3.0)])
    data = sampled(plain, 400)
    mended = calibrate(loud, data)

    first, second = adjustments_of(mended)[1:]
    assert second.slope < 0.7 * first.slope
    assert second.before > second.after
    assert second.accuracy_before is not None
    held_out = sampled(plain, 400, seed=2)
    losses = [
        entropy(one.score_images(held_out.images), held_out.labels) for one in (plain, mended, loud)
    ]
    assert losses[1] == pytest.approx(losses[0], abs=0.05)
    assert losses[1] < losses[2] - 0.2


def test_no_other_numbers_near_by_are_better_for_the_images_and_the_pull() -> None:
    plain = composed()
    loud = adjust(plain, [adjustment(slope=4.0, intercept=3.0)])
    data = sampled(plain, 60)
    outputs = loud.score_images(data.images).double()
    fitted = [(one.slope, one.intercept) for one in adjustments_of(calibrate(loud, data))[1:]]

    def loss(numbers: list[tuple[float, float]]) -> float:
        total = 0.0
        for i, label in enumerate(data.labels.tolist()):
            # Of modules that take turns, the origin of each is its position's parity.
            scores = [numbers[k % 2][0] * outputs[i, k] + numbers[k % 2][1] for k in range(4)]
            total += float(torch.stack(scores).logsumexp(0) - scores[label])
        for slope, intercept in numbers:
            total += float(torch.tensor(slope).log() / 0.5) ** 2 / 2 + intercept**2 / 2
        return total

    least = loss(fitted)
    for origin, place, step in itertools.product((0, 1), (0, 1), (-0.02, 0.02)):
        moved = [list(one) for one in fitted]
        moved[origin][place] += step
        assert loss([(a, b) for a, b in moved]) > least


def test_the_identity_is_kept_and_said_where_nothing_is_better() -> None:
    plain = composed()
    kept = calibrate(plain, sampled(plain, 40))

    assert all(one.is_identity for one in adjustments_of(kept))
    assert torch.equal(kept.score_images(images(3)), plain.score_images(images(3)))
    assert any("no better by its standard error" in reason for reason in kept.reasons)
    assert kept.macs == plain.macs


def test_images_of_other_classes_are_left_out_and_the_order_of_classes_is_no_matter() -> None:
    plain = compose_modules(modules()[:3], "independent")
    data = sampled(composed(), 60)
    backwards = ImageData(data.pixels, 3 - data.labels, CLASSES[::-1], "tiny", "train")
    one, other = (calibrate(plain, some) for some in (data, backwards))

    assert adjustments_of(one)[0].n == int((data.labels < 3).sum())
    for left, right in zip(adjustments_of(one), adjustments_of(other), strict=True):
        assert msgspec.structs.replace(right, fingerprint=left.fingerprint) == left


def test_offsets_give_labels_of_each_origin_as_often_as_if_all_came_equally_often() -> None:
    loud = adjust(composed(), [adjustment(intercept=3.0)])
    photos = images(500)
    made = fit_shares(loud, loud.image_outputs(photos), "photos", "sha256:1")
    shares = probabilities(made.score_images(photos)).mean(0)

    assert float(shares[[1, 3]].sum()) == pytest.approx(0.5, abs=0.02)
    assert all(one.slope == 1 and one.how == "unlabeled" for one in adjustments_of(made)[1:])
    assert adjustments_of(made)[1].before > adjustments_of(made)[1].after


def test_fewer_images_without_labels_move_less() -> None:
    loud = adjust(composed(), [adjustment(intercept=3.0)])

    def moved(n: int) -> float:
        outputs = loud.image_outputs(images(500)[:n])
        first, second = adjustments_of(fit_shares(loud, outputs, "photos", "sha256:1"))[1:]
        return first.intercept - second.intercept

    assert 0 < moved(4) < moved(500)


def test_votes_of_two_origins_are_adjusted_each_by_its_own() -> None:
    labels = ["a/x", "a/x", "a/y", "a/y"]
    voting = compose_modules(modules(), "independent", labels=labels, ensemble=True)
    made = adjust(voting, [adjustment(slope=2.0, intercept=1.0)])
    scores = composed().score_images(images(3))
    expected = (scores[:, ::2] + 2 * scores[:, 1::2] + 1) / 2

    torch.testing.assert_close(made.score_images(images(3)), expected)
    assert_same(rebuild(as_published(made), modules()), made)


def test_an_origin_is_adjusted_as_long_as_a_module_is_of_it() -> None:
    first, second, third, _ = modules()
    made = adjust(compose_modules([first, second]), [adjustment(0, 2.0), adjustment(1, 3.0)])
    replaced = replace_module(record_of(made), [first, second], second.label, third)

    assert adjustments_of(replaced) == [adjustment(0, 2.0)]
    expected = 2 * compose_modules([first, third], "independent").score_images(images(3))
    torch.testing.assert_close(replaced.score_images(images(3)), expected)


def refused(classifier: Classifier, data: ImageData) -> ModpmError:
    with pytest.raises(ModpmError) as caught:
        calibrate(classifier, data)
    return caught.value


def test_two_labels_of_one_class_are_refused() -> None:
    both = compose_modules(modules()[:2], labels=["a/cat", "b/cat"])
    assert refused(both, sampled(composed(), 20)).code == "labels-of-one-class"


def test_images_without_labels_are_refused_where_there_is_one_origin_or_too_few_are() -> None:
    alone = compose_modules(modules()[::2])
    for classifier, n, code in ((alone, 9, "one-origin"), (composed(), 3, "too-few-images")):
        with pytest.raises(ModpmError) as caught:
            fit_shares(classifier, classifier.image_outputs(images(n)), "photos", "sha256:1")
        assert caught.value.code == code


def test_an_adjustment_of_another_origin_is_refused() -> None:
    stranger = msgspec.structs.replace(adjustment(), origin="sha256:" + "0" * 64)
    with pytest.raises(ModpmError) as caught:
        adjust(composed(), [stranger])
    assert caught.value.code == "broken-composition"


def test_a_saved_composition_that_adjusts_an_origin_twice_is_damaged(tmp_path: Path) -> None:
    adjust(composed(), [adjustment(slope=2.0)]).save(tmp_path / "clf")
    path = tmp_path / "clf" / "composition.json"
    document = json.loads(path.read_bytes())
    document["adjustments"] *= 2
    path.write_text(json.dumps(document))
    with pytest.raises(ModpmError) as caught:
        Classifier.from_folder(tmp_path / "clf")
    assert caught.value.code == "damaged-classifier"


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adjusting")
    make_image_folder(folder / "data", 6)
    return make_project(folder)


@pytest.fixture
def project(shared_project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(shared_project)
    return shared_project


COMPOSE = ("compose", "tiny/cat", "tiny/dog", "tiny4/frog")


def test_the_command_fits_both_says_and_records_it(project: Path, tmp_path: Path) -> None:
    data = project.parent / "data"
    fitting = ("--calibrate", data, "--split", "test", "--unlabeled", data)
    made = run(*COMPOSE, *fitting, "-o", tmp_path / "clf", "--json")
    assert made.code == 0, made.stderr
    assert [one["how"] for one in made.data["adjustments"]] == ["labeled"] * 2 + ["unlabeled"] * 2
    assert [one["n"] for one in made.data["adjustments"]] == [18, 18, 24, 24]
    sentences = [one for one in made.data["reasons"] if str(data) in one]
    assert ["by cross-validation" in one for one in sentences] == [True, False]
    composition = json.loads((tmp_path / "clf" / "composition.json").read_bytes())
    assert composition["adjustments"] == made.data["adjustments"]

    packed = ("--name", "acme/pets", "-o", tmp_path / "dist")
    assert run("pack", tmp_path / "clf", *packed).code == 0
    again = run("compose", tmp_path / "dist", "-o", tmp_path / "again", "--json")
    assert again.data["adjustments"] == made.data["adjustments"]
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "clf" / name).read_bytes()
    anew = run("compose", tmp_path / "dist", *fitting[-2:], "-o", tmp_path / "anew", "--json")
    assert [one["how"] for one in anew.data["adjustments"]] == ["unlabeled"] * 2


@pytest.mark.parametrize(
    ("numbers", "code", "found"),
    [
        ({"cat": 3, "dog": 3}, "label-without-images", "tiny4/frog: 0"),
        ({"cat": 1, "dog": 3, "frog": 3}, "too-few-images", "tiny/cat: 1"),
        ({"cat": 1}, "label-without-images", "tiny/dog: 0"),
        ({"wolf": 3, "boar": 3}, "no-common-class", "boar, wolf"),
    ],
)
@pytest.mark.usefixtures("project")
def test_images_that_cannot_calibrate_are_refused_with_what_was_found(
    tmp_path: Path, numbers: dict[str, int], code: str, found: str
) -> None:
    (tmp_path / "data" / "test").mkdir(parents=True)
    for name, n in numbers.items():
        whole = make_image_folder(tmp_path / f"of-{name}", n) / "test" / "cat"
        whole.rename(tmp_path / "data" / "test" / name)
    fitting = ("--calibrate", tmp_path / "data", "--split", "test")
    outcome = run(*COMPOSE, *fitting, "-o", tmp_path / "clf", "--json")
    assert outcome.code == 1
    assert outcome.data["error"]["code"] == code
    assert found in outcome.data["error"]["why"]
    assert not (tmp_path / "clf").exists()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["--unlabeled", "{empty}"], "no-images", "its 1 files are no images by their suffix: 1"),
        (["--unlabeled", "{empty}/nowhere"], "no-images", "nothing is there"),
        (["--unlabeled", "{empty}/notes.txt"], "no-images", "it is a file"),
        (["--map", "tiny/cat=dog"], "usage", "there is no `--calibrate`"),
        (["--calibrate", "{empty}/nowhere"], "data-not-found", ""),
    ],
)
def test_what_no_image_can_be_taken_from_is_refused_and_nothing_is_written(
    tmp_path: Path, arguments: list[str], code: str, why: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    given = [one.format(empty=tmp_path / "empty") for one in arguments]
    outcome = run(*COMPOSE, *given, "-o", tmp_path / "clf", "--json")
    error = outcome.data["error"]
    assert error["code"] == code
    assert why in (error.get("why") or "")
    if code == "no-images":
        assert "such as .png, .jpg or .webp" in error["hint"]
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
