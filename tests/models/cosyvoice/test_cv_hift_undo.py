"""A vocoder call that fails half way: its rows go on as if it had never been made."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cosyvoice_hift import VERSIONS, random_mel, random_weights, tiny_config
from torch import Tensor

from kouji.models.cosyvoice.vocoder.causal_hift import CausalHift
from kouji.models.cosyvoice.vocoder.plain_hift import PlainHift

PIECES = [(0, 14, False), (14, 30, False), (30, 41, True)]


def calls(vocoder: Any, states: list[Any], mels: list[Tensor]) -> list[Tensor]:
    parts: list[list[Tensor]] = [[] for _ in mels]
    for start, end, is_final in PIECES:
        pieces = [mel[start:end] for mel in mels]
        for part, made in zip(parts, vocoder.vocode(states, pieces, [is_final] * 2), strict=True):
            part.append(made)
    return [torch.cat(part) for part in parts]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("is_batching", [False, True])
@pytest.mark.parametrize("name", ["_source_of", "_body_of", "_given"])
def test_what_raises_has_not_moved_any_row(
    version: str, is_batching: bool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(version)
    maker: Any = CausalHift if version == "cosyvoice3" else PlainHift
    vocoder = maker(config, random_weights(config))
    vocoder._is_batching = is_batching
    mels = [random_mel(41, seed) for seed in range(2)]
    wanted = calls(vocoder, [vocoder.open(seed) for seed in range(2)], mels)
    where = {
        "_source_of": (vocoder.networks.m_source, "turns"),
        "_body_of": (vocoder._spectrum, "windows"),
        "_given": (vocoder, "_given"),
    }[name]
    usual, real = getattr(*where), vocoder.vocode
    num_failed = 0

    def failing(states: list[Any], pieces: list[Tensor], ends: list[bool]) -> list[Tensor]:
        """At the second row's turn first, or in the batch's; then as usual."""
        nonlocal num_failed
        num_left = 0 if is_batching and name == "_body_of" else 1

        def fail(*given: Any) -> Any:
            nonlocal num_left
            if num_left == 0:
                raise MemoryError
            num_left -= 1
            return usual(*given)

        with monkeypatch.context() as broken:
            broken.setattr(*where, fail)
            with pytest.raises(MemoryError):
                real(states, pieces, ends)
        num_failed += 1
        made: list[Tensor] = real(states, pieces, ends)
        return made

    monkeypatch.setattr(vocoder, "vocode", failing)
    made = calls(vocoder, [vocoder.open(seed) for seed in range(2)], mels)
    assert num_failed == len(PIECES)
    for ours, right in zip(made, wanted, strict=True):
        assert torch.equal(ours, right)
