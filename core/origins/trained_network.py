"""A trained network that can be cut, wherever it comes from: a run, weights on disk, or memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import nn

from modpm.core.data import (
    GivenImages,
    aligned,
    carve_validation,
    check_statistics,
    check_trainable,
    load_data,
    outline,
)
from modpm.core.data.naming import absolute_if_folder, data_set_name
from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import InputContract
from modpm.core.graph import trace
from modpm.core.networks import check_network, create, load_initial_weights
from modpm.core.training.configuration import check_setting
from modpm.core.training.effort import NONE, Effort, find_effort
from modpm.core.training.run import Run, versions_here
from modpm.core.training.starting_network import traced

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modpm.core.data import ImageData
    from modpm.core.data.load import Outline
    from modpm.core.training.methods.method import Network


class Images(Protocol):
    """What a network was trained on, and is tried on; a `Run` is one."""

    @property
    def fingerprint(self) -> str:
        """What names the exact data of the split `train`."""

    def training_data(self) -> ImageData:
        """Return the images that kernels are found on."""

    def validation_data(self) -> ImageData:
        """Return the images of the split `train` that scores are fitted on."""

    def data(self, split: str) -> ImageData:
        """Return a split of the data set."""


@dataclass(frozen=True)
class TrainedNetwork:
    """A network, and all that making class modules of it needs to know.

    Attributes:
        architecture: What it was created by, in words.
        data_set: What its data set is called.
        classes: In the order of its outputs.
        contract: What an image must be.
        images: Its images.
        effort: How kernels of its classes are found.
        read: Gives its graph and its tensors.
        seed: Of what was drawn.
        versions: Packages and their versions.
    """

    architecture: str
    data_set: str
    classes: tuple[str, ...]
    contract: InputContract
    images: Images
    effort: Effort
    read: Callable[[], Network]
    seed: int
    versions: dict[str, str]


WEIGHTS = frozenset({".safetensors", ".pth", ".pt", ".bin"})
"""What files of weights end in; whatever is a file is one too."""


def trained_network(
    network: Run | nn.Module | Path | str, said: Particulars, effort: str | None = None
) -> TrainedNetwork:
    """Return a trained network, wherever it comes from.

    Args:
        network: A run, or its folder; a file of weights; or the network itself.
        said: What a user says of a network that no run has trained.
        effort: How kernels are found; None for what the run knows of them, or the least.

    Raises:
        ModpmError: As `of_run` and `of_weights`.
    """
    if isinstance(network, Run):
        return of_run(network, said, effort)
    if isinstance(network, nn.Module) or not is_run(network):
        return of_weights(network, said, effort)
    return of_run(Run.open(Path(network)), said, effort)


def is_run(network: Run | nn.Module | Path | str) -> bool:
    """Say whether a network is meant as a run, and not as weights."""
    if isinstance(network, Run | nn.Module):
        return isinstance(network, Run)
    path = Path(network)
    return not (path.is_file() or (path.suffix in WEIGHTS and not path.is_dir()))


def of_run(run: Run, said: Particulars, effort: str | None) -> TrainedNetwork:
    """Return the network of a run.

    Args:
        run: Finished, or `read` refuses it.
        said: Nothing: the run knows it.
        effort: How kernels are found; None for what its method of training knows of them.

    Raises:
        ModpmError: Something is said of it all the same, or there is no such effort
            (`bad-setting`); its method is not installed here (`unknown-method`).
    """
    nothing = Particulars()._asdict()
    if given := [name for name, value in said._asdict().items() if value != nothing[name]]:
        options = ", ".join(f"`--{name.replace('_', '-')}`" for name in given)
        raise _bad(f"{options}: a run knows that of its network", "leave it out")
    config, method = run.config, run.method
    own = Effort(
        config.method,
        method.evidence_type(),
        lambda network, images, tell: method.evidence(network, run.findings, images, tell),
        config.retention,
        parameters=config.settings
        | ({} if config.open_set is None else {"open_set": config.open_set}),
    )
    return TrainedNetwork(
        architecture=_with_width(config.arch, config.width),
        data_set=data_set_name(config.data),
        classes=run.classes,
        contract=run.input,
        images=run,
        effort=own if effort is None else find_effort(effort),
        read=run.network,
        seed=config.seed,
        versions=run.record.versions,
    )


def _with_width(arch: str, width: float) -> str:
    return arch if width == 1 else f"{arch} (width {width:g})"


class Particulars(NamedTuple):
    """What a run knows of its network, and a user says of any other.

    Attributes:
        data: What it was trained on; as `load_data` takes it.
        arch: What its weights are of, where they are in a file.
        width: The factor on its channels.
        classes: In the order of its outputs; None for the order of the data.
        mean, std: What images are normalized by, of pixels in [0, 1], per channel.
        image_size: Height and width, or one number for both; None for those of most images.
        val_fraction: The share of each class that is held out.
        seed: What these are drawn with.
        skip_bad: Whether images that cannot be decoded are left out.
    """

    data: str | Path | GivenImages | None = None
    arch: str | None = None
    width: float = 1.0
    classes: Sequence[str] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    image_size: int | Sequence[int] | None = None
    val_fraction: float = 0.1
    seed: int = 0
    skip_bad: bool = False


@dataclass(frozen=True)
class DataSet:
    """Images of a network that no run knows of.

    Attributes:
        source: A data set as `load_data` takes it.
        classes: In the order of the network's outputs.
        contract: What its images are brought to.
        said: How some are held out.
    """

    source: str | GivenImages
    classes: tuple[str, ...]
    contract: InputContract
    said: Particulars

    @property
    def fingerprint(self) -> str:
        """What names the exact data of the split `train`."""
        return self._train.fingerprint

    def training_data(self) -> ImageData:
        """Return the images of the split `train` that are not held out."""
        return self._carved[0]

    def validation_data(self) -> ImageData:
        """Return the images of the split `train` that are held out."""
        return self._carved[1]

    def data(self, split: str) -> ImageData:
        """Return a split of the data set.

        Raises:
            ModpmError: It cannot be loaded.
        """
        return load_data(
            self.source,
            split,
            skip_bad=self.said.skip_bad,
            image_size=(self.contract.height, self.contract.width),
            channels=self.contract.channels,
        )

    @cached_property
    def _train(self) -> ImageData:
        return self.data("train")

    @cached_property
    def _carved(self) -> tuple[ImageData, ImageData]:
        data = aligned(self._train, self.classes)
        return carve_validation(data, self.said.val_fraction, self.said.seed)


def of_weights(
    network: nn.Module | Path | str, said: Particulars, effort: str | None
) -> TrainedNetwork:
    """Return a network of which there is no run: weights of an architecture, or a live one.

    Nothing is decoded or traced yet, but all that can be wrong is found: the weights are loaded,
    and the network is tried on an image.

    Args:
        network: A file of weights, or the network itself.
        said: What else there is to know of it.
        effort: How kernels are found; None for the least.

    Raises:
        ModpmError: Something is missing, or does not fit the rest.
    """
    how = find_effort(effort or NONE)
    mean, std = _checked(network, said)
    found = outline(said.data or "", "train", image_size=said.image_size, channels=len(mean))
    check_trainable(found)
    classes, shape = _classes(found, said.classes), found.image_shape
    made = network
    if not isinstance(made, nn.Module):
        made = _loaded(made, said, len(classes), shape[0])
    check_network(made, shape, len(classes))
    contract = InputContract(channels=shape[0], height=shape[1], width=shape[2], mean=mean, std=std)  # type: ignore[arg-type]  # 1 or 3 channels
    source: str | GivenImages = absolute_if_folder(found.source)
    if isinstance(said.data, GivenImages):
        source = said.data
    return TrainedNetwork(
        architecture=_with_width(said.arch or type(made).__name__, said.width),
        data_set=data_set_name(str(source)),
        classes=classes,
        contract=contract,
        images=DataSet(source, classes, contract, said),
        effort=how,
        read=cache(partial(_read, made, said, (len(classes), *shape))),
        seed=said.seed,
        versions=versions_here(),
    )


def _checked(network: nn.Module | Path | str, said: Particulars) -> tuple[list[float], list[float]]:
    """Check what a user says of a network; return the mean and the standard deviation."""
    if said.data is None:
        raise ModpmError(
            "nobody says what the network was trained on",
            code="no-data",
            hint="name its data with --data: a folder of images, or a data set of the Hub",
            exit_code=2,
        )
    is_live = isinstance(network, nn.Module)
    if is_live and (said.arch is not None or said.width != 1):
        raise _bad("a network in memory has its architecture", "leave out `arch` and `width`")
    if not is_live and said.arch is None:
        raise ModpmError(
            "nobody says what the weights are of",
            code="no-architecture",
            where=str(network),
            hint="name it with --arch, such as --arch resnet20",
            exit_code=2,
        )
    if said.mean is None or said.std is None:
        raise ModpmError(
            "nobody says what the network's images were normalized by",
            code="no-preprocessing",
            hint="give --mean and --std as it was trained, such as --mean 0.485,0.456,0.406 "
            "--std 0.229,0.224,0.225 of ImageNet",
            exit_code=2,
        )
    mean, std = [*map(float, said.mean)], [*map(float, said.std)]
    check_statistics(mean, std, (1, 3))
    for name in ("seed", "val_fraction"):
        check_setting(name, getattr(said, name))
    return mean, std


def _loaded(path: Path | str, said: Particulars, n_classes: int, channels: int) -> nn.Module:
    """Return a network with the weights of a file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = create(said.arch or "", n_classes, channels, said.width)
    try:
        load_initial_weights(made, path)
    except ModpmError as error:
        if error.code == "weights-mismatch":
            error.hint = (
                "--arch and --width must be those of the weights, and the classes as many: the "
                f"data has {n_classes}"
            )
        raise
    return made


def _read(network: nn.Module, said: Particulars, shapes: tuple[int, ...]) -> Network:
    if said.arch is None:
        return trace(network, torch.zeros(2, *shapes[1:]))
    graph, tensors, _ = traced(network, said.arch, said.width, shapes)
    return graph, tensors


def _classes(found: Outline, given: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the outputs, which must be those of the data."""
    names = tuple(found.classes if given is None else given)
    if sorted(names) != sorted(found.classes):
        raise ModpmError(
            "the classes are not those of the data",
            code="unknown-class",
            where=found.source,
            why=f"the data has {', '.join(found.classes)}; given are {', '.join(names)}",
            hint="give each class of the data once, in the order of the network's outputs",
            exit_code=2,
        )
    return names


def _bad(what: str, hint: str) -> ModpmError:
    return ModpmError(what, code="bad-setting", hint=hint, exit_code=2)
