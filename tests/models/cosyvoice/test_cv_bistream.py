"""Speech from text that is still being written: the official tokens, and tokens free of timing."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cosyvoice_lm import TINY, VERSIONS, golden_network, tiny_network
from engine_harness import make_request, small_engine
from fake_model import FakeRow, FakeSegment, fake_model
from safetensors.torch import load_file
from torch import Tensor

from kouji.engine.guard import GuardOptions
from kouji.models.cosyvoice.conditioning import Conditioning, LMPart, LMPiece
from kouji.models.cosyvoice.config import LMConfig, SamplingConfig, Version
from kouji.models.cosyvoice.decode.bistream import (
    MAX_RATIO,
    Bistream,
    LiveSegment,
    LiveText,
    live_prompt,
)
from kouji.models.cosyvoice.decode.lm import Pair, SpeechLM
from kouji.models.cosyvoice.decode.lm_decoder import LMDecoder
from kouji.models.cosyvoice.decode.official_decode import draw_aware, inverse_draw
from kouji.models.stages import Prompt, SamplingOptions, SpeechModel, Turn

VOICE = Conditioning("key", torch.arange(21), torch.zeros(42, 80), torch.zeros(192))


# --- the official loop


class Slot:
    """A plain network that goes on reading behind what it has read."""

    def __init__(self, network: SpeechLM) -> None:
        self._network = network
        self._past: list[Pair] | None = None

    @torch.inference_mode()
    def read(self, piece: LMPiece) -> Tensor:
        """(vocabulary,) logits behind the piece."""
        parts = [self._embed(part) for part in piece.parts]
        hidden, self._past = self._network(torch.cat(parts).unsqueeze(0), self._past)
        return self._network.logits(hidden[0, -1])

    def _embed(self, part: LMPart) -> Tensor:
        network, ids = self._network, torch.tensor(part.ids, dtype=torch.int64)
        if part.kind in ("sos", "task"):
            return network.sos if part.kind == "sos" else network.task
        return network.embed_text(ids) if part.kind == "text" else network.embed_speech(ids)


def speak_officially(
    network: SpeechLM, prompt: Prompt, uniforms: Iterator[float], most: int
) -> list[int]:
    """Play a script with the official masks; what it masks beyond them shifts the draws."""
    config, script, draw = network.config, prompt.script, inverse_draw(uniforms)
    assert script is not None
    slot, tokens = Slot(network), list[int]()
    slot.read(prompt.payload.piece)
    sampling = SamplingConfig()
    while sum(token < config.codebook for token in tokens) < most:
        turn = script.next(tokens)
        assert not turn.is_waiting
        if turn.forced is not None:
            tokens.append(turn.forced)
            continue
        piece = turn.piece or LMPiece((LMPart("speech", (tokens[-1],)),))
        logp = slot.read(piece).log_softmax(0)
        if turn.allowed_ids != (config.eos,):
            logp[config.codebook] = -torch.inf
        tokens.append(draw_aware(logp, tokens, draw, sampling).token)
    return [token for token in tokens if token < config.codebook]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_official_tokens(shared_dir: Path, version: str) -> None:
    folder = shared_dir / "goldens" / version
    if not (folder / "llm" / "decode_runs.json").is_file():
        pytest.skip(f"no vectors at {folder}")
    run = json.loads((folder / "llm" / "decode_runs.json").read_text())["bistream"]
    given = load_file(folder / "llm" / "decode_inputs.safetensors")
    network = golden_network(folder)
    with torch.no_grad():
        head = network.llm_decoder
        scale = run["eos_row_scale"]
        head.weight[network.config.eos] *= scale
        if head.bias is not None:
            head.bias[network.config.eos] *= scale
    text = LiveText()
    text.feed(given["bistream.text"][0].tolist())
    text.close()
    segment = LiveSegment(tuple(given["bistream.prompt_text"][0].tolist()), text)
    voice = replace(VOICE, tokens=given["bistream.prompt_speech_token"][0])
    prompt = live_prompt(segment, voice, network.config)
    uniforms = iter(given["bistream.uniforms"].tolist())
    tokens = speak_officially(network, prompt, uniforms, run["n_tokens"])
    assert tokens == run["tokens"]


# --- turn by turn


def config_of(version: Version) -> LMConfig:
    return replace(TINY, version=version)


def script_of(
    ids: Sequence[int],
    *,
    version: Version = "cosyvoice2",
    prompt_text: Sequence[int] = (),
    num_speech: int = 0,
    is_closed: bool = True,
) -> Bistream:
    text = LiveText()
    text.feed(ids)
    if is_closed:
        text.close()
    return Bistream(config_of(version), prompt_text, range(num_speech), text)


def words(*ids: int) -> LMPart:
    return LMPart("text", ids)


def sounds(*ids: int) -> LMPart:
    return LMPart("speech", ids)


def parts_of(turn: Turn) -> tuple[LMPart, ...]:
    assert isinstance(turn.piece, LMPiece)
    assert turn.num_positions == turn.piece.num_positions
    return turn.piece.parts


def test_five_of_text_for_fifteen_sounds() -> None:
    script, tokens = script_of(range(12)), list[int]()
    config = config_of("cosyvoice2")
    turn = script.next(tokens)
    assert parts_of(turn) == (words(0, 1, 2, 3, 4),)
    assert turn.allowed_ids == (config.fill,)
    for sound in range(15):
        tokens.append(sound)
        turn = script.next(tokens)
    assert turn.forced == config.fill, "after fifteen, without a draw"
    tokens.append(config.fill)
    turn = script.next(tokens)
    assert parts_of(turn) == (sounds(14), words(5, 6, 7, 8, 9)), "the last sound was not read yet"
    tokens += [7, config.fill]  # drawn early
    turn = script.next(tokens[:-1])
    assert turn == Turn(allowed_ids=(config.fill,))
    turn = script.next(tokens)
    assert parts_of(turn) == (sounds(7), words(10, 11), LMPart("task")), "as official, 7 again"
    assert turn.allowed_ids == (config.eos,)


def test_after_an_early_fill_fifteen_more_may_follow() -> None:
    script, fill = script_of(range(40)), config_of("cosyvoice2").fill
    tokens = [3, fill]
    script.next([])
    script.next(tokens[:1])
    turn = script.next(tokens)
    while turn.forced is None:
        tokens.append(1)
        turn = script.next(tokens)
    assert tokens == [3, fill, *[1] * 15]


def test_the_reference_comes_first_in_turn_with_its_text() -> None:
    """21 sounds need two fives of text, and the first fill is due where 15 are full again."""
    script = script_of([90], prompt_text=range(30, 40), num_speech=21, is_closed=False)
    turn = script.next([])
    first, second = tuple(range(15)), tuple(range(15, 21))
    assert parts_of(turn) == (
        words(*range(30, 35)), sounds(*first), words(*range(35, 40)), sounds(*second),
    )  # fmt: skip
    tokens: list[int] = []
    while turn.forced is None:
        tokens.append(50)
        turn = script.next(tokens)
    assert len(tokens) == 9
    assert script.next([*tokens, turn.forced]).is_waiting


@pytest.mark.parametrize("version", VERSIONS)
def test_without_a_reference_speech_waits_for_five(version: Version) -> None:
    script = script_of(range(4), version=version, is_closed=False)
    assert script.next([]).is_waiting
    assert script.next([]).is_waiting
    script.give_up()
    assert parts_of(script.next([])) == (words(0, 1, 2, 3), LMPart("task"))


def test_a_reference_longer_than_the_text_follows_it() -> None:
    script = script_of(range(6), prompt_text=range(30, 32), num_speech=40)
    assert parts_of(script.next([])) == (
        words(30, 31, 0, 1, 2), sounds(*range(15)), words(3, 4, 5), LMPart("task"),
        sounds(*range(15, 40)),
    )  # fmt: skip


def test_speech_after_the_text_ends_some_time() -> None:
    script, config, tokens = script_of(range(3)), config_of("cosyvoice2"), list[int]()
    turn = script.next(tokens)
    while turn.forced is None:
        assert turn.allowed_ids == (config.eos,)
        tokens.append(1)
        turn = script.next(tokens)
    assert (turn.forced, len(tokens)) == (config.eos, 3 * MAX_RATIO)
    assert script.next(tokens).forced == config.eos


def test_where_nothing_is_written_nothing_is_said() -> None:
    script = script_of([], prompt_text=range(30), num_speech=21)
    assert script.next([]) == Turn(forced=config_of("cosyvoice2").eos)


def test_the_prompt_holds_what_no_text_can_change() -> None:
    text, end = LiveText(), TINY.end_of_prompt
    for version, opening, said in (
        ("cosyvoice3", (LMPart("sos"), words(5, 6, end)), [7, 8]),
        ("cosyvoice2", (LMPart("sos"), words()), [5, 6, end, 7, 8]),
    ):
        config = replace(TINY, version=version)
        prompt = live_prompt(LiveSegment((5, 6, end, 7, 8), text), VOICE, config)
        assert prompt.payload.piece == LMPiece(opening)
        assert prompt.num_positions == prompt.next_position == prompt.payload.piece.num_positions
        text.feed(range(10))
        assert prompt.script is not None
        parts = parts_of(prompt.script.next([]))
        assert [*parts[0].ids, *parts[2].ids][: len(said)] == said
        assert [len(part.ids) for part in parts if part.kind == "speech"] == [15, 6]
    other = live_prompt(LiveSegment((9, end), text, mode="instruct"), VOICE, TINY)
    assert other.script is not None
    assert all(part.kind != "speech" for part in parts_of(other.script.next([])))
    assert other.prefix_key != live_prompt(LiveSegment((8, end), text), VOICE, TINY).prefix_key


@pytest.mark.parametrize("seed", range(5))
def test_turns_follow_from_text_and_tokens_alone(seed: int) -> None:
    """The same text in pieces of any size, asked for at any moment."""
    draw, ids = random.Random(seed), list(range(60))

    def play(script: Bistream, feed: Iterator[None]) -> list[Turn]:
        dice, tokens, turns = random.Random(1), list[int](), list[Turn]()
        while len(turns) < 150:
            turn = script.next(tokens)
            if turn.is_waiting:
                next(feed)
                continue
            turns.append(turn)
            if turn.forced is not None:
                tokens.append(turn.forced)
                continue
            may_fill = config_of("cosyvoice2").fill in turn.allowed_ids and dice.random() < 0.2
            tokens.append(config_of("cosyvoice2").fill if may_fill else dice.randrange(60))
        return turns

    def written(text: LiveText) -> Iterator[None]:
        rest = list(ids)
        while rest:
            count = draw.randint(1, 20)
            text.feed(rest[:count])
            del rest[:count]
            yield
        text.close()
        yield

    text = LiveText()
    live = Bistream(config_of("cosyvoice2"), range(30, 50), range(21), text)
    whole = script_of(ids, prompt_text=range(30, 50), num_speech=21)
    assert play(live, written(text)) == play(whole, iter(()))


def test_a_text_is_heard_of_from_any_thread() -> None:
    text, news = LiveText(), threading.Semaphore(0)
    text.on_news(lambda: news.release())
    writer = threading.Thread(target=lambda: (text.feed([4, 5]), text.close()))
    writer.start()
    assert news.acquire(timeout=10)
    assert news.acquire(timeout=10)
    writer.join()
    assert (text.at(0), text.at(1), text.ids, text.is_closed) == (4, 5, (4, 5), True)
    with pytest.raises(EOFError):
        text.at(2)
    assert not text.feed([6])
    assert text.ids == (4, 5)
    text.on_news(None)
    text.close()
    assert not news.acquire(blocking=False)


# --- through the engine


@pytest.mark.parametrize("version", VERSIONS)
def test_the_engine_reads_and_speaks_as_the_plain_network(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Greedy rows in one batch, text coming while they speak, against one slot of plain torch."""
    network = tiny_network(version)
    config = network.config
    decoder = LMDecoder(network, "tiny")
    fed: dict[str, list[int]] = {}

    def noted(self: FakeRow, tokens: Sequence[int], *, is_final: bool) -> None:
        fed[self.segment.text] = list(tokens)
        self.tokens, self.is_final = list(tokens), is_final

    monkeypatch.setattr(FakeRow, "feed", noted)
    greedy = SamplingOptions(top_k=1, repetition_penalty=1.0)
    voice = replace(VOICE, tokens=torch.arange(21))
    texts, segments = [LiveText() for _ in range(2)], list[LiveSegment]()
    for number, text in enumerate(texts):
        segments.append(LiveSegment((5, number, TINY.end_of_prompt, *range(12)), text))

    class Named(FakeSegment):
        live: LiveSegment

    def prompt(segment: Named, _: str) -> Prompt:
        return LMDecoder.prompt(decoder, segment.live, voice)

    monkeypatch.setattr(decoder, "prompt", prompt)
    model = SpeechModel(fake_model().renderer, decoder)
    tickets = []
    with small_engine(max_positions=200) as engine:
        for number, segment in enumerate(segments):
            named = Named(str(number))
            object.__setattr__(named, "live", segment)
            tickets.append(
                engine.submit(
                    make_request(model, named, sampling=greedy, guard=GuardOptions(is_on=False))
                )
            )
        for place in range(12):
            for number, text in enumerate(texts):
                text.feed([(7 * place + number) % 90])
        for text in texts:
            text.close()
        for ticket in tickets:
            ticket.result()
    for number, segment in enumerate(segments):
        heard = fed[str(number)]
        assert len(heard) > 60, "the end of the text was reached"
        assert heard == speak_greedily(network, live_prompt(segment, voice, config), len(heard))


@torch.inference_mode()
def speak_greedily(network: SpeechLM, prompt: Prompt, most: int) -> list[int]:
    """Play a script on the plain network with our masks, likeliest ids only."""
    config, script, slot, tokens = network.config, prompt.script, Slot(network), list[int]()
    assert script is not None
    slot.read(prompt.payload.piece)
    while config.eos not in tokens and sum(token < config.codebook for token in tokens) < most:
        turn = script.next(tokens)
        if turn.forced is not None:
            tokens.append(turn.forced)
            continue
        logits = slot.read(turn.piece or LMPiece((sounds(tokens[-1]),))).clone()
        kept = logits[list(turn.allowed_ids)].clone()
        logits[config.codebook :] = -torch.inf
        logits[list(turn.allowed_ids)] = kept
        tokens.append(int(logits.argmax()))
    return [token for token in tokens if token < config.codebook]
