"""Whom a user trusts is the user's to say, and not the folder's that modpm is run in."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from tests.registry.owners import made_key

from modpm.core.errors import ModpmError
from modpm.registry.installing.installation import install, remove, sync
from modpm.registry.installing.installed import installed
from modpm.registry.installing.verification import verify
from modpm.registry.publication.publishing import publish
from modpm.registry.signing.trusted_keys import TrustFile, distrust, trust

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution

    from modpm.registry.signing.keys import SigningKey


@pytest.fixture
def alice(tmp_path: Path) -> SigningKey:
    return made_key(tmp_path / "alice.pem")


@pytest.fixture
def mallory(tmp_path: Path) -> SigningKey:
    return made_key(tmp_path / "mallory.pem")


@pytest.fixture
def project(
    tmp_path: Path, make_distribution: MakeDistribution, alice: SigningKey, mallory: SigningKey
) -> Path:
    """Return a project that has what Alice signed; another registry has Mallory's."""
    publish([make_distribution("digits/7").folder], tmp_path / "registry", key=alice)
    new = make_distribution("digits/7", "1.1.0").folder
    publish([new], tmp_path / "mallorys", key=mallory)
    root = tmp_path / "project"
    root.mkdir()
    install(["digits/7"], root, tmp_path / "registry")
    return root


def refusal(work: Callable[[], object]) -> ModpmError:
    with pytest.raises(ModpmError) as caught:
        work()
    return caught.value


def test_removing_and_installing_again_accepts_no_other_key(
    project: Path, tmp_path: Path, alice: SigningKey
) -> None:
    remove(["digits/7"], project)
    (project / "modpm.toml").unlink()
    error = refusal(lambda: install(["digits/7"], project, tmp_path / "mallorys"))
    assert error.code == "other-signer"
    assert alice.public.key_id in str(error)
    assert installed(project) == []


@pytest.mark.parametrize("what", ["another project", "everything but the store deleted"])
def test_no_other_folder_accepts_another_key(project: Path, tmp_path: Path, what: str) -> None:
    other = tmp_path / "other" if what == "another project" else project
    if other == project:
        shutil.rmtree(project)
    other.mkdir()
    error = refusal(lambda: install(["digits/7"], other, tmp_path / "mallorys"))
    assert error.code == "other-signer"


def test_a_lock_that_names_another_key_than_the_user_knows_is_refused_naming_both(
    project: Path, alice: SigningKey, mallory: SigningKey
) -> None:
    lock = project / "modpm.lock"
    lock.write_text(lock.read_text().replace(alice.public.key_id, mallory.public.key_id))
    for verb in (sync, verify, lambda p: install([], p, locked=True)):
        error = refusal(lambda verb=verb: verb(project))  # type: ignore[misc]  # bound at once
        assert error.code == "other-signer"
        assert {alice.public.key_id, mallory.public.key_id} <= set(
            str(error).replace(";", " ").split()
        )


def test_what_a_lock_records_is_known_to_whoever_installs_it_first(
    project: Path, alice: SigningKey, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "colleague"))
    shutil.rmtree(project / ".modpm")
    sync(project)
    assert TrustFile.of_user().first_used == {"digits": alice.public.key_id}


def test_after_a_key_is_trusted_all_that_is_there_is_checked_again(
    project: Path, tmp_path: Path, mallory: SigningKey
) -> None:
    verify(project)
    trust("digits", str(tmp_path / "mallory.pub"))
    for verb in (
        sync,
        verify,
        lambda p: verify(p, repair=True),
        lambda p: install([], p, locked=True),
    ):
        assert refusal(lambda verb=verb: verb(project)).code == "other-signer"  # type: ignore[misc]  # bound at once
    distrust("digits", mallory.public.key_id)
    trust("digits", str(tmp_path / "alice.pub"))
    assert verify(project)


def test_a_key_of_a_first_use_can_be_forgotten(
    project: Path, tmp_path: Path, alice: SigningKey
) -> None:
    shutil.rmtree(project)
    distrust("digits", alice.public.key_id)
    other = tmp_path / "other"
    other.mkdir()
    assert [m.version for m in install(["digits/7"], other, tmp_path / "mallorys").modules] == [
        "1.1.0"
    ]
