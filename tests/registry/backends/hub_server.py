"""A strict server of the Hugging Face Hub's protocol, on loopback, for the real client.

It holds model repositories in memory. Whatever the Hub would refuse it refuses: unknown routes and
parameters, stale parents (412), tags that are taken (409), tokens that it does not know (401),
strangers (403), cards that the Hub would not take (400), uploads whose bytes are not those of
their name. Large files come and go by signed addresses of another host, which must see no token.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from tests.registry.backends.hub_cards import card_problems, tags_of

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]

_OID = re.compile(r"[0-9a-f]{40}")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


class Refused(Exception):  # noqa: N818 -- the answer of a server, which is no error of ours
    """An answer that is not the one that was hoped for."""

    def __init__(self, status: int, message: str, code: str | None = None, **more: object) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.more = more


class Account(NamedTuple):
    """Who a token belongs to, and where it may write."""

    name: str
    organizations: tuple[str, ...]


@dataclass(frozen=True)
class Blob:
    """The content of a file."""

    content: bytes
    is_lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def oid(self) -> str:
        """What git calls it; of a large file, the pointer to it."""
        data = self.pointer if self.is_lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324 -- git's

    @property
    def pointer(self) -> bytes:
        return (
            "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{self.sha256}\nsize {len(self.content)}\n"
        ).encode()


@dataclass(frozen=True)
class Commit:
    """A state of all files."""

    parent: str | None
    summary: str
    files: dict[str, Blob]

    @property
    def oid(self) -> str:
        names = {path: blob.oid for path, blob in self.files.items()}
        text = json.dumps([self.parent, self.summary, names], sort_keys=True)
        return hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 -- as git does


@dataclass
class Repository:
    """A model repository."""

    id: str
    is_private: bool
    is_gated: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    lfs: dict[str, bytes] = field(default_factory=dict)
    n_downloads: int = 0

    @property
    def owner(self) -> str:
        return self.id.partition("/")[0]

    def add(self, branch: str, commit: Commit) -> str:
        self.commits[commit.oid] = commit
        self.branches[branch] = commit.oid
        return commit.oid

    def resolve(self, revision: str) -> str:
        found = self.branches.get(revision) or self.tags.get(revision)
        if found is None and revision in self.commits:
            found = revision
        if found is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found

    def blob(self, revision: str, path: str) -> Blob:
        blob = self.commits[self.resolve(revision)].files.get(path)
        if blob is None:
            raise Refused(404, "Entry not found", "EntryNotFound")
        return blob

    @property
    def main(self) -> dict[str, Blob]:
        return self.commits[self.branches["main"]].files

    @property
    def card_tags(self) -> list[str]:
        card = self.main.get("README.md")
        return [] if card is None else tags_of(card.content.decode())


class HubServer:
    """The server, and what a test may look at and change behind the client's back."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.nonsense: dict[str, bytes] = {}
        """What to answer to requests of these paths, whatever they ask."""
        self.page_size = 2
        self.lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("_", (_Hub,), {"hub": self}))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def running_hub() -> Iterator[HubServer]:
    """Run a server for as long as the block lasts."""
    hub = HubServer()
    try:
        yield hub
    finally:
        hub.stop()


class _Answering(BaseHTTPRequestHandler):
    """What both addresses have in common."""

    hub: HubServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # with the next line: without them every answer waits 44 ms for the client
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base's
        """Print nothing."""

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        # Always read: what is left of a body would be taken for the next request.
        self.content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.parameters = parse_qs(parts.query, keep_blank_values=True)
        with self.hub.lock:
            self.hub.requests.append(f"{self.command} {self.path}")
            try:
                self.route(parts.path)
            except Refused as refusal:
                self.refuse(refusal)
            except (KeyError, ValueError, TypeError) as error:
                self.refuse(Refused(400, f"malformed: {type(error).__name__}"))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 -- the base's

    def route(self, path: str) -> None:
        raise NotImplementedError  # each server has routes of its own

    def allow_parameters(self, *names: str) -> None:
        if unknown := self.parameters.keys() - set(names):
            raise Refused(400, f"unknown parameters: {', '.join(sorted(unknown))}")

    def refuse(self, refusal: Refused) -> None:
        headers = {"X-Error-Message": refusal.message}
        if refusal.code is not None:
            headers["X-Error-Code"] = refusal.code
        self.answer_json({"error": refusal.message, **refusal.more}, refusal.status, headers)

    def answer_json(
        self, value: object, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        content = json.dumps(value).encode()
        self.answer(content, status, {"Content-Type": "application/json", **(headers or {})})

    def answer(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def answer_file(self, content: bytes, headers: dict[str, str]) -> None:
        wanted = self.headers.get("Range")
        if wanted is None:
            self.answer(content, 200, {"Accept-Ranges": "bytes", **headers})
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
        if asked is None:
            raise Refused(400, "that range cannot be read")
        first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        if first > last:
            self.answer(b"", 416, {"Content-Range": f"bytes */{len(content)}"})
            return
        span = f"bytes {first}-{last}/{len(content)}"
        self.answer(content[first : last + 1], 206, {"Content-Range": span, **headers})


class _Hub(_Answering):
    """The Hub itself."""

    def route(self, path: str) -> None:
        if path in self.hub.nonsense:
            self.answer(self.hub.nonsense[path], 200, {})
            return
        if path.startswith("/storage/"):
            self.store(path)
            return
        account = self.account()
        for method, pattern, answer in _ROUTES:
            matched = re.fullmatch(pattern, path)
            if matched is not None and self.command in method.split():
                groups = {name: unquote(text) for name, text in matched.groupdict().items()}
                answer(self, account, **groups)
                return
        raise Refused(404, f"there is no {self.command} {path}")

    def account(self) -> Account | None:
        header = self.headers.get("Authorization")
        if header is None:
            return None
        account = self.hub.accounts.get(header.removeprefix("Bearer "))
        if account is None:
            raise Refused(401, "Invalid credentials in Authorization header")
        return account

    def json(self, *names: str) -> Json:
        value = json.loads(self.content)
        if unknown := value.keys() - set(names):
            raise Refused(400, f"unknown keys: {', '.join(sorted(unknown))}")
        return dict(value)

    def readable(self, account: Account | None, name: str) -> Repository:
        held = self.hub.repositories.get(name)
        if held is not None and (not held.is_private or _belongs(account, held.owner)):
            return held
        # Who is not known is not told whether a repository is private or missing.
        raise Refused(401 if account is None else 404, "Repository not found", "RepoNotFound")

    def writable(self, account: Account | None, name: str) -> Repository:
        if account is None:
            raise Refused(401, "Invalid username or password.")
        held = self.readable(account, name)
        if not _belongs(account, held.owner):
            self.forbid()
        return held

    def forbid(self) -> NoReturn:
        """Refuse, and say back what the client must not show to anybody."""
        raise Refused(403, f"not allowed with {self.headers['Authorization']}")

    @property
    def here(self) -> str:
        """This server's address, as the client knows it."""
        return f"http://{self.headers['Host']}"

    def signed(self, name: str, oid: str) -> str:
        """Return the address of a large file, at the same port of another host."""
        port = self.headers["Host"].rpartition(":")[2]
        return f"http://localhost:{port}/storage/{name}/{oid}?signature={_signature(name, oid)}"

    def store(self, path: str) -> None:
        """Take or give a large file, knowing only what the address says."""
        if "Authorization" in self.headers:
            raise Refused(400, "only one way to authorize is allowed")
        name, _, oid = path.removeprefix("/storage/").rpartition("/")
        repository = self.hub.repositories.get(name)
        if repository is None or self.one("signature", "") != _signature(name, oid):
            raise Refused(403, "the signature is not that of the address")
        if self.command == "PUT":
            if hashlib.sha256(self.content).hexdigest() != oid:
                raise Refused(400, "other bytes than those of the address")
            repository.lfs[oid] = self.content
            self.answer(b"", 200, {})
        elif self.command in {"GET", "HEAD"} and oid in repository.lfs:
            self.answer_file(repository.lfs[oid], {"ETag": f'"{oid}"'})
        else:
            raise Refused(404, "there is no such object")

    # What follows answers one route each; the table of routes is at the end.

    def whoami(self, account: Account | None) -> None:
        if account is None:
            raise Refused(401, "Invalid username or password.")
        organizations = [{"name": name, "type": "org"} for name in account.organizations]
        token = {"displayName": "test", "role": "write"}
        auth = {"type": "access_token", "accessToken": token}
        self.answer_json(
            {"type": "user", "name": account.name, "orgs": organizations, "auth": auth}
        )

    def create_repository(self, account: Account | None) -> None:
        asked = self.json("name", "organization", "type", "private", "visibility")
        if account is None:
            raise Refused(401, "Invalid username or password.")
        owner = asked.get("organization") or account.name
        name = f"{owner}/{asked['name']}"
        if not _belongs(account, owner):
            self.forbid()
        if not _ID.fullmatch(name) or "--" in name or ".." in name or name.endswith(".git"):
            raise Refused(400, "that is no name of a repository")
        url = f"{self.here}/{name}"
        if name in self.hub.repositories:
            raise Refused(409, "You already created this model repo", url=url)
        is_private = bool(asked.get("private")) or asked.get("visibility") == "private"
        repository = Repository(name, is_private)
        first = {".gitattributes": Blob(b"*.safetensors filter=lfs -text\n", is_lfs=False)}
        repository.add("main", Commit(None, "initial commit", first))
        self.hub.repositories[name] = repository
        self.answer_json({"url": url, "id": name})

    def delete_repository(self, account: Account | None) -> None:
        asked = self.json("name", "organization", "type")
        owner = asked.get("organization") or (account.name if account else "")
        repository = self.writable(account, f"{owner}/{asked['name']}")
        del self.hub.repositories[repository.id]
        self.answer_json({})

    def models(self, account: Account | None) -> None:
        self.allow_parameters("author", "search", "filter", "full", "limit", "cursor", "sort")
        wanted = set(self.parameters.get("filter", []))
        author, search = self.one("author"), self.one("search", "").casefold()
        found = [
            held
            for name, held in sorted(self.hub.repositories.items())
            if (not held.is_private or _belongs(account, held.owner))
            and author in {None, held.owner}
            and search in name.casefold()
            and wanted <= set(held.card_tags)
        ]
        start = int(self.one("cursor", "0"))
        size = min(int(self.one("limit", "1000")), self.hub.page_size)
        headers = {}
        if start + size < len(found):
            query = {**self.parameters, "cursor": [str(start + size)]}
            url = f"{self.here}/api/models?{urlencode(query, doseq=True)}"
            headers["Link"] = f'<{url}>; rel="next"'
        page = [_described(held, "main") for held in found[start : start + size]]
        self.answer_json(page, headers=headers)

    def one(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 -- text, or the default
        return self.parameters.get(name, [default])[0]

    def model(self, account: Account | None, name: str, revision: str = "main") -> None:
        self.allow_parameters("blobs", "securityStatus")
        self.answer_json(_described(self.readable(account, name), revision))

    def tree(
        self, account: Account | None, name: str, revision: str, folder: str | None = None
    ) -> None:
        self.allow_parameters("recursive", "expand")
        if folder is not None:
            raise Refused(404, "there are no folders", "EntryNotFound")
        repository = self.readable(account, name)
        files = repository.commits[repository.resolve(revision)].files
        self.answer_json([_entry(path, blob) for path, blob in sorted(files.items())])

    def paths(self, account: Account | None, name: str, revision: str) -> None:
        asked = parse_qs(self.content.decode(), strict_parsing=True)
        repository = self.readable(account, name)
        files = repository.commits[repository.resolve(revision)].files
        self.answer_json([_entry(p, files[p]) for p in asked["paths"] if p in files])

    def refs(self, account: Account | None, name: str) -> None:
        repository = self.readable(account, name)
        self.answer_json(
            {
                "branches": _refs("heads", repository.branches),
                "tags": _refs("tags", repository.tags),
                "converts": [],
            }
        )

    def history(self, account: Account | None, name: str, revision: str) -> None:
        repository = self.readable(account, name)
        oid: str | None = repository.resolve(revision)
        found = []
        while oid is not None:
            commit = repository.commits[oid]
            title = {"title": commit.summary, "message": ""}
            found.append({"id": oid, **title, "authors": [], "date": _DATE})
            oid = commit.parent
        self.answer_json(found, headers={"X-Total-Count": str(len(found))})

    def preupload(self, account: Account | None, name: str, revision: str) -> None:
        repository = self.writable(account, name)
        here = repository.commits[repository.resolve(revision)].files
        files = []
        for asked in self.json("files", "gitIgnore")["files"]:
            base64.b64decode(asked["sample"], validate=True)
            is_lfs = asked["path"].endswith(".safetensors")
            held = here.get(asked["path"])
            oid = None if held is None else held.sha256 if held.is_lfs else held.oid
            mode = "lfs" if is_lfs else "regular"
            files.append(
                {"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}
            )
        self.answer_json({"files": files})

    def lfs_batch(self, account: Account | None, name: str) -> None:
        asked = self.json("operation", "transfers", "objects", "hash_algo", "ref")
        repository = self.writable(account, name)
        if asked["operation"] != "upload" or asked["hash_algo"] != "sha256":
            raise Refused(422, "only uploads, by sha256")
        objects: list[Json] = []
        for wanted in asked["objects"]:
            answer = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in repository.lfs:
                verify = f"{self.here}/{name}.git/info/lfs/objects/verify"
                upload = self.signed(name, wanted["oid"])
                answer["actions"] = {"upload": {"href": upload}, "verify": {"href": verify}}
            objects.append(answer)
        self.answer_json({"transfer": "basic", "objects": objects})

    def lfs_verify(self, account: Account | None, name: str) -> None:
        asked = self.json("oid", "size")
        content = self.writable(account, name).lfs.get(asked["oid"])
        if content is None or len(content) != asked["size"]:
            raise Refused(404, "there is no such object")
        self.answer_json({})

    def commit(self, account: Account | None, name: str, revision: str) -> None:
        if self.headers.get("Content-Type") != "application/x-ndjson":
            raise Refused(400, "a commit is newline-delimited JSON")
        repository = self.writable(account, name)
        if revision not in repository.branches:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        head = repository.branches[revision]
        (key, header), *operations = map(_keyed, self.content.splitlines())
        if key != "header" or header.keys() - {"summary", "description", "parentCommit"}:
            raise Refused(400, "a commit begins with its header")
        parent = header.get("parentCommit", head)
        if not _OID.fullmatch(parent):
            raise Refused(400, "the parent is no commit")
        if parent != head:
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repository.commits[head].files)
        for kind, value in operations:
            _apply(repository, files, kind, value)
        oid = repository.add(revision, Commit(head, header["summary"], files))
        self.answer_json({"commitOid": oid, "commitUrl": f"{self.here}/{name}/commit/{oid}"})

    def create_tag(self, account: Account | None, name: str, revision: str) -> None:
        asked = self.json("tag", "message")
        repository = self.writable(account, name)
        if asked["tag"] in repository.tags:
            raise Refused(409, f"Tag {asked['tag']} already exists")
        repository.tags[asked["tag"]] = repository.resolve(revision)
        self.answer_json({})

    def delete_tag(self, account: Account | None, name: str, revision: str) -> None:
        if self.writable(account, name).tags.pop(revision, None) is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        self.answer_json({})

    def create_branch(self, account: Account | None, name: str, revision: str) -> None:
        asked = self.json("startingPoint")
        repository = self.writable(account, name)
        if revision in repository.branches:
            raise Refused(409, f"Branch {revision} already exists")
        repository.branches[revision] = repository.resolve(asked.get("startingPoint", "main"))
        self.answer_json({})

    def delete_branch(self, account: Account | None, name: str, revision: str) -> None:
        branches = self.writable(account, name).branches
        if revision == "main":
            raise Refused(403, "the main branch stays")
        if branches.pop(revision, None) is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        self.answer_json({})

    def validate_yaml(self, account: Account | None) -> None:  # noqa: ARG002 -- a route's
        asked = self.json("content", "repoType")
        errors = [{"message": problem} for problem in card_problems(asked["content"])]
        self.answer_json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def resolve(self, account: Account | None, name: str, revision: str, path: str) -> None:
        repository = self.readable(account, name)
        if repository.is_gated and not _belongs(account, repository.owner):
            raise Refused(403, "Access to this model is restricted", "GatedRepo")
        commit = repository.resolve(revision)
        blob = repository.blob(commit, path)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{blob.oid}"'}
        if not blob.is_lfs:
            self.answer_file(blob.content, headers)
            return
        headers["X-Linked-Etag"] = f'"{blob.sha256}"'
        headers["X-Linked-Size"] = str(len(blob.content))
        headers["Location"] = self.signed(name, blob.sha256)
        self.answer(b"", 302, headers)


_DATE = "2026-01-01T00:00:00.000Z"
_R = r"(?P<name>[^/]+/[^/]+)"
_REV = r"(?P<revision>[^/]+)"
_ROUTES: tuple[tuple[str, str, Any], ...] = (
    ("GET", r"/api/whoami-v2", _Hub.whoami),
    ("POST", r"/api/repos/create", _Hub.create_repository),
    ("DELETE", r"/api/repos/delete", _Hub.delete_repository),
    ("POST", r"/api/validate-yaml", _Hub.validate_yaml),
    ("GET", r"/api/models", _Hub.models),
    ("GET", rf"/api/models/{_R}", _Hub.model),
    ("GET", rf"/api/models/{_R}/revision/{_REV}", _Hub.model),
    ("GET", rf"/api/models/{_R}/tree/{_REV}", _Hub.tree),
    ("GET", rf"/api/models/{_R}/tree/{_REV}/(?P<folder>.+)", _Hub.tree),
    ("POST", rf"/api/models/{_R}/paths-info/{_REV}", _Hub.paths),
    ("GET", rf"/api/models/{_R}/refs", _Hub.refs),
    ("GET", rf"/api/models/{_R}/commits/{_REV}", _Hub.history),
    ("POST", rf"/api/models/{_R}/preupload/{_REV}", _Hub.preupload),
    ("POST", rf"/api/models/{_R}/commit/{_REV}", _Hub.commit),
    ("POST", rf"/api/models/{_R}/tag/{_REV}", _Hub.create_tag),
    ("DELETE", rf"/api/models/{_R}/tag/{_REV}", _Hub.delete_tag),
    ("POST", rf"/api/models/{_R}/branch/{_REV}", _Hub.create_branch),
    ("DELETE", rf"/api/models/{_R}/branch/{_REV}", _Hub.delete_branch),
    ("POST", rf"/{_R}\.git/info/lfs/objects/batch", _Hub.lfs_batch),
    ("POST", rf"/{_R}\.git/info/lfs/objects/verify", _Hub.lfs_verify),
    ("GET HEAD", rf"/{_R}/resolve/{_REV}/(?P<path>.+)", _Hub.resolve),
)


def _signature(name: str, oid: str) -> str:
    return hmac.new(b"of the storage", f"{name} {oid}".encode(), "sha256").hexdigest()


def _belongs(account: Account | None, owner: str) -> bool:
    return account is not None and owner in {account.name, *account.organizations}


def _described(repository: Repository, revision: str) -> Json:
    oid = repository.resolve(revision)
    return {
        "id": repository.id,
        "modelId": repository.id,
        "author": repository.owner,
        "sha": oid,
        "lastModified": _DATE,
        "private": repository.is_private,
        "gated": "manual" if repository.is_gated else False,
        "downloads": repository.n_downloads,
        "likes": 0,
        "tags": repository.card_tags,
        "library_name": "modpm" if "modpm" in repository.card_tags else None,
        "siblings": [{"rfilename": path} for path in sorted(repository.commits[oid].files)],
    }


def _entry(path: str, blob: Blob) -> Json:
    entry: Json = {"type": "file", "path": path, "size": len(blob.content), "oid": blob.oid}
    if blob.is_lfs:
        pointer = len(blob.pointer)
        entry["lfs"] = {"oid": blob.sha256, "size": len(blob.content), "pointerSize": pointer}
    return entry


def _refs(kind: str, refs: dict[str, str]) -> list[Json]:
    return [
        {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": oid}
        for name, oid in sorted(refs.items())
    ]


def _keyed(line: bytes) -> tuple[str, Json]:
    item = json.loads(line)
    if item.keys() != {"key", "value"}:
        raise Refused(400, "an item of a commit has a key and a value")
    return item["key"], item["value"]


def _apply(repository: Repository, files: dict[str, Blob], kind: str, value: Json) -> None:
    path = value["path"]
    if kind == "file" and value["encoding"] == "base64":
        content = base64.b64decode(value["content"], validate=True)
        if path == "README.md" and (problems := list(card_problems(content.decode()))):
            raise Refused(400, "; ".join(problems))
        if path.endswith(".safetensors"):
            raise Refused(400, f"{path} has to be uploaded as a large file")
        files[path] = Blob(content, is_lfs=False)
    elif kind == "lfsFile" and value["algo"] == "sha256":
        uploaded = repository.lfs.get(value["oid"])
        if uploaded is None or len(uploaded) != value.get("size", len(uploaded)):
            raise Refused(400, f"{path} was not uploaded")
        files[path] = Blob(uploaded, is_lfs=True)
    elif kind == "deletedFile":
        if files.pop(path, None) is None:
            raise Refused(404, "A file with this name doesn't exist", "EntryNotFound")
    else:
        raise Refused(400, f"{kind} is not an operation that is known here")
