"""Rows of CosyVoice, between the engine and two networks that show all they were given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.cosyvoice.conditioning import Conditioning, Manner, SpeechSegment, TextSegment
from kouji.models.cosyvoice.config import FlowConfig
from kouji.models.cosyvoice.render_row import CosyRow
from kouji.models.cosyvoice.renderer import CosyRenderer
from kouji.models.stages import RenderOptions

TEXT = TextSegment(torch.tensor([1]), torch.tensor([2, 3]), num_spoken=2)
STEPS = 3


def _voice(num_tokens: int) -> Conditioning:
    return Conditioning(
        f"voice{num_tokens}",
        torch.zeros(num_tokens, dtype=torch.int64),
        torch.zeros(2 * num_tokens, 80),
        torch.ones(192),
    )


class _FlowState:
    """Two frames a token: the token's number and its place."""

    def __init__(self, num_prompt: int, config: FlowConfig) -> None:
        self.num_steps_left, self.cost, self.num_bytes = 0, 0, 0
        self._place, self._num_prompt, self._config = 0, num_prompt, config
        self._mel: Tensor | None = None

    def feed(self, tokens: Sequence[int], *, is_final: bool) -> None:
        assert self._mel is None, "the piece before was not taken"
        ahead = 0 if is_final else self._config.lookahead_tokens
        heard = list(tokens)[: len(tokens) - ahead]
        rows = [[float(token), float(self._place + i)] for i, token in enumerate(heard)]
        self._place += len(heard)
        assert is_final or (self._num_prompt + self._place) % self._config.chunk_tokens == 0
        table = torch.tensor(rows).reshape(-1, 2).repeat_interleave(2, dim=0)
        self._mel = torch.zeros(len(table), 80)
        self._mel[:, :2] = table
        self.num_steps_left, self.cost = STEPS, len(table)

    def take(self) -> Tensor:
        assert self.num_steps_left == 0
        assert self._mel is not None
        mel, self._mel = self._mel, None
        return mel


class _Flow:
    num_bytes = 1

    def __init__(self, config: FlowConfig) -> None:
        self.config = config
        self.batches: list[int] = []

    def open(
        self,
        voice: Conditioning,
        *,
        is_streamed: bool,
        manner: Manner,
        num_tokens: int | None,
        is_exact: bool,
    ) -> _FlowState:
        return _FlowState(len(voice.tokens), self.config)

    def step(self, states: Sequence[_FlowState]) -> None:
        self.batches.append(len(states))
        for state in states:
            state.num_steps_left -= 1


class _VocoderState:
    def __init__(self) -> None:
        self.num_bytes, self.frames, self.num_given = 0, torch.zeros(0, 80), 0


class _Vocoder:
    """480 samples a frame, its first number; eight frames late."""

    num_bytes = 2

    def open(self, seed: int) -> _VocoderState:
        return _VocoderState()

    def vocode(
        self, states: Sequence[_VocoderState], mels: Sequence[Tensor], is_final: Sequence[bool]
    ) -> list[Tensor]:
        sounds = []
        for state, mel, final in zip(states, mels, is_final, strict=True):
            state.frames = torch.cat([state.frames, mel])
            end = len(state.frames) if final else max(state.num_given, len(state.frames) - 8)
            sounds.append(state.frames[state.num_given : end, 0].repeat_interleave(480))
            state.num_given = end
        return sounds


def _renderer(manner: Manner | None = None, version: str = "cosyvoice3") -> CosyRenderer:
    config = FlowConfig(version=version, codebook=100)  # type: ignore[arg-type]
    return CosyRenderer(_Flow(config), _Vocoder(), "toy", manner=manner or Manner(), device="cpu")


def _turn(renderer: CosyRenderer, rows: Sequence[CosyRow]) -> dict[CosyRow, np.ndarray]:
    """One round of the engine: whoever can be heard, else one step of the flow."""
    ready = [row for row in rows if row.vocode_cost]
    if ready:
        return dict(zip(ready, renderer.vocode(ready), strict=True))
    renderer.acoustic([row for row in rows if row.acoustic_cost])
    return {}


def _speak(renderer: CosyRenderer, row: CosyRow, tokens: Sequence[int], size: int) -> np.ndarray:
    """Feed a row `size` tokens at a time and hear it out."""
    heard = []
    for end in [*range(size, len(tokens), size), len(tokens)]:
        row.feed(tokens[:end], is_final=end == len(tokens))
        while row.acoustic_cost or row.vocode_cost:
            heard += list(_turn(renderer, [row]).values())
    assert row.is_done
    return np.concatenate(heard)


@pytest.mark.parametrize("manner", [Manner("causal"), Manner("official")])
@pytest.mark.parametrize("num_prompt", [0, 24, 25, 87])
@pytest.mark.parametrize("num_tokens", [1, 3, 28, 60, 230])
def test_a_stream_says_every_token_once_in_order(
    num_prompt: int, num_tokens: int, manner: Manner
) -> None:
    tokens = [30 + i % 60 for i in range(num_tokens)]  # none of them silent
    renderer = _renderer(manner)
    expected = np.repeat(np.array(tokens, np.float32), 960)
    for is_streamed in (False, True):
        row = renderer.open(TEXT, _voice(num_prompt), RenderOptions(is_streamed), 0, is_last=True)
        np.testing.assert_array_equal(_speak(renderer, row, tokens, 7), expected)
        assert row.info.num_tokens == num_tokens
        assert row.info.num_frames == 2 * num_tokens
        assert is_streamed or row.info.num_pieces == 1
        assert not is_streamed or row.info.num_pieces > 1 or num_tokens < 60


def test_sound_comes_before_the_last_token() -> None:
    renderer = _renderer()
    row = renderer.open(TEXT, _voice(0), RenderOptions(is_streamed=True), 0, is_last=True)
    row.feed([40] * 27, is_final=False)
    assert not row.acoustic_cost, "the look-ahead is not there"
    row.feed([40] * 28, is_final=False)
    assert row.acoustic_cost
    heard = []
    for _ in range(STEPS):
        assert row.acoustic_cost
        heard += list(_turn(renderer, [row]).values())
        assert row.is_midway == (len(renderer.flow.batches) < STEPS)  # type: ignore[attr-defined]
    heard += list(_turn(renderer, [row]).values())
    assert len(np.concatenate(heard)) == (50 - 8) * 480
    assert not row.is_done
    assert not row.acoustic_cost


def test_rows_join_and_leave_between_any_two_steps() -> None:
    renderer, voice = _renderer(), _voice(10)
    rows = [renderer.open(TEXT, voice, RenderOptions(), 0, is_last=True) for _ in range(2)]
    sounds: dict[CosyRow, list[np.ndarray]] = {row: [] for row in rows}
    rows[0].feed([50] * 20, is_final=True)
    renderer.acoustic(rows[:1])
    rows[1].feed([60] * 40, is_final=True)
    while not all(row.is_done for row in rows):
        for row, sound in _turn(renderer, rows).items():
            sounds[row].append(sound)
    assert renderer.flow.batches == [1, 2, 2, 1]  # type: ignore[attr-defined]
    assert [len(np.concatenate(sounds[row])) for row in rows] == [20 * 960, 40 * 960]


@pytest.mark.parametrize("speed", [0.7, 1.5])
@pytest.mark.parametrize("is_streamed", [False, True])
def test_speed_changes_the_length(speed: float, is_streamed: bool) -> None:
    renderer = _renderer()
    options = RenderOptions(is_streamed, speed)
    row = renderer.open(TEXT, _voice(5), options, 0, is_last=True)
    sound = _speak(renderer, row, [40 + i % 9 for i in range(120)], 11)
    assert len(sound) == int(240 / speed) * 480


def test_speech_in_place_of_text_is_ready_at_once() -> None:
    renderer = _renderer()
    speech = SpeechSegment(torch.arange(30, 60))
    row = renderer.open(speech, _voice(5), RenderOptions(), 0, is_last=True)
    assert row.acoustic_cost
    heard = []
    while not row.is_done:
        heard += list(_turn(renderer, [row]).values())
    np.testing.assert_array_equal(np.concatenate(heard)[::960], np.arange(30, 60))


def test_a_long_segment_is_vocoded_in_parts_only_where_that_changes_nothing() -> None:
    for version, num_calls in (("cosyvoice3", 3), ("cosyvoice2", 1)):
        renderer = _renderer(version=version)
        row = renderer.open(TEXT, _voice(0), RenderOptions(), 0, is_last=True)
        row.feed([40] * 300, is_final=True)
        calls = 0
        while not row.is_done:
            calls += bool(_turn(renderer, [row]))
        assert calls == num_calls


def test_a_token_that_is_no_sound_is_refused() -> None:
    row = _renderer().open(TEXT, _voice(0), RenderOptions(), 0, is_last=True)
    with pytest.raises(ModelError, match="unknown token"):
        row.feed([5, 100], is_final=True)


def test_a_row_without_tokens_is_done() -> None:
    row = _renderer().open(TEXT, _voice(0), RenderOptions(), 0, is_last=True)
    row.feed([], is_final=True)
    assert row.is_done
    assert not row.acoustic_cost
    assert not row.vocode_cost
