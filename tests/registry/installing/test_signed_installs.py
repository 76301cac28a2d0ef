"""From a signed release to a project, and what a registry cannot do in between."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.registry.owners import made_key, slip_in

from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.manifest import FileRecord
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.installing.installation import install
from modpm.registry.installing.installed import installed
from modpm.registry.installing.verification import verify
from modpm.registry.projects.project import Project
from modpm.registry.publication.publishing import publish
from modpm.registry.signing.trusted_keys import trust

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution

    from modpm.registry.index import Index
    from modpm.registry.signing.keys import SigningKey

SEVEN = ModuleName("digits", "7")


@pytest.fixture
def alice(tmp_path: Path) -> SigningKey:
    return made_key(tmp_path / "alice.pem")


@pytest.fixture
def bob(tmp_path: Path) -> SigningKey:
    return made_key(tmp_path / "bob.pem")


@pytest.fixture
def signed_project(
    make_distribution: MakeDistribution, registry: Path, project: Path, alice: SigningKey
) -> Path:
    """Return a project that has installed what Alice signed."""
    publish([make_distribution("digits/7").folder], registry, key=alice)
    install(["digits/7"], project, registry)
    return project


def recorded(project: Path) -> dict[str, str]:
    lock = Project.discover(project).lock()
    assert lock is not None
    return dict(lock.signers)


def versions(project: Path) -> list[str]:
    return [module.version for module in installed(project)]


def refused(project: Path, requirement: str = "digits/7>=1.1") -> str:
    before = content(project)
    with pytest.raises(ModpmError) as caught:
        install([requirement], project)
    assert content(project) == before
    return caught.value.code


def content(project: Path) -> dict[Path, bytes]:
    files = (path for path in project.rglob("*") if path.is_file() and path.name != ".lock")
    return {path: path.read_bytes() for path in files}


def test_the_first_signer_is_recorded_and_goes_on(
    signed_project: Path, make_distribution: MakeDistribution, registry: Path, alice: SigningKey
) -> None:
    assert recorded(signed_project) == {"digits": alice.public.key_id}
    publish([make_distribution("digits/7", "1.1.0").folder], registry, key=alice)

    install(["digits/7>=1.1"], signed_project)

    assert versions(signed_project) == ["1.1.0"]
    assert recorded(signed_project) == {"digits": alice.public.key_id}


def test_an_unsigned_release_of_a_signed_namespace_is_refused(
    signed_project: Path, make_distribution: MakeDistribution, registry: Path
) -> None:
    slip_in(make_distribution("digits/7", "1.1.0").folder, registry)
    slip_in(make_distribution("digits/8").folder, registry)

    assert refused(signed_project) == "unsigned"
    assert refused(signed_project, "digits/8") == "unsigned"


def test_a_release_of_another_key_is_refused_until_it_is_trusted(
    signed_project: Path,
    make_distribution: MakeDistribution,
    registry: Path,
    tmp_path: Path,
    bob: SigningKey,
) -> None:
    slip_in(make_distribution("digits/7", "1.1.0").folder, registry, bob)
    assert refused(signed_project) == "other-signer"

    trust("digits", str(tmp_path / "bob.pub"))
    install(["digits/7>=1.1"], signed_project)

    assert versions(signed_project) == ["1.1.0"]
    assert recorded(signed_project) == {"digits": bob.public.key_id}


def test_the_lock_of_one_is_the_trust_of_all(
    signed_project: Path,
    make_distribution: MakeDistribution,
    registry: Path,
    tmp_path: Path,
    bob: SigningKey,
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("modpm.toml", "modpm.lock"):
        shutil.copy(signed_project / name, other / name)
    slip_in(make_distribution("digits/8").folder, registry, bob)

    assert refused(other, "digits/8") == "other-signer"


def test_a_registry_that_takes_a_signature_away_is_found_out(
    project: Path, make_distribution: MakeDistribution, registry: Path, alice: SigningKey
) -> None:
    for version in ("1.0.0", "1.1.0"):
        publish([make_distribution("digits/7", version).folder], registry, key=alice)
    install(["digits/7==1.0.0"], project, registry)
    (registry / "digits" / "7" / "1.1.0" / "signature.json").unlink()
    path = registry / "digits" / "7" / "index.json"
    index = DirectoryRegistry(registry).index(SEVEN)
    assert index is not None
    path.write_bytes(_without_signatures(index).to_bytes())

    assert refused(project, "digits/7==1.1.0") == "unsigned"


def _without_signatures(index: Index) -> Index:
    releases = [
        msgspec.structs.replace(release, signature=None, signer=None) for release in index.releases
    ]
    return msgspec.structs.replace(index, releases=releases)


def test_a_registry_that_signs_by_itself_is_found_out(
    signed_project: Path,
    make_distribution: MakeDistribution,
    registry: Path,
    alice: SigningKey,
    bob: SigningKey,
) -> None:
    slip_in(make_distribution("digits/7", "1.1.0").folder, registry, bob)
    path = registry / "digits" / "7" / "index.json"
    text = path.read_text().replace(bob.public.key_id, alice.public.key_id)
    path.write_text(text)

    assert refused(signed_project) == "other-signer"


def test_a_signature_that_does_not_verify_is_refused(
    signed_project: Path, make_distribution: MakeDistribution, registry: Path, alice: SigningKey
) -> None:
    publish([make_distribution("digits/7", "1.1.0").folder], registry, key=alice)
    versions_of_7 = registry / "digits" / "7"
    path = versions_of_7 / "1.1.0" / "signature.json"
    data = (versions_of_7 / "1.0.0" / "signature.json").read_bytes()
    path.unlink()
    path.write_bytes(data)
    DirectoryRegistry(registry).change(SEVEN, lambda index: _with_signature(index, data))

    assert refused(signed_project) == "bad-signature"


def _with_signature(index: Index, data: bytes) -> Index:
    record = FileRecord(size_bytes=len(data), digest=digest_bytes(data))
    last = msgspec.structs.replace(index.releases[-1], signature=record)
    return msgspec.structs.replace(index, releases=[*index.releases[:-1], last])


def rewrite(path: Path, content: bytes) -> None:
    path.unlink()  # the store's file is another name of it
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda path: rewrite(path, path.read_bytes()[:-1] + b" "), "its digest is sha256:"),
        (lambda path: rewrite(path, path.read_bytes()[:-1]), "; the pin says "),
        (lambda path: path.unlink(), "is pinned, and absent"),
    ],
)
def test_a_damaged_signature_is_named_and_mended(
    signed_project: Path, harm: Callable[[Path], None], words: str
) -> None:
    (module,) = installed(signed_project)
    harm(module.path / "signature.json")

    with pytest.raises(ModpmError) as caught:
        verify(signed_project)
    assert "digits/7 1.0.0: signature.json: " in str(caught.value.why)
    assert words in str(caught.value.why)
    found: list[str] = []
    assert len(verify(signed_project, repair=True, on_problem=found.append)) == 1
    assert found == str(caught.value.why).splitlines()


def test_a_signature_that_nobody_pinned_is_named(
    project: Path, make_distribution: MakeDistribution, registry: Path
) -> None:
    publish([make_distribution("digits/7").folder], registry)
    (module,) = install(["digits/7"], project, registry).modules
    (module.path / "signature.json").touch()

    with pytest.raises(ModpmError) as caught:
        verify(project)
    assert "signature.json: the release is not signed" in str(caught.value.why)
