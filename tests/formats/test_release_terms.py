"""What the maker of a release says of it: taken in its canonical form, or refused with a hint."""

from __future__ import annotations

import pytest

from modpm.core.errors import ModpmError
from modpm.core.formats.release_terms import (
    MAX_SUMMARY_LENGTH,
    UNSTATED_LICENSE,
    checked_license,
    checked_summary,
    checked_version,
    license_text,
)


def test_versions_and_licenses_are_taken_in_canonical_form() -> None:
    assert checked_version("1.0-RC1") == "1.0rc1"
    assert checked_license("apache-2.0 or mit") == "Apache-2.0 OR MIT"
    assert checked_license(UNSTATED_LICENSE) == UNSTATED_LICENSE


def test_a_local_version_is_refused_with_what_to_leave_out() -> None:
    with pytest.raises(ModpmError) as caught:
        checked_version("1.0+Here")
    assert (caught.value.code, caught.value.exit_code) == ("invalid-version", 2)
    assert caught.value.hint == "leave `+here` out"


def test_a_summary_is_as_long_as_a_manifest_can_hold_and_no_longer() -> None:
    longest = "x" * MAX_SUMMARY_LENGTH
    assert checked_summary(longest) == longest
    with pytest.raises(ModpmError) as caught:
        checked_summary(f"{longest}x")
    assert (caught.value.code, caught.value.exit_code) == ("bad-setting", 2)


def test_the_text_of_a_license_says_where_its_words_are() -> None:
    assert license_text("MIT", ["Ann", "Acme"]) == (
        "SPDX-License-Identifier: MIT\nCopyright: Ann, Acme\n\n"
        "Its words: https://spdx.org/licenses/ (looked up by MIT)\n"
    )
    assert license_text(UNSTATED_LICENSE, []) == (
        "SPDX-License-Identifier: LicenseRef-unstated\n\n"
        "Its words are not part of the SPDX list: ask the authors for them.\n"
    )
