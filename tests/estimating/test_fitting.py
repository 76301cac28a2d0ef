"""Rates are found again in times that were made by them."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from modpm.core.estimating.fitting import Sample, fit, not_negative
from modpm.core.estimating.rates import Rate, seconds_of
from modpm.core.estimating.work import Work

CONV = Rate(seconds=[5e-5, 2e-11, 0.0, 3e-10, 1e-9], inputs=4, outputs=16)
RELU = Rate(seconds=[4e-6, 0.0, 1e-10, 0.0, 0.0])


def layers(n: int) -> list[list[Work]]:
    chance = random.Random(0)  # noqa: S311 - no secret
    return [
        [
            Work("relu", read=chance.randint(100, 100_000)),
            Work(
                "conv",
                9 * chance.choice((16, 64, 256, 1024)),
                chance.randint(1, 200),
                chance.randint(1, 200),
                chance.randint(1000, 100_000),
                chance.randint(1000, 100_000),
                chance.randint(10, 100_000),
            ),
        ]
        for _ in range(n)
    ]


@pytest.mark.parametrize("share_disturbed", [0.0, 0.1])
def test_rates_and_multiples_are_found_whatever_else_took_a_while(share_disturbed: float) -> None:
    rates = {"conv": CONV, "relu": RELU}
    n_disturbed = round(60 * share_disturbed)
    samples = [
        Sample(steps, seconds_of(steps, rates) * (3 if i < n_disturbed else 1))
        for i, steps in enumerate(layers(60))
    ]
    found = fit(samples, ("conv",), {"relu": RELU})["conv"]
    assert (found.inputs, found.outputs) == (CONV.inputs, CONV.outputs)
    others = layers(100)[60:]
    for steps in others:
        expected = seconds_of(steps, rates)
        assert seconds_of(steps, {"conv": found, "relu": RELU}) == pytest.approx(expected, rel=0.03)


def test_two_kinds_are_fitted_together() -> None:
    rates = {"conv": CONV, "relu": RELU}
    mixed = layers(40)
    steps = [*mixed, *([relu] for relu, _ in mixed)]
    found = fit([Sample(one, seconds_of(one, rates)) for one in steps], ("conv", "relu"), {})
    assert found["relu"].seconds == pytest.approx(RELU.seconds, abs=1e-12)
    assert found["conv"].seconds == pytest.approx(CONV.seconds, abs=1e-10)


@pytest.mark.parametrize("seed", range(20))
def test_no_other_factors_above_zero_come_nearer(seed: int) -> None:
    chance = np.random.default_rng(seed)
    columns, wanted = chance.normal(size=(12, 4)), chance.normal(size=12)
    found = not_negative(columns, wanted)
    assert (found >= 0).all()
    least = [float((wanted**2).sum())]
    for n in range(1, 5):
        for chosen in map(list, itertools.combinations(range(4), n)):
            factors = np.linalg.lstsq(columns[:, chosen], wanted, rcond=None)[0]
            if (factors >= 0).all():
                least.append(float(((columns[:, chosen] @ factors - wanted) ** 2).sum()))
    assert float(((columns @ found - wanted) ** 2).sum()) == pytest.approx(min(least))


def test_what_no_sample_has_costs_nothing() -> None:
    columns = np.array([[1.0, 0.0], [2.0, 0.0]])
    assert not_negative(columns, np.array([1.0, 2.0])).tolist() == pytest.approx([1.0, 0.0])
