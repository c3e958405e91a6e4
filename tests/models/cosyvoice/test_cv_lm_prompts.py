"""Prompts of the language model: what is read in which mode, how long, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from cosyvoice_lm import TINY
from torch import Tensor

from kouji.errors import ModelError, TextError
from kouji.models.cosyvoice.conditioning import Conditioning, TextSegment
from kouji.models.cosyvoice.decode.lm_prompts import make_prompt, plausible_tokens

OLDER = replace(TINY, version="cosyvoice2")
END = torch.tensor([TINY.end_of_prompt])
NOTHING = torch.empty(0, dtype=torch.int64)


def voice(num_tokens: int = 12) -> Conditioning:
    return Conditioning("v", torch.arange(num_tokens) % 70, torch.zeros(1), torch.zeros(1))


def text(count: int, before: Tensor = END) -> TextSegment:
    return TextSegment(before, torch.arange(count) % 90, "zero_shot", count)


def test_zero_shot() -> None:
    prompt = make_prompt(text(9), voice(12), TINY)
    assert prompt.num_positions == prompt.next_position == 1 + 1 + 9 + 1 + 12
    assert [part.kind for part in prompt.payload.piece.parts] == ["sos", "text", "task", "speech"]
    assert (prompt.num_phones, prompt.min_tokens, prompt.max_tokens) == (9, 18, 180)
    assert len(prompt.history) == 0
    assert prompt.payload.num_common == 2


@pytest.mark.parametrize("mode", ["cross_lingual", "instruct", "sft"])
def test_only_zero_shot_reads_the_reference(mode: str) -> None:
    segment = replace(text(9), mode=mode)  # type: ignore[arg-type]
    assert make_prompt(segment, voice(12), TINY).num_positions == 1 + 1 + 9 + 1


def test_a_prefix_inside_the_text_counts_for_the_longest_only() -> None:
    whole = torch.cat([torch.arange(6), END, torch.arange(3)])
    segment = TextSegment(NOTHING, whole, "cross_lingual", 3)
    prompt = make_prompt(segment, voice(), TINY)
    assert (prompt.num_phones, prompt.min_tokens, prompt.max_tokens) == (3, 6, 200)
    assert prompt.payload.num_common == 1 + 7


def test_the_flow_bounds_reference_and_speech_together() -> None:
    assert make_prompt(text(1000), voice(500), TINY).max_tokens == 7000
    with pytest.raises(TextError, match="segment too long"):
        make_prompt(text(3800), voice(0), TINY)


def test_keys_tell_inputs_apart() -> None:
    longer = TextSegment(torch.cat([torch.tensor([3]), END]), torch.arange(9), "zero_shot", 9)
    instruct = replace(text(9), mode="instruct")
    pairs = [(text(9), voice()), (text(8), voice()), (longer, voice()), (text(9), voice(11))]
    keys = [make_prompt(*pair, TINY).prefix_key for pair in [*pairs, (instruct, voice())]]
    assert len(set(keys)) == len(keys)
    assert make_prompt(text(9), voice(), TINY).prefix_key == keys[0]


def test_plausible_lengths() -> None:
    assert plausible_tokens(1) == (2, 90)
    assert plausible_tokens(40) == (100, 675)  # 4 to 27 seconds
    prompt = make_prompt(text(2), voice(), TINY)
    assert prompt.expected_tokens == (5, 40)


def test_refusals_have_names() -> None:
    for empty in (TextSegment(END, NOTHING), replace(text(5), num_spoken=0)):
        with pytest.raises(TextError, match="nothing to speak"):
            make_prompt(empty, voice(), TINY)
    with pytest.raises(TextError, match="endofprompt"):
        make_prompt(text(5, NOTHING), voice(), TINY)
    make_prompt(text(5, NOTHING), voice(), OLDER)
    with pytest.raises(ModelError, match="unknown text token"):
        make_prompt(text(5, torch.tensor([TINY.end_of_prompt, TINY.text_rows])), voice(), TINY)
    with pytest.raises(ModelError, match="unknown text token"):
        make_prompt(text(5, torch.tensor([TINY.end_of_prompt, -1])), voice(), TINY)
    with pytest.raises(ModelError, match="unknown speech token"):
        make_prompt(text(5), voice(), replace(TINY, codebook=9))
