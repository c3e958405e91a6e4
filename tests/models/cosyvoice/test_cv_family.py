"""A whole CosyVoice model behind the public door: tiny weights, real files, the real engine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_cosyvoice import make_tiny_cosyvoice

from kouji.api import TTS, SpeakOptions, SpeechRequest, load
from kouji.config import Settings
from kouji.errors import ModelError, StyleError, UsageError
from kouji.models.cosyvoice.files.spk2info import import_speakers
from kouji.models.cosyvoice.hearing.voice import pack_conditioning
from kouji.models.family import TextOptions
from kouji.types import Audio, Speech
from kouji.voices import Voice
from kouji.voices.sample import sample_voice
from kouji.voices.voice import Imported

ENGLISH = (
    "Printing, in the only sense with which we are at present concerned, differs from most arts."
)
CHINESE = "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。今天的天气真好，我们出去走走吧。"
OPTIONS = SpeakOptions(guard=False)  # random weights babble


@pytest.fixture(scope="module", params=["cosyvoice3", "cosyvoice2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_cosyvoice(tmp_path_factory.mktemp("model") / request.param, request.param)


@pytest.fixture(scope="module")
def tts(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TTS]:
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    with load(str(folder), precision="float32", settings=settings) as made:
        yield made


@pytest.fixture(scope="module")
def voice() -> Voice:
    return sample_voice()


def test_it_speaks_and_streams(tts: TTS, voice: Voice) -> None:
    whole = tts.speak(ENGLISH, voice, seed=3, options=OPTIONS)
    assert whole.audio.sample_rate == 24_000
    assert np.isfinite(whole.audio.samples).all()
    assert np.abs(whole.audio.samples).max() > 0.01
    chunks = list(tts.stream(ENGLISH, voice, seed=3, options=OPTIONS))
    assert len(chunks) > 2
    streamed = np.concatenate([chunk.samples for chunk in chunks])
    assert len(streamed) == len(whole.audio.samples), "the same tokens, another attention"
    again = tts.speak(ENGLISH, voice, seed=3, options=OPTIONS)
    np.testing.assert_allclose(again.audio.samples, whole.audio.samples, atol=1e-5)
    other = tts.speak(ENGLISH, voice, seed=4, options=OPTIONS)
    assert len(other.audio.samples) != len(whole.audio.samples) or not np.allclose(
        other.audio.samples, whole.audio.samples, atol=1e-3
    )


def test_a_request_never_sees_its_batch(tts: TTS, voice: Voice) -> None:
    texts = [ENGLISH, CHINESE, "No."]
    requests = [
        SpeechRequest(text, voice, "fast" if i == 1 else None, i, options=OPTIONS)
        for i, text in enumerate(texts)
    ]
    for request, made in zip(requests, tts.speak_many(requests), strict=True):
        assert isinstance(made, Speech)
        alone = tts.speak(request.text, voice, request.style, request.seed, options=OPTIONS)
        np.testing.assert_allclose(made.audio.samples, alone.audio.samples, atol=2e-4)


def test_modes_follow_from_what_is_there(tts: TTS, voice: Voice) -> None:
    from dataclasses import replace

    silent = replace(voice, transcript=None)
    for heard, is_warned in ((voice, False), (silent, True)):
        warnings = tts.speak(ENGLISH, heard, options=OPTIONS).warnings
        assert any("cross-lingual" in warning for warning in warnings) == is_warned
    told = tts.speak(CHINESE, voice, "用四川话，兴奋一点", options=OPTIONS)
    assert not told.warnings
    with pytest.raises(StyleError):
        tts.speak(CHINESE, voice, "用火星话", options=OPTIONS)


def test_a_recording_with_its_words_is_gone_on_from_as_a_whole(tts: TTS, voice: Voice) -> None:
    spoken = voice.reference
    long = Audio(np.tile(spoken.samples, 3)[: 15 * spoken.sample_rate], spoken.sample_rate)
    for transcript, longest in (("You hear all of it.", 15.0), (None, 10.0)):
        heard = tts.enroll(long, transcript=transcript)
        with tts.family.hold(heard) as model:
            prompt = tts.family.condition(heard, model)
        assert longest - 2.0 < len(prompt.tokens) / 25 <= longest


def test_speed_is_the_length_of_the_mel(tts: TTS, voice: Voice) -> None:
    from kouji.text.style import Style

    usual = tts.speak(ENGLISH, voice, options=OPTIONS)
    fast = tts.speak(ENGLISH, voice, Style(rate=1.25), options=OPTIONS)
    ratio = len(usual.audio.samples) / len(fast.audio.samples)
    assert ratio == pytest.approx(1.25, rel=0.02)


def test_the_official_way_is_a_choice_of_each_request(tts: TTS, voice: Voice) -> None:
    options = SpeakOptions(guard=False, text=TextOptions(method="compat"))
    assert tts.speak(CHINESE, voice, options=options).audio.duration > 0
    other = SpeakOptions(guard=False, text=TextOptions(method="cut5"))
    warned = tts.speak(CHINESE, voice, options=other).warnings
    assert any("compat" in warning for warning in warned)


def test_a_recording_is_said_again_in_the_voice(tts: TTS, voice: Voice) -> None:
    made = tts.convert(voice.reference, voice)
    assert made.audio.duration == pytest.approx(voice.reference.duration, abs=0.1)


def test_sound_comes_while_the_sentence_is_being_written(tts: TTS, voice: Voice) -> None:
    has_sound, written = threading.Event(), list[str]()

    def writer() -> Iterator[str]:
        for piece in ("Well, my dear old friend, ", "now I have ", "to go home, "):
            written.append(piece)
            yield piece
        assert has_sound.wait(timeout=120), "nothing was heard before the sentence was whole"
        written.append("so")
        yield "so good night."

    chunks = []
    for chunk in tts.stream(writer(), voice, options=OPTIONS):
        chunks.append(chunk.samples)
        has_sound.set()
    assert written[-1] == "so"
    assert np.isfinite(np.concatenate(chunks)).all()


def test_speakers_of_the_official_file_come_and_go(tts: TTS, voice: Voice, tmp_path: Path) -> None:
    path = tmp_path / "spk2info.pt"
    tts.export_voices([voice], path)
    saved = torch.load(path, weights_only=True)[voice.name]
    assert saved["flow_prompt_speech_token"].shape[1] * 2 == saved["prompt_speech_feat"].shape[1]
    version = tts.family.version  # type: ignore[attr-defined]
    config = tts.family.config  # type: ignore[attr-defined]
    [(name, speaker)] = import_speakers(path, config).items()
    assert name == voice.name
    arrays = pack_conditioning(speaker.conditioning, speaker.prompt_text)
    imported = Voice.from_import(
        Imported(version, arrays), name=name, consent=voice.consent, language="en"
    )
    own = tts.speak(ENGLISH, voice, seed=5, options=OPTIONS)
    its = tts.speak(ENGLISH, imported, seed=5, options=OPTIONS)
    # The same speech with another mark in it, for it is another voice to the audit file.
    np.testing.assert_allclose(its.audio.samples, own.audio.samples, atol=0.02)
    assert np.corrcoef(its.audio.samples, own.audio.samples)[0, 1] > 0.99
    told = tts.speak(ENGLISH, imported, "very happy", seed=5, options=OPTIONS)
    assert told.audio.samples.shape != its.audio.samples.shape or not np.allclose(
        told.audio.samples, its.audio.samples, atol=0.02
    ), "an instruction is not ignored"


def test_a_whole_compatible_model(folder: Path, tmp_path: Path, voice: Voice) -> None:
    settings = Settings(home=tmp_path, cosyvoice_compat=True)
    with load(str(folder), precision="float32", settings=settings) as tts:
        chunks = list(tts.stream(ENGLISH, voice, seed=3, options=OPTIONS))
        whole = tts.speak(ENGLISH, voice, seed=3, options=OPTIONS)
    assert len(np.concatenate([c.samples for c in chunks])) == len(whole.audio.samples)


@pytest.mark.parametrize("name", ["llm.pt", "flow.pt", "hift.pt"])
def test_damaged_weights_are_told_when_the_model_is_loaded(name: str, tmp_path: Path) -> None:
    folder = make_tiny_cosyvoice(tmp_path / "model", "cosyvoice3")
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=name):
        load(str(folder), settings=Settings(home=tmp_path))
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        load(str(folder), settings=Settings(home=tmp_path))


def test_a_pulled_model_goes_by_its_familys_name(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with pytest.raises(UsageError, match="kouji pull cosyvoice3"):
        load("cosyvoice", settings=settings)
    make_tiny_cosyvoice(tmp_path / "models" / "cosyvoice2", "cosyvoice2")
    with load("cosyvoice", settings=settings) as tts:
        assert tts.family.version == "cosyvoice2"  # type: ignore[attr-defined]
    make_tiny_cosyvoice(tmp_path / "models" / "cosyvoice3", "cosyvoice3")
    with load("cosyvoice", settings=settings) as tts:
        assert tts.family.version == "cosyvoice3"  # type: ignore[attr-defined]


def test_the_weights_of_reinforcement_learning_take_the_place(tmp_path: Path) -> None:
    folder = make_tiny_cosyvoice(tmp_path / "model", "cosyvoice3")
    other = make_tiny_cosyvoice(tmp_path / "other", "cosyvoice3", seed=1)
    (other / "llm.pt").rename(folder / "llm.rl.pt")
    settings = Settings(home=tmp_path)
    with load(str(folder), settings=settings) as usual:
        first = usual.identity
    with load(str(folder / "llm.rl.pt"), settings=settings) as learned:
        assert learned.identity != first


def test_what_streams_keep_is_a_share_of_the_machine(
    tts: TTS, folder: Path, tmp_path: Path, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a machine with next to no memory nothing is kept, and speech is the same."""
    monkeypatch.setattr("kouji.api._total_memory", lambda device: {"cpu": 1 << 20}[device])
    settings, text = Settings(home=tmp_path, device="cpu"), "Good night, my dear old friend."
    with load(str(folder), precision="float32", settings=settings) as small:
        with small.family.hold(voice) as model:
            flow = model.renderer.flow
            assert (flow.room.max_bytes, flow.prompts.max_bytes) == (1 << 18, 1 << 16)
        made, wanted = (
            [chunk.samples for chunk in way.stream(text, voice, seed=3, options=OPTIONS)]
            for way in (small, tts)
        )
        assert len(made) > 2
        np.testing.assert_allclose(np.concatenate(made), np.concatenate(wanted), atol=2e-3)
        assert flow.prompts.num_bytes == 0


def test_exact_streams_are_the_same_bits_each_time(folder: Path, tmp_path: Path) -> None:
    """Of a fresh model, of one that knows the voice and the text, and beside others."""
    voice, text = sample_voice(), "Good night, my dear old friend."
    options = SpeakOptions(guard=False, is_exact=True)
    settings = Settings(home=tmp_path, device="cpu")

    def sound(tts: TTS) -> NDArray[np.float32]:
        return np.concatenate(
            [chunk.samples for chunk in tts.stream(text, voice, seed=3, options=options)]
        )

    with load(str(folder), precision="bfloat16", settings=settings) as fresh:
        wanted = sound(fresh)
    with load(str(folder), precision="bfloat16", settings=settings) as tts:
        mates = [SpeechRequest(text, voice, seed=seed, options=OPTIONS) for seed in range(4)]
        tts.speak_many(mates)
        for _ in tts.stream(text, voice, seed=4, options=OPTIONS):
            pass
        assert np.array_equal(sound(tts), wanted)
        beside = threading.Thread(target=tts.speak_many, args=(mates,))
        beside.start()
        made = sound(tts)
        beside.join()
        assert np.array_equal(made, wanted)
