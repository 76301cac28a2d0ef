"""Patching one class of an ordinary network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.classifiers.classifier import Classifier
from modpm.core.composition.replacing import check_budget, find_label
from modpm.core.data import load_data
from modpm.core.origins.origin import OriginNetwork
from modpm.core.origins.patching import as_scored, labels_of, patch_network
from modpm.core.origins.trained_network import Particulars, is_run, trained_network
from modpm.core.training.device import AUTO, choose_device
from modpm.core.training.run import Run
from modpm.verbs.loading import load
from modpm.verbs.replacing import Replacement, calibrated, compare

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from modpm.core.origins.trained_network import TrainedNetwork


def patch(
    network: Run | nn.Module | Path | str,
    label: str,
    module: str | os.PathLike[str] | ClassModule,
    *,
    data: str | None = None,
    split: str = "test",
    budget: float = 0.5,
    calibrate: str | None = None,
    calibrate_split: str = "train",
    mapping: Mapping[str, str] | None = None,
    arch: str | None = None,
    width: float = 1.0,
    classes: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: int | Sequence[int] | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
    skip_bad: bool = False,
    device: str = AUTO,
    project: str | os.PathLike[str] = ".",
    report: Callable[[str], None] = lambda _sentence: None,
) -> Replacement:
    """Let a class module score one class of an ordinary network, without training.

    The network becomes a classifier of its other classes and the module. Its logits become
    log-odds by one slope and one intercept, fitted on held-out training images.

    Args:
        network: A run, or its folder; a file of weights; or the network itself.
        label: The class, as the data names it.
        module: An installed name, the folder of a distribution, or a loaded class module.
        data: What the network was trained on, and the change is measured on; of a run, its own
            data where this is None.
        split: Which images of it the change is measured on.
        budget: How many points of recall each class may lose on them.
        calibrate: As for `replace`; of images that the network was not trained with.
        calibrate_split: Which images of it.
        mapping: Label to the class of the data that it meets, where their names differ.
        arch: Of weights: what they are of, as `train` takes it.
        width: Of weights: the factor on the channels of every layer.
        classes: Of weights: the classes in the order of the outputs; None for that of the data.
        mean: Of weights: what images were normalized by, per channel.
        std: Of weights: the standard deviation, per channel.
        image_size: Of weights: height and width of images; None for those of most images.
        val_fraction: Of weights: the share of the training images that log-odds are fitted on.
        seed: Of weights: what these are drawn with.
        skip_bad: Leave out images that cannot be decoded.
        device: Where networks run.
        project: A folder in the project that has the module installed.
        report: Is told what was done to the images, in sentences.

    Raises:
        ModpmError: `unknown-label`; `budget-not-met`; what opening the
            network, `load`, `evaluate` and, of `calibrate`, `linear_layer.calibrate` raise.
    """
    check_budget(budget)
    where = choose_device(device)
    said = Particulars(
        data=data,
        arch=arch,
        width=width,
        classes=classes,
        mean=mean,
        std=std,
        image_size=image_size,
        val_fraction=val_fraction,
        seed=seed,
        skip_bad=skip_bad,
    )
    if is_run(network):  # it knows its own; `data` says what the change is measured on
        said = said._replace(data=None, skip_bad=False)
    trained = trained_network(network, said)
    origin = OriginNetwork(trained, where, measures_test=False)
    labels = labels_of(origin)
    target = find_label(label, labels)
    new = module if isinstance(module, ClassModule) else load(module, project)
    after, judged = patch_network(origin, target, new), None
    if calibrate is not None:
        if found := _known_images(trained, calibrate, calibrate_split):
            report(found)
        after, judged = calibrated(
            after.to(where), calibrate, calibrate_split, mapping, skip_bad=skip_bad, report=report
        )
    comparison = compare(
        Classifier([as_scored(origin, labels)]).to(where),
        after.to(where),
        target,
        data=data or _own_data(trained),
        split=split,
        mapping=mapping,
        skip_bad=skip_bad,
        report=report,
    )
    comparison.check(budget)
    return Replacement(after.to("cpu"), target, comparison, judged)


def _known_images(trained: TrainedNetwork, data: str, split: str) -> str | None:
    """Say how many images a run was trained with, of those that it is not to know, if any."""
    run = trained.images
    if not isinstance(run, Run):
        return None
    size = (trained.contract.height, trained.contract.width)
    images = load_data(data, split, image_size=size, channels=trained.contract.channels)
    n_known = run.n_trained_on(images)
    if not n_known:
        return None
    return (
        f"the network was trained with {n_known:,} of the {len(images):,} images that calibrate: "
        "it is surer of these than of others"
    )


def _own_data(trained: TrainedNetwork) -> str:
    """Return what a network was trained on."""
    return trained.images.source if isinstance(trained.images, Run) else trained.data_set
