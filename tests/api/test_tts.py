"""The public door: promises 1 to 6 on toy weights, through kouji.api alone."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_mini import make_tiny_checkpoint

from kouji.api import TTS, SamplingWishes, SpeakOptions, SpeechRequest, load
from kouji.audio.labels import read_labels
from kouji.audio.watermark import detect
from kouji.config import Settings
from kouji.engine.engine import Engine
from kouji.errors import (
    ConsentError,
    EngineBusy,
    EngineFailed,
    KoujiError,
    MarkError,
    ReferenceRefused,
    StyleError,
    TextError,
    UsageError,
)
from kouji.models.family import TextOptions
from kouji.models.mini.family import MiniFamily
from kouji.models.mini.voice import best_part
from kouji.types import Audio, Speech
from kouji.voices import Voice, VoiceStore, audit
from kouji.voices.consent import attest

TEXT = "Hello there. 你好，世界！ This is the third sentence, and it is the longest of them all."


def _voice(seed: int, seconds: float = 2.0, **changes: object) -> Voice:
    """A voice without passing the reference check: toy networks hear anything."""
    noise = np.random.default_rng(seed).normal(0, 0.05, int(24_000 * seconds))
    reference = Audio(noise.astype(np.float32), 24_000)
    return Voice.from_reference(
        reference,
        name=f"voice{seed}",
        consent=attest(),
        **changes,  # type: ignore[arg-type]
    )


def _tts(made_by: MiniFamily, home: Path, **changes: object) -> TTS:
    return TTS(made_by, Settings(home=home, **changes))  # type: ignore[arg-type]


def test_stream_equals_speak(tiny_tts: TTS) -> None:
    voice = _voice(0)
    whole = tiny_tts.speak(TEXT, voice, seed=4)
    chunks = list(tiny_tts.stream(TEXT, voice, seed=4))
    assert len(chunks) > len(whole.segments) >= 2
    streamed = np.concatenate([chunk.samples for chunk in chunks])
    np.testing.assert_allclose(streamed, whole.audio.samples, atol=1e-4)
    assert tuple(w for chunk in chunks for w in chunk.words) == whole.words
    assert tuple(p for chunk in chunks for p in chunk.phones) == whole.phones
    reports = tuple(chunk.segment for chunk in chunks if chunk.segment)
    assert [r.text for r in reports] == [s.text for s in whole.segments]


def test_a_request_never_sees_its_batch(tiny_tts: TTS) -> None:
    requests = [
        SpeechRequest(TEXT[i:], _voice(i), "slow" if i == 7 else None, i) for i in (0, 7, 13)
    ]
    for request, made in zip(requests, tiny_tts.speak_many(requests), strict=True):
        assert isinstance(made, Speech)
        alone = tiny_tts.speak(request.text, request.voice, request.style, request.seed)
        np.testing.assert_allclose(made.audio.samples, alone.audio.samples, atol=1e-4)
        assert made.words == alone.words


def test_a_bad_request_fails_alone(tiny_tts: TTS) -> None:
    good = SpeechRequest("Fine.", _voice(1))
    bad = [
        (SpeechRequest("", _voice(1)), TextError),
        (SpeechRequest("a [qqq] b", _voice(1)), MarkError),
        (SpeechRequest("Fine.", _voice(1), "四川话"), StyleError),
        (SpeechRequest("Fine.", _voice(1), "purple bicycle"), StyleError),
        (SpeechRequest("Fine.", _voice(1), None, -1), UsageError),
    ]
    outcomes = tiny_tts.speak_many([bad[0][0], good, *[request for request, _ in bad[1:]]])
    assert isinstance(outcomes.pop(1), Speech)
    for outcome, (_, kind) in zip(outcomes, bad, strict=True):
        assert type(outcome) is kind


def test_words_point_into_the_text_and_are_in_order(tiny_tts: TTS) -> None:
    made = tiny_tts.speak("I paid $5 to 小明.", _voice(0))
    assert [word.text for word in made.words] == ["I", "paid", "$5", "to", "小", "明"]
    ends = [word.end for word in made.words]
    assert ends == sorted(ends)
    assert ends[-1] <= made.audio.duration + 1e-6


def test_seed_makes_it_repeatable(tiny_tts: TTS) -> None:
    voice = _voice(0)
    one, two, other = (tiny_tts.speak("Hello.", voice, seed=s).audio.samples for s in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_everything_is_marked_labelled_and_written_down(
    tiny_tts: TTS, home_dir: Path, tmp_path: Path
) -> None:
    made = tiny_tts.speak(TEXT, _voice(0), seed=1)
    streamed = np.concatenate([c.samples for c in tiny_tts.stream(TEXT, _voice(0), seed=1)])
    found = detect(Audio(streamed, 24_000))
    assert found.found
    assert detect(made.audio).found
    made.save(tmp_path / "out.wav")
    assert read_labels(tmp_path / "out.wav").is_ai_generated
    lines = (home_dir / "audit.jsonl").read_text().splitlines()
    assert audit.verify(home_dir / "audit.jsonl") == len(lines) == 2
    line = json.loads(lines[0])
    assert line["voice"] == _voice(0).content_hash
    assert "Hello" not in lines[0]
    if found.payload is not None:
        assert line["watermark"] == f"{found.payload:08x}"


def test_unmarked_audio_needs_the_operator(tiny_family: MiniFamily, home_dir: Path) -> None:
    voice = _voice(0)
    with pytest.raises(ConsentError, match="unmarked"):
        _tts(tiny_family, home_dir).speak("Hi.", voice, watermark=False)
    with pytest.raises(ConsentError, match="unmarked"):
        _tts(tiny_family, home_dir).stream("Hi.", voice, watermark=False)
    free = _tts(tiny_family, home_dir, watermark=False)
    plain = free.speak(TEXT, voice, watermark=False)
    assert not detect(plain.audio).found
    assert "policy off" in (home_dir / "audit.jsonl").read_text()


def test_no_voice_without_consent(tiny_family: MiniFamily, home_dir: Path) -> None:
    from dataclasses import replace

    voice = replace(_voice(0), consent=None)
    with pytest.raises(ConsentError):
        _tts(tiny_family, home_dir).speak("Hi.", voice)
    assert _tts(tiny_family, home_dir, consent="off").speak("Hi.", voice).audio.duration > 0
    with pytest.raises(ConsentError):
        _tts(tiny_family, home_dir, consent="verify").enroll(voice.reference)


def test_a_bad_reference_is_refused_before_the_model_runs(
    tiny_tts: TTS, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(_self: object, _reference: object) -> None:
        raise AssertionError("the model ran")

    monkeypatch.setattr(MiniFamily, "embed", explode)
    with pytest.raises(ReferenceRefused) as caught:
        tiny_tts.enroll(Audio(np.zeros(48_000, np.float32), 24_000))
    assert caught.value.reason == "silent"


def test_of_a_reference_kept_whole_with_its_words_the_best_part_is_heard(
    tiny_family: MiniFamily,
) -> None:
    voice = _voice(0, seconds=15.0, transcript="All of it.")
    part = best_part(voice.reference)
    assert 3.0 <= part.duration <= 10.0
    with tiny_family.hold(voice) as model:
        heard = tiny_family.condition(voice, model)
    assert torch.equal(heard, tiny_family.embed(part))
    assert not torch.equal(heard, tiny_family.embed(voice.reference))


def test_a_kept_voice_is_embedded_once(
    tiny_family: MiniFamily, home_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = VoiceStore(home_dir).add(_voice(3))
    first = _tts(tiny_family, home_dir).speak("Hello.", voice)
    calls: list[int] = []
    monkeypatch.setattr(MiniFamily, "embed", lambda *_: calls.append(1))
    again = _tts(tiny_family, home_dir).speak("Hello.", voice)
    assert not calls
    assert np.array_equal(first.audio.samples, again.audio.samples)


def test_voices_do_not_mix(tiny_tts: TTS) -> None:
    voices = [_voice(i) for i in range(6)]
    alone = [tiny_tts.speak("Hello there.", voice).audio.samples for voice in voices]
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(6), 3))
    made = tiny_tts.speak_many([SpeechRequest("Hello there.", voices[i]) for i in order])
    for index, outcome in zip(order, made, strict=True):
        assert isinstance(outcome, Speech)
        np.testing.assert_allclose(outcome.audio.samples, alone[index], atol=1e-4)
    assert not np.allclose(alone[0], alone[1], atol=1e-3)


def test_dropped_marks_are_warned_of_and_never_spoken(tiny_tts: TTS) -> None:
    made = tiny_tts.speak("Well [laughter] yes.", _voice(0))
    assert any("laughter" in warning for warning in made.warnings)
    assert [word.text for word in made.words] == ["Well", "yes"]


def test_unknown_model_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="maxi"):
        load("maxi")
    assert issubclass(UsageError, KoujiError)


def test_what_the_caller_leaves_open_the_operator_decides(
    tiny_family: MiniFamily, home_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, object]] = []

    def open_family(model: str, **wishes: object) -> MiniFamily:
        asked.append(wishes)
        return tiny_family

    monkeypatch.setattr("kouji.models.catalogue.open_family", open_family)
    settings = Settings(home=home_dir, device="cpu", precision="bfloat16")
    load(settings=settings).close()
    load(settings=settings, device="cuda:1", precision="float32").close()
    load(settings=settings, device="auto", precision="auto").close()
    chosen = [(wishes["device"], wishes["precision"]) for wishes in asked]
    assert chosen == [("cpu", "bfloat16"), ("cuda:1", "float32"), ("auto", None)]


def test_more_requests_than_the_engine_takes_wait_for_their_turn(
    tiny_family: MiniFamily, home_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=home_dir, engine_seats=1, engine_queue=2)
    voice = _voice(0)
    with TTS(tiny_family, settings) as tts, tiny_family.hold(voice) as model:
        is_full = threading.Event()
        submit, acoustic = tts.engine.submit, model.renderer.acoustic

        def watched_submit(*args: Any, **more: Any) -> Any:
            try:
                return submit(*args, **more)
            except EngineBusy:
                is_full.set()
                raise

        def slow_acoustic(rows: Any) -> None:
            assert is_full.wait(timeout=60), "nothing is rendered before a request was refused"
            acoustic(rows)

        monkeypatch.setattr(tts.engine, "submit", watched_submit)
        monkeypatch.setattr(model.renderer, "acoustic", slow_acoustic)
        requests = [SpeechRequest("A line.", voice, None, i) for i in range(40)]
        outcomes = tts.speak_many(requests)
        ended = tts.engine.stats().ended
    assert all(isinstance(outcome, Speech) for outcome in outcomes)
    assert ended["refused"] > 0
    assert ended["finished"] == 40, "each is spoken once"
    assert "cancelled" not in ended


def test_letting_go_of_a_stream_ends_it(tiny_tts: TTS) -> None:
    stream = tiny_tts.stream(TEXT * 20, _voice(0))
    next(stream)
    del stream
    closed = tiny_tts.stream(TEXT * 20, _voice(0))
    closed.close()
    closed.close()
    assert tiny_tts.speak("Hi.", _voice(0)).audio.duration > 0
    assert tiny_tts.engine.stats().ended == {"cancelled": 2, "finished": 1}
    tiny_tts.engine.check_integrity()


def test_a_stream_can_be_awaited(tiny_tts: TTS) -> None:
    async def listen() -> list[np.ndarray]:
        return [chunk.samples async for chunk in tiny_tts.stream(TEXT, _voice(0), seed=4)]

    awaited = np.concatenate(asyncio.run(listen()))
    waited = np.concatenate([c.samples for c in tiny_tts.stream(TEXT, _voice(0), seed=4)])
    np.testing.assert_allclose(awaited, waited, atol=1e-4)


def test_whole_segments_equal_chunks(tiny_tts: TTS) -> None:
    whole = list(tiny_tts.stream(TEXT, _voice(0), in_chunks=False))
    chunks = list(tiny_tts.stream(TEXT, _voice(0)))
    assert len(whole) < len(chunks)
    joined = (np.concatenate([c.samples for c in made]) for made in (whole, chunks))
    np.testing.assert_allclose(*joined, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [SpeakOptions(SamplingWishes(temperature=-1.0)), SpeakOptions(deadline_seconds=0.0)],
)
def test_bad_options_are_refused_before_the_voice_is_encoded(
    tiny_tts: TTS, home_dir: Path, monkeypatch: pytest.MonkeyPatch, options: SpeakOptions
) -> None:
    monkeypatch.setattr(MiniFamily, "embed", lambda *_: pytest.fail("the model ran"))
    with pytest.raises(UsageError, match=r"temperature|deadline_seconds"):
        tiny_tts.speak("Hi.", _voice(0), options=options)
    assert not (home_dir / "audit.jsonl").exists()


def test_several_may_share_an_engine_that_none_of_them_ends(
    tiny_family: MiniFamily, home_dir: Path
) -> None:
    with Engine() as engine:
        settings = Settings(home=home_dir)
        with TTS(tiny_family, settings, engine) as one, TTS(tiny_family, settings, engine) as two:
            first = one.speak("Hello.", _voice(0)).audio.samples
            one.close()
            assert np.array_equal(two.speak("Hello.", _voice(0)).audio.samples, first)
    with pytest.raises(EngineFailed, match="closed"):
        two.speak("Hello.", _voice(0))


def test_the_largest_seed_is_spoken(tiny_tts: TTS) -> None:
    made = tiny_tts.speak("Hi.", _voice(0), seed=2**63 - 1)
    assert made.seed == 2**63 - 1
    with pytest.raises(UsageError, match=r"2\^63"):
        tiny_tts.speak("Hi.", _voice(0), seed=2**63)


def test_other_numbers_are_other_weights_in_an_engine(tiny_family: MiniFamily) -> None:
    rounded = MiniFamily(make_tiny_checkpoint(), precision="bfloat16")
    assert rounded.weights_hash() == tiny_family.weights_hash()
    assert rounded.renderer.identity != tiny_family.renderer.identity


def test_options_of_other_families_are_named_in_a_warning(tiny_tts: TTS) -> None:
    options = SpeakOptions(text=TextOptions("cut0", 1.0))
    made, usual = (tiny_tts.speak(TEXT, _voice(0), options=o) for o in (options, SpeakOptions()))
    assert np.array_equal(made.audio.samples, usual.audio.samples)
    assert [w for w in made.warnings if "cut" in w]
    assert [w for w in made.warnings if "pause" in w]
