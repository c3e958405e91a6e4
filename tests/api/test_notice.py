"""The audible notice: on every path, where it belongs, and never less than the operator wants."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from kouji.api import TTS, SpeakOptions, SpeechRequest, SpeechStream
from kouji.audio.morse import morse_ai
from kouji.audio.watermark import detect
from kouji.config import Settings
from kouji.engine.engine import Engine
from kouji.engine.settings import EngineSettings
from kouji.errors import Cancelled, ConsentError, EngineBusy, UsageError
from kouji.models.mini.family import MiniFamily
from kouji.notice import PAUSE_SECONDS, SENTENCES, Notice, notice_sentence, settle_notice
from kouji.types import Audio, Speech
from kouji.voices import Voice
from kouji.voices.consent import attest

TEXT = "Hello there. 你好，世界！ This is the third sentence."
PAUSE = round(PAUSE_SECONDS * 24_000)


@pytest.fixture
def voice() -> Voice:
    noise = np.random.default_rng(3).normal(0, 0.05, 48_000).astype(np.float32)
    return Voice.from_reference(Audio(noise, 24_000), name="v", consent=attest())


def tts_with(family: MiniFamily, home: Path, **changes: object) -> TTS:
    return TTS(family, Settings(home=home, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["spoken", "morse"])
@pytest.mark.parametrize("place", ["start", "end"])
def test_the_text_stays_as_it_is(
    tiny_family: MiniFamily, home_dir: Path, voice: Voice, place: str, kind: str
) -> None:
    """Same seed, same sound of the text; everything timed moves with it."""
    with tts_with(tiny_family, home_dir, watermark=False) as tts:
        plain = tts.speak(TEXT, voice, seed=5, watermark=False)
        options = SpeakOptions(disclosure=place, notice=kind)
        noted = tts.speak(TEXT, voice, seed=5, watermark=False, options=options)
        sentence = tts.speak(SENTENCES["en"], voice, seed=5, watermark=False).audio.samples
    notice = sentence if kind == "spoken" else morse_ai(24_000)
    num_plain, num_notice = len(plain.audio.samples), len(notice)
    assert len(noted.audio.samples) == num_plain + PAUSE + num_notice
    first = PAUSE + num_notice if place == "start" else 0
    text = noted.audio.samples[first : first + num_plain]
    np.testing.assert_allclose(text, plain.audio.samples, atol=1e-4)
    heard = (
        noted.audio.samples[:num_notice] if place == "start" else noted.audio.samples[-num_notice:]
    )
    np.testing.assert_allclose(heard, notice, atol=1e-4)
    shift = first / 24_000
    assert [word.text for word in noted.words] == [word.text for word in plain.words]
    for ours, theirs in (
        (noted.words, plain.words),
        (noted.phones, plain.phones),
        (noted.segments, plain.segments),
    ):
        moved = [(item.start + shift, item.end + shift) for item in theirs]
        np.testing.assert_allclose([(item.start, item.end) for item in ours], moved, atol=1e-6)


@pytest.mark.parametrize("place", ["start", "end"])
def test_the_operator_decides_for_every_path(
    tiny_family: MiniFamily, home_dir: Path, voice: Voice, place: str
) -> None:
    with tts_with(tiny_family, home_dir, disclosure=place) as tts:
        whole = tts.speak(TEXT, voice, seed=2)
        both = tts.speak_many([SpeechRequest(TEXT, voice, seed=2)] * 2)
        chunks = list(tts.stream(TEXT, voice, seed=2))

        async def listen() -> list[np.ndarray]:
            return [chunk.samples async for chunk in tts.stream(TEXT, voice, seed=2)]

        awaited = asyncio.run(listen())
        tts.engine.check_integrity()
    streamed = np.concatenate([chunk.samples for chunk in chunks])
    np.testing.assert_allclose(streamed, whole.audio.samples, atol=1e-4)
    np.testing.assert_allclose(np.concatenate(awaited), whole.audio.samples, atol=1e-4)
    for other in both:
        assert isinstance(other, Speech)
        np.testing.assert_allclose(other.audio.samples, whole.audio.samples, atol=1e-4)
    notices = [chunk.is_notice for chunk in chunks]
    assert notices[0 if place == "start" else -1]
    assert not all(notices)
    assert tuple(word for chunk in chunks for word in chunk.words) == whole.words


def test_the_notice_is_marked_too(tiny_family: MiniFamily, home_dir: Path, voice: Voice) -> None:
    with tts_with(tiny_family, home_dir, disclosure="start") as tts:
        speech = tts.speak("Hi. " * 6, voice)
        chunks = tts.stream("Hi. " * 6, voice)
        marked = [chunk.samples for chunk in chunks if chunk.is_notice]
    assert detect(speech.audio).found
    free = tts_with(tiny_family, home_dir, disclosure="start", watermark=False)
    with free as tts:
        chunks = tts.stream("Hi. " * 6, voice, watermark=False)
        unmarked = [chunk.samples for chunk in chunks if chunk.is_notice]
    assert np.abs(np.concatenate(marked) - np.concatenate(unmarked)).max() > 1e-6


def test_a_caller_may_ask_for_more_but_never_for_less() -> None:
    start = Settings(disclosure="start")
    assert settle_notice(Settings(), None, None) == Notice()
    assert settle_notice(Settings(), "end", "morse") == Notice(frozenset({"end"}), "morse")
    assert settle_notice(start, None, None).places == {"start"}
    assert settle_notice(start, "end", None).places == {"start", "end"}
    rhythm = Settings(disclosure="end", notice="morse")
    assert settle_notice(rhythm, None, "spoken").kind == "spoken"
    with pytest.raises(ConsentError, match="may not be left out"):
        settle_notice(start, "none", None)
    with pytest.raises(ConsentError, match="has to be spoken"):
        settle_notice(start, None, "morse")
    for wrong in (("begin", None, "whole"), (None, "beep", "whole"), (None, None, "half")):
        with pytest.raises(UsageError, match="allowed"):
            settle_notice(start, *wrong)


def test_a_work_of_several_requests_has_one_notice() -> None:
    both = [settle_notice(Settings(disclosure="start"), "end", None, part).places for part in
            ("whole", "first", "middle", "last")]  # fmt: skip
    assert both == [{"start", "end"}, {"start"}, set(), {"end"}]


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("你好，世界！", None, "zh"),
        ("Hello, world.", None, "en"),
        ("我用 Python 写了一个很小的程序。", None, "zh"),
        ("The word 你好 means hello in this text.", None, "en"),
        ('<speak><voice name="abcdef">早上好</voice></speak>', None, "zh"),
        ("2024", "zh", "zh"),
        ("2024", None, "en"),
        ("早上好", "en", "en"),
        ("早晨", "all_yue", "zh"),
        ("日本語のテキスト", "auto", "en"),
    ],
)
def test_the_language_of_the_notice(text: str, language: str | None, expected: str) -> None:
    assert notice_sentence(text, language) == (SENTENCES[expected], expected)


def test_a_stream_that_is_left_ends_text_and_notice(
    tiny_family: MiniFamily, home_dir: Path, voice: Voice
) -> None:
    with tts_with(tiny_family, home_dir, disclosure="start") as tts:
        stream = tts.stream(TEXT, voice)
        next(stream)
        stream.close()
        assert isinstance(tts.speak("Hi.", voice), Speech)
        tts.engine.check_integrity()


def test_no_room_for_both_takes_neither(
    tiny_family: MiniFamily, home_dir: Path, voice: Voice
) -> None:
    """A full queue refuses text and notice together, and what was refused leaves nothing behind."""
    settings = Settings(home=home_dir, disclosure="end")
    with Engine(EngineSettings(max_seats=1, max_queue=2)) as engine:
        tts = TTS(tiny_family, settings, engine)
        streams: list[SpeechStream] = []
        with pytest.raises(EngineBusy):  # nobody reads them, so they stay
            streams.extend(tts.stream(TEXT * 20, voice) for _ in range(40))
        assert streams
        tickets = [stretch.source for stream in streams for stretch in stream._stretches]
        for stream in streams:
            stream.close()
        for ticket in tickets:  # leaving takes effect at the next step of the engine
            with pytest.raises(Cancelled):
                ticket.result()
        assert isinstance(tts.speak("Hi.", voice), Speech)
        engine.check_integrity()
