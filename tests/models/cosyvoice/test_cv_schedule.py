"""Which tokens of a stream make a piece, and mels at another pace."""

from __future__ import annotations

import random

import pytest
import torch

from kouji.models.cosyvoice.conditioning import Manner
from kouji.models.cosyvoice.config import FlowConfig
from kouji.models.cosyvoice.schedule import LEAST_FIRST_TOKENS, Schedule, heard_tokens
from kouji.models.cosyvoice.stretch import MelStretch, stretch_whole

CAUSAL, OFFICIAL = Manner("causal"), Manner("official")


def _pieces(
    num_prompt: int,
    num_tokens: int,
    config: FlowConfig,
    manner: Manner,
    steps: list[int] | None = None,
) -> list[tuple[int, int, bool]]:
    """The pieces of a stream whose tokens come in `steps`."""
    schedule = Schedule(num_prompt, config, manner, is_streamed=True)
    pieces = []
    for count in [*(steps or range(1, num_tokens)), num_tokens]:
        while piece := schedule.due(count, is_final=count == num_tokens):
            schedule.begin(piece)
            pieces.append(tuple(piece))
    return pieces


def test_the_official_schedule_is_that_of_the_official_code() -> None:
    config = FlowConfig(chunk_tokens=5)
    made = _pieces(9, 47, config, OFFICIAL)  # pads one token to the border
    assert made == [(0, 9, False), (6, 19, False), (16, 39, False), (36, 47, True)]
    real = _pieces(87, 400, FlowConfig(), OFFICIAL)
    assert [end - begin - 3 for begin, end, _ in real[:4]] == [38, 50, 100, 100]


@pytest.mark.parametrize("manner", [CAUSAL, OFFICIAL])
@pytest.mark.parametrize("seed", range(8))
def test_pieces_depend_on_numbers_of_tokens_alone(manner: Manner, seed: int) -> None:
    draw = random.Random(seed)
    num_prompt, num_tokens = draw.randrange(0, 200), draw.randrange(1, 500)
    steps = sorted(draw.sample(range(1, num_tokens + 1), min(num_tokens, 5)))
    one_by_one = _pieces(num_prompt, num_tokens, FlowConfig(), manner)
    assert _pieces(num_prompt, num_tokens, FlowConfig(), manner, steps) == one_by_one
    assert one_by_one[-1][1:] == (num_tokens, True)
    rendered = 0
    for begin, end, is_final in one_by_one:
        assert begin == rendered, "no token is rendered twice or left out"
        rendered = end if is_final else end - 3
        assert is_final or (num_prompt + rendered) % 25 == 0, "a piece ends on a border"
        assert is_final or begin or rendered >= LEAST_FIRST_TOKENS


def test_a_whole_segment_is_one_piece() -> None:
    schedule = Schedule(10, FlowConfig(), CAUSAL, is_streamed=False)
    assert schedule.due(300, is_final=False) is None
    piece = schedule.due(300, is_final=True)
    assert piece == (0, 300, True)
    schedule.begin(piece)
    assert schedule.due(300, is_final=True) is None


def test_the_hop_of_one_stream_is_not_that_of_the_next() -> None:
    first = _pieces(0, 1000, FlowConfig(), OFFICIAL)
    assert _pieces(0, 1000, FlowConfig(), OFFICIAL) == first
    assert first[0] == (0, 28, False)


def test_long_silences_are_cut_after_five_tokens_in_version_3() -> None:
    silent = [1, 2, 28, 29, 55, 248, 494]
    tokens = [7, *silent, 9, *silent[:5], 8]
    assert heard_tokens(tokens, "cosyvoice3") == [7, *silent[:5], 9, *silent[:5], 8]
    assert heard_tokens(tokens, "cosyvoice2") == tokens
    whole = heard_tokens(tokens, "cosyvoice3")
    for count in range(len(tokens)):
        begun = heard_tokens(tokens[:count], "cosyvoice3")
        assert begun == whole[: len(begun)], "what was heard does not change"


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.0, 1.3, 2.0])
def test_a_stream_at_another_pace_is_the_whole_at_that_pace(speed: float) -> None:
    draw = random.Random(3)
    # A straight line shows the positions read at; the whole rounds its pace to whole frames.
    mel = torch.arange(200, dtype=torch.float32).unsqueeze(1).expand(-1, 80)
    stretch, begin, made = MelStretch(speed), 0, []
    while begin < len(mel):
        end = min(len(mel), begin + draw.choice([1, 2, 7, 50]))
        made.append(stretch.push(mel[begin:end], is_final=end == len(mel)))
        begin = end
    joined, whole = torch.cat(made), stretch_whole(mel, speed)
    assert joined.shape == whole.shape == (int(200 / speed), 80)
    rounding = abs(200 / int(200 / speed) - speed) * len(whole)
    torch.testing.assert_close(joined, whole, atol=1e-3 + rounding, rtol=0)


def test_a_stretch_keeps_no_frames_it_does_not_need() -> None:
    stretch = MelStretch(1.3)
    for _ in range(100):
        stretch.push(torch.zeros(50, 80), is_final=False)
        assert len(stretch._kept) <= 4


def test_the_shortest_mel_still_has_a_frame() -> None:
    assert stretch_whole(torch.ones(1, 80), 2.0).shape == (1, 80)
    assert MelStretch(2.0).push(torch.ones(1, 80), is_final=True).shape == (1, 80)
