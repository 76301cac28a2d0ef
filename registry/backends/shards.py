"""The catalogue: what search shows of the modules of a registry (`specs/catalogue.md`).

A registry of files has one document for each namespace, its shard; a large namespace has several.
They are made from the indexes, and nothing is installed by them.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Literal, NamedTuple, Self, TypeVar

import msgspec
from msgspec.structs import replace

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.composition_manifest import MAX_MODULES
from modpm.core.formats.digest import Digest
from modpm.core.formats.manifest import ClassMetrics, Count, Label, License, Text
from modpm.core.formats.measurement import Measurement
from modpm.core.formats.names import ModuleName
from modpm.core.formats.records import Record, check_format_version, convert, said_alike, to_plain
from modpm.core.system.threads import in_threads
from modpm.registry.backends.layout import is_name
from modpm.registry.index import CompositionRelease, Index, ModuleRelease

Look = Callable[[ModuleName], Index | None]

FORMAT_VERSION = 1
MAX_SHARD_BYTES = 2 * 1024 * 1024
MAX_SHARDS = 1024
"""Of one namespace."""

N_READERS = 32
"""How many documents are asked for together where a server is far away."""

MAX_ENTRY_BYTES = 32 * 1024
_NUMBERS_OF_SHARDS = frozenset(2**i for i in range(MAX_SHARDS.bit_length()))
_KEPT_LABELS, _KEPT_SUMMARY = 16, 500
DAMAGED = frozenset(
    {
        *("invalid-catalogue", "invalid-index", "invalid-json", "too-large"),
        *("not-a-regular-file", "skipped-release", "unknown-format-version"),
    }
)
"""What is wrong with one document and says nothing of any other."""

Result = TypeVar("Result")


def unless_damaged(read: Callable[[], Result]) -> tuple[Result | None, ModpmError | None]:
    """Return what is read of one document; or None, and why it cannot be used."""
    try:
        return read(), None
    except ModpmError as error:
        if error.code not in DAMAGED:
            raise
        return None, error


class Entry(Record, frozen=True, kw_only=True):
    """What is shown of a module: its newest release that is offered.

    Attributes:
        labels: The class of a module; all that a composition tells apart.
        metrics: How well a module recognizes its class, on each split that was measured.
        measured: What a composition was measured at, without the names of the classes.
        requires: Requirements on class modules.
        origin: The digest of the network that a module was cut from; None of a composition.
        signer: The key that it is signed with, as its signature says.
    """

    version: Text
    digest: Digest
    kind: Literal["module", "composition"]
    labels: Annotated[list[Label], msgspec.Meta(min_length=1, max_length=MAX_MODULES)]
    summary: str = ""
    license: License
    size_bytes: Count
    metrics: list[ClassMetrics] = msgspec.field(default_factory=list)
    measured: list[Measurement] = msgspec.field(default_factory=list)
    requires: list[Text] = msgspec.field(default_factory=list)
    origin: Digest | None = None
    signer: Text | None = None

    @classmethod
    def of(cls, index: Index) -> Self | None:
        """Return the entry of a module; None if no release of it is offered."""
        release = index.newest()
        if release is None:
            return None
        said = said_alike(cls, release)
        if isinstance(release, CompositionRelease):
            said["labels"] = release.composition.labels
            said["measured"] = [
                replace(m, classes=[], per_class=msgspec.UNSET)
                for m in release.composition.measured
            ]
        elif isinstance(release, ModuleRelease):
            said |= {"kind": "module", "labels": [release.label]}
        entry = cls(**said)
        return entry._bounded()

    def _bounded(self) -> Self:
        """Return the entry, or so much of it that it leaves room for others (clause C-5)."""
        if len(canonical_json.encode(to_plain(self))) <= MAX_ENTRY_BYTES:
            return self
        labels, summary = self.labels[:_KEPT_LABELS], self.summary[:_KEPT_SUMMARY]
        kept = replace(self, metrics=[], measured=[], labels=labels, summary=summary)
        return replace(kept, requires=[])


Entries = dict[str, Entry | None]
"""By the names of modules; None where no release is offered."""


class Shard(NamedTuple):
    """A part of a catalogue, as a backend gives it.

    Attributes:
        key: Names the part, for ever.
        state: Names what it holds now; None if only reading it tells.
        entries: What it holds; None if that is what was seen under this state.
        problem: Why some of it cannot be used.
    """

    key: str
    namespace: str
    state: str | None
    entries: Entries | None
    problem: ModpmError | None = None


def shard_paths(namespace: str, n_shards: int) -> list[str]:
    """Return where the shards of a namespace are (clause C-2)."""
    if n_shards == 1:
        return [f"{namespace}/catalogue.json"]
    return [f"{namespace}/catalogue-{i}-of-{n_shards}.json" for i in range(n_shards)]


def shard_of(name: str, n_shards: int) -> int:
    """Return the number of the shard that has a name (clause C-2)."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) % n_shards


def plain(entries: Entries) -> dict[str, canonical_json.Json]:
    """Return entries as a shard holds them."""
    return {name: None if one is None else to_plain(one) for name, one in entries.items()}


def encode_shard(modules: Mapping[str, canonical_json.Json]) -> bytes:
    """Return the bytes of a shard."""
    return canonical_json.encode({"format_version": FORMAT_VERSION, "modules": modules})


def decode_shard(data: bytes, where: str) -> dict[str, canonical_json.Json]:
    """Return what a shard holds by name, from bytes that nobody has vouched for.

    Raises:
        ModpmError: `invalid-catalogue`, `unknown-format-version`, `invalid-json`, `too-large`.
    """
    return _listed(data, "modules", where)


def read_entries(modules: Mapping[str, canonical_json.Json]) -> tuple[Entries, list[str]]:
    """Return the entries of a shard, and the names of those that cannot be used (clause C-7).

    What is no name is passed over.
    """
    entries: Entries = {}
    damaged = []
    for name, raw in modules.items():
        if not is_name(name):
            continue
        try:
            entries[name] = convert(raw, Entry) if raw is not None else None
        except msgspec.ValidationError:
            entries[name] = None
            damaged.append(name)
    return entries, damaged


def encode_counts(counts: Mapping[str, int]) -> bytes:
    """Return the document that says how many shards each namespace has."""
    namespaces = {namespace: {"n_shards": n} for namespace, n in counts.items()}
    return canonical_json.encode({"format_version": FORMAT_VERSION, "namespaces": namespaces})


def decode_counts(data: bytes, where: str) -> dict[str, int]:
    """Return how many shards each namespace has; what is no namespace is passed over."""
    listed = _listed(data, "namespaces", where)
    counts = {name: _n_shards(one) for name, one in listed.items() if is_name(name)}
    return {name: n for name, n in sorted(counts.items()) if n is not None}


def invalid_catalogue(where: str, why: str) -> ModpmError:
    """Return the error of a catalogue that cannot be used."""
    return ModpmError(
        "the catalogue cannot be used",
        code="invalid-catalogue",
        where=where,
        why=why,
        hint="ask whoever keeps the registry to run `modpm registry reindex`",
    )


def _listed(data: bytes, kind: str, where: str) -> dict[str, canonical_json.Json]:
    raw = canonical_json.decode(data, where)
    check_format_version(raw, FORMAT_VERSION, what="the catalogue", where=where)
    listed = raw.get(kind) if isinstance(raw, dict) else None
    if not isinstance(listed, dict):
        raise invalid_catalogue(where, f"it has no object `{kind}`")
    return listed


def _n_shards(raw: canonical_json.Json) -> int | None:
    n = raw.get("n_shards") if isinstance(raw, dict) else None
    return n if type(n) is int and n in _NUMBERS_OF_SHARDS else None


def scanned(index: Look, modules: Sequence[ModuleName], *, is_near: bool = False) -> list[Shard]:
    """Return what a catalogue says of modules, by reading the index of each."""
    return in_threads(
        partial(scanned_module, index),
        modules,
        "indexes cannot be read",
        n_threads=N_READERS,
        is_brief=lambda _module: is_near,
    )


def scanned_module(index: Look, module: ModuleName) -> Shard:
    """Return the part of a catalogue that is one module, by reading its index."""
    shard = Shard(str(module), module.namespace, None, {})
    found, damage = unless_damaged(partial(index, module))
    if damage is not None:
        return shard._replace(entries={module.name: None}, problem=damage)
    if found is None:
        return shard
    problem = found.cannot_use(found.skipped) if found.skipped else None
    return shard._replace(entries={module.name: Entry.of(found)}, problem=problem)
