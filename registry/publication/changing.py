"""What can be changed of what a registry lists: yanks, tags, its catalogue (V-12, V-13)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from packaging.version import Version

from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import Variant
from modpm.core.formats.names import ModuleName
from modpm.core.formats.release_files import VARIANTS, variant_name
from modpm.core.formats.requirements import Requirement, parse_version
from modpm.core.system.whole_files import explained
from modpm.registry.addresses import publish_target
from modpm.registry.index import ModuleRelease
from modpm.registry.seen import Seen

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from modpm.registry.backends.protocol import Backend
    from modpm.registry.backends.shards import Shard
    from modpm.registry.index import Index, Release

MAX_REASON_LENGTH = 500


class ReleaseName(NamedTuple):
    """The name of one release on the command line: `cifar10/cat==1.2.0`."""

    module: ModuleName
    version: Version

    @classmethod
    def parse(cls, text: str) -> ReleaseName:
        """Read the name of a release; inverse of `str`.

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

    def in_index(self, index: Index, target: Backend) -> Release:
        """Return what the index of a registry lists for the release.

        Raises:
            ModpmError: `unknown-release`.
        """
        release = index.find(self.version)
        if release is None:
            versions = ", ".join(r.version for r in index.releases) or "none"
            raise ModpmError(
                f"`{self.module}` has no release {self.version}",
                code="unknown-release",
                where=f"registry {target.location}",
                why=f"its releases are {versions}",
            )
        return release

    def __str__(self) -> str:
        return f"{self.module}=={self.version}"


def yank(release: str, reason: str, registry: str | os.PathLike[str] | None = None) -> Release:
    """Keep a release, and its variants, from everyone who has not locked it (V-12, V-22).

    Args:
        release: Its name and version, `cifar10/cat==1.2.0`.
        reason: Why; whoever has it is shown this.
        registry: As for `publish`.

    Returns:
        The release as it is now listed.

    Raises:
        ModpmError: `bad-reason`; `unknown-release`, `unknown-module`; what `Backend.change`
            and `ReleaseName.parse` raise.
    """
    return _set_yanked(ReleaseName.parse(release), _checked_reason(reason), registry)


def unyank(release: str, registry: str | os.PathLike[str] | None = None) -> Release:
    """Take back that a release was yanked, and its variants with it.

    Args:
        release: As for `yank`.
        registry: As for `publish`.

    Returns:
        The release as it is now listed.

    Raises:
        ModpmError: As `yank`.
    """
    return _set_yanked(ReleaseName.parse(release), None, registry)


def tag(release: str, name: str, registry: str | os.PathLike[str] | None = None) -> Index:
    """Let a tag stand for a release, whatever it stood for before (V-13).

    Args:
        release: Its name and version, `cifar10/cat==1.2.0`.
        name: The tag.
        registry: As for `publish`.

    Returns:
        What is now listed for the module.

    Raises:
        ModpmError: `invalid-tag`; `unknown-release`, `unknown-module`; what `Backend.change`
            and `ReleaseName.parse` raise.
    """
    parsed, checked = ReleaseName.parse(release), checked_tag(name)
    with explained("change the registry"):
        return set_tag(publish_target(registry), parsed, checked)


def untag(module: str, name: str, registry: str | os.PathLike[str] | None = None) -> Index:
    """Delete a tag.

    Args:
        module: The module, or one release of it: the tag must stand for that one then.
        name: The tag.
        registry: As for `publish`.

    Returns:
        What is now listed for the module.

    Raises:
        ModpmError: `unknown-tag`; as `tag`.
    """
    parsed = ReleaseName.parse(module) if "==" in module else None
    owner, checked = parsed.module if parsed else ModuleName.parse(module), checked_tag(name)
    target = publish_target(registry)

    def change(index: Index) -> Index:
        version = index.tags.get(checked)
        if version is None or (parsed is not None and parsed.version != Version(version)):
            raise _unknown_tag(str(parsed or owner), checked, index, target)
        tags = {tag: stands_for for tag, stands_for in index.tags.items() if tag != checked}
        return msgspec.structs.replace(index, tags=tags)

    with explained("change the registry"):
        return _changed(target, owner, change)


def reindex(registry: str | os.PathLike[str] | None = None) -> list[Shard]:
    """Make anew what search and completion know of a registry, from what it lists.

    Args:
        registry: As for `publish`.

    Returns:
        What was read of each module, with the reason where nothing can be shown of it.

    Raises:
        ModpmError: `registry-missing`, `not-a-registry`, `read-only-registry`, `busy`.
    """
    with explained("change the registry"):
        return publish_target(registry).reindex()


def set_tag(target: Backend, release: ReleaseName, name: str) -> Index:
    """Let a tag stand for a release in a registry.

    Raises:
        ModpmError: `unknown-release`; what `Backend.change` raises.
    """

    def change(index: Index) -> Index:
        version = release.in_index(index, target).version
        return msgspec.structs.replace(index, tags={**index.tags, name: version})

    return _changed(target, release.module, change)


def checked_tag(name: str) -> str:
    """Return a tag that can be asked for (N-8).

    Raises:
        ModpmError: `invalid-tag`.
    """
    try:
        tag_of = Requirement.parse(f"some/module@{name}").tag
    except ModpmError as error:
        raise ModpmError(
            f"`{name[:100]}` is not a tag",
            code="invalid-tag",
            why=error.why,
            hint="a tag has letters, digits, `-`, `_` and `.`, such as `stable`, and is no version",
            exit_code=2,
        ) from None
    assert tag_of is not None
    return tag_of


def _set_yanked(
    name: ReleaseName, reason: str | None, registry: str | os.PathLike[str] | None
) -> Release:
    target = publish_target(registry)

    change = partial(_with_yanked, name, reason, target)
    with explained("change the registry"):
        found = name.in_index(_changed(target, name.module, change), target)
        for variant in _variants(name, found, target):
            _changed(
                target,
                variant,
                partial(_with_yanked, ReleaseName(variant, name.version), reason, target),
            )
        return found


def _variants(name: ReleaseName, release: Release, target: Backend) -> Iterator[ModuleName]:
    """Give the names under which variants of a release are listed."""
    for kind in VARIANTS:
        module = ModuleName(name.module.namespace, variant_name(name.module.name, kind))
        index = target.index(module)
        found = None if index is None else index.find(name.version)
        made_of = found.variant if isinstance(found, ModuleRelease) else None
        if isinstance(made_of, Variant) and made_of.digest == release.digest:
            yield module


def _with_yanked(name: ReleaseName, reason: str | None, target: Backend, index: Index) -> Index:
    return index.with_yanked(name.in_index(index, target), reason)


def _changed(target: Backend, module: ModuleName, change: Callable[[Index], Index]) -> Index:
    index = target.change(module, change)
    Seen().remember(target, module, index)
    return index


def _checked_reason(reason: str) -> str:
    line = " ".join(reason.split())
    if not line or len(line) > MAX_REASON_LENGTH or not line.isprintable():
        raise ModpmError(
            "the reason cannot be shown",
            code="bad-reason",
            why=f"it is one line of 1 to {MAX_REASON_LENGTH} characters",
            hint='say what is wrong with the release, such as `--reason "labels are swapped"`',
            exit_code=2,
        )
    return line


def _unknown_tag(name: str, tag: str, index: Index, target: Backend) -> ModpmError:
    tags = ", ".join(f"{tag} ({version})" for tag, version in sorted(index.tags.items()))
    return ModpmError(
        f"`{name}` has no tag `{tag}`",
        code="unknown-tag",
        where=f"registry {target.location}",
        why=f"the tags of the module are {tags}" if tags else "the module has no tags",
    )
