"""A run: the folder that modular training writes and everything later reads.

`run.json` says what was asked, `graph.json` is the network, `images.safetensors` tells the images
of the split `train` from others, and `metrics.jsonl` has a line an epoch.
While training lasts, `first.safetensors` is the state before it, `last.safetensors` the last that
was kept since, and `best.safetensors` that of the best epoch, where that is to be kept; when it has
ended, `model.safetensors` has the network's tensors and `finished.json` says so;
`findings.safetensors` has what else the method has found of its kernels, if it has, and
`report.html` shows people what it came to. `data` has the images of a run that was given them in
memory, which are its data set from then on.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import msgspec
import torch
from torch import Tensor

from modpm.core.data import OWN_DATA, ImageData, aligned, carve_validation, load_data
from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.digest import Digest
from modpm.core.formats.manifest import InputContract
from modpm.core.formats.network_graph import Graph
from modpm.core.formats.records import Record, convert, parse_record, to_plain
from modpm.core.system.whole_files import is_free, read_at_most, write_file, write_folder
from modpm.core.tensors import encode_tensors, load_tensors, save_tensors
from modpm.core.training.batches import n_steps
from modpm.core.training.checkpoint import network_digest
from modpm.core.training.configuration import TrainingConfiguration
from modpm.core.training.methods import find_method
from modpm.core.training.methods.method import Method

FORMAT_VERSION = 1
_RECORDED_PACKAGES = ("modpm", "torch", "numpy", "pillow", "accelerate")
_IMAGES_FILE, _DIGESTS = "images.safetensors", "digests"
_UNREADABLE = "the run folder cannot be read"


class RunRecord(Record, frozen=True, kw_only=True):
    """What `run.json` says.

    Attributes:
        format_version: The version of the run folder.
        configuration: The settings.
        classes: In the order of the network's outputs.
        input: What an image must be.
        fingerprint: Names the exact data of the split `train`.
        n_training, n_validation: Images trained on, and held out.
        n_skipped: Images that could not be decoded.
        n_processes: That shared each batch when the run was started.
        versions: Packages and their versions.
        frozen: Parameters of the network that training leaves as they are.
        has_new_head: Whether its last layer was drawn, though its other weights were trained.
        command: What is typed to continue it; None for `modpm train`.
    """

    format_version: int = FORMAT_VERSION
    configuration: TrainingConfiguration
    classes: list[str]
    input: InputContract
    fingerprint: str
    n_training: int
    n_validation: int
    n_skipped: int
    n_processes: int
    versions: dict[str, str]
    frozen: list[str]
    has_new_head: bool = False
    command: str | None = None


class FinishedRecord(Record, frozen=True, kw_only=True):
    """What `finished.json` says.

    Attributes:
        digest: Names the trained network.
        val_accuracy: On the held-out part of the training data, after the epoch.
        epoch: That of which the network is, from 1.
    """

    digest: Digest
    val_accuracy: float
    epoch: int | None = None


class Run:
    """A run folder, opened.

    Attributes:
        folder: Where it is.
        record: What it was told and what it found.
    """

    def __init__(
        self,
        folder: Path,
        record: RunRecord,
        carved: tuple[ImageData, ImageData] | None = None,
    ) -> None:
        self.folder = folder
        self.record = record
        self._carved = carved  # training and validation images, where they are in memory

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Open a run folder.

        Raises:
            ModpmError: It is none, damaged, or of a later version (`run-not-found`,
                `damaged-run`, `unknown-format-version`).
        """
        folder = Path(folder)
        path = folder / "run.json"
        if not path.is_file():
            raise ModpmError(
                "there is no run",
                code="run-not-found",
                where=str(folder),
                why="it has no run.json" if folder.exists() else "there is no such folder",
                hint="`modpm train` makes run folders",
            )
        record = parse_record(
            RunRecord, _read(path), what=_UNREADABLE, code="damaged-run", where=str(path)
        )
        if record.format_version != FORMAT_VERSION:
            raise ModpmError(
                f"a run folder of version {record.format_version} cannot be read",
                code="unknown-format-version",
                where=str(path),
                hint="install a newer modpm",
            )
        return cls(folder, record)

    @property
    def config(self) -> TrainingConfiguration:
        """The settings."""
        return self.record.configuration

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the network's outputs."""
        return tuple(self.record.classes)

    @property
    def input(self) -> InputContract:
        """What an image must be."""
        return self.record.input

    @property
    def source(self) -> str:
        """Its data set, as `load_data` takes it."""
        is_own = self.config.data == OWN_DATA
        return str(self.folder.absolute() / OWN_DATA) if is_own else self.config.data

    @cached_property
    def method(self) -> type[Method]:
        """The method of training.

        Raises:
            ModpmError: It is not installed here (`unknown-method`).
        """
        return find_method(self.config.method)

    @property
    def is_finished(self) -> bool:
        """Whether training has ended."""
        return (self.folder / "finished.json").is_file()

    @property
    def start_path(self) -> Path:
        """Where the state before any training is."""
        return self.folder / "first.safetensors"

    @property
    def checkpoint_path(self) -> Path:
        """Where the last state is that was kept in training, if one was."""
        return self.folder / "last.safetensors"

    @property
    def best_path(self) -> Path:
        """Where the state after the best epoch is, if it is to be kept."""
        return self.folder / "best.safetensors"

    @property
    def n_steps(self) -> int:
        """Steps of an epoch."""
        return n_steps(self.record.n_training, self.config.batch_size)

    @property
    def metrics_path(self) -> Path:
        """Where the line of each epoch is."""
        return self.folder / "metrics.jsonl"

    @cached_property
    def graph(self) -> Graph:
        """The network's graph, with what the method has added.

        Raises:
            ModpmError: It cannot be read (`damaged-run`).
        """
        path = self.folder / "graph.json"
        try:
            plain = canonical_json.decode(_read(path), str(path))
            return convert(plain, Graph)
        except (OSError, msgspec.ValidationError) as error:
            raise ModpmError(
                _UNREADABLE, code="damaged-run", where=str(path), why=f"{error!s:.500}"
            ) from error

    @property
    def fingerprint(self) -> str:
        """What names the exact data of the split `train`."""
        return self.record.fingerprint

    def network(self) -> tuple[Graph, dict[str, Tensor]]:
        """Return the trained network.

        Raises:
            ModpmError: The run is not finished, or damaged.
        """
        self.check_finished()
        return self.graph, load_tensors(self.folder / "model.safetensors")

    @cached_property
    def findings(self) -> dict[str, Tensor]:
        """What the method has found of the kernels while it trained: layer after layer.

        Raises:
            ModpmError: It cannot be read (`damaged-run`).
        """
        path = self.folder / "findings.safetensors"
        found = load_tensors(path) if path.is_file() else {}
        # Which of equal layers keeps more goes by their order, while it trains and when it is cut.
        return {name: found[name] for name in self.graph.kernels() if name in found} | found

    def digest(self) -> str:
        """Return what names the trained network, as manifests name their origin."""
        return network_digest(*self.network())

    @property
    def val_accuracy(self) -> float:
        """Accuracy of the network on the held-out part of the training data.

        Raises:
            ModpmError: The run is not finished, or damaged.
        """
        return self.finished().val_accuracy

    def finished(self) -> FinishedRecord:
        """Return what the run has come to.

        Raises:
            ModpmError: The run is not finished, or damaged.
        """
        self.check_finished()
        path = self.folder / "finished.json"
        return parse_record(
            FinishedRecord, _read(path), what=_UNREADABLE, code="damaged-run", where=str(path)
        )

    def check_finished(self) -> None:
        """Check that training has ended.

        Raises:
            ModpmError: It has not (`run-unfinished`).
        """
        if not self.is_finished:
            raise ModpmError(
                "the run is not finished",
                code="run-unfinished",
                where=str(self.folder),
                why=f"{len(self.metrics())} of {self.config.epochs} epochs are done",
                hint=resume_hint(self),
            )

    def metrics(self) -> list[dict[str, Any]]:
        """Return the line of each epoch: losses, accuracy, retention rate, seconds."""
        if not self.metrics_path.exists():
            return []
        return [json.loads(line) for line in self.metrics_path.read_text("utf-8").splitlines()]

    def training_data(self) -> ImageData:
        """Return the images that the network was trained on.

        Raises:
            ModpmError: The data cannot be loaded, or has changed since (`data-changed`).
        """
        return self._carve()[0]

    def validation_data(self) -> ImageData:
        """Return the images of the split `train` that were held out.

        Raises:
            ModpmError: The data cannot be loaded, or has changed since (`data-changed`).
        """
        return self._carve()[1]

    def n_trained_on(self, data: ImageData) -> int | None:
        """Return how many images are among those it was trained with, held out or not.

        Args:
            data: In the run's image size and number of channels.

        Returns:
            None where the folder does not tell.

        Raises:
            ModpmError: What it tells cannot be read.
        """
        path = self.folder / _IMAGES_FILE
        known = load_tensors(path).get(_DIGESTS) if path.is_file() else None
        return None if known is None else int(torch.isin(data.image_digests, known).sum())

    def data(self, split: str) -> ImageData:
        """Return a split of the data set, in the run's image size and number of channels.

        Raises:
            ModpmError: It cannot be loaded.
        """
        return load_data(
            self.source,
            split,
            skip_bad=self.config.skip_bad,
            image_size=(self.input.height, self.input.width),
            channels=self.input.channels,
        )

    def _carve(self) -> tuple[ImageData, ImageData]:
        if self._carved is None:
            data = aligned(self._unchanged_data(), self.classes)
            self._carved = carve_validation(data, self.config.val_fraction, self.config.seed)
        return self._carved

    def _unchanged_data(self) -> ImageData:
        data = self.data("train")
        if data.fingerprint != self.record.fingerprint:
            raise ModpmError(
                "the training data is not what the network was trained on",
                code="data-changed",
                where=self.source,
                why=f"its fingerprint is {data.fingerprint}, not {self.record.fingerprint}",
                hint="restore the data, or train again on what there is now",
            )
        return data


def versions_here() -> dict[str, str]:
    """Return the versions of the packages that decide what numbers come out, where they are."""
    found: dict[str, str] = {}
    for name in _RECORDED_PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def resume_hint(run: Run) -> str:
    """Return what to type to continue a run."""
    command = run.record.command or f"modpm train {run.source} --resume -o {run.folder}"
    return f"continue it with `{command}`"


def check_free(folder: Path) -> None:
    """Check that a run may be started in a folder.

    Raises:
        ModpmError: It has something in it, or is no folder (`run-exists`).
    """
    if is_free(folder):
        return
    is_run = (folder / "run.json").exists()
    raise ModpmError(
        "the run folder exists",
        code="run-exists",
        where=str(folder),
        why=None if is_run else "it is not empty, and no run",
        hint=f"{'continue it with `--resume`, or ' if is_run else ''}choose another folder",
    )


def _read(path: Path) -> bytes:
    return read_at_most(path, canonical_json.MAX_SIZE_BYTES)


def create_run(
    run: Run, graph: Graph, checkpoint: bytes, given: Mapping[str, bytes] | None = None
) -> None:
    """Write a new run's folder in one step: after a crash there is none, or a complete one.

    Args:
        run: The run.
        graph: Its network.
        checkpoint: The state before any training.
        given: Files of images that no name leads to.

    Raises:
        ModpmError: It cannot be written.
    """
    known = torch.cat([run.training_data().image_digests, run.validation_data().image_digests])
    files = {
        "run.json": canonical_json.encode(to_plain(run.record)),
        "graph.json": canonical_json.encode(msgspec.to_builtins(graph)),
        _IMAGES_FILE: encode_tensors({_DIGESTS: known.sort().values}),
        run.start_path.name: checkpoint,
        **(given or {}),
    }
    write_folder(run.folder, files)


def finish_run(
    run: Run, epoch: int, tensors: Mapping[str, Tensor], findings: Mapping[str, Tensor]
) -> None:
    """Write the trained network, say that the run is finished, and remove its checkpoints.

    Args:
        run: The run.
        epoch: That of which the network is, from 1.
        tensors: The network's.
        findings: What else the method has found of its kernels.

    Raises:
        ModpmError: It cannot be written; the run can be resumed.
    """
    save_tensors(run.folder / "model.safetensors", tensors)
    if findings:
        save_tensors(run.folder / "findings.safetensors", findings)
    digest, val_accuracy = (
        network_digest(run.graph, tensors),
        run.metrics()[epoch - 1]["val_accuracy"],
    )
    record = FinishedRecord(digest=digest, val_accuracy=val_accuracy, epoch=epoch)
    write_file(run.folder / "finished.json", canonical_json.encode(to_plain(record)))
    for path in (run.checkpoint_path, run.start_path, run.best_path):
        path.unlink(missing_ok=True)
