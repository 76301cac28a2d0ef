"""Everything a training run is told."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from modpm.core.data.strong_augmenting import KINDS
from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_file
from modpm.core.formats.records import Record
from modpm.core.training.open_set import OPEN_SETS

AUTO = "auto"
PRECISIONS = (AUTO, "float32", "bfloat16")
DEFAULT_RETENTION = 0.32


class TrainingConfiguration(Record, frozen=True, kw_only=True):
    """The settings of a run; two runs of equal settings on equal data give equal bytes.

    Attributes:
        data: A data set as `load_data` takes it; a path is absolute, but for `./data`, which is in
            the run's folder.
        arch, width: The architecture, `auto` until the images are known, and the factor on its
            channels; of a network in memory the name of its class, which makes none.
        init: The file that the weights start from, and its digest.
        init_digest: Names the bytes of `init`.
        pretrained: Whether the architecture brings trained weights of its own.
        epochs, lr, batch_size: Passes over the training data, peak learning rate, images a step.
        seed: Of the weights, the order of images, their augmentation and the validation split.
        val_fraction: Share of the training data that is held out for validation.
        method: The method of training, and what it was told.
        settings: The method's own settings, all of them.
        precision: `float32`, or `bfloat16` for convolutions and products; `auto` until the
            device is known.
        deterministic: Equal bytes on an accelerator, too, where they cost time.
        retention: Kernel retention rate of the modules that the method prepares.
        skip_bad: Images that cannot be decoded are left out.
        mean, std: Normalization of the images, where it is not that of the data.
        image_size: Height and width that images are brought to; None for those of most images.
        augment: Kinds of augmentation, besides the cut and the mirror.
        flip: Whether images may be mirrored, where that leaves them their class.
        balance: Images are drawn so that each class comes equally often.
        label_smoothing: Share of the target that all classes share.
        open_set: What else the network is trained for, to tell unknown images.
        keep_best: The network is that of the epoch that was best on held-out images.
        patience: Epochs without a better one after which training ends; None for all epochs.
    """

    data: str
    arch: str
    width: float = 1.0
    init: str | None = None
    init_digest: str | None = None
    pretrained: bool = False
    epochs: int
    lr: float
    batch_size: int
    seed: int
    val_fraction: float
    method: str
    settings: dict[str, float]
    precision: str
    deterministic: bool = False
    retention: float = DEFAULT_RETENTION
    skip_bad: bool
    mean: list[float] | None = None
    std: list[float] | None = None
    image_size: list[int] | None = None
    augment: list[str] = msgspec.field(default_factory=list)
    flip: bool = True
    balance: bool = False
    label_smoothing: float = 0.0
    open_set: str | None = None
    keep_best: bool = False
    patience: int | None = None

    @property
    def is_trained(self) -> bool:
        """Whether the network starts from weights that were trained."""
        return self.init is not None or self.pretrained


def check_configuration(configuration: TrainingConfiguration) -> None:
    """Check the ranges of all settings.

    Raises:
        ModpmError: One is out of range (`bad-setting`).
    """
    for name in _RANGES:
        check_setting(name, getattr(configuration, name))
    if configuration.pretrained and configuration.init is not None:
        raise ModpmError(
            "a run cannot start from two kinds of weights",
            code="bad-setting",
            why="both --init and --pretrained are given",
            exit_code=2,
        )


def check_setting(name: str, value: object) -> None:
    """Check the range of one setting of `TrainingConfiguration`.

    Raises:
        ModpmError: It is out of range (`bad-setting`).
    """
    is_allowed, expected = _RANGES[name]
    if not is_allowed(value):
        raise ModpmError(
            f"{name.replace('_', ' ')} {value!r} is not possible",
            code="bad-setting",
            why=f"it must be {expected}",
            exit_code=2,
        )


def complete_settings(
    method: str, known: Mapping[str, float], given: Mapping[str, float]
) -> dict[str, float]:
    """Return all settings of a method.

    Args:
        method: Its name.
        known: Its settings and their defaults.
        given: What a user has set.

    Raises:
        ModpmError: It has no such setting, or a number is out of range (`bad-setting`).
    """
    for name, value in given.items():
        if name not in known:
            raise ModpmError(
                f"the method `{method}` has no setting `{name}`",
                code="bad-setting",
                why=f"it has {', '.join(known) or 'none'}",
                exit_code=2,
            )
        if not (math.isfinite(value) and value >= 0):
            raise ModpmError(
                f"{name} {value!r} is not possible",
                code="bad-setting",
                why="it must be 0 or more",
                exit_code=2,
            )
    return {**known, **given}


def _is_finite_and(test: Callable[[float], bool]) -> Callable[[float], bool]:
    return lambda value: math.isfinite(value) and test(value)


_RANGES: dict[str, tuple[Callable[..., bool], str]] = {
    "epochs": (lambda n: n >= 1, "1 or more"),
    "lr": (_is_finite_and(lambda x: x > 0), "above 0"),
    "batch_size": (lambda n: n >= 2, "2 or more"),  # noqa: PLR2004 - a pair needs two
    "seed": (lambda n: 0 <= n < 2**32, "from 0 to 4294967295"),
    "val_fraction": (lambda x: 0 < x < 1, "above 0 and below 1"),
    "retention": (lambda x: 0 < x <= 1, "above 0 and at most 1"),
    "image_size": (lambda x: x is None or (len(x) == 2 and min(x) > 0), "height and width"),  # noqa: PLR2004 -- these two
    "augment": (lambda kinds: set(kinds) <= set(KINDS), f"of {', '.join(KINDS)}"),
    "label_smoothing": (_is_finite_and(lambda x: 0 <= x < 1), "from 0 to below 1"),
    "open_set": (lambda x: x is None or x in OPEN_SETS, " or ".join(OPEN_SETS)),
    "patience": (lambda n: n is None or n >= 1, "1 or more"),
    "precision": (PRECISIONS.__contains__, " or ".join(PRECISIONS)),
}


def digest_of_init(init: Path | str | None) -> str | None:
    """Return the digest of the file that the weights start from, where it is a file."""
    return digest_file(Path(init)) if init is not None and Path(init).is_file() else None


def check_same(running: TrainingConfiguration, asked: TrainingConfiguration, where: str) -> None:
    """Check that a run is resumed with the settings it was started with.

    Raises:
        ModpmError: They differ; it names each setting (`settings-differ`).
    """
    before, now = msgspec.to_builtins(running), msgspec.to_builtins(asked)
    differing = [
        f"{name} was {before[name]!r}, now {now[name]!r}"
        for name in sorted(before)
        if before[name] != now.get(name)
    ]
    if differing:
        raise ModpmError(
            "a run can be resumed only with the settings it was started with",
            code="settings-differ",
            where=where,
            why="; ".join(differing),
            hint="take those settings, or start a new run in another folder",
        )
