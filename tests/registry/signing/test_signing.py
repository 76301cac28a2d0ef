"""Signatures: ours and those of model-signing verify each other, and nothing else verifies."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import Distribution, verify_distribution
from modpm.registry.index import Release
from modpm.registry.signing.keys import (
    PublicKey,
    SigningKey,
    new_key,
    public_key_path,
    read_public_key,
    read_signing_key,
)
from modpm.registry.signing.signature import (
    MAX_BUNDLE_BYTES,
    bad_signature,
    sign_distribution,
    signed_files,
    verify_distribution_signature,
    verify_signature,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution


def no_passphrase() -> str | None:
    return None


@pytest.fixture(scope="module")
def vectors(repository: Path) -> Path:
    return repository / "specs" / "vectors"


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    new_key(tmp_path / "owner.pem")
    return read_signing_key(tmp_path / "owner.pem", no_passphrase)


@pytest.fixture
def signed(make_distribution: MakeDistribution, key: SigningKey) -> Distribution:
    distribution = make_distribution("digits/7")
    sign_distribution(distribution, key)
    return distribution


def refused(read: Callable[..., object], *arguments: object) -> ModpmError:
    with pytest.raises(ModpmError) as caught:
        read(*arguments)
    return caught.value


def model_signing(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model_signing", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# Keys


def test_a_key_is_read_as_it_was_made(tmp_path: Path) -> None:
    public = new_key(tmp_path / "keys" / "owner.pem")

    assert read_signing_key(tmp_path / "keys" / "owner.pem", no_passphrase).public == public
    assert read_public_key(tmp_path / "keys" / "owner.pub") == public
    assert PublicKey.of_pem(public.pem) == public


def test_keys_are_those_that_cryptography_knows(tmp_path: Path) -> None:
    public = new_key(tmp_path / "owner.pem")

    theirs = serialization.load_pem_public_key((tmp_path / "owner.pub").read_bytes())

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    assert theirs.public_bytes(serialization.Encoding.DER, form) == public.der
    assert theirs.public_bytes(serialization.Encoding.PEM, form).decode() == public.pem


def test_only_its_owner_reads_a_private_key(tmp_path: Path) -> None:
    new_key(tmp_path / "owner.pem")

    assert (tmp_path / "owner.pem").stat().st_mode & 0o777 == 0o600


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    new_key(tmp_path / "owner.pem")
    before = (tmp_path / "owner.pem").read_bytes()
    (tmp_path / "alone.pub").touch()

    assert refused(new_key, tmp_path / "owner.pem").code == "key-exists"
    assert refused(new_key, tmp_path / "alone.pem").code == "key-exists"
    assert (tmp_path / "owner.pem").read_bytes() == before
    assert not (tmp_path / "alone.pem").exists()


def test_the_ending_of_public_keys_is_for_public_keys(tmp_path: Path) -> None:
    assert refused(new_key, tmp_path / "owner.pub").code == "usage"
    assert not (tmp_path / "owner.pub").exists()


@pytest.mark.parametrize("wrong", ["another", "", None])
def test_a_passphrase_opens_its_key_alone(tmp_path: Path, wrong: str | None) -> None:
    path = tmp_path / "owner.pem"
    public = new_key(path, "a secret")

    assert b"ENCRYPTED" in path.read_bytes()
    assert read_signing_key(path, lambda: "a secret").public == public
    error = refused(read_signing_key, path, lambda: wrong)
    assert error.code == "wrong-passphrase"
    assert "another" not in str(error)


def test_keys_of_other_kinds_are_refused(tmp_path: Path) -> None:
    for private in (
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed25519.Ed25519PrivateKey.generate(),
    ):
        path = tmp_path / "other.pem"
        form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        path.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, plain))
        public = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        public_key_path(path).write_bytes(public)

        assert refused(read_signing_key, path, no_passphrase).code == "bad-key"
        assert refused(read_public_key, path.with_suffix(".pub")).code == "bad-key"


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 100, b"-" * 20_000, b"-----BEGIN x-----"])
def test_files_that_are_no_keys_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)

    assert refused(read_public_key, path).code == "bad-key"
    assert refused(read_signing_key, path, no_passphrase).code == "bad-key"


def test_a_point_off_the_curve_is_refused(tmp_path: Path) -> None:
    der = new_key(tmp_path / "owner.pem").der
    path = tmp_path / "off.pub"
    path.write_text(PublicKey(der[:-1] + bytes([der[-1] ^ 1])).pem)

    assert refused(read_public_key, path).why == "its point is not on the curve"


def test_a_private_key_is_not_taken_for_a_public_one(tmp_path: Path) -> None:
    new_key(tmp_path / "owner.pem")

    error = refused(read_public_key, tmp_path / "owner.pem")

    assert (error.code, error.why) == ("bad-key", "it is a private key, which is to stay secret")


def test_a_key_that_is_not_there_is_explained(tmp_path: Path) -> None:
    assert refused(read_public_key, tmp_path / "none").code == "unreadable-file"


# Signing and verifying


def test_a_signed_distribution_names_its_signer(signed: Distribution, key: SigningKey) -> None:
    assert verify_distribution_signature(signed) == key.public
    assert verify_distribution(signed.folder, signed.digest) == signed


def test_the_same_key_gives_the_same_bytes(signed: Distribution, key: SigningKey) -> None:
    before = (signed.folder / "signature.json").read_bytes()

    sign_distribution(signed, key)

    assert (signed.folder / "signature.json").read_bytes() == before


def test_a_crash_while_signing_leaves_a_distribution(
    signed: Distribution, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (signed.folder / "signature.json").read_bytes()
    monkeypatch.setattr(os, "replace", _die)
    with pytest.raises(KeyboardInterrupt):
        sign_distribution(signed, key)
    monkeypatch.undo()

    assert verify_distribution(signed.folder) == signed
    assert (signed.folder / "signature.json").read_bytes() == before
    sign_distribution(signed, key)
    assert [path.name for path in signed.folder.parent.iterdir()] == [signed.folder.name]


def _die(*_arguments: object) -> NoReturn:
    raise KeyboardInterrupt


def test_an_index_lists_the_signature_and_its_signer(signed: Distribution, key: SigningKey) -> None:
    release = Release.of_distribution(signed)

    assert release.signature is not None
    assert release.signer == key.public.key_id
    assert release.all_files["signature.json"] == release.signature


def test_model_signing_verifies_what_modpm_signs(signed: Distribution, tmp_path: Path) -> None:
    path = signed.folder / "signature.json"

    done = model_signing(
        "verify", "key", signed.folder, "--signature", path, "--public_key", tmp_path / "owner.pub"
    )

    assert (done.returncode, done.stdout) == (0, "Verification succeeded\n"), done.stderr


def test_model_signing_sees_changes_of_what_modpm_signed(
    signed: Distribution, tmp_path: Path
) -> None:
    with (signed.folder / "LICENSE").open("a") as file:
        file.write("and nothing else\n")
    path = signed.folder / "signature.json"

    done = model_signing(
        "verify", "key", signed.folder, "--signature", path, "--public_key", tmp_path / "owner.pub"
    )

    assert done.returncode == 1
    assert "Hash mismatch for 'LICENSE'" in done.stderr


def test_modpm_verifies_what_model_signing_signs(
    make_distribution: MakeDistribution, key: SigningKey, tmp_path: Path
) -> None:
    distribution = make_distribution("digits/7")
    path = distribution.folder / "signature.json"

    done = model_signing(
        "sign", "key", distribution.folder, "--signature", path,
        "--private_key", tmp_path / "owner.pem",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert verify_distribution_signature(distribution, [key.public]) == key.public
    assert refused(verify_distribution_signature, distribution).code == "unknown-signer"
    other = new_key(tmp_path / "other.pem")
    assert refused(verify_distribution_signature, distribution, [other]).code == ("unknown-signer")


def test_every_file_is_covered(signed: Distribution) -> None:
    data = (signed.folder / "signature.json").read_bytes()
    files = signed_files(signed)
    assert set(files) == {path.name for path in signed.folder.iterdir()} - {"signature.json"}
    for name in files:
        changed = {**files, name: "sha256:" + "0" * 64}
        without = {other: digest for other, digest in files.items() if other != name}
        for others, why in (
            (changed, f"`{name}` is not the file that was signed"),
            (without, f"`{name}` is signed, and missing"),
            ({**files, f"{name}.bak": files[name]}, f"`{name}.bak` is not signed"),
        ):
            error = refused(verify_signature, data, others, [], "here")
            assert (error.code, error.where, error.why) == ("bad-signature", "here", why)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_no_flipped_bit_goes_unnoticed(vectors: Path, data: st.DataObject) -> None:
    golden = verify_distribution(vectors / "distribution" / "digits-7")
    owner = read_public_key(vectors / "signature" / "owner.pub")
    good = (vectors / "signature" / "valid" / "modpm.json").read_bytes()
    position = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[position] ^= 1 << data.draw(st.integers(0, 7))

    try:
        found = verify_signature(bytes(bad), signed_files(golden), [owner], "here")
    except ModpmError as error:
        assert error.code in {"bad-signature", "unknown-signer"}  # noqa: PT017 -- either will do
    else:
        # What carries no meaning may differ: bits of base64 beyond the last byte, `keyid`.
        assert found == owner
        assert json.loads(bad)["verificationMaterial"] == json.loads(good)["verificationMaterial"]


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["mediaType", "verificationMaterial", "dsseEnvelope", "publicKey"])
                | st.text(max_size=5),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_only_modpm_errors_come_of_documents_by_chance(document: Any) -> None:  # noqa: ANN401 -- any JSON
    data = msgspec.json.encode(document) if not _is_huge(document) else b"1" * 50
    assert refused(verify_signature, data, {}, [], "here").code == "bad-signature"


def _is_huge(document: object) -> bool:
    if isinstance(document, int):
        return not -(2**63) <= document < 2**64
    if isinstance(document, dict):
        return any(map(_is_huge, document.values()))
    return isinstance(document, list) and any(map(_is_huge, document))


def test_a_signature_that_is_too_large_is_read_to_the_limit_only(signed: Distribution) -> None:
    path = signed.folder / "signature.json"
    with path.open("ab") as file:
        file.truncate(2**40)  # a hole, which takes no space

    error = refused(verify_distribution_signature, signed)

    assert error.code == "bad-signature"
    assert f"at most {MAX_BUNDLE_BYTES}" in error.what + str(error.why)


def test_what_a_signature_holds_cannot_write_on_the_terminal() -> None:
    assert bad_signature("a\x1b[2Jb\nc" + "d" * 5000, "here").why == "a?[2Jb\nc" + "d" * 992


# Golden signatures


def test_golden_signatures_verify(vectors: Path) -> None:
    golden = verify_distribution(vectors / "distribution" / "digits-7")
    owner = read_public_key(vectors / "signature" / "owner.pub")
    for path in sorted((vectors / "signature" / "valid").iterdir()):
        found = verify_signature(path.read_bytes(), signed_files(golden), [owner], path.name)
        assert found == owner, path.name


def test_golden_bad_signatures_are_refused(vectors: Path) -> None:
    golden = verify_distribution(vectors / "distribution" / "digits-7")
    owner = read_public_key(vectors / "signature" / "owner.pub")
    folder = vectors / "signature"
    expected = json.loads((folder / "expect.json").read_bytes())
    assert sorted(expected) == sorted(path.name for path in (folder / "invalid").iterdir())
    for name, case in expected.items():
        data = (folder / "invalid" / name).read_bytes()
        error = refused(verify_signature, data, signed_files(golden), [owner], "here")
        assert error.code == case["code"], name


def test_model_signing_verifies_the_golden_signatures(vectors: Path, tmp_path: Path) -> None:
    for path in sorted((vectors / "signature" / "valid").iterdir()):
        folder = tmp_path / path.stem
        shutil.copytree(vectors / "distribution" / "digits-7", folder)
        owner = vectors / "signature" / "owner.pub"
        done = model_signing("verify", "key", folder, "--signature", path, "--public_key", owner)
        assert done.returncode == 0, (path.name, done.stderr)
