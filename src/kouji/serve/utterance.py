"""One speech on its way out: chunks, whole or encoded, with what its headers say.

Holds a seat of the gate and the engine's work until it is read, closed or let go of. Every
encoding carries the labels; the watermark is in the samples already.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
import numpy as np

from kouji.audio.encode import Encoder, encode_bytes
from kouji.audio.labels import label_tags
from kouji.errors import Cancelled, KoujiError
from kouji.serve.gate import Seat
from kouji.serve.metrics import Metrics
from kouji.serve.underruns import Playhead
from kouji.types import Audio, Samples, Speech

if TYPE_CHECKING:
    from kouji.audio.provenance import ManifestSigner
    from kouji.speaking import SpeechChunk, SpeechStream

_CHEAP_FORMATS = ("wav", "pcm")
_LONGEST_HEADER = 2000  # characters of warnings


@dataclass(frozen=True)
class Facts:
    """What is known before the first sound."""

    model: str
    voice: str
    seed: int
    sample_rate: int
    produce_id: int
    warnings: tuple[str, ...] = ()
    is_substitute: bool = False

    def headers(self) -> dict[str, str]:
        """For every answer that carries sound."""
        headers = {
            "X-AI-Generated": "true",
            "X-Kouji-Watermark": f"{self.produce_id:08x}",
            "X-Kouji-Model": quote(self.model),
            "X-Kouji-Voice": quote(self.voice),
            "X-Kouji-Seed": str(self.seed),
        }
        if self.is_substitute:
            headers["X-Kouji-Model-Substitute"] = "true"
        if self.warnings:
            headers["X-Kouji-Warnings"] = quote("; ".join(self.warnings))[:_LONGEST_HEADER]
        return headers


class Utterance:
    """Sound being made; read it once, with one of `chunks`, `whole`, `encoded`."""

    def __init__(
        self,
        stream: SpeechStream,
        facts: Facts,
        seat: Seat,
        metrics: Metrics,
        began: float,
        *,
        signer: ManifestSigner | None = None,
    ) -> None:
        """Take over a stream and the seat it is worked on in.

        began:  when the request came, on the monotonic clock
        signer: puts a C2PA manifest into whole files; a stream cannot hold one
        """
        self.facts, self._signer = facts, signer
        self._stream, self._seat, self._metrics, self._began = stream, seat, metrics, began
        self._seated = time.monotonic()
        self._first: SpeechChunk | None = None
        self._events = stream.__aiter__()
        self._num_samples, self._result = 0, "cancelled"
        self._listener, self._has_listener = Playhead(), True
        self._is_closed = False

    async def start(self) -> None:
        """Wait for the first sound, so that what fails early is an error and not a short file."""
        try:
            self._first = await anext(self._events, None)
        except BaseException as error:
            self.close(error)
            raise
        now = time.monotonic()
        self._metrics.first_audio(self.facts.model, now - self._began)
        if self._first is not None:
            self._listener.came(now, len(self._first.samples) / self.facts.sample_rate)

    async def chunks(self) -> AsyncIterator[SpeechChunk]:
        """The chunks in order; whoever stops listening has cancelled."""
        problem: BaseException | None = None
        try:
            if self._first is not None:
                first, self._first = self._first, None
                self._num_samples += len(first.samples)
                yield first
            while (chunk := await self._next()) is not None:
                self._num_samples += len(chunk.samples)
                yield chunk
            self._result = "finished"
        except BaseException as error:
            problem = error
            raise
        finally:
            self.close(problem)

    async def _next(self) -> SpeechChunk | None:
        """The next chunk; an imagined listener tells whether it came in time."""
        self._listener.asked(time.monotonic())
        chunk = await anext(self._events, None)
        if chunk is not None:
            self._listener.came(time.monotonic(), len(chunk.samples) / self.facts.sample_rate)
        return chunk

    async def whole(self) -> Speech:
        """All of it; nobody listens before its end."""
        self._has_listener = False
        async with aclosing(self.chunks()) as chunks:  # type: ignore[type-var]
            return self._stream.join([chunk async for chunk in chunks])

    async def encoded(self, format: str, *, bit_rate: int | None = None) -> AsyncIterator[bytes]:
        """The sound as a stream of one format, each chunk as soon as it is there."""
        writer = SoundWriter(self, format, bit_rate=bit_rate)
        async with aclosing(self.chunks()) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                if data := await writer.write(chunk.samples):
                    yield data
        if data := await writer.close():
            yield data

    async def file(self, format: str, *, bit_rate: int | None = None) -> bytes:
        """The sound as one whole file, sizes in its header right."""
        return await self.encode((await self.whole()).audio, format, bit_rate=bit_rate)

    async def encode(self, audio: Audio, format: str, *, bit_rate: int | None = None) -> bytes:
        """Sound of this utterance as a file with its labels."""
        encode = partial(encode_bytes, bit_rate=bit_rate)
        content = await _beside(format, encode, audio, format, self.tags)
        if self._signer is None:
            return content
        number = f"{self.facts.produce_id:08x}"
        return await anyio.to_thread.run_sync(self._signer.sign_bytes, content, format, number)

    @property
    def tags(self) -> dict[str, str]:
        """The labels every encoding carries."""
        return label_tags(f"{self.facts.produce_id:08x}")

    def close(self, error: BaseException | None = None) -> None:
        """Free the seat and end the engine's work; again is harmless.

        error: what ended it, for the figures
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._stream.close()
        self._seat.leave()
        if isinstance(error, KoujiError) and not isinstance(error, Cancelled):
            self._result = "failed"
        if self._has_listener:
            self._metrics.ran_dry(self.facts.model, self._listener.num_underruns)
        self._metrics.utterance_ended(
            self.facts.model,
            self._result,
            audio_seconds=self._num_samples / self.facts.sample_rate,
            seconds=time.monotonic() - self._seated,
        )

    def __del__(self) -> None:
        self.close()


class SoundWriter:
    """Encodes chunks of one utterance, or of several that are one work."""

    def __init__(self, first: Utterance, format: str, *, bit_rate: int | None = None) -> None:
        """first: whose labels and rate the stream has"""
        self._format, self._rate = format, first.facts.sample_rate
        self._encoder = Encoder(format, self._rate, tags=first.tags, bit_rate=bit_rate)
        self._num_samples = 0

    @property
    def seconds(self) -> float:
        """Sound written so far."""
        return self._num_samples / self._rate

    async def write(self, samples: Samples) -> bytes:
        """(samples,) float32 -> the bytes that are ready by now."""
        self._num_samples += len(samples)
        return await _beside(self._format, self._encoder.write, samples)

    async def close(self) -> bytes:
        """The rest."""
        return await _beside(self._format, self._encoder.close)


async def _beside(format: str, encode: Callable[..., bytes], *arguments: Any) -> bytes:
    """What `encode` returns; formats that cost computing do so beside the event loop."""
    if format in _CHEAP_FORMATS:
        return encode(*arguments)
    return await anyio.to_thread.run_sync(encode, *arguments)


def to_pcm16(samples: Samples) -> bytes:
    """(samples,) float32 in [-1, 1] as 16-bit little-endian numbers."""
    scaled = np.clip(np.round(samples * 32768.0), -32768, 32767)
    return scaled.astype("<i2").tobytes()
