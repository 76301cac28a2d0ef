"""Patching one class of an ordinary network."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.classifiers.classifier import Classifier
from modpm.core.composition.replacing import check_budget, find_label
from modpm.core.data import load_data
from modpm.core.data.naming import module_names
from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import write_distribution
from modpm.core.formats.names import ModuleName
from modpm.core.formats.release_terms import (
    FIRST_VERSION,
    UNSTATED_LICENSE,
    checked_license,
    checked_version,
)
from modpm.core.modularizing.description import (
    Describer,
    ReleaseDetails,
    files_of,
    shared_tensors,
)
from modpm.core.modularizing.fitting import findings_of, fit_networks, measure_networks
from modpm.core.modularizing.modularize import checked_output
from modpm.core.origins.origin import OriginNetwork
from modpm.core.origins.patching import as_scored, labels_of, patch_modules, patch_network
from modpm.core.origins.trained_network import Particulars, is_run, trained_network
from modpm.core.system.whole_files import whole_tree
from modpm.core.training.device import AUTO, choose_device
from modpm.core.training.evidence import Cutoff
from modpm.core.training.run import Run
from modpm.verbs.loading import installed_module, load
from modpm.verbs.packing import pack_of
from modpm.verbs.replacing import Publishable, Replacement, calibrated, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn

    from modpm.core.formats.distribution import Distribution
    from modpm.core.origins.trained_network import TrainedNetwork

WHOLE_CALIBRATION = "platt"
"""How a whole network's scores are made: of the logit alone, for it has no better features."""


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
    dist: str | os.PathLike[str] | None = None,
    name: str | None = None,
    version: str = FIRST_VERSION,
    license: str = UNSTATED_LICENSE,
    authors: Sequence[str] = (),
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
        dist: A folder for what is published, to be made: the composition, and a class module for
            each other class of the network, which keeps all of its kernels. Fused, these are the
            network. It needs a name and a license.
        name: What the composition is called (`acme/patched`); the class modules get its namespace.
        version: Of these releases.
        license: An SPDX license expression, of all of them.
        authors: Who made them.
        device: Where networks run.
        project: A folder in the project that has the module installed.
        report: Is told what was done to the images, in sentences.

    Raises:
        ModpmError: `unknown-label`; `budget-not-met`; `usage`, `same-name`, `folder-exists` and
            what else releases may not be called; what opening the
            network, `load`, `evaluate` and, of `calibrate`, `linear_layer.calibrate` raise.
    """
    check_budget(budget)
    terms = _terms(dist, name, version, license, authors)
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
    origin = OriginNetwork(trained, where, measures_test=terms is not None)
    labels = labels_of(origin)
    target = find_label(label, labels)
    new = module if isinstance(module, ClassModule) else load(module, project)

    def judged(after: Classifier) -> Replacement:
        fitted = None
        if calibrate is not None:
            if found := _known_images(trained, calibrate, calibrate_split):
                report(found)
            images = calibrate, calibrate_split, mapping
            after, fitted = calibrated(after.to(where), *images, skip_bad=skip_bad, report=report)
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
        return Replacement(after.to("cpu"), target, comparison, fitted)

    if terms is None:
        return judged(patch_network(origin, target, new))
    with whole_tree(terms.folder) as folder:
        members = _members(origin, labels.index(target), new, terms, folder)
        made = judged(patch_modules(members, labels, labels.index(target)))
        pack_of(made.classifier, members, folder / terms.name.name, terms.of_composition())
    installed = None if isinstance(module, ClassModule) else installed_module(module, project)
    whence = module if installed is None else installed.registry
    if isinstance(whence, ClassModule):
        whence = whence.manifest.name
    publishable = Publishable(
        terms.folder, str(terms.name), os.fspath(whence), is_published=installed is not None
    )
    return replace(made, publishable=publishable)


class _Terms(NamedTuple):
    """What the maker of the releases says of them."""

    folder: Path
    name: ModuleName
    version: str
    license: str
    authors: tuple[str, ...]

    def of_composition(self) -> dict[str, Any]:
        """Return the fields of its manifest."""
        return {
            "name": str(self.name),
            "version": self.version,
            "license": self.license,
            "authors": list(self.authors),
        }


def _terms(
    dist: str | os.PathLike[str] | None,
    name: str | None,
    version: str,
    license: str,
    authors: Sequence[str],
) -> _Terms | None:
    """Return what is said of releases, where some are made.

    Raises:
        ModpmError: Something lacks, or there is nothing to say it of (`usage`); `invalid-name`,
            `invalid-version`, `invalid-license`, `folder-exists`.
    """
    if dist is None:
        if (name, version, license, *authors) != (None, FIRST_VERSION, UNSTATED_LICENSE):
            raise _bad_terms(
                "`--name`, `--version`, `--license` and `--author` are of releases, and none is "
                "made"
            )
        return None
    if name is None or license == UNSTATED_LICENSE:
        raise _bad_terms("releases need a name and a license")
    return _Terms(
        checked_output(Path(dist).expanduser()),
        ModuleName.parse(name),
        checked_version(version),
        checked_license(license),
        tuple(authors),
    )


def _bad_terms(what: str) -> ModpmError:
    return ModpmError(
        what,
        code="usage",
        hint="give all of `--dist DIST --name NAMESPACE/NAME --license SPDX`, or none",
        exit_code=2,
    )


def _members(
    origin: OriginNetwork, place: int, new: ClassModule, terms: _Terms, folder: Path
) -> list[ClassModule]:
    """Write a class module for each other class of a network, and return one for each class.

    Raises:
        ModpmError: One of them would be called as the composition, or the new one is
            (`same-name`); what `module_names` raises.
    """
    names = module_names(terms.name.namespace, origin.classes)
    others = [i for i in range(len(names)) if i != place]
    taken = [*(str(names[i]) for i in others), new.manifest.name]
    if len({*taken, str(terms.name)}) <= len(taken):
        twice = str(terms.name) if str(terms.name) in taken else new.manifest.name
        raise ModpmError(
            f"two releases would be called `{twice}`",
            code="same-name",
            why=f"there are {', '.join([*taken, str(terms.name)])}",
            hint="give `--name` another namespace, or another name",
        )
    details = ReleaseDetails(tuple(names), terms.version, terms.license, terms.authors)
    written = _write_whole(origin, details, others, folder)
    made = [ClassModule.from_folder(one.folder, one.digest) for one in written]
    return [*made[:place], new, *made[place:]]


def _write_whole(
    origin: OriginNetwork, details: ReleaseDetails, classes: Sequence[int], folder: Path
) -> list[Distribution]:
    """Write class modules that keep all of their network: fused they are the network again.

    What unusual images lose (M-30) is left out: the network as it was takes nothing off.
    """
    networks = fit_networks(origin, {}, WHOLE_CALIBRATION, _say_nothing, has_penalty=False)
    measured = measure_networks(origin, networks, _say_nothing)
    describer = Describer(origin, details, origin.test_accuracy)
    found = findings_of(describer, networks, measured)
    shared = shared_tensors([networks[i].stored for i in classes])
    written = []
    for i in classes:
        manifest = describer.manifest(networks[i], Cutoff(retention=1.0), found[i])
        files = files_of(networks[i].stored, manifest, shared)
        written.append(write_distribution(folder / details.names[i].name, manifest, files))
    return written


def _say_nothing(_done: int, _of: int) -> None:
    pass


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
