"""The name of one release on the command line: `cifar10/cat==1.2.0`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.core.formats.requirements import parse_version

if TYPE_CHECKING:
    from packaging.version import Version

    from modpm.registry.index import Index, Release


@dataclass(frozen=True)
class ReleaseName:
    """A module and a version of it.

    `parse` and `str` are inverse of each other.
    """

    module: ModuleName
    version: Version

    @classmethod
    def parse(cls, text: str) -> ReleaseName:
        """Read the name of a release.

        Raises:
            ModpmError: `invalid-requirement`, `invalid-name` or `invalid-version`.
        """
        name, equals, version = text.partition("==")
        if not equals:
            raise ModpmError(
                f"`{text[:200]}` does not name one release",
                code="invalid-requirement",
                hint="write the name and the exact version, such as `cifar10/cat==1.2.0`",
                exit_code=2,
            )
        return cls(ModuleName.parse(name.strip()), parse_version(version.strip()))

    def in_index(self, index: Index, where: str) -> Release:
        """Return what an index lists for the release.

        Raises:
            ModpmError: `unknown-release`.
        """
        release = index.find(self.version)
        if release is None:
            versions = ", ".join(r.version for r in index.releases) or "none"
            raise ModpmError(
                f"`{self.module}` has no release {self.version}",
                code="unknown-release",
                where=where,
                why=f"its releases are {versions}",
            )
        return release

    def __str__(self) -> str:
        return f"{self.module}=={self.version}"
