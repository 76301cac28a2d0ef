"""Pages over HTTP, on loopback: nothing is told to other machines, or to pages of other sites."""

from __future__ import annotations

import errno
import hmac
import os
import secrets
import socket
from typing import TYPE_CHECKING, Any, get_args

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from modpm.browsing import pages
from modpm.browsing.scoring import MAX_PICTURE_BYTES
from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.core.shown_text import as_text
from modpm.registry.discovery.local_catalogue import Order, Query

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from modpm.browsing.listing import Listing
    from modpm.browsing.scoring import Scorer

LOOPBACK = "127.0.0.1"
HOSTS = ("127.0.0.1", "localhost", "[::1]")
TOKEN_HEADER = "x-modpm-token"  # noqa: S105 -- where it is, not what it is
_HEADERS = {
    "Content-Security-Policy": f"{pages.POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_NOT_FOUND = frozenset({"unknown-module", "no-version-fits", "invalid-name", "invalid-digest"})


def application(listing: Listing, scorer: Scorer, token: str | None = None) -> Starlette:
    """Return what answers requests.

    Args:
        listing: What is browsed.
        scorer: Judges pictures.
        token: What a request to do something must show; by default a new one.
    """
    token = token or secrets.token_urlsafe(32)
    site = pages.Site(listing, token)
    answers = _Answers(site, scorer, token)
    routes = [
        Route("/", answers.list_page),
        Route("/index.html", answers.list_page),
        Route("/catalogue.json", answers.catalogue),
        Route("/basket.html", answers.basket),
        Route("/m/{namespace}/{name}.html", answers.module),
        Route("/m/{namespace}/{name}.json", answers.module_data),
        Route("/o/{digits}.html", answers.origin),
        Route("/p/{digits}.png", answers.picture),
        Route("/static/{name}", answers.static),
        Route("/scores", answers.scores, methods=["POST"]),
    ]
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(_WithHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False),
        ],
        exception_handlers={
            ModpmError: answers.refusal,
            404: answers.not_found,
            405: answers.not_found,
        },
    )


def serve(listing: Listing, scorer: Scorer, port: int, report: Callable[[str], None]) -> None:
    """Answer requests on loopback until the user interrupts.

    Args:
        listing: What is browsed.
        scorer: Judges pictures.
        port: Where; 0 for any that is free.
        report: Told the address.

    Raises:
        ModpmError: `port-in-use`, `permission-denied`.
    """
    with bound(port) as listener:
        report(f"http://{LOOPBACK}:{listener.getsockname()[1]}/")
        config = uvicorn.Config(
            application(listing, scorer), log_level="warning", access_log=False, lifespan="off"
        )
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            return  # this is how it ends


def bound(port: int) -> socket.socket:
    """Return a socket on loopback.

    Raises:
        ModpmError: `port-in-use`, `permission-denied`.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # elsewhere it lets two programs have one port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno in {errno.EADDRINUSE, errno.EACCES}:
            raise _cannot_bind(port, error) from None
        raise
    return listener


def _cannot_bind(port: int, error: OSError) -> ModpmError:
    is_taken = error.errno == errno.EADDRINUSE
    return ModpmError(
        f"port {port} is in use" if is_taken else f"port {port} is not yours to use",
        code="port-in-use" if is_taken else "permission-denied",
        where=f"{LOOPBACK}:{port}",
        why=error.strerror,
        hint="name another by `--port`, or `--port 0` for any that is free",
    )


class _Answers:
    """An answer for each address."""

    def __init__(self, site: pages.Site, scorer: Scorer, token: str) -> None:
        self._site, self._scorer, self._token = site, scorer, token

    def list_page(self, request: Request) -> Response:
        self._site.listing.refresh()
        return HTMLResponse(pages.list_page(self._site, wish_of(request.query_params)))

    def catalogue(self, request: Request) -> Response:
        page = self._site.listing.page(*wish_of(request.query_params))
        return JSONResponse({"rows": page.rows, "n": page.n, "page": page.number})

    def basket(self, _request: Request) -> Response:
        return HTMLResponse(pages.basket_page(self._site))

    def module(self, request: Request) -> Response:
        module = self._site.listing.module(_name_of(request))
        return HTMLResponse(pages.module_page(self._site, module))

    def module_data(self, request: Request) -> Response:
        module = self._site.listing.module(_name_of(request))
        return JSONResponse(pages.module_data(module, pages.this_machine(self._site)))

    def origin(self, request: Request) -> Response:
        group = self._site.listing.origin(f"sha256:{request.path_params['digits']}")
        return HTMLResponse(pages.origin_page(self._site, group))

    def picture(self, request: Request) -> Response:
        data = self._site.listing.picture(f"sha256:{request.path_params['digits']}")
        if data is None:
            return self.not_found(request, None)
        return Response(data, media_type="image/png")

    def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in pages.STATIC:
            return self.not_found(request, None)
        return Response(pages.static_file(name), media_type=pages.STATIC[name])

    async def scores(self, request: Request) -> Response:
        shown = request.headers.get(TOKEN_HEADER, "")
        if not hmac.compare_digest(shown.encode(), self._token.encode()):
            return _refused("this page is out of date: load it again", 403)
        picture = bytearray()
        async for part in request.stream():
            picture += part
            if len(picture) > MAX_PICTURE_BYTES:
                size = f"{MAX_PICTURE_BYTES // 1024**2} MiB"
                return _refused(f"the picture is larger than {size}", 413)
        names = set(filter(None, request.query_params.get("names", "").split(",")))
        try:
            found = await run_in_threadpool(self._scorer.scores, bytes(picture), names)
        except ModpmError as error:
            return _refused(_in_words(error), 422)
        return JSONResponse({"scores": [one._asdict() for one in found]})

    def refusal(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, ModpmError)
        status = 404 if error.code in _NOT_FOUND else 502
        if request.url.path.endswith(".json"):
            return _refused(_in_words(error), status)
        return HTMLResponse(pages.error_page(self._site, error), status)

    def not_found(self, request: Request, _error: HTTPException | Exception | None) -> Response:
        path = request.url.path
        error = ModpmError("there is no such page", code="unknown-module", where=path[:200])
        return HTMLResponse(pages.error_page(self._site, error), 404)


def wish_of(parameters: Mapping[str, str]) -> pages.Wish:
    """Return what a query of an address asks for; what it says wrongly, it does not say."""
    given = {key: value.strip() for key, value in parameters.items() if value.strip()}
    size = _number(given.get("max_mb"))
    query = Query(
        text=given.get("q", ""),
        label=given.get("class"),
        namespace=given.get("namespace"),
        min_recall=_number(given.get("min_recall")),
        max_size_bytes=None if size is None else int(min(size, 1e9) * 1e6),
        license=given.get("license"),
        origin=given.get("origin"),
        signer={"none": "", None: None}.get(given.get("signer"), given.get("signer")),
    )
    order: Any = given.get("sort")
    number = _number(given.get("page")) or 1
    return pages.Wish(
        query, order if order in get_args(Order) else "name", int(min(max(number, 1), 1e6))
    )


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if number >= 0 else None


def _name_of(request: Request) -> ModuleName:
    return ModuleName.parse("{namespace}/{name}".format(**request.path_params))


def _in_words(error: ModpmError) -> str:
    told = [error.what, error.why, error.hint]
    return as_text("; ".join(text for text in told if text is not None))


def _refused(words: str, status: int) -> Response:
    return JSONResponse({"error": words}, status)


class _WithHeaders:
    """Says with every answer what a page may do."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = [(k.lower().encode(), v.encode()) for k, v in _HEADERS.items()]
                message["headers"] = [*message["headers"], *given]
            await send(message)

        await self._app(scope, receive, send_more)
