"""What both flows share: noise, solver, look-ahead, and the pieces they accept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.cosyvoice.acoustic.flow_noise import fixed_noise
from kouji.models.cosyvoice.acoustic.flow_piece import MAX_TOKENS, check_voice, cut_piece
from kouji.models.cosyvoice.acoustic.flow_solver import euler_steps, guided
from kouji.models.cosyvoice.acoustic.lookahead import PreLookahead
from kouji.models.cosyvoice.conditioning import Conditioning
from kouji.models.cosyvoice.config import NOISE_FRAMES, FlowConfig

CHECKED_FRAMES = [0, 1, 7, 499, 14999]


@pytest.fixture(scope="module")
def solve(shared_dir: Path) -> dict[str, Tensor]:
    path = shared_dir / "goldens" / "cosyvoice3" / "flow" / "solve.safetensors"
    if not path.is_file():
        pytest.skip(f"no vectors at {path}")
    return load_file(path)


def test_noise_is_the_official_one(solve: dict[str, Tensor]) -> None:
    noise = fixed_noise()
    assert noise.shape == (NOISE_FRAMES, 80)
    assert torch.equal(noise[CHECKED_FRAMES].T, solve["rand_noise_check"])
    first = [-1.12583983, -1.15236020, -0.25057858, -0.43387881]
    assert noise[:4, 0].tolist() == pytest.approx(first, abs=1e-7)


def test_noise_leaves_other_random_numbers_alone() -> None:
    fixed_noise.cache_clear()
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    fixed_noise()
    assert torch.equal(torch.rand(4), wanted)


def test_times_are_the_official_ones(solve: dict[str, Tensor]) -> None:
    steps = euler_steps(10)
    assert [step.time for step in steps] == solve["full_final.t_used"].tolist()
    ends = [step.time + step.width for step in steps]
    assert ends == pytest.approx(solve["full_final.t_span"][1:].tolist(), abs=1e-6)


def test_guidance() -> None:
    one, other = torch.tensor([2.0]), torch.tensor([1.0])
    assert guided(one, other, 0.7).item() == pytest.approx(1.7 * 2 - 0.7)
    assert torch.equal(guided(one, other, 0.0), one)


@torch.inference_mode()
def test_lookahead_in_pieces_equals_the_whole() -> None:
    torch.manual_seed(0)
    layer, x = PreLookahead(6, 5), torch.randn(2, 20, 6)
    whole = layer(x, x[:, :0])
    for cuts in ([7, 20], [1, 2, 3, 20], [10, 17, 20]):
        begin, parts = 0, []
        for end in cuts:
            behind = x[:, max(0, begin - 2) : begin]
            parts.append(layer(x[:, begin:end], x[:, end : end + 3], behind))
            begin = end
        torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-6, rtol=0)


def piece(num_tokens: int, num_before: int, *, is_final: bool = False) -> tuple[int, int]:
    made = cut_piece(
        [5] * num_tokens, is_final=is_final, num_before=num_before, config=FlowConfig()
    )
    return len(made.tokens), len(made.ahead)


def test_pieces_end_with_chunks_counted_from_the_prompt() -> None:
    assert piece(28, 0) == (25, 3)
    assert piece(13 + 3, 87) == (13, 3)
    assert piece(13 + 50 + 3, 87) == (63, 3)
    assert piece(0, 87, is_final=True) == (0, 0)
    assert piece(7, 87, is_final=True) == (7, 0)


@pytest.mark.parametrize(("num_tokens", "num_before"), [(28, 87), (3, 75), (0, 0), (25, 0)])
def test_other_pieces_are_refused(num_tokens: int, num_before: int) -> None:
    with pytest.raises(ModelError, match="does not end with a chunk") as caught:
        piece(num_tokens, num_before)
    first = 25 - num_before % 25 + 3
    assert f"{first} and multiples of 25 more" in str(caught.value)


@pytest.mark.parametrize("token", [-1, 6561, 6562])
def test_tokens_that_are_no_speech_are_refused(token: int) -> None:
    with pytest.raises(ModelError, match="out of the codebook") as caught:
        cut_piece([5, token], is_final=True, num_before=0, config=FlowConfig())
    assert str(token) in str(caught.value)
    assert "0 to 6560" in str(caught.value)


def test_more_than_the_noise_is_refused() -> None:
    assert piece(MAX_TOKENS - 10, 10, is_final=True) == (MAX_TOKENS - 10, 0)
    with pytest.raises(ModelError, match="more speech than the flow has noise for"):
        cut_piece([1] * (MAX_TOKENS - 9), is_final=True, num_before=10, config=FlowConfig())


def test_voices_that_do_not_fit_are_refused() -> None:
    voice = Conditioning("v", torch.arange(4), torch.zeros(8, 80), torch.ones(192))
    check_voice(voice, FlowConfig())
    wrong = {
        "embedding": replace(voice, speaker=torch.ones(191)),
        "mel": replace(voice, mel=torch.zeros(7, 80)),
        "codebook": replace(voice, tokens=torch.tensor([1, 2, 3, 6561])),
    }
    for name, one in wrong.items():
        with pytest.raises(ModelError, match=name):
            check_voice(one, FlowConfig())
