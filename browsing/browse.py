"""The verb `browse`: serve pages on this machine, or write them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.system.whole_files import explained
from modpm.registry.addresses import given_address
from modpm.registry.installing.installed import installed
from modpm.registry.projects.project import Project

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from modpm.browsing.listing import Listing

PORT = 8765
_PACKAGES = ("jinja2", "markdown_it", "nh3", "starlette", "uvicorn")


def browse(
    folder: str | os.PathLike[str] | None = None,
    project: str | os.PathLike[str] = ".",
    registry: str | os.PathLike[str] | None = None,
    *,
    port: int = PORT,
    export: str | os.PathLike[str] | None = None,
    report: Callable[[str], None] = lambda _sentence: None,
) -> None:
    """Show class modules and compositions on web pages, on this machine, until it is interrupted.

    Args:
        folder: Show the distributions in this folder.
        project: Without a folder or a registry, show what this project has installed; pictures
            are judged by that, whatever is shown.
        registry: Show this registry.
        port: Where pages are, on this machine; 0 for any port that is free.
        export: Write the pages to this folder, and serve nothing.
        report: Told the address of the pages, or where they were written.

    Raises:
        ModpmError: `missing-extra`; `usage`, for a folder and a registry; `port-in-use`;
            `folder-not-empty`; what a registry or a folder raises that cannot be read.
    """
    _check_packages()
    with explained("browse"):
        listing = _listing(folder, project, registry)
        if export is not None:
            from modpm.browsing.export import export as write  # noqa: PLC0415 -- needs the extra

            n = write(listing, Path(export).expanduser(), report)
            report(f"{n} modules written to {Path(export) / 'index.html'}; any web server shows it")
            return
        from modpm.browsing.scoring import Scorer  # noqa: PLC0415 -- as above
        from modpm.browsing.server import serve  # noqa: PLC0415 -- as above

        serve(listing, Scorer(project), port, report)


def _listing(
    folder: str | os.PathLike[str] | None,
    project: str | os.PathLike[str],
    registry: str | os.PathLike[str] | None,
) -> Listing:
    from modpm.browsing.listing import Listing  # noqa: PLC0415 -- slow to import
    from modpm.browsing.shelf import Folders  # noqa: PLC0415 -- as above
    from modpm.registry.publication.publishing import distribution_folders  # noqa: PLC0415 -- as above

    if folder is not None and registry is not None:
        raise ModpmError(
            "a folder of distributions and a registry cannot be shown together",
            code="usage",
            hint="leave one of them out",
            exit_code=2,
        )
    if registry is not None:
        here = Path.cwd()
        address = given_address(registry, here)
        return Listing(address.open(here), "registry", lambda: address.open(here))
    if folder is not None:
        at = Path(folder).expanduser()
        return Listing(Folders(str(at.absolute()), distribution_folders(at)), "folder")
    place = Project.discover(project)
    there = [module.path for module in installed(project)]
    return Listing(Folders(str(place.root), there), "project")


def _check_packages() -> None:
    absent = [name for name in _PACKAGES if find_spec(name) is None]
    if absent:
        raise ModpmError(
            f"pages need {'the packages' if len(absent) > 1 else 'the package'} "
            + ", ".join(f"`{name}`" for name in absent),
            code="missing-extra",
            why="not installed",
            hint="pip install 'modpm[browse]'",
        )
