"""Made voices: what changes in the sound, and what the acoustic recipe makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_store import write_made_store
from numpy.typing import NDArray
from tiny_mini import TINY

from kouji.errors import ConfigError
from kouji.train.align import align_store
from kouji.train.loop import run
from kouji.train.made_voices import MadeVoice, change_voice, made_voices
from kouji.train.mini_acoustic import MiniAcoustic
from kouji.train.mini_examples import AcousticData
from kouji.train.settings import RunSettings
from kouji.train.store import Store

RATE = 24_000
PITCH_HZ, FORMANT_HZ = 120.0, 1000.0


@pytest.fixture(scope="module")
def vowel() -> NDArray[np.float32]:
    """Two seconds of pulses through one resonance."""
    times = np.arange(2 * RATE) / RATE
    sound = np.zeros_like(times)
    for number in range(1, 60):
        loudness = np.exp(-(((number * PITCH_HZ - FORMANT_HZ) / 400) ** 2)) + 1e-3
        sound += loudness * np.sin(2 * np.pi * number * PITCH_HZ * times + number**2)
    return (0.05 * sound).astype(np.float32)


def _pitch(samples: NDArray[np.float32]) -> float:
    """Hz at the peak of the autocorrelation, between 80 and 200 Hz."""
    spectrum = np.abs(np.fft.rfft(samples, 2 * len(samples))) ** 2
    likeness = np.fft.irfft(spectrum)
    lags = np.arange(RATE // 200, RATE // 80)
    return RATE / float(lags[likeness[lags].argmax()])


def _formant(samples: NDArray[np.float32]) -> float:
    """Hz around which the power lies."""
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    bins = np.fft.rfftfreq(len(samples), 1 / RATE)
    near = (bins > 400) & (bins < 1800)
    return float((spectrum * bins)[near].sum() / spectrum[near].sum())


@pytest.mark.parametrize("factor", [0.85, 0.9, 1.1, 1.2])
def test_formants_move_and_the_pitch_stays(vowel: NDArray[np.float32], factor: float) -> None:
    changed = change_voice(vowel, RATE, MadeVoice(formants=factor))
    assert len(changed) == len(vowel)
    assert _pitch(changed) == pytest.approx(PITCH_HZ, rel=0.01)
    assert _formant(changed) / _formant(vowel) == pytest.approx(factor, abs=0.35 * abs(factor - 1))


@pytest.mark.parametrize("speed", [0.85, 0.9, 1.1, 1.2])
def test_speed_moves_pitch_formants_and_length(vowel: NDArray[np.float32], speed: float) -> None:
    changed = change_voice(vowel, RATE, MadeVoice(speed=speed))
    assert len(changed) == pytest.approx(len(vowel) / speed, abs=1)
    assert _pitch(changed) == pytest.approx(PITCH_HZ * speed, rel=0.01)
    assert _formant(changed) == pytest.approx(_formant(vowel) * speed, rel=0.02)


def test_both_together(vowel: NDArray[np.float32]) -> None:
    changed = change_voice(vowel, RATE, MadeVoice(1.1, 0.9))
    assert _pitch(changed) == pytest.approx(PITCH_HZ * 1.1, rel=0.01)
    assert _formant(changed) == pytest.approx(_formant(vowel), rel=0.05)


@pytest.mark.parametrize("count", [0, 1, 100, 1024, 5000])
def test_short_and_silent_samples_stay_finite(count: int) -> None:
    changed = change_voice(np.zeros(count, np.float32), RATE, MadeVoice(1.1, 1.1))
    assert np.isfinite(changed).all()
    assert np.abs(changed).max(initial=0) < 1e-6


def test_unchanged_formants_change_nothing(vowel: NDArray[np.float32]) -> None:
    assert np.array_equal(change_voice(vowel, RATE, MadeVoice()), vowel)


@pytest.mark.parametrize(
    "values", [5, [1.0], [[1.0]], [[1.0, 2.0]], [[True, 1.0]], [["a", 1.0]], "ab", [[0.5, 1]]]
)
def test_a_wrong_list_is_refused(values: Any) -> None:
    with pytest.raises(ConfigError, match=r"data\.voices"):
        made_voices(values, "data.voices")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An aligned store of two speakers."""
    folder = tmp_path_factory.mktemp("store")
    write_made_store(folder, num_clips=30)
    align_store(folder)
    return folder


def _recipe(store: Path, **data: Any) -> MiniAcoustic:
    given = {"store": str(store), "reference_seconds": [0.3, 0.6], **data}
    return MiniAcoustic(given, TINY.to_dict(), 0)


def _drawn(data: AcousticData, count: int = 60) -> list[Any]:
    return [data.example(0, np.random.default_rng(seed)) for seed in range(count)]


def test_an_example_in_a_made_voice_is_another_speaker_at_another_pitch(store: Path) -> None:
    plain = _recipe(store).dataset("train").example(0, np.random.default_rng(0))
    data = _recipe(store, voices=[[1.2, 1.0], [1.0, 1.2]], made_share=0.5).dataset("train")
    examples = _drawn(data)
    by_speaker = {example.speaker: example for example in examples}
    assert len(by_speaker) == 3
    assert {number // 3 for number in by_speaker} == {plain.speaker}
    recorded, faster, smaller = (by_speaker[number] for number in sorted(by_speaker))
    assert np.array_equal(recorded.mel, plain.mel)
    assert np.array_equal(recorded.durations, plain.durations)
    for example in examples:
        assert example.durations.sum() == len(example.mel) == len(example.log_f0)
        assert (example.durations >= 0).all()
    inner = slice(1, -1)  # the edges are cut to the same length
    assert faster.durations[inner].sum() == pytest.approx(
        recorded.durations[inner].sum() / 1.2, abs=2
    )
    assert np.array_equal(smaller.durations, recorded.durations)
    assert np.array_equal(smaller.log_f0, recorded.log_f0)
    rise = faster.prosody[1:-1, 0].mean() - recorded.prosody[1:-1, 0].mean()
    assert rise > 0.3
    shares = [sum(e.speaker % 3 == kind for e in examples) for kind in range(3)]
    assert 18 < shares[0] < 42
    assert min(shares[1:]) > 5


def test_only_training_clips_are_changed(store: Path) -> None:
    data = _recipe(store, voices=[[1.2, 1.0]], made_share=1.0).dataset("valid")
    plain = _recipe(store).dataset("valid")
    left, right = (d.example(0, np.random.default_rng(3)) for d in (data, plain))
    assert np.array_equal(left.mel, right.mel)
    assert left.speaker == 2 * right.speaker


def test_slower_recordings_have_no_full_band() -> None:
    assert MadeVoice(1.1, 0.9).has_full_band
    assert not MadeVoice(0.9, 1.0).has_full_band


def test_strangers_are_never_the_speaker(store: Path) -> None:
    data = _recipe(store, voices=[[1.2, 1.0], [1.0, 1.2]], strangers=3).dataset("train")
    rng = np.random.default_rng(0)
    drawn = {data._stranger("speaker0", 1, rng) for _ in range(200)}
    assert ("speaker0", 1) not in drawn
    assert {name for name, _ in drawn} == {"speaker0", "speaker1"}
    example = data.example(0, rng)
    assert example.again.shape[0] == example.strangers.shape[1]
    assert len(example.strangers) == 3


def test_one_speaker_needs_made_voices_for_strangers(store: Path) -> None:
    alone = Store(store).subset(lambda clip: clip.speaker == "speaker0")
    with pytest.raises(ConfigError, match="strangers"):
        AcousticData(alone, [0.3, 0.6], num_strangers=2)
    voices = (MadeVoice(1.2, 1.0),)
    data = AcousticData(alone, [0.3, 0.6], voices=voices, made_share=0.5, num_strangers=2)
    strangers = {data._stranger("speaker0", made, np.random.default_rng(0)) for made in (None, 0)}
    assert strangers == {("speaker0", 0), ("speaker0", None)}
    assert len(data.example(0, np.random.default_rng(0)).strangers) == 2


def test_the_contrast_is_learned_and_the_same_in_any_share(store: Path, tmp_path: Path) -> None:
    recipe = _recipe(store, voices=[[1.2, 1.0]], strangers=3)
    data = recipe.dataset("train")
    examples = [data.example(i, np.random.default_rng(i)) for i in range(8)]
    torch.manual_seed(0)
    model = recipe.build()

    def contrast(part: list[Any]) -> tuple[float, float]:
        value, count = recipe.loss(model, recipe.collate(part), 0, torch.Generator())[1]["contrast"]
        return float(value), float(count)

    whole = contrast(examples)
    parts = [contrast(examples[:3]), contrast(examples[3:])]
    assert whole[1] == 8
    assert whole[0] == pytest.approx(sum(v * n for v, n in parts) / 8, rel=1e-4)

    settings = RunSettings(
        out=str(tmp_path), steps=40, batch_size=6, learning_rate=4e-3, log_every=40,
        tensorboard=False, num_workers=0,
    )  # fmt: skip
    done = run(recipe, settings)
    from kouji.train.checkpoint import export_weights

    model.load_state_dict(export_weights(done.checkpoint))
    assert contrast(examples)[0] < 0.7 * whole[0]
