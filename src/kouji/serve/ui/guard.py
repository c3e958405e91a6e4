"""What stands before Gradio: only its own paths reach it, and only those the studio needs.

Everything but the page's scripts asks for a session. Files are read only by the browser that
sent them; Gradio's programming interface, its proxy and its reader of files are closed for
all. Pure ASGI; knows nothing of what the page shows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kouji.errors import NotAuthenticated, QuotaExceeded
from kouji.serve.problems import problem_of
from kouji.serve.ui.login import login_page, set_cookie
from kouji.serve.ui.page import dressed, uncompressed
from kouji.serve.ui.sessions import Session, Sessions
from kouji.serve.ui.words import language_of

# Of what Gradio answers: scripts and styles are for everybody.
_OPEN = ("/static/", "/assets/", "/svelte/")
_OPEN_FILES = ("/theme.css", "/gradio_api/theme.css", "/favicon.ico", "/robots.txt",
               "/manifest.json")  # fmt: skip
# The rest of its interface that the page calls; all else under /gradio_api/ is closed.
_API = "/gradio_api/"
_CALLED = ("queue/join", "queue/data", "upload", "upload_progress", "startup-events", "app_id",
           "cancel", "reset")  # fmt: skip
_HEARTBEAT, _FILE = "heartbeat/", "file="


class GradioPaths(Mount):
    """A mount at the root that takes Gradio's paths and leaves all others to the app."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """No match for what is not Gradio's, so that other routes answer 404 and 405."""
        path = scope.get("path", "")
        is_gradios = path in ("/", "/config", *_OPEN_FILES) or path.startswith((*_OPEN, _API))
        if scope["type"] != "http" or not is_gradios:
            return Match.NONE, {}
        return super().matches(scope)


class Guard:
    """Lets through what may pass, as an ASGI app."""

    def __init__(self, studios: Mapping[str, ASGIApp], sessions: Sessions) -> None:
        """studios: Gradio's app for each language"""
        self._studios, self._sessions = dict(studios), sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        language = language_of(headers.get("cookie"), headers.get("accept-language"))
        studio, path = self._studios[language], scope["path"]
        if path in _OPEN_FILES or path.startswith(_OPEN):
            await studio(scope, receive, send)
        elif path == "/":
            await self._page(studio, language, scope, receive, send)
        else:
            answer = await self._called(studio, scope, receive, send)
            if answer is not None:
                await answer(scope, receive, send)

    async def _page(
        self, studio: ASGIApp, language: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """The page itself; without a session a new one, or the form that asks for a key."""
        if scope["method"] not in ("GET", "HEAD"):
            await JSONResponse({"error": "GET only"}, 405, {"Allow": "GET, HEAD"})(
                scope, receive, send
            )
            return
        if scope["query_string"]:  # Gradio would read files by a deep link; the studio has none
            await RedirectResponse("/", 303)(scope, receive, send)
            return
        cookies, fresh = Headers(scope=scope).get("cookie"), None
        try:
            session, _ = self._sessions.enter(cookies)
        except NotAuthenticated:
            try:
                session = fresh = self._sessions.open()
            except NotAuthenticated:
                await HTMLResponse(login_page(language))(scope, receive, send)
                return
        except QuotaExceeded as error:
            problem = problem_of(error)
            page = login_page(language, error)
            await HTMLResponse(page, problem.status, problem.headers())(scope, receive, send)
            return
        answer = await dressed(studio, language, scope, receive, has_key=session.key is not None)
        if fresh is not None:
            set_cookie(answer, fresh, is_secure=scope.get("scheme") == "https")
        await answer(scope, receive, send)

    async def _called(
        self, studio: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> Response | None:
        """An interface the page calls; an answer of our own where it may not."""
        try:
            session, _ = self._sessions.enter(Headers(scope=scope).get("cookie"))
        except (NotAuthenticated, QuotaExceeded) as error:
            problem = problem_of(error)
            return JSONResponse(problem.body(), problem.status, problem.headers())
        name = scope["path"].removeprefix(_API).rstrip("/")
        if name == "/config" or name in _CALLED:
            if name == "upload":
                send, scope = _noting_uploads(send, session), uncompressed(scope)
            elif name == "queue/join":
                body = await Request(scope, receive).body()
                if not _names_only(body, session):
                    return JSONResponse(
                        {"error": {"message": "not found", "code": "not_found"}}, 404
                    )
                receive = _read_already(body, receive)
            await studio(scope, receive, send)
        elif name.startswith(_HEARTBEAT):
            try:
                await studio(scope, receive, send)
            finally:
                session.stop(name.removeprefix(_HEARTBEAT))  # the page is gone
        elif name.startswith(_FILE) and unquote(name.removeprefix(_FILE)) in session.uploads:
            await studio(scope, receive, send)
        else:
            return JSONResponse({"error": {"message": "not found", "code": "not_found"}}, 404)
        return None


def _noting_uploads(send: Send, session: Session) -> Send:
    """Remember the paths Gradio answers to an upload, for the session that sent it."""
    body = bytearray()

    async def noting(message: Message) -> None:
        if message["type"] == "http.response.body":
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                for path in _paths(bytes(body)):
                    session.uploaded(path)
        await send(message)

    return noting


def _names_only(body: bytes, session: Session) -> bool:
    """Every file a call names was sent by this session.

    Gradio copies any other that the server may read, and fetches what has an address, before the
    handler is asked.
    """
    try:
        waiting = [json.loads(body)]
    except (ValueError, RecursionError):
        return False
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            path = value.get("path")
            if path is not None and not (isinstance(path, str) and path in session.uploads):
                return False
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return True


def _read_already(body: bytes, receive: Receive) -> Receive:
    """The body once more, then whatever comes."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return pending.pop() if pending else await receive()

    return again


def _paths(body: bytes) -> list[str]:
    try:
        found = json.loads(body)
    except ValueError:
        return []
    return [path for path in found if isinstance(path, str)] if isinstance(found, list) else []
