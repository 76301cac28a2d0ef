"""Read every attack, and files of 64 GiB, in a process that may take little memory.

Run as a program, with an empty folder as its argument.
"""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fuzz import attacks
from tests.fuzz.parsers import FROZEN, OF_BYTES, TOML

from modpm.core.classifiers.saving import read_classifier
from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import read_distribution, verify_distribution
from modpm.core.formats.names import ModuleName
from modpm.core.formats.tensor_file import read_header
from modpm.core.training.run import Run
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.projects.project import Project
from modpm.registry.signing.signature import read_signature
from modpm.registry.signing.trusted_keys import TrustFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_SECONDS = 60
HEAD_ROOM_BYTES = 600 * attacks.MIB
"""Above what the process takes before: 64 MiB of TOML is read as bytes and as text."""
HUGE_BYTES = 64 * 1024 * attacks.MIB


def _limit() -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + HEAD_ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))


def _huge(path: Path, start: bytes = b"") -> Path:
    """Make a file that is huge, and takes no place on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(start)
        file.truncate(HUGE_BYTES)
    return path


def _huge_files(folder: Path) -> Iterator[Callable[[], object]]:
    module = ModuleName("digits", "7")
    yield lambda: read_distribution(_huge(folder / "a" / "manifest.json").parent)
    yield lambda: read_header(_huge(folder / "b.safetensors", b"\xff" * 8))
    yield lambda: read_header(_huge(folder / "c.safetensors", (8 << 20).to_bytes(8, "little")))
    yield lambda: Project(_huge(folder / "d" / "modpm.toml").parent).wishes()
    yield lambda: Project(_huge(folder / "e" / "modpm.lock").parent).lock()
    yield lambda: Run.open(_huge(folder / "f" / "run.json").parent)
    yield lambda: read_classifier(_huge(folder / "g" / "composition.json").parent)
    yield lambda: DirectoryRegistry(_huge(folder / "h" / "registry.json").parent).names()
    yield lambda: _registry_with_huge_index(folder / "i").index(module)
    yield lambda: OF_BYTES["signature"](read_signature(_huge(folder / "signature.json")))
    yield lambda: _trust(folder / "home" / "trust.json")
    yield lambda: _swollen_distribution(folder / "j")


def _registry_with_huge_index(folder: Path) -> DirectoryRegistry:
    _huge(folder / "digits" / "7" / "index.json")
    (folder / "registry.json").write_bytes(b'{"format_version":1}')
    return DirectoryRegistry(folder)


def _trust(path: Path) -> object:
    _huge(path)
    return TrustFile.of_user()


def _swollen_distribution(folder: Path) -> object:
    folder.mkdir()
    for path in (FROZEN / "digits-7").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    _huge(folder / "README.md")
    return verify_distribution(folder)


def _documents() -> Iterator[Callable[[], object]]:
    for name, parse in OF_BYTES.items():
        documents = [*attacks.FAR_OVER.values()]
        documents += attacks.of_kind("toml" if name in TOML else "json").values()
        documents += attacks.TENSORS.values() if name == "tensor_file" else ()
        for data in documents:
            yield partial(parse, data)


def _is_refused_or_read(work: Callable[[], object]) -> bool:
    with suppress(ModpmError):
        work()
    return True


def _main() -> None:
    _limit()
    folder = Path(sys.argv[1])
    works = [*_huge_files(folder)]
    for work in works:
        try:
            work()
        except ModpmError:
            continue
        raise AssertionError("a file of 64 GiB was accepted")
    n = sum(_is_refused_or_read(work) for work in _documents())
    print(f"{n} documents, {len(works)} huge files, 0 failures")  # noqa: T201 - for the test


if __name__ == "__main__":
    _main()
