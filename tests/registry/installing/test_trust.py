"""Whom a namespace trusts: the first signer, or those of the trust file, and nobody else."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pytest
from msgspec.structs import replace
from tests.registry.owners import made_key

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.registry.addresses import Address
from modpm.registry.index import Release
from modpm.registry.installing.trust import checked_signers
from modpm.registry.projects.lockfile import Pin
from modpm.registry.signing.signature import sign_distribution
from modpm.registry.signing.trusted_keys import TrustFile, distrust, trust

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution

    from modpm.registry.signing.keys import SigningKey
    from modpm.registry.signing.trusted_keys import TrustedKey

REGISTRY = Address("modules", "/srv/modules")


@dataclass
class Owner:
    """Somebody with a key."""

    key: SigningKey
    path: Path

    @property
    def key_id(self) -> str:
        return self.key.public.key_id

    @property
    def public_path(self) -> str:
        return str(self.path.with_suffix(".pub"))


@dataclass
class Releases:
    """Releases that are here, and the check of some of them."""

    make: MakeDistribution
    folders: dict[str, Path]

    def add(self, name: str, owner: Owner | None, version: str = "1.0.0") -> Pin:
        distribution = self.make(name, version)
        if owner is not None:
            sign_distribution(distribution, owner.key)
        release = Release.of_distribution(distribution)
        pin = Pin.of(ModuleName.parse(name), release, REGISTRY)
        self.folders[pin.digest] = distribution.folder
        return pin

    def check(self, *pins: Pin, signers: Mapping[str, str] | None = None) -> dict[str, str]:
        return checked_signers(pins, lambda pin: self.folders[pin.digest], signers or {})

    def refused(self, *pins: Pin, signers: Mapping[str, str] | None = None) -> ModpmError:
        with pytest.raises(ModpmError) as caught:
            self.check(*pins, signers=signers)
        return caught.value


@pytest.fixture
def releases(make_distribution: MakeDistribution) -> Releases:
    return Releases(make_distribution, {})


@pytest.fixture
def alice(tmp_path: Path) -> Owner:
    return _owner(tmp_path / "alice.pem")


@pytest.fixture
def bob(tmp_path: Path) -> Owner:
    return _owner(tmp_path / "bob.pem")


def _owner(path: Path) -> Owner:
    return Owner(made_key(path), path)


def key_id_of(key: TrustedKey | None) -> str | None:
    return None if key is None else key.key_id


def raised(call: Callable[..., object], *arguments: object) -> ModpmError:
    with pytest.raises(ModpmError) as caught:
        call(*arguments)
    return caught.value


# First use


def test_namespaces_that_nobody_signs_are_as_before(releases: Releases) -> None:
    assert releases.check(releases.add("digits/7", None), releases.add("mnist/7", None)) == {}


def test_the_first_signer_of_each_namespace_is_to_be_recorded(
    releases: Releases, alice: Owner, bob: Owner
) -> None:
    pins = [
        releases.add("digits/7", alice),
        releases.add("digits/8", alice),
        releases.add("mnist/7", bob),
        releases.add("svhn/7", None),
    ]

    assert releases.check(*pins) == {"digits": alice.key_id, "mnist": bob.key_id}
    assert releases.check(*reversed(pins)) == releases.check(*pins)


def test_two_signers_of_a_namespace_are_one_too_many(
    releases: Releases, alice: Owner, bob: Owner
) -> None:
    error = releases.refused(releases.add("digits/7", alice), releases.add("digits/8", bob))

    assert error.code == "other-signer"
    assert "`digits/8` 1.0.0" in error.what
    assert alice.key_id in str(error.why)
    assert bob.key_id in str(error.why)


def test_a_namespace_is_not_signed_in_part(releases: Releases, alice: Owner) -> None:
    error = releases.refused(releases.add("digits/7", None), releases.add("digits/8", alice))

    assert (error.code, error.what) == (
        "unsigned",
        "`digits/7` 1.0.0 is not signed, and `digits` is",
    )


# Recorded


def test_the_recorded_signer_goes_on(releases: Releases, alice: Owner) -> None:
    signers = {"digits": alice.key_id, "other": "sha256:" + "0" * 64}

    pins = releases.add("digits/7", alice, "1.1.0"), releases.add("digits/9", alice)

    assert releases.check(*pins, signers=signers) == {"digits": alice.key_id}


def test_another_signer_than_the_recorded_is_refused(
    releases: Releases, alice: Owner, bob: Owner
) -> None:
    error = releases.refused(releases.add("digits/7", bob), signers={"digits": alice.key_id})

    assert error.code == "other-signer"
    assert error.why == (f"it is signed with {bob.key_id}; modpm.lock has recorded: {alice.key_id}")
    assert "modpm trust add digits KEY.pub" in str(error.hint)


def test_a_signature_that_was_taken_away_is_missed(releases: Releases, alice: Owner) -> None:
    error = releases.refused(releases.add("digits/7", None), signers={"digits": alice.key_id})

    assert error.code == "unsigned"
    assert "modpm trust add digits --unsigned" in str(error.hint)


def test_the_claim_of_an_index_counts_for_nothing(
    releases: Releases, alice: Owner, bob: Owner
) -> None:
    distribution = releases.make("digits/7")
    sign_distribution(distribution, bob.key)
    release = Release.of_distribution(distribution)
    claimed = msgspec.structs.replace(release, signer=alice.key_id)
    pin = Pin.of(ModuleName.parse("digits/7"), claimed, REGISTRY)
    releases.folders[pin.digest] = distribution.folder

    assert releases.check(pin) == {"digits": bob.key_id}


def test_a_signature_of_another_release_is_refused(releases: Releases, alice: Owner) -> None:
    pin, other = releases.add("digits/7", alice), releases.add("digits/7", alice, "1.1.0")
    folder, other_folder = releases.folders[pin.digest], releases.folders[other.digest]
    (folder / "signature.json").write_bytes((other_folder / "signature.json").read_bytes())
    files = {**pin.files, "signature.json": other.files["signature.json"]}

    error = releases.refused(replace(pin, files=files))

    assert error.code == "bad-signature"
    assert "`manifest.json` is not the file that was signed" in str(error.why)


def test_a_signature_is_the_file_that_is_pinned(releases: Releases, alice: Owner) -> None:
    pin = releases.add("digits/7", alice)
    with (releases.folders[pin.digest] / "signature.json").open("a") as file:
        file.write("\n")

    assert releases.refused(pin).code == "bad-signature"


# Trust file


def test_trusted_keys_alone_may_sign(releases: Releases, alice: Owner, bob: Owner) -> None:
    trust("digits", alice.public_path)
    pin, other = releases.add("digits/7", alice), releases.add("digits/8", bob)

    assert releases.check(pin) == {"digits": alice.key_id}
    error = releases.refused(other)
    assert (error.code, str(error.why).split(";")[1]) == (
        "other-signer",
        f" your trust file names: {alice.key_id}",
    )
    assert releases.refused(other, signers={"digits": bob.key_id}).code == "other-signer"
    assert releases.refused(releases.add("digits/9", None)).code == "unsigned"


def test_trust_moves_a_namespace_to_a_new_key(releases: Releases, alice: Owner, bob: Owner) -> None:
    signers = {"digits": alice.key_id}
    old, new = releases.add("digits/7", alice), releases.add("digits/8", bob)
    trust("digits", bob.public_path)

    assert releases.check(new, signers=signers) == {"digits": bob.key_id}
    assert releases.refused(old, new, signers=signers).code == "other-signer"
    trust("digits", alice.key_id)
    assert releases.check(old, new, signers=signers) == {"digits": alice.key_id}


def test_trust_in_one_namespace_is_not_trust_in_another(
    releases: Releases, alice: Owner, bob: Owner
) -> None:
    trust("mnist", alice.public_path)

    assert releases.check(releases.add("digits/7", bob)) == {"digits": bob.key_id}


def test_unsigned_releases_are_accepted_where_the_user_says_so(
    releases: Releases, alice: Owner, bob: Owner
) -> None:
    signers = {"digits": alice.key_id}
    pin = releases.add("digits/7", None)
    trust("digits", unsigned=True)

    assert releases.check(pin, signers=signers) == {}
    assert releases.refused(releases.add("digits/8", bob), signers=signers).code == "other-signer"
    distrust("digits", unsigned=True)
    assert releases.refused(pin, signers=signers).code == "unsigned"


def test_the_trust_file_says_what_was_added(alice: Owner, bob: Owner, home: Path) -> None:
    trust("Digits", bob.key_id)
    trust("digits", bob.public_path)
    trust("digits", bob.key_id)
    trust("abc", alice.public_path)
    trust("mnist", unsigned=True)

    file = TrustFile.of_user()

    assert [(key.namespace, key.key_id) for key in file.keys] == [
        ("abc", alice.key_id),
        ("digits", bob.key_id),
    ]
    assert file.public_keys("digits") == (bob.key.public,)
    assert file.unsigned == ["mnist"]
    assert stat.S_ISREG((home / "trust.json").lstat().st_mode)


def test_what_was_added_can_be_removed(alice: Owner, bob: Owner) -> None:
    trust("digits", alice.public_path)
    trust("digits", bob.public_path)

    assert list(map(key_id_of, distrust("digits", alice.public_path))) == [alice.key_id]
    assert list(map(key_id_of, distrust("digits", bob.key_id))) == [bob.key_id]

    assert TrustFile.of_user() == TrustFile()
    assert raised(distrust, "digits", alice.public_path).code == "not-trusted"
    assert raised(partial(distrust, unsigned=True), "digits").code == "not-trusted"


def test_what_is_no_key_or_namespace_is_refused(alice: Owner, tmp_path: Path) -> None:
    (tmp_path / "no.pub").write_text("no key")

    assert raised(trust, "digits", str(tmp_path / "no.pub")).code == "bad-key"
    assert raised(trust, "digits", "sha256:12").code == "invalid-digest"
    assert raised(trust, "../digits", alice.public_path).code == "invalid-name"


def test_golden_trust_files_are_read_and_written_alike(repository: Path) -> None:
    for path in sorted((repository / "specs" / "vectors" / "trust" / "valid").iterdir()):
        data = path.read_bytes()
        assert TrustFile.from_bytes(data, path.name).to_bytes() == data, path.name


def test_golden_bad_trust_files_are_refused(repository: Path) -> None:
    folder = repository / "specs" / "vectors" / "trust"
    expected = json.loads((folder / "expect.json").read_bytes())
    assert sorted(expected) == sorted(path.name for path in (folder / "invalid").iterdir())
    for name, case in expected.items():
        data = (folder / "invalid" / name).read_bytes()
        assert raised(TrustFile.from_bytes, data, name).code == case["code"], name
