"""Hearing sounds through the engine: whole, streamed, many; what is refused and what is warned of.

Four properties: streamed = whole, batched = alone, another rate or container = the same sound,
and after any end of a request nothing is left in the engine.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from engine_harness import assert_empty
from tiny_classifier import LABELS, RATE, make_tiny_classifier

import kouji
from kouji.api import TTS
from kouji.classification import Classification, HeardWindow
from kouji.classifying import SoundClassifier, load_classifier
from kouji.config import Settings
from kouji.engine.engine import Engine
from kouji.engine.settings import EngineSettings
from kouji.errors import (
    AudioError,
    Cancelled,
    ConfigError,
    DeadlineExceeded,
    EngineBusy,
    EngineFailed,
    ModelError,
    TooLarge,
    UnreadableAudio,
    UsageError,
)
from kouji.listening import HearOptions
from kouji.types import Audio, Samples
from kouji.voices.sample import sample_voice


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_classifier(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def classifier(folder: Path) -> Iterator[SoundClassifier]:
    with load_classifier(folder, precision="float32", threads=1) as classifier:
        yield classifier
        assert_empty(classifier.engine)


def changing(seconds: float, seed: int = 0, rate: int = RATE) -> Samples:
    """A sound whose windows differ: a glide in noise that swells."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    glide = np.sin(2 * np.pi * (200 + 150 * seed + 100 * time) * time)
    return (0.2 * glide + 0.02 * time * rng.standard_normal(len(time))).astype(np.float32)


def far(one: Any, other: Any) -> float:
    return float(np.abs(np.asarray(one) - np.asarray(other)).max())


def assert_same(ours: Iterator[HeardWindow] | Any, theirs: Any, *, within: float = 1e-5) -> None:
    ours, theirs = list(ours), list(theirs)
    assert [(w.start, w.end) for w in ours] == [(w.start, w.end) for w in theirs]
    for mine, yours in zip(ours, theirs, strict=True):
        assert far(mine.probabilities, yours.probabilities) <= within


def test_a_sound_is_heard_as_a_whole_and_over_time(classifier: SoundClassifier) -> None:
    heard = classifier.classify(Audio(changing(3.3), RATE))
    assert heard.labels == LABELS
    assert heard.seconds == pytest.approx(3.3)
    assert [w.start for w in heard.windows] == [0.0, 0.5, 1.0, 1.5, 2.0, pytest.approx(2.3)]
    assert heard.windows[-1].end == pytest.approx(3.3)
    for window in heard.windows:
        assert window.probabilities.sum() == pytest.approx(1.0, abs=1e-5)
    assert heard.probabilities.sum() == pytest.approx(1.0, abs=1e-5)
    assert heard.warnings == ()
    assert far(heard.windows[0].probabilities, heard.windows[-1].probabilities) > 1e-3


@pytest.mark.parametrize("size", [1, 160, 4001, 100_000])
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_a_stream_is_heard_as_the_whole(classifier: SoundClassifier, size: int, rate: int) -> None:
    seconds = 1.2 if size == 1 else 3.3
    sound = changing(seconds, rate=rate)
    pieces = (sound[start : start + size] for start in range(0, len(sound), size))
    streamed = classifier.stream(pieces, rate)
    assert_same(streamed, classifier.classify(Audio(sound, rate)).windows, within=2e-5)


def test_a_window_of_a_stream_comes_before_the_next_piece_is_asked_for(
    classifier: SoundClassifier,
) -> None:
    asked: list[int] = []

    def pieces() -> Iterator[Samples]:
        for number in range(8):
            asked.append(number)
            yield changing(0.25, number)

    windows = classifier.stream(pieces(), RATE)
    next(windows)
    assert len(asked) == 4
    next(windows)
    assert len(asked) == 6


def test_company_changes_nothing(classifier: SoundClassifier, folder: Path) -> None:
    sounds = [Audio(changing(0.4 + 0.5 * n, n), RATE) for n in range(9)]
    alone = [classifier.classify(sound) for sound in sounds]
    for rows, wait in ((1, 0.0), (3, 1.0), (32, 20.0)):
        settings = EngineSettings(device="cpu", threads=1, render_batch=rows, render_wait_ms=wait)
        with Engine(settings) as engine:
            other = load_classifier(folder, precision="float32", engine=engine)
            for mine, yours in zip(alone, other.classify_many(sounds), strict=True):
                assert isinstance(yours, Classification)
                assert far(mine.probabilities, yours.probabilities) <= 1e-5
                assert_same(mine.windows, yours.windows)
            assert_empty(engine)


def test_windows_of_different_callers_share_batches(folder: Path) -> None:
    settings = EngineSettings(device="cpu", threads=1, render_wait_ms=200.0)
    with Engine(settings) as engine:
        classifier = load_classifier(folder, precision="float32", engine=engine)
        sounds = [Audio(changing(1.0, n), RATE) for n in range(4)]
        threads = [
            threading.Thread(target=classifier.classify, args=(sound,), kwargs={"client": str(n)})
            for n, sound in enumerate(sounds)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert max(engine.stats().batches["vocode"]) > 1


def test_speech_and_sounds_share_an_engine(tiny_tts: TTS, folder: Path) -> None:
    sound = Audio(changing(12.0), RATE)
    text = "The evening train was late again."
    with load_classifier(folder, precision="float32", engine=tiny_tts.engine) as own:
        heard, spoken = own.classify(sound), tiny_tts.speak(text, sample_voice())
        listening = own.listen(sound)
        listening.begin()
        again = tiny_tts.speak(text, sample_voice())
        assert far(spoken.audio.samples, again.audio.samples) < 1e-4
        assert_same(listening, heard.windows)
    assert_empty(tiny_tts.engine)


def test_a_full_engine_is_waited_for_by_who_has_a_place_in_it(folder: Path) -> None:
    settings = EngineSettings(device="cpu", threads=1, max_requests=2)
    with Engine(settings) as engine:
        own = load_classifier(folder, precision="float32", engine=engine)
        sound = Audio(changing(30.0), RATE)  # more windows than two requests hold
        heard = own.classify(sound)
        assert len(heard.windows) == 59
        assert engine.stats().ended["refused"] > 0
        first = own.listen(sound)
        first.begin()
        with pytest.raises(EngineBusy):
            own.classify(sound)
        assert_same(first, heard.windows)


@pytest.mark.parametrize("rate", [4000, 16_000, 44_100, 48_000])
def test_any_rate_and_any_number_of_channels_are_heard(
    classifier: SoundClassifier, rate: int, tmp_path: Path
) -> None:
    mono = changing(2.0, rate=rate)
    stereo = np.stack([mono * 1.5, mono * 0.5], axis=1)
    path = tmp_path / "a.flac"
    soundfile.write(path, stereo, rate, subtype="PCM_24")
    expected = classifier.classify(mono, array_rate=rate)
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        heard = classifier.classify(source)
        assert heard.seconds == pytest.approx(2.0, abs=1e-3)
        assert far(heard.probabilities, expected.probabilities) < 1e-3


def test_silent_padding_does_not_dilute(classifier: SoundClassifier) -> None:
    sound = changing(2.0)
    padded = np.concatenate([sound, np.zeros(20 * RATE, np.float32)])
    options: dict[str, Any] = {"array_rate": RATE, "hop_seconds": 1.0}
    bare, long = classifier.classify(sound, **options), classifier.classify(padded, **options)
    assert len(long.windows) == 22
    assert far(bare.probabilities, long.probabilities) < 1e-6
    plain = np.mean([window.probabilities for window in long.windows], axis=0)
    assert far(plain, long.probabilities) > 1e-3


def test_a_sound_shorter_than_a_window_ends_where_it_ends(classifier: SoundClassifier) -> None:
    heard = classifier.classify(changing(0.3), array_rate=RATE)
    [window] = heard.windows
    assert (window.start, window.end) == (0.0, pytest.approx(0.3))
    assert far(window.probabilities, heard.probabilities) < 1e-6


def test_a_silent_sound_is_heard_with_a_warning(classifier: SoundClassifier) -> None:
    heard = classifier.classify(np.zeros(3 * RATE, np.float32), array_rate=RATE)
    assert np.isfinite(heard.probabilities).all()
    assert ["silence" in warning for warning in heard.warnings] == [True]


@pytest.mark.parametrize("source", [b"", b"no sound at all", np.zeros(0, np.float32)])
def test_what_is_no_sound_is_refused(classifier: SoundClassifier, source: Any) -> None:
    with pytest.raises(AudioError):
        classifier.classify(source, array_rate=RATE)


def test_an_empty_stream_has_no_windows(classifier: SoundClassifier) -> None:
    assert list(classifier.stream([], RATE)) == []
    assert list(classifier.stream([np.zeros(0, np.int16)] * 3, RATE)) == []


@pytest.mark.parametrize(
    "piece", [np.array([np.nan] * 9, np.float32), np.zeros(9, np.int64), np.zeros((2, 2, 2))]
)
def test_pieces_that_are_no_sound_are_refused(classifier: SoundClassifier, piece: Any) -> None:
    with pytest.raises(AudioError):
        list(classifier.stream([changing(1.0), piece], RATE))


def test_a_damaged_file_among_many_fails_alone(classifier: SoundClassifier, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, changing(1.0), RATE)
    cut_short = tmp_path / "b.flac"
    soundfile.write(cut_short, np.random.default_rng(0).uniform(-1, 1, 90_000), RATE)
    cut_short.write_bytes(cut_short.read_bytes()[:40_000])
    found = classifier.classify_many([path, cut_short, tmp_path / "none.wav", path])
    kinds = [type(item) for item in found]
    assert kinds[0] is kinds[3] is Classification
    assert isinstance(found[1], UnreadableAudio)
    assert isinstance(found[2], UnreadableAudio)
    assert "none.wav" in str(found[2])


def test_hours_are_heard_with_few_windows_at_a_time(
    classifier: SoundClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0

    def endless() -> Iterator[Samples]:
        nonlocal made
        piece = changing(10.0)
        while True:
            made += 1
            yield piece

    monkeypatch.setattr("kouji.classifying.read_blocks", lambda *a, **k: endless())
    windows = iter(classifier.listen(b""))
    for _ in range(100):
        next(windows)
    assert made < 2 * 100 * 0.5 / 10 + 10  # half a second a window: what was read ahead is bounded
    windows.close()  # type: ignore[attr-defined]


def test_limits_are_named(classifier: SoundClassifier) -> None:
    sound = Audio(changing(5.0), RATE)
    with pytest.raises(UnreadableAudio, match="too long"):
        classifier.classify(sound, max_seconds=4.0)
    with pytest.raises(TooLarge, match="windows"):
        classifier.listen(sound, HearOptions(max_windows=8)).classification()
    assert len(classifier.listen(sound, HearOptions(max_windows=9)).classification().windows) == 9
    with pytest.raises(DeadlineExceeded):
        classifier.classify(Audio(changing(120.0), RATE), deadline_seconds=1e-3)


@pytest.mark.parametrize("hop", [0.0, -1.0, 1.01, float("nan")])
def test_hops_that_leave_sound_out_are_refused(classifier: SoundClassifier, hop: float) -> None:
    with pytest.raises(UsageError, match="hop_seconds"):
        classifier.classify(changing(1.0), array_rate=RATE, hop_seconds=hop)
    with pytest.raises(UsageError, match="hop_seconds"):
        classifier.stream([], RATE, hop_seconds=hop)


def test_leaving_gives_everything_back(classifier: SoundClassifier) -> None:
    listening = classifier.listen(Audio(changing(60.0), RATE))
    for _ in listening:
        break
    listening.cancel()
    with pytest.raises(Cancelled):
        listening.begin()
    classifier.classify(Audio(changing(1.0), RATE))
    assert_empty(classifier.engine)


def test_windows_come_to_an_event_loop(classifier: SoundClassifier) -> None:
    sound = Audio(changing(20.0), RATE)

    async def hear() -> tuple[list[HeardWindow], Classification]:
        listening = classifier.listen(sound)
        windows = [window async for window in listening]
        return windows, listening.summary()

    windows, whole = asyncio.run(hear())
    expected = classifier.classify(sound)
    assert_same(windows, expected.windows)
    assert far(whole.probabilities, expected.probabilities) < 1e-5


def test_times_to_first_sound_are_those_of_speech(classifier: SoundClassifier) -> None:
    classifier.classify(Audio(changing(1.0), RATE))
    assert classifier.engine.stats().first_audio_seconds == ()


def test_numbers_that_are_none_fail_by_name(folder: Path) -> None:
    with load_classifier(folder, precision="float32", threads=1) as own:
        own.renderer._model.network.head.bias.data.fill_(np.nan)  # type: ignore[union-attr, operator]
        with pytest.raises(EngineFailed, match="no finite figures"):
            own.classify(changing(1.0), array_rate=RATE)
        assert_empty(own.engine)


def test_half_precision_agrees_with_float32(folder: Path, classifier: SoundClassifier) -> None:
    sounds = [Audio(changing(1.0 + n, n), RATE) for n in range(4)]
    with load_classifier(folder, precision="bfloat16", threads=1) as half:
        assert half.precision == "bfloat16"
        for sound in sounds:
            mine, yours = half.classify(sound), classifier.classify(sound)
            assert far(mine.probabilities, yours.probabilities) < 0.05


def test_half_precision_does_not_depend_on_company(folder: Path) -> None:
    sounds = [Audio(changing(1.0, n), RATE) for n in range(5)]
    with load_classifier(folder, precision="bfloat16", threads=1) as half:
        alone = [half.classify(sound).probabilities for sound in sounds]
        for mine, yours in zip(alone, half.classify_many(sounds), strict=True):
            assert isinstance(yours, Classification)
            assert far(mine, yours.probabilities) <= 1e-5


def test_what_it_cannot_compute_in_is_refused(folder: Path) -> None:
    for precision in ("int8", "float16", "float31"):
        with pytest.raises(ConfigError, match="precision"):
            load_classifier(folder, precision=precision, device="cpu")


def test_an_operator_who_speaks_in_int8_still_hears(folder: Path, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, precision="int8", device="cpu")
    with load_classifier(folder, settings=settings) as own:
        assert own.precision in ("float32", "bfloat16")


def test_models_that_are_none_are_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UsageError, match="unknown classifier"):
        load_classifier("esc11")
    with pytest.raises(ModelError, match="no classifier"):
        load_classifier(tmp_path)
    damaged = make_tiny_classifier(tmp_path / "damaged")
    file = damaged / "classifier.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"cannot be read|do not fit"):
        load_classifier(damaged)


def test_a_given_engine_stays_open(folder: Path) -> None:
    settings = replace(EngineSettings(), device="cpu", threads=1)
    with Engine(settings) as engine:
        with load_classifier(folder, engine=engine, precision="float32") as own:
            own.classify(changing(1.0), array_rate=RATE)
        assert not engine.is_closed


def test_the_package_has_doors_to_it() -> None:
    assert kouji.load_classifier is load_classifier
    assert kouji.Classification is Classification
