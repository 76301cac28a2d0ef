"""Installing a composition installs its class modules, and exactly those that it names."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.registry.outcomes import refused

from modpm.core.formats.measurement import Measurement
from modpm.core.formats.names import ModuleName
from modpm.core.formats.records import convert
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.discovery.information import info
from modpm.registry.discovery.information import members as members_of
from modpm.registry.discovery.outdated import outdated
from modpm.registry.discovery.searching import search
from modpm.registry.index import CompositionRelease, Index, ModuleRelease
from modpm.registry.installing.installation import install, remove, sync
from modpm.registry.installing.installed import installed
from modpm.registry.installing.verification import verify
from modpm.registry.permissions import ROLLBACKS
from modpm.registry.projects.requirement_graph import tree
from modpm.registry.publication.changing import tag, yank
from modpm.registry.publication.mirroring import mirror
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.conftest import MakeComposition, MakeDistribution, Put

    from modpm.core.formats.distribution import Distribution
    from modpm.registry.installing.installation import Installation


@pytest.fixture
def members(make_distribution: MakeDistribution) -> list[Distribution]:
    return [make_distribution("digits/cat", "1.2.0"), make_distribution("digits/dog")]


@pytest.fixture
def pets(
    make_composition: MakeComposition, members: list[Distribution], registry: Path
) -> Distribution:
    """Return a composition that is published with its class modules."""
    made = make_composition("acme/pets", members)
    publish([made.folder, *(one.folder for one in members)], registry)
    return made


def names(installation: Installation) -> list[str]:
    return [f"{module.name} {module.version}" for module in installation.modules]


def replaced_index(registry: Path, name: str, index: Index) -> None:
    (registry / name / "index.json").write_bytes(index.to_bytes())


def index_of(registry: Path, name: str) -> Index:
    index = DirectoryRegistry(registry).index(ModuleName.parse(name))
    assert index is not None
    return index


def put_otherwise(registry: Path, name: str, other: Distribution) -> None:
    """Put other bytes under a version, as a registry that lies would."""
    index = index_of(registry, name)
    (old,) = index.releases
    folder = registry / name / old.version
    shutil.rmtree(folder)
    shutil.copytree(other.folder, folder)
    size_bytes = (folder / "manifest.json").stat().st_size
    new = msgspec.structs.replace(
        old, digest=other.digest, manifest_size_bytes=size_bytes, files=other.manifest.files
    )
    replaced_index(registry, name, msgspec.structs.replace(index, releases=[new]))


@pytest.mark.usefixtures("pets")
def test_a_composition_brings_exactly_its_class_modules(
    put: Put, registry: Path, project: Path
) -> None:
    put("digits/cat", "1.3.0")
    put("digits/cow")

    installation = install(["acme/pets"], project, registry)

    assert names(installation) == ["acme/pets 1.0.0", "digits/cat 1.2.0", "digits/dog 1.0.0"]
    assert [module.is_composition for module in installation.modules] == [True, False, False]
    assert (project / "modpm.toml").read_text().count("acme/pets") == 1
    assert "digits/" not in (project / "modpm.toml").read_text()
    verify(project)


@pytest.mark.usefixtures("pets")
def test_the_lock_brings_the_same_to_another_project(
    registry: Path, project: Path, tmp_path: Path
) -> None:
    before = install(["acme/pets"], project, registry)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("modpm.toml", "modpm.lock"):
        shutil.copy(project / name, other)

    after = sync(other)

    assert [(m.name, m.digest) for m in after.modules] == [
        (m.name, m.digest) for m in before.modules
    ]


@pytest.mark.usefixtures("pets")
def test_removing_a_composition_takes_its_class_modules_with_it(
    registry: Path, project: Path
) -> None:
    install(["acme/pets", "digits/dog"], project, registry)

    remove(["acme/pets"], project)

    assert [str(module.name) for module in installed(project)] == ["digits/dog"]


@pytest.mark.usefixtures("pets")
def test_a_class_module_that_is_locked_at_another_version_moves(
    put: Put, registry: Path, project: Path
) -> None:
    put("digits/cat", "1.3.0")
    install(["digits/cat>=1"], project, registry)

    installation = install(["acme/pets"], project, registry)

    assert "digits/cat 1.2.0" in names(installation)


@pytest.mark.usefixtures("pets")
def test_a_class_module_that_must_be_newer_is_a_conflict_that_is_explained(
    put: Put, registry: Path, project: Path
) -> None:
    put("digits/cat", "1.3.0")

    error = refused(lambda: install(["acme/pets", "digits/cat>=1.3"], project, registry))

    assert error.code == "conflict"
    assert "digits/cat==1.2.0" in str(error)


@pytest.mark.usefixtures("pets")
def test_a_class_module_with_other_bytes_is_refused_and_nothing_changes(
    make_distribution: MakeDistribution, registry: Path, project: Path, tmp_path: Path
) -> None:
    other = make_distribution("digits/cat", "1.2.0", summary="another", folder=tmp_path / "x")
    put_otherwise(registry, "digits/cat", other)

    with ROLLBACKS.given():  # or as on a machine that has never seen the release
        error = refused(lambda: install(["acme/pets"], project, registry))

    assert error.code == "broken-composition"
    assert error.why is not None
    assert "acme/pets 1.0.0: digits/cat 1.2.0 has digest" in error.why
    assert installed(project) == []
    assert not (project / "modpm.toml").exists()


def test_a_composition_under_the_name_of_a_class_module_is_refused(
    make_composition: MakeComposition,
    members: list[Distribution],
    registry: Path,
    project: Path,
) -> None:
    _, dog = members
    inner = make_composition("digits/cat", [dog], "1.2.0")
    outer = make_composition("acme/pets", [inner])
    publish([dog.folder], registry)
    DirectoryRegistry(registry).publish([inner, outer])

    error = refused(lambda: install(["acme/pets"], project, registry))

    assert error.code == "broken-composition"
    assert error.why is not None
    assert "digits/cat 1.2.0 is a composition" in error.why


def test_compositions_that_name_each_other_are_refused_and_not_run_in_circles(
    make_composition: MakeComposition,
    members: list[Distribution],
    registry: Path,
    project: Path,
) -> None:
    cat, dog = members
    first = make_composition("acme/pets", [cat, make_composition("acme/beasts", [dog])])
    second = make_composition("acme/beasts", [dog, first])
    publish([cat.folder, dog.folder], registry)
    DirectoryRegistry(registry).publish([first, second])

    error = refused(lambda: install(["acme/pets"], project, registry))

    assert error.code == "broken-composition"
    assert installed(project) == []


@pytest.mark.parametrize("requires", [[], ["digits/cat"]])
@pytest.mark.usefixtures("pets")
def test_an_index_that_hides_what_is_required_does_not_break_the_project(
    put: Put, registry: Path, project: Path, requires: list[str]
) -> None:
    put("digits/cat", "1.3.0")
    index = index_of(registry, "acme/pets")
    (release,) = index.releases
    other = msgspec.structs.replace(release, requires=["digits/dog==1.0.0", *requires])
    replaced_index(registry, "acme/pets", msgspec.structs.replace(index, releases=[other]))

    error = refused(lambda: install(["acme/pets"], project, registry))

    listed = ", ".join(["digits/dog==1.0.0", *requires])
    assert error.code == "index-differs"
    assert error.why is not None
    assert error.why.endswith(f"listed or locked is {listed}")
    assert installed(project) == []


@pytest.mark.usefixtures("pets")
def test_a_composition_that_is_damaged_is_said_to_be_and_not_read(
    registry: Path, project: Path
) -> None:
    install(["acme/pets"], project, registry)
    (pets, *_) = installed(project)
    manifest = pets.path / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_bytes(b"{")

    error = refused(lambda: verify(project))

    assert error.code == "verification-failed"
    assert error.why is not None
    assert error.why.startswith("acme/pets 1.0.0: manifest.json")


@pytest.mark.usefixtures("pets")
def test_a_yanked_class_module_is_installed_and_told(registry: Path, project: Path) -> None:
    yank("digits/cat==1.2.0", "wrong labels", registry)

    installation = install(["acme/pets"], project, registry)

    assert "digits/cat 1.2.0" in names(installation)
    assert dict(installation.yanked) == {ModuleName("digits", "cat"): "wrong labels"}


@pytest.mark.usefixtures("pets")
def test_a_yanked_composition_is_not_chosen_anew(registry: Path, project: Path) -> None:
    yank("acme/pets==1.0.0", "wrong order", registry)

    assert refused(lambda: install(["acme/pets"], project, registry)).code == "no-version-fits"
    assert "acme/pets 1.0.0" in names(install(["acme/pets==1.0.0"], project, registry))


@pytest.mark.usefixtures("pets")
def test_a_composition_is_installed_by_its_tag(registry: Path, project: Path) -> None:
    tag("acme/pets==1.0.0", "stable", registry)

    assert "acme/pets 1.0.0" in names(install(["acme/pets@stable"], project, registry))


@pytest.mark.usefixtures("pets")
def test_one_origin_does_not_bind_a_composition(registry: Path, project: Path) -> None:
    installation = install(["acme/pets", "digits/dog"], project, registry, same_origin=True)

    assert len(installation.modules) == 3
    other = install(["acme/pets"], project, registry, same_origin=True)
    assert len(other.modules) == 3


@pytest.mark.usefixtures("pets")
def test_who_requires_what_is_shown(registry: Path, project: Path) -> None:
    install(["acme/pets"], project, registry)

    drawn = [(str(one.module), one.requirement) for one in tree((), project).branches]
    assert drawn == [
        ("acme/pets", "acme/pets~=1.0"),
        ("digits/cat", "digits/cat==1.2.0"),
        ("digits/dog", "digits/dog==1.0.0"),
    ]
    above = [one.module for one in tree(["digits/cat"], project, invert=True).branches]
    assert list(map(str, above)) == ["digits/cat", "acme/pets", "None"]


@pytest.mark.usefixtures("pets")
def test_a_lockfile_that_vouches_for_another_class_module_is_refused(
    make_distribution: MakeDistribution, registry: Path, project: Path, tmp_path: Path
) -> None:
    install(["acme/pets"], project, registry)
    other = make_distribution("digits/cat", "1.2.0", summary="another", folder=tmp_path / "x")
    put_otherwise(registry, "digits/cat", other)
    lock = (project / "modpm.lock").read_text()
    old = index_digest(project, "digits/cat")
    # Whoever edits a lockfile can make it vouch for anything, but not a composition.
    for name in ("modpm.lock", ".modpm/installed.lock"):
        text = (project / name).read_text().replace(old, other.digest)
        (project / name).write_text(with_files_of(text, other))
    assert (project / "modpm.lock").read_text() != lock

    with ROLLBACKS.given():  # or as on a machine that has never seen the release
        assert refused(lambda: sync(project)).code == "broken-composition"


def index_digest(project: Path, name: str) -> str:
    return next(module.digest for module in installed(project) if str(module.name) == name)


def with_files_of(lock: str, other: Distribution) -> str:
    """Return a lockfile in which the manifest of a release has the size of another."""
    lines = lock.splitlines()
    at = next(i for i, line in enumerate(lines) if "manifest.json" in line and other.digest in line)
    size_bytes = (other.folder / "manifest.json").stat().st_size
    lines[at] = f'"manifest.json" = {{ size_bytes = {size_bytes}, digest = "{other.digest}" }}'
    return "\n".join(lines) + "\n"


@pytest.mark.usefixtures("pets")
def test_an_index_says_of_each_release_what_it_is(registry: Path) -> None:
    assert index_of(registry, "acme/pets").format_version == 1
    assert index_of(registry, "digits/cat").format_version == 1
    (release,) = index_of(registry, "acme/pets").releases
    assert isinstance(release, CompositionRelease)
    assert release.composition.labels == ["digits/cat", "digits/dog"]


def test_a_name_can_have_class_modules_and_compositions(
    make_distribution: MakeDistribution,
    make_composition: MakeComposition,
    registry: Path,
    project: Path,
) -> None:
    old, dog = make_distribution("acme/pets", "1.0.0"), make_distribution("digits/dog")
    publish(
        [old.folder, dog.folder, make_composition("acme/pets", [dog], "2.0.0").folder], registry
    )

    kinds = [type(release) for release in index_of(registry, "acme/pets").releases]

    assert kinds == [ModuleRelease, CompositionRelease]
    assert names(install(["acme/pets<2"], project, registry)) == ["acme/pets 1.0.0"]
    assert names(install(["acme/pets>=2"], project, registry)) == [
        "acme/pets 2.0.0",
        "digits/dog 1.0.0",
    ]


def test_outdated_tells_how_the_accuracy_of_a_composition_changes(
    make_composition: MakeComposition,
    members: list[Distribution],
    registry: Path,
    project: Path,
) -> None:
    def measured(accuracy: float) -> dict[str, object]:
        one = {"data_set": "pets", "split": "test", "fingerprint": "f", "n": 9, "n_rejected": 0}
        return {"measured": [convert({**one, "accuracy": accuracy}, Measurement)]}

    first = make_composition("acme/pets", members, changed=measured(0.8))
    publish([first.folder, *(one.folder for one in members)], registry)
    install(["acme/pets==1.0.0"], project, registry)
    publish(
        [make_composition("acme/pets", members, "1.1.0", changed=measured(0.9)).folder], registry
    )

    (standing,) = [one for one in outdated(project) if one.is_outdated]

    assert (standing.version, standing.fitting, standing.newest) == ("1.0.0", "1.0.0", "1.1.0")
    ((before, after),) = standing.measured
    assert isinstance(before, Measurement)
    assert isinstance(after, Measurement)
    assert (before.accuracy, after.accuracy) == (0.8, 0.9)


@pytest.mark.usefixtures("pets")
def test_a_class_module_that_a_composition_holds_back_is_outdated(
    put: Put, registry: Path, project: Path
) -> None:
    install(["acme/pets"], project, registry)
    put("digits/cat", "1.3.0")

    (standing,) = [one for one in outdated(project) if one.is_outdated]

    assert (str(standing.name), standing.fitting, standing.newest) == (
        "digits/cat",
        "1.2.0",
        "1.3.0",
    )


def test_information_of_what_is_not_installed_is_read_from_the_registry(
    pets: Distribution, registry: Path, project: Path
) -> None:
    information = info("acme/pets", project, registry)

    assert information.manifest == pets.manifest
    assert information.path is None


@pytest.mark.usefixtures("pets")
def test_searching_finds_a_composition_by_any_of_its_labels(registry: Path, project: Path) -> None:
    found = search(project=project, registry=registry, label="dog")

    # The label of every class module of these tests is that of the golden one.
    assert [str(one.name) for one in found] == ["acme/pets"]
    assert found[0].labels == ["digits/cat", "digits/dog"]
    assert found[0].is_composition
    assert found[0].recall is None


@pytest.mark.usefixtures("pets")
def test_a_mirror_has_the_composition_and_its_class_modules(
    registry: Path, project: Path, tmp_path: Path
) -> None:
    install(["acme/pets"], project, registry)
    yank("digits/cat==1.2.0", "wrong labels", registry)

    copied = mirror(tmp_path / "copy", project=project)

    assert [str(one.name) for one in copied] == ["acme/pets", "digits/cat", "digits/dog"]
    other = tmp_path / "other"
    other.mkdir()
    assert len(install(["acme/pets"], other, tmp_path / "copy").modules) == 3


def test_the_class_modules_of_a_composition_are_described(
    pets: Distribution, members: list[Distribution], project: Path, registry: Path
) -> None:
    listed = members_of(info("acme/pets", project, registry), project, registry)
    install(["acme/pets"], project, registry)
    there = members_of(info("acme/pets", project), project, offline=True)
    (alone,) = members_of(info("digits/cat", project), project)

    digests = [one.digest for one in members]
    assert [one.digest for one in listed] == digests
    assert [one.digest for one in there] == digests
    assert listed[0].files == there[0].files
    assert alone.digest == digests[0]
    assert info("acme/pets", project).digest == pets.digest


def test_class_modules_that_are_not_those_of_a_composition_are_not_described_as_its_own(
    pets: Distribution, make_distribution: MakeDistribution, project: Path, tmp_path: Path
) -> None:
    others = tmp_path / "others"
    other = make_distribution("digits/cat", "1.2.0", summary="another", folder=tmp_path / "made")
    dog = make_distribution("digits/dog", folder=tmp_path / "made")
    publish([other.folder, dog.folder], others)

    error = refused(lambda: members_of(info(f"{pets.folder}/", project), project, others))
    assert (error.code, "`digits/cat` 1.2.0" in error.what) == ("broken-composition", True)
