"""What every tab of the studio is built with: the service, the sessions, a language, and a way
to wrap handlers so that they know who asks and show errors as one sentence."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from kouji.errors import KoujiError
from kouji.serve.caller import Caller
from kouji.serve.service import Service
from kouji.serve.ui.messages import message_of
from kouji.serve.ui.runs import Runs
from kouji.serve.ui.sessions import Session, Sessions
from kouji.serve.ui.words import Say, speaker_of

log = logging.getLogger(__name__)


def markup(html: str, elem_id: str | None = None) -> gr.HTML:
    """A piece of our own page: no style and no script of Gradio's."""
    return gr.HTML(html, elem_id=elem_id, js_on_load=None, apply_default_css=False)


@dataclass(frozen=True)
class Seat:
    """Who calls a handler.

    page: names the browser's tab; new at every load
    """

    session: Session
    caller: Caller
    page: str


@dataclass(frozen=True)
class Desk:
    """One studio in one language."""

    service: Service
    sessions: Sessions
    runs: Runs
    language: str

    @property
    def say(self) -> Say:
        """The words of this language."""
        return speaker_of(self.language)

    def message(self, error: KoujiError) -> str:
        """An error in this language."""
        return message_of(error, self.language)

    def told(self, handler: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """A handler for Gradio; its first argument becomes the `Seat` of the caller.

        Errors are shown as their message, what nobody expected as one sentence; the server's
        log has the rest.
        """

        async def called(request: gr.Request, *values: Any) -> Any:
            try:
                session, caller = self.sessions.enter(request.headers.get("cookie"))
                seat = Seat(session, caller, str(request.session_hash))
                return await handler(seat, *values)
            except KoujiError as error:
                raise self.shown(self.message(error)) from None
            except gr.Error:
                raise
            except Exception:
                log.exception("a handler of the studio failed")
                raise self.shown(self.say("error.unexpected")) from None

        return called

    def shown(self, message: str) -> gr.Error:
        """An error for the page."""
        return gr.Error(message, print_exception=False)

    def own_file(self, seat: Seat, path: str) -> str:
        """An uploaded file, if this very browser has sent it.

        raises: UsageError
        """
        if path not in seat.session.uploads:
            raise self.shown(self.say("error.upload"))
        return path
