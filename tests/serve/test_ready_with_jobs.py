"""Ready means that jobs are taken too: who waits for it must not be told to come again."""

from __future__ import annotations

import threading
from collections.abc import Callable

import anyio
import pytest

from kouji.config import Settings
from kouji.serve.job_desk import JobDesk
from kouji.serve.models import ModelPool
from kouji.serve.service import Service


def test_a_server_is_ready_when_jobs_are_open(
    settings: Settings,
    open_pool: Callable[[Settings], ModelPool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, may_open, open_jobs = threading.Event(), threading.Event(), JobDesk.open

    def open_late(self: JobDesk, models: ModelPool) -> None:
        asked.set()
        assert may_open.wait(60)
        open_jobs(self, models)

    monkeypatch.setattr(JobDesk, "open", open_late)

    async def life() -> None:
        service = Service(settings, open_pool)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.start)
            assert await anyio.to_thread.run_sync(asked.wait, 60)
            before = service.state
            may_open.set()
        assert (before, service.state) == ("loading", "ready")
        assert service.jobs.centre.list() == []
        await service.close()

    anyio.run(life)
