"""The benchmark of steps, as it runs where steps are compiled."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

SPEED = Path(__file__).parents[2] / "benchmarks" / "speed.py"


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of its own parts
def test_steps_are_measured_as_they_are_and_compiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = spec_from_file_location("speed", SPEED)
    assert spec is not None
    assert spec.loader is not None
    speed = module_from_spec(spec)
    spec.loader.exec_module(speed)
    monkeypatch.setattr(speed, "compile_options", lambda *_, **__: {"backend": "aot_eager"})
    words = ["step", "--archs", "digits_cnn", "--methods", "plain", "--clock", "processor"]
    words += ["--batch-size", "4", "-n", "2", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", [str(SPEED), *words])
    speed.main()
    as_it_is, compiled = capsys.readouterr().out.splitlines()
    for line, how in ((as_it_is, "as it is"), (compiled, "compiled")):
        assert line.startswith(f"digits_cnn, plain, {how}, cpu, ")
        assert "batch 4, float32, processor time, n = 2 of 1: " in line
        assert "ratio an image seen" in line
