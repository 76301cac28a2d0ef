"""Devices by their names; an accelerator only where there is one."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch

from modpm.core.errors import ModpmError
from modpm.core.training.device import arithmetic, choose_device


def pretend(monkeypatch: pytest.MonkeyPatch, kind: str | None) -> None:
    found = None if kind is None else torch.device(kind)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: found)


@pytest.mark.parametrize(
    ("there", "asked", "device"),
    [
        (None, "auto", "cpu"),
        (None, "cpu", "cpu"),
        ("cuda", "auto", "cuda"),
        ("cuda", "cpu", "cpu"),
        ("cuda", "cuda", "cuda"),
        ("mps", "auto", "mps"),
    ],
)
def test_auto_is_the_accelerator_where_there_is_one(
    there: str | None, asked: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, there)
    assert choose_device(asked) == torch.device(device)


@pytest.mark.parametrize(("there", "asked"), [(None, "cuda"), ("mps", "cuda"), ("cuda", "tpu")])
def test_a_device_that_is_not_there_is_refused(
    there: str | None, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, there)
    with pytest.raises(ModpmError) as refusal:
        choose_device(asked)
    assert refusal.value.code == "no-such-device"
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize("is_deterministic", [False, True])
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_the_host_gets_its_arithmetic_back(kind: str, *, is_deterministic: bool) -> None:
    def settings() -> tuple[object, ...]:
        cudnn = torch.backends.cudnn
        return (
            torch.get_float32_matmul_precision(),
            cudnn.benchmark,
            cudnn.deterministic,
            cudnn.allow_tf32,
            torch.are_deterministic_algorithms_enabled(),
        )

    before = settings()
    with arithmetic(torch.device(kind), is_deterministic=is_deterministic):
        if kind == "cpu":
            assert settings() == before
        elif is_deterministic:
            assert settings() == ("highest", False, True, False, True)
        else:
            assert settings() == ("high", True, False, True, False)
    assert settings() == before


def test_the_host_gets_its_arithmetic_back_after_an_error() -> None:
    before = torch.get_float32_matmul_precision()
    with suppress(KeyError), arithmetic(torch.device("cuda"), is_deterministic=False):
        raise KeyError
    assert torch.get_float32_matmul_precision() == before
