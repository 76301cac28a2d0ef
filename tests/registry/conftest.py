"""A home of its own for every test, and distributions that cost nothing to make."""

from __future__ import annotations

import os
import shutil
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import msgspec
import pytest

from modpm.core.formats.card import render_card
from modpm.core.formats.composition_manifest import (
    ComposedModule,
    ComposedNetwork,
    CompositionManifest,
    CompositionRecord,
    requires_of,
)
from modpm.core.formats.distribution import Distribution, read_distribution, write_distribution
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Put(Protocol):
    """Publishes a release, by default to `registry`, and returns its digest."""

    def __call__(
        self,
        name: str,
        version: str = "1.0.0",
        *,
        requires: Sequence[str] = (),
        recall: float | None = None,
        to: Path | None = None,
    ) -> str: ...


class MakeDistribution(Protocol):
    """Writes a distribution under `folder`, by default a folder of all that a test makes."""

    def __call__(
        self,
        name: str,
        version: str = "1.0.0",
        *,
        summary: str = "",
        requires: Sequence[str] = (),
        folder: Path | None = None,
    ) -> Distribution: ...


class MakeComposition(Protocol):
    """Writes the distribution of a composition of some class modules under the same folder."""

    def __call__(
        self,
        name: str,
        members: Sequence[Distribution],
        version: str = "1.0.0",
        *,
        summary: str = "",
        changed: Mapping[str, object] = ...,
        without: Sequence[str] = (),
    ) -> Distribution: ...


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MODPM_REGISTRY", raising=False)
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    # No power fails during a test, and a busy disk takes long; the order of writes is the same.
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@pytest.fixture
def make_distribution(tmp_path: Path, repository: Path) -> MakeDistribution:
    golden = read_distribution(repository / "specs" / "vectors" / "distribution" / "digits-7")
    files = {name: (golden.folder / name).read_bytes() for name in golden.manifest.files}

    def make(
        name: str,
        version: str = "1.0.0",
        *,
        summary: str = "",
        requires: Sequence[str] = (),
        folder: Path | None = None,
    ) -> Distribution:
        manifest = msgspec.structs.replace(
            golden.manifest, name=name, version=version, summary=summary, requires=list(requires)
        )
        place = (folder or tmp_path / "dist") / f"{name.replace('/', '-')}-{version}"
        return write_distribution(place, manifest, files)

    return make


@pytest.fixture
def make_composition(tmp_path: Path) -> MakeComposition:
    def make(
        name: str,
        members: Sequence[Distribution],
        version: str = "1.0.0",
        *,
        summary: str = "",
        changed: Mapping[str, object] = MappingProxyType({}),
        without: Sequence[str] = (),
    ) -> Distribution:
        modules = [
            ComposedModule(
                label=one.manifest.name,
                name=one.manifest.name,
                version=one.manifest.version,
                digest=one.digest,
            )
            for one in members
        ]
        record = CompositionRecord(
            strategy="independent",
            modules=modules,
            networks=[
                ComposedNetwork(strategy="independent", modules=[i]) for i in range(len(modules))
            ],
            n_parameters=27,
            size_bytes=124,
            macs=1155,
            origin_macs=2000,
        )
        record = msgspec.structs.replace(record, **changed)
        manifest = CompositionManifest(
            kind="composition",
            name=name,
            version=version,
            summary=summary,
            license="Apache-2.0",
            requires=requires_of(record.modules),
            composition=record,
        )
        files = {"README.md": render_card(manifest).encode(), "LICENSE": b"Apache-2.0"}
        kept = {file: data for file, data in files.items() if file not in without}
        place = tmp_path / "dist" / f"{name.replace('/', '-')}-{version}"
        return write_distribution(place, manifest, kept, overwrite=True)

    return make


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return tmp_path / "registry"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def put(make_distribution: MakeDistribution, registry: Path) -> Put:
    def publish_one(
        name: str,
        version: str = "1.0.0",
        *,
        requires: Sequence[str] = (),
        recall: float | None = None,
        to: Path | None = None,
    ) -> str:
        made = make_distribution(name, version, requires=requires, summary=str(to or ""))
        if recall is not None:
            made = _with_recall(made, recall)
        publish([made.folder], to or registry)
        shutil.rmtree(made.folder)
        return made.digest

    return publish_one


def _with_recall(made: Distribution, recall: float) -> Distribution:
    module = made.module_manifest
    metrics = [msgspec.structs.replace(m, recall=recall) for m in module.metrics]
    manifest = msgspec.structs.replace(module, metrics=metrics)
    files = {name: (made.folder / name).read_bytes() for name in manifest.files}
    return write_distribution(made.folder, manifest, files, overwrite=True)
