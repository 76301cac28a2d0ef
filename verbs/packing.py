"""Packing: a composed classifier becomes a distribution, to be published as any other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from modpm.core.classifiers.classifier import Classifier
from modpm.core.classifiers.saving import CONFIG_FILE, TENSOR_FILE, encode_classifier
from modpm.core.composition.compose import rebuild, record_of
from modpm.core.composition.tuned_weights import own_weights
from modpm.core.errors import ModpmError
from modpm.core.formats.card import render_card
from modpm.core.formats.composition_manifest import CompositionManifest, requires_of
from modpm.core.formats.distribution import write_distribution
from modpm.core.formats.manifest import CARD_FILE, LICENSE_FILE
from modpm.core.formats.names import ModuleName
from modpm.core.formats.release_files import WEIGHTS_FILE
from modpm.core.formats.release_terms import (
    FIRST_VERSION,
    UNSTATED_LICENSE,
    checked_license,
    checked_summary,
    checked_version,
    license_text,
)
from modpm.core.reports.thumbnail import with_picture
from modpm.core.tensors import encode_tensors
from modpm.registry.installing.installed import installed
from modpm.verbs.loading import load_members

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from modpm.core.classifiers.class_module import ClassModule
    from modpm.core.formats.composition_manifest import ComposedModule
    from modpm.core.formats.distribution import Distribution


def pack(
    classifier: str | os.PathLike[str] | Classifier,
    name: str,
    output: str | os.PathLike[str],
    version: str = FIRST_VERSION,
    *,
    license: str = UNSTATED_LICENSE,
    summary: str = "",
    authors: Sequence[str] = (),
    project: str | os.PathLike[str] = ".",
) -> Distribution:
    """Make a distribution of a classifier: a composition, which requires its class modules.

    It holds no weights but of a classifier that was trained once it was composed. Whoever installs
    it gets the same releases of the class modules, and `compose` makes the same classifier of them:
    that is tried before anything is written. The same classifier and the same words give the same
    bytes.

    Args:
        classifier: The folder of a composed classifier, or the classifier itself.
        name: What the composition is called (`acme/pets`).
        output: The folder for the distribution. If the same one is there, nothing is written.
        version: Version of the release.
        license: An SPDX license expression, of the composition; its class modules keep theirs.
        summary: One line for people.
        authors: Who made it.
        project: A folder in the project that has the class modules installed.

    Raises:
        ModpmError: `invalid-name`, `invalid-version`, `invalid-license` or `bad-setting`; what
            `Classifier.from_folder` raises; `not-composed`; `not-released`, if a class module is
            not a release that is installed in the project; `classifier-differs`, if composing its
            modules again gives another classifier; `distribution-exists`.
    """
    terms: dict[str, Any] = {
        "name": str(ModuleName.parse(name)),
        "version": checked_version(version),
        "license": checked_license(license),
        "summary": checked_summary(summary),
        "authors": list(authors),
    }
    opened = _opened(classifier)
    modules = record_of(opened).modules
    _check_released(modules, project)
    return pack_of(opened, load_members(modules, project, terms["name"]), Path(output), terms)


def pack_of(
    packed: Classifier, members: Sequence[ClassModule], output: Path, terms: dict[str, Any]
) -> Distribution:
    """Make a distribution of a classifier and its class modules, wherever these are.

    Args:
        packed: The classifier.
        members: Its class modules, in its order.
        output: The folder for the distribution.
        terms: What its maker says of it, checked: fields of the manifest.

    Raises:
        ModpmError: `not-composed`, `not-released`, `classifier-differs`, `distribution-exists`.
    """
    record = record_of(packed)
    manifest = CompositionManifest(
        **terms, kind="composition", requires=requires_of(record.modules), composition=record
    )
    weights = own_weights(packed) if record.trainings else None
    _check_same(packed, rebuild(record, members, weights))
    manifest, picture = with_picture(manifest)
    files = {} if weights is None else {WEIGHTS_FILE: encode_tensors(weights)}
    files |= {
        CARD_FILE: render_card(manifest).encode(),
        LICENSE_FILE: license_text(manifest.license, manifest.authors).encode(),
        **picture,
    }
    return write_distribution(output, manifest, files)


def _opened(classifier: str | os.PathLike[str] | Classifier) -> Classifier:
    if isinstance(classifier, Classifier):
        return classifier
    return Classifier.from_folder(Path(classifier).expanduser())


def _check_released(modules: Sequence[ComposedModule], project: str | os.PathLike[str]) -> None:
    lines = list(_unreleased(modules, project))
    if lines:
        raise ModpmError(
            "a composition is made of releases of a registry, and this classifier is not",
            code="not-released",
            where=str(Path(project).absolute()),
            why="\n".join(lines),
            hint="publish its class modules, `modpm install` them, and compose it of what is "
            "installed; or name the project that has them by `--project`",
        )


def _unreleased(
    modules: Sequence[ComposedModule], project: str | os.PathLike[str]
) -> Iterator[str]:
    """Give which modules are no releases that a project has: those come from registries alone."""
    present = {str(module.name): module for module in installed(project)}
    for one in modules:
        found = present.get(one.name)
        if found is None:
            yield f"{one.name} {one.version}: is not installed here"
        elif found.version != one.version:
            yield f"{one.name} {one.version}: {found.version} is installed here"
        elif found.digest != one.digest:
            yield f"{one.name} {one.version}: the release that is installed here has other bytes"


def _check_same(packed: Classifier, again: Classifier) -> None:
    ours, theirs = encode_classifier(packed), encode_classifier(again)
    differing = [name for name in (CONFIG_FILE, TENSOR_FILE) if ours[name] != theirs[name]]
    if differing:
        raise ModpmError(
            "the classifier is not what its class modules give",
            code="classifier-differs",
            why=f"composing them again gives another {' and '.join(differing)}",
            hint="compose it again, with this version of modpm",
        )
