"""The fast flow of version 3: equal to the plain one, in pieces, in company and from caches."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from cosyvoice_dit import (
    TINY,
    golden_config,
    golden_flow,
    random_flow,
    random_tokens,
    random_voice,
)
from safetensors.torch import load_file
from torch import Tensor

from kouji.errors import ConfigError, ModelError
from kouji.models.cosyvoice.acoustic.dit_flow import DitFlow
from kouji.models.cosyvoice.acoustic.dit_state import DitState
from kouji.models.cosyvoice.acoustic.flow_attention import Span, chunk_spans
from kouji.models.cosyvoice.acoustic.flow_cost import step_flops
from kouji.models.cosyvoice.acoustic.plain_flow import PlainFlow
from kouji.models.cosyvoice.conditioning import Conditioning, Manner
from kouji.models.cosyvoice.config import DiTConfig

OFFICIAL, CAUSAL = Manner("official"), Manner("causal")
AHEAD = TINY.lookahead_tokens


@pytest.fixture(scope="module")
def plain() -> PlainFlow:
    return random_flow()


@pytest.fixture
def flow(plain: PlainFlow) -> DitFlow:
    return packed(plain)


def packed(plain: PlainFlow, **options: Any) -> DitFlow:
    return DitFlow(plain.config, plain.state_dict(), "tiny", **options)


def solved(flow: DitFlow, state: DitState) -> Tensor:
    while state.num_steps_left:
        flow.step([state])
    return state.take()


def whole(flow: DitFlow, voice: Conditioning, tokens: list[int]) -> Tensor:
    state = flow.open(voice, is_streamed=False)
    state.feed(tokens, is_final=True)
    return solved(flow, state)


def piece_ends(
    flow: DitFlow, voice: Conditioning, num_tokens: int, hops: Sequence[int]
) -> list[int]:
    """Where pieces of so many chunks end, as long as there are tokens to see ahead."""
    chunk, ends = flow.config.chunk_tokens, []
    at = -(len(voice.tokens) % chunk)
    for hop in hops:
        at += hop * chunk
        if at + AHEAD <= num_tokens:
            ends.append(at)
    return ends


def streamed(
    flow: DitFlow,
    voice: Conditioning,
    tokens: list[int],
    hops: Sequence[int] = (1, 1, 2),
    manner: Manner = CAUSAL,
    state: DitState | None = None,
) -> list[Tensor]:
    state = state or flow.open(voice, is_streamed=True, manner=manner, num_tokens=None)
    begin, mels = 0, []
    for end in piece_ends(flow, voice, len(tokens), hops):
        state.feed(tokens[begin : end + AHEAD], is_final=False)
        mels.append(solved(flow, state))
        begin = end
    state.feed(tokens[begin:], is_final=True)
    return [*mels, solved(flow, state)]


def near(ours: Tensor, wanted: Tensor, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(ours, wanted, rtol=0, atol=tolerance)


# --- the official numbers


@pytest.fixture(scope="module")
def folder(shared_dir: Path) -> Path:
    found = shared_dir / "goldens" / "cosyvoice3"
    if not (found / "flow").is_dir():
        pytest.skip(f"no vectors at {found}")
    return found


@pytest.fixture(scope="module")
def golden_dit(folder: Path) -> DitFlow:
    return DitFlow(golden_config(folder), golden_flow(folder).state_dict(), "golden")


def voice_of(golden: dict[str, Tensor], key: str) -> Conditioning:
    names = ("in.prompt_token", "in.prompt_feat", "in.embedding")
    return Conditioning(key, *(golden[name][0] for name in names))


def test_whole_segments_are_the_official_ones(folder: Path, golden_dit: DitFlow) -> None:
    golden = load_file(folder / "flow" / "solve.safetensors")
    mel = whole(golden_dit, voice_of(golden, "solve"), golden["in.token"][0].tolist())
    near(mel.T, golden["full_final.mel"][0])


def test_streams_are_the_official_ones(folder: Path, golden_dit: DitFlow) -> None:
    golden = load_file(folder / "flow" / "solve.safetensors")
    voice, tokens = voice_of(golden, "solve"), golden["in.token"][0].tolist()
    near(torch.cat(streamed(golden_dit, voice, tokens)).T, golden["chunk_final.mel"][0])
    near(torch.cat(streamed(golden_dit, voice, tokens, ())).T, golden["chunk_final.mel"][0])
    near(streamed(golden_dit, voice, tokens, (2,))[0].T, golden["chunk_partial.mel"][0][:, :12])


def test_official_streams_end_under_full_attention(folder: Path, golden_dit: DitFlow) -> None:
    golden = load_file(folder / "token2wav" / "token2wav.safetensors")
    voice, tokens = voice_of(golden, "token2wav"), golden["in.token"][0].tolist()
    state = golden_dit.open(voice, is_streamed=True, manner=OFFICIAL, num_tokens=len(tokens))
    mels, begin = [], 0
    for end in (6, 16, 36):
        state.feed(tokens[begin : end + 3], is_final=False)
        mels.append(solved(golden_dit, state))
        begin = end
    state.feed(tokens[begin:], is_final=True)
    mels.append(solved(golden_dit, state))
    made = torch.cat(mels).T
    for number in range(4):
        official = golden[f"stream.chunk{number}.mel_all"][0]
        num_before = 0 if number == 0 else golden[f"stream.chunk{number - 1}.mel_all"].shape[2]
        near(made[:, num_before : official.shape[1]], official[:, num_before:])


# --- equal to the plain one


@pytest.mark.parametrize("num_prompt", [0, 2, 5, 7, 8, 23])
def test_streams_equal_the_chunk_mask(plain: PlainFlow, flow: DitFlow, num_prompt: int) -> None:
    voice, tokens = random_voice(num_tokens=num_prompt), random_tokens(33)
    wanted = plain.render(voice, torch.tensor(tokens), is_streamed=True, is_final=True)
    for hops in ((), (2, 1, 1), (1,) * 7):
        near(torch.cat(streamed(flow, voice, tokens, hops)), wanted)  # the first one cold


def test_short_and_empty_ends(plain: PlainFlow, flow: DitFlow) -> None:
    voice = random_voice(num_tokens=0)
    for num_tokens in (1, 2, 8):
        tokens = random_tokens(num_tokens)
        for is_streamed in (False, True):
            wanted = plain.render(
                voice, torch.tensor(tokens), is_streamed=is_streamed, is_final=True
            )
            ours = streamed(flow, voice, tokens) if is_streamed else [whole(flow, voice, tokens)]
            near(torch.cat(ours), wanted)
    for is_streamed, manner in ((False, CAUSAL), (True, CAUSAL), (True, OFFICIAL)):
        state = flow.open(voice, is_streamed=is_streamed, manner=manner)
        state.feed([], is_final=True)
        assert state.num_steps_left == state.cost == 0
        assert state.take().shape == (0, 80)


def test_a_kept_prompt_changes_nothing(flow: DitFlow) -> None:
    voice, tokens = random_voice(num_tokens=14), random_tokens(20)
    cold = flow.open(voice, is_streamed=True)
    cold.feed(tokens[: 1 + 5 + AHEAD], is_final=False)
    assert cold.cost == 2 * (14 + 6)
    first = solved(flow, cold)
    assert flow.prompts.num_bytes > 0
    warm = flow.open(voice, is_streamed=True)
    warm.feed(tokens[: 1 + 5 + AHEAD], is_final=False)
    assert warm.cost == 2 * (4 + 6)  # two chunks of the prompt are kept
    near(solved(flow, warm), first, 1e-5)
    for state in (cold, warm):
        state.feed(tokens[6:], is_final=True)
    near(solved(flow, warm), solved(flow, cold), 1e-5)
    assert warm.num_bytes == cold.num_bytes == 0


def test_the_prompt_that_ends_with_a_chunk_waits_for_what_follows(flow: DitFlow) -> None:
    """Its last tokens look ahead on the segment: two segments of one voice differ there."""
    voice = random_voice(num_tokens=10)
    one, other = random_tokens(12, seed=5), random_tokens(12, seed=6)
    alone = streamed(packed_again(flow), voice, other)
    streamed(flow, voice, one)
    near(torch.cat(streamed(flow, voice, other)), torch.cat(alone), 1e-5)


def packed_again(flow: DitFlow) -> DitFlow:
    return packed(random_flow(flow.config))


def test_prompts_are_kept_within_bounds(plain: PlainFlow) -> None:
    flow = packed(plain)
    voices = [random_voice(num_tokens=14, seed=seed) for seed in range(3)]
    streamed(flow, voices[0], random_tokens(9))
    size = flow.prompts.num_bytes
    flow = packed(plain, prompt_bytes=2 * size)
    wanted = [torch.cat(streamed(packed(plain), voice, random_tokens(9))) for voice in voices]
    for number in (0, 1, 0, 2, 1):
        made = torch.cat(streamed(flow, voices[number], random_tokens(9)))
        near(made, wanted[number], 1e-5)
        assert flow.prompts.num_bytes <= 2 * size
    nothing = packed(plain, prompt_bytes=0)
    near(torch.cat(streamed(nothing, voices[0], random_tokens(9))), wanted[0], 1e-5)
    assert nothing.prompts.num_bytes == 0


# --- company


def test_states_of_all_kinds_share_a_batch(plain: PlainFlow, flow: DitFlow) -> None:
    voices = [random_voice(num_tokens=n, seed=n) for n in (0, 9, 14)]
    jobs = [
        (voice, random_tokens(n, seed=n), is_streamed)
        for voice, n in zip(voices * 2, (13, 31, 22, 8, 17, 40), strict=True)
        for is_streamed in (False, True)
    ]
    wanted = []
    for voice, tokens, is_streamed in jobs:
        alone = packed(plain)
        parts = streamed(alone, voice, tokens) if is_streamed else [whole(alone, voice, tokens)]
        wanted.append(torch.cat(parts))
    made = [Tensor() for _ in jobs]
    running: dict[int, Any] = {}
    waiting = list(enumerate(jobs))
    while running or waiting:
        if waiting:  # one more joins at each step, so all are at other steps
            number, (voice, tokens, is_streamed) = waiting.pop(0)
            running[number] = Talk(flow, voice, tokens, is_streamed)
        flow.step([talk.state for talk in running.values()])
        for number, talk in list(running.items()):
            if talk.is_done():
                made[number] = torch.cat(talk.mels)
                del running[number]
    for ours, alone_mel in zip(made, wanted, strict=True):
        near(ours, alone_mel, 1e-5)


class Talk:
    """One segment that feeds its next piece as soon as the last is solved."""

    def __init__(
        self, flow: DitFlow, voice: Conditioning, tokens: list[int], is_streamed: bool
    ) -> None:
        self.state = flow.open(voice, is_streamed=is_streamed)
        self.tokens, self.mels = tokens, list[Tensor]()
        ends = piece_ends(flow, voice, len(tokens), (1, 2, 2)) if is_streamed else []
        self.cuts, self.begin = ends, 0
        self._feed()

    def _feed(self) -> None:
        if self.cuts:
            end = self.cuts.pop(0)
            self.state.feed(self.tokens[self.begin : end + AHEAD], is_final=False)
            self.begin = end
        else:
            self.state.feed(self.tokens[self.begin :], is_final=True)
            self.begin = -1

    def is_done(self) -> bool:
        if self.state.num_steps_left:
            return False
        self.mels.append(self.state.take())
        if self.begin < 0:
            return True
        self._feed()
        return False


def test_a_failed_step_leaves_all_where_they_were(
    flow: DitFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice, tokens = random_voice(), random_tokens(20)
    wanted = streamed(flow, voice, tokens)
    state, mate = (flow.open(voice, is_streamed=True) for _ in range(2))
    state.feed(tokens[: 3 + AHEAD], is_final=False)
    mate.feed(tokens, is_final=True)
    flow.step([state])
    last, leave = flow.dit.blocks[-1], flow.dit.leave

    def fail(_x: Tensor) -> Tensor:
        raise MemoryError

    for holder, name in ((last, "narrow"), (flow.dit, "leave")):
        with monkeypatch.context() as broken:
            broken.setattr(holder, name, fail)
            with pytest.raises(MemoryError):
                flow.step([mate, state])
        assert (state.num_steps_left, mate.num_steps_left) == (9, 10)
    assert flow.dit.leave is leave
    near(solved(flow, state), wanted[0], 1e-5)
    near(solved(flow, mate), torch.cat(wanted), 1e-4)


# --- what a stream costs and keeps


@pytest.mark.parametrize("hops", [(1, 1, 2, 4), (2, 2, 4), (1,) * 10])
@pytest.mark.parametrize("is_warm", [False, True])
def test_streams_cost_what_whole_segments_cost(
    plain: PlainFlow, hops: tuple[int, ...], is_warm: bool
) -> None:
    """10 s in a voice of 3.5 s, at a fifth of the official chunk and length."""
    flow = packed(plain)
    voice, tokens = random_voice(num_tokens=17), random_tokens(50)
    offline = flow.open(voice, is_streamed=False)
    offline.feed(tokens, is_final=True)
    solved(flow, offline)
    if is_warm:
        streamed(flow, voice, tokens[:3])
    state = flow.open(voice, is_streamed=True)
    streamed(flow, voice, tokens, hops, state=state)
    ratio = state.num_flops / offline.num_flops
    assert ratio < (0.85 if is_warm else 1.0)  # masked attention is less work than full
    assert ratio > 0.6


@pytest.mark.parametrize("hops", [(13, 25, 50, 100), (38, 50, 100), (13, *[25] * 9)])
def test_streams_at_the_official_sizes_cost_no_more(hops: tuple[int, ...]) -> None:
    """By the counts alone: 87 tokens of a prompt, 250 of speech."""
    sizes, begin, work = DiTConfig(), 0, 0
    for end in [*(2 * (87 + num_tokens) for num_tokens in accumulate(hops)), 674]:
        work += step_flops(sizes, end - begin, chunk_spans(begin, end, 50))
        begin = end
    assert 0.9 < work / step_flops(sizes, 674, [Span(0, 674, 674)]) < 1


def test_work_is_counted_as_the_sizes_say(flow: DitFlow) -> None:
    state = flow.open(random_voice(num_tokens=2), is_streamed=False)
    state.feed([1, 2, 3], is_final=True)
    solved(flow, state)
    dim, inner, depth, frames = 32, 32, 3, 10
    products = 160 * dim + 2 * 31 * dim * dim // 16 + depth * (4 * dim * inner + 4 * dim * dim)
    attention = depth * 2 * inner * frames
    assert state.num_flops == 10 * 2 * 2 * frames * (products + attention)


def test_memory_is_that_of_the_frames(plain: PlainFlow) -> None:
    voice, tokens = random_voice(num_tokens=14), random_tokens(60)
    for precision, size in (("float32", 4), ("bfloat16", 2), ("float16", 2)):
        flow = packed(plain, precision=precision)
        streamed(flow, voice, random_tokens(3))
        state = flow.open(voice, is_streamed=True, num_tokens=60)
        sizes, begin = [], 0
        for end in piece_ends(flow, voice, 60, (1, 1, 1, 1, 1)):
            state.feed(tokens[begin : end + AHEAD], is_final=False)
            solved(flow, state)
            sizes.append(state.num_bytes)
            begin = end
        assert len(set(sizes)) == 1  # room for all of it from the beginning
        frame = 10 * 3 * 2 * 2 * 32 * size
        assert flow.cache_shape.frame_bytes == frame
        convs = 10 * 2 * 2 * 30 * 32 * (2 if precision == "bfloat16" else 4)
        assert sizes[0] == (2 * 74 - 20) * frame + convs


def test_caches_of_unknown_length_double(flow: DitFlow) -> None:
    voice, tokens = random_voice(num_tokens=0), random_tokens(63)
    state = flow.open(voice, is_streamed=True, num_tokens=None)
    frame, rooms = flow.cache_shape.frame_bytes, []
    convs = 10 * 2 * 2 * 30 * 32 * 4
    for begin in range(0, 60, 5):
        state.feed(tokens[begin : begin + 5 + AHEAD], is_final=False)
        solved(flow, state)
        rooms.append((state.num_bytes - convs) / frame)
    assert sorted(set(rooms)) == [10, 20, 40, 80, 160]


def test_exact_streams_are_the_same_bits_whatever_was_kept(plain: PlainFlow) -> None:
    voice, tokens = random_voice(num_tokens=13), random_tokens(33)
    frame = packed(plain, precision="bfloat16").cache_shape.frame_bytes
    flow = packed(plain, precision="bfloat16", cache_bytes=120 * frame)
    exact = {"is_streamed": True, "is_exact": True}
    cold = torch.cat(streamed(flow, voice, tokens, state=flow.open(voice, **exact)))
    assert flow.prompts.num_bytes == 0
    streamed(flow, voice, tokens)
    mate = flow.open(random_voice(num_tokens=0), is_streamed=True)
    mate.feed(random_tokens(30 + AHEAD), is_final=False)
    assert mate.bytes_due == 60 * frame
    warm = torch.cat(streamed(flow, voice, tokens, state=flow.open(voice, **exact)))
    assert torch.equal(warm, cold)
    wanted = plain.render(voice, torch.tensor(tokens), is_streamed=True, is_final=True)
    assert (cold - wanted).abs().mean() < 0.02


# --- the bound on what all streams keep


def test_without_room_a_stream_computes_its_past_again(plain: PlainFlow) -> None:
    voice, tokens = random_voice(num_tokens=13), random_tokens(33)
    roomy = packed(plain)
    rich = roomy.open(voice, is_streamed=True)
    wanted = streamed(roomy, voice, tokens, (1, 1, 2, 1), state=rich)
    frame = roomy.cache_shape.frame_bytes
    for num_frames in (0, 10, 20, 36, 50, 1000):
        for prompt_frames in (0, 20):
            flow = packed(
                plain, cache_bytes=num_frames * frame, prompt_bytes=prompt_frames * frame + 10**6
            )
            for _ in range(2):  # the second time with what was kept of the voice
                state = flow.open(voice, is_streamed=True)
                made = streamed(flow, voice, tokens, (1, 1, 2, 1), state=state)
                for ours, right in zip(made, wanted, strict=True):
                    near(ours, right, 1e-5)
                assert state.bytes_due == state.num_bytes == 0
            assert num_frames > 20 or state.num_flops > rich.num_flops


def test_what_is_kept_stays_where_more_does_not_fit(plain: PlainFlow) -> None:
    frame = packed(plain).cache_shape.frame_bytes
    flow, tokens = packed(plain, cache_bytes=25 * frame), random_tokens(33)
    state, costs = flow.open(random_voice(num_tokens=0), is_streamed=True), []
    for begin in range(0, 30, 5):
        state.feed(tokens[begin : begin + 5 + AHEAD], is_final=False)
        costs.append(state.cost)
        solved(flow, state)
        assert state.bytes_due <= 25 * frame
    assert costs == [10, 10, 10, 20, 30, 40], "the first 20 frames are never computed again"


@pytest.mark.parametrize("num_prompt", [0, 14])
def test_all_streams_together_keep_within_the_bound(plain: PlainFlow, num_prompt: int) -> None:
    """Sixteen voices at once; the prompts kept for later have a bound of their own."""
    frame, tokens = packed(plain).cache_shape.frame_bytes, random_tokens(33)
    bound, prompts = 150 * frame, 45 * frame
    flow = packed(plain, cache_bytes=bound, prompt_bytes=prompts)
    voices = [random_voice(num_tokens=num_prompt, seed=seed) for seed in range(16)]
    states = [flow.open(voice, is_streamed=True) for voice in voices]
    mels: list[list[Tensor]] = [[] for _ in states]
    convs = 10 * 2 * 2 * 30 * 32 * 4  # a stream's, and a prompt's, beside keys and values
    begin = 0
    for end in (*piece_ends(flow, voices[0], 33, (2, 1, 1, 1)), 33):
        for state in states:
            is_final = end == 33
            state.feed(tokens[begin : end + AHEAD * (not is_final)], is_final=is_final)
        while states[0].num_steps_left:
            flow.step(states)
        assert flow.prompts.num_bytes <= prompts
        for state, mel in zip(states, mels, strict=True):
            mel.append(state.take())
        # What others let go of during the piece may have become a stream's alone.
        kept = sum(state.num_bytes for state in states)
        assert kept <= bound + 16 * (2 * convs + 20 * frame * bool(num_prompt))
        begin = end
    for voice, mel in zip(voices, mels, strict=True):
        wanted = plain.render(voice, torch.tensor(tokens), is_streamed=True, is_final=True)
        near(torch.cat(mel), wanted)
    assert sum(state.num_bytes for state in states) == 0


# --- precision


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("is_streamed", [False, True])
def test_half_precision_stays_near(plain: PlainFlow, precision: str, is_streamed: bool) -> None:
    voice, tokens = random_voice(num_tokens=17), random_tokens(40)
    exact, rough = packed(plain), packed(plain, precision=precision)
    mels = [
        torch.cat(streamed(flow, voice, tokens)) if is_streamed else whole(flow, voice, tokens)
        for flow in (exact, rough)
    ]
    assert mels[0].abs().mean() > 0.3
    error = (mels[1] - mels[0]).abs().mean()
    assert 0 < error < (0.02 if precision == "bfloat16" else 0.002)


def test_streams_in_half_precision_equal_the_whole(plain: PlainFlow) -> None:
    voice, tokens = random_voice(num_tokens=17), random_tokens(40)
    for precision, tolerance in (("bfloat16", 0.02), ("float16", 0.002)):
        flow = packed(plain, precision=precision)
        at_once = torch.cat(streamed(flow, voice, tokens, ()))
        near_on_average = torch.cat(streamed(flow, voice, tokens)) - at_once
        assert near_on_average.abs().mean() < tolerance


def test_int8_is_refused(plain: PlainFlow) -> None:
    with pytest.raises(ConfigError, match="float32, bfloat16, float16"):
        packed(plain, precision="int8")


def test_a_compiled_part_is_used(plain: PlainFlow) -> None:
    calls = []

    def compile_renderer(function: Any) -> Any:
        def counted(*tensors: Tensor) -> Any:
            calls.append(len(tensors))
            return function(*tensors)

        return counted

    flow = packed(plain, compile_renderer=compile_renderer)
    voice, tokens = random_voice(), random_tokens(6)
    near(whole(flow, voice, tokens), whole(packed(plain), voice, tokens), 1e-6)
    assert calls == [5] * (10 * 3 * 2)


# --- misuse


def test_pieces_out_of_turn_are_refused(flow: DitFlow) -> None:
    voice, tokens = random_voice(num_tokens=0), random_tokens(20)
    state = flow.open(voice, is_streamed=True)
    with pytest.raises(ModelError, match="not solved"):
        state.take()
    state.feed(tokens[:8], is_final=False)
    with pytest.raises(ModelError, match="before the last one was taken"):
        state.feed(tokens[5:13], is_final=False)
    with pytest.raises(ModelError, match="not solved"):
        state.take()
    solved(flow, state)
    with pytest.raises(ModelError, match="does not end with a chunk"):
        state.feed(tokens[5:14], is_final=False)
    with pytest.raises(ModelError, match="codebook"):
        state.feed([50], is_final=True)
    state.feed(tokens[5:], is_final=True)  # refusals have changed nothing
    solved(flow, state)
    with pytest.raises(ModelError, match="after the final one"):
        state.feed([1], is_final=True)
    with pytest.raises(ModelError, match="not streamed"):
        flow.open(voice, is_streamed=False).feed(tokens[:8], is_final=False)


def test_voices_of_other_models_are_refused(flow: DitFlow) -> None:
    voice = random_voice()
    for wrong in (
        Conditioning("a", voice.tokens + 50, voice.mel, voice.speaker),
        Conditioning("b", voice.tokens, voice.mel[:-1], voice.speaker),
    ):
        with pytest.raises(ModelError):
            flow.open(wrong, is_streamed=True)
