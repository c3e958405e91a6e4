"""GPT-SoVITS through the public door, on a directory of toy weights in the official layout."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers", reason="the extra gpt-sovits is not installed")

from tiny_gpt_sovits import write_directory, write_sovits, write_t2s

from kouji.api import TTS, SamplingWishes, SpeakOptions, SpeechRequest, load
from kouji.audio.watermark import detect
from kouji.config import Settings
from kouji.errors import KoujiError, ModelError, ReferenceRefused, StyleError, UsageError
from kouji.models.family import TextOptions
from kouji.types import Audio, Speech
from kouji.voices import Voice, VoiceStore, VoiceWeights
from kouji.voices.consent import attest
from kouji.voices.enroll import weights_file

TRANSCRIPT = "今天天气很好。"
TEXT = "你好，世界。今天[break 0.5s]天气真[h][ao3]！ Hello world, this is a test of it."
UNGUARDED = SpeakOptions(guard=False)  # toy weights babble


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that speaks."""
    return write_directory(tmp_path_factory.mktemp("gpt-sovits"))


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fine-tuned weights of eight voices."""
    folder = tmp_path_factory.mktemp("fine-tuned")
    for index in range(8):
        write_t2s(folder / f"voice{index}-e15.ckpt", 100 + index)
        write_sovits(folder / f"voice{index}_e8_s200.pth", 200 + index)
    return folder


@pytest.fixture
def toy_tts(toy_folder: Path, home_dir: Path) -> TTS:
    """The whole product around the toy directory, in float32."""
    return load(str(toy_folder), precision="float32", settings=Settings(home=home_dir))


def _voice(seed: int, transcript: str | None = TRANSCRIPT, seconds: float = 3.2) -> Voice:
    noise = np.random.default_rng(seed).normal(0, 0.05, int(24_000 * seconds))
    reference = Audio(noise.astype(np.float32), 24_000)
    return Voice.from_reference(
        reference, name=f"voice{seed}", transcript=transcript, consent=attest()
    )


def _tuned(index: int, folder: Path) -> Voice:
    weights = VoiceWeights(
        "gpt-sovits",
        weights_file(folder / f"voice{index}-e15.ckpt"),
        weights_file(folder / f"voice{index}_e8_s200.pth"),
    )
    return replace(_voice(index), weights=weights)


def test_it_speaks_with_pauses_marks_and_a_watermark(toy_tts: TTS, home_dir: Path) -> None:
    made = toy_tts.speak(TEXT, _voice(0), seed=3, options=UNGUARDED)
    assert made.audio.sample_rate == 32_000
    assert np.isfinite(made.audio.samples).all()
    assert [s.text for s in made.segments][:2] == ["你好，世界。今天。", "天气真hao3！"]
    gap = made.segments[1].start - made.segments[0].end
    assert gap == pytest.approx(0.8, abs=1e-3)  # the mark and the pause between segments
    assert detect(made.audio).found
    line = json.loads((home_dir / "audit.jsonl").read_text().splitlines()[0])
    assert line["model"].startswith("gpt-sovits@")


def test_a_spoken_notice_leaves_the_text_alone(toy_tts: TTS) -> None:
    """Tokens and sound of the text as its seed made them, moved by notice and pause."""
    plain = toy_tts.speak(TEXT, _voice(0), seed=3, options=UNGUARDED)
    options = replace(UNGUARDED, disclosure="start")
    noted = toy_tts.speak(TEXT, _voice(0), seed=3, options=options)
    shift = noted.segments[0].start - plain.segments[0].start
    assert shift > 0.4
    assert noted.audio.duration == pytest.approx(plain.audio.duration + shift, abs=1e-4)
    assert [s.end - s.start for s in noted.segments] == pytest.approx(
        [s.end - s.start for s in plain.segments]
    )
    toy_tts.engine.check_integrity()


def test_seed_and_sampling_decide_the_sound(toy_tts: TTS) -> None:
    def sound(seed: int, **wishes: float) -> np.ndarray:
        sampling = SamplingWishes(**wishes)  # type: ignore[arg-type]
        options = SpeakOptions(sampling=sampling, guard=False)
        return toy_tts.speak("你好，世界。", _voice(0), seed=seed, options=options).audio.samples

    assert np.array_equal(sound(1), sound(1))
    assert not np.array_equal(sound(1), sound(2))
    assert not np.array_equal(sound(1), sound(1, temperature=0.2))


def test_the_guard_tries_again_and_tells(toy_tts: TTS) -> None:
    made = toy_tts.speak("你好。", _voice(0), seed=3)
    assert all(segment.retries <= 2 for segment in made.segments)
    faulty = [segment for segment in made.segments if segment.retries == 2]
    assert all(segment.warnings for segment in faulty)


def test_a_style_is_followed_as_far_as_the_family_can(toy_tts: TTS) -> None:
    options = UNGUARDED
    usual = toy_tts.speak("你好，世界。", _voice(0), seed=1, options=options)
    fast = toy_tts.speak("你好，世界。", _voice(0), "twice as fast", seed=1, options=options)
    assert fast.audio.duration < 0.75 * usual.audio.duration
    moody = toy_tts.speak("你好，世界。", _voice(0), "sad", seed=1, options=options)
    assert any("reference" in warning for warning in moody.warnings)
    with pytest.raises(StyleError):
        toy_tts.speak("你好。", _voice(0), "四川话")


def test_a_caller_decides_where_a_text_is_cut_and_how_long_it_pauses(toy_tts: TTS) -> None:
    text = "今天的天气，非常的好。明天的天气，也会很好。"

    def speak(method: str | None, seconds: float | None) -> Speech:
        options = SpeakOptions(guard=False, text=TextOptions(method, seconds))
        return toy_tts.speak(text, _voice(0), seed=1, options=options)

    usual, whole, at_stops = speak(None, None), speak("cut0", None), speak("cut3", 1.0)
    assert [s.text for s in usual.segments] == [s.text for s in speak("cut5", 0.3).segments]
    assert [s.text for s in whole.segments] == [text]
    assert "".join(s.text for s in at_stops.segments) == text
    assert len(at_stops.segments) == 2
    gap = at_stops.segments[1].start - at_stops.segments[0].end
    assert gap == pytest.approx(1.0, abs=1e-3)
    for wrong in (TextOptions("cut6"), TextOptions(None, -0.1), TextOptions(None, 10.1)):
        with pytest.raises(UsageError):
            toy_tts.speak(text, _voice(0), options=SpeakOptions(text=wrong))


def test_without_a_transcript_only_the_timbre_is_taken(toy_tts: TTS) -> None:
    free = toy_tts.speak("你好，世界。", _voice(0, None), seed=1, options=UNGUARDED)
    told = toy_tts.speak("你好，世界。", _voice(0), seed=1, options=UNGUARDED)
    assert free.audio.duration > 0
    assert not np.array_equal(free.audio.samples, told.audio.samples)


def test_bad_inputs_fail_alone_and_say_why(toy_tts: TTS) -> None:
    good = SpeechRequest("你好，世界。", _voice(0), options=UNGUARDED)
    bad: list[tuple[SpeechRequest, type[KoujiError]]] = [
        (replace(good, voice=_voice(1, seconds=1.0)), ReferenceRefused),
        (replace(good, language="klingon"), UsageError),
        (replace(good, text="。。。"), KoujiError),
        (replace(good, options=SpeakOptions(SamplingWishes(top_p=1.5))), UsageError),
    ]
    outcomes = toy_tts.speak_many([good, *(request for request, _ in bad)])
    assert isinstance(outcomes[0], Speech)
    for outcome, (_, kind) in zip(outcomes[1:], bad, strict=True):
        assert isinstance(outcome, kind), outcome


def test_a_voice_speaks_with_its_own_weights_only(toy_tts: TTS, weights_folder: Path) -> None:
    voices = [_tuned(index, weights_folder) for index in range(8)]
    texts = ["你好，世界。", "今天天气真好。"]
    wanted = [
        SpeechRequest(texts[i % 2], voices[i % 8], seed=i % 3, options=UNGUARDED) for i in range(48)
    ]
    alone = {
        (r.text, r.voice.name, r.seed): toy_tts.speak(
            r.text, r.voice, seed=r.seed, options=UNGUARDED
        ).audio.samples
        for r in wanted
    }
    order = np.random.default_rng(0).integers(0, len(wanted), 200)

    async def speak_all() -> list[np.ndarray]:
        async def one(request: SpeechRequest) -> np.ndarray:
            stream = toy_tts.stream(
                request.text, request.voice, seed=request.seed, options=UNGUARDED, in_chunks=False
            )
            return np.concatenate([chunk.samples async for chunk in stream])

        limit = asyncio.Semaphore(32)

        async def limited(request: SpeechRequest) -> np.ndarray:
            async with limit:
                return await one(request)

        return await asyncio.gather(*(limited(wanted[i]) for i in order))

    for index, samples in zip(order, asyncio.run(speak_all()), strict=True):
        request = wanted[index]
        expected = alone[request.text, request.voice.name, request.seed]
        np.testing.assert_allclose(samples, expected, atol=1e-4)
    toy_tts.engine.check_integrity()
    different = {name: alone[texts[0], name, seed] for _, name, seed in alone if seed == 0
                 for text in texts[:1] if (text, name, seed) in alone}  # fmt: skip
    sounds = list(different.values())
    assert len(sounds) > 1
    assert not any(np.array_equal(sounds[0], other) for other in sounds[1:])


def test_weights_are_dropped_within_the_budget_and_come_back(
    toy_folder: Path, weights_folder: Path, home_dir: Path
) -> None:
    from kouji.models.catalogue import open_family

    family = open_family(
        str(toy_folder), home=home_dir, precision="float32", weights_bytes=4_000_000
    )
    with TTS(family, Settings(home=home_dir)) as tts:
        voices = [_tuned(index, weights_folder) for index in range(8)]
        request = "你好，世界。"
        first = [tts.speak(request, v, options=UNGUARDED).audio.samples for v in voices]
        again = [tts.speak(request, v, options=UNGUARDED).audio.samples for v in voices]
        stats = family._residents.stats()  # type: ignore[attr-defined]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert stats.num_evictions > 0
    assert stats.num_bytes <= 4_000_000
    assert stats.num_held == 0


def test_more_voices_than_there_is_memory_for_speak_in_turns(
    toy_folder: Path, weights_folder: Path, home_dir: Path
) -> None:
    from kouji.models.catalogue import open_family

    family = open_family(
        str(toy_folder), home=home_dir, precision="float32", weights_bytes=4_000_000
    )
    with TTS(family, Settings(home=home_dir)) as tts:
        voices = [_tuned(index % 8, weights_folder) for index in range(16)]
        requests = [SpeechRequest("你好，世界。", v, options=UNGUARDED) for v in voices]
        outcomes = tts.speak_many(requests)
        stats = family._residents.stats()  # type: ignore[attr-defined]
    assert all(isinstance(outcome, Speech) for outcome in outcomes), outcomes
    assert stats.num_failures == 0
    assert stats.num_held == 0
    assert stats.num_bytes <= 4_000_000


def test_a_stream_nobody_reads_on_gives_its_weights_back(toy_tts: TTS) -> None:
    residents = toy_tts.family._residents  # type: ignore[attr-defined]
    with toy_tts.stream("你好，世界。", _voice(0), options=UNGUARDED) as stream:
        until = time.monotonic() + 20
        while residents.stats().num_held and time.monotonic() < until:
            time.sleep(0.005)
        assert residents.stats().num_held == 0
        there = [weakref.ref(entry.value) for entry in residents._entries.values()]
        assert len(there) == 2
        assert residents.shed() > 0
        while any(ref() is not None for ref in there) and time.monotonic() < until:
            time.sleep(0.005)
        assert not any(ref() is not None for ref in there), "no reader keeps weights alive"
        assert sum(len(chunk.samples) for chunk in stream) > 0


def test_weights_that_changed_are_refused(toy_tts: TTS, weights_folder: Path) -> None:
    voice = _tuned(0, weights_folder)
    path = weights_folder / "voice0_e8_s200.pth"
    before = path.read_bytes()
    write_sovits(path, 999)
    try:
        with pytest.raises(ModelError, match="changed"):
            toy_tts.speak("你好。", voice)
    finally:
        path.write_bytes(before)


def test_a_kept_voice_remembers_weights_and_conditioning(
    toy_tts: TTS, weights_folder: Path, home_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    VoiceStore(home_dir).add(_tuned(1, weights_folder))
    kept = VoiceStore(home_dir).get("voice1")
    first = toy_tts.speak("你好，世界。", kept, options=UNGUARDED).audio.samples
    assert list((home_dir / "voices" / "voice1").glob("gpt-sovits@*.safetensors"))
    monkeypatch.setattr(type(toy_tts.family), "condition", lambda *_: pytest.fail("encoded again"))
    with TTS(toy_tts.family, Settings(home=home_dir)) as fresh:
        again = fresh.speak("你好，世界。", kept, options=UNGUARDED).audio.samples
    assert np.array_equal(first, again)


def test_further_references_move_the_timbre(toy_tts: TTS) -> None:
    plain = _voice(0)
    fused = replace(plain, others=(_voice(5).reference,))
    one = toy_tts.speak("你好，世界。", plain, seed=1, options=UNGUARDED).audio.samples
    other = toy_tts.speak("你好，世界。", fused, seed=1, options=UNGUARDED).audio.samples
    assert not np.array_equal(one, other)


def test_many_threads_share_one_engine(toy_tts: TTS) -> None:
    voices = [_voice(i) for i in range(4)]
    alone = [toy_tts.speak("你好，世界。", v, options=UNGUARDED).audio.samples for v in voices]
    heard: dict[int, np.ndarray] = {}

    def speak(index: int) -> None:
        voice = voices[index % 4]
        heard[index] = toy_tts.speak("你好，世界。", voice, options=UNGUARDED).audio.samples

    threads = [threading.Thread(target=speak, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, samples in heard.items():
        np.testing.assert_allclose(samples, alone[index % 4], atol=1e-4)
    assert len(heard) == 12
