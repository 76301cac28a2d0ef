"""The training loop: `train` makes a run, or continues one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from torch import nn

from modpm.core.data import (
    OWN_DATA,
    GivenImages,
    as_data,
    carve_validation,
    check_statistics,
    default_statistics,
    load_data,
)
from modpm.core.data.given_images import images_of_folder
from modpm.core.data.naming import absolute_if_folder, default_namespace, module_names
from modpm.core.data.strong_augmenting import check_installed
from modpm.core.data.telling import tell
from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import InputContract
from modpm.core.networks import (
    create,
    default_architecture,
    drawn_beside_loaded,
    is_factory,
    own_normalization,
)
from modpm.core.networks.user_factory import unwrapped
from modpm.core.training.configuration import (
    AUTO,
    DEFAULT_RETENTION,
    TrainingConfiguration,
    check_configuration,
    check_same,
    complete_settings,
    digest_of_init,
)
from modpm.core.training.device import choose_device
from modpm.core.training.methods import DEFAULT_METHOD, find_method
from modpm.core.training.open_set import find_open_set
from modpm.core.training.processes import begin, carry_out, start_processes
from modpm.core.training.run import Run, RunRecord, check_free, versions_here
from modpm.core.training.starting_network import frozen_parameters, starting_network
from modpm.core.training.watching import check_log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from modpm.core.data import Data, ImageData
    from modpm.core.training.session import Progress


def train(
    data: Data,
    arch: str | nn.Module = AUTO,
    *,
    output: Path | str,
    classes: Sequence[str] | None = None,
    width: float = 1.0,
    init: Path | str | None = None,
    pretrained: bool | None = None,
    epochs: int = 30,
    lr: float | None = None,
    batch_size: int = 128,
    seed: int = 0,
    val_fraction: float = 0.1,
    method: str = DEFAULT_METHOD,
    settings: Mapping[str, float] | None = None,
    precision: str = AUTO,
    device: str = AUTO,
    deterministic: bool = False,
    retention: float = DEFAULT_RETENTION,
    skip_bad: bool = False,
    mean: list[float] | None = None,
    std: list[float] | None = None,
    image_size: int | Sequence[int] | None = None,
    augment: Sequence[str] = (),
    flip: bool = True,
    balance: bool = False,
    label_smoothing: float = 0.0,
    open_set: str | None = None,
    keep_best: bool = False,
    patience: int | None = None,
    log: str | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    report: Callable[[str], None] = lambda _sentence: None,
) -> Run:
    """Train a network to be cut into class modules; its run folder has all that later steps need.

    Runs in one process, or in all that `torchrun` or `accelerate launch` have started. The same
    settings on the same data give the same bytes, also if a run was interrupted and resumed, on
    one machine with one number of threads and processes.

    A run keeps all that later steps read. Of a network in memory these are its graph, as it is read
    from one call of it, and its weights, which training does not change: neither its class nor its
    code is needed afterwards, and the run is resumed without it. Images in memory are kept as
    bytes, in `data` of the run folder, and are its data set from then on, for the command line too.

    Args:
        data: `digits`, a folder, or an id of the Hub; or images in memory: a pair of tensors, a
            `Dataset` or a `DataLoader` of a known length, or a dictionary of such by the names of
            splits, `train` and `test`. Images are (N, C, H, W), of uint8, or of numbers from 0 to
            1 that are not normalized yet, or PIL's; labels are whole numbers.
        arch: An architecture that is shipped, `timm:NAME`, `torchvision:NAME`,
            `package.module:factory`, or `auto` for one that suits the size of the images and the
            number of classes; or a network in memory, which has an output for each class.
        output: The run folder; it must not exist.
        classes: Names of the classes of images in memory, in the order of their labels; by default
            those that a `Dataset` has as `classes`.
        width: Factor on the channels of every layer.
        init: A file of ordinary weights of the same architecture to start from: safetensors, or
            of `torch.save` with tensors alone. Where they are of another number of classes, the
            last layer is new.
        pretrained: Start from the weights that the library has of the architecture, or that its
            factory loads. Of a factory that is not said: one that loads any is found out. Of a
            network in memory: its weights are trained.
        epochs: Passes over the training data.
        lr: Peak learning rate; by default the method's.
        batch_size: Images a step, of all processes together.
        seed: Of everything that is drawn.
        val_fraction: Share of the split `train` that is held out.
        method: `views`, `mwt`, `moda` or `plain`; one of another package, or
            `package.module:Class`.
        settings: Numbers that the method has names for.
        precision: `float32`, `bfloat16`, or `auto` for bfloat16 on an accelerator.
        device: `cpu`, `cuda`, `mps`, or `auto` for the accelerator where there is one. Whatever it
            is, the run folder is the same but for rounding.
        deterministic: The same bytes on every run on an accelerator, too, where they cost time; on
            a processor they always are.
        retention: Kernel retention rate of the modules that the method prepares.
        skip_bad: Leave out images that cannot be decoded.
        mean: Of pixels in [0, 1], per channel; by default that of the images that a library's
            weights were trained with, where it starts from those, or of the training data.
        std: The same for the standard deviation.
        image_size: Height and width to bring every image to, or one number for both; by default
            the size that most of the images have.
        augment: `resized-crop`, in place of the cut after padding, `jitter` of colors and
            `rand-augment`, which need the extra `augment`.
        flip: Mirror half of the images, unless that would make other classes of them.
        balance: Draw images so that each class comes equally often.
        label_smoothing: Share of the target that all classes share.
        open_set: `rotation` or `logitnorm`: what else the network is trained for, so that its
            modules tell images of no class better.
        keep_best: Keep the network of the epoch that was best on held-out images, after all that
            the method changes by a plan of its own.
        patience: End when so many epochs have brought nothing better, and keep the best.
        log: `tensorboard` to write the epochs for it, too, into `tensorboard` of the run, which
            needs the extra of that name.
        resume: Continue the run in `output`, with the settings it was started with.
        progress: Called after each step and each epoch, in the main process.
        report: Is told what was read and done to it, and to the network, in sentences, in the main
            process.

    Raises:
        ModpmError: The data, the network or a setting cannot be used; the run folder exists
            (`run-exists`), or cannot be resumed (`run-not-found`, `settings-differ`,
            `data-changed`); the loss is not finite (`loss-not-finite`); the network cannot tell
            rotations apart (`rotations-not-told`); the disk is full (`disk-full`); Ctrl-C
            (`interrupted`). The state of some minutes ago is kept.
    """
    where = choose_device(device)
    kind = find_method(method)
    folder, given = Path(output), as_data(data, classes, image_size)
    _check_classes(given, classes)
    live = _live(arch, width, init)
    recipe = kind.recipe(is_trained=bool(pretrained) or init is not None)
    configuration = TrainingConfiguration(
        data=_name_of(given, folder),
        arch=type(live).__name__ if isinstance(arch, nn.Module) else arch,
        width=width,
        init=None if init is None else str(Path(init).absolute()),
        init_digest=digest_of_init(init),
        pretrained=bool(pretrained),
        epochs=epochs,
        lr=recipe.lr if lr is None else lr,
        batch_size=batch_size,
        seed=seed,
        val_fraction=val_fraction,
        method=method,
        settings=complete_settings(method, kind.settings, settings or {}),
        precision=_precision(precision, where),
        deterministic=deterministic,
        retention=retention,
        skip_bad=skip_bad,
        mean=mean,
        std=std,
        image_size=_height_and_width(image_size),
        augment=list(augment),
        flip=flip,
        balance=balance,
        label_smoothing=label_smoothing,
        open_set=open_set,
        keep_best=keep_best,
        patience=patience,
    )
    check_configuration(configuration)
    check_installed(configuration.augment)
    check_log(log)
    accelerator = start_processes(batch_size, where)

    def as_trained(found: TrainingConfiguration) -> TrainingConfiguration:
        if pretrained is False:
            return found
        peak = kind.recipe(is_trained=True).lr if lr is None else lr
        return msgspec.structs.replace(found, pretrained=True, lr=peak)

    asked = _Asked(configuration, as_trained, given, live)
    run = _resumed(folder, asked) if resume else _started(folder, asked, accelerator, report)
    carry_out(run, accelerator, log, progress)
    return run


def _check_classes(given: str | Path | GivenImages, classes: Sequence[str] | None) -> None:
    if classes is not None and not isinstance(given, GivenImages):
        raise ModpmError(
            "a data set with a name has names for its classes",
            code="bad-setting",
            where=str(given),
            hint="leave out `classes`",
            exit_code=2,
        )


def _name_of(given: str | Path | GivenImages, folder: Path) -> str:
    """Return what a run calls its data set: by where it is, or as what it keeps itself."""
    if isinstance(given, GivenImages) or Path(given).absolute() == folder.absolute() / OWN_DATA:
        return OWN_DATA
    return absolute_if_folder(given)


def _live(arch: str | nn.Module, width: float, init: Path | str | None) -> nn.Module | None:
    """Return a network that is in memory, as it was before it was compiled or made parallel."""
    if not isinstance(arch, nn.Module):
        return None
    if width != 1 or init is not None:
        raise ModpmError(
            "a network in memory has its width and its weights",
            code="bad-setting",
            hint="leave out `width` and `init`; load weights into it before",
            exit_code=2,
        )
    network = unwrapped(arch)
    assert isinstance(network, nn.Module)
    return network


def _height_and_width(image_size: int | Sequence[int] | None) -> list[int] | None:
    if image_size is None:
        return None
    return [image_size] * 2 if isinstance(image_size, int) else list(image_size)


def _precision(precision: str, device: torch.device) -> str:
    if precision != AUTO:
        return precision
    return "float32" if device.type == "cpu" else "bfloat16"


_AsTrained = Callable[[TrainingConfiguration], TrainingConfiguration]
"""Says in a configuration that the network brings trained weights, unless its user denies it."""


class _Asked(NamedTuple):
    """What a run is asked for.

    Attributes:
        configuration: Its settings, as far as they are known without the data.
        as_trained: Says in them that the network brings trained weights.
        given: The data set.
        live: The network, where it is in memory.
    """

    configuration: TrainingConfiguration
    as_trained: _AsTrained
    given: str | Path | GivenImages
    live: nn.Module | None


def _resumed(folder: Path, asked: _Asked) -> Run:
    run, configuration, given = Run.open(folder), asked.configuration, asked.given
    if run.config.pretrained and configuration.init is None:
        configuration = asked.as_trained(configuration)
    if configuration.arch == AUTO:
        configuration = msgspec.structs.replace(configuration, arch=run.config.arch)
    check_same(run.config, configuration, str(folder))
    kept = images_of_folder(folder / OWN_DATA) if isinstance(given, GivenImages) else None
    if isinstance(given, GivenImages) and kept is not None and not given.is_same(kept):
        raise ModpmError(
            "the images are not those that the run was given",
            code="data-changed",
            where=run.source,
            hint="resume it with those that it keeps: data=" + repr(run.source),
        )
    return run


def _started(
    folder: Path,
    asked: _Asked,
    accelerator: Any,  # noqa: ANN401 -- as above
    report: Callable[[str], None],
) -> Run:
    check_free(folder)
    configuration, given = asked.configuration, asked.given
    data = load_data(
        given if isinstance(given, GivenImages) else configuration.data,
        "train",
        skip_bad=configuration.skip_bad,
        image_size=configuration.image_size,
    )
    # Its class modules need names, for which training would be too late to ask.
    module_names(default_namespace(configuration.data), data.classes)
    if configuration.arch == AUTO:
        arch = default_architecture(data.image_shape, len(data.classes))
        configuration = msgspec.structs.replace(configuration, arch=arch)
    training, validation = carve_validation(data, configuration.val_fraction, configuration.seed)
    heads: list[str] = []
    configuration, notes = _with_own_weights(configuration, asked.as_trained, data, heads.append)
    contract = _input_contract(training, configuration, notes.append)
    find_open_set(configuration.open_set).check_input(contract)
    network = starting_network(configuration, len(data.classes), contract, heads.append, asked.live)
    for sentence in (*tell(data), *notes, *heads) if accelerator.is_main_process else ():
        report(sentence)
    record = RunRecord(
        configuration=configuration,
        classes=list(data.classes),
        input=contract,
        fingerprint=data.fingerprint,
        n_training=len(training),
        n_validation=len(validation),
        n_skipped=data.n_skipped,
        n_processes=accelerator.num_processes,
        versions=versions_here(),
        frozen=sorted(frozen_parameters(network)),
        has_new_head=bool(heads),
    )
    run = Run(folder, record, (training, validation))
    begin(run, network, accelerator, given if isinstance(given, GivenImages) else None)
    return run


def _with_own_weights(
    configuration: TrainingConfiguration,
    as_trained: _AsTrained,
    data: ImageData,
    on_new_head: Callable[[str], None],
) -> tuple[TrainingConfiguration, list[str]]:
    """Say in a configuration whether the factory of a network loads trained weights."""
    arch = configuration.arch
    if not is_factory(arch) or configuration.init is not None:
        return configuration, []
    make = partial(
        create,
        arch,
        len(data.classes),
        data.image_shape[0],
        configuration.width,
        pretrained=configuration.pretrained,
    )
    drawn, trained = drawn_beside_loaded(make), as_trained(configuration)
    if drawn is None or not trained.pretrained:
        return configuration, []
    if drawn:
        on_new_head(f"{arch}: {', '.join(sorted(drawn))} are new, beside its trained weights")
    return trained, [f"{arch} loads trained weights of its own"]


def _input_contract(
    training: ImageData, configuration: TrainingConfiguration, report: Callable[[str], None]
) -> InputContract:
    """Return what an image must be: as the user says, as trained weights do, or as the data is."""
    channels, height, width = training.image_shape
    mean, std = configuration.mean, configuration.std
    if configuration.pretrained and (mean is None or std is None):
        own = own_normalization(configuration.arch, channels)
        if own is not None:
            mean, std = mean or own.mean, std or own.std
            report(
                f"images are normalized as those of the weights of {configuration.arch} were: "
                f"mean {_listed(mean)}, std {_listed(std)}"
            )
    if mean is None or std is None:
        found = default_statistics(training)
        mean, std = mean or found[0], std or found[1]
    check_statistics(mean, std, {channels})
    return InputContract(channels=channels, height=height, width=width, mean=mean, std=std)  # type: ignore[arg-type]  # data has 1 or 3 channels


def _listed(numbers: Sequence[float]) -> str:
    return ",".join(f"{number:g}" for number in numbers)
