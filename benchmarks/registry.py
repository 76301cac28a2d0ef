"""What publishing and installing cost against raw copies; resolving; commands as whole processes.

For each kind of registry, in each round: the files are copied as plainly as it goes, published
and installed, one after the other, in every second round the raw copies last; a ratio compares
what was measured in the same round. Raw copies of files are `shutil.copytree`, and the same with
an fsync of every file; raw copies of objects are plain `put` and `get` of obstore to and from
files, by as many threads as modpm has, without an fsync.

Before each measurement the disk is left to settle, and as much memory as the files need is taken
once and given back, since a virtual machine gets memory that nobody had for a while only slowly.
What was made is emptied and not removed, since some file systems make new files only slowly where
many were removed just before. One round is not counted: what is loaded once is loaded in it.

Usage:
    python benchmarks/registry.py [--modules 100] [--megabytes 10] [-n 5] [--folder FOLDER]
        [--part directory] [--part seaweedfs] [--part commands] [--part resolving]
        [--distributions FOLDER] [--results FILE]

Where time is scarce, `--results FILE` adds the rounds of several calls up: it is written to after
each round, and all rounds of the same modules in it are told.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import safetensors.numpy

from modpm.core.formats.distribution import read_distribution, write_distribution
from modpm.core.formats.manifest import TENSOR_FILE
from modpm.core.formats.tensor_file import parse_header
from modpm.core.system.threads import N_THREADS
from modpm.registry.installing.installation import install
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from obstore.store import ClientConfig, S3Store
    from tests.registry.backends.kinds.object_store import ObjectStore

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "specs" / "vectors" / "distribution" / "digits-7"
NAMESPACE = "benchmark"
N_CALLS = 9
N_SMALL = 10


@dataclass
class Round:
    """What one round took.

    Attributes:
        part: The kind of registry.
        of: How many modules of which size.
        n_bytes: What each measurement moves.
        is_raw_last: Whether the raw copies come after ours.
        seconds: By the clock.
        processor_seconds: Of this process, with what the system does for it; other processes of
            the machine disturb these less.
    """

    part: str
    of: str
    n_bytes: int
    is_raw_last: bool
    seconds: dict[str, float] = field(default_factory=dict)
    processor_seconds: dict[str, float] = field(default_factory=dict)

    def measure(self, name: str, work: Callable[[], object], place: Path) -> None:
        """Do some work and note its time."""
        _take_memory(place / "memory", self.n_bytes)
        os.sync()
        begin, processor_begin = time.perf_counter(), time.process_time()
        work()
        self.seconds[name] = time.perf_counter() - begin
        self.processor_seconds[name] = time.process_time() - processor_begin


def _take_memory(path: Path, n_bytes: int) -> None:
    block = bytes(1024 * 1024)
    with path.open("wb") as file:
        for _ in range(n_bytes // len(block)):
            file.write(block)
    os.truncate(path, 0)


def empty(folder: Path) -> None:
    """Give back the space of all files in a folder."""
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > 0:
            os.truncate(path, 0)


@dataclass
class Rounds:
    """The rounds of one part and of the same modules, of this call and of those before it."""

    rounds: list[Round]

    @classmethod
    def read(cls, results: Path, part: str, of: str) -> Rounds:
        """Return what a file of results has of them."""
        lines = results.read_text().splitlines() if results.is_file() else []
        rounds = [Round(**json.loads(line)) for line in lines]
        return cls([one for one in rounds if (one.part, one.of) == (part, of)])

    def print(self, title: str, ratios: Sequence[tuple[str, str]]) -> None:
        """Print the rates, and how fast one is as a share of the other."""
        print(title)
        for name in self.rounds[0].seconds:
            rates = [one.n_bytes / 1e6 / one.seconds[name] for one in self.rounds]
            processor = statistics.median(one.processor_seconds[name] for one in self.rounds)
            print(f"  {name:28} {_spread(rates, '.0f')} MB/s, {processor:.2f} s of a processor")
        for name, raw in ratios:
            shares = [one.seconds[raw] / one.seconds[name] for one in self.rounds]
            print(f"  {name + ' / ' + raw:48} {_spread(shares, '.2f')}")


def _spread(values: Sequence[float], form: str) -> str:
    if len(values) == 1:
        return f"{values[0]:{form}} (n = 1)"
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{median:{form}} (quartiles {low:{form}} to {high:{form}}, n = {len(values)})"


def make_distributions(folder: Path, n_modules: int, n_bytes: int) -> None:
    """Write distributions that differ in their tensors, each about as large as is asked."""
    golden = read_distribution(GOLDEN)
    files = {name: (GOLDEN / name).read_bytes() for name in golden.manifest.files}
    tensors = safetensors.numpy.load(files[TENSOR_FILE])
    largest = max(tensors, key=lambda name: tensors[name].nbytes)
    generator = np.random.default_rng(0)
    for i in range(n_modules):
        tensors[largest] = generator.standard_normal(n_bytes // 4, dtype=np.float32)
        data = safetensors.numpy.save(tensors)
        header = parse_header(data, len(data))
        added = header.tensors[largest].n_elements - _n_elements(files[TENSOR_FILE], largest)
        manifest = msgspec.structs.replace(
            golden.manifest,
            name=f"{NAMESPACE}/module-{i}",
            n_parameters=golden.manifest.n_parameters + added,
            size_bytes=header.data_size_bytes,
        )
        write_distribution(folder / f"module-{i}", manifest, {**files, TENSOR_FILE: data})


def _n_elements(data: bytes, tensor: str) -> int:
    return parse_header(data, len(data)).tensors[tensor].n_elements


def copy_synced(source: Path, target: Path) -> None:
    """Copy a tree and write it down to the disk."""
    shutil.copytree(source, target)
    for path in target.rglob("*"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def install_all(url: str, place: Path) -> None:
    """Install every module of a registry into a new project, with an empty store."""
    os.environ["MODPM_HOME"] = str(place / "home")
    (place / "project").mkdir(parents=True)
    install([f"{NAMESPACE}/*"], place / "project", url)


def publish_all(distributions: Path, url: str) -> None:
    """Publish every distribution."""
    publish([distributions], url)


def measure_directory(distributions: Path, place: Path, one: Round) -> None:
    """Measure one round with a registry in a folder; what was made stays."""
    url = str(place / "registry")

    def copy(name: str, work: Callable[[Path, Path], object]) -> None:
        target = place / name.replace(" ", "-")
        one.measure(name, lambda: work(distributions, target), place)
        empty(target)

    def raw() -> None:
        copy("copytree", shutil.copytree)
        copy("copytree + fsync", copy_synced)

    def ours() -> None:
        one.measure("publish", lambda: publish_all(distributions, url), place)
        one.measure("install", lambda: install_all(url, place), place)

    for work in (ours, raw) if one.is_raw_last else (raw, ours):
        work()


def measure_objects(
    kind_class: type[ObjectStore], distributions: Path, place: Path, one: Round
) -> None:
    """Measure one round with a registry in a bucket of a server of its own."""
    with started(kind_class, place / "server") as url:
        _measure_objects(distributions, place, one, url)


def _measure_objects(distributions: Path, place: Path, one: Round, url: str) -> None:
    from obstore.store import S3Store  # noqa: PLC0415 -- an extra

    options: ClientConfig = {"allow_http": True, "timeout": "300s"}
    store = S3Store.from_url(f"{url}-raw", client_options=options)
    paths = [path for path in sorted(distributions.rglob("*")) if path.is_file()]
    keys = {path: path.relative_to(distributions).as_posix() for path in paths}
    (place / "raw").mkdir(parents=True)
    put, get = partial(_put, store, keys), partial(_get, store, keys, place / "raw")
    works: list[tuple[str, Callable[[], object]]] = [
        ("obstore put", lambda: _in_threads(put, paths)),
        ("publish", lambda: publish_all(distributions, url)),
        ("obstore get", lambda: _in_threads(get, paths)),
        ("install", lambda: install_all(url, place)),
    ]
    for i in (1, 0, 3, 2) if one.is_raw_last else (0, 1, 2, 3):
        one.measure(*works[i], place)
        empty(place / "raw")


def _in_threads(work: Callable[[Path], object], paths: Sequence[Path]) -> None:
    with ThreadPoolExecutor(N_THREADS) as pool:
        list(pool.map(work, paths))


def _put(store: S3Store, keys: Mapping[Path, str], path: Path) -> None:
    import obstore  # noqa: PLC0415 - an extra

    obstore.put(store, keys[path], path)


def _get(store: S3Store, keys: Mapping[Path, str], folder: Path, path: Path) -> None:
    import obstore  # noqa: PLC0415 - an extra

    with (folder / keys[path].replace("/", "-")).open("wb") as file:
        for block in obstore.get(store, keys[path]).stream(min_chunk_size=1024 * 1024):
            file.write(block)


def seaweedfs_kind() -> type[ObjectStore] | None:
    """Return what starts SeaweedFS for the tests; None where it is not installed."""
    sys.path.insert(0, str(ROOT))
    module = import_module("tests.registry.backends.kinds.object_store")
    found: type[ObjectStore] = module.ObjectStore
    reason = found.unavailable()
    if reason is not None:
        print(f"SeaweedFS is left out: {reason}")
        return None
    return found


@contextmanager
def started(kind_class: type[ObjectStore], folder: Path) -> Iterator[str]:
    """Start SeaweedFS with nothing in it, and give the location of a registry."""
    folder.mkdir(parents=True)
    kind = kind_class(folder)
    try:
        kind.start()
        kind.renew()
        os.environ.update(kind.environment)
        yield kind.url
    finally:
        kind.stop()


def measure_commands(place: Path) -> None:
    """Print how long commands take as whole processes, with ten small modules and a warm store."""
    make_distributions(place / "distributions", N_SMALL, 10_000)
    publish_all(place / "distributions", str(place / "registry"))
    install_all(str(place / "registry"), place)
    # As installed: compiled once, by the call that does not count.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(place / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    names = [f"{NAMESPACE}/module-{i}" for i in range(N_SMALL)]
    project, new = place / "project", place / "new"
    for title, words, folder in (
        ("python -c pass", ["-c", "pass"], project),
        ("modpm --version", ["-m", "modpm.cli", "--version"], project),
        ("modpm list --help", ["-m", "modpm.cli", "list", "--help"], project),
        ("modpm whoami --help", ["-m", "modpm.cli", "whoami", "--help"], project),
        ("modpm list", ["-m", "modpm.cli", "list"], project),
        ("modpm sync, nothing to do", ["-m", "modpm.cli", "sync"], project),
        (
            f"modpm install of {N_SMALL} small modules",
            ["-m", "modpm.cli", "install", *names, "--registry", str(place / "registry")],
            new,
        ),
    ):
        seconds, processor_seconds = [], []
        for _ in range(N_CALLS + 1):
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            begin, processor_begin = time.perf_counter(), _processor_seconds_of_children()
            subprocess.run(
                [sys.executable, *words],
                cwd=folder,
                env=environment,
                check=True,
                capture_output=True,
            )
            seconds.append(time.perf_counter() - begin)
            processor_seconds.append(_processor_seconds_of_children() - processor_begin)
        print(
            f"  {title:34} {_spread(seconds[1:], '.3f')} s, "
            f"{statistics.median(processor_seconds[1:]):.3f} s of a processor"
        )


def _processor_seconds_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def measure_resolving() -> None:
    """Print what `benchmarks/resolve.py` does."""
    script = Path(__file__).with_name("resolve.py")
    if not script.is_file():
        print("resolving is left out: there is no benchmarks/resolve.py")
        return
    print("resolving:", flush=True)
    subprocess.run([sys.executable, script], check=True)


PARTS = ("directory", "seaweedfs", "commands", "resolving")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--modules", type=int, default=100)
    parser.add_argument("--megabytes", type=float, default=10.0, help="of each module")
    parser.add_argument("-n", type=int, default=5, help="rounds")
    parser.add_argument("--part", action="append", choices=PARTS, help="by default all")
    parser.add_argument("--folder", type=Path, help="where to work; by default a temporary one")
    parser.add_argument("--distributions", type=Path, help="made here unless there are any; kept")
    parser.add_argument("--results", type=Path, help="where rounds of several calls are added up")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped, too
    parts = options.part or PARTS
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        if "commands" in parts:
            print("commands, whole processes:")
            measure_commands(Path(name) / "commands")
        if not {"directory", "seaweedfs"}.isdisjoint(parts):
            measure_registries(options, parts, Path(name))
    if "resolving" in parts:
        measure_resolving()


def measure_registries(options: argparse.Namespace, parts: Sequence[str], folder: Path) -> None:
    """Measure publishing to registries of some kinds, and installing from them."""
    session = Session.begin(options, folder)
    if "directory" in parts:
        rounds = session.measure("directory", partial(measure_directory, session.distributions))
        raws = ("copytree", "copytree + fsync")
        ratios = [(name, raw) for raw in raws for name in ("publish", "install")]
        rounds.print("a registry in a folder:", ratios)
    kind_class = seaweedfs_kind() if "seaweedfs" in parts else None
    if kind_class is not None:
        work = partial(measure_objects, kind_class, session.distributions)
        rounds = session.measure("seaweedfs", work)
        rounds.print("SeaweedFS:", [("publish", "obstore put"), ("install", "obstore get")])


@dataclass(frozen=True)
class Session:
    """What all rounds of a call have in common.

    Attributes:
        distributions: What is published.
        of: How many modules of which size.
        n: How many rounds count.
        folder: Where to work.
        results: A line for each round.
    """

    distributions: Path
    of: str
    n: int
    folder: Path
    results: Path

    @classmethod
    def begin(cls, options: argparse.Namespace, folder: Path) -> Session:
        """Make the distributions, unless there are any."""
        distributions = options.distributions or folder / "distributions"
        if not distributions.is_dir():
            make_distributions(distributions, options.modules, int(options.megabytes * 1e6))
        of = f"{options.modules} modules of {options.megabytes} MB"
        print(of)
        return cls(distributions, of, options.n, folder, options.results or folder / "results")

    def measure(self, part: str, work: Callable[[Path, Round], None]) -> Rounds:
        """Measure the rounds of a part, and return all that are known."""
        files = (path for path in self.distributions.rglob("*") if path.is_file())
        n_bytes = sum(path.stat().st_size for path in files)
        n_before = len(Rounds.read(self.results, part, self.of).rounds)
        for i in range(self.n + 1):
            place = self.folder / f"{part}-{i}"
            place.mkdir()
            one = Round(part, self.of, n_bytes, is_raw_last=(n_before + i) % 2 == 0)
            work(place, one)
            empty(place)
            if i > 0:
                with self.results.open("a") as file:
                    print(json.dumps(asdict(one)), file=file)
        return Rounds.read(self.results, part, self.of)


if __name__ == "__main__":
    main()
