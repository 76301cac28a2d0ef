"""What was measured of a machine, kept for its user, and latency estimated by it."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.estimating.rates import N_TERMS, Rate, seconds_of
from modpm.core.estimating.work import BATCH_SIZES, image_work, kinds, works
from modpm.core.formats import canonical_json
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.records import Problem, Record, parse_record, to_plain
from modpm.core.system.home import home
from modpm.core.system.whole_files import explained, read_at_most, write_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from modpm.core.formats.network_graph import Graph

MOST_MEASURED = 1000
"""Classifiers whose measured times are kept, the last ones."""

Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Host(Record, frozen=True, kw_only=True):
    """What times hang on.

    Attributes:
        processor: What it is called.
        n_processors: How many of them this process may use.
        threads: How many threads the environment asks for, where it does (`OMP_NUM_THREADS`).
        torch: The version of torch.
    """

    processor: str
    n_processors: int
    threads: str | None
    torch: str


class Machine(Record, frozen=True, kw_only=True):
    """A machine as it was measured: `machine.json` under `MODPM_HOME`.

    Attributes:
        host: What was measured.
        n_threads: With how many threads.
        rates: For each size of batches, how fast it is at each kind of work.
        measured: Digest of the networks of a classifier to the seconds that one image took, for
            each size of batches.
    """

    host: Host
    n_threads: int
    rates: dict[str, dict[str, Rate]]
    measured: dict[str, dict[str, Seconds]] = msgspec.field(default_factory=dict)

    @property
    def in_words(self) -> str:
        """What it is, for people."""
        threads = "1 thread" if self.n_threads == 1 else f"{self.n_threads} threads"
        return f"{threads} of {self.host.processor}"


class Estimate(NamedTuple):
    """How long an image takes in batches of one size.

    Attributes:
        batch_size: Images of a batch.
        seconds: An image.
        is_measured: Whether it was measured on this machine, and is no estimate.
    """

    batch_size: int
    seconds: float
    is_measured: bool


def this_host() -> Host:
    """Return what times hang on here.

    Raises:
        ModpmError: torch, which runs networks, is not installed (`not-measured`).
    """
    try:
        torch = version("torch")
    except PackageNotFoundError:
        raise ModpmError(
            "the latency here cannot be estimated",
            code="not-measured",
            why="torch, which runs and times networks, is not installed",
            hint="install it: https://pytorch.org/get-started/locally",
        ) from None
    usable = getattr(os, "sched_getaffinity", lambda _process: range(os.cpu_count() or 1))
    return Host(
        processor=_processor(),
        n_processors=len(usable(0)),
        threads=os.environ.get("OMP_NUM_THREADS"),
        torch=torch,
    )


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(filter(None, named), platform.processor() or platform.machine())


def machine_path() -> Path:
    """Return the file of what was measured of this machine."""
    return home() / "machine.json"


def kept_machine() -> Machine:
    """Return what was measured of this machine.

    Raises:
        ModpmError: It was not measured, or as another one, or its file is damaged
            (`not-measured`); `unreadable-file`.
    """
    path, here = machine_path(), this_host()
    with explained("read what was measured of this machine"):
        try:
            data = read_at_most(path, canonical_json.MAX_SIZE_BYTES)
        except FileNotFoundError:
            raise _not_measured("this machine was not measured yet", path) from None
    try:
        found = _parse(data, path)
    except ModpmError as error:
        raise _not_measured(f"its file is damaged: {error.why or error.what}", path) from error
    if found.host != here:
        changes = "; ".join(
            f"{name}: {getattr(found.host, name)} then, {getattr(here, name)} now"
            for name in ("processor", "n_processors", "threads", "torch")
            if getattr(found.host, name) != getattr(here, name)
        )
        raise _not_measured(f"it was another machine that was measured ({changes})", path)
    return found


def _not_measured(why: str, path: Path) -> ModpmError:
    return ModpmError(
        "the latency here cannot be estimated",
        code="not-measured",
        where=str(path),
        why=why,
        hint="run `modpm benchmark --machine`, which takes less than a minute",
    )


def _parse(data: bytes, path: Path) -> Machine:
    return parse_record(
        Machine,
        data,
        what="what was measured of this machine cannot be used",
        code="not-measured",
        where=str(path),
        check=_problems,
    )


def _problems(machine: Machine) -> Iterator[Problem]:
    for size in BATCH_SIZES:
        rates = machine.rates.get(str(size), {})
        for kind in kinds(size):
            rate = rates.get(kind)
            if rate is None:
                yield Problem(f"rates.{size}.{kind}", "is missing")
            elif len(rate.seconds) != N_TERMS or min(rate.seconds) < 0:
                yield Problem(f"rates.{size}.{kind}", "is not a rate")
            elif min(rate.inputs, rate.outputs) < 1:
                yield Problem(f"rates.{size}.{kind}", "rounds to no multiple")


def keep_machine(machine: Machine) -> None:
    """Write what was measured of this machine.

    Raises:
        ModpmError: It cannot be written.
    """
    path = machine_path()
    with explained("keep what was measured of this machine"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, canonical_json.encode(to_plain(machine)))


def with_measured(
    machine: Machine, graphs: Sequence[Graph], seconds: Mapping[int, float]
) -> Machine:
    """Return a machine on which a classifier was measured, which goes before estimates.

    Args:
        machine: The machine.
        graphs: The classifier's networks.
        seconds: What one image took, by the size of batches.
    """
    key = digest_of(graphs)
    others = {one: found for one, found in machine.measured.items() if one != key}
    last = dict(list(others.items())[1 - MOST_MEASURED :])
    own = {str(size): took for size, took in seconds.items()}
    return msgspec.structs.replace(machine, measured={**last, key: own})


def digest_of(graphs: Sequence[Graph]) -> str:
    """Return what tells a classifier from others that take another time: its networks."""
    return digest_bytes(canonical_json.encode(msgspec.to_builtins(list(graphs))))


def estimate(graphs: Sequence[Graph], machine: Machine) -> list[Estimate]:
    """Return how long an image takes on a machine, for each size of batches.

    Args:
        graphs: The networks of a classifier, or that of a class module.
        machine: What is known of the machine.

    Raises:
        ModpmError: `invalid-graph`.
    """
    known = machine.measured.get(digest_of(graphs), {})
    return [_estimate(graphs, machine, size, known.get(str(size))) for size in BATCH_SIZES]


def _estimate(
    graphs: Sequence[Graph], machine: Machine, size: int, measured: float | None
) -> Estimate:
    if measured is not None:
        return Estimate(size, measured, is_measured=True)
    steps = [image_work(shape, size) for shape in {graph.input_shape for graph in graphs}]
    steps += [step for graph in graphs for step in works(graph, size)]
    return Estimate(size, seconds_of(steps, machine.rates[str(size)]) / size, is_measured=False)
