"""Text that is still being written: sound before its end, whatever the pieces, let go of early."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_live import SAMPLING, LivePiece, fake_live_model
from fake_model import SAMPLE_RATE, FakeDevice, FakeSegment

from kouji.api import TTS, SpeechChunk, SpeechStream
from kouji.audio.watermark import detect
from kouji.config import Settings
from kouji.engine.engine import Engine
from kouji.engine.settings import EngineSettings
from kouji.errors import ConsentError, MarkError, TextError, UsageError
from kouji.live_source import TextSource
from kouji.live_speech import AHEAD
from kouji.models.family import PreparedSegment, PreparedText, Timeline
from kouji.models.mini.family import MiniFamily
from kouji.models.stages import SpeechModel
from kouji.types import Audio
from kouji.voices import Voice
from kouji.voices.consent import attest

TEXT = "Hello there. 你好，世界！ This is the third sentence, and it is the longest of them all."


@pytest.fixture
def voice() -> Voice:
    noise = np.random.default_rng(0).normal(0, 0.05, 48_000).astype(np.float32)
    return Voice.from_reference(Audio(noise, 24_000), name="anna", consent=attest())


def joined(chunks: list[SpeechChunk]) -> np.ndarray:
    return np.concatenate([chunk.samples for chunk in chunks])


def collect(stream: SpeechStream, heard: list[SpeechChunk]) -> None:
    """Listen, and keep what was heard before an error."""
    for chunk in stream:
        heard.append(chunk)  # noqa: PERF402


def letters(text: str, seed: int) -> Iterator[str]:
    draw = random.Random(seed)
    while text:
        count = draw.choice([1, 1, 2, 5, 40])
        yield text[:count]
        text = text[count:]


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, "it never came so far"
        time.sleep(0.005)


def is_quiet(tts: TTS) -> bool:
    stats = tts.engine.stats()
    names = [thread.name for thread in threading.enumerate()]
    return stats.num_requests == 0 and "kouji-text" not in names


class Written:
    """An iterator that gives a piece when it is told to, and notes how it ends."""

    def __init__(self, *pieces: str) -> None:
        self.may_go_on, self.is_closed, self.num_given = threading.Semaphore(0), False, 0
        self._pieces = pieces

    def __iter__(self) -> Iterator[str]:
        try:
            for piece in self._pieces:
                assert self.may_go_on.acquire(timeout=20)
                self.num_given += 1
                yield piece
        finally:
            self.is_closed = True


@pytest.mark.parametrize("seed", range(3))
def test_pieces_of_any_size_sound_the_same(tiny_tts: TTS, voice: Voice, seed: int) -> None:
    whole = list(tiny_tts.stream([TEXT], voice, seed=7))
    pieces = list(tiny_tts.stream(letters(TEXT, seed), voice, seed=7))
    np.testing.assert_allclose(joined(pieces), joined(whole), atol=1e-4)
    for field in ("words", "phones"):
        found, wanted = (
            [one for chunk in chunks for one in getattr(chunk, field)] for chunks in (pieces, whole)
        )
        assert found == wanted
        starts = [one.start for one in found]
        assert starts == sorted(starts)
    reports = [chunk.segment for chunk in pieces if chunk.segment]
    assert "".join(report.text for report in reports).split() == TEXT.split()
    assert all(one.end <= next_one.start for one, next_one in pairwise(reports))
    assert [chunk.segment_index for chunk in pieces if chunk.segment] == list(range(len(reports)))


def test_one_sentence_is_what_a_whole_text_is(tiny_tts: TTS, voice: Voice) -> None:
    text = "This is one sentence."
    pieces = list(tiny_tts.stream(iter(text), voice, seed=3, watermark=True, produce_id=5))
    whole = list(tiny_tts.stream(text, voice, seed=3, produce_id=5))
    np.testing.assert_allclose(joined(pieces), joined(whole), atol=1e-4)


def test_sound_comes_before_the_text_is_whole(tiny_tts: TTS, voice: Voice) -> None:
    written = Written("Hello the", "re. A", "nd more", ".")
    stream = tiny_tts.stream(iter(written), voice)
    written.may_go_on.release(2)
    first = next(stream)
    assert len(first.samples)
    assert (written.num_given, written.is_closed) == (2, False)
    written.may_go_on.release(2)
    speech = stream.join([first, *stream])
    assert [segment.text.strip() for segment in speech.segments] == ["Hello there.", "And more."]
    assert written.is_closed
    wait_until(lambda: is_quiet(tiny_tts))


def test_it_is_one_work(tiny_family: MiniFamily, home_dir: Path, voice: Voice) -> None:
    """One number in the mark, one audit line, one notice at its place."""
    settings = Settings(home=home_dir, disclosure="start")
    with TTS(tiny_family, settings) as tts:
        stream = tts.stream(letters(TEXT * 3, 1), voice, produce_id=77)
        chunks = list(stream)
        assert stream.produce_id == 77
        speech = stream.join(chunks)
        notices = [chunk.is_notice for chunk in chunks]
        assert notices == sorted(notices, reverse=True)
        assert notices[0]
    assert detect(speech.audio).payload == 77
    records = [json.loads(line) for line in settings.audit_file.read_text().splitlines()]
    lines = [record for record in records if record["event"] == "speak"]
    assert [line["watermark"] for line in lines] == ["0000004d"]


def test_a_notice_at_the_end_comes_behind_the_last_sentence(
    tiny_family: MiniFamily, home_dir: Path, voice: Voice
) -> None:
    with TTS(tiny_family, Settings(home=home_dir, disclosure="end")) as tts:
        chunks = list(tts.stream(letters(TEXT, 1), voice))
        assert [chunk.is_notice for chunk in chunks] == sorted(c.is_notice for c in chunks)
        assert chunks[-1].is_notice


@pytest.mark.parametrize("pieces", [[], ["", "  ", "\n"], ["..."]])
def test_nothing_to_speak_is_refused(
    tiny_family: MiniFamily, home_dir: Path, voice: Voice, pieces: list[str]
) -> None:
    with TTS(tiny_family, Settings(home=home_dir, disclosure="start")) as tts:
        stream = tts.stream(pieces, voice)
        with pytest.raises(TextError):
            next(stream)
        wait_until(lambda: is_quiet(tts))


def test_what_the_iterator_raises_reaches_the_caller_behind_the_sound(
    tiny_tts: TTS, voice: Voice
) -> None:
    def broken() -> Iterator[str]:
        yield "This one is whole. And thi"
        raise OSError("the model hung up")

    heard: list[SpeechChunk] = []
    with pytest.raises(OSError, match="hung up"):
        collect(tiny_tts.stream(broken(), voice), heard)
    assert [chunk.segment.text for chunk in heard if chunk.segment] == ["This one is whole. "]
    wait_until(lambda: is_quiet(tiny_tts))


def test_a_bad_sentence_ends_the_stream_and_one_without_sound_does_not(
    tiny_tts: TTS, voice: Voice
) -> None:
    stream = tiny_tts.stream(["Fine. ", "[hao9] is no pinyin. ", "Never heard."], voice)
    heard: list[SpeechChunk] = []
    with pytest.raises(MarkError):
        collect(stream, heard)
    assert heard
    mixed = tiny_tts.stream(["Fine. ", "\u0e01\u0e02! ", "Good."], voice)
    texts = [chunk.segment.text.strip() for chunk in mixed if chunk.segment]
    assert texts[0] == "Fine."
    assert texts[-1] == "Good."
    assert mixed.warnings


def test_what_can_be_judged_without_text_is_refused_at_once(
    tiny_tts: TTS, voice: Voice, home_dir: Path
) -> None:
    for wrong in (5, b"bytes", None):
        with pytest.raises(UsageError, match="no text"):
            tiny_tts.stream(wrong, voice)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="seed"):
        tiny_tts.stream(["Hi."], voice, seed=-1)
    with pytest.raises(ConsentError):
        tiny_tts.stream(["Hi."], voice, watermark=False)
    with pytest.raises(UsageError, match="piece of text"):
        list(tiny_tts.stream([3], voice))  # type: ignore[list-item]


def test_leaving_early_closes_the_generator_and_frees_everything(
    tiny_tts: TTS, voice: Voice
) -> None:
    def endless() -> Iterator[str]:
        try:
            while True:
                yield "One more sentence of many. "
        finally:
            closed.set()

    for leave in ("close", "drop", "exception"):
        closed = threading.Event()
        stream = tiny_tts.stream(endless(), voice)
        next(stream)
        if leave == "close":
            stream.close()
            stream.close()
        elif leave == "exception":
            with pytest.raises(RuntimeError), stream:
                raise RuntimeError("the listener fell over")
        del stream
        gc.collect()
        assert closed.wait(20)
        wait_until(lambda: is_quiet(tiny_tts))
        tiny_tts.engine.check_integrity()


def test_the_iterator_is_read_a_few_sentences_ahead_at_most(tiny_tts: TTS, voice: Voice) -> None:
    given = []

    def endless() -> Iterator[str]:
        for number in range(1000):
            given.append(number)
            yield f"This is sentence {number} of many. "

    stream = tiny_tts.stream(endless(), voice)
    wait_until(lambda: tiny_tts.engine.stats().num_requests == 0 and len(given) > AHEAD)
    time.sleep(0.05)
    assert len(given) <= AHEAD + 3  # one is complete when the next begins
    next(stream)
    stream.close()
    wait_until(lambda: is_quiet(tiny_tts))
    assert len(given) < 20


# --- event loops


async def written(text: str, ends: list[str]) -> AsyncIterator[str]:
    try:
        for letter in text:
            await asyncio.sleep(0)
            yield letter
    finally:
        ends.append("closed")


def test_a_loop_writes_and_listens(tiny_tts: TTS, voice: Voice) -> None:
    ends: list[str] = []

    async def listen() -> list[SpeechChunk]:
        return [chunk async for chunk in tiny_tts.stream(written(TEXT, ends), voice, seed=7)]

    wanted = joined(list(tiny_tts.stream([TEXT], voice, seed=7)))
    np.testing.assert_allclose(joined(asyncio.run(listen())), wanted, atol=1e-4)
    assert ends == ["closed"]
    # Without a loop of the caller's, one of our own reads.
    np.testing.assert_allclose(
        joined(list(tiny_tts.stream(written(TEXT, ends), voice, seed=7))), wanted, atol=1e-4
    )
    assert ends == ["closed"] * 2
    wait_until(lambda: is_quiet(tiny_tts))


def test_a_plain_iterator_can_be_heard_in_a_loop(tiny_tts: TTS, voice: Voice) -> None:
    async def listen() -> list[SpeechChunk]:
        return [chunk async for chunk in tiny_tts.stream(letters(TEXT, 2), voice, seed=7)]

    wanted = joined(list(tiny_tts.stream([TEXT], voice, seed=7)))
    np.testing.assert_allclose(joined(asyncio.run(listen())), wanted, atol=1e-4)


def test_leaving_a_loop_early_closes_the_asynchronous_generator(
    tiny_tts: TTS, voice: Voice
) -> None:
    ends: list[str] = []

    async def listen() -> None:
        stream = tiny_tts.stream(written(TEXT * 50, ends), voice)
        async for _ in stream:
            break
        stream.close()
        while not ends:
            await asyncio.sleep(0.005)

    asyncio.run(asyncio.wait_for(listen(), 20))
    assert ends == ["closed"]
    wait_until(lambda: is_quiet(tiny_tts))


def test_what_an_asynchronous_iterator_raises_reaches_the_caller(
    tiny_tts: TTS, voice: Voice
) -> None:
    async def broken() -> AsyncIterator[str]:
        yield "This one is whole. And "
        raise OSError("the model hung up")

    async def listen() -> None:
        async for _ in tiny_tts.stream(broken(), voice):
            pass

    with pytest.raises(OSError, match="hung up"):
        asyncio.run(listen())
    with pytest.raises(OSError, match="hung up"):
        list(tiny_tts.stream(broken(), voice))


def test_waiting_for_a_text_that_this_very_thread_writes_is_refused(
    tiny_tts: TTS, voice: Voice
) -> None:
    async def listen() -> None:
        with pytest.raises(UsageError, match="event loop"):
            next(tiny_tts.stream(written(TEXT, []), voice))

    asyncio.run(listen())
    wait_until(lambda: is_quiet(tiny_tts))


def test_a_source_asks_for_nothing_ahead() -> None:
    given: list[int] = []

    async def count() -> AsyncIterator[str]:
        for number in range(10):
            given.append(number)
            yield str(number)

    source = TextSource(count())
    pieces = iter(source)
    time.sleep(0.02)
    assert given == []
    assert [next(pieces), next(pieces)] == ["0", "1"]
    assert given == [0, 1]
    source.close()
    assert list(pieces) == []


def test_a_file_is_read_and_not_closed(tmp_path: Path, tiny_tts: TTS, voice: Voice) -> None:
    (tmp_path / "text.txt").write_text("One line.\nAnother line.\n")
    with (tmp_path / "text.txt").open() as file:
        assert list(tiny_tts.stream(file, voice))
        assert not file.closed


# --- a family that reads along


class LiveLetters:
    """Implements `LiveSentence`: each letter is a token of text."""

    def __init__(self) -> None:
        self.payload, self.unread = LivePiece.of("live", prompt_text=range(10)), ""

    def feed(self, text: str) -> bool:
        """Reads by words: the last one may go on."""
        if self.payload.text_so_far.is_closed:
            return False
        end = (self.unread + text).rfind(" ") + 1
        said, self.unread = (self.unread + text)[:end], (self.unread + text)[end:]
        return self.payload.text_so_far.feed([ord(letter) % 50 for letter in said])

    def close(self) -> tuple[str, ...]:
        self.payload.text_so_far.feed([ord(letter) % 50 for letter in self.unread])
        self.payload.text_so_far.close()
        return ()


class ReadingFamily:
    """The least a family is, and `LiveReader`."""

    name, sample_rate, precision, sampling = "reading", SAMPLE_RATE, "float32", SAMPLING

    def __init__(self, *, reads_along: bool = True) -> None:
        self._model, self._reads_along = fake_live_model(), reads_along
        self.opened: list[LiveLetters] = []

    def open_live(self, voice: Voice, *, style: Any, language: str | None) -> LiveLetters | None:
        if not self._reads_along:
            return None
        self.opened.append(LiveLetters())
        return self.opened[-1]

    def weights_hash(self, voice: Voice | None = None) -> str:
        return "0"

    def prepare(self, text: str, voice: Voice, **_: Any) -> PreparedText:
        if not any(map(str.isalnum, text)):
            raise TextError("nothing to speak")
        return PreparedText((PreparedSegment(text, FakeSegment(text.strip(), 20)),))

    @contextmanager
    def hold(self, voice: Voice) -> Iterator[SpeechModel]:
        yield self._model

    def condition(self, voice: Voice, model: SpeechModel) -> str:
        return "anna"

    def timeline(self, segment: PreparedSegment, info: Any, offset: float) -> Timeline:
        return Timeline()

    def warnings(self, info: Any) -> tuple[str, ...]:
        return ()


@contextmanager
def reading(home: Path, family: ReadingFamily, **settings: float) -> Iterator[TTS]:
    engine = Engine(
        EngineSettings(max_seats=4, max_positions=900, **settings),  # type: ignore[arg-type]
        device=FakeDevice(),
    )
    with engine:
        yield TTS(family, Settings(home=home, watermark=False), engine)  # type: ignore[arg-type]
        wait_until(lambda: engine.stats().num_requests == 0)
        engine.check_integrity()


SENTENCES = ["Read this one aloud. ", "A second one, still coming! ", "And that is all of it"]


def test_a_family_that_can_is_given_a_sentence_while_it_is_written(
    home_dir: Path, voice: Voice
) -> None:
    family = ReadingFamily()
    with reading(home_dir, family) as tts:
        written = Written(*(letter for letter in "".join(SENTENCES)))
        stream = tts.stream(iter(written), voice, watermark=False)
        written.may_go_on.release(19)  # its last letter is not there yet, nor read its last word
        first = next(stream)
        assert len(first.samples)
        assert written.num_given == 19
        assert len(family.opened) == 1
        written.may_go_on.release(100)
        speech = stream.join([first, *stream])
        assert [segment.text for segment in speech.segments] == SENTENCES
        assert len(family.opened) == 3


@pytest.mark.parametrize("seed", range(3))
def test_what_it_says_hangs_on_no_pieces(home_dir: Path, voice: Voice, seed: int) -> None:
    text = "".join(SENTENCES) + ". " + "And the end."
    with reading(home_dir, ReadingFamily()) as tts:
        whole = joined(list(tts.stream([text], voice, watermark=False)))
        pieces = joined(list(tts.stream(letters(text, seed), voice, watermark=False)))
        np.testing.assert_array_equal(pieces, whole)


def test_a_voice_it_cannot_read_along_with_is_spoken_by_sentences(
    home_dir: Path, voice: Voice
) -> None:
    family = ReadingFamily(reads_along=False)
    with reading(home_dir, family) as tts:
        chunks = list(tts.stream(letters("".join(SENTENCES), 1), voice, watermark=False))
        assert [chunk.segment.text for chunk in chunks if chunk.segment] == SENTENCES


def test_a_writer_who_pauses_too_long_goes_on_with_a_sentence_of_its_own(
    home_dir: Path, voice: Voice
) -> None:
    family = ReadingFamily()
    with reading(home_dir, family, live_idle_seconds=0.05) as tts:
        written = Written("Read this and th", "en this.")
        stream = tts.stream(iter(written), voice, watermark=False)
        written.may_go_on.release(1)
        wait_until(lambda: bool(family.opened) and family.opened[0].payload.text_so_far.is_closed)
        written.may_go_on.release(1)
        speech = stream.join(list(stream))
        assert [segment.text for segment in speech.segments] == ["Read this and ", "then this."]
        assert "stopped coming" in speech.segments[0].warnings[0]


def test_leaving_in_the_middle_of_a_sentence_frees_its_seat(home_dir: Path, voice: Voice) -> None:
    with reading(home_dir, ReadingFamily()) as tts:
        written = Written("Half a sentence of", " it")
        stream = tts.stream(iter(written), voice, watermark=False)
        written.may_go_on.release(1)
        wait_until(lambda: tts.engine.stats().num_requests == 1)
        stream.close()
        wait_until(lambda: tts.engine.stats().num_requests == 0)
        written.may_go_on.release(1)
        wait_until(lambda: written.is_closed)


def test_an_iterator_that_breaks_in_the_middle_of_a_sentence(home_dir: Path, voice: Voice) -> None:
    def broken() -> Iterator[str]:
        yield "Half a sentence of what"
        raise OSError("the model hung up")

    with reading(home_dir, ReadingFamily()) as tts:
        stream = tts.stream(broken(), voice, watermark=False)
        with pytest.raises(OSError, match="hung up"):
            list(stream)
