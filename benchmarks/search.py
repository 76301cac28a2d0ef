"""What searching a large registry costs: first build, refresh, search, requests, memory.

A registry is a folder of indexes without files, read as a folder and through a web server on
loopback that gives ETags. Each search is a process of its own, with a home of its own for each kind
of registry. `reindex` makes the catalogue; `first` searches with an empty home, `again` with
nothing changed (median), `refresh` after one module was published; `all` prints every module.
`page` is the first page of `modpm browse`, `typed` and `filtered` are its searches (medians).

Usage:
    python benchmarks/search.py [--modules 10000 100000] [--namespaces 10] [-n 9] [--results FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from modpm.core.formats.distribution import read_distribution
from modpm.core.formats.names import ModuleName
from modpm.registry.backends import layout
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.index import Index, Release

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "specs" / "vectors" / "distribution" / "digits-7"
MODPM = str(Path(sys.executable).with_name("modpm"))
CONSONANTS, VOWELS = "bcdfghjklmnprstvwz", "aeiou"
N_WORDS = 4000


def words(seed: int) -> list[str]:
    """Return words that nobody knows, each once."""
    drawn = random.Random(seed)  # noqa: S311 -- the same for everybody
    found: dict[str, None] = {}
    while len(found) < N_WORDS:
        n = drawn.randint(2, 4)
        found["".join(drawn.choice(CONSONANTS) + drawn.choice(VOWELS) for _ in range(n))] = None
    return list(found)


def make_registry(folder: Path, n_modules: int, n_namespaces: int) -> None:
    """Write the indexes of modules with different labels, summaries and recalls."""
    drawn, known = random.Random(n_modules), words(0)  # noqa: S311 -- the same for everybody
    golden = Release.of_distribution(read_distribution(GOLDEN))
    folder.mkdir(parents=True)
    (folder / layout.REGISTRY_FILE).write_bytes(layout.LAYOUT)
    for i in range(n_modules):
        space, label = f"space-{i % n_namespaces}", drawn.choice(known)
        summary = " ".join(drawn.choices(known, k=8))
        changes: dict[str, Any] = {"label": f"{space}/{label}", "summary": summary}
        release = msgspec.structs.replace(golden, **changes)
        module = ModuleName(space, f"{label}-{i}")
        path = folder / layout.index_path(module)
        path.parent.mkdir(parents=True)
        path.write_bytes(Index(name=str(module), releases=[release]).to_bytes())


def change_one(folder: Path, summary: str) -> None:
    """Change what is listed for one module."""

    def change(index: Index) -> Index:
        changed = [msgspec.structs.replace(one, summary=summary) for one in index.releases]
        return msgspec.structs.replace(index, releases=changed)

    registry = DirectoryRegistry(folder)
    registry.change(registry.names("space-0")[0], change)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    folder: Path
    n_requests = 0
    n_bytes = 0

    def do_GET(self) -> None:
        """Send a file, unless the client has it."""
        path = self.folder / self.path.lstrip("/")
        data = path.read_bytes() if path.is_file() else None
        e_tag = f'"{hashlib.sha256(data or b"").hexdigest()[:32]}"'
        is_known = data is not None and self.headers.get("If-None-Match") == e_tag
        body = b"" if data is None or is_known else data
        self.send_response(404 if data is None else 304 if is_known else 200)
        self.send_header("ETag", e_tag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        cls = type(self)
        cls.n_requests += 1
        cls.n_bytes += len(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- its name
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, type[_Handler]]]:
    """Serve a folder; give the address, and what counts its requests."""
    handler = type("Handler", (_Handler,), {"folder": folder})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler
    server.shutdown()
    thread.join()
    server.server_close()


def run(home: Path, *arguments: str) -> tuple[float, float]:
    """Run `modpm` in a process of its own; return its seconds and its peak MiB."""
    environment = {**os.environ, "MODPM_HOME": str(home)}
    with Path(os.devnull).open("wb") as nothing:
        begin = time.perf_counter()
        child = os.posix_spawn(
            MODPM,
            [MODPM, *arguments],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, nothing.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, nothing.fileno(), 2),
            ],
        )
        _, status, usage = os.wait4(child, 0)
        seconds = time.perf_counter() - begin
    if status != 0:
        raise SystemExit(f"modpm {' '.join(arguments)} ended with status {status}")
    return seconds, usage.ru_maxrss / 1024


@contextmanager
def browsed(home: Path, url: str) -> Iterator[str]:
    """Serve the pages of a registry; give their address."""
    process = subprocess.Popen(
        [MODPM, "browse", "--registry", url, "--port", "0"],
        env={**os.environ, "MODPM_HOME": str(home)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    yield process.stderr.readline().strip()
    process.terminate()
    process.wait()
    process.stderr.close()


def seconds_of(address: str) -> float:
    """Return how long an answer takes."""
    begin = time.perf_counter()
    with urllib.request.urlopen(address) as answer:  # noqa: S310 -- of this machine
        answer.read()
    return time.perf_counter() - begin


class Table:
    """Prints a line for each measurement, and keeps them."""

    def __init__(self) -> None:
        self.lines: list[dict[str, object]] = []
        print(f"{'modules':>8} {'registry':9} {'what':9} {'s':>8} {'MiB':>6} {'requests':>8}")

    def add(
        self, n: int, registry: str, what: str, run: tuple[float, float], n_requests: int | None
    ) -> None:
        """Add a measurement."""
        seconds, mebibytes = run
        told = "-" if n_requests is None else str(n_requests)
        print(f"{n:8} {registry:9} {what:9} {seconds:8.3f} {mebibytes:6.0f} {told:>8}", flush=True)
        self.lines.append(
            {
                "modules": n,
                "registry": registry,
                "what": what,
                "seconds": seconds,
                "peak_mebibytes": mebibytes,
                "requests": n_requests,
            }
        )


def measure(
    table: Table, n: int, url: str, folder: Path, counting: type[_Handler] | None = None
) -> None:
    """Measure the searches of one registry."""
    kind = "folder" if counting is None else "http"
    home = Path(tempfile.mkdtemp(dir=folder.parent))
    word = words(0)[1]

    def search(what: str, n_runs: int, *text: str) -> None:
        before = 0 if counting is None else counting.n_requests
        runs = [run(home, "search", *text, "--registry", url) for _ in range(n_runs)]
        middle = (statistics.median(s for s, _ in runs), max(m for _, m in runs))
        n_requests = None if counting is None else (counting.n_requests - before) // n_runs
        table.add(n, kind, what, middle, n_requests)

    search("first", 1, word)
    search("again", ARGUMENTS.n, word)
    with browsed(home, url) as pages:
        for what, path in (
            ("page", ""),
            ("typed", f"catalogue.json?q={word[:4]}"),
            ("filtered", "catalogue.json?min_recall=0.5&license=Apache-2.0&sort=size&q=a"),
        ):
            middle = statistics.median(seconds_of(pages + path) for _ in range(ARGUMENTS.n))
            table.add(n, kind, what, (middle, 0.0), None)
    change_one(folder, f"changed for {kind}")
    search("refresh", 1, word)
    search("all", 1)


def main() -> None:
    """Measure, and print a table."""
    table = Table()
    for n in ARGUMENTS.modules:
        with tempfile.TemporaryDirectory(dir=ARGUMENTS.folder) as place:
            folder = Path(place) / "registry"
            make_registry(folder, n, ARGUMENTS.namespaces)
            home = Path(place) / "home"
            reindexed = run(home, "registry", "reindex", "--registry", str(folder))
            table.add(n, "folder", "reindex", reindexed, None)
            measure(table, n, str(folder), folder)
            with served(folder) as (url, counting):
                measure(table, n, url, folder, counting)
    if ARGUMENTS.results is not None:
        ARGUMENTS.results.write_text(json.dumps(table.lines, indent=1) + "\n")


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description="Measure searches of large registries.")
    parser.add_argument("--modules", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--namespaces", type=int, default=10)
    parser.add_argument("-n", type=int, default=9, help="runs of each repeated search")
    parser.add_argument("--folder", type=Path, help="where the registries are made")
    parser.add_argument("--results", type=Path)
    return parser.parse_args(given)


if __name__ == "__main__":
    ARGUMENTS = arguments()
    main()
