"""Voice conversion through the public door: the same door as speech."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converting_mini import ConvertingMini
from tiny_mini import make_tiny_checkpoint

from kouji.api import TTS, SpeakOptions
from kouji.audio.encode import encode_bytes
from kouji.audio.labels import read_labels
from kouji.audio.watermark import detect
from kouji.config import Settings
from kouji.engine.request import EngineRequest
from kouji.errors import AudioError, ConsentError, UnreadableAudio, UsageError
from kouji.models.family import VoiceConverter
from kouji.models.mini.family import MiniFamily
from kouji.models.stages import SpeechModel
from kouji.types import Audio
from kouji.voices import Voice
from kouji.voices.consent import attest


@pytest.fixture
def tts(home_dir: Path) -> TTS:
    return TTS(ConvertingMini(make_tiny_checkpoint(), precision="float32"), Settings(home=home_dir))


def noise(seconds: float, seed: int = 0, rate: int = 24_000) -> Audio:
    samples = np.random.default_rng(seed).normal(0, 0.05, int(rate * seconds))
    return Audio(samples.astype(np.float32), rate)


def make_voice(**changes: Any) -> Voice:
    return Voice.from_reference(noise(2.0), **{"name": "a", "consent": attest(), **changes})


def audit_lines(tts: TTS) -> list[dict[str, Any]]:
    path = tts._settings.audit_file
    return (
        [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    )


def test_what_is_converted_is_marked_labelled_and_written_down(tts: TTS, tmp_path: Path) -> None:
    speech = tts.convert(noise(5.0, rate=16_000), make_voice())
    found = detect(speech.audio)
    assert found.found
    number = f"{found.payload:08x}"
    assert [(line["event"], line["watermark"]) for line in audit_lines(tts)] == [("speak", number)]
    speech.save(tmp_path / "out.flac")
    assert read_labels(tmp_path / "out.flac").aigc["ProduceID"] == number
    assert speech.warnings == ("heard 5.0 s",)
    assert len(speech.segments) == 3


def test_the_stream_is_the_whole(tts: TTS) -> None:
    source, voice = noise(3.0), make_voice()
    whole = tts.convert(source, voice, 7)
    chunks = list(tts.stream_conversion(source, voice, 7))
    assert len(chunks) > 2
    joined = np.concatenate([chunk.samples for chunk in chunks])
    assert np.abs(joined - whole.audio.samples).max() < 1e-4


def test_the_number_follows_what_is_heard_and_in_which_voice(tts: TTS) -> None:
    def number(*arguments: Any, **options: Any) -> int:
        with tts.stream_conversion(*arguments, **options) as stream:
            return stream.produce_id

    voice, other = make_voice(), Voice.from_reference(noise(2.0, 1), name="b", consent=attest())
    one = number(noise(1.0), voice)
    assert number(noise(1.0), voice) == one
    others = (
        number(noise(1.0, 5), voice),
        number(noise(1.0), other),
        number(noise(1.0), voice, 1),
        number(noise(1.0), voice, speed=1.2),
    )
    assert len({one, *others}) == 5
    assert number(noise(1.0), voice, produce_id=77) == 77


def test_speed_reaches_the_renderer(tts: TTS) -> None:
    slow = tts.convert(noise(1.0), make_voice(), speed=0.6)
    fast = tts.convert(noise(1.0), make_voice(), speed=1.8)
    assert slow.audio.duration > 1.5 * fast.audio.duration


def test_sources_of_every_kind(tts: TTS, tmp_path: Path) -> None:
    content = encode_bytes(noise(1.0), "wav", None)
    path = tmp_path / "source.wav"
    path.write_bytes(content)
    made = [
        tts.convert(each, make_voice()) for each in (path, str(path), content, io.BytesIO(content))
    ]
    assert len({one.audio.samples.tobytes() for one in made}) == 1


def test_nothing_is_decoded_but_a_spoken_notice(tts: TTS, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder: Any = object()
    seen: list[tuple[int, bool]] = []
    submit, hold = tts.engine.submit, tts.family.hold

    def spy(request: EngineRequest, **options: Any) -> Any:
        seen.append((len(request.segments), request.model.decoder is decoder))
        return submit(
            EngineRequest(**{**vars(request), "model": SpeechModel(request.model.renderer)}),
            **options,
        )

    class Held:
        def __init__(self, voice: Voice) -> None:
            self._inner = hold(voice)

        def __enter__(self) -> SpeechModel:
            return SpeechModel(self._inner.__enter__().renderer, decoder)

        def __exit__(self, *error: Any) -> Any:
            return self._inner.__exit__(*error)

    monkeypatch.setattr(tts.engine, "submit", spy)
    monkeypatch.setattr(tts.family, "hold", Held)
    speech = tts.convert(
        noise(3.0), make_voice(), options=SpeakOptions(disclosure="start", notice="spoken")
    )
    assert seen == [(1, True), (2, False)]
    assert detect(speech.audio).found


@pytest.mark.parametrize("policy", ["attest", "verify"])
def test_a_voice_without_consent_says_nothing(home_dir: Path, policy: str) -> None:
    family = ConvertingMini(make_tiny_checkpoint(), precision="float32")
    with TTS(family, Settings(home=home_dir, consent=policy)) as tts:
        with pytest.raises(ConsentError):
            tts.convert(noise(1.0), make_voice(consent=None))
        assert audit_lines(tts) == []


def test_unmarked_sound_needs_the_operator(tts: TTS) -> None:
    with pytest.raises(ConsentError):
        tts.convert(noise(1.0), make_voice(), watermark=False)


def test_a_family_that_cannot_names_one_that_can(tiny_tts: TTS) -> None:
    assert not isinstance(tiny_tts.family, VoiceConverter)
    assert isinstance(tiny_tts.family, MiniFamily)
    with pytest.raises(UsageError, match="seen: mini; allowed: cosyvoice3, cosyvoice2"):
        tiny_tts.convert(noise(1.0), make_voice())


def test_a_source_that_is_no_sound_is_told(tts: TTS, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    for source in (tmp_path / "text.wav", tmp_path / "absent.wav", b""):
        with pytest.raises(UnreadableAudio):
            tts.convert(source, make_voice())
    with pytest.raises(AudioError, match="too long"):
        tts.convert(Audio(np.zeros(4000 * 3601, np.float32), 4000), make_voice())
