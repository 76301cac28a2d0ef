from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING, NoReturn

import pytest
from tests.registry.owners import made_key

from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import verify_distribution
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.publication.publishing import publish
from modpm.registry.signing.signature import sign_distribution, verify_distribution_signature
from modpm.registry.signing.trusted_keys import trust

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution

    from modpm.registry.signing.keys import SigningKey


@pytest.fixture
def dist(make_distribution: MakeDistribution) -> Path:
    """Three distributions in one folder, beside a table, as `modularize` makes them."""
    folders = [make_distribution(f"digits/{name}").folder for name in ("cat", "dog", "7")]
    (folders[0].parent / "modules.json").write_text("{}")
    (folders[0].parent / "pictures").mkdir()
    return folders[0].parent


def published(registry: Path) -> list[str]:
    """Return what is listed; a first publishing that failed has left no registry."""
    is_registry = (registry / "registry.json").exists()
    return list(map(str, DirectoryRegistry(registry).names())) if is_registry else []


def refused(paths: list[Path], registry: Path) -> ModpmError:
    with pytest.raises(ModpmError) as caught:
        publish(paths, registry)
    return caught.value


def test_a_folder_of_distributions_is_published_whole(dist: Path, registry: Path) -> None:
    releases = publish([dist], registry)

    assert [str(p.name) for p in releases] == ["digits/7", "digits/cat", "digits/dog"]
    assert published(registry) == ["digits/7", "digits/cat", "digits/dog"]


def test_single_distributions_are_published(dist: Path, registry: Path) -> None:
    publish([dist / "digits-cat-1.0.0", str(dist / "digits-7-1.0.0")], str(registry))

    assert published(registry) == ["digits/7", "digits/cat"]


def test_a_distribution_that_is_named_twice_is_published_once(dist: Path, registry: Path) -> None:
    assert len(publish([dist, dist / "digits-cat-1.0.0"], registry)) == 3


def test_publishing_again_says_so(dist: Path, registry: Path) -> None:
    publish([dist / "digits-cat-1.0.0"], registry)

    states = {str(p.name): p.is_new for p in publish([dist], registry)}

    assert states == {"digits/7": True, "digits/cat": False, "digits/dog": True}


def test_the_default_registry_is_in_the_home(dist: Path, home: Path) -> None:
    publish([dist])

    assert len(published(home / "registry")) == 3


def test_one_damaged_distribution_keeps_all_from_being_published(
    dist: Path, registry: Path
) -> None:
    path = dist / "digits-cat-1.0.0" / "module.safetensors"
    path.write_bytes(path.read_bytes()[:-4])

    error = refused([dist], registry)

    assert error.code == "wrong-size"
    assert "module.safetensors" in str(error)
    assert not registry.exists()


def test_all_damaged_distributions_are_named(dist: Path, registry: Path) -> None:
    (dist / "digits-cat-1.0.0" / "module.safetensors").unlink()
    (dist / "digits-7-1.0.0" / "manifest.json").write_text("{}")

    error = refused([dist], registry)

    assert error.what == "2 of 3 distributions cannot be published"
    assert "digits-cat-1.0.0" in str(error.why)
    assert "digits-7-1.0.0" in str(error.why)
    assert not registry.exists()


def test_what_is_not_a_distribution_is_refused(tmp_path: Path, registry: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()

    for name in ("missing", "file", "empty"):
        assert refused([tmp_path / name], registry).code == "not-a-distribution"
    assert not registry.exists()


def test_links_are_not_published(dist: Path, registry: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "linked").symlink_to(dist / "digits-cat-1.0.0")
    manifest = dist / "digits-7-1.0.0" / "manifest.json"
    shutil.copy(manifest, tmp_path / "manifest.json")
    manifest.unlink()
    manifest.symlink_to(tmp_path / "manifest.json")

    assert refused([tmp_path / "outside"], registry).code == "not-a-distribution"
    assert refused([dist / "digits-7-1.0.0"], registry).code == "not-a-distribution"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk-full"),
        (errno.EACCES, "permission-denied"),
        (errno.EIO, "cannot-write"),
    ],
)
def test_what_the_system_refuses_is_explained(
    dist: Path, registry: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number), "some/file")

    monkeypatch.setattr(os, "replace", fail)

    error = refused([dist], registry)

    assert (error.what, error.code, error.where) == ("cannot publish", code, "some/file")
    monkeypatch.undo()
    assert published(registry) == []


def test_a_dry_run_says_what_would_be_and_changes_nothing(dist: Path, registry: Path) -> None:
    prospects = publish([dist], registry, dry_run=True)

    assert not registry.exists()
    assert prospects == publish([dist], registry)
    assert [p.is_new for p in publish([dist], registry, dry_run=True)] == [False] * 3


def test_a_dry_run_finds_versions_that_are_taken(
    dist: Path, registry: Path, make_distribution: MakeDistribution
) -> None:
    publish([dist / "digits-7-1.0.0"], registry)
    other = make_distribution("digits/7", summary="another", folder=dist.parent / "other").folder

    with pytest.raises(ModpmError) as caught:
        publish([other], registry, dry_run=True)

    assert caught.value.code == "version-taken"


def test_a_tag_stands_for_all_that_were_published(dist: Path, registry: Path) -> None:
    publish([dist / "digits-7-1.0.0"], registry)
    publish([dist], registry, tag="stable")

    for name in ("7", "cat", "dog"):
        index = DirectoryRegistry(registry).index(ModuleName("digits", name))
        assert index is not None
        assert index.tags == {"stable": "1.0.0"}


def test_a_bad_tag_keeps_all_from_being_published(dist: Path, registry: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        publish([dist], registry, tag="1.0")

    assert caught.value.code == "invalid-tag"
    assert not registry.exists()


# Signed


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return made_key(tmp_path / "owner.pem")


@pytest.fixture
def other_key(tmp_path: Path) -> SigningKey:
    return made_key(tmp_path / "other.pem")


def signers(registry: Path) -> list[str | None]:
    backend = DirectoryRegistry(registry)
    indexes = [backend.index(name) for name in backend.names()]
    return [release.signer for index in indexes if index for release in index.releases]


def test_releases_are_signed_and_their_signatures_published(
    dist: Path, registry: Path, key: SigningKey
) -> None:
    publish([dist], registry, key=key)

    assert signers(registry) == [key.public.key_id] * 3
    for name in ("7", "cat", "dog"):
        release = verify_distribution(registry / "digits" / name / "1.0.0")
        assert verify_distribution_signature(release) == key.public


def test_a_dry_run_signs_nothing(dist: Path, registry: Path, key: SigningKey) -> None:
    publish([dist], registry, key=key, dry_run=True)

    assert list(dist.rglob("signature.json")) == []


def test_signing_again_with_the_same_key_is_publishing_again(
    dist: Path, registry: Path, key: SigningKey
) -> None:
    publish([dist], registry, key=key)

    assert [p.is_new for p in publish([dist], registry, key=key)] == [False] * 3
    assert [p.is_new for p in publish([dist], registry)] == [False] * 3


def test_a_release_gets_no_other_signature_afterwards(
    dist: Path, registry: Path, key: SigningKey, other_key: SigningKey
) -> None:
    publish([dist / "digits-7-1.0.0"], registry)
    publish([dist / "digits-cat-1.0.0"], registry, key=key)

    for name, other, why in (
        ("digits-7-1.0.0", key, "without a signature"),
        ("digits-cat-1.0.0", other_key, "signed with another key"),
    ):
        with pytest.raises(ModpmError) as caught:
            publish([dist / name], registry, key=other)
        assert caught.value.code == "version-taken"
        assert caught.value.what.endswith(f"is published already, {why}")
    assert signers(registry) == [None, key.public.key_id]


@pytest.mark.parametrize("name", ["digits-7-1.0.0", "digits-dog-1.0.0"])
def test_a_namespace_is_signed_by_those_who_may(
    dist: Path, registry: Path, key: SigningKey, other_key: SigningKey, name: str
) -> None:
    publish([dist / "digits-cat-1.0.0"], registry, key=key)

    for wrong, code in ((other_key, "other-signer"), (None, "unsigned")):
        for dry_run in (True, False):
            with pytest.raises(ModpmError) as caught:
                publish([dist / name], registry, key=wrong, dry_run=dry_run)
            assert caught.value.code == code
            assert key.public.key_id in str(caught.value.why)
    assert signers(registry) == [key.public.key_id]


def test_the_trust_file_of_the_publisher_says_who_may_sign(
    dist: Path, registry: Path, key: SigningKey, other_key: SigningKey
) -> None:
    publish([dist / "digits-cat-1.0.0"], registry, key=key)
    trust("digits", other_key.public.key_id)

    publish([dist / "digits-7-1.0.0"], registry, key=other_key)
    assert refused([dist / "digits-dog-1.0.0"], registry).code == "unsigned"
    trust("digits", unsigned=True)
    publish([dist / "digits-dog-1.0.0"], registry)
    assert signers(registry) == [other_key.public.key_id, key.public.key_id, None]


def test_what_is_published_unsigned_stays_so_in_a_signed_namespace(
    dist: Path, registry: Path, key: SigningKey
) -> None:
    publish([dist / "digits-cat-1.0.0"], registry)
    publish([dist / "digits-7-1.0.0"], registry, key=key)

    assert [one.is_new for one in publish([dist / "digits-cat-1.0.0"], registry)] == [False]


def test_all_releases_that_are_published_otherwise_are_named(
    dist: Path, registry: Path, key: SigningKey
) -> None:
    publish([dist], registry)

    for dry_run in (True, False):
        with pytest.raises(ModpmError) as caught:
            publish([dist], registry, key=key, dry_run=dry_run)
        error = caught.value
        assert (error.code, error.what) == (
            "version-taken",
            "3 releases are published already, otherwise than these",
        )
        names = [line.partition(",")[0] for line in str(error.why).splitlines()]
        assert names == ["`digits/7` 1.0.0", "`digits/cat` 1.0.0", "`digits/dog` 1.0.0"]
        assert "without a signature" in str(error.why)


def test_signing_leaves_the_folders_of_the_user_as_they_are(
    dist: Path, registry: Path, key: SigningKey
) -> None:
    def state() -> dict[Path, tuple[int, bytes]]:
        files = [path for path in dist.rglob("*") if path.is_file()]
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = state()
    publish([dist], registry, key=key)
    assert state() == before
    assert set(signers(registry)) == {key.public.key_id}


def test_files_that_lie_beside_distributions_are_passed_over(dist: Path, registry: Path) -> None:
    (dist / "README.md").write_text("What these are")
    (dist / "modules.json").write_text("{}")
    named = sorted(path for path in dist.iterdir() if path.name != "pictures")
    assert len(publish(named, registry)) == 3
    with pytest.raises(ModpmError) as caught:
        publish([dist / "README.md"], registry)
    assert caught.value.code == "not-a-distribution"


def test_a_signature_that_does_not_verify_is_not_published(
    dist: Path, registry: Path, key: SigningKey
) -> None:
    sign_distribution(verify_distribution(dist / "digits-7-1.0.0"), key)
    shutil.copy(dist / "digits-7-1.0.0" / "signature.json", dist / "digits-cat-1.0.0")

    assert refused([dist], registry).code == "bad-signature"
    assert not registry.exists()
    publish([dist], registry, key=key)
    assert signers(registry) == [key.public.key_id] * 3
