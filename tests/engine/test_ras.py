"""Repetition-aware sampling: equal to the official draws, row by row and in any company."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kouji.engine.ras import AwareVectors, draw_aware
from kouji.engine.sampler import Drawn, Sampler
from kouji.models.stages import SamplingOptions

EMPTY = torch.zeros(0, dtype=torch.int64)
OFFICIAL = SamplingOptions(
    top_k=25, top_p=0.8, repetition_penalty=1.0, repetition_window=10, repetition_share=0.1
)
MIXED = (
    OFFICIAL,
    SamplingOptions(top_k=0, top_p=1.0, repetition_penalty=1.0, repetition_window=5),
    SamplingOptions(top_k=3, repetition_penalty=1.4, repetition_window=4, repetition_share=0.5),
    SamplingOptions(top_k=25, top_p=0.0, temperature=0.7, repetition_window=10),
    SamplingOptions(top_k=25, top_p=0.9, temperature=0.0, repetition_window=3),
    SamplingOptions(),  # draws as GPT-SoVITS does
    SamplingOptions(top_k=0, top_p=0.9, repetition_penalty=1.0),
)


def by_the_book(
    logits: np.ndarray, options: SamplingOptions, tokens: Sequence[int], uniforms: Sequence[float]
) -> int:
    """One row, walked through as the rule is written."""

    def pick(weights: list[float], share: float) -> int:
        cumulative = np.cumsum(np.float64(weights))
        return int(np.argmax(cumulative > share * cumulative[-1]))

    scaled = torch.from_numpy(logits) / max(options.temperature, 1e-5)
    shares = scaled.softmax(0).numpy()
    order = sorted(range(len(shares)), key=lambda one: (-shares[one], one))
    kept: list[int] = []
    total = 0.0
    for one in order:
        if kept and (total >= options.top_p < 1 or len(kept) >= (options.top_k or len(shares))):
            break
        kept.append(one)
        total += float(shares[one])
    token = kept[pick([shares[one] for one in kept], uniforms[0])]
    repeats = list(tokens[-options.repetition_window :]).count(token)
    if repeats >= options.repetition_window * options.repetition_share:
        scaled[token] = -math.inf
        token = pick(scaled.softmax(0).tolist(), uniforms[1])
    return token


def draw_with(
    logits: Tensor,
    options: Sequence[SamplingOptions],
    tokens: Sequence[Sequence[int]],
    uniforms: Sequence[Sequence[float]],
) -> list[int]:
    vectors = AwareVectors.of(options, logits.shape[1])
    given = torch.tensor(uniforms, dtype=torch.float64)
    return draw_aware(logits, vectors, vectors.newest(tokens), given).tolist()


@pytest.mark.parametrize("version", ["cosyvoice3", "cosyvoice2"])
@pytest.mark.parametrize("is_padded", [False, True])
def test_the_official_draws(shared_dir: Path, version: str, is_padded: bool) -> None:
    """All cases of one vocabulary in one batch, or padded with what cannot be drawn all at once."""
    folder = shared_dir / "goldens" / version / "ras"
    if not folder.is_dir():
        pytest.skip(f"no vectors at {folder}")
    cases = json.loads((folder / "cases.json").read_text())["cases"]
    arrays = load_file(folder / "logp.safetensors")
    logits = [arrays[f"case{case['id']:02d}.logp"].flatten() for case in cases]
    widest = max(len(each) for each in logits)
    groups: dict[int, list[int]] = {}
    for place, each in enumerate(logits):
        groups.setdefault(widest if is_padded else len(each), []).append(place)
    num_again = 0
    for width, places in groups.items():
        rows = [
            torch.nn.functional.pad(logits[place], (0, width - len(logits[place])), value=-math.inf)
            for place in places
        ]
        drawn = draw_with(
            torch.stack(rows),
            [OFFICIAL] * len(rows),
            [cases[place]["decoded"] for place in places],
            [cases[place]["u"] for place in places],
        )
        assert drawn == [cases[place]["token"] for place in places]
        num_again += sum(cases[place]["resampled"] for place in places)
    assert num_again, "some must draw again"


def test_the_rule_as_it_is_written() -> None:
    """Random logits, options, pasts and uniforms; ties as bfloat16 makes them."""
    draw = random.Random(5)
    for trial in range(60):
        vocabulary = draw.choice([6, 40, 300])
        options = [
            SamplingOptions(
                temperature=draw.choice([0.0, 0.6, 1.0, 1.7]),
                top_k=draw.choice([0, 1, 3, 25]),
                top_p=draw.choice([0.0, 0.3, 0.8, 1.0]),
                repetition_penalty=1.0,
                repetition_window=draw.choice([1, 5, 10]),
                repetition_share=draw.choice([0.0, 0.1, 0.3, 2.0]),
            )
            for _ in range(draw.randint(1, 7))
        ]
        logits = 3 * torch.randn(len(options), vocabulary)
        logits = logits.bfloat16().float() if trial % 2 else logits
        tokens = [
            [draw.randrange(min(vocabulary, 12)) for _ in range(draw.randint(0, 14))]
            for _ in options
        ]
        uniforms = [[draw.choice([0.0, draw.random(), 1 - 2**-53]) for _ in "12"] for _ in options]
        wanted = [
            by_the_book(logits[row].numpy(), option, tokens[row], uniforms[row])
            for row, option in enumerate(options)
        ]
        assert draw_with(logits, options, tokens, uniforms) == wanted


def test_ties_at_the_edge_go_to_the_smaller_ids() -> None:
    logits = torch.zeros(1, 500)
    logits[0, 300:] = 1.0
    options = SamplingOptions(top_k=25, top_p=1.0, repetition_window=1, repetition_share=9.0)
    drawn = {draw_with(logits, [options], [[]], [[place / 100, 0.0]])[0] for place in range(100)}
    assert drawn == set(range(300, 325))


def test_a_row_with_one_choice_repeats_it() -> None:
    logits = torch.full((1, 9), -math.inf)
    logits[0, 4] = 1.0
    assert draw_with(logits, [OFFICIAL], [[4] * 10], [[0.5, 0.5]]) == [4]


def run_alone_and_together(sampled: Sequence[SamplingOptions], device: str = "cpu") -> None:
    vocabulary, num_steps = 120, 30
    flat = torch.randn(
        len(sampled), num_steps, vocabulary, generator=torch.Generator().manual_seed(1)
    )
    logits = (3 * flat).to(device)

    def start(row: int, sampler: Sampler) -> None:
        sampler.begin(row, sampled[row], 31 * row, torch.arange(row))

    def advance(sampler: Sampler, rows: list[int], tokens: list[list[int]]) -> Drawn:
        steps = [len(tokens[row]) for row in rows]
        drawn = sampler.draw(
            torch.stack([logits[row, step] for row, step in zip(rows, steps, strict=True)]),
            rows,
            steps,
            min_tokens=[0] * len(rows),
            eos=vocabulary,
            stops_on_argmax=False,
            drawn_before=[tokens[row] for row in rows],
        )
        for row, token in zip(rows, drawn.tokens, strict=True):
            tokens[row].append(token)
        return drawn

    alone: list[list[int]] = [[] for _ in sampled]
    for row in range(len(sampled)):
        sampler = Sampler(vocabulary, len(sampled), device)
        start(row, sampler)
        for _ in range(num_steps):
            advance(sampler, [row], alone)
    sampler, draw = Sampler(vocabulary, len(sampled), device), random.Random(3)
    together: list[list[int]] = [[] for _ in sampled]
    for row in range(len(sampled)):
        start(row, sampler)
    while left := [row for row, tokens in enumerate(together) if len(tokens) < num_steps]:
        advance(sampler, draw.sample(left, draw.randint(1, len(left))), together)
    assert together == alone


def test_a_row_draws_the_same_alone_and_in_any_company() -> None:
    run_alone_and_together(MIXED)
    run_alone_and_together(MIXED[:5])


def test_what_was_just_said_opens_the_whole_distribution() -> None:
    """The nucleus alone would say the same five for ever."""
    sampler = Sampler(30, 1, "cpu")
    sampler.begin(0, OFFICIAL, 5, EMPTY)
    logits = torch.linspace(0, 12, 30)[None]
    tokens: list[int] = []
    for step in range(200):
        drawn = sampler.draw(
            logits,
            [0],
            [step],
            min_tokens=[0],
            eos=30,
            stops_on_argmax=False,
            drawn_before=[tokens],
        )
        tokens += drawn.tokens
    kinds = Counter(tokens)
    assert len(kinds) > 5


def test_all_ends_are_masked_before_their_time_and_each_ends_the_row_after() -> None:
    """One sampler, a row of each kind: too early, free, and allowed one of the ends only."""
    vocabulary, eos, fill = 40, 20, 23
    logits = torch.full((3, vocabulary), 0.0)
    logits[:, eos:] = 30.0
    logits[2, fill] = 20.0
    sampler = Sampler(vocabulary, 3, "cpu")
    found = set()
    for seed in range(30):
        for slot in range(3):
            sampler.begin(slot, OFFICIAL, seed + 100 * slot, EMPTY)
        drawn = sampler.draw(
            logits,
            [0, 1, 2],
            [4, 5, 0],
            min_tokens=[5, 5, 9],
            eos=eos,
            stops_on_argmax=False,
            drawn_before=[[]] * 3,
            allowed=[None, None, (fill,)],
        )
        assert drawn.is_end == [False, True, True]
        assert drawn.tokens[0] < eos
        assert drawn.tokens[2] == fill
        found.add(drawn.tokens[1])
    assert len(found) > 5, "any of the ends"


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_row_of_wrong_numbers_is_reported_alone(wrong: float) -> None:
    logits = torch.randn(3, 60, generator=torch.Generator().manual_seed(2))
    bad = logits.clone()
    bad[1] = wrong if wrong == -math.inf else bad[1]
    bad[1, 7] = wrong
    drawn = []
    for scores in (logits, bad):
        sampler = Sampler(60, 3, "cpu")
        for slot in range(3):
            sampler.begin(slot, OFFICIAL, slot, EMPTY)
        past = [list(range(60))] * 3
        drawn.append(
            sampler.draw(
                scores,
                [0, 1, 2],
                [0] * 3,
                min_tokens=[0] * 3,
                eos=59,
                stops_on_argmax=False,
                drawn_before=past,
            )
        )
    fine, mixed = drawn
    assert (fine.is_bad, mixed.is_bad) == ([False] * 3, [False, True, False])
    assert mixed.tokens == [fine.tokens[0], -1, fine.tokens[2]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_keeps_rows_apart_as_well() -> None:
    run_alone_and_together(MIXED, "cuda")
