"""What publishing leaves on the Hub, and that nothing that goes wrong meanwhile does harm."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from tests.registry.backends.hub.conftest import TOKEN
from tests.registry.backends.hub_cards import tags_of
from tests.registry.backends.hub_server import Account

from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import write_distribution
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.hub.registry import HubRegistry
from modpm.registry.backends.protocol import ReleaseFile
from modpm.registry.backends.retrying import ServerFault
from modpm.registry.backends.web import Request, Web
from modpm.registry.publication.changing import yank
from modpm.registry.storage.transfer import receive

if TYPE_CHECKING:
    from pathlib import Path

    import httpx2
    from tests.registry.backends.hub_server import HubServer, Repository
    from tests.registry.conftest import MakeComposition, MakeDistribution

    from modpm.core.formats.distribution import Distribution

CAT, PETS = ModuleName("digits", "cat"), ModuleName("acme", "pets")


class Crash(BaseException):
    """The end of the process."""


def acme() -> HubRegistry:
    return HubRegistry("hf://acme")


def of_cat(hub: HubServer) -> Repository:
    return hub.repositories["acme/digits.cat"]


def is_change(request: Request) -> bool:
    return request.method != "GET" and "validate-yaml" not in request.url


def is_whole(hub: HubServer, cat: Distribution) -> bool:
    """Tell whether a release is published, and nothing else is left."""
    index = acme().index(CAT)
    assert index is not None
    (release,) = index.releases
    assert release.digest == cat.digest
    for name, record in release.all_files.items():
        with acme().open_file(
            ReleaseFile(CAT, "1.0.0", name, acme().revision(CAT, "1.0.0"))
        ) as file:
            receive(file, record, name)
    held = of_cat(hub)
    expected = {".gitattributes", "index.json", *release.all_files}
    return held.branches.keys() == {"main"} and held.main.keys() == expected


def test_main_has_the_newest_release_and_every_tag_its_own(
    hub: HubServer, make_distribution: MakeDistribution
) -> None:
    for version in ("1.0.0", "2.0.0", "1.0.1", "3.0.0rc1"):
        acme().publish([make_distribution("digits/cat", version)])

    held = of_cat(hub)
    assert b'"version":"2.0.0"' in held.main["manifest.json"].content
    assert sorted(held.tags) == ["v1.0.0", "v1.0.1", "v2.0.0", "v3.0.0rc1"]
    for tag, commit in held.tags.items():
        files = held.commits[commit].files
        assert f'"version":"{tag[1:]}"'.encode() in files["manifest.json"].content
        assert "index.json" not in files
    assert held.branches.keys() == {"main"}


def test_a_pre_release_is_shown_while_there_is_no_other(
    hub: HubServer, make_distribution: MakeDistribution
) -> None:
    acme().publish([make_distribution("digits/cat", "1.0.0rc1")])
    assert b'"version":"1.0.0rc1"' in of_cat(hub).main["manifest.json"].content


def test_a_yanked_release_is_not_shown_beside_a_later_one(
    hub: HubServer, make_distribution: MakeDistribution
) -> None:
    acme().publish([make_distribution("digits/cat", "2.0.0")])
    yank("digits/cat==2.0.0", "wrong labels", "hf://acme")

    acme().publish([make_distribution("digits/cat", "1.0.1")])

    assert b'"version":"1.0.1"' in of_cat(hub).main["manifest.json"].content


def test_what_the_newest_release_does_not_have_leaves_main(
    hub: HubServer, make_distribution: MakeDistribution, repository: Path
) -> None:
    signed = make_distribution("digits/cat")
    vectors = repository / "specs" / "vectors" / "signature"
    signature = (vectors / "valid" / "modpm.json").read_bytes()
    (signed.folder / "signature.json").write_bytes(signature)
    acme().publish([signed])
    assert "signature.json" in of_cat(hub).main

    acme().publish([make_distribution("digits/cat", "1.1.0")])

    assert "signature.json" not in of_cat(hub).main
    with acme().open_file(ReleaseFile(CAT, "1.0.0", "signature.json")) as file:
        assert file.read() == signature


def test_the_card_on_main_is_that_of_the_module_whatever_the_release_has(
    hub: HubServer, make_distribution: MakeDistribution
) -> None:
    cat = make_distribution("digits/cat", summary="Of the release")
    acme().publish([cat])

    card = of_cat(hub).main["README.md"].content.decode()
    assert {"modpm", "modpm-namespace:digits", "modpm-class:7", "image-classification"} <= set(
        tags_of(card)
    )
    with acme().open_file(ReleaseFile(CAT, "1.0.0", "README.md")) as file:
        assert file.read() == (cat.folder / "README.md").read_bytes()


def test_a_publish_that_crashes_anywhere_is_completed_by_publishing_again(
    hub: HubServer, make_distribution: MakeDistribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    cat = make_distribution("digits/cat")
    send = Web.ask
    crashes_left = [0]

    def crashing(web: Web, request: Request) -> httpx2.Response:
        response = send(web, request)
        if is_change(request):
            crashes_left[0] -= 1
            if crashes_left[0] == 0:
                response.close()
                raise Crash
        return response

    acme().publish([cat])
    n_changes = sum(
        not request.startswith("GET") and "validate-yaml" not in request for request in hub.requests
    )
    assert n_changes > 5
    for n in range(1, n_changes + 1):
        hub.repositories.clear()
        crashes_left[0] = n
        with monkeypatch.context() as patched:
            patched.setattr(Web, "ask", crashing)
            with pytest.raises(Crash):
                acme().publish([cat])
        index = acme().index(CAT)
        assert index is None or [r.digest for r in index.releases] == [cat.digest]

        (published,) = acme().publish([cat])

        assert published.is_new == (index is None)
        assert index is not None or is_whole(hub, cat), n


def test_an_answer_that_is_lost_does_no_harm(
    hub: HubServer, make_distribution: MakeDistribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, lost = Web.ask, set()

    def losing(web: Web, request: Request) -> httpx2.Response:
        response = send(web, request)
        if is_change(request) and (request.method, request.url) not in lost:
            response.close()
            lost.add((request.method, request.url))
            raise ServerFault("it was not heard")
        return response

    monkeypatch.setattr(Web, "ask", losing)
    cat = make_distribution("digits/cat")

    (published,) = acme().publish([cat])

    assert published.is_new
    assert len(lost) > 5
    assert is_whole(hub, cat)


def test_a_tag_of_other_files_holds_its_version(
    hub: HubServer, make_distribution: MakeDistribution, tmp_path: Path
) -> None:
    cat = make_distribution("digits/cat")
    acme().publish([cat])
    held = of_cat(hub)
    held.branches["main"] = next(o for o, c in held.commits.items() if c.parent is None)
    assert acme().index(CAT) is None

    other = make_distribution("digits/cat", summary="other", folder=tmp_path / "other")
    with pytest.raises(ModpmError) as caught:
        acme().publish([other])

    assert caught.value.code == "version-taken"
    assert held.branches.keys() == {"main"}
    assert acme().publish([cat])[0].is_new


def test_one_that_is_taken_keeps_all_from_being_published(
    hub: HubServer, make_distribution: MakeDistribution, tmp_path: Path
) -> None:
    acme().publish([make_distribution("digits/dog")])
    other = make_distribution("digits/dog", summary="other", folder=tmp_path / "other")

    with pytest.raises(ModpmError) as caught:
        acme().publish([make_distribution("digits/cat"), other])

    assert caught.value.code == "version-taken"
    assert hub.repositories.keys() == {"acme/digits.dog"}


@pytest.mark.parametrize("name", ["digits/git", f"{'n' * 60}/{'m' * 60}"])
def test_a_name_that_the_hub_does_not_allow_is_refused(
    hub: HubServer, make_distribution: MakeDistribution, name: str
) -> None:
    with pytest.raises(ModpmError) as caught:
        acme().publish([make_distribution(name)])
    assert caught.value.code == "invalid-name"
    assert acme().index(ModuleName.parse(name)) is None
    with pytest.raises(ModpmError) as caught:
        acme().open_file(ReleaseFile(ModuleName.parse(name), "1.0.0", "manifest.json"))
    assert caught.value.code == "missing-file"
    assert hub.requests == []


def test_a_card_that_the_hub_does_not_accept_is_an_error_and_holds_no_version(
    hub: HubServer, make_distribution: MakeDistribution
) -> None:
    cat = make_distribution("digits/cat")
    files = {name: (cat.folder / name).read_bytes() for name in cat.manifest.files}
    files["README.md"] = b"---\nlicense: mine\n---\n"
    own = write_distribution(cat.folder.with_name("own"), cat.manifest, files)
    with pytest.raises(ModpmError) as caught:
        acme().publish([own])
    assert caught.value.code == "invalid-card"
    assert "license" in str(caught.value.why)
    assert acme().index(CAT) is None
    assert of_cat(hub).branches.keys() == {"main"}
    assert acme().publish([cat])[0].is_new


def move_tag(hub: HubServer, repository: str, file: str, content: bytes) -> str:
    """Let the tag of version 1.0.0 name a commit with another file, and return the commit."""
    api = HfApi(endpoint=hub.url, token=TOKEN)
    with warnings.catch_warnings():
        # The library calls its own client in a way that this one wants to give up.
        warnings.simplefilter("ignore", DeprecationWarning)
        other = api.create_commit(
            repository, [CommitOperationAdd(file, content)], commit_message="Other bytes"
        )
    api.delete_tag(repository, tag="v1.0.0")
    api.create_tag(repository, tag="v1.0.0", revision=other.oid)
    return str(other.oid)


def test_a_moved_tag_is_refused_and_what_was_locked_is_kept(
    hub: HubServer, make_distribution: MakeDistribution
) -> None:
    acme().publish([make_distribution("digits/cat")])
    locked = acme().revision(CAT, "1.0.0")
    moved_to = move_tag(hub, "acme/digits.cat", "module.safetensors", b"other tensors")

    with pytest.raises(ModpmError) as caught:
        acme().revision(CAT, "1.0.0")
    assert caught.value.code == "release-changed"
    assert moved_to in str(caught.value)

    with acme().open_file(ReleaseFile(CAT, "1.0.0", "module.safetensors", locked)) as file:
        assert file.read() != b"other tensors"


def test_a_composition_has_a_repository_with_card_tags_and_no_tensors(
    hub: HubServer, make_distribution: MakeDistribution, make_composition: MakeComposition
) -> None:
    cat = make_distribution("digits/cat")
    acme().publish([make_composition("acme/pets", [cat]), cat])
    held = hub.repositories["acme/acme.pets"]
    assert held.main.keys() == {
        *(".gitattributes", "index.json", "manifest.json", "README.md", "LICENSE"),
    }
    assert {"modpm", "modpm-namespace:acme", "modpm-composition", "modpm-class:cat"} <= set(
        held.card_tags
    )


def test_a_composition_appears_after_its_class_modules(
    hub: HubServer, make_distribution: MakeDistribution, make_composition: MakeComposition
) -> None:
    members = [make_distribution(f"digits/{name}") for name in ("cat", "cow", "dog")]
    acme().publish([make_composition("acme/pets", members), *members])
    made = [r.partition(" ")[2] for r in hub.requests if "/commit/" in r or "/tag/" in r]
    first = next(i for i, path in enumerate(made) if "acme.pets" in path)
    assert sum("/tag/" in path and "digits." in path for path in made[:first]) == 3
    assert not any("digits." in path for path in made[first:])


def test_a_moved_tag_of_a_composition_is_refused(
    hub: HubServer, make_distribution: MakeDistribution, make_composition: MakeComposition
) -> None:
    cat = make_distribution("digits/cat")
    acme().publish([cat, make_composition("acme/pets", [cat])])
    locked = acme().revision(PETS, "1.0.0")
    moved_to = move_tag(hub, "acme/acme.pets", "manifest.json", b"{}")

    with pytest.raises(ModpmError) as caught:
        acme().revision(PETS, "1.0.0")

    assert caught.value.code == "release-changed"
    assert moved_to in str(caught.value)
    with acme().open_file(ReleaseFile(PETS, "1.0.0", "manifest.json", locked)) as file:
        assert file.read() != b"{}"


def test_strangers_are_refused_and_their_token_is_not_said_back(
    hub: HubServer, make_distribution: MakeDistribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.accounts["hf_of-bob"] = Account("bob", ())
    monkeypatch.setenv("HF_TOKEN", "hf_of-bob")
    with pytest.raises(ModpmError) as caught:
        acme().publish([make_distribution("digits/cat")])
    assert caught.value.code == "not-authorized"
    assert "modpm login" in str(caught.value.hint)
    assert "(your token)" in str(caught.value.why)
    error: BaseException | None = caught.value
    while error is not None:
        assert "hf_of-bob" not in f"{error} {error!r} {vars(error)}"
        error = error.__context__
