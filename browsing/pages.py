"""Pages: templates filled in, the same for the server and for a folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePath
from shlex import quote
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from msgspec import UNSET

from modpm.browsing import words
from modpm.browsing.listing import MAX_COUNTED, Listing
from modpm.browsing.readme import render
from modpm.core.errors import ModpmError
from modpm.core.estimating.machine import estimate, kept_machine
from modpm.core.estimating.together import overlap
from modpm.core.formats.manifest import Manifest
from modpm.core.shown_text import as_text
from modpm.registry.discovery.local_catalogue import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.browsing.listing import Module, OriginGroup, Page, Row
    from modpm.core.estimating.machine import Machine
    from modpm.core.formats.manifest import RetainedKernels
    from modpm.registry.discovery.local_catalogue import Order

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'"
)
"""What a page may load and do: its own files, and nothing inline."""

STATIC = {"browse.js": "text/javascript", "icon.svg": "image/svg+xml", "style.css": "text/css"}
"""Files that pages load, and their types."""

MAX_COMPARED = 32
MAX_PROBLEMS = 20


@dataclass(frozen=True)
class Site:
    """What all pages say.

    Attributes:
        listing: What is browsed.
        token: What a page shows to post something; None where there is no server.
    """

    listing: Listing
    token: str | None = None

    @property
    def is_static(self) -> bool:
        """Whether the pages are files."""
        return self.token is None

    @property
    def title(self) -> str:
        """What is browsed, in words."""
        return {
            "registry": "Registry",
            "project": "Installed in",
            "folder": "Distributions in",
        }[self.listing.kind]

    @property
    def place(self) -> str:
        """Where that is; pages for others tell of a folder here no more than its name."""
        location = self.listing.location
        is_known_to_readers = self.listing.kind == "registry" or not self.is_static
        return location if is_known_to_readers else PurePath(location).name


class Wish(NamedTuple):
    """What the list shows.

    Attributes:
        query: What modules meet.
        order: What comes first.
        number: The page, from 1.
    """

    query: Query = Query()
    order: Order = "name"
    number: int = 1


def list_page(site: Site, wish: Wish | None = None, page: Page | None = None) -> str:
    """Return the page of all modules, or of those that are looked for.

    Args:
        site: What all pages say.
        wish: What is looked for; None for everything.
        page: What is found; None to look.
    """
    wish = wish or Wish()
    page = page or site.listing.page(*wish)
    return _page(
        site,
        "list.html",
        page=page,
        wish=wish,
        choices=site.listing.choices(),
        max_counted=MAX_COUNTED,
        is_filtered=wish.query._replace(text="") != Query(),
    )


def module_page(site: Site, module: Module) -> str:
    """Return the page of a module or a composition."""
    manifest = module.manifest
    return _page(
        site,
        "module.html" if isinstance(manifest, Manifest) else "composition.html",
        root="../../",
        module=module,
        manifest=manifest,
        release=module.release,
        readme=None if module.readme is None else render(module.readme),
        problems=[*site.listing.problems, *module.problems],
        **(_of_module(manifest, module) if isinstance(manifest, Manifest) else {}),
    )


def picture_address(digest: str) -> str:
    """Return where a picture is, seen from the first page."""
    return f"p/{digest.removeprefix('sha256:')}.png"


def _of_module(manifest: Manifest, module: Module) -> dict[str, Any]:
    origin = manifest.origin
    return {
        "examples": [
            (address and picture_address(address), words.says(example.score))
            for address, example in (
                (module.pictures.get(file), example)
                for file, example in manifest.all_examples.items()
            )
        ],
        "layers": words.layers(manifest.retained),
        "costs": [
            (title, form(own), form(whole), own / whole if whole else None)
            for title, form, own, whole in (
                ("Tensors", words.size, manifest.size_bytes, origin.size_bytes),
                ("Parameters", words.count, manifest.n_parameters, origin.n_parameters),
                ("MACs an image", words.count, manifest.macs, origin.macs),
            )
        ],
        "own_class": origin.classes[manifest.output.class_index],
        "confused": None if manifest.confusion is UNSET else manifest.confusion.classes,
        "sisters": [
            name for i, name in enumerate(origin.classes) if i != manifest.output.class_index
        ],
    }


def module_data(module: Module, machine: Machine | None = None) -> Row:
    """Return what the basket adds up of a module.

    Args:
        module: The module.
        machine: Where an image's time is estimated, if the page is for this machine.
    """
    manifest = module.manifest
    files = {one.digest: one.size_bytes for one in module.release.installed_files.values()}
    own: Row = {}
    if isinstance(manifest, Manifest):
        own = {
            "macs": manifest.macs,
            "channels": manifest.input.channels,
            "input": words.input_kind(manifest.input),
            "data": [as_text(manifest.provenance.data_set)],
            "tensors_bytes": manifest.size_bytes,
            "milliseconds": machine and _milliseconds(manifest, machine),
        }
    else:
        measured = dict.fromkeys(one.data_set for one in manifest.composition.measured)
        own = {
            "macs": manifest.composition.macs,
            "data": list(map(as_text, measured)),
            "tensors_bytes": manifest.composition.size_bytes,
        }
    return {**module.row, **own, "files": files}


def _milliseconds(manifest: Manifest, machine: Machine) -> float | None:
    """Return what an image takes alone; None where the network, which is a stranger's, is none."""
    try:
        return 1000 * estimate([manifest.graph], machine)[0].seconds
    except ModpmError:
        return None


def origin_page(site: Site, group: OriginGroup) -> str:
    """Return the page of an origin: its class modules side by side."""
    manifests = [manifest for _, manifest in group.members]
    return _page(
        site,
        "origin.html",
        root="../",
        group=group,
        origin=manifests[0].origin if manifests else None,
        side_by_side=_side_by_side(manifests[:MAX_COMPARED]),
        overlaps=_overlaps(manifests[:MAX_COMPARED]),
        composed=[m.composed for m in manifests if getattr(m.composed, "n", None)][:1],
        problems=[*site.listing.problems, *group.problems],
    )


def _side_by_side(manifests: Sequence[Manifest]) -> list[tuple[str, list[tuple[str, words.Layer]]]]:
    """Return for each layer what each module retains of it."""
    drawn = [{one.name: one for one in words.layers(m.retained)} for m in manifests]
    merged: dict[str, RetainedKernels] = {}
    for manifest in manifests:
        merged |= manifest.retained
    return [
        (
            layer.name,
            [
                (m.label, mine[layer.name])
                for m, mine in zip(manifests, drawn, strict=True)
                if layer.name in mine
            ],
        )
        for layer in words.layers(merged)
    ]


def _overlaps(manifests: Sequence[Manifest]) -> list[tuple[str, list[float]]]:
    return [(a.label, [overlap(a, b) for b in manifests]) for a in manifests]


def basket_page(site: Site) -> str:
    """Return the page of what was ticked, which its script fills in."""
    return _page(site, "basket.html", machine=this_machine(site))


def this_machine(site: Site) -> Machine | None:
    """Return what was measured of this machine; None for pages for other machines, too."""
    if site.is_static:
        return None
    try:
        return kept_machine()
    except ModpmError:
        return None


def error_page(site: Site, error: ModpmError, root: str | None = None) -> str:
    """Return a page that says what is wrong.

    Args:
        site: What all pages say.
        error: What is.
        root: The way to the first page; None for any address of a server.
    """
    return _page(site, "error.html", root=root, error=error)


def static_file(name: str) -> bytes:
    """Return a file that pages load, one of `STATIC`."""
    return (files("modpm.browsing") / "static" / name).read_bytes()


def _page(site: Site, template: str, root: str | None = "", **values: Any) -> str:  # noqa: ANN401 -- whatever templates show
    is_registry = site.listing.kind == "registry"
    everywhere = {
        "site": site,
        "listing": site.listing,
        "problems": site.listing.problems,
        "max_problems": MAX_PROBLEMS,
        "root": "/" if root is None else root,
        "option": f" --registry {quote(site.listing.location)}" if is_registry else "",
        "policy": POLICY,
        "listed_times": is_registry,
        "newline": Markup("\n"),
    }
    return _environment().get_template(template).render({**everywhere, **values})


def _shown(value: object) -> object:
    """Return a value as a template may write it: `as_text`, then escaped by the template."""
    return as_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("modpm.browsing", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for word in ("size", "count", "share", "percent", "digits", "listed"):
        environment.filters[word] = getattr(words, word)
    environment.globals.update(sentence=words.sentence, input_kind=words.input_kind)
    return environment
