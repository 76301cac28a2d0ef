"""Tags: names that an owner moves from release to release (V-13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from packaging.version import Version

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.core.formats.requirements import Requirement
from modpm.registry.addresses import publish_target
from modpm.registry.publication.release_name import ReleaseName
from modpm.registry.system.errors import explained

if TYPE_CHECKING:
    import os

    from modpm.registry.backends.protocol import Backend
    from modpm.registry.index import Index


def tag(release: str, name: str, registry: str | os.PathLike[str] | None = None) -> Index:
    """Let a tag stand for a release, whatever it stood for before.

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
    parsed = ReleaseName.parse(release)
    with explained("change the registry"):
        return set_tag(publish_target(registry), parsed, checked_tag(name))


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
    owner = ModuleName.parse(module) if parsed is None else parsed.module
    checked = checked_tag(name)
    target = publish_target(registry)
    with explained("change the registry"):
        return target.change(owner, lambda index: _without(index, checked, parsed, target.location))


def set_tag(target: Backend, release: ReleaseName, name: str) -> Index:
    """Let a tag stand for a release in a registry.

    Raises:
        ModpmError: `unknown-release`; what `Backend.change` raises.
    """

    def change(index: Index) -> Index:
        version = release.in_index(index, f"registry {target.location}").version
        return msgspec.structs.replace(index, tags={**index.tags, name: version})

    return target.change(release.module, change)


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


def _without(index: Index, name: str, release: ReleaseName | None, location: str) -> Index:
    version = index.tags.get(name)
    if version is None or (release is not None and release.version != Version(version)):
        raise _unknown_tag(index, name, release, location)
    tags = {tag: stands_for for tag, stands_for in index.tags.items() if tag != name}
    return msgspec.structs.replace(index, tags=tags)


def _unknown_tag(index: Index, name: str, release: ReleaseName | None, location: str) -> ModpmError:
    tags = ", ".join(f"{tag} ({version})" for tag, version in sorted(index.tags.items()))
    return ModpmError(
        f"`{release or index.name}` has no tag `{name}`",
        code="unknown-tag",
        where=f"registry {location}",
        why=f"the tags of the module are {tags}" if tags else "the module has no tags",
    )
