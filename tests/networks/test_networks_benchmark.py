"""The table of networks of libraries is made by a command."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from typing import TYPE_CHECKING

import pytest
from tests.networks.other_libraries import library

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


@pytest.fixture
def benchmark(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = spec_from_file_location("networks", repository / "benchmarks" / "networks.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "networks", module)
    spec.loader.exec_module(module)
    return module


def test_a_network_is_traced_cut_and_exported(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library("timm")
    table = tmp_path / "table.md"
    names = ["timm:test_resnet", "timm:test_vit"]
    monkeypatch.setattr(benchmark, "SIZES", {"vit": 160})
    monkeypatch.setattr(sys, "argv", ["networks", *names, "--markdown", str(table)])
    assert benchmark.main() == 0
    _, _, resnet, vit = table.read_text().splitlines()
    assert resnet.startswith("| `timm:test_resnet` | 64 | yes | yes | yes | ")
    assert "convolutions cut" in resnet
    assert vit.startswith(
        "| `timm:test_vit` | 160 | no | no | no | the network is one of attention"
    )
