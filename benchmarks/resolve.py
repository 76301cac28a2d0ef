"""What resolving costs: many pins, a proof that there is no resolution, and a huge registry.

    large        modules asked for of a registry in memory, 1,000 modules of 100 releases each,
                 most of which require other modules; until the pins and releases are known
    unsolvable   the same, and two modules whose requirements exclude each other ten modules deeper;
                 until the explanation stands in words and as data
    sparse       10 modules out of a folder with 100 and out of one with 100,000 (`--modules`), in
                 turns: the index documents that are opened, and the time from the address on

The registries are made from a seed. Times are of this process: wall clock, and processor time,
which other processes on the machine disturb less.

Usage:
    python benchmarks/resolve.py [--seed 0] [--repetitions 9] [--modules 100000]
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from modpm.core.formats.manifest import FileRecord, InputContract
from modpm.core.formats.names import ModuleName
from modpm.core.formats.requirements import Requirement
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.index import Index, ModuleRelease, Release
from modpm.registry.resolver.refusals import Demand, ResolutionError
from modpm.registry.resolver.resolution import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

N_MODULES = 1000
N_ASKED = 240
N_FEW = 100
N_PINS = 10
DEPTH = 10
MAX_REQUIREMENTS = 3
VERSIONS = [f"{major}.{minor}.0" for major in range(10) for minor in range(10)]
DIGEST = "sha256:" + "0" * 64
RELEASE = ModuleRelease(
    version="0.0.0",
    digest=DIGEST,
    manifest_size_bytes=1,
    files={"module.safetensors": FileRecord(size_bytes=1, digest=DIGEST)},
    origin=DIGEST,
    label="synthetic/module",
    license="Apache-2.0",
    input=InputContract(channels=1, height=8, width=8, mean=[0.0], std=[1.0]),
    n_parameters=1,
    macs=1,
    published="2025-01-31T12:00:00Z",
)


@dataclass
class Memory:
    """A registry in memory."""

    indexes: dict[ModuleName, Index] = field(default_factory=dict)

    def put(self, name: str, requires: Callable[[int], list[str]]) -> None:
        """List all versions of a module; a release requires what `requires` gives for its place."""
        releases = [
            msgspec.structs.replace(RELEASE, version=version, requires=requires(position))
            for position, version in enumerate(VERSIONS)
        ]
        self.indexes[ModuleName.parse(name)] = Index(name=name, releases=releases)

    def modules(self, namespace: str) -> list[ModuleName]:
        """Return the modules of a namespace."""
        return [name for name in self.indexes if name.namespace == namespace]

    def index(self, module: ModuleName) -> Index:
        """Return what is listed for a module."""
        return self.indexes[module]

    def place_of(self, module: ModuleName) -> str:  # noqa: ARG002 -- the protocol's
        """Return where the registry is."""
        return "memory"


@dataclass
class Folder:
    """A registry in a folder, with nothing read yet."""

    registry: DirectoryRegistry

    def modules(self, namespace: str) -> list[ModuleName]:
        """Return the modules of a namespace."""
        return self.registry.names(namespace)

    def index(self, module: ModuleName) -> Index:
        """Read what is listed for a module."""
        index = self.registry.index(module)
        assert index is not None
        return index

    def place_of(self, module: ModuleName) -> str:  # noqa: ARG002 -- the protocol's
        """Return where the registry is."""
        return self.registry.location


def synthetic(seed: int) -> Memory:
    """Return modules that require others further on, in ranges around their own version."""
    chance = random.Random(seed)  # noqa: S311 -- a registry to measure with, no secret
    memory = Memory()
    for place in range(N_MODULES):
        memory.put(_name(place), lambda position, place=place: _some(chance, place, position))  # type: ignore[misc]  # a default binds the loop's variable
    return memory


def _name(place: int) -> str:
    return f"synthetic/m{place:04d}"


def _some(chance: random.Random, place: int, position: int) -> list[str]:
    others = range(place + 1, N_MODULES)
    n_required = min(chance.randrange(MAX_REQUIREMENTS + 1), len(others))
    return [
        f"{_name(m)}{_range(chance, position)}" for m in sorted(chance.sample(others, n_required))
    ]


def _range(chance: random.Random, position: int) -> str:
    lowest = VERSIONS[chance.randrange(position + 1)]
    major = int(lowest.partition(".")[0])
    return chance.choice(
        [
            "",
            f">={lowest}",
            f">={lowest}",
            f">={lowest},<{major + chance.randrange(1, 4)}",
            f"~={lowest.removesuffix('.0')}",
        ]
    )


def add_contradiction(memory: Memory) -> None:
    """Add two chains of modules that end in requirements no release satisfies together."""
    half = len(VERSIONS) // 2
    for side in ("left", "right"):
        for place in range(DEPTH):
            following = f"synthetic/{side}-{place + 1}"
            memory.put(
                f"synthetic/{side}-{place}",
                lambda position, name=following: [f"{name}>={VERSIONS[position // 2]}"],  # type: ignore[misc]  # as above
            )
    memory.put(f"synthetic/left-{DEPTH}", lambda i: [f"synthetic/base<{VERSIONS[1 + i % half]}"])
    memory.put(
        f"synthetic/right-{DEPTH}", lambda i: [f"synthetic/base>{VERSIONS[half + i % half]}"]
    )
    memory.put("synthetic/base", lambda _: [])


def demands(names: Sequence[str]) -> list[Demand]:
    """Return a demand for any release of each module."""
    return [Demand(Requirement.parse(name), "the benchmark") for name in names]


def build_folder(folder: Path, n_modules: int) -> None:
    """Write a registry of modules with three releases each; the first requires the second."""
    (folder / "registry.json").write_text('{"format_version":1}')
    plain = [msgspec.structs.replace(RELEASE, version=v) for v in VERSIONS[10:13]]
    newest = msgspec.structs.replace(plain[-1], requires=["n/required>=1"])
    documents = [
        Index(name="n/name", releases=[*plain[:-1], last]).to_bytes()
        for last in (plain[-1], newest)
    ]
    for place in range(n_modules):
        name, required = _folder_name(place).encode(), _folder_name(place + 1).encode()
        document = documents[place == 0].replace(b"n/name", name).replace(b"n/required", required)
        path = folder / _folder_name(place) / "index.json"
        path.parent.mkdir(parents=True)
        path.write_bytes(document)


def _folder_name(place: int) -> str:
    return f"n{place // 1000:03d}/m{place % 1000:03d}"


class Opened:
    """Counts the index documents that this process opens."""

    def __init__(self) -> None:
        self.n_documents = 0
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith("index.json"):
            self.n_documents += 1


@dataclass
class Timing:
    """Repeated times of one thing."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def measure(self, work: Callable[[], object]) -> None:
        """Do it once more."""
        wall, processor = time.perf_counter(), time.process_time()
        work()
        self.wall.append(time.perf_counter() - wall)
        self.processor.append(time.process_time() - processor)

    def __str__(self) -> str:
        return f"wall {_spread(self.wall)}, processor {_spread(self.processor)}"


def _spread(seconds: Sequence[float]) -> str:
    first, median, third = statistics.quantiles(seconds, n=4, method="inclusive")
    return f"{median * 1e3:.1f} ms (quartiles {first * 1e3:.1f} and {third * 1e3:.1f})"


def large(memory: Memory, names: Sequence[str], n_repetitions: int) -> None:
    """Print what many pins cost."""
    timing, pins = Timing(), resolve(demands(names), memory)
    for _ in range(n_repetitions):
        timing.measure(lambda: resolve(demands(names), memory))
    print(f"large       {len(names)} asked for, {len(pins)} pins, n={n_repetitions}: {timing}")


def unsolvable(memory: Memory, names: Sequence[str], n_repetitions: int) -> None:
    """Print what an explanation costs."""
    add_contradiction(memory)
    asked = demands([*names, "synthetic/left-0", "synthetic/right-0"])
    timing, errors = Timing(), [_refusal(asked, memory)]
    for _ in range(n_repetitions):
        timing.measure(lambda: errors.append(_refusal(asked, memory)))
    n_steps, n_lines = len(errors[0].derivation), len(str(errors[0].why).splitlines())
    print(f"unsolvable  {n_steps} steps, {n_lines} lines, n={n_repetitions}: {timing}")


def _refusal(asked: Sequence[Demand], memory: Memory) -> ResolutionError:
    try:
        resolve(asked, memory)
    except ResolutionError as error:
        return error
    raise AssertionError("the requirements exclude each other")


def sparse(n_modules: int, n_repetitions: int) -> None:
    """Print what few pins cost, in a small registry and in a huge one."""
    opened = Opened()
    # All modules asked for are in both registries; one of them requires another one.
    names = [_folder_name(place) for place in range(0, N_FEW, N_FEW // (N_PINS - 1))][: N_PINS - 1]
    with tempfile.TemporaryDirectory() as scratch:
        folders = {n: Path(scratch, str(n)) for n in (N_FEW, n_modules)}
        for n, folder in folders.items():
            folder.mkdir()
            start = time.perf_counter()
            build_folder(folder, n)
            print(f"sparse      a folder of {n} modules took {time.perf_counter() - start:.1f} s")
        timings = {n: Timing() for n in folders}
        n_documents = dict.fromkeys(folders, 0)
        pins: dict[ModuleName, Release] = {}
        for _ in range(n_repetitions):
            for n, folder in folders.items():
                before = opened.n_documents
                timings[n].measure(
                    lambda folder=folder: pins.update(  # type: ignore[misc]  # as above
                        resolve(demands(names), Folder(DirectoryRegistry(folder)))
                    )
                )
                n_documents[n] += opened.n_documents - before
    for n, timing in timings.items():
        read = n_documents[n] / n_repetitions
        print(
            f"sparse      of {n} modules: {len(pins)} pins, {read:g} documents opened, "
            f"n={n_repetitions}: {timing}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--modules", type=int, default=100_000, help="in the huge folder")
    arguments = parser.parse_args()
    cores, load = os.cpu_count(), os.getloadavg()[0]
    print(
        f"{platform.platform()}, Python {platform.python_version()}, {cores} cores, load {load:.1f}"
    )
    memory = synthetic(arguments.seed)
    chance = random.Random(arguments.seed)  # noqa: S311 -- as above
    chosen = chance.sample(range(N_MODULES), N_ASKED)
    names = [_name(place) for place in sorted(chosen)]
    print(f"{N_MODULES} modules x {len(VERSIONS)} releases in memory, seed {arguments.seed}")
    large(memory, names, arguments.repetitions)
    unsolvable(memory, names, arguments.repetitions)
    sparse(arguments.modules, arguments.repetitions)


if __name__ == "__main__":
    main()
