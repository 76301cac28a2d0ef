from __future__ import annotations

import pytest

from modpm.core.training.schedule import WARM_UP, learning_rate


@pytest.mark.parametrize("n_steps", [1, 2, 10, 1000])
def test_rates_are_positive_and_at_most_the_peak(n_steps: int) -> None:
    rates = [learning_rate(step, n_steps, 0.1) for step in range(n_steps)]
    assert all(0 < rate <= 0.1 for rate in rates)


def test_rates_rise_to_the_peak_and_then_fall() -> None:
    rates = [learning_rate(step, 1000, 0.1) for step in range(1000)]
    peak = rates.index(max(rates))
    assert peak == pytest.approx(1000 * WARM_UP, abs=2)
    assert rates[peak] == pytest.approx(0.1, rel=1e-3)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 1e-4
