"""Readings that are drawn: they follow the seed, not the batch, and are fit to be said."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny_mini import TINY, render_plans

from kouji.models.mini.family import MiniFamily
from kouji.models.mini.model import AcousticModel
from kouji.models.mini.plan import Plan, reading_noise
from kouji.models.mini.prosody import (
    NUM_FEATURES,
    ProsodyModel,
    from_unit_scale,
    to_unit_scale,
    word_edges,
)
from kouji.models.mini.vocoder import Vocoder
from kouji.models.mini.weights import Checkpoint
from kouji.text.front import analyse
from kouji.text.phones import SYMBOL_IDS
from kouji.text.style import Style

SHAPES = dataclasses.replace(
    TINY, prosody_width=16, prosody_hidden=24, prosody_speaker=4,
    prosody_dilations=(1, 2), prosody_flow_dilations=(1,),
)  # fmt: skip


@pytest.fixture(scope="module")
def family() -> MiniFamily:
    """A tiny `mini` that draws its prosody."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        acoustic, vocoder = AcousticModel(SHAPES).eval(), Vocoder(SHAPES).eval()
    checkpoint = Checkpoint(acoustic, vocoder, pace=1.0, weights_hash="drawn")
    return MiniFamily(checkpoint, precision="float32")


def _plan(family: MiniFamily, text: str, seed: int, style: Style = Style()) -> Plan:  # noqa: B008
    segment = analyse(text).segments[0]
    return family.renderer.plan(segment, torch.zeros(16), style, is_last=True, seed=seed)


def _ids(*symbols: str) -> np.ndarray:
    return np.array([SYMBOL_IDS[symbol] for symbol in symbols])


def test_word_edges_tell_first_last_only_and_silence() -> None:
    symbols = _ids("sil", "n", "i", "uang", "a", ",", "o", ".")
    edges = word_edges(symbols, np.array([-1, 0, 0, 0, 1, 7, 2, -1]))
    assert edges.tolist() == [0, 2, 1, 3, 4, 0, 4, 0]


def test_a_silence_with_the_number_of_a_word_is_still_silent() -> None:
    assert word_edges(_ids("a", ",", "o"), np.array([0, 0, 0])).tolist() == [4, 0, 4]


def test_unit_scale_is_undone() -> None:
    features = torch.randn(2, 5, NUM_FEATURES)
    torch.testing.assert_close(from_unit_scale(to_unit_scale(features)), features)


def test_a_reading_does_not_see_its_batch() -> None:
    torch.manual_seed(0)
    model = ProsodyModel(SHAPES).eval()
    symbols, tones = torch.randint(6, 60, (2, 9)), torch.randint(0, 9, (2, 9))
    edges, noise = torch.randint(0, 5, (2, 9)), torch.randn(2, 9, NUM_FEATURES)
    mask, speaker = torch.ones(2, 9, 1), torch.randn(2, 16)
    mask[0, 6:] = 0
    with torch.inference_mode():
        both = model.draw(symbols, tones, edges, mask, speaker, noise)
        short = [rows[:1, :6] for rows in (symbols, tones, edges, mask)]
        alone = model.draw(*short, speaker[:1], noise[:1, :6])
    torch.testing.assert_close(both[0, :6], alone[0], atol=1e-5, rtol=1e-5)
    voicing = both[..., 2]
    assert ((voicing >= 0) & (voicing <= 1)).all()
    assert (both[..., 1][voicing < 0.05] == 0).all()


def test_the_seed_decides_the_reading(family: MiniFamily) -> None:
    text = "A sentence that can be read in more than one way, as any."
    first, again, other = (_plan(family, text, seed) for seed in (1, 1, 2))
    assert torch.equal(first.log_f0, again.log_f0)
    assert first.durations.tolist() == again.durations.tolist()
    assert first.durations.tolist() != other.durations.tolist()
    wave = render_plans(family, [first], [1])[0][0]
    assert np.isfinite(wave).all()


def test_a_wish_does_not_change_which_reading_it_is(family: MiniFamily) -> None:
    usual = _plan(family, "One and the same reading.", 3)
    slower = _plan(family, "One and the same reading.", 3, Style(rate=0.5))
    assert slower.num_frames == pytest.approx(2 * usual.num_frames, rel=0.1)


def test_temperatures_are_of_the_feature_and_of_the_language() -> None:
    shapes = dataclasses.replace(
        SHAPES, prosody_temperature=(0.0, 2.0, 0.0, 0.0), mandarin_temperature=(0.0,) * NUM_FEATURES
    )
    symbols = _ids("sil", "AA", "a", "m", "M")
    noise = reading_noise(shapes, symbols, 5)
    assert (noise != 0).any(dim=1).tolist() == [True, True, False, False, True]
    assert (noise != 0).any(dim=0).tolist() == [False, True, False, False]
