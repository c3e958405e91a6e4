"""The fast decoder: official numbers, rows blind to each other, kept beginnings, precisions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cosyvoice_lm import TINY, VERSIONS, golden_network, tiny_network
from safetensors.torch import load_file
from torch import Tensor

from kouji.models.cosyvoice.conditioning import Conditioning, LMPart, LMPiece, Mode, TextSegment
from kouji.models.cosyvoice.config import Version
from kouji.models.cosyvoice.decode import lm_decoder as decoder_module
from kouji.models.cosyvoice.decode.lm import SpeechLM
from kouji.models.cosyvoice.decode.lm_decoder import LMDecoder
from kouji.models.layers.packed_linear import LinearPrecision

EITHER = pytest.mark.parametrize("version", VERSIONS)
BOTH_LAYOUTS = pytest.mark.parametrize("for_graphs", [False, True], ids=["strips", "rows"])


@pytest.fixture(scope="module", params=VERSIONS)
def network(request: pytest.FixtureRequest) -> SpeechLM:
    return tiny_network(request.param)


def ids(count: int, seed: int, most: int = TINY.end_of_prompt) -> Tensor:
    return torch.randint(0, most, (count,), generator=torch.Generator().manual_seed(seed))


def voice(num_tokens: int = 12, seed: int = 1) -> Conditioning:
    tokens = ids(num_tokens, seed, TINY.codebook)
    return Conditioning(f"voice {seed}", tokens, torch.zeros(1), torch.zeros(1))


def text(count: int, seed: int = 0, mode: Mode = "zero_shot", num_before: int = 11) -> TextSegment:
    before = torch.cat([ids(num_before - 1, 77), torch.tensor([TINY.end_of_prompt])])
    return TextSegment(before, ids(count, seed), mode, count)


def official(network: SpeechLM, segment: TextSegment, spoken: Conditioning, steps: int) -> Tensor:
    """Logits of greedy decoding with the plain network, (1 + steps, vocabulary)."""
    prompt = spoken.tokens if segment.mode == "zero_shot" else spoken.tokens[:0]
    hidden, past = network(network.embed(segment.prompt_text, segment.text, prompt))
    logits = [network.logits(hidden[0, -1])]
    for _ in range(steps):
        token = logits[-1].argmax().view(1, 1)
        hidden, past = network(network.embed_speech(token), past)
        logits.append(network.logits(hidden[0, -1]))
    return torch.stack(logits)


def run(
    decoder: LMDecoder,
    rows: list[tuple[TextSegment, Conditioning]],
    steps: int,
    seed: int = 0,
    forced: list[int] | None = None,
) -> list[Tensor]:
    """Logits of rows in scattered slots, (1 + steps, vocabulary) each; greedy where not forced."""
    prompts = [decoder.prompt(*row) for row in rows]
    cache = decoder.new_cache(len(rows) + 2, 256)
    slots = torch.randperm(len(rows) + 2, generator=torch.Generator().manual_seed(seed))
    slots = slots[: len(rows)]
    logits = [decoder.prefill(prompts, cache, slots.tolist())]
    for step in range(steps):
        lengths = torch.tensor([prompt.num_positions + step for prompt in prompts])
        positions = torch.tensor([prompt.next_position + step for prompt in prompts])
        tokens = logits[-1].argmax(-1)
        if forced is not None:
            tokens = torch.full_like(tokens, forced[step])
        logits.append(decoder.step(tokens, positions, lengths, slots, cache))
    return [torch.stack(row) for row in zip(*logits, strict=True)]


ROWS: list[tuple[TextSegment, Conditioning]] = [
    (text(9, 1), voice()),
    (text(60, 2), voice(40, 3)),
    (text(3, 4, "instruct"), voice()),
    (text(90, 5), voice(44, 6)),
    (text(20, 6, "cross_lingual", 1), voice()),
]


@BOTH_LAYOUTS
@torch.inference_mode()
def test_equals_the_plain_network(network: SpeechLM, for_graphs: bool) -> None:
    decoder = LMDecoder(network, "tiny", for_graphs=for_graphs)
    for row in ROWS:
        [ours] = run(decoder, [row], 30)
        wanted = official(network, *row, 30)
        assert torch.allclose(ours, wanted, rtol=0, atol=1e-4)
        assert ours.dtype == torch.float32


# What each number format costs on the official vectors, whose logits reach 8.
BOUNDS: dict[LinearPrecision, float] = {
    "float32": 1e-4,
    "float16": 2e-2,
    "bfloat16": 0.15,
    "int8": 0.4,
}


@EITHER
@pytest.mark.parametrize("precision", BOUNDS)
def test_official_vectors(shared_dir: Path, version: Version, precision: LinearPrecision) -> None:
    folder = shared_dir / "goldens" / version
    if not (folder / "llm").is_dir():
        pytest.skip(f"no vectors at {folder}")
    golden = load_file(folder / "llm" / "teacher_forced.safetensors")
    decoder = LMDecoder(golden_network(folder), "golden", precision=precision)
    wanted = golden["cached_logits"][0]
    speech, said = golden["prompt_speech_token"][0], golden["text"][0]
    forced = speech[len(speech) - len(wanted) + 1 :]
    spoken = Conditioning("v", speech[: -len(forced)], torch.zeros(1), torch.zeros(1))
    segment = TextSegment(golden["prompt_text"][0], said, "zero_shot", len(said))
    prompt = decoder.prompt(segment, spoken)
    cache = decoder.new_cache(3, 256)
    logits = [decoder.prefill([prompt], cache, [1])]
    for number, token in enumerate(forced):
        at = torch.tensor([prompt.num_positions + number])
        logits.append(decoder.step(token.view(1), at, at, torch.tensor([1]), cache))
    assert torch.allclose(torch.cat(logits), wanted, rtol=0, atol=BOUNDS[precision])


@BOTH_LAYOUTS
def test_batched_equals_single(network: SpeechLM, for_graphs: bool) -> None:
    decoder = LMDecoder(network, "tiny", for_graphs=for_graphs)
    together = run(decoder, ROWS, 25)
    for number, row in enumerate(ROWS):
        [alone] = run(LMDecoder(network, "tiny", for_graphs=for_graphs), [row], 25, seed=number)
        assert torch.equal(alone.argmax(-1), together[number].argmax(-1))
        assert torch.allclose(alone, together[number], rtol=0, atol=1e-5)


# Keys are rounded to float16, and many rows may be multiplied in another way than few: see
# `PackedLinear`.
BLIND_BOUNDS: dict[LinearPrecision, float] = {"float16": 2e-3, "bfloat16": 2e-2, "int8": 5e-2}


@pytest.mark.parametrize("precision", BLIND_BOUNDS)
def test_rounded_rows_are_blind_too(network: SpeechLM, precision: LinearPrecision) -> None:
    decoder = LMDecoder(network, "tiny", precision=precision)
    forced = [(7 * step) % TINY.codebook for step in range(12)]
    together = run(decoder, ROWS, 12, forced=forced)
    for number, row in enumerate(ROWS):
        [alone] = run(decoder, [row], 12, seed=number, forced=forced)
        bound = BLIND_BOUNDS[precision]
        assert torch.allclose(alone, together[number], rtol=0, atol=bound)


@BOTH_LAYOUTS
@torch.inference_mode()
def test_extending_equals_reading_at_once(network: SpeechLM, for_graphs: bool) -> None:
    decoder = LMDecoder(network, "tiny", for_graphs=for_graphs)
    speech = tuple(ids(150, 4, TINY.codebook).tolist())
    parts = [
        (LMPart("sos"), LMPart("text", tuple(ids(5, 1).tolist())), LMPart("speech", speech[:9])),
        (LMPart("text", (3,)),),
        (LMPart("text", (1, 2)), LMPart("task"), LMPart("speech", speech[9:])),
    ]
    x = [network.embed_text(torch.tensor(parts[0][1].ids)), network.embed_text(torch.tensor([3]))]
    x = [network.sos, x[0], network.embed_speech(torch.tensor(speech[:9])), x[1]]
    x += [network.embed_text(torch.tensor([1, 2])), network.task]
    x += [network.embed_speech(torch.tensor(speech[9:]))]
    wanted = network.logits(network(torch.cat(x)[None])[0][0, -1])

    cache = decoder.new_cache(4, 256)
    other = LMPiece((LMPart("sos"), LMPart("text", (7, 8, 9))))
    length = [0, 0]
    for new in parts:
        piece = LMPiece(new)
        logits = decoder.extend([other, piece], cache, [3, 1], length)
        length = [length[0] + other.num_positions, length[1] + piece.num_positions]
    assert length[1] == sum(map(len, x))
    assert torch.allclose(logits[1], wanted, rtol=0, atol=1e-4)
    whole = decoder.extend([LMPiece(sum(parts, ()))], cache, [0], [0])
    assert torch.allclose(whole[0], wanted, rtol=0, atol=1e-4)
    at = torch.tensor([length[1]]).expand(2)
    first, second = decoder.step(torch.tensor([5, 5]), at, at, torch.tensor([0, 1]), cache)
    assert torch.allclose(first, second, rtol=0, atol=1e-5)


@BOTH_LAYOUTS
def test_steps_and_pieces_take_turns(network: SpeechLM, for_graphs: bool) -> None:
    decoder = LMDecoder(network, "tiny", for_graphs=for_graphs)
    start = LMPiece((LMPart("sos"), LMPart("text", (4, 5, 6))))
    more = LMPart("text", (8, 9))
    cache = decoder.new_cache(2, 64)
    decoder.extend([start], cache, [0], [0])
    at = torch.tensor([4])
    decoder.step(torch.tensor([11]), at, at, torch.tensor([0]), cache)
    [mixed] = decoder.extend([LMPiece((more,))], cache, [0], [5])
    joined = LMPiece((*start.parts, LMPart("speech", (11,)), more))
    [whole] = decoder.extend([joined], cache, [1], [0])
    assert torch.allclose(mixed, whole, rtol=0, atol=1e-5)


@BOTH_LAYOUTS
def test_known_beginnings_change_nothing(network: SpeechLM, for_graphs: bool) -> None:
    pairs = [(text(9, 1), voice()), (text(30, 2), voice()), (text(5, 3, "instruct"), voice())]
    decoder = LMDecoder(network, "tiny", for_graphs=for_graphs)
    for pair in pairs:
        [ours] = run(decoder, [pair], 10)
        [fresh] = run(LMDecoder(network, "tiny", for_graphs=for_graphs), [pair], 10)
        assert torch.allclose(ours, fresh, rtol=0, atol=1e-5)
    assert len(decoder._kept) == 1  # one beginning, whatever the voice and the mode


def test_known_beginnings_are_really_used(network: SpeechLM) -> None:
    decoder = LMDecoder(network, "tiny")
    run(decoder, [(text(9, 1), voice())], 0)
    [kept] = decoder._kept.values()
    with torch.inference_mode():
        kept.values.zero_()
    [spoiled] = run(decoder, [(text(9, 1), voice())], 0)
    [right] = run(LMDecoder(network, "tiny"), [(text(9, 1), voice())], 0)
    assert not torch.allclose(spoiled, right, atol=1e-2)


def test_beginnings_are_kept_within_a_budget(
    network: SpeechLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = LMDecoder(network, "tiny")

    def speak(num_before: int) -> None:
        run(decoder, [(text(9, 1, num_before=num_before), voice())], 0)

    speak(20)
    [size] = [kept.num_bytes for kept in decoder._kept.values()]
    monkeypatch.setattr(decoder_module, "KEPT_BYTES", 3 * size)
    for num_before in (19, 20, 18, 17):
        speak(num_before)
    lengths = {len(key) for key in decoder._kept}
    assert 20 in lengths  # used again in the meantime
    assert 19 not in lengths
    assert sum(kept.num_bytes for kept in decoder._kept.values()) <= 3 * size
    speak(3)
    assert 3 not in {len(key) for key in decoder._kept}  # too short to be worth it


def test_slots_are_used_again(network: SpeechLM) -> None:
    decoder = LMDecoder(network, "tiny")
    cache = decoder.new_cache(1, 256)
    long, short = (decoder.prompt(*pair) for pair in (ROWS[1], ROWS[0]))
    decoder.prefill([long], cache, [0])
    ours = decoder.prefill([short], cache, [0])
    at = torch.tensor([short.num_positions])
    ours = torch.cat([ours, decoder.step(torch.tensor([3]), at, at, torch.tensor([0]), cache)])
    other = decoder.new_cache(1, 256)
    fresh = decoder.prefill([short], other, [0])
    fresh = torch.cat([fresh, decoder.step(torch.tensor([3]), at, at, torch.tensor([0]), other)])
    assert torch.allclose(ours, fresh, rtol=0, atol=1e-6)


def test_a_kept_prompt_stands_for_prefill(network: SpeechLM) -> None:
    decoder = LMDecoder(network, "tiny")
    prompt = decoder.prompt(*ROWS[1])
    cache = decoder.new_cache(3, 200)
    decoder.prefill([prompt], cache, [0])
    cache.copy_in(2, cache.copy_out(0, prompt.num_positions))
    at = torch.tensor([prompt.num_positions]).expand(2)
    first, second = decoder.step(torch.tensor([5, 5]), at, at, torch.tensor([0, 2]), cache)
    assert torch.equal(first, second)


def test_static_path_within_a_bucket(network: SpeechLM) -> None:
    static = LMDecoder(network, "tiny", for_graphs=True)
    prompt = static.prompt(*ROWS[0])
    cache = static.new_cache(2, 128)
    static.prefill([prompt], cache, [1])
    row = [torch.tensor([n]) for n in (3, prompt.next_position, prompt.num_positions, 1)]
    whole = static.step(*row, cache)
    assert torch.allclose(static.step(*row, cache, num_positions=48), whole, atol=1e-5)


def test_static_step_reads_no_tensor(network: SpeechLM) -> None:
    """On the meta device there is nothing to read: what runs there can be recorded on a GPU."""
    static = LMDecoder(network, "tiny", device="meta")
    cache = static.new_cache(4, 64)
    rows = [torch.empty(3, dtype=torch.int64, device="meta") for _ in range(4)]
    made = static.step(*rows, cache, num_positions=32)
    assert made.shape == (3, network.config.vocabulary)
    assert made.dtype == torch.float32


def test_facts_for_the_engine(network: SpeechLM) -> None:
    decoder = LMDecoder(network, "tiny")
    assert decoder.vocabulary == network.config.vocabulary
    assert decoder.eos == TINY.codebook
    assert not decoder.stops_on_argmax
    assert decoder.token_rate_hz == 25
    assert bool(decoder.silent_tokens) == (network.config.version == "cosyvoice3")
    half = LMDecoder(network, "tiny", precision="bfloat16")
    small = LMDecoder(network, "tiny", precision="int8")
    assert small.num_bytes < half.num_bytes < decoder.num_bytes
    assert half.cache_key == small.cache_key != decoder.cache_key
    assert half.slot_bytes(100) * 2 == decoder.slot_bytes(100)
    assert decoder.new_cache(3, 100).num_bytes == 3 * decoder.slot_bytes(100)


def test_the_network_is_not_changed_and_its_text_table_is_shared(network: SpeechLM) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    decoder = LMDecoder(network, "tiny", precision="int8")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert decoder._text is network.text_table


def test_a_rounded_text_table_is_read_as_it_is(network: SpeechLM) -> None:
    half = SpeechLM(replace(network.config))
    half.load_state_dict(network.state_dict())
    half.text_table = network.text_table.bfloat16()
    [ours] = run(LMDecoder(half.requires_grad_(False), "half"), [ROWS[0]], 2)
    [exact] = run(LMDecoder(network, "tiny"), [ROWS[0]], 2)
    assert not torch.equal(ours, exact)
    assert torch.allclose(ours[0], exact[0], atol=0.2)
