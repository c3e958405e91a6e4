"""The promises of rendering: stream = whole, batch-blind, seeds, timings, wishes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_mini import make_tiny_checkpoint, plan_segment, render_plans

from kouji.models.mini.config import HOP_SAMPLES
from kouji.models.mini.excitation import NOISE_BLOCK_FRAMES, noise, pulse_train
from kouji.models.mini.family import MiniFamily, phone_timings, word_timings
from kouji.models.mini.plan import Plan
from kouji.text.front import analyse
from kouji.text.style import Style
from kouji.text.units import Segment

TEXTS = (
    "Hello there, my old friend.",
    "你好，这是 Kouji。",
    "A much longer sentence, with several clauses, that goes on for a while; does it end?",
    "好。",
)


def _segment(text: str) -> Segment:
    return analyse(text, events=frozenset({"strong"})).segments[0]


def _plan(made_by: MiniFamily, text: str, style: Style = Style(), speaker: int = 0) -> Plan:  # noqa: B008
    embedding = torch.randn(16, generator=torch.Generator().manual_seed(speaker))
    return plan_segment(made_by, _segment(text), embedding, style)


def _wave(made_by: MiniFamily, plan: Plan, seed: int) -> NDArray[np.float32]:
    return render_plans(made_by, [plan], [seed])[0][0]


@pytest.mark.parametrize("text", TEXTS)
def test_stream_equals_whole(tiny_family: MiniFamily, text: str) -> None:
    plan = _plan(tiny_family, text)
    chunks = render_plans(tiny_family, [plan], [3], is_streamed=True)[0]
    (whole,) = render_plans(tiny_family, [plan], [3])[0]
    assert len(whole) == plan.num_frames * HOP_SAMPLES
    if plan.num_frames > 60:
        assert len(chunks) > 1
    np.testing.assert_allclose(np.concatenate(chunks), whole, atol=1e-4)


def test_audio_does_not_depend_on_the_batch(tiny_family: MiniFamily) -> None:
    plans = [_plan(tiny_family, text, speaker=i) for i, text in enumerate(TEXTS)]
    for is_streamed in (False, True):
        together = render_plans(tiny_family, plans, [5, 6, 7, 8], is_streamed=is_streamed)
        for plan, seed, made in zip(plans, (5, 6, 7, 8), together, strict=True):
            alone = _wave(tiny_family, plan, seed)
            np.testing.assert_allclose(np.concatenate(made), alone, atol=1e-4)


def test_a_plan_is_the_same_in_every_precision() -> None:
    exact = MiniFamily(make_tiny_checkpoint(), precision="float32")
    half = MiniFamily(make_tiny_checkpoint(), precision="bfloat16")
    one, other = (_plan(made_by, TEXTS[0]) for made_by in (exact, half))
    assert one.durations.tolist() == other.durations.tolist()
    assert torch.equal(one.pulses, other.pulses)
    wave = _wave(half, other, 1)
    assert wave.dtype == np.float32
    assert np.isfinite(wave).all()
    assert np.abs(wave - _wave(exact, one, 1)).max() < 0.1


def test_seed_decides_the_sound(tiny_family: MiniFamily) -> None:
    plan = _plan(tiny_family, TEXTS[0])
    first, again, other = (_wave(tiny_family, plan, s) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other, atol=1e-3)


def test_words_and_phones_cover_the_text_in_order(tiny_family: MiniFamily) -> None:
    segment = _segment("Hello, 你好 world.")
    plan = plan_segment(tiny_family, segment, torch.zeros(16))
    words = word_timings(plan, segment, 1.0)
    assert [word.text for word in words] == ["Hello", "你好", "world"]
    assert words[0].start >= 1.0
    assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(words))
    assert words[-1].end <= 1.0 + plan.num_frames / 50 + 1e-9
    names = [phone.text for phone in phone_timings(plan, 0.0)]
    assert names[0] == "HH"
    assert names[2:4] == ["L", "OW1"]
    assert names[4:8] == ["n", "i2", "h", "ao3"]


@pytest.mark.parametrize(("rate", "expected"), [(0.5, 2.0), (2.0, 0.5), (1.25, 0.8)])
def test_rate_scales_the_length(tiny_family: MiniFamily, rate: float, expected: float) -> None:
    usual = _plan(tiny_family, TEXTS[2]).num_frames
    moved = _plan(tiny_family, TEXTS[2], Style(rate=rate)).num_frames
    assert moved / usual == pytest.approx(expected, rel=0.06)


def test_pitch_moves_by_exactly_the_wished_interval(tiny_family: MiniFamily) -> None:
    usual = _plan(tiny_family, TEXTS[0])
    higher = _plan(tiny_family, TEXTS[0], Style(pitch_semitones=4.0))
    octaves = float((higher.log_f0 - usual.log_f0).mean()) * 0.3466 / np.log(2)
    assert octaves == pytest.approx(4 / 12, rel=0.3)  # the pitch stack may answer to it a little


def test_break_is_as_long_as_wished(tiny_family: MiniFamily) -> None:
    without = _plan(tiny_family, "one two").num_frames
    with_break = _plan(tiny_family, "one [break 1s] two").num_frames
    assert with_break - without == 50


def test_noise_is_addressed_by_absolute_frame() -> None:
    whole = noise(7, 0, 3 * NOISE_BLOCK_FRAMES)
    for start, count in ((0, 5), (60, 10), (64, 64), (100, 70)):
        part = noise(7, start, count)
        assert torch.equal(part, whole[start * HOP_SAMPLES : (start + count) * HOP_SAMPLES])
    assert not torch.equal(noise(8, 0, 5), noise(7, 0, 5))
    assert float(whole.std()) == pytest.approx(1.0, abs=0.01)


def test_pulses_have_the_wished_pitch_and_power() -> None:
    pulses = pulse_train(torch.full((1, 50), 200.0), torch.ones(1, 50))[0]
    spectrum = torch.fft.rfft(pulses * torch.hann_window(len(pulses))).abs()
    peaks = spectrum.topk(60).indices.float() * 24_000 / len(pulses)
    assert (((peaks / 200) - (peaks / 200).round()).abs() * 200 < 3).all()
    assert float(pulses.square().mean()) == pytest.approx(1.0, rel=0.05)
    assert pulse_train(torch.full((1, 50), 200.0), torch.zeros(1, 50)).abs().max() == 0


def test_segments_begin_and_end_in_silence(tiny_family: MiniFamily) -> None:
    plan = _plan(tiny_family, "It. Oh.")
    assert plan.durations[0] >= 2
    assert plan.durations[-1] >= 2
    wave = _wave(tiny_family, plan, 0)
    assert wave[0] == wave[-1] == 0
    assert np.abs(wave[:24]).max() < 0.25 * np.abs(wave).max()


def test_loudness_is_scaled_by_exactly_the_wish(tiny_family: MiniFamily) -> None:
    usual = _wave(tiny_family, _plan(tiny_family, TEXTS[0]), 1)
    plan = _plan(tiny_family, TEXTS[0], Style(energy_db=6.0))
    louder = _wave(tiny_family, plan, 1)
    sounding = plan.gain.repeat_interleave(HOP_SAMPLES).numpy() > 0
    inner = np.convolve(sounding, np.ones(2 * HOP_SAMPLES), "same") == 2 * HOP_SAMPLES
    assert inner.any()
    np.testing.assert_allclose(louder[inner], usual[inner] * 10 ** (6 / 20), rtol=1e-3, atol=1e-6)
