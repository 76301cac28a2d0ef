"""The threshold for none of the above, set by what class modules publish of their own images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.composition.tiny_origins import CLASSES, tiny_origin

from modpm.core.classifiers.classifier import Classifier
from modpm.core.composition.compose import compose_modules
from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import SHARES, OwnScores

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from modpm.core.classifiers.class_module import ClassModule

OWN = [-3.0, -2.0, -1.5, -1.0, 0.0, 1.0, 2.0, 5.0]
HIGHEST = [-2.0, -1.0, -0.5, 0.5, 1.0, 1.5, 2.0, 6.0]


def published(own: Sequence[float] = OWN, highest: Sequence[float] = HIGHEST) -> OwnScores:
    return OwnScores(
        split="validation",
        n=100,
        own=list(own),
        highest=list(highest),
    )


def module(name: str, scores: OwnScores | None = None) -> ClassModule:
    origin, kept = tiny_origin(), tiny_origin().some(1)
    if scores is None:
        return origin.module(name, kept)
    return origin.module(name, kept, own_scores=scores)


def log_odds(probability: float | None) -> float:
    assert probability is not None
    return math.log(probability / (1 - probability))


def test_the_threshold_of_one_module_is_the_percentile_of_its_own_score() -> None:
    found = compose_modules([module("cat", published())], reject="auto")
    assert log_odds(found.reject) == pytest.approx(-1.0)
    found = compose_modules([module("cat", published())], reject="auto", false_rejections=0.35)
    assert log_odds(found.reject) == pytest.approx(1.5)  # half of the way from 20 to 50 %


def test_with_all_classes_of_the_origin_it_is_the_percentile_of_the_highest_score() -> None:
    found = compose_modules(
        [module(name, published()) for name in CLASSES], "independent", reject="auto"
    )
    assert log_odds(found.reject) == pytest.approx(0.5)


def test_modules_are_not_fused_where_the_threshold_is_set_by_what_they_publish() -> None:
    modules = [module(name, published()) for name in CLASSES]
    assert compose_modules(modules).strategy == "fused"
    kept = compose_modules(modules, reject="auto")
    assert kept.strategy == "independent"
    assert any("publish" in reason for reason in kept.reasons)
    with pytest.raises(ModpmError) as caught:
        compose_modules(modules, "fused", reject="auto")
    assert caught.value.code == "no-own-scores"
    assert "--strategy independent" in str(caught.value.hint)
    # What is published says nothing of fused modules: nothing is refused by it.
    assert compose_modules(modules, "fused", reject=1.0).reject == 1.0


quantiles = st.lists(st.floats(-9, 9), min_size=len(SHARES), max_size=len(SHARES), unique=True).map(
    sorted
)


@given(st.lists(quantiles, min_size=1, max_size=3), st.sampled_from([0.02, 0.05, 0.3]))
@settings(deadline=None, max_examples=25)
def test_no_higher_threshold_keeps_the_share(own: list[list[float]], share: float) -> None:
    raised = [[value + 1 for value in one] for one in own]
    modules = [
        module(name, published(one, more))
        for name, one, more in zip(CLASSES, own, raised, strict=False)
    ]
    found = compose_modules(modules, "independent", reject="auto", false_rejections=share)
    chance = (len(own) - 1) / (len(CLASSES) - 1)

    def rejected(score: float) -> float:
        below = [
            (1 - chance) * np.interp(score, one, SHARES, left=0, right=1)
            + chance * np.interp(score, more, SHARES, left=0, right=1)
            for one, more in zip(own, raised, strict=True)
        ]
        return float(np.mean(below))

    assert rejected(log_odds(found.reject) - 1e-6) <= share + 1e-6
    assert rejected(log_odds(found.reject) + 1e-6) >= share - 1e-6


def refusal(
    *modules: ClassModule, reject: float | str | None, share: float | None = None
) -> ModpmError:
    with pytest.raises(ModpmError) as caught:
        compose_modules(modules, "independent", reject=reject, false_rejections=share)
    return caught.value


def test_modules_that_do_not_publish_their_scores_are_named() -> None:
    error = refusal(module("cat", published()), module("dog"), reject="auto")
    assert error.code == "no-own-scores"
    assert "tiny/dog 1.0.0" in str(error.why)
    assert "tiny/cat" not in str(error.why)
    assert "modpm modularize" in str(error.hint)


@pytest.mark.parametrize(
    ("reject", "share", "said"),
    [
        ("often", None, "the threshold often is not a probability"),
        (1.5, None, "the threshold 1.5 is not a probability"),
        (math.nan, None, "the threshold nan is not a probability"),
        (0.5, 0.05, "sets the threshold by itself"),
        (None, 0.05, "sets the threshold by itself"),
        ("auto", 0.0, "0 is no share"),
        ("auto", 1.0, "1 is no share"),
        ("auto", math.nan, "nan is no share"),
    ],
)
def test_what_is_no_threshold_or_no_share_is_refused(
    reject: float | str | None, share: float | None, said: str
) -> None:
    error = refusal(module("cat", published()), reject=reject, share=share)
    assert (error.code, error.exit_code) == ("invalid-threshold", 2)
    assert said in error.what


@pytest.mark.parametrize("reject", [1, 0.999])
def test_a_threshold_that_rejects_everything_is_refused(reject: float) -> None:
    error = refusal(module("cat", published()), module("dog", published()), reject=reject)
    assert error.code == "rejects-everything"
    assert "0.9975" in str(error.why)  # of log-odds 6


def test_a_module_that_rejects_everything_is_named() -> None:
    low = [value - 9 for value in OWN]
    modules = [module("cat", published()), module("dog", published(low, low))]
    half = compose_modules(modules, "independent", reject=0.5)
    more = compose_modules(modules, "independent", reject="auto", false_rejections=0.55)
    for classifier in (half, more):
        (note,) = (one for one in classifier.reasons if "always none of the above" in one)
        assert note.startswith("tiny/dog: ")
    assert not compose_modules(modules, "independent", reject=0.0).reasons


def test_of_modules_that_publish_nothing_nothing_is_said() -> None:
    assert compose_modules([module("cat")], "independent", reject=1.0).reject == 1.0


def test_the_share_is_kept_in_the_folder(tmp_path: Path) -> None:
    made = compose_modules([module("cat", published())], reject="auto", false_rejections=0.1)
    made.save(tmp_path / "clf")
    read = Classifier.from_folder(tmp_path / "clf")
    assert (read.reject, read.false_rejections) == (made.reject, 0.1)
    compose_modules([module("cat", published())], reject=0.5).save(tmp_path / "clf")
    assert Classifier.from_folder(tmp_path / "clf").false_rejections is None
