"""What the maker of a release says of it, checked before anything is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from modpm.core.errors import ModpmError
from modpm.core.formats.requirements import parse_version

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST_VERSION = "1.0.0"
"""The version of a release whose maker names none."""

UNSTATED_LICENSE = "LicenseRef-unstated"
MAX_SUMMARY_LENGTH = 500


def checked_version(text: str) -> str:
    """Return the canonical form of a version that a release can have.

    Raises:
        ModpmError: `invalid-version`.
    """
    parsed = parse_version(text)
    if parsed.local is not None:
        raise ModpmError(
            f"`{text}` is a local version, which cannot be published",
            code="invalid-version",
            hint=f"leave `+{parsed.local}` out",
            exit_code=2,
        )
    return str(parsed)


def checked_license(text: str) -> str:
    """Return the canonical form of a license.

    Raises:
        ModpmError: `invalid-license`.
    """
    try:
        return canonicalize_license_expression(text)
    except InvalidLicenseExpression as error:
        raise ModpmError(
            f"`{text}` is not a license of the SPDX list",
            code="invalid-license",
            why=str(error),
            hint="write `Apache-2.0`, `MIT OR Apache-2.0`, or `LicenseRef-NAME` for your own",
            exit_code=2,
        ) from None


def checked_summary(text: str) -> str:
    """Return a summary that a manifest can have.

    Raises:
        ModpmError: `bad-setting`.
    """
    if len(text) > MAX_SUMMARY_LENGTH:
        raise ModpmError(
            f"the summary has {len(text)} characters",
            code="bad-setting",
            hint=f"one line for people has at most {MAX_SUMMARY_LENGTH}",
            exit_code=2,
        )
    return text


def license_text(license: str, authors: Sequence[str]) -> str:
    """Return the text of the license file: what the license is called and where its words are.

    Args:
        license: An SPDX license expression.
        authors: Who made the release.
    """
    holders = f"Copyright: {', '.join(authors)}\n" if authors else ""
    if license.startswith("LicenseRef-"):
        words = "Its words are not part of the SPDX list: ask the authors for them.\n"
    else:
        words = f"Its words: https://spdx.org/licenses/ (looked up by {license})\n"
    return f"SPDX-License-Identifier: {license}\n{holders}\n{words}"
