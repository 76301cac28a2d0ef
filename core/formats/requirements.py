"""What a project asks for: `cifar10/cat>=1.2,<2`, `cifar10/cat@stable` or `cifar10/*`."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats.names import MAX_PART_LENGTH, ModuleName, normalize

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

MAX_REQUIREMENT_LENGTH = 1000
MAX_VERSION_LENGTH = 64

_REQUIREMENT = re.compile(
    r"(?P<name>[^<>=!~@\s]*)\s*(?:@\s*(?P<tag>.*)|(?P<specifiers>[<>=!~].*))?"
)
_PLAIN = re.compile(r"(?:~=\d+(?:\.\d+)+|(?:[<>]=?|[=!]=)\d+(?:\.\d+)*)?", re.ASCII)
"""What needs no reading to be known to be versions, and to be written so."""

_NUMBERS = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")
"""A version in canonical form, as most are written."""

_COMPATIBLE = re.compile(r"~=(\d+)\.(\d+)", re.ASCII)
_RELEASE = re.compile(r"(\d+)\.(\d+)(?:\.\d+)*", re.ASCII)

_TAG = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"


class Requirement(msgspec.Struct, frozen=True):
    """Releases of one module, or of every module of a namespace.

    `parse` and `str` are inverse of each other.

    Attributes:
        namespace: The namespace, normalized.
        name: The name in it, normalized; None for every name in it (`cifar10/*`).
        versions: The versions that satisfy it, as `SpecifierSet` writes them; nothing for any.
        tag: The tag whose release satisfies it; None unless it was asked by tag.
    """

    namespace: str
    name: str | None
    versions: str = ""
    tag: str | None = None

    @classmethod
    def parse(cls, text: str, where: str | None = None) -> Requirement:
        """Read a requirement.

        Args:
            text: What a user or a file says.
            where: The file it stands in; None for the command line.

        Raises:
            ModpmError: `invalid-requirement`, or `invalid-name` for what stands before the
                versions or the tag.
        """
        return _parsed(text.strip(), where)

    @property
    def module(self) -> ModuleName | None:
        """The one module that is asked for; None for a whole namespace."""
        return None if self.name is None else ModuleName(self.namespace, self.name)

    @property
    def specifiers(self) -> SpecifierSet:
        """The versions that satisfy it; the empty set for any."""
        return _specifiers(self.versions)

    @property
    def is_bare(self) -> bool:
        """Whether it is the name of one module, and says nothing of its versions."""
        return self.name is not None and self.tag is None and not self.versions

    def compatible_with(self, version: Version) -> Requirement:
        """Return it with the bound that keeps the first number of a version (`~=1.2` of 1.2.3).

        A release with the same first number has the same label and input (N-6, V-9), before 1.0
        too; those before the second number are left out, since scores may be others.

        Args:
            version: One that satisfies the result; of a pre-release, the bound names it.
        """
        pre = "".join(map(str, version.pre or ())) + (
            "" if version.dev is None else f".dev{version.dev}"
        )
        epoch = f"{version.epoch}!" if version.epoch else ""
        return msgspec.structs.replace(
            self, versions=f"~={epoch}{version.major}.{version.minor}{pre}"
        )

    def of(self, module: ModuleName) -> Requirement:
        """Return this requirement of a namespace as one of a module in it."""
        return Requirement(module.namespace, module.name, self.versions, self.tag)

    def is_on(self, module: ModuleName) -> bool:
        """Say whether it asks something of a module, by itself or with its namespace."""
        return self.namespace == module.namespace and self.name in {None, module.name}

    def admits(self, version: str) -> bool:
        """Say whether a version satisfies it, pre-releases as any other (N-10).

        What a tag stands for only a registry knows: as far as is known here, any version.
        """
        bound, release = _COMPATIBLE.fullmatch(self.versions), _RELEASE.fullmatch(version)
        if bound is not None and release is not None:  # what installing writes needs no library
            (first, second), (least_first, least_second) = release.groups(), bound.groups()
            return int(first) == int(least_first) and int(second) >= int(least_second)
        return not self.versions or self.specifiers.contains(version, prereleases=True)

    def __str__(self) -> str:
        versions = self.versions if self.tag is None else f"@{self.tag}"
        return f"{self.namespace}/{self.name or '*'}{versions}"


@lru_cache(maxsize=4096)  # the same few texts are asked of, again and again
def _parsed(text: str, where: str | None) -> Requirement:
    match = _REQUIREMENT.fullmatch(text)
    if match is None or len(text) > MAX_REQUIREMENT_LENGTH:
        raise _invalid(text, "a name is followed by versions (`>=1.2,<2`) or by `@tag`", where)
    namespace, name = _parse_name(match["name"], where)
    versions = _parse_versions(match["specifiers"] or "", text, where)
    tag = None if match["tag"] is None else _parse_tag(match["tag"], text, where)
    return Requirement(namespace, name, versions, tag)


def parse_version(text: str, where: str | None = None) -> Version:
    """Read a version (PEP 440) of at most 64 characters.

    Raises:
        ModpmError: `invalid-version`.
    """
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415 -- slow to import

    try:
        # A longer text reads as no version at all: its numbers could take minutes to parse.
        return Version(text if len(text) <= MAX_VERSION_LENGTH else "")
    except InvalidVersion:
        raise ModpmError(
            f"`{text[:MAX_VERSION_LENGTH]}` is not a version",
            code="invalid-version",
            where=where,
            hint="write numbers between dots, such as `1.0.0`, or `2.0.0rc1` for a pre-release",
            exit_code=2 if where is None else 1,
        ) from None


def canonical_version(text: str, where: str | None = None) -> str:
    """Return a version in its canonical form, which numbers between dots have already.

    Raises:
        ModpmError: `invalid-version`.
    """
    is_canonical = len(text) <= MAX_VERSION_LENGTH and _NUMBERS.fullmatch(text)
    return text if is_canonical else str(parse_version(text, where))


def _parse_name(text: str, where: str | None) -> tuple[str, str | None]:
    namespace, _, name = text.partition("/")
    if name == "*":
        return normalize(namespace, text, where), None
    module = ModuleName.parse(text, where)
    return module.namespace, module.name


def _parse_versions(specifiers: str, text: str, where: str | None) -> str:
    if _PLAIN.fullmatch(specifiers):
        return specifiers
    from packaging.specifiers import InvalidSpecifier  # noqa: PLC0415 -- slow to import

    try:
        return str(_specifiers(specifiers))
    except InvalidSpecifier as error:
        raise _invalid(text, str(error), where) from None


@cache
def _specifiers(versions: str) -> SpecifierSet:
    from packaging.specifiers import SpecifierSet  # noqa: PLC0415 -- as above

    return SpecifierSet(versions)


def _parse_tag(tag: str, text: str, where: str | None) -> str:
    if re.fullmatch(_TAG, tag) is None or len(tag) > MAX_PART_LENGTH:
        raise _invalid(text, f"{tag[:MAX_PART_LENGTH]!r} is not a tag", where)
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415 -- as above

    try:
        Version(tag)
    except InvalidVersion:
        return tag
    raise _invalid(text, f"{tag!r} is a version; a version is asked by `=={tag}`", where)


def _invalid(text: str, why: str, where: str | None) -> ModpmError:
    return ModpmError(
        f"`{text[:200]}` is not a requirement",
        code="invalid-requirement",
        where=where,
        why=why,
        hint="write `cifar10/cat`, `cifar10/cat>=1.2,<2`, `cifar10/cat@stable` or `cifar10/*`",
        exit_code=2 if where is None else 1,
    )
