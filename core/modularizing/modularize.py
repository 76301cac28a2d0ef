"""`modularize`: a trained network cut into one class module for each of its classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from modpm.core.calibrations import find_calibration
from modpm.core.calibrations.scores import AUTO
from modpm.core.composition.fused import obstacle
from modpm.core.composition.replacing import check_budget
from modpm.core.costs.making import measure_costs
from modpm.core.data import GivenImages, as_data
from modpm.core.data.naming import default_namespace, module_names
from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.distribution import Distribution, write_distribution
from modpm.core.formats.release_terms import (
    FIRST_VERSION,
    UNSTATED_LICENSE,
    checked_license,
    checked_summary,
    checked_version,
)
from modpm.core.modularizing.choice import Choice, Search
from modpm.core.modularizing.description import (
    Describer,
    ReleaseDetails,
    files_of,
    shared_tensors,
)
from modpm.core.modularizing.fitting import (
    compose_all,
    findings_of,
    fit_networks,
    measure_networks,
    modules_of,
)
from modpm.core.modularizing.least_effort import Asked, least_effort
from modpm.core.modularizing.modularization import Modularization, cohesion, coupling, render_report
from modpm.core.modularizing.report import report_page
from modpm.core.origins.becoming_modular import (
    become_modular,
    check_can_be_trained,
    command_to_train,
    run_beside,
)
from modpm.core.origins.origin import TEST, OriginNetwork
from modpm.core.origins.trained_network import Particulars, trained_network
from modpm.core.shown_text import Percent
from modpm.core.system.whole_files import is_free, whole_tree, write_file
from modpm.core.training.device import AUTO as AUTO_DEVICE
from modpm.core.training.device import choose_device, meter_of
from modpm.core.training.effort import AUTO as AUTO_EFFORT
from modpm.core.training.effort import NONE, TRAIN
from modpm.core.training.inference import accuracy
from modpm.core.training.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from torch import nn

    from modpm.core.data import Data
    from modpm.core.formats.manifest import Manifest
    from modpm.core.modularizing.fitting import FittedNetwork
    from modpm.core.origins.trained_network import TrainedNetwork
    from modpm.core.system.energy import Meter
    from modpm.core.training.evidence import Cutoff, Evidence


MEASURED_ON = (TEST, "held-out")
NEARLY_ALL = 0.9
"""Retention rate of a threshold that is of no use."""


@dataclass(frozen=True)
class Request:
    """What modularizing is to do.

    Attributes:
        output: The folder for the distributions.
        cutoff: What says which kernels are retained; None to choose it.
        budget: The most points of accuracy that may be lost, where it is chosen.
        calibration: The name of one, or `auto`.
        measures_test: Whether the test split is read.
        details: What is the same for all releases.
    """

    output: Path
    cutoff: Cutoff | None
    budget: float
    calibration: str
    measures_test: bool
    details: ReleaseDetails


def checked_request(
    trained: TrainedNetwork,
    *,
    output: Path,
    threshold: float | str | None,
    retention: float | None,
    budget: float,
    namespace: str | None,
    version: str,
    license: str,
    authors: Sequence[str],
    summary: str | None,
    calibration: str,
    measure_on: str,
    evidence: Evidence | None,
) -> Request:
    """Return what a user asks for, if it can be done.

    Raises:
        ModpmError: `invalid-threshold`, `bad-setting`, `unknown-calibration`, `invalid-name`,
            `same-name`, `invalid-version`, `invalid-license` or `folder-exists`.
    """
    evidence_type = trained.effort.evidence_type if evidence is None else type(evidence)
    details = ReleaseDetails(
        names=tuple(
            module_names(namespace or default_namespace(trained.data_set), trained.classes)
        ),
        version=checked_version(version),
        license=checked_license(license),
        authors=tuple(authors),
        summary=None if summary is None else checked_summary(summary),
    )
    return Request(
        output=checked_output(output),
        cutoff=_checked_cutoff(evidence_type, threshold, retention, trained.effort.retention),
        budget=check_budget(budget),
        calibration=_checked_calibration(calibration),
        measures_test=_checked(measure_on, MEASURED_ON, "split to measure on") == TEST,
        details=details,
    )


def _checked_cutoff(
    kind: type[Evidence], threshold: float | str | None, retention: float | None, prepared: float
) -> Cutoff | None:
    if threshold == AUTO and retention is None:
        return None
    try:
        number = None if threshold is None else float(threshold)
    except ValueError:
        raise ModpmError(
            f"`{threshold}` is no threshold",
            code="invalid-threshold",
            hint="give a number above 0 and at most 1, or `auto`",
            exit_code=2,
        ) from None
    if number is not None and retention is not None:
        raise ModpmError(
            "a threshold and a retention rate exclude each other",
            code="bad-setting",
            hint="give one of them",
            exit_code=2,
        )
    return kind.cutoff(number, retention, prepared)


def _checked(value: str, allowed: Sequence[str], what: str) -> str:
    if value not in allowed:
        raise ModpmError(
            f"no {what} is called `{value}`",
            code="bad-setting",
            hint=f"take one of {', '.join(allowed)}",
            exit_code=2,
        )
    return value


def _checked_calibration(name: str) -> str:
    if name != AUTO:
        find_calibration(name)
    return name


def checked_output(output: Path) -> Path:
    """Return a folder that distributions may be written to.

    Raises:
        ModpmError: There is something in it (`folder-exists`).
    """
    if not is_free(output):
        raise ModpmError(
            f"`{output.name}` exists",
            code="folder-exists",
            where=str(output),
            hint="choose another folder, or remove this one",
        )
    return output


NEAR = 1 / 4
"""The share of the way from chance to all up to which a network is said to know little."""

SUMMARY_FILE = "modules.json"
REPORT_FILE = "README.md"
COSTS_FILE = "costs.json"
PAGE_FILE = "report.html"

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""


def modularize(
    network: Run | nn.Module | Path | str,
    *,
    data: Data | None = None,
    arch: str | None = None,
    width: float = 1.0,
    classes: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: int | Sequence[int] | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
    skip_bad: bool = False,
    effort: str | None = None,
    epochs: int = 30,
    output: Path | str,
    threshold: float | str | None = None,
    retention: float | None = None,
    budget: float = 1.0,
    namespace: str | None = None,
    version: str = FIRST_VERSION,
    license: str = UNSTATED_LICENSE,
    authors: Sequence[str] = (),
    summary: str | None = None,
    calibration: str = AUTO,
    measure_on: str = TEST,
    device: str = AUTO_DEVICE,
    evidence: Evidence | None = None,
    progress: Progress | None = None,
    report: Callable[[str], None] = lambda _sentence: None,
) -> Modularization:
    """Cut a trained network into class modules, and write a distribution for each.

    The kernels of a class are chosen on the training images, its score is fitted on the held-out
    ones, and what it is worth is measured on the test split once all is decided; where there is
    none, by cross-fitting on the held-out images. The same network gives the same bytes, but for
    what was measured of time and energy, which stands beside the distributions.

    Args:
        network: A finished run, or its folder; a file of ordinary weights, safetensors or of
            `torch.save` with tensors alone; or a network in memory. What follows, up to
            `skip_bad`, is for those that no run has trained.
        data: What it was trained on: `digits`, a folder, or an id of the Hub; or images in memory,
            as `train` takes them.
        arch: What the weights are of: an architecture that is shipped, or
            `package.module:factory`.
        width: The factor on the channels of every layer.
        classes: Names of its classes in the order of its outputs, which are the labels of images
            in memory; by default those of the data in theirs.
        mean: What its images were normalized by, of pixels in [0, 1], per channel.
        std: The same for the standard deviation.
        image_size: Height and width of its images, or one number for both; by default those of
            most images.
        val_fraction: Share of the split `train` that scores are fitted on.
        seed: What these are drawn with.
        skip_bad: Leave out images that cannot be decoded.
        effort: How kernels are found: `none`, in minutes, by how far the logit of a class would
            move without each; `gradient`, by learning a mask for each class, and then factors on
            what its module normalizes, while the weights stay; `train`, by training the weights
            with `views` in a run beside the output, which stays; `auto`, the less of `none` and
            `gradient` that stays within the budget at the retention asked for; where neither
            does, it says by which command to train. By default what the run knows of its kernels,
            and `none` without a run.
        epochs: Passes over the training data, for the effort `train`.
        output: The folder for the distributions; it must not exist, or be empty.
        threshold: Kernel frequency at or above which a class retains a kernel, for a run of
            `mwt` or `moda`, by default 0.9; or, for every run, `auto` for the smallest modules
            whose composition stays within the budget.
        retention: Kernel retention rate up to which each class's ranking is retained; by default
            what the run was trained for, where its kernels are ranked, and not cut by a threshold.
        budget: For `auto`, of thresholds or of efforts: the most points of accuracy that the
            composition of all classes may lose against the modular network on the held-out
            images.
        namespace: What stands before the slash in the modules' names; None for the name of the
            data set.
        version: Of the releases.
        license: An SPDX license expression.
        authors: Who made them.
        summary: One line for people; None for one that names the class.
        calibration: `platt`, `one-vs-rest-head`, or `auto` for the better one of each class; one of
            another package, or `package.module:Class`.
        measure_on: `test`, or `held-out` for the held-out images alone: the test split is not
            read then, which is faster.
        device: Where networks run: `cpu`, `cuda`, `mps`, or `auto` for the accelerator where there
            is one.
        evidence: What says which kernels each class keeps; by default the method of the run.
        progress: Told how far it is.
        report: Is told what was done to the test images, and where a threshold cuts next to
            nothing, in sentences.

    Raises:
        ModpmError: The run is no run, not finished or damaged; its data is gone or
            has changed; a setting is not possible; the folder exists or cannot be written; no
            size is within the budget.
    """
    where = choose_device(device)
    told: list[str] = []

    def say(sentence: str) -> None:
        told.append(sentence)
        report(sentence)

    given = None if data is None else as_data(data, classes, image_size)
    if isinstance(given, GivenImages):
        classes = given.classes
    said = Particulars(
        given, arch, width, classes, mean, std, image_size, val_fraction, seed, skip_bad
    )
    is_trained_first = effort == TRAIN
    if is_trained_first:
        check_can_be_trained(network, said)
    known = {TRAIN: None, AUTO_EFFORT: NONE}
    trained = trained_network(network, said, known.get(effort, effort) if effort else None)
    ask = partial(
        checked_request,
        output=Path(output),
        threshold=threshold,
        retention=retention,
        budget=budget,
        namespace=namespace,
        version=version,
        license=license,
        authors=authors,
        summary=summary,
        calibration=calibration,
        measure_on=measure_on,
        evidence=evidence,
    )
    request, tell = ask(trained), progress or _say_nothing
    if is_trained_first:
        assert isinstance(network, str | Path)
        trained = become_modular(
            network,
            said,
            run_beside(request.output),
            retention=retention,
            epochs=epochs,
            device=device,
            progress=tell,
            report=say,
        )
        request = ask(trained)
    meter, origin = meter_of(where), OriginNetwork(trained, where, request.measures_test)
    for note in () if origin.test is None else origin.test.notes:
        say(note)
    if found := trained_with_test_images(origin):
        say(found)
    if not isinstance(trained.images, Run) and (found := near_chance(origin)):
        say(found)
    choice: Choice | None = None
    if effort == AUTO_EFFORT:
        to_train = command_to_train(network, said, request.output, retention)
        asked = Asked(
            request.cutoff, request.budget, request.calibration, request.details, to_train
        )
        origin, evidence, choice = least_effort(origin, asked, tell, say)
        trained = origin.trained
    work = _Modularizing(origin, request, evidence, tell, meter=meter, told=told)
    made = work.run(choice)
    if found := nearly_whole(made, trained.effort.retention):
        report(found)
    return made


def nearly_whole(made: Modularization, retention: float) -> str | None:
    """Say that a threshold cut next to nothing, and what would, where it is so."""
    if made.cutoff.threshold is None or made.kernel_retention_rate <= NEARLY_ALL:
        return None
    return (
        f"each class retains {Percent(made.kernel_retention_rate)} of the kernels, since nearly "
        f"all are active: `--retention {retention:g}` keeps those that are active most often"
    )


def trained_with_test_images(origin: OriginNetwork) -> str | None:
    """Say how many test images a run was trained with, where there are any."""
    run, test = origin.trained.images, origin.test
    n_known = run.n_trained_on(test) if test is not None and isinstance(run, Run) else None
    if test is None or not n_known:
        return None
    return f"the network was trained with {n_known:,} of the {len(test):,} test images"


def near_chance(origin: OriginNetwork) -> str | None:
    """Say that a network hardly knows its images, where it is so: it may read others than these."""
    found = accuracy(origin.validation_logits, origin.validation.labels)
    chance = 1 / len(origin.classes)
    if found > chance + NEAR * (1 - chance):
        return None
    return (
        f"the network names {Percent(found)} of the held-out images rightly, near the "
        f"{Percent(chance)} of chance: are --mean, --std, --image-size and the order of --classes "
        "those it was trained with?"
    )


def _say_nothing(_what: str, _done: int, _of: int) -> None:
    pass


class _Modularizing:
    """One modularization, step by step."""

    def __init__(
        self,
        origin: OriginNetwork,
        request: Request,
        evidence: Evidence | None,
        progress: Progress,
        *,
        meter: Meter,
        told: Sequence[str],
    ) -> None:
        self._origin = origin
        self._request = request
        self._evidence = evidence
        self._progress = progress
        self._meter = meter
        self._told = told

    def run(self, choice: Choice | None = None) -> Modularization:
        """Choose and cut, unless that is done; measure and write."""
        finding = partial(self._progress, "finding the kernels of classes")
        evidence = self._evidence or self._origin.evidence(finding)
        choice = choice or self._choice(evidence)
        masks, samples = evidence.masks(choice.cutoff), evidence.sample_masks
        made = Modularization(
            folder=self._request.output,
            distributions=(),
            masks=masks,
            cutoff=choice.cutoff,
            cohesion=None if samples is None else cohesion(samples, masks),
            coupling=coupling(masks),
            curve=choice.curve,
        )
        return self._written(made, choice)

    def _choice(self, evidence: Evidence) -> Choice:
        request = self._request
        describer = Describer(self._origin, request.details)
        if request.cutoff is None:
            search = Search(self._origin, evidence, describer, request.calibration, request.budget)
            return search.run(partial(self._progress, "trying sizes"))
        masks = evidence.masks(request.cutoff)
        tell = partial(self._progress, "cutting class modules")
        networks = fit_networks(self._origin, masks, request.calibration, tell)
        modules = modules_of(networks, describer, request.cutoff)
        composed = None
        if obstacle(modules) is None:
            composed, _ = compose_all(self._origin, networks, modules)
        return Choice(request.cutoff, networks, composed)

    def _written(self, made: Modularization, choice: Choice) -> Modularization:
        measured = measure_networks(
            self._origin, choice.networks, partial(self._progress, "measuring class modules")
        )
        describer = Describer(self._origin, self._request.details, self._origin.test_accuracy)
        with whole_tree(made.folder) as folder:
            found = findings_of(describer, choice.networks, measured, choice.composed)
            manifests = [
                describer.manifest(network, choice.cutoff, findings)
                for network, findings in zip(choice.networks, found, strict=True)
            ]
            shared = shared_tensors([network.stored for network in choice.networks])
            write = partial(self._distribution, folder, shared)
            distributions = map(write, choice.networks, manifests)
            made = replace(
                made,
                distributions=tuple(distributions),
                origin_balanced_accuracy=self._origin.balanced_test_accuracy,
            )
            folders = [folder / one.folder.name for one in made.distributions]
            costs = measure_costs(self._origin, self._meter, folders)
            made = replace(made, costs=costs)
            record = made.to_json(relative_to=made.folder)
            write_file(folder / SUMMARY_FILE, canonical_json.encode(record))
            write_file(folder / REPORT_FILE, render_report(made).encode())
            write_file(folder / COSTS_FILE, canonical_json.encode(costs.to_json()))
            page = report_page(made, self._origin, measured, self._told)
            write_file(folder / PAGE_FILE, str(page).encode())
        return made

    def _distribution(
        self,
        folder: Path,
        shared: AbstractSet[str],
        network: FittedNetwork,
        manifest: Manifest,
    ) -> Distribution:
        """Write a distribution to a temporary folder; return it as it will be."""
        name = self._request.details.names[network.class_index].name
        files = files_of(network.stored, manifest, shared)
        written = write_distribution(folder / name, manifest, files)
        return replace(written, folder=self._request.output / name)
