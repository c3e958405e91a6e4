"""Put the studio into the server's app. Importing this module imports Gradio, which takes
seconds: the app does it only where the studio is wanted."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import warnings
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gradio as gr
from fastapi import FastAPI

from kouji.serve.service import Service
from kouji.serve.ui import boards, login, sounds
from kouji.serve.ui.desk import Desk
from kouji.serve.ui.frame import build, theme
from kouji.serve.ui.guard import GradioPaths, Guard
from kouji.serve.ui.runs import Runs
from kouji.serve.ui.sessions import Sessions
from kouji.serve.ui.words import LANGUAGES


def mount_studio(app: FastAPI, service: Service) -> None:
    """Serve the studio at `/`, behind every route the app has by now."""
    sessions, runs = Sessions(service), Runs(service.settings)
    app.state.studio_sessions, app.state.studio_runs = sessions, runs
    for module in (login, sounds, boards):
        app.include_router(module.router)
    desks = [Desk(service, sessions, runs, language) for language in LANGUAGES]

    async def build_all() -> dict[str, Any]:
        return {desk.language: _gradio(app, desk) for desk in desks}

    # Where no event loop runs Gradio makes one for each of its locks and closes none of them.
    with ThreadPoolExecutor(1) as beside:
        studios = beside.submit(asyncio.run, build_all()).result()
    app.router.routes.append(GradioPaths("/", app=Guard(studios, sessions)))
    _close_with(app, sessions)


def _gradio(app: FastAPI, desk: Desk) -> Any:
    """Gradio's own app for one language; taken off the routes again, for the guard to call."""
    blocks = build(desk)
    # Gradio would count its events with pandas after each of them; we have figures of our own.
    blocks._queue.ANAYLTICS_CACHE_FREQUENCY = sys.maxsize
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        gr.mount_gradio_app(
            app, blocks, "/", footer_links=[], run_history=False, show_error=False,
            max_file_size=int(desk.service.settings.max_body_mb * 1e6), ssr_mode=False,
            enable_monitoring=False, pwa=False, mcp_server=False, allowed_paths=[], theme=theme(),
        )  # fmt: skip
    return app.router.routes.pop().app  # type: ignore[attr-defined]


def _close_with(app: FastAPI, sessions: Sessions) -> None:
    """End sessions and runs before the service ends."""
    inner = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[Any]:
        async with inner(app) as state:
            try:
                yield state
            finally:
                sessions.close_all()

    app.router.lifespan_context = life
