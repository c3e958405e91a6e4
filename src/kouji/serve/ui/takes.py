"""Takes: what the studio has spoken or is speaking, kept for the browser that asked for it.

A take gathers an utterance as fast as it is made, so that no slow listener holds a seat, and
tells any number of listeners. Samples are kept as the 16-bit numbers every file has.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import numpy as np

from kouji.errors import EngineFailed, KoujiError
from kouji.serve.utterance import SoundWriter, Utterance, to_pcm16
from kouji.types import Audio, Samples, Timing

if TYPE_CHECKING:
    from kouji.speaking import SpeechChunk

State = Literal["speaking", "finished", "stopped", "failed"]
PEAK_SECONDS = 0.02  # of sound behind each number of the waveform


class Take:
    """One text spoken.

    page:  the browser's tab it was asked for in; closing that ends what is not done
    peaks: loudest sample of each 20 ms, 0 to 100
    """

    def __init__(self, utterance: Utterance, text: str, page: str) -> None:
        """Begin to gather; call it on the event loop."""
        self.id, self.page, self.text = secrets.token_urlsafe(12), page, text
        self.facts = utterance.facts
        self.created = datetime.now(UTC).isoformat(timespec="seconds")
        self.state: State = "speaking"
        self.error: KoujiError | None = None
        self.warnings: list[str] = list(utterance.facts.warnings)
        self.words: list[Timing] = []
        self.phones: list[Timing] = []
        self.peaks: list[int] = []
        self.work_seconds = 0.0
        self._utterance = utterance
        self._pieces: list[bytes] = []
        self._told: list[tuple[int, int]] = [(0, 0)]  # words and peaks before each piece
        self._num_samples = 0
        self._news = asyncio.Event()
        self._peak_rest = np.zeros(0, np.float32)
        self._began = time.monotonic()
        self._task = asyncio.ensure_future(self._gather())
        self._task.add_done_callback(self._end)

    @property
    def seconds(self) -> float:
        """Of sound there is by now."""
        return self._num_samples / self.facts.sample_rate

    @property
    def audio(self) -> Audio:
        """The sound there is by now."""
        return Audio(_samples(b"".join(self._pieces)), self.facts.sample_rate)

    @property
    def num_bytes(self) -> int:
        """Memory its sound takes by now."""
        return 2 * self._num_samples

    def stop(self) -> None:
        """End what is not done; its seat is free at the next turn of the loop."""
        self._task.cancel()

    async def changes(self) -> AsyncIterator[int]:
        """How many pieces there are, now and after each change, until the take has ended."""
        while True:
            news, is_over = self._news, self.state != "speaking"
            yield len(self._pieces)
            if is_over:
                return
            await news.wait()

    async def stream(self, format: str) -> AsyncIterator[bytes]:
        """The sound from its beginning, encoded as it is made, with the labels."""
        writer, told = SoundWriter(self._utterance, format), 0
        async with aclosing(self.changes()) as changes:  # type: ignore[type-var]
            async for count in changes:
                for piece in self._pieces[told:count]:
                    if data := await writer.write(_samples(piece)):
                        yield data
                told = count
        yield await writer.close()

    async def file(self, format: str) -> bytes:
        """The whole sound as one file with its labels."""
        await self.ended()
        return await self._utterance.encode(self.audio, format)

    async def _gather(self) -> None:
        async with aclosing(self._utterance.chunks()) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                self._add(chunk)
                self._tell()

    def _end(self, task: asyncio.Task[None]) -> None:
        """However it ended, also if it was stopped before its first step."""
        self._utterance.close()
        self.work_seconds = time.monotonic() - self._began
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            self.state = "stopped"  # it keeps what there is
        elif error is None:
            self.state = "finished"
        else:
            self.state = "failed"
            fault = error if isinstance(error, KoujiError) else EngineFailed("the engine failed")
            self.error = fault.with_traceback(None)
        self._tell()

    def _add(self, chunk: SpeechChunk) -> None:
        data = to_pcm16(chunk.samples)
        self._pieces.append(data)
        self._num_samples += len(data) // 2
        self.words.extend(chunk.words)
        self.phones.extend(chunk.phones)
        if chunk.segment is not None:
            self.warnings.extend(chunk.segment.warnings)
        step = round(PEAK_SECONDS * self.facts.sample_rate)
        samples = np.concatenate([self._peak_rest, np.abs(chunk.samples)])
        whole = len(samples) // step
        loudest = samples[: whole * step].reshape(whole, step).max(axis=1, initial=0.0)
        self.peaks.extend(int(value) for value in np.clip(loudest * 100, 0, 100))
        self._peak_rest = samples[whole * step :]
        self._told.append((len(self.words), len(self.peaks)))

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def news(self, since: int) -> tuple[int, list[Timing], list[int]]:
        """Wait for more than `since` pieces, or the end: pieces, and the new words and peaks."""
        since = max(0, min(since, len(self._pieces)))
        async with aclosing(self.changes()) as changes:  # type: ignore[type-var]
            async for count in changes:
                if count > since:
                    break
        words, peaks = self._told[since]
        return len(self._pieces), self.words[words:], self.peaks[peaks:]

    async def ended(self) -> None:
        """Wait until nothing more is made."""
        async with aclosing(self.changes()) as changes:  # type: ignore[type-var]
            async for _ in changes:
                pass


def _samples(data: bytes) -> Samples:
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768.0
