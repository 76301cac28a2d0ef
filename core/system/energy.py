"""What work takes: seconds, and an estimate of its energy, by counters of the machine or by a rate.

Counters are read where the system lets them be: RAPL of processors, NVML of NVIDIA's boards. They
count all that runs there meanwhile, and what the machine draws when it idles. Where there is none,
energy is a nominal power times the time that was worked. Nothing here sees memory, fans or power
supplies, so that all of it is an estimate.
"""

from __future__ import annotations

import ctypes
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

CORE_WATTS = 10.0
"""Nominal power of a processor core at work: 65 to 300 W for 6 to 32 cores are usual."""

ACCELERATOR_WATTS = {"cuda": 300.0, "mps": 20.0}
"""Nominal power of an accelerator at work, by its kind."""

RAPL, NVML, NOMINAL = "rapl", "nvml", "nominal"

_MILLI, _MICRO = 1e-3, 1e-6
_WATT_HOUR = 3600.0


class Spent(NamedTuple):
    """What some work took.

    Attributes:
        seconds: By the clock.
        joules: Of energy, estimated.
    """

    seconds: float = 0.0
    joules: float = 0.0

    def and_also(self, other: Spent) -> Spent:
        """Return what this and other work took together."""
        return Spent(self.seconds + other.seconds, self.joules + other.joules)

    def times(self, factor: float) -> Spent:
        """Return what a multiple of the work takes."""
        return Spent(self.seconds * factor, self.joules * factor)

    def __str__(self) -> str:
        """Say it, as `3.2 minutes, about 0.45 Wh`."""
        return f"{duration(self.seconds)}, about {self.joules / _WATT_HOUR:.2g} Wh"


NOTHING = Spent()


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    for unit, n in (("hours", 3600), ("minutes", 60)):
        if seconds >= n:
            return f"{seconds / n:.1f} {unit}"
    return f"{seconds:.1f} seconds"


class Counter(Protocol):
    """Counts energy."""

    def joules(self) -> float:
        """Return what was used since it was made."""


class _Zone:
    """One counter of RAPL, which starts again at 0 when it is full: it is to be read meanwhile."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "energy_uj"
        self._full = int((folder / "max_energy_range_uj").read_text())
        self._last, self._total = self._read(), 0

    def joules(self) -> float:
        now = self._read()
        self._total += now - self._last if now >= self._last else now - self._last + self._full
        self._last = now
        return self._total * _MICRO

    def _read(self) -> int:
        return int(self._path.read_text())


class Packages:
    """RAPL's counters of all processor packages of a machine, as Linux shows them.

    Args:
        folder: Where.

    Raises:
        OSError, ValueError: There are none, or they cannot be read.
    """

    FOLDER = Path("/sys/class/powercap")

    def __init__(self, folder: Path | None = None) -> None:
        zones = sorted((folder or self.FOLDER).glob("intel-rapl:*"))  # AMD's are called so, too
        packages = [zone for zone in zones if zone.name.count(":") == 1]
        self._zones = [_Zone(zone) for zone in packages]
        if not self._zones:
            raise FileNotFoundError("no energy counters")

    def joules(self) -> float:
        """Return what was used since it was made."""
        return sum(zone.joules() for zone in self._zones)


class Board:
    """The energy counter of one of NVIDIA's boards.

    Args:
        uuid: Names the board, with `GPU-` before it.
        library: NVML.

    Raises:
        OSError: There is no such library or board, or it does not count.
    """

    LIBRARY = "libnvidia-ml.so.1"

    def __init__(self, uuid: str, library: str | None = None) -> None:
        self._nvml = ctypes.CDLL(library or self.LIBRARY)
        self._handle = ctypes.c_void_p()
        self._call("nvmlInit_v2")
        name = uuid.encode()
        self._call("nvmlDeviceGetHandleByUUID", ctypes.c_char_p(name), ctypes.byref(self._handle))
        self._first = self._read()

    def joules(self) -> float:
        """Return what was used since it was made."""
        return (self._read() - self._first) * _MILLI

    def _read(self) -> int:
        energy = ctypes.c_ulonglong()
        self._call("nvmlDeviceGetTotalEnergyConsumption", self._handle, ctypes.byref(energy))
        return energy.value

    def _call(self, function: str, *arguments: object) -> None:
        if status := getattr(self._nvml, function)(*arguments):
            raise OSError(f"{function} gives {status}")


class Meter:
    """Measures what work takes, from when it is made; to be read every few minutes.

    Args:
        device: Where it works: `cpu`, or the kind of accelerator that works beside the processor.
        board: The UUID of that, where it has one.
        n_processes: That share the work, each on its own accelerator; only this one is looked at.
    """

    def __init__(self, device: str, board: str | None = None, n_processes: int = 1) -> None:
        self.device = device
        self._n_processes = n_processes
        self._packages = self._board = None
        with suppress(OSError, ValueError):
            self._packages = Packages()
        if board is not None:
            with suppress(OSError, AttributeError):
                self._board = Board(board)
        self._started, self._processor = time.perf_counter(), time.process_time()

    @property
    def energy_by(self) -> list[str]:
        """What energy is known by: of the processor, and of the accelerator, if there is one."""
        found = [NOMINAL if self._packages is None else RAPL]
        if self.device != "cpu":
            found.append(NOMINAL if self._board is None else NVML)
        return found

    def read(self) -> Spent:
        """Return what the work took until now."""
        seconds = time.perf_counter() - self._started
        return Spent(seconds, self._processor_joules() + self._accelerator_joules(seconds))

    def _processor_joules(self) -> float:
        if self._packages is not None:
            return self._packages.joules()  # of the whole machine, whichever process works
        return CORE_WATTS * (time.process_time() - self._processor) * self._n_processes

    def _accelerator_joules(self, seconds: float) -> float:
        if self.device == "cpu":
            return 0.0
        if self._board is not None:
            return self._board.joules() * self._n_processes
        return ACCELERATOR_WATTS[self.device] * seconds * self._n_processes


def explained(energy_by: list[str], device: str) -> str:
    """Say how energy is estimated, in a sentence.

    Args:
        energy_by: As a meter has it.
        device: Kinds of accelerators, or `cpu`.
    """
    ways = {
        RAPL: "counters of the processor (RAPL), with all that ran beside it",
        NVML: "the counter of the accelerator (NVML), with all that ran beside it",
    }
    nominal = f"{CORE_WATTS:g} W for each busy core, which is nominal"
    said = [ways.get(energy_by[0], nominal)]
    for one in energy_by[1:]:
        watts = max(watts for kind, watts in ACCELERATOR_WATTS.items() if kind in device)
        said.append(ways.get(one, f"{watts:g} W for the accelerator, which is nominal"))
    return f"energy is an estimate, by {' and '.join(said)}"
