"""Who sits at a browser: sessions behind a cookie, each with a key, its uploads and its takes.

The cookie is a random name; the key stays in this process and is asked about anew at every
request, so that a revoked key ends its session at once. Lives on one event loop; knows no
Gradio.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any, TypeVar

from kouji.errors import NotAuthenticated
from kouji.serve.caller import Caller
from kouji.serve.service import Service
from kouji.serve.ui.takes import Take

T = TypeVar("T")
COOKIE = "kouji_studio"
LIFETIME_SECONDS = 12 * 3600.0  # since it was last used
MAX_SESSIONS = 1000
MAX_SESSIONS_A_KEY = 50
MAX_TAKES = 20  # remembered for each session
MAX_UPLOADS = 50
MAX_TAKE_BYTES = 256_000_000  # of all sessions: about 90 minutes at 24 kHz
_SIGN_IN = "sign in with a key first"


@dataclass
class Session:
    """A browser.

    key:     what it signed in with; None where the server asked for none
    takes:   what it has spoken, the newest last
    uploads: files it has sent, as Gradio names them; nobody else may read them
    owner:   id of the key
    """

    name: str = field(repr=False)
    key: str | None = field(default=None, repr=False)
    owner: str = ""
    used: float = 0.0
    takes: OrderedDict[str, Take] = field(default_factory=OrderedDict)
    uploads: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _waiting: set[tuple[str, asyncio.Future[Any]]] = field(default_factory=set, repr=False)

    def keep(self, take: Take) -> None:
        """Remember a take; the oldest are forgotten."""
        self.takes[take.id] = take
        while len(self.takes) > MAX_TAKES:
            self.takes.popitem(last=False)[1].stop()

    def uploaded(self, path: str) -> None:
        """Remember a file the browser has sent."""
        self.uploads[path] = None
        while len(self.uploads) > MAX_UPLOADS:
            self.uploads.popitem(last=False)

    async def wait_for(self, page: str, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which is cancelled when the page leaves or asks to stop."""
        task = asyncio.ensure_future(work)
        entry = (page, task)
        self._waiting.add(entry)
        try:
            return await task
        finally:
            self._waiting.discard(entry)
            task.cancel()

    def stop(self, page: str | None = None) -> None:
        """End what is being made for a page, or for all of them."""
        for waits, task in list(self._waiting):
            if page in (None, waits):
                task.cancel()
        for take in self.takes.values():
            if page in (None, take.page):
                take.stop()


class Sessions:
    """All sessions of one server, the least recently used go first."""

    def __init__(self, service: Service, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds that never go back"""
        self._service, self._clock = service, clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def open(self, key: str | None = None) -> Session:
        """A new session for a key.

        raises: NotAuthenticated for a key that is none, QuotaExceeded
        """
        caller = self._service.identify(key)
        session = Session(secrets.token_urlsafe(32), key, caller.id, self._clock())
        self._sessions[_digest(session.name)] = session
        self._make_room(caller.id)
        return session

    def _make_room(self, owner: str) -> None:
        """No key's sessions push out another's: its own go first beyond its share."""
        own = [digest for digest, each in self._sessions.items() if each.owner == owner]
        if owner and len(own) > MAX_SESSIONS_A_KEY:
            self._sessions.pop(own[0]).stop()
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)[1].stop()

    def find(self, cookies: str | None) -> Session | None:
        """The session of a Cookie header; None if there is none, or its time is over."""
        name = cookie_of(cookies, COOKIE)
        digest = _digest(name) if name else ""
        session = self._sessions.get(digest)  # looked up by hash: time tells nothing of the name
        if session is None or not secrets.compare_digest(session.name, name or ""):
            return None
        if self._clock() - session.used > LIFETIME_SECONDS:
            self.close(session)
            return None
        session.used = self._clock()
        self._sessions.move_to_end(digest)
        return session

    def enter(self, cookies: str | None) -> tuple[Session, Caller]:
        """The session and who it is now.

        raises: NotAuthenticated where there is no session, or its key is no longer good
        """
        session = self.find(cookies)
        if session is None:
            raise NotAuthenticated("nobody is signed in here", cure=_SIGN_IN)
        try:
            return session, self._service.identify(session.key)
        except NotAuthenticated:
            self.close(session)
            raise

    def keep(self, session: Session, take: Take) -> None:
        """Remember a take; beyond what all may take together, those longest unused lose theirs."""
        session.keep(take)
        others = [each for each in self._sessions.values() if each is not session]
        for each in (*others, session):
            while each.takes and self.num_bytes > MAX_TAKE_BYTES:
                _, oldest = each.takes.popitem(last=False)
                oldest.stop()

    @property
    def num_bytes(self) -> int:
        """Memory the takes of all sessions take."""
        takes = (take for each in self._sessions.values() for take in each.takes.values())
        return sum(take.num_bytes for take in takes)

    def close(self, session: Session) -> None:
        """End a session and all that is being made for it."""
        self._sessions.pop(_digest(session.name), None)
        session.stop()

    def close_all(self) -> None:
        """The server ends."""
        for session in list(self._sessions.values()):
            self.close(session)


def cookie_of(header: str | None, name: str) -> str | None:
    """One cookie of a Cookie header."""
    try:
        morsel = SimpleCookie(header or "").get(name)
    except CookieError:
        return None
    return morsel.value if morsel else None


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
