"""What class modules cost together that are of the same origins as those that just came."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.estimating.together import Member, cost_together, described
from modpm.core.formats.release_files import MANIFEST_FILE

if TYPE_CHECKING:
    from modpm.core.estimating.together import Together
    from modpm.registry.installing.installation import Installation


def cost_of_touched(installation: Installation) -> Together | None:
    """Count what the installed class modules of the origins cost of which some came.

    Args:
        installation: What was installed.

    Returns:
        None where no class module came, or nothing was installed: then there is no manifest.
    """
    came = {change.name for change in installation.changes if change.after is not None}
    pins = [] if installation.plan is None else installation.plan.lock.pins
    paths = {module.name: module.path / MANIFEST_FILE for module in installation.modules}
    with suppress(OSError, msgspec.DecodeError, ModpmError):  # nothing hangs on it
        modules = {pin.module: pin for pin in pins if not pin.is_composition}
        known = {name: described(paths[name].read_bytes()) for name in modules if name in came}
        origins = {one.origin.digest for one in known.values()}
        for name in modules.keys() - came if origins else ():
            data = paths[name].read_bytes()
            if any(origin.encode() in data for origin in origins):  # most are of none: not decoded
                known[name] = described(data)
        members = [
            Member(one, modules[name].files)
            for name, one in sorted(known.items())
            if one.origin.digest in origins  # which a manifest may also name elsewhere
        ]
        return cost_together(members) if members else None
    return None
