"""`modpm info`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from msgspec import UnsetType

from modpm.cli.completion import known_names
from modpm.cli.costs import together_data, together_lines
from modpm.cli.folding import terminal_width, titled
from modpm.cli.latency import latency_data, latency_in_words
from modpm.cli.module_table import print_rows, size_in_words
from modpm.cli.options import (
    asked_registry_option,
    json_option,
    offline_option,
    project_option,
)
from modpm.cli.output import counted, emit, say, show, warn, warn_of
from modpm.core.errors import ModpmError
from modpm.core.estimating.together import Member, cost_together
from modpm.core.formats.manifest import Manifest, Variant
from modpm.core.formats.records import to_plain
from modpm.core.shown_text import Percent, rejection_in_words
from modpm.registry.discovery.information import info, members

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modpm.cli.latency import KnownLatency
    from modpm.cli.module_table import Row
    from modpm.core.estimating.together import Together
    from modpm.core.formats.composition_manifest import (
        AnyManifest,
        CompositionManifest,
        FineTuning,
    )
    from modpm.core.formats.manifest import ClassMetrics, InputContract
    from modpm.core.formats.measurement import Measurement
    from modpm.registry.discovery.information import Information


_SHOWN_DIGITS = 12


@click.command(
    "info",
    epilog='Example: modpm info cifar10/cat; modpm info "cifar10/cat==1.0.0"; '
    'modpm info "cifar10/*"',
)
@click.argument("names", shell_complete=known_names, nargs=-1, required=True, metavar="NAME...")
@asked_registry_option
@offline_option
@project_option
@click.option(
    "--latency",
    is_flag=True,
    help="Estimate how long an image takes on this machine, which is measured at first use.",
)
@json_option
def command(
    *,
    names: tuple[str, ...],
    registry: tuple[str, ...],
    offline: bool,
    project: str,
    latency: bool,
    as_json: bool,
) -> None:
    """Show what a class module or a composition recognizes, and how well.

    NAME is a module or a composition, or that and its version (cifar10/cat==1.0.0). Shows the
    installed release, or else the one that would be installed. Or it is the folder of a
    distribution (./dist/cat), of which every byte is checked.

    Of several names, of a namespace (cifar10/*) and of a composition it also shows what the
    modules cost together: one by one, with what they share counted once, and the networks that
    they were cut from. Bytes are those of all files, and of an origin its tensors.

    The latency is estimated without the module itself, by the shapes of its layers and by what
    `modpm benchmark --machine` measured; what `modpm benchmark NAME` measured goes before it.
    """
    several = info(names, project, registry, offline=offline)
    for one in several:
        if one.problem is not None:
            warn_of(one.problem)
    known = [_latency(one.manifest) if latency else None for one in several]
    together = _together(several, project, registry, offline=offline)
    is_list = len(names) > 1 or "/*" in names[0]
    if as_json:
        data = [
            _data(one) | ({"latency": latency_data(its)} if latency else {})
            for one, its in zip(several, known, strict=True)
        ]
        emit({**({"modules": data} if is_list else data[0]), "together": together_data(together)})
        return
    if is_list:
        print_rows([_row(one, its) for one, its in zip(several, known, strict=True)])
    else:
        _show_one(several[0], known[0], latency=latency)
    for line in together_lines(together):
        show(line)
    for one in several:
        if one.yanked is not None:
            which = f"{one.manifest.name} {one.manifest.version}" if is_list else "this release"
            warn(f"{which} is yanked: {one.yanked}")


def _show_one(information: Information, known: KnownLatency | None, *, latency: bool) -> None:
    show(f"{information.manifest.name} {information.manifest.version}")
    lines = list(_lines(information))
    if latency:
        lines.append(("latency", _latency_in_words(information.manifest, known)))
    for line in titled(lines, terminal_width()):
        show(line)


def _row(information: Information, known: KnownLatency | None) -> Row:
    manifest = information.manifest
    measured = manifest.metrics if isinstance(manifest, Manifest) else ()
    whole = () if isinstance(manifest, Manifest) else manifest.composition.measured
    row: Row = {
        "name": manifest.name,
        "version": manifest.version,
        "size": size_in_words(information.size_bytes),
        "precision": min((Percent(one.precision) for one in measured), default=None),
        "recall": min((Percent(one.recall) for one in measured), default=None),
        "accuracy": min((Percent(one.accuracy) for one in whole), default=None),
        "there": "yes" if information.path is not None else "no",
    }
    times = {} if known is None else {one.batch_size: 1000 * one.seconds for one in known[0]}
    return row | {f"ms at {size}": f"{times[size]:.3g}" for size in times}


def _together(
    several: Sequence[Information], project: str, registry: tuple[str, ...], *, offline: bool
) -> Together | None:
    """Count what class modules cost together; what hinders that is told, and keeps nothing back."""
    found: dict[str, Information] = {}
    try:
        for one in several:
            modules = members(one, project, registry, offline=offline)
            found |= {module.digest: module for module in modules}
        return cost_together(
            [
                Member(one.manifest, one.files)
                for one in found.values()
                if isinstance(one.manifest, Manifest)
            ]
        )
    except ModpmError as error:
        warn_of(error)
        return None


def _latency(manifest: AnyManifest) -> KnownLatency | None:
    """Estimate what a class module takes; a composition has no network before it is composed."""
    from modpm.core.system.memory import keep_freed_memory  # noqa: PLC0415 -- as below
    from modpm.verbs.estimating import estimate_latency  # noqa: PLC0415 -- only `--latency` needs it

    keep_freed_memory()  # as commands that run networks do, where the machine is to be measured
    return estimate_latency(manifest, say) if isinstance(manifest, Manifest) else None


def _latency_in_words(manifest: AnyManifest, known: KnownLatency | None) -> str:
    if known is None:
        return f"known once it is composed (`modpm compose {manifest.name} --dry-run`)"
    return latency_in_words(known)


def _data(information: Information) -> dict[str, object]:
    return {
        "name": information.manifest.name,
        "version": information.manifest.version,
        "digest": information.digest,
        "size_bytes": information.size_bytes,
        "registry": information.registry,
        "path": None if information.path is None else str(information.path),
        "yanked": information.yanked,
        "signer": information.signer,
        "manifest": to_plain(information.manifest),
    }


def _lines(information: Information) -> Iterator[tuple[str, str]]:
    manifest = information.manifest
    if isinstance(manifest, Manifest):
        yield from _module_lines(manifest, information.size_bytes)
    else:
        yield from _composition_lines(manifest)
    yield "license", manifest.license
    if manifest.authors:
        yield "authors", ", ".join(manifest.authors)
    if manifest.requires and isinstance(manifest, Manifest):
        yield "requires", ", ".join(manifest.requires)
    yield "digest", information.digest
    yield "signed with", information.signer or "no key"
    if information.registry is None:
        yield "folder", str(information.path)
        return
    yield "registry", information.registry
    yield "installed", "no" if information.path is None else str(information.path)


def _module_lines(manifest: Manifest, size_bytes: int) -> Iterator[tuple[str, str]]:
    yield "recognizes", manifest.label
    if manifest.summary:
        yield "summary", manifest.summary
    yield "input", _input_in_words(manifest.input)
    yield "score", _score_in_words(manifest)
    for metrics in manifest.metrics:
        yield f"on {metrics.split}", _metrics_in_words(metrics)
    yield "size", _size_in_words(manifest, size_bytes)
    if isinstance(manifest.variant, Variant):
        yield "variant", f"{manifest.variant.kind} of {manifest.variant.name}"
    yield "cut from", _origin_in_words(manifest)
    yield "trained on", manifest.provenance.data_set


def _composition_lines(manifest: CompositionManifest) -> Iterator[tuple[str, str]]:
    record = manifest.composition
    yield "composes", f"{counted(len(record.modules), 'class module')}, {record.strategy}"
    for module in record.modules:
        digits = module.digest.partition(":")[2][:_SHOWN_DIGITS]
        yield "", f"{module.label}: {module.name} {module.version} ({digits})"
    if manifest.summary:
        yield "summary", manifest.summary
    for training in record.trainings:
        yield "trained on", _training_in_words(training)
    if record.reject is not None:
        share = record.false_rejections
        shown = None if isinstance(share, UnsetType) else share
        yield "rejects", rejection_in_words(record.reject, shown)
    for one in record.measured:
        yield f"on {one.split}", _measured_in_words(one)
    yield (
        "size",
        (
            f"{size_in_words(record.size_bytes)} of tensors once composed, "
            f"{record.n_parameters:,} parameters, {record.macs:,} multiply-accumulates an image "
            f"(its modules' origins: {record.origin_macs:,})"
        ),
    )


def _training_in_words(one: FineTuning) -> str:
    accuracy = f"{Percent(one.accuracy_before)} to {Percent(one.accuracy_after)}"
    return (
        f"{one.data_set}, once it was composed ({one.n:,} images, epoch {one.epoch} of "
        f"{one.epochs}; accuracy {accuracy} of {one.n_held_out:,} held-out images)"
    )


def _measured_in_words(one: Measurement) -> str:
    of = "" if not one.classes else f" of {counted(len(one.classes), 'class', 'classes')}"
    others = ", some of no label" if one.open_set else ""
    return (
        f"accuracy {Percent(one.accuracy)} on {one.data_set} ({one.n} images{of}{others}; "
        f"{one.n_rejected} none of the above{_known_in_words(one)})"
    )


def _known_in_words(one: Measurement) -> str:
    auroc = "" if isinstance(one.auroc, UnsetType) else f", AUROC {one.auroc:.4f}"
    if isinstance(one.false_rejections, UnsetType):
        return auroc
    return f"{auroc}, false rejections {Percent(one.false_rejections)}"


def _input_in_words(contract: InputContract) -> str:
    color = "gray" if contract.channels == 1 else "RGB"
    mean = ", ".join(f"{value:.4g}" for value in contract.mean)
    std = ", ".join(f"{value:.4g}" for value in contract.std)
    return f"{color} {contract.height} x {contract.width}, mean {mean}, std {std}"


def _score_in_words(manifest: Manifest) -> str:
    calibration = manifest.calibration
    return (
        f"calibrated {manifest.output.kind} ({calibration.kind}, "
        f"fitted on {calibration.n} images of {calibration.split})"
    )


def _metrics_in_words(metrics: ClassMetrics) -> str:
    return (
        f"precision {Percent(metrics.precision)}, recall {Percent(metrics.recall)}, "
        f"average precision {metrics.average_precision:.3f} "
        f"({metrics.n} images, {metrics.n_positive} of the class)"
    )


def _size_in_words(manifest: Manifest, size_bytes: int) -> str:
    return (
        f"{size_in_words(size_bytes)}, {manifest.n_parameters:,} parameters, "
        f"{manifest.macs:,} multiply-accumulates an image, "
        f"{Percent(manifest.kernel_retention_rate)} of the kernels"
    )


def _origin_in_words(manifest: Manifest) -> str:
    origin = manifest.origin
    accuracy = "" if origin.accuracy is None else f", accuracy {Percent(origin.accuracy)}"
    return (
        f"{origin.architecture} of {len(origin.classes)} classes{accuracy}, "
        f"{origin.n_parameters:,} parameters, {origin.digest}"
    )
