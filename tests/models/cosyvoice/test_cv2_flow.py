"""Version 2's flow for speaking against the plain one: whole, streamed, in company, bounded."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cosyvoice_unet import (
    TINY,
    golden_config,
    golden_state,
    golden_voice,
    plain,
    random_state,
    random_tokens,
    random_voice,
)
from safetensors.torch import load_file
from torch import Tensor

from kouji.errors import ConfigError, ModelError
from kouji.models.cosyvoice.acoustic.conformer import RelativeAttention
from kouji.models.cosyvoice.acoustic.unet import Attention
from kouji.models.cosyvoice.acoustic.unet_flow import PRECISIONS, UNetFlow
from kouji.models.cosyvoice.acoustic.unet_network import UNetNetwork
from kouji.models.cosyvoice.acoustic.unet_state import UNetState
from kouji.models.cosyvoice.conditioning import Conditioning, Manner
from kouji.models.cosyvoice.config import NOISE_FRAMES, FlowConfig, UNetConfig

CHUNK, LOOKAHEAD = TINY.chunk_tokens, TINY.lookahead_tokens
CAUSAL, OFFICIAL = Manner("causal"), Manner("official")


def make_flow(config: FlowConfig = TINY, **options: object) -> UNetFlow:
    return UNetFlow(config, random_state(config), "tiny", **options)  # type: ignore[arg-type]


def make_flow_of(config: FlowConfig, state: dict[str, Tensor]) -> UNetFlow:
    return UNetFlow(config, state, "tiny")


@pytest.fixture(scope="module")
def flow() -> UNetFlow:
    return make_flow()


def plain_mel(
    voice: Conditioning, tokens: Sequence[int], *, is_streaming: bool, config: FlowConfig = TINY
) -> Tensor:
    network = plain(config, random_state(config))
    return network.render(voice, torch.tensor(tokens), is_streaming=is_streaming, is_final=True)


def open_state(flow: UNetFlow, voice: Conditioning, manner: Manner | None = CAUSAL) -> UNetState:
    """A streamed segment; without a manner a whole one."""
    return flow.open(voice, is_streamed=manner is not None, manner=manner or CAUSAL)


def solve(flow: UNetFlow, state: UNetState, tokens: Sequence[int], *, is_final: bool) -> Tensor:
    state.feed(tokens, is_final=is_final)
    while state.num_steps_left:
        flow.step([state])
    return state.take()


def stream(
    flow: UNetFlow, state: UNetState, tokens: list[int], ends: Sequence[int]
) -> list[Tensor]:
    """Pieces that end at these tokens, and the last."""
    mels, begin = [], 0
    for end in ends:
        mels.append(solve(flow, state, tokens[begin : end + LOOKAHEAD], is_final=False))
        begin = end
    return [*mels, solve(flow, state, tokens[begin:], is_final=True)]


def distance(seen: Tensor, wanted: Tensor) -> float:
    assert seen.shape == wanted.shape
    return float((seen - wanted).abs().max())


# --- the official numbers


@pytest.fixture(scope="module")
def folder(shared_dir: Path) -> Path:
    found = shared_dir / "goldens" / "cosyvoice2"
    if not (found / "flow").is_dir():
        pytest.skip(f"no vectors at {found}")
    return found


@pytest.mark.parametrize("case", ["full_final", "chunk_final"])
def test_official_mels(folder: Path, case: str) -> None:
    vectors = load_file(folder / "flow" / "solve.safetensors")
    flow = UNetFlow(golden_config(folder), golden_state(folder), "golden")
    state = open_state(flow, golden_voice(vectors), CAUSAL if case == "chunk_final" else None)
    mel = solve(flow, state, vectors["in.token"][0].tolist(), is_final=True)
    assert distance(mel.T[None], vectors[f"{case}.mel"]) <= 1e-4


def test_a_stream_gives_the_official_chunked_mel(folder: Path) -> None:
    vectors = load_file(folder / "flow" / "solve.safetensors")
    flow = UNetFlow(golden_config(folder), golden_state(folder), "golden")
    tokens = vectors["in.token"][0].tolist()
    pieces = stream(flow, open_state(flow, golden_voice(vectors)), tokens, [6, 11, 16])
    assert distance(torch.cat(pieces).T[None], vectors["chunk_final.mel"]) <= 1e-4
    # The official call that sees less than all tokens: its last frames lie within a chunk.
    assert distance(torch.cat(pieces[:3]).T, vectors["chunk_partial.mel"][0, :, :32]) <= 1e-4


# --- whole and streamed


@pytest.mark.parametrize("num_prompt", [0, 4, 13])
def test_whole_is_the_plain_network(flow: UNetFlow, num_prompt: int) -> None:
    voice, tokens = random_voice(num_prompt), random_tokens(17)
    mel = solve(flow, open_state(flow, voice, None), tokens, is_final=True)
    assert distance(mel, plain_mel(voice, tokens, is_streaming=False)) <= 1e-5
    assert mel.dtype == torch.float32


@pytest.mark.parametrize(
    ("num_prompt", "ends"),
    [(0, [5, 15]), (4, [6, 11]), (13, [7, 17]), (13, []), (25, [5, 10, 15, 20]), (8, [2])],
)
def test_streamed_is_whole_under_the_mask(flow: UNetFlow, num_prompt: int, ends: list[int]) -> None:
    voice, tokens = random_voice(num_prompt), random_tokens(24)
    wanted = plain_mel(voice, tokens, is_streaming=True)
    for _ in range(2):  # the second time the prompt is known
        pieces = stream(flow, open_state(flow, voice), tokens, ends)
        assert [len(piece) for piece in pieces[:-1]] == [
            2 * (end - begin) for begin, end in zip([0, *ends], ends, strict=False)
        ]
        assert distance(torch.cat(pieces), wanted) <= 1e-5


def test_official_manner_renders_the_last_piece_under_full_attention(flow: UNetFlow) -> None:
    voice, tokens = random_voice(13), random_tokens(24)
    pieces = stream(flow, open_state(flow, voice, OFFICIAL), tokens, [7, 17])
    masked = plain_mel(voice, tokens, is_streaming=True)
    full = plain_mel(voice, tokens, is_streaming=False)
    assert distance(torch.cat(pieces[:2]), masked[:34]) <= 1e-5
    assert distance(pieces[2], full[34:]) <= 1e-5
    assert distance(full[34:], masked[34:]) > 1e-3


def test_nothing_to_come_changes_what_was_rendered(flow: UNetFlow) -> None:
    voice, tokens = random_voice(13), random_tokens(24)
    other = [*tokens[:15], *random_tokens(9, seed=7)]
    first = solve(flow, open_state(flow, voice), tokens[:15], is_final=False)
    assert torch.equal(first, solve(flow, open_state(flow, voice), other[:15], is_final=False))


# --- company


def test_rows_do_not_hear_each_other(flow: UNetFlow) -> None:
    """Rows whole and streamed, of all lengths and at all steps, against each alone."""
    draw, num_rows, quiet = random.Random(3), 5, make_flow()
    plans = [
        (random_voice(draw.randrange(0, 20), seed=number), draw.choice([None, CAUSAL, OFFICIAL]))
        for number in range(num_rows)
    ]
    speech = [random_tokens(draw.randrange(14, 30), seed=number) for number in range(num_rows)]

    def pieces(voice: Conditioning, manner: Manner | None, tokens: list[int]):  # type: ignore[no-untyped-def]
        end = -len(voice.tokens) % CHUNK + CHUNK if manner else 0
        cut = [(tokens[: end + LOOKAHEAD], False)] if end else []
        return [*cut, (tokens[end:], True)]

    alone = []
    for (voice, manner), tokens in zip(plans, speech, strict=True):
        state = open_state(quiet, voice, manner)
        alone.append(
            torch.cat([solve(quiet, state, part, is_final=final)
                       for part, final in pieces(voice, manner, tokens)])
        )  # fmt: skip
    states = [open_state(flow, *plan) for plan in plans]
    due = [pieces(*plan, tokens) for plan, tokens in zip(plans, speech, strict=True)]
    mels: list[list[Tensor]] = [[] for _ in plans]
    turn = 0
    while any(due) or any(state.num_steps_left for state in states):
        for number, state in enumerate(states):
            if number <= turn and not state.num_steps_left and due[number]:
                part, final = due[number].pop(0)
                state.feed(part, is_final=final)
        running = [state for state in states if state.num_steps_left and draw.random() < 0.7]
        flow.step(running)
        for number, state in enumerate(states):
            if state in running and not state.num_steps_left:
                mels[number].append(state.take())
        turn += 1
    for seen, wanted in zip(mels, alone, strict=True):
        assert distance(torch.cat(seen), wanted) <= 1e-5


# --- cost and memory


def test_a_stream_costs_what_the_whole_costs() -> None:
    config = replace(TINY, num_steps=2)
    flow = make_flow(config)
    voice, tokens = random_voice(17), random_tokens(140)
    whole = open_state(flow, voice, None)
    solve(flow, whole, tokens, is_final=True)
    streamed = open_state(flow, voice)
    stream(flow, streamed, tokens, [8, 18, 38, 58, 78, 98, 118])
    assert 0.3 < streamed.num_flops / whole.num_flops <= 1.3
    warm = open_state(flow, voice)
    stream(flow, warm, tokens, [8, 18, 38, 58, 78, 98, 118])
    assert warm.num_flops < streamed.num_flops


def test_flops_are_those_of_the_plain_network() -> None:
    """Counted at its layers as they run; torch's own counter takes seconds to import."""
    voice, tokens = random_voice(13), random_tokens(24)
    flow = make_flow()
    state = open_state(flow, voice, None)
    solve(flow, state, tokens, is_final=True)
    network, counted = plain(TINY, random_state()), 0

    def count(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal counted
        if isinstance(module, torch.nn.Linear | torch.nn.Conv1d):
            counted += 2 * module.weight.numel() * (output.numel() // len(module.weight))
        elif isinstance(module, RelativeAttention):
            frames, width = inputs[0].shape[1:]
            counted += 2 * width * frames * (2 * frames + 2 * frames - 1)
        elif isinstance(module, Attention):
            rows, frames, _ = inputs[0].shape
            counted += 2 * 2 * rows * frames**2 * module.to_q.out_features

    for name, module in network.named_modules():
        if "mlp" not in name:  # the time's layers are computed once and for all
            module.register_forward_hook(count)
    network.render(voice, torch.tensor(tokens), is_streaming=False, is_final=True)
    assert abs(state.num_flops / counted - 1) < 0.002  # the speaker's layer, some zeros


def test_cost_is_what_the_next_step_computes(flow: UNetFlow) -> None:
    flow = make_flow()
    voice, tokens = random_voice(13), random_tokens(24)
    state = open_state(flow, voice)
    assert (state.cost, state.num_steps_left) == (0, 0)
    state.feed(tokens[:10], is_final=False)
    steps = TINY.num_steps
    assert (state.cost, state.num_steps_left) == (20, 2 * steps)  # the prompt's two chunks
    for _ in range(steps):
        flow.step([state])
    assert (state.cost, state.num_steps_left) == (6 + 14, steps)  # the rest of it, and the piece
    warm = open_state(flow, voice)
    warm.feed(tokens[:10], is_final=False)
    assert (warm.cost, warm.num_steps_left) == (6 + 14, steps)


def test_caches_are_as_large_as_stated_and_go_with_the_segment(flow: UNetFlow) -> None:
    voice, tokens = random_voice(0), random_tokens(24)
    state = open_state(flow, voice)
    solve(flow, state, tokens[:8], is_final=False)
    first = state.num_bytes
    solve(flow, state, tokens[5:18], is_final=False)
    assert state.num_bytes - first == 20 * flow.bytes_per_frame
    kept = weakref.ref(state)
    solve(flow, state, tokens[15:], is_final=True)
    assert state.num_bytes == 0
    del state
    gc.collect()
    assert kept() is None


def test_without_room_a_stream_computes_its_past_again() -> None:
    voice, tokens = random_voice(13), random_tokens(24)
    roomy, narrow = make_flow(), make_flow(cache_bytes=40 * make_flow().bytes_per_frame)
    states = [open_state(flow, voice) for flow in (roomy, narrow)]
    ends = [7, 12, 17]
    wanted = stream(roomy, states[0], tokens, ends)
    state, begin = states[1], 0
    for end, right in zip(ends, wanted, strict=False):
        mel = solve(narrow, state, tokens[begin : end + LOOKAHEAD], is_final=False)
        assert distance(mel, right) <= 1e-5
        is_kept = 2 * (13 + end) <= 40
        assert (state.num_bytes > 0) == is_kept
        begin = end
    assert distance(solve(narrow, state, tokens[begin:], is_final=True), wanted[-1]) <= 1e-5
    assert states[1].num_flops > states[0].num_flops


def test_exact_streams_are_the_same_bits_whatever_was_kept() -> None:
    voice, tokens = random_voice(13), random_tokens(24)
    room = 90 * make_flow().bytes_per_frame
    flow = make_flow(precision="bfloat16", cache_bytes=room)
    cold, warm = (
        torch.cat(
            stream(flow, flow.open(voice, is_streamed=True, is_exact=True), tokens, [7, 12, 17])
        )
        for _ in range(2)
    )
    assert flow.prompts.num_bytes == 0
    stream(flow, open_state(flow, voice), tokens, [7, 12, 17])
    mate = open_state(flow, random_voice(0))
    mate.feed(tokens[: 20 + LOOKAHEAD], is_final=False)
    assert mate.bytes_due > 0
    late = flow.open(voice, is_streamed=True, is_exact=True)
    assert torch.equal(torch.cat(stream(flow, late, tokens, [7, 12, 17])), cold)
    assert torch.equal(warm, cold)


def test_prompts_are_kept_within_their_bound() -> None:
    room = 25 * make_flow().bytes_per_frame  # one prompt of two chunks, not two
    flow, tokens = make_flow(prompt_bytes=room), random_tokens(10)
    weights = flow.num_bytes
    for seed in (1, 2, 1):
        solve(flow, open_state(flow, random_voice(13, seed=seed)), tokens, is_final=False)
        assert 0 < flow.num_bytes - weights <= room
    large = random_voice(33, seed=3)
    solve(flow, open_state(flow, large), tokens, is_final=False)
    assert flow.prompts.get(large.key) is None
    assert flow.prompts.get(random_voice(13, seed=1).key) is not None


def test_all_streams_together_keep_within_the_bound() -> None:
    bound = 90 * make_flow().bytes_per_frame
    flow, tokens = make_flow(cache_bytes=bound), random_tokens(24)
    voices = [random_voice(0, seed=seed) for seed in range(3)]
    states = [open_state(flow, voice) for voice in voices]
    mels: list[list[Tensor]] = [[], [], []]
    for begin, end in [(0, 10), (10, 20)]:
        for state in states:
            state.feed(tokens[begin : end + LOOKAHEAD], is_final=False)
        while states[0].num_steps_left:
            flow.step(states)
        for state, mel in zip(states, mels, strict=True):
            mel.append(state.take())
        fixed = sum(state.num_bytes > 0 for state in states) * 200_000
        assert 0 < sum(state.num_bytes for state in states) <= bound + fixed
    # 40 + 20 + 20 fit, 40 + 40 + 20 do not, and what the second let go of is the third's.
    assert [state.num_bytes > 0 for state in states] == [True, False, True]
    for voice, mel in zip(voices, mels, strict=True):
        wanted = plain_mel(voice, tokens, is_streaming=True)[:40]
        assert distance(torch.cat(mel), wanted) <= 1e-5


# --- precision


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_narrow_weights_stay_close(flow: UNetFlow, precision: str) -> None:
    narrow = make_flow(precision=precision)
    voice, tokens = random_voice(13), random_tokens(24)
    wanted = solve(flow, open_state(flow, voice, None), tokens, is_final=True)
    seen = solve(narrow, open_state(narrow, voice, None), tokens, is_final=True)
    assert 0 < (seen - wanted).abs().mean() <= 0.02
    pieces = torch.cat(stream(narrow, open_state(narrow, voice), tokens, [7, 12]))
    assert (pieces - plain_mel(voice, tokens, is_streaming=True)).abs().mean() <= 0.02
    assert narrow.num_bytes < 0.75 * flow.num_bytes


@pytest.mark.slow
def test_bfloat16_stays_close_at_the_official_size() -> None:
    config = FlowConfig(version="cosyvoice2", lookahead_channels=512, estimator=UNetConfig())
    state, voice, tokens = random_state(config), random_voice(13, config), random_tokens(25, config)
    mels = []
    for precision in PRECISIONS[:2]:
        flow = UNetFlow(config, state, "official", precision=precision)
        mels.append(solve(flow, open_state(flow, voice, None), tokens, is_final=True))
    assert (mels[0] - mels[1]).abs().mean() <= 0.02
    assert mels[0].std() > 0.5


def test_other_precisions_are_refused() -> None:
    with pytest.raises(ConfigError, match="int8"):
        make_flow(precision="int8")


# --- what it may be given


def test_pieces_that_cannot_be(flow: UNetFlow) -> None:
    voice = random_voice(13)
    for wrong in ([81], [-1]):
        with pytest.raises(ModelError, match="codebook"):
            open_state(flow, voice).feed(wrong, is_final=True)
    for num_tokens in (0, 3, 6, 9, 11):
        with pytest.raises(ModelError, match="chunk"):
            open_state(flow, voice).feed(random_tokens(num_tokens), is_final=False)
    with pytest.raises(ModelError, match="noise"):
        open_state(flow, voice).feed([0] * (NOISE_FRAMES // 2 - 12), is_final=True)


def test_pieces_out_of_turn(flow: UNetFlow) -> None:
    voice, tokens = random_voice(13), random_tokens(24)
    state = open_state(flow, voice)
    with pytest.raises(ModelError, match="not solved"):
        state.take()
    state.feed(tokens[:10], is_final=False)
    with pytest.raises(ModelError, match="before the last one was taken"):
        state.feed(tokens[7:], is_final=True)
    with pytest.raises(ModelError, match="one final piece"):
        open_state(flow, voice, None).feed(tokens[:10], is_final=False)
    whole = open_state(flow, voice, None)
    solve(flow, whole, tokens, is_final=True)
    with pytest.raises(ModelError, match="after the final one"):
        whole.feed(tokens, is_final=True)


def test_a_failed_step_may_be_done_again(flow: UNetFlow, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the engine does when memory ran out, with fewer rows."""
    voice, tokens = random_voice(13), random_tokens(24)
    states = [open_state(flow, voice), open_state(flow, voice, None)]
    for state in states:
        state.feed(tokens, is_final=True)
    flow.step(states)
    before = [(state.num_steps_left, state.num_bytes) for state in states]
    with monkeypatch.context() as patch:
        patch.setattr(flow.estimator, "final", _out_of_memory)
        with pytest.raises(MemoryError):
            flow.step(states)
    assert before == [(state.num_steps_left, state.num_bytes) for state in states]
    for state, is_streaming in zip(states, (True, False), strict=True):
        while state.num_steps_left:
            flow.step([state])
        assert distance(state.take(), plain_mel(voice, tokens, is_streaming=is_streaming)) <= 1e-5


def test_a_failed_feed_may_be_done_again(flow: UNetFlow, monkeypatch: pytest.MonkeyPatch) -> None:
    voice, tokens = random_voice(13), random_tokens(24)
    state = open_state(flow, voice)
    first = solve(flow, state, tokens[:10], is_final=False)
    with monkeypatch.context() as patch:
        patch.setattr(flow, "encoder", _out_of_memory)
        with pytest.raises(MemoryError):
            state.feed(tokens[7:], is_final=True)
    both = torch.cat([first, solve(flow, state, tokens[7:], is_final=True)])
    assert distance(both, plain_mel(voice, tokens, is_streaming=True)) <= 1e-5


def _out_of_memory(*_: object) -> Tensor:
    raise MemoryError


@pytest.mark.parametrize("make", [make_flow_of, UNetNetwork.from_state])
def test_tensors_that_do_not_fit(make: Callable[..., object]) -> None:
    state = random_state()
    state["decoder.estimator.up_blocks.0.2.weight"] = torch.zeros(16, 16, 5)
    del state["encoder.up_encoders.0.norm_ff.bias"]
    with pytest.raises(ModelError, match=r"norm_ff\.bias.*16x16x5, not 16x16x3"):
        make(TINY, state)


def test_a_trainer_leaves_numbers_beside_the_tensors() -> None:
    make_flow_of(TINY, {**random_state(), "epoch": torch.tensor(3), "step": torch.tensor(7)})


def test_a_refused_piece_leaves_the_segment_as_it_was(flow: UNetFlow) -> None:
    voice, tokens = random_voice(13), random_tokens(24)
    state = open_state(flow, voice)
    with pytest.raises(ModelError):
        state.feed(tokens[:9], is_final=False)
    pieces = stream(flow, state, tokens, [7])
    assert distance(torch.cat(pieces), plain_mel(voice, tokens, is_streaming=True)) <= 1e-5


def test_a_voice_that_does_not_fit(flow: UNetFlow) -> None:
    voice = random_voice(13)
    with pytest.raises(ModelError, match="mel"):
        open_state(flow, replace(voice, mel=voice.mel[:-1]))
    with pytest.raises(ModelError, match="codebook"):
        open_state(flow, replace(voice, tokens=voice.tokens + 81))


def test_nothing_left_to_say(flow: UNetFlow) -> None:
    assert solve(flow, open_state(flow, random_voice(13)), [], is_final=True).shape == (0, 80)
