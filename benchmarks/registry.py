"""What publishing and installing cost against raw copies of the same files; resolving; no-op syncs.

For each kind of registry, in each round: the files are copied as plainly as it goes, published
and installed, one after the other; a ratio compares what was measured in the same round. Raw
copies of files are `shutil.copytree`, and the same with an fsync of every file, which publishing
and installing do; raw copies of objects are plain `put` and `get` of obstore to and from files, by
as many threads as modpm has, without an fsync. Before each measurement the disk is left to settle.

Usage:
    python benchmarks/registry.py [--modules 100] [--megabytes 10] [-n 5] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
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
from dataclasses import dataclass, field
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
from modpm.registry.installing.installation import install
from modpm.registry.publication.publishing import publish
from modpm.registry.system.threads import N_THREADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from obstore.store import ClientConfig, S3Store
    from tests.registry.backends.kinds.object_store import ObjectStore

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "specs" / "vectors" / "distribution" / "digits-7"
NAMESPACE = "benchmark"
N_SYNCS = 15


@dataclass
class Figures:
    """Seconds of each kind of work, one for each round.

    Attributes:
        n_bytes: What each moves.
        seconds: By the clock.
        processor_seconds: Of this process, with what the system does for it; other processes of
            the machine disturb these less.
    """

    n_bytes: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    processor_seconds: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, name: str, work: Callable[[], object]) -> None:
        """Do some work and note its time."""
        os.sync()
        begin, processor_begin = time.perf_counter(), time.process_time()
        work()
        self.seconds.setdefault(name, []).append(time.perf_counter() - begin)
        used = time.process_time() - processor_begin
        self.processor_seconds.setdefault(name, []).append(used)

    def print_rate(self, name: str) -> None:
        """Print bytes a second."""
        rates = [self.n_bytes / 1e6 / seconds for seconds in self.seconds[name]]
        processor = statistics.median(self.processor_seconds[name])
        print(f"  {name:28} {_spread(rates, '.0f')} MB/s, {processor:.2f} s of a processor")

    def print_ratio(self, name: str, raw: str) -> None:
        """Print how fast one is as a share of the other."""
        pairs = zip(self.seconds[name], self.seconds[raw], strict=True)
        print(f"  {name + ' / ' + raw:48} {_spread([r / s for s, r in pairs], '.2f')}")


def _spread(values: Sequence[float], form: str) -> str:
    low, median, high = statistics.quantiles(values, n=4)
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


def measure_directory(distributions: Path, place: Path, figures: Figures) -> None:
    """Measure one round with a registry in a folder; what was made stays."""
    figures.measure("copytree", lambda: shutil.copytree(distributions, place / "raw"))
    shutil.rmtree(place / "raw")
    figures.measure("copytree + fsync", lambda: copy_synced(distributions, place / "raw"))
    shutil.rmtree(place / "raw")
    url = str(place / "registry")
    figures.measure("publish", lambda: publish_all(distributions, url))
    figures.measure("install", lambda: install_all(url, place))


def measure_objects(distributions: Path, place: Path, figures: Figures, url: str) -> None:
    """Measure one round with a registry in a bucket."""
    from obstore.store import S3Store  # noqa: PLC0415 - an extra

    options: ClientConfig = {"allow_http": True, "timeout": "300s"}
    raw = S3Store.from_url(f"{url}-raw", client_options=options)
    paths = [path for path in sorted(distributions.rglob("*")) if path.is_file()]
    keys = {path: path.relative_to(distributions).as_posix() for path in paths}
    (place / "raw").mkdir(parents=True)
    figures.measure("obstore put", partial(_in_threads, partial(_put, raw, keys), paths))
    figures.measure("publish", lambda: publish_all(distributions, url))
    get = partial(_get, raw, keys, place / "raw")
    figures.measure("obstore get", partial(_in_threads, get, paths))
    figures.measure("install", lambda: install_all(url, place))


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


def measure_syncs(project: Path) -> None:
    """Print how long `modpm sync` takes as a whole process when there is nothing to do."""
    command = [sys.executable, "-m", "modpm.cli", "sync"]
    # As installed: compiled once, by the first call.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(project.parent / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    seconds, processor_seconds = [], []
    for _ in range(N_SYNCS + 1):
        begin, processor_begin = time.perf_counter(), _processor_seconds_of_children()
        subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True)
        seconds.append(time.perf_counter() - begin)
        processor_seconds.append(_processor_seconds_of_children() - processor_begin)
    print(
        f"no-op sync, whole process: {_spread(seconds[1:], '.3f')} s, "
        f"{_spread(processor_seconds[1:], '.3f')} s of a processor"
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


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--modules", type=int, default=100)
    parser.add_argument("--megabytes", type=float, default=10.0, help="of each module")
    parser.add_argument("-n", type=int, default=5, help="rounds")
    parser.add_argument("--folder", type=Path, help="where to work; by default a temporary one")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped, too
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        _measure_all(options, Path(name))
    measure_resolving()


def _measure_all(options: argparse.Namespace, folder: Path) -> None:
    distributions = folder / "distributions"
    make_distributions(distributions, options.modules, int(options.megabytes * 1e6))
    n_bytes = sum(path.stat().st_size for path in distributions.rglob("*") if path.is_file())
    print(f"{options.modules} modules of {options.megabytes} MB, {n_bytes / 1e6:.0f} MB in all")
    place = folder / "directory"
    figures = Figures(n_bytes)
    for i in range(options.n):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        measure_directory(distributions, place, figures)
        if i == 0:
            measure_syncs(place / "project")
    shutil.rmtree(place)
    _print_figures("a registry in a folder:", figures, "copytree", "copytree")
    kind_class = seaweedfs_kind()
    if kind_class is None:
        return
    figures = Figures(n_bytes)
    for _ in range(options.n):
        with started(kind_class, place / "server") as url:
            measure_objects(distributions, place, figures, url)
        shutil.rmtree(place)
    _print_figures("SeaweedFS:", figures, "obstore put", "obstore get")


def _print_figures(title: str, figures: Figures, raw_put: str, raw_get: str) -> None:
    print(title)
    for name in figures.seconds:
        figures.print_rate(name)
    figures.print_ratio("publish", raw_put)
    figures.print_ratio("install", raw_get)
    if "copytree + fsync" in figures.seconds:
        figures.print_ratio("publish", "copytree + fsync")
        figures.print_ratio("install", "copytree + fsync")


if __name__ == "__main__":
    main()
