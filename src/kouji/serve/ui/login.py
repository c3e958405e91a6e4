"""Signing in with a key, out again, and the choice of a language: a form, two routes, cookies."""

from __future__ import annotations

from html import escape
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from kouji.errors import KoujiError, NotAuthenticated
from kouji.serve.problems import problem_of
from kouji.serve.ui.messages import message_of
from kouji.serve.ui.sessions import COOKIE, LIFETIME_SECONDS, Session, Sessions
from kouji.serve.ui.words import LANGUAGE_COOKIE, language_of, word

router = APIRouter(prefix="/studio", include_in_schema=False)
_MOST_BYTES = 4096  # of the form


def set_cookie(response: Response, session: Session, *, is_secure: bool) -> None:
    """Give the browser its session's name: unreadable for scripts, never sent by other sites."""
    response.set_cookie(
        COOKIE, session.name, max_age=int(LIFETIME_SECONDS), httponly=True, samesite="strict",
        secure=is_secure,
    )  # fmt: skip


def login_page(language: str, error: KoujiError | None = None) -> str:
    """The form that asks for a key."""

    def say(name: str) -> str:
        return escape(word(name, language))

    other = "zh" if language == "en" else "en"
    told = ""
    if error is not None:
        told = f'<p class="kj-problem" role="alert">{escape(message_of(error, language))}</p>'
    return f"""<!doctype html>
<html lang="{"zh-CN" if language == "zh" else "en"}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{say("title")}</title>
<link rel="icon" href="./favicon.ico">
<link rel="stylesheet" href="./studio/static/studio.css"></head>
<body class="kj-login"><main>
<h1><span class="kj-mark">口技</span> Kouji</h1>
<form method="post" action="./studio/login">
<label for="key">{say("login.key")}</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
<button type="submit">{say("login.button")}</button>
{told}
<p>{say("login.help")}</p>
</form>
<form method="post" action="./studio/language"><button class="kj-quiet" name="language"
 value="{other}">{say("switch")}</button></form>
</main></body></html>"""


@router.post("/login")
async def login(request: Request) -> Response:
    """Open a session for a key."""
    sessions, language = _sessions(request), _language(request)
    form = await _form(request)
    try:
        session = sessions.open(form.get("key", "").strip())
    except KoujiError as error:
        problem = problem_of(error)
        # 200 where the key is wrong: it is the form again, not a fault of the page
        status = 200 if isinstance(error, NotAuthenticated) else problem.status
        page = login_page(language, error).replace('="./', '="../')
        return HTMLResponse(page, status, problem.headers() if status != 200 else None)
    answer = RedirectResponse("../", 303)
    set_cookie(answer, session, is_secure=request.url.scheme == "https")
    return answer


@router.post("/logout")
async def logout(request: Request) -> Response:
    """End the session."""
    sessions = _sessions(request)
    session = sessions.find(request.headers.get("cookie"))
    if session is not None:
        sessions.close(session)
    answer = RedirectResponse("../", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


@router.post("/language")
async def choose_language(request: Request) -> Response:
    """Show the studio in another language."""
    wanted = (await _form(request)).get("language", "")
    answer = RedirectResponse("../", 303)
    if wanted in ("en", "zh"):
        year = 365 * 24 * 3600
        answer.set_cookie(LANGUAGE_COOKIE, wanted, max_age=year, httponly=True, samesite="strict")
    return answer


async def _form(request: Request) -> dict[str, str]:
    body = bytearray()
    async for part in request.stream():
        body.extend(part)
        if len(body) > _MOST_BYTES:
            return {}
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8)
    except ValueError:  # more fields than our forms have
        return {}
    return {name: values[0] for name, values in fields.items()}


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.studio_sessions
    return sessions


def _language(request: Request) -> str:
    return language_of(request.headers.get("cookie"), request.headers.get("accept-language"))
