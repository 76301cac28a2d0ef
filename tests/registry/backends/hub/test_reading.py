"""What modpm makes of the Hub's answers, good and bad, and of none."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants
from tests.registry.backends.hub.conftest import TOKEN

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.registry.backends import retrying
from modpm.registry.backends.hub.naming import module_of, repository_of
from modpm.registry.backends.hub.registry import HubRegistry
from modpm.registry.backends.opening import open_backend
from modpm.registry.backends.protocol import ReleaseFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.registry.backends.hub_server import HubServer
    from tests.registry.conftest import MakeDistribution

CAT = ModuleName("digits", "cat")

READS: dict[str, Callable[[HubRegistry], object]] = {
    "index": lambda registry: registry.index(CAT),
    "names": lambda registry: registry.names(),
    "catalogue": lambda registry: registry.catalogue(None, {}),
    "revision": lambda registry: registry.revision(CAT, "1.0.0"),
    "file": lambda registry: registry.open_file(ReleaseFile(CAT, "1.0.0", "manifest.json")),
}
each_read = pytest.mark.parametrize("read", READS.values(), ids=READS)


def acme() -> HubRegistry:
    return HubRegistry("hf://acme")


def error_of(read: Callable[[HubRegistry], object]) -> ModpmError:
    with pytest.raises(ModpmError) as caught:
        read(acme())
    assert TOKEN not in str(caught.value)
    return caught.value


def unreachable_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.parametrize("location", ["hf://acme/models", "hf://a--b", "hf://-x", "hf://a b"])
def test_an_address_names_one_owner(location: str) -> None:
    with pytest.raises(ModpmError) as caught:
        open_backend(location)
    assert (caught.value.code, caught.value.exit_code) == ("unknown-registry-kind", 2)


@pytest.mark.parametrize("name", ["digits/7", "a-b/c-d", "n/m"])
def test_a_repository_and_its_module_name_each_other(name: str) -> None:
    module = ModuleName.parse(name)
    repository = repository_of("acme", module)
    assert repository is not None
    assert module_of("acme", repository) == module
    assert module_of("other", repository) is None


@pytest.mark.parametrize(
    "id", ["acme/bert", "acme/a.b.c", "acme/Digits.7", "acme/.7", "acme/a_b.c"]
)
def test_repositories_of_other_names_are_no_modules(id: str) -> None:  # noqa: A002 -- the Hub's
    assert module_of("acme", id) is None


def test_repositories_that_are_no_modules_are_passed_over(
    hub: HubServer, make_distribution: MakeDistribution
) -> None:
    acme().publish([make_distribution("digits/cat")])
    api = HfApi(endpoint=hub.url, token=TOKEN)
    card = b"---\nlibrary_name: modpm\ntags:\n- modpm\n---\n"
    for name in ("acme/bert", "acme/digits.unfinished"):
        api.create_repo(name)
        add = CommitOperationAdd("README.md", card)
        api.create_commit(name, [add], commit_message="A card alone")

    assert acme().names() == [CAT]
    assert [shard.key for shard in acme().catalogue(None, {})] == ["digits/cat"]


def test_what_has_not_changed_since_it_was_seen_is_not_read_again(
    hub: HubServer, make_distribution: MakeDistribution
) -> None:
    acme().publish([make_distribution(f"digits/{n}") for n in ("cat", "dog")])
    seen = {shard.key: shard.state or "" for shard in acme().catalogue(None, {})}
    hub.requests.clear()

    assert [shard.entries for shard in acme().catalogue(None, seen)] == [None, None]
    assert len(hub.requests) == 1

    acme().publish([make_distribution("digits/dog", "1.1.0")])
    cat, dog = acme().catalogue(None, seen)
    assert cat.entries is None
    assert dog.entries is not None
    assert [entry and entry.version for entry in dog.entries.values()] == ["1.1.0"]


@each_read
def test_wrong_tokens_are_refused(
    hub: HubServer,
    make_distribution: MakeDistribution,
    monkeypatch: pytest.MonkeyPatch,
    read: Callable[[HubRegistry], object],
) -> None:
    acme().publish([make_distribution("digits/cat")])
    assert hub.accounts.pop(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    error = error_of(read)
    assert error.code == "not-authorized"
    assert "modpm login" in str(error.hint)


def test_what_is_private_is_missing_for_others(
    hub: HubServer, make_distribution: MakeDistribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme().publish([make_distribution("digits/cat")])
    hub.repositories["acme/digits.cat"].is_private = True
    assert acme().names() == [CAT]

    monkeypatch.delenv("HF_TOKEN")
    assert acme().names() == []
    assert acme().index(CAT) is None
    error = error_of(READS["file"])
    assert error.code == "missing-file"
    assert "modpm login" in str(error.hint)


def test_what_is_gated_needs_its_owner(
    hub: HubServer, make_distribution: MakeDistribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme().publish([make_distribution("digits/cat")])
    hub.repositories["acme/digits.cat"].is_gated = True
    monkeypatch.delenv("HF_TOKEN")

    assert error_of(READS["index"]).code == "not-authorized"


@each_read
def test_a_hub_that_cannot_be_reached_is_given_up_in_seconds(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[HubRegistry], object]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unreachable_port()}")
    start = time.monotonic()
    assert error_of(read).code == "network-failed"
    assert time.monotonic() - start < 10


def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert error_of(READS["names"]).code == "network-failed"


def test_what_others_in_the_process_ask_is_left_to_the_library(hub: HubServer) -> None:
    acme().names()
    api = HfApi(endpoint=f"http://127.0.0.1:{unreachable_port()}", token=False)
    with pytest.raises(httpx2.ConnectError):
        api.model_info("acme/bert")
    assert hub.requests


@each_read
def test_offline_nothing_is_asked(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, read: Callable[[HubRegistry], object]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    error = error_of(read)
    assert error.code == "network-failed"
    assert "HF_HUB_OFFLINE" in str(error.why)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("path", "answer", "read"),
    [
        ("/api/models", b"<html>", "names"),
        ("/api/models", b'{"error": 1}', "names"),
        ("/api/models", b"[1]", "names"),
        ("/api/models", b'[{"siblings": 7}]', "names"),
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error(
    hub: HubServer, path: str, answer: bytes, read: str
) -> None:
    hub.nonsense[path] = answer
    assert error_of(READS[read]).code == "network-failed"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"not JSON", "invalid-json"),
        (b'{"format_version":1,"name":"digits/dog"}', "invalid-index"),
        (b'{"format_version":2,"name":"digits/cat"}', "unknown-format-version"),
        (b" " * (4 * 1024 * 1024 + 1), "too-large"),
    ],
    ids=["nonsense", "of another", "of the future", "endless"],
)
def test_an_index_is_distrusted(hub: HubServer, content: bytes, code: str) -> None:
    hub.nonsense["/acme/digits.cat/resolve/main/index.json"] = content
    assert error_of(READS["index"]).code == code


def test_an_index_without_tensors_does_not_confuse_a_pin(
    hub: HubServer, make_distribution: MakeDistribution
) -> None:
    acme().publish([make_distribution("digits/cat")])
    held = hub.repositories["acme/digits.cat"]
    index = json.loads(held.main["index.json"].content)
    index["releases"][0]["files"] = {}
    path = "/acme/digits.cat/resolve/main/index.json"
    hub.nonsense[path] = json.dumps(index).encode()

    assert acme().revision(CAT, "1.0.0") == held.tags["v1.0.0"]


def test_the_whole_of_a_file_is_cut_where_the_range_was_not_heard(
    hub: HubServer, make_distribution: MakeDistribution
) -> None:
    cat = make_distribution("digits/cat")
    acme().publish([cat])
    whole = (cat.folder / "manifest.json").read_bytes()
    hub.nonsense["/acme/digits.cat/resolve/v1.0.0/manifest.json"] = whole

    with acme().open_file(ReleaseFile(CAT, "1.0.0", "manifest.json"), 1000) as file:
        assert file.read() == whole[1000:]


def test_a_lock_with_a_commit_that_is_gone_is_explained(
    hub: HubServer, make_distribution: MakeDistribution
) -> None:
    acme().publish([make_distribution("digits/cat")])
    assert hub.repositories
    with pytest.raises(ModpmError) as caught:
        acme().open_file(ReleaseFile(CAT, "1.0.0", "manifest.json", "0" * 40))
    assert caught.value.code == "missing-file"
    assert "commit" in str(caught.value.why)
