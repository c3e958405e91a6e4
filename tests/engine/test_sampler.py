"""The sampler: official distributions, seeded draws, rows that know nothing of each other."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kouji.engine.distribution import TIE_MARGIN, OptionVectors, check_options, probabilities
from kouji.engine.sampler import Drawn, Sampler
from kouji.errors import UsageError
from kouji.models.stages import SamplingOptions

EMPTY = torch.zeros(0, dtype=torch.int64)
PLAIN = SamplingOptions(top_k=0, repetition_penalty=1.0)
MIXED = (
    SamplingOptions(),
    SamplingOptions(top_k=1),
    SamplingOptions(top_p=0.8),
    SamplingOptions(top_k=0, top_p=0.9, temperature=1.3, repetition_penalty=1.2),
    PLAIN,
    SamplingOptions(top_k=5, temperature=0.0),
    SamplingOptions(top_k=100, temperature=0.7, repetition_penalty=0.9),
)


def as_options(case: dict[str, float | None]) -> SamplingOptions:
    """The options of one golden case; there, null keeps every token."""
    return SamplingOptions(
        temperature=float(case["temperature"] or 0.0),
        top_k=int(case["top_k"] or 0),
        top_p=float(case["top_p"] or 0.0),
        repetition_penalty=float(case["repetition_penalty"] or 0.0),
    )


def as_mask(previous: Tensor, vocabulary: int) -> Tensor:
    used = torch.zeros(previous.shape[0], vocabulary, dtype=torch.bool)
    return used.scatter_(1, previous, True)


def test_distributions_equal_the_official_ones(goldens_dir: Path) -> None:
    arrays = np.load(goldens_dir / "sampler.npz")
    for case in json.loads((goldens_dir / "sampler_cases.json").read_text()):
        logits, previous, expected, after = (
            torch.from_numpy(arrays[f"{name}{case['i']}"])
            for name in ("logits", "prev", "probs", "logits_after")
        )
        rows, vocabulary = logits.shape
        vectors = OptionVectors.of([as_options(case)] * rows, vocabulary)
        probs, penalised = probabilities(logits, as_mask(previous, vocabulary), vectors)
        torch.testing.assert_close(probs, expected, atol=1e-6, rtol=0, msg=f"case {case}")
        torch.testing.assert_close(penalised, after, atol=1e-6, rtol=0)
        assert (probs > 0).sum(dim=1).tolist() == case["nonzero"]


def test_golden_cases_stay_right_in_one_mixed_batch(goldens_dir: Path) -> None:
    """All options of the goldens at once: each row is computed by its own."""
    arrays = np.load(goldens_dir / "sampler.npz")
    cases = json.loads((goldens_dir / "sampler_cases.json").read_text())
    widest = max(case["vocab"] for case in cases)
    logits, masks, options, wanted = [], [], [], []
    for case in cases:
        scores = torch.from_numpy(arrays[f"logits{case['i']}"])
        previous = torch.from_numpy(arrays[f"prev{case['i']}"])
        pad = (0, widest - scores.shape[1])
        logits.append(torch.nn.functional.pad(scores, pad, value=-math.inf))
        masks.append(as_mask(previous, widest))
        options += [as_options(case)] * len(scores)
        wanted.append(torch.nn.functional.pad(torch.from_numpy(arrays[f"probs{case['i']}"]), pad))
    vectors = OptionVectors.of(options, widest)
    probs, _ = probabilities(torch.cat(logits), torch.cat(masks), vectors)
    torch.testing.assert_close(probs, torch.cat(wanted), atol=1e-6, rtol=0)


def make_logits(rows: int, vocabulary: int, seed: int) -> Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * 3


def draw_one(
    sampler: Sampler, logits: Tensor, slots: list[int], step: int = 0, eos: int = 0, least: int = 0
) -> Drawn:
    rows = len(slots)
    return sampler.draw(
        logits,
        slots,
        [step] * rows,
        min_tokens=[least] * rows,
        eos=logits.shape[1] if eos is None else eos,
        stops_on_argmax=False,
    )


@pytest.mark.parametrize("options", MIXED)
def test_draws_follow_the_distribution(options: SamplingOptions) -> None:
    """Frequencies of 4,000 draws against the probabilities, by chi-square."""
    vocabulary, num_draws = 24, 4_000
    logits, history = make_logits(1, vocabulary, 1), torch.tensor([3, 4, 5])
    vectors = OptionVectors.of([options], vocabulary)
    probs, _ = probabilities(logits, as_mask(history[None], vocabulary), vectors)
    sampler = Sampler(vocabulary, num_draws, "cpu")
    for slot in range(num_draws):
        sampler.begin(slot, options, slot * 17, history)
    drawn = draw_one(sampler, logits.expand(num_draws, -1), list(range(num_draws)), 5)
    counts = torch.bincount(torch.tensor(drawn.tokens), minlength=vocabulary)
    expected = probs[0] * num_draws
    is_possible = probs[0] > 0
    assert not counts[~is_possible].any()
    is_common = expected > 5
    statistic = float(((counts - expected)[is_common] ** 2 / expected[is_common]).sum())
    degrees = max(1, int(is_common.sum()) - 1)
    assert statistic < degrees + 5 * math.sqrt(2 * degrees)


def test_a_row_draws_the_same_alone_and_in_any_company() -> None:
    """Forty steps, rows of all options joining and leaving at random."""
    vocabulary, num_steps = 200, 40
    logits = {
        (row, step): make_logits(1, vocabulary, 1000 * row + step)
        for row in range(len(MIXED))
        for step in range(num_steps)
    }

    def start(sampler: Sampler, row: int) -> None:
        sampler.begin(row, MIXED[row], row * 31, torch.arange(row))

    alone: dict[tuple[int, int], int] = {}
    for row in range(len(MIXED)):
        sampler = Sampler(vocabulary, len(MIXED), "cpu")
        start(sampler, row)
        for step in range(num_steps):
            alone[row, step] = draw_one(sampler, logits[row, step], [row], step).tokens[0]

    sampler, shuffle = Sampler(vocabulary, len(MIXED), "cpu"), random.Random(3)
    steps = [0] * len(MIXED)
    for row in range(len(MIXED)):
        start(sampler, row)
    while any(step < num_steps for step in steps):
        rows = [
            row for row in range(len(MIXED)) if steps[row] < num_steps and shuffle.random() < 0.6
        ]
        if not rows:
            continue
        shuffle.shuffle(rows)
        drawn = sampler.draw(
            torch.cat([logits[row, steps[row]] for row in rows]),
            rows,
            [steps[row] for row in rows],
            min_tokens=[0] * len(rows),
            eos=vocabulary,
            stops_on_argmax=False,
        )
        for row, token in zip(rows, drawn.tokens, strict=True):
            assert token == alone[row, steps[row]]
            steps[row] += 1


@pytest.mark.parametrize("top_p", [1.0, 0.7])
@pytest.mark.parametrize("num_ties", [2, TIE_MARGIN + 4])
def test_ties_are_kept_however_many(num_ties: int, top_p: float) -> None:
    """Few and many ties at the k-th place; a neighbour with another k changes nothing."""
    vocabulary = 300
    logits = torch.linspace(-3, -2, vocabulary)[None].clone()
    logits[0, 100:103] = torch.tensor([1.0, 1.5, 2.0])
    logits[0, 200 : 200 + num_ties] = 0.5
    used = torch.zeros(1, vocabulary, dtype=torch.bool)
    options = SamplingOptions(top_k=4, top_p=top_p)
    probs, _ = probabilities(logits, used, OptionVectors.of([options], vocabulary))
    if top_p == 1:
        assert (probs > 0).nonzero()[:, 1].tolist() == [100, 101, 102, *range(200, 200 + num_ties)]
    for neighbour in (
        SamplingOptions(top_k=60),
        SamplingOptions(top_k=0),
        SamplingOptions(top_k=1),
    ):
        vectors = OptionVectors.of([options, neighbour], vocabulary)
        both, _ = probabilities(logits.expand(2, -1), used.expand(2, -1), vectors)
        torch.testing.assert_close(both[:1], probs, rtol=1e-6, atol=0)


def test_top_p_parts_ties_the_same_way_however_many_are_fetched() -> None:
    """Equal logits everywhere: the tokens with the lowest ids stay."""
    vocabulary = 200
    logits, used = torch.zeros(1, vocabulary), torch.zeros(1, vocabulary, dtype=torch.bool)
    logits[0, 50:56] = 9.0
    for top_k in (6, 40, 0):
        vectors = OptionVectors.of([SamplingOptions(top_k=top_k, top_p=0.55)], vocabulary)
        probs, _ = probabilities(logits, used, vectors)
        assert (probs > 0).nonzero()[:, 1].tolist() == [50, 51, 52]


def test_drawn_and_given_tokens_are_penalised_once() -> None:
    vocabulary = 8
    logits = torch.tensor([[4.0, 3.9, 3.8, 3.7, -1.0, -1.0, -1.0, -1.0]])
    sampler = Sampler(vocabulary, 2, "cpu")
    greedy = SamplingOptions(top_k=1, repetition_penalty=1.5)
    sampler.begin(0, greedy, 0, torch.tensor([0, 0, 0]))
    assert [draw_one(sampler, logits, [0], step, eos=7).tokens[0] for step in range(4)] == [
        1,
        2,
        3,
        0,
    ]
    sampler.begin(0, greedy, 0, EMPTY)
    assert draw_one(sampler, logits, [0], eos=7).tokens == [0], "begun again, nothing is used"


def test_logits_are_left_as_they_are() -> None:
    logits = make_logits(2, 50, 1)
    before = logits.clone()
    sampler = Sampler(50, 2, "cpu")
    for slot in (0, 1):
        sampler.begin(slot, SamplingOptions(), slot, torch.arange(10))
    draw_one(sampler, logits, [0, 1], least=5)
    assert torch.equal(logits, before)


def test_the_end_comes_not_before_its_time() -> None:
    vocabulary, eos = 16, 15
    logits = torch.zeros(3, vocabulary)
    logits[:, eos] = 9.0
    sampler = Sampler(vocabulary, 3, "cpu")
    for slot in range(3):
        sampler.begin(slot, SamplingOptions(top_k=1), slot, EMPTY)
    drawn = sampler.draw(
        logits, [0, 1, 2], [0, 10, 11], min_tokens=[11] * 3, eos=eos, stops_on_argmax=True
    )
    assert drawn.is_end == [False, False, True]
    assert drawn.tokens[2] == eos
    assert eos not in drawn.tokens[:2]
    early = sampler.draw(
        logits[:2], [0, 1], [1, 2], min_tokens=[11] * 2, eos=eos, stops_on_argmax=True
    )
    assert early.is_end == [False, False]


def test_the_likeliest_token_being_the_end_ends_the_row() -> None:
    """Even where another token was drawn; the penalty is seen, the temperature is not."""
    vocabulary, eos = 16, 15
    logits = torch.full((1, vocabulary), 1.0)
    logits[0, eos] = 1.2
    hot = SamplingOptions(top_k=0, temperature=50.0)
    for history, is_end in ((EMPTY, True), (torch.tensor([eos]), False)):
        for seed in range(8):
            sampler = Sampler(vocabulary, 1, "cpu")
            sampler.begin(0, hot, seed, history)
            drawn = sampler.draw(logits, [0], [0], min_tokens=[0], eos=eos, stops_on_argmax=True)
            assert drawn.is_end == [is_end or drawn.tokens[0] == eos]
            sampler.begin(0, hot, seed, history)
            plain = sampler.draw(logits, [0], [0], min_tokens=[0], eos=eos, stops_on_argmax=False)
            assert plain.tokens == drawn.tokens
            assert plain.is_end == [plain.tokens[0] == eos]


@pytest.mark.parametrize("options", MIXED)
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_row_of_wrong_numbers_is_reported_alone(options: SamplingOptions, wrong: float) -> None:
    vocabulary = 120
    logits = make_logits(3, vocabulary, 2)
    bad = logits.clone()
    bad[1] = wrong if wrong == -math.inf else bad[1]
    bad[1, 7] = wrong
    drawn = []
    for scores in (logits, bad):
        sampler = Sampler(vocabulary, 3, "cpu")
        for slot in range(3):
            sampler.begin(slot, options, slot, torch.arange(20))
        drawn.append(draw_one(sampler, scores, [0, 1, 2], eos=119))
    fine, mixed = drawn
    assert fine.is_bad == [False] * 3
    assert mixed.is_bad == [False, True, False]
    assert mixed.tokens[1] == -1
    assert not mixed.is_end[1]
    assert (mixed.tokens[0], mixed.tokens[2]) == (fine.tokens[0], fine.tokens[2])


def test_a_single_forbidden_token_is_no_fault() -> None:
    logits = make_logits(1, 40, 3)
    logits[0, :30] = -math.inf
    sampler = Sampler(40, 1, "cpu")
    sampler.begin(0, PLAIN, 0, EMPTY)
    drawn = draw_one(sampler, logits, [0])
    assert drawn.is_bad == [False]
    assert drawn.tokens[0] >= 30


def test_slots_are_given_back() -> None:
    sampler = Sampler(10, 4, "cpu")
    for slot in range(4):
        sampler.begin(slot, SamplingOptions(), slot, EMPTY)
    assert sampler.num_active == 4
    for slot in (2, 0, 2, 1, 3):
        sampler.end(slot)
    assert sampler.num_active == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("top_k", -1),
        ("top_k", 2.5),
        ("top_p", 1.01),
        ("top_p", math.nan),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", math.inf),
        ("repetition_window", -1),
        ("repetition_window", 1.5),
        ("repetition_window", 1001),
        ("repetition_share", -0.1),
        ("repetition_share", math.nan),
    ],
)
def test_options_out_of_range_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=field):
        check_options(SamplingOptions(**{field: value}))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_gpu_draws_what_the_cpu_draws() -> None:
    vocabulary, rows = 1025, len(MIXED)
    samplers = [Sampler(vocabulary, rows, device) for device in ("cpu", "cuda")]
    for sampler in samplers:
        for row in range(rows):
            sampler.begin(row, MIXED[row], row, torch.arange(50))
    for step in range(50):
        logits = make_logits(rows, vocabulary, step)
        drawn = [
            draw_one(sampler, logits.to(sampler.device), list(range(rows)), step, 1024, 11)
            for sampler in samplers
        ]
        assert drawn[0] == drawn[1]
