"""What works here and what does not: packages, the device, registries, folders."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.core.system.home import home
from modpm.core.system.threads import in_threads
from modpm.core.system.whole_files import explained
from modpm.registry.addresses import default_address
from modpm.registry.projects.project import Project
from modpm.registry.projects.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modpm.registry.addresses import Address, Registries

EXTRAS = {
    "train": ("accelerate", "datasets", "sklearn"),
    "augment": ("kornia",),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "browse": ("jinja2", "markdown_it", "nh3", "starlette", "uvicorn"),
    "s3": ("obstore",),
    "tensorboard": ("tensorboard",),
    "timm": ("timm",),
    "torchvision": ("torchvision",),
}
"""What each extra brings, as it is imported."""

_ANY = ModuleName.parse("modpm/doctor")
"""A name to ask registries for: whether they list it does not matter, if they answer."""

_LITTLE_SPACE_BYTES = 2**30


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        about: What it is about: `installed`, `device`, `registry` or `folder`.
        name: Which.
        what: What was found.
        is_problem: Whether something would fail.
        hint: What to do, where something can be done.
    """

    about: str
    name: str
    what: str
    is_problem: bool = False
    hint: str | None = None


def doctor(project: str | os.PathLike[str] = ".", registry: Registries = None) -> list[Finding]:
    """Say what is installed, which device there is, which registries answer, and what is writable.

    Nothing is changed: where a file could be written, one without a name is, for a moment.

    Args:
        project: A folder in the project.
        registry: Ask this registry, or these, and none of the project.

    Raises:
        ModpmError: What reading the project raises.
    """
    place = Project.discover(project)
    sources = Sources.of(place, place.wishes(), registry)
    usable = sources.given or sources.usable
    return [
        *_installed(),
        _device(),
        *in_threads(lambda one: _answer(one, place.root), usable, "registries cannot be asked"),
        *_folders(place),
    ]


def _installed() -> Iterator[Finding]:
    here = f"{version('modpm')}, Python {platform.python_version()}, {platform.platform()}"
    yield Finding("installed", "modpm", f"{here}, in {sys.prefix}")
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if find_spec(name) is None]
        if missing:
            hint = f'pip install "modpm[{extra}]"'
            yield Finding("installed", extra, f"without {', '.join(missing)}", hint=hint)
        else:
            yield Finding("installed", extra, ", ".join(map(_with_version, modules)))


def _with_version(module: str) -> str:
    name = {"sklearn": "scikit-learn", "markdown_it": "markdown-it-py"}.get(module, module)
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:  # found, though nothing installed it
        return name


def _device() -> Finding:
    try:
        import torch  # noqa: PLC0415 -- it takes long to import, and may be what is broken

        from modpm.core.training.device import choose_device  # noqa: PLC0415 -- as above

        device = choose_device()
    except Exception as error:  # noqa: BLE001 -- of whatever kind a library that is broken raises
        return Finding(
            "device", "torch", f"cannot be used: {error}"[:500], is_problem=True,
            hint="install torch anew, for this machine: https://pytorch.org/get-started/locally",
        )  # fmt: skip
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} processors"
    return Finding("device", device.type, f"{name}; torch {torch.__version__}, {threads}")


def _answer(address: Address, root: Path) -> Finding:
    """Ask a registry for something."""
    name, started = f"{address.name} ({address.url})", time.perf_counter()
    try:
        with explained("ask the registry"):
            address.open(root).index(_ANY)
    except ModpmError as error:
        is_new = error.code == "registry-missing" and address == default_address()
        what = "not there yet: publishing makes it" if is_new else _in_words(error)
        hint = None if is_new else error.hint
        return Finding("registry", name, what, is_problem=not is_new, hint=hint)
    return Finding("registry", name, f"answers, in {1000 * (time.perf_counter() - started):.0f} ms")


def _in_words(error: ModpmError) -> str:
    return "; ".join(text for text in (error.what, error.why) if text)


def _folders(place: Project) -> Iterator[Finding]:
    folders = {
        "project": place.root,
        "MODPM_HOME": home(),
        "temporary files": Path(tempfile.gettempdir()),
    }
    return (_writable(name, folder) for name, folder in folders.items())


def _writable(name: str, folder: Path) -> Finding:
    there = next(one for one in (folder, *folder.parents) if one.exists())
    try:
        with explained("write"), tempfile.TemporaryFile(dir=there):
            pass
    except ModpmError as error:
        what = f"{folder} cannot be written: {error.why or error.what}"
        return Finding("folder", name, what, is_problem=True, hint=error.hint)
    free = shutil.disk_usage(there).free
    is_full = free < _LITTLE_SPACE_BYTES
    hint = "free some space; `modpm cache prune` removes what no project needs" if is_full else None
    what = f"{folder} can be written, {free / 2**30:.1f} GiB are free"
    return Finding("folder", name, what, hint=hint)
