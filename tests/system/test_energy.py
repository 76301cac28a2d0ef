"""What work takes: seconds, and an estimate of energy."""

from __future__ import annotations

import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from modpm.core.system import energy
from modpm.core.system.energy import Board, Meter, Packages, Spent, explained

if TYPE_CHECKING:
    from pathlib import Path

NVML = """
#include <string.h>
static unsigned long long used = 5000000000ULL;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    *device = &used;
    return strcmp(uuid, "GPU-1234") ? 6 : 0;
}
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules) {
    *millijoules = *(unsigned long long *)device;
    used += 2500;
    return 0;
}
"""


def zone(folder: Path, name: str, microjoules: int) -> Path:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "max_energy_range_uj").write_text("1000000\n")
    (folder / name / "energy_uj").write_text(f"{microjoules}\n")
    return folder


@pytest.fixture
def nvml(tmp_path: Path) -> str:
    """Return a library that speaks as NVIDIA's does."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    (tmp_path / "nvml.c").write_text(NVML)
    library = str(tmp_path / "nvml.so")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "nvml.c"], check=True)
    return library


@pytest.fixture
def no_counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Packages, "FOLDER", tmp_path / "none")
    monkeypatch.setattr(Board, "LIBRARY", str(tmp_path / "none.so"))


def test_packages_are_counted_together_and_over_the_end_of_their_counters(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 900_000)
    zone(tmp_path, "intel-rapl:1", 0)
    zone(tmp_path, "intel-rapl:0:0", 0)  # the cores of a package, which it counts already
    packages = Packages(tmp_path)
    assert packages.joules() == 0
    for microjoules in (100_000, 600_000, 50_000):  # 0.2, 0.5 and 0.45 J
        zone(tmp_path, "intel-rapl:0", microjoules)
        packages.joules()
    zone(tmp_path, "intel-rapl:1", 250_000)
    zone(tmp_path, "intel-rapl:0:0", 777_000)
    assert packages.joules() == pytest.approx(0.2 + 0.5 + 0.45 + 0.25)


def test_the_counter_of_a_board_is_read(nvml: str) -> None:
    board = Board("GPU-1234", nvml)
    assert [board.joules(), board.joules()] == [2.5, 5.0]
    with pytest.raises(OSError, match="nvmlDeviceGetHandleByUUID gives 6"):
        Board("GPU-5678", nvml)


def test_counters_are_taken_before_nominal_power(
    tmp_path: Path, nvml: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Packages, "FOLDER", zone(tmp_path, "intel-rapl:0", 0))
    monkeypatch.setattr(Board, "LIBRARY", nvml)
    meter = Meter("cuda", "GPU-1234", n_processes=4)
    assert meter.energy_by == ["rapl", "nvml"]
    zone(tmp_path, "intel-rapl:0", 300_000)
    # A board for each process, and one machine.
    assert meter.read().joules == pytest.approx(0.3 + 4 * 2.5)


@pytest.mark.usefixtures("no_counters")
def test_without_counters_energy_is_nominal_power_times_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "process_time", iter([3.0, 5.0]).__next__)
    monkeypatch.setattr(time, "perf_counter", iter([100.0, 110.0]).__next__)
    meter = Meter("cuda", "GPU-1234")
    assert meter.energy_by == ["nominal", "nominal"]
    assert meter.read() == Spent(10.0, 2 * energy.CORE_WATTS + 10 * 300)


@pytest.mark.usefixtures("no_counters")
def test_a_processor_that_waits_takes_time_and_next_to_no_energy() -> None:
    meter = Meter("cpu")
    time.sleep(0.2)
    idle = meter.read()
    assert idle.seconds >= 0.2
    assert idle.joules < energy.CORE_WATTS * 0.2 / 2
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    assert meter.read().joules >= energy.CORE_WATTS * 0.2


def test_energy_is_called_an_estimate_and_by_what() -> None:
    assert explained(["nominal"], "cpu") == (
        "energy is an estimate, by 10 W for each busy core, which is nominal"
    )
    said = explained(["rapl", "nominal"], "mps")
    assert said.endswith("(RAPL), with all that ran beside it and 20 W for the accelerator, "
                         "which is nominal")  # fmt: skip
    assert str(Spent(90, 7200)) == "1.5 minutes, about 2 Wh"
