from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from tests.composition.tiny_origins import CLASSES, images, tiny_origin

from modpm.core.classifiers.evaluation import (
    auroc,
    average_precision,
    calibration_error,
    evaluate,
)
from modpm.core.composition.compose import compose_modules
from modpm.core.data import ImageData
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.classifiers.class_module import ClassModule
    from modpm.core.classifiers.classifier import Classifier


def data(classes: Sequence[str] = CLASSES, n: int = 60) -> ImageData:
    labels = torch.arange(n) % len(classes)
    return ImageData(images(n, seed=9), labels, tuple(classes), "tiny", "test")


@cache
def balanced_module(name: str) -> ClassModule:
    """Return a module that says yes to half of the images, with scores about 1 from 0."""
    origin = tiny_origin()
    kept = origin.some(CLASSES.index(name))
    logits = origin.module(name, kept, slope=1.0, intercept=0.0).score_images(data().images)
    slope = 1 / float(logits.std())
    return origin.module(name, kept, slope=slope, intercept=-slope * float(logits.median()))


def classifier(*names: str, reject: float | None = None) -> Classifier:
    modules = [balanced_module(name) for name in names or CLASSES]
    return compose_modules(modules, "independent", reject=reject)


def test_evaluation_counts_what_a_loop_over_predictions_counts() -> None:
    judged, subject = data(), classifier(reject=0.5)
    evaluation = evaluate(subject, judged)
    predicted = [one.label for one in subject.predict(judged.images)]
    truth = [f"tiny/{judged.classes[label]}" for label in judged.labels.tolist()]
    pairs = list(zip(predicted, truth, strict=True))
    assert evaluation.accuracy == sum(p == t for p, t in pairs) / len(pairs)
    assert evaluation.n == len(pairs)
    assert evaluation.n_rejected == predicted.count(None) > 0
    assert len(set(predicted)) > 3
    for label in subject.labels:
        metrics = evaluation.per_class[label]
        n_right = sum(p == t == label for p, t in pairs)
        assert metrics.n == truth.count(label)
        assert metrics.recall == n_right / truth.count(label)
        given_label = predicted.count(label)
        assert metrics.precision == (n_right / given_label if given_label else None)
    for i, name in enumerate(evaluation.classes):
        for j, column in enumerate([*subject.labels, None]):
            assert evaluation.confusion[i][j] == pairs.count((column, f"tiny/{name}"))


def test_images_of_classes_that_the_classifier_lacks_are_left_out_and_counted() -> None:
    evaluation = evaluate(classifier("cat", "dog"), data())
    assert (evaluation.n, evaluation.n_left_out) == (30, 30)
    assert evaluation.classes == ("cat", "dog")
    assert list(evaluation.per_class) == ["tiny/cat", "tiny/dog"]


def test_open_set_images_are_right_where_they_are_none_of_the_above() -> None:
    subject, judged = classifier("cat", "dog", reject=0.6), data()
    evaluation = evaluate(subject, judged, open_set=True)
    predicted = [one.label for one in subject.predict(judged.images)]
    expected = {"cat": "tiny/cat", "dog": "tiny/dog", "bird": None, "frog": None}
    truth = [expected[judged.classes[label]] for label in judged.labels.tolist()]
    assert evaluation.n == 60
    assert evaluation.n_left_out == 0
    assert evaluation.n_rejected == predicted.count(None)
    assert evaluation.accuracy == sum(p == t for p, t in zip(predicted, truth, strict=True)) / len(
        truth
    )


def test_known_images_are_told_from_unknown_ones_as_a_loop_over_pairs_says() -> None:
    subject, judged = classifier("cat", "dog", reject=0.6), data()
    known = evaluate(subject, judged, open_set=True).known
    assert known is not None
    highest = subject.score_images(judged.images).max(1).values.tolist()
    is_known = [judged.classes[label] in {"cat", "dog"} for label in judged.labels.tolist()]
    own = [score for score, one in zip(highest, is_known, strict=True) if one]
    others = [score for score, one in zip(highest, is_known, strict=True) if not one]
    wins = sum((a > b) + (a == b) / 2 for a in own for b in others)
    assert known.n_known == len(own) == 30
    assert known.auroc == pytest.approx(wins / (len(own) * len(others)))
    n_rejected = sum(one.label is None for one in subject.predict(judged.images[is_known]))
    assert known.false_rejections == n_rejected / 30


def test_of_a_closed_set_and_of_known_images_alone_no_auroc_is_measured() -> None:
    assert evaluate(classifier("cat"), data()).known is None
    known = evaluate(classifier(), data(), open_set=True).known
    assert known is not None
    assert (known.n_known, known.auroc, known.false_rejections) == (60, None, 0.0)


def test_classes_restrict_images_and_outputs() -> None:
    restricted = evaluate(classifier(), data(), classes=["cat", "dog"])
    alone = evaluate(classifier("cat", "dog"), data())
    assert restricted.accuracy == alone.accuracy
    assert restricted.confusion == alone.confusion
    assert restricted.n_left_out == 30


def test_a_label_meets_the_class_that_the_map_gives() -> None:
    renamed = data(("Vogel", "Katze", "Hund", "frog"))
    mapping = {"tiny/bird": "Vogel", "tiny/cat": "Katze", "tiny/dog": "Hund"}
    assert evaluate(classifier(), renamed, mapping=mapping).accuracy == (
        evaluate(classifier(), data()).accuracy
    )
    assert evaluate(classifier(), renamed).n == 15


def test_a_label_that_meets_no_class_competes_unless_outputs_are_restricted() -> None:
    judged = data(("cat", "dog"))
    subject = classifier("cat", "dog", "frog")
    whole = evaluate(subject, judged)
    assert whole.per_class["tiny/frog"].n == 0
    assert whole.per_class["tiny/frog"].recall is None
    restricted = evaluate(subject, judged, classes=["cat", "dog"])
    assert list(restricted.per_class) == ["tiny/cat", "tiny/dog"]


def test_two_labels_may_meet_one_class() -> None:
    judged = data(("cat", "dog"))
    modules = [balanced_module(name) for name in ("cat", "dog", "frog")]
    subject = compose_modules(modules, labels=["a/cat", "a/dog", "b/cat"])
    evaluation = evaluate(subject, judged)
    right = {"a/cat": 0, "b/cat": 0, "a/dog": 1}
    predicted = [right[str(one.label)] for one in subject.predict(judged.images)]
    expected = (torch.tensor(predicted) == judged.labels).float().mean()
    assert evaluation.accuracy == pytest.approx(float(expected))


def test_a_class_module_alone_answers_yes_or_no() -> None:
    module, judged = balanced_module("cat"), data()
    evaluation = evaluate(module, judged)
    is_cat = judged.labels == CLASSES.index("cat")
    says_yes = module.score_images(judged.images) > 0
    n_right = int((says_yes & is_cat).sum())
    metrics = evaluation.per_class["tiny/cat"]
    assert evaluation.accuracy == int((says_yes == is_cat).sum()) / 60
    assert evaluation.n_rejected == int((~says_yes).sum())
    assert metrics.recall == n_right / int(is_cat.sum())
    assert metrics.precision == (n_right / int(says_yes.sum()) if says_yes.any() else None)
    assert evaluation.average_precision is not None
    assert evaluation.to_json()["average_precision"] == evaluation.average_precision


@given(
    scores=st.lists(st.integers(-3, 3), min_size=1, max_size=30),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_average_precision_is_that_of_scikit_learn(scores: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    is_class = torch.rand(len(scores), generator=generator) < 0.5
    values = torch.tensor(scores, dtype=torch.float32)
    if is_class.any():
        expected = average_precision_score(is_class.numpy(), values.numpy())
        assert average_precision(values, is_class) == pytest.approx(expected)
    else:
        assert average_precision(values, is_class) == 0.0


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
@settings(deadline=None)
def test_auroc_is_that_of_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    values = torch.tensor([float(value) for value, _ in pairs])
    is_class = torch.tensor([one for _, one in pairs])
    assume(0 < int(is_class.sum()) < len(pairs))
    assert auroc(values, is_class) == pytest.approx(roc_auc_score(is_class.numpy(), values.numpy()))


def test_the_json_has_the_fields_that_scripts_rely_on() -> None:
    fields = json.loads(json.dumps(evaluate(classifier(), data()).to_json(), allow_nan=False))
    assert {"accuracy", "n", "n_rejected", "per_class"} <= fields.keys()
    assert fields["per_class"]["tiny/cat"].keys() == {"precision", "recall", "n"}
    assert sum(map(sum, fields["confusion"]["counts"])) == fields["n"] == 60


@pytest.mark.parametrize("open_set", [False, True])
def test_balanced_accuracy_is_the_mean_of_the_classes(open_set: bool) -> None:
    judged = data().select([*range(60), *range(0, 60, 3), *range(1, 60, 7)])
    subject = classifier("cat", "dog")
    found = evaluate(subject, judged, open_set=open_set)
    columns = {"cat": 0, "dog": 1}
    rows = dict(zip(found.classes, found.confusion, strict=True))
    shares = [rows[name][column] / sum(rows[name]) for name, column in columns.items()]
    others = [row for name, row in rows.items() if name not in columns]
    assert bool(others) == open_set
    if others:
        shares.append(sum(row[-1] for row in others) / sum(map(sum, others)))
    assert found.balanced_accuracy == pytest.approx(sum(shares) / len(shares))
    assert found.to_json()["balanced_accuracy"] == found.balanced_accuracy


def test_a_data_set_that_shares_no_class_is_refused_with_a_hint() -> None:
    with pytest.raises(ModpmError) as raised:
        evaluate(classifier(), data(("7", "8")))
    assert raised.value.code == "no-common-class"
    assert raised.value.hint is not None
    assert "--map tiny/bird=7" in raised.value.hint


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"classes": ["kat"]}, "unknown-class"),
        ({"mapping": {"tiny/kat": "cat"}}, "unknown-label"),
        ({"mapping": {"tiny/cat": "kat"}}, "unknown-class"),
    ],
)
def test_an_unknown_class_or_label_is_named_with_what_may_be_meant(
    arguments: dict[str, object], code: str
) -> None:
    with pytest.raises(ModpmError) as raised:
        evaluate(classifier(), data(), **arguments)  # type: ignore[arg-type]  # one of several
    assert raised.value.code == code
    assert "did you mean" in str(raised.value.hint)


def test_a_split_without_an_image_of_a_known_class_is_refused() -> None:
    empty = data().select(torch.arange(60)[data().labels == CLASSES.index("frog")])
    with pytest.raises(ModpmError) as raised:
        evaluate(classifier("cat", "dog"), empty)
    assert raised.value.code == "no-images"


@given(
    st.lists(st.tuples(st.integers(0, 256), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 20),
)
def test_the_calibration_error_is_that_of_a_loop_over_bins(
    images: list[tuple[int, bool]], n_bins: int
) -> None:
    total = 0.0
    for i in range(n_bins):
        in_bin = [
            (k / 256, is_right)
            for k, is_right in images
            if i * 256 < k * n_bins <= (i + 1) * 256 or (i == 0 and k == 0)
        ]
        if in_bin:
            right = sum(is_right for _, is_right in in_bin) / len(in_bin)
            mean = sum(confidence for confidence, _ in in_bin) / len(in_bin)
            total += len(in_bin) / len(images) * abs(right - mean)
    found = calibration_error(
        torch.tensor([k / 256 for k, _ in images], dtype=torch.float64),
        torch.tensor([is_right for _, is_right in images]),
        n_bins,
    )
    assert found == pytest.approx(total, abs=1e-9)


def test_probabilities_that_are_right_as_often_as_they_say_have_no_calibration_error() -> None:
    confidences = torch.full((10,), 0.7, dtype=torch.float64)
    is_right = torch.arange(10) < 7
    assert calibration_error(confidences, is_right) == pytest.approx(0)
    assert calibration_error(confidences, is_right | True) == pytest.approx(0.3)
    assert calibration_error(confidences[:0], is_right[:0]) is None


def test_the_calibration_error_of_a_classifier_is_that_of_its_predictions() -> None:
    judged, subject = data(), classifier(reject=0.5)
    evaluation = evaluate(subject, judged, open_set=True)
    shares = subject.score_images(judged.images).softmax(1)
    truth = torch.tensor([subject.labels.index(f"tiny/{judged.classes[i]}") for i in judged.labels])
    expected = calibration_error(shares.max(1).values, shares.argmax(1) == truth)
    assert evaluation.calibration_error == pytest.approx(expected, abs=1e-6)
    assert sum(evaluation.rightly) == round(evaluation.accuracy * evaluation.n)
