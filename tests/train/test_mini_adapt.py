"""Learning a voice from a minute: phones are found where they are, and only offsets learn."""

from __future__ import annotations

import copy
import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny_mini import TINY, make_tiny_checkpoint, plan_segment, render_plans

from kouji.audio.load import load_audio
from kouji.cli import run
from kouji.errors import ModelError, ReferenceRefused, TextError, TrainingError
from kouji.models.mini.config import FINE_CHANNELS
from kouji.models.mini.family import MiniFamily
from kouji.models.mini.fine_mel import coarse_mel
from kouji.models.mini.frontend import sequence_segment
from kouji.models.mini.plan import make_plan
from kouji.models.mini.voice import (
    RANK,
    AdaptedVoice,
    join_offsets,
    pack_conditioning,
    unpack_conditioning,
)
from kouji.models.mini.weights import SHIPPED, load_checkpoint, save_checkpoint
from kouji.text.front import analyse
from kouji.text.style import Style
from kouji.train import mini_adapt
from kouji.train.mini_adapt import AdaptSettings, Minute, adapt, measure_recording, read_minute
from kouji.train.own_alignment import align_recording, heard_phones
from kouji.train.transcript import transcript_phones
from kouji.types import Audio
from kouji.voices import VoiceStore
from kouji.voices.sample import SAMPLE_TRANSCRIPT, sample_path

TEXT = "The quick brown fox jumps over the lazy dog."
QUICK = AdaptSettings(steps=40, batch_size=4, crop_frames=24, look_every=10)


def _minute(seed: int = 0) -> Minute:
    torch.manual_seed(seed)
    frames = 120
    return Minute(
        torch.randn(frames, TINY.width), torch.randn(frames), torch.ones(frames),
        torch.randn(1, FINE_CHANNELS) + 0.1 * torch.randn(frames, FINE_CHANNELS),
        torch.randn(TINY.speaker_channels), False,
    )  # fmt: skip


def _adapted(seed: int = 0) -> AdaptedVoice:
    return adapt(make_tiny_checkpoint().acoustic, _minute(seed), QUICK).voice


@pytest.fixture(scope="module")
def long_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged voice, three times over: long enough to learn from."""
    audio = load_audio(sample_path(), sample_rate=24_000)
    path = tmp_path_factory.mktemp("sound") / "minute.wav"
    soundfile.write(path, np.concatenate([audio.samples] * 3), 24_000)
    return path


def test_offsets_learn_and_the_network_stays(tmp_path: Path) -> None:
    acoustic = make_tiny_checkpoint().acoustic
    before = copy.deepcopy(acoustic.state_dict())
    told: list[int] = []
    found = adapt(acoustic, _minute(), QUICK, told.append)
    assert found.error_after < 0.9 * found.error_before
    assert sum(told) == found.steps == QUICK.steps
    assert len(found.voice.decoder) == len(TINY.decoder_dilations)
    for name, value in acoustic.state_dict().items():
        assert torch.equal(value, before[name])
    again = adapt(acoustic, _minute(), QUICK)
    assert torch.equal(again.voice.decoder[0].widen_out, found.voice.decoder[0].widen_out)


def test_what_does_not_fit_held_back_speech_is_not_kept() -> None:
    minute = _minute()
    border = round(len(minute.mel) * 0.85)
    mel = minute.mel.clone()
    mel[:border] += 3.0  # what is learned of the beginning is wrong for the end
    with torch.no_grad():
        made = make_tiny_checkpoint().acoustic.decode(
            minute.x[None], torch.ones(1, len(mel), 1), minute.log_f0[None],
            minute.voiced[None], minute.speaker[None], torch.zeros(1),
        )[0]  # fmt: skip
    mel[border:] = made[border:]
    with pytest.raises(TrainingError, match="held back"):
        adapt(make_tiny_checkpoint().acoustic, dataclasses.replace(minute, mel=mel), QUICK)


def test_the_last_look_counts_and_patience_ends_it() -> None:
    settings = dataclasses.replace(QUICK, steps=200, learning_rate=0.0, patience=2)
    told: list[int] = []
    with pytest.raises(TrainingError):
        adapt(make_tiny_checkpoint().acoustic, _minute(), settings, told.append)
    assert sum(told) == 2 * settings.look_every


def test_an_adapted_voice_survives_its_arrays_and_sounds_different() -> None:
    made_by = MiniFamily(make_tiny_checkpoint(), precision="float32")
    voice = _adapted()
    back = made_by.unpack(made_by.pack(voice))
    assert isinstance(back, AdaptedVoice)
    segment = analyse(TEXT).segments[0]
    plans = [plan_segment(made_by, segment, one) for one in (voice, back, voice.speaker)]
    waves = [render_plans(made_by, [plan], [0])[0][0] for plan in plans]
    np.testing.assert_array_equal(waves[0], waves[1])
    assert np.abs(waves[0] - waves[2]).max() > 1e-3
    plain = unpack_conditioning(pack_conditioning(voice.speaker), torch.device("cpu"))
    assert isinstance(plain, torch.Tensor)
    assert torch.equal(plain, voice.speaker)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_adapted_and_other_voices_share_a_batch(is_streamed: bool) -> None:
    made_by = MiniFamily(make_tiny_checkpoint(), precision="float32")
    segment = analyse(TEXT).segments[0]
    voices = [_adapted(0), torch.randn(TINY.speaker_channels), _adapted(1)]
    plans = [plan_segment(made_by, segment, voice) for voice in voices]
    together = render_plans(made_by, plans, [0, 1, 2], is_streamed=is_streamed)
    for number, plan in enumerate(plans):
        alone = render_plans(made_by, [plan], [number])[0]
        np.testing.assert_allclose(
            np.concatenate(together[number]), np.concatenate(alone), atol=1e-4
        )


def test_rows_without_offsets_get_zeros() -> None:
    voice = _adapted()
    joined = join_offsets([(), voice.decoder], torch.float32)
    assert joined[0].widen_in.shape[:2] == (2, RANK)
    assert (joined[0].widen_in[0] == 0).all()
    assert torch.equal(joined[0].widen_in[1:], voice.decoder[0].widen_in)
    assert join_offsets([(), ()], torch.float32) == ()


def test_a_reading_of_mini_is_aligned_as_it_was_planned() -> None:
    checkpoint = load_checkpoint(SHIPPED)
    speaker = torch.randn(192, generator=torch.Generator().manual_seed(0))
    phones = transcript_phones(TEXT, "en")
    sequence = sequence_segment(analyse(TEXT).segments[0])
    plan = make_plan(checkpoint.acoustic, sequence, speaker, Style())
    with torch.inference_mode():
        mel = checkpoint.acoustic.decode(
            plan.x[None], torch.ones(1, plan.num_frames, 1), plan.log_f0[None],
            torch.sigmoid(plan.voicing)[None], speaker[None], torch.zeros(1),
        )  # fmt: skip
    found = align_recording(checkpoint.acoustic, coarse_mel(mel)[0].numpy(), phones, speaker)
    sounding = found.words >= 0
    ends = np.cumsum(found.durations)[sounding]
    planned = np.cumsum(plan.durations)[sequence.units >= 0][: len(ends)]
    assert int(found.durations.sum()) == plan.num_frames
    assert np.abs(ends - planned).mean() < 1.5  # frames


def test_a_transcript_that_cannot_fit_is_refused() -> None:
    checkpoint = make_tiny_checkpoint()
    with pytest.raises(TextError, match="does not fit"):
        align_recording(
            checkpoint.acoustic, np.random.default_rng(0).normal(size=(10, 80)).astype(np.float32),
            transcript_phones(TEXT, "en"), torch.zeros(TINY.speaker_channels),
        )  # fmt: skip


def test_a_short_recording_is_refused() -> None:
    with pytest.raises(ReferenceRefused, match="too short"):
        measure_recording(Audio(np.zeros(24_000, np.float32), 24_000))


def test_phones_are_heard_without_a_transcript(long_sample: Path) -> None:
    measures = measure_recording(load_audio(long_sample, sample_rate=24_000))
    heard = heard_phones(measures.mel)
    said = transcript_phones(SAMPLE_TRANSCRIPT, "en")
    assert 0.7 < len(heard["phones"]) / (3 * len(said["phones"])) < 1.3
    common = set(heard["phones"].tolist()) & set(said["phones"].tolist())
    assert len(common) > 0.6 * len(set(heard["phones"].tolist()))
    assert not set(heard_phones(measures.mel, "zh")["phones"].tolist()) & common
    minute = read_minute(make_tiny_checkpoint().acoustic, measures)
    assert len(minute.x) == len(minute.mel) == len(measures.mel)


def test_the_command_keeps_a_voice_that_speaks(
    long_sample: Path,
    home_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from kouji.api import load
    from kouji.config import load_settings

    tiny = make_tiny_checkpoint()
    models = tmp_path / "tiny"
    save_checkpoint(models, TINY, tiny.acoustic.state_dict(), tiny.vocoder.state_dict())
    monkeypatch.setattr(mini_adapt, "AdaptSettings", partial(AdaptSettings, steps=20))
    command = ["finetune", str(models), "--data", str(long_sample), "--out", "own"]
    assert run(command) == 1
    assert "--attest" in capfd.readouterr().err
    assert not (home_dir / "voices").exists()
    long_sample.with_suffix(".txt").write_text(" ".join([SAMPLE_TRANSCRIPT] * 3), "utf-8")
    assert run([*command, "--attest"]) == 0
    assert "the error fell from" in capfd.readouterr().err
    assert run([*command, "--attest"]) == 1
    assert "exists already" in capfd.readouterr().err

    voice = VoiceStore(home_dir).get("own")
    assert voice.adapted is not None
    plain = dataclasses.replace(voice, adapted=None)
    assert voice.key != plain.key  # another voice of the same recording is another voice
    tts = load(str(models), precision="float32", settings=load_settings())
    spoken, unadapted = (tts.speak(TEXT, one).audio.samples for one in (voice, plain))
    assert len(spoken) != len(unadapted) or np.abs(spoken - unadapted).max() > 1e-3
    VoiceStore(home_dir).drop_conditionings("own")
    fresh = load(str(models), precision="float32", settings=load_settings())
    with pytest.raises(ModelError, match="is not there for these weights"):
        fresh.speak(TEXT, voice)


def test_wrong_wishes_are_told_before_anything_is_read(
    long_sample: Path, home_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base = ["finetune", "mini", "--data", str(long_sample), "--attest"]
    assert run([*base, "--out", "x", "--language", "ja"]) == 2
    assert "zh, en" in capfd.readouterr().err
    assert run(["finetune", "mini", "--data", "no.wav", "--out", "x", "--attest"]) == 2
    assert run(["finetune", "nothing", *base[2:], "--out", "x"]) == 1
    assert not (home_dir / "voices" / "x").exists()
