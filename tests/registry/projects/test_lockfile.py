from __future__ import annotations

import json
import random
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from modpm.core.errors import ModpmError
from modpm.core.formats.requirements import Requirement
from modpm.registry.addresses import Address
from modpm.registry.pins.pinning import _check_unchanged
from modpm.registry.projects.lockfile import Lockfile, no_longer_measured

VECTORS = Path(__file__).parents[3] / "specs" / "vectors" / "lockfile"
VALID = sorted((VECTORS / "valid").iterdir())
INVALID: dict[str, dict[str, str]] = json.loads((VECTORS / "expect.json").read_bytes())


def read(data: bytes) -> Lockfile:
    return Lockfile.from_bytes(data, Path("modpm.lock"), "run it again")


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.name)
def test_reading_and_writing_are_inverse(path: Path) -> None:
    assert read(path.read_bytes()).to_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", sorted(INVALID))
def test_an_invalid_lockfile_is_refused(name: str) -> None:
    with pytest.raises(ModpmError) as caught:
        read((VECTORS / "invalid" / name).read_bytes())

    assert caught.value.code == INVALID[name]["code"]
    assert "modpm.lock" in str(caught.value.where)


def test_the_order_of_pins_and_requirements_does_not_matter() -> None:
    lock = read((VECTORS / "valid" / "several.lock").read_bytes())
    pins = list(lock.pins)
    random.Random(7).shuffle(pins)  # noqa: S311 - a shuffle, not a secret
    requirements = [Requirement.parse(text) for text in reversed(lock.requirements)]

    assert Lockfile.of([*requirements, requirements[0]], pins).to_bytes() == lock.to_bytes()


@given(st.text(min_size=1, max_size=64), st.text(min_size=1, max_size=100))
def test_any_text_survives(name: str, url: str) -> None:
    (pin,) = read((VECTORS / "valid" / "one.lock").read_bytes()).pins
    changed = msgspec.structs.replace(pin.registry, name=name, url=url)
    lock = Lockfile((), (type(pin)(pin.module, "1", pin.digest, changed, pin.files),))

    assert read(lock.to_bytes()).pins[0].registry == Address(name, url)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_lockfile_or_refused(noise: bytes) -> None:
    data = (VECTORS / "valid" / "one.lock").read_bytes()
    for attempt in (noise, data + noise, data[: len(data) // 2] + noise):
        try:
            read(attempt)
        except ModpmError as error:
            assert error.where  # noqa: PT017 - either outcome is right, each in its form


def test_a_release_whose_commit_changed_is_not_the_one_that_was_locked() -> None:
    (pin,) = read((VECTORS / "valid" / "signed.lock").read_bytes()).pins
    assert pin.revision is not None
    moved = replace(pin, revision="0" * 40)

    with pytest.raises(ModpmError) as caught:
        _check_unchanged(moved, pin, "hf://acme")

    assert caught.value.code == "release-changed"
    assert "its commit is 0000" in str(caught.value.why)
    for same in (pin, replace(moved, version="1.0.1"), replace(pin, revision=None)):
        _check_unchanged(same, pin, "hf://acme")
    _check_unchanged(moved, None, "hf://acme")


def test_deep_nesting_and_long_numbers_are_refused() -> None:
    for data in (b"a = " + b"[" * 100_000, b"a = " + b"9" * 10_000):
        with pytest.raises(ModpmError) as caught:
            read(data)
        assert caught.value.code == "invalid-lock"


def test_a_lockfile_is_toml_that_others_can_read() -> None:
    document = tomllib.loads((VECTORS / "valid" / "several.lock").read_text())

    assert [module["name"] for module in document["modules"]] == [
        str(pin.module) for pin in read((VECTORS / "valid" / "several.lock").read_bytes()).pins
    ]


def test_what_was_measured_stays_while_its_modules_do() -> None:
    lock = read((VECTORS / "valid" / "measured.lock").read_bytes())
    asked = [Requirement.parse(text) for text in lock.requirements]
    other = "sha256:" + "8" * 64
    moved = [replace(pin, digest=other) for pin in lock.pins]

    again = Lockfile.of(asked, lock.pins, measured=lock.measured)
    changed = Lockfile.of(asked, moved, measured=lock.measured)

    assert len(lock.measured) == 2
    assert again == lock
    assert changed.measured == ()
    assert no_longer_measured(lock, again) == ()
    assert no_longer_measured(lock, changed) == ("pets",)


def test_a_later_measurement_of_the_same_images_goes_before() -> None:
    lock = read((VECTORS / "valid" / "measured.lock").read_bytes())
    better = msgspec.structs.replace(lock.measured[0], accuracy=1.0)

    assert [one.accuracy for one in lock.measuring(better).measured] == [1.0, 0.9]


def test_what_a_merge_left_of_other_releases_is_not_read() -> None:
    text = (VECTORS / "valid" / "measured.lock").read_text(encoding="utf-8")
    before, _, measured = text.partition("[[measured]]")
    digest = read(text.encode()).pins[0].digest

    lock = read(f"{before}[[measured]]{measured.replace(digest, 'sha256:' + '8' * 64)}".encode())

    assert (lock.measured, len(lock.pins)) == ((), 1)
