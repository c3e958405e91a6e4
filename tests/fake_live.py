"""A speech model whose text may still be being written: hashes again, steered by a `Bistream`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from fake_model import FakeCache, FakeDecoder, FakeSegment, Mishap, fake_model, mix, mix_text
from torch import Tensor

from kouji.models.cosyvoice.conditioning import Conditioning, LMPiece
from kouji.models.cosyvoice.config import LMConfig
from kouji.models.cosyvoice.decode.bistream import LiveSegment, LiveText, live_prompt
from kouji.models.stages import Decoder, Prompt, SamplingOptions, SpeechModel

CONFIG = LMConfig(version="cosyvoice2", codebook=60)  # ids 60, 61, 62; the last one is `fill`
SAMPLING = SamplingOptions(
    top_k=25, top_p=0.8, repetition_penalty=1.0, repetition_window=10, repetition_share=0.1
)
SPEECH = torch.arange(21)


class LivePiece(FakeSegment):
    """A `FakeSegment` for the renderer, with a text that grows for the decoder."""

    live: LiveSegment

    @classmethod
    def of(cls, name: str = "live", prompt_text: Sequence[int] = range(30)) -> LivePiece:
        """A segment nothing was written of."""
        piece = cls(name)
        object.__setattr__(piece, "live", LiveSegment(tuple(prompt_text), LiveText()))
        return piece

    @property
    def text_so_far(self) -> LiveText:
        """What grows."""
        return self.live.text


class FakeLiveDecoder(FakeDecoder):
    """Speaks a `LivePiece` as its script says, and any other segment as ever."""

    vocabulary, eos = CONFIG.vocabulary, CONFIG.first_stop
    stops_on_argmax = False

    def prompt(self, segment: FakeSegment, voice: str) -> Prompt:
        if not isinstance(segment, LivePiece):
            return super().prompt(segment, voice)
        conditioning = Conditioning(voice, SPEECH, torch.zeros(42, 80), torch.zeros(192))
        prompt = live_prompt(segment.live, conditioning, CONFIG)
        # By name too: a slot filled from a kept prompt says whose it is (`Mishap`).
        return replace(prompt, prefix_key=f"{voice}/{segment.text}", payload=(segment, voice))

    def extend(
        self,
        pieces: Sequence[LMPiece],
        cache: FakeCache,
        slots: Sequence[int],
        lengths: Sequence[int],
    ) -> Tensor:
        """Hash every position of the pieces."""
        found = [cache.prompts[slot] for slot in slots]
        self._mishap("extend", [entry[1] for entry in found if entry is not None])
        for piece, slot, length in zip(pieces, slots, lengths, strict=True):
            ids = [
                one
                for part in piece.parts
                for one in (part.ids if part.ids else (mix_text(part.kind),))
            ]
            for place, one in enumerate(ids, start=length):
                cache.states[slot, place] = mix(int(cache.states[slot, place - 1]), one)
        return torch.cat(
            [
                self._logits(
                    cache, slot, length + piece.num_positions - _prompt_length(cache, slot)
                )
                for piece, slot, length in zip(pieces, slots, lengths, strict=True)
            ]
        )

    def _logits(self, cache: FakeCache, slot: int, made: int) -> Tensor:
        entry = cache.prompts[slot]
        assert entry is not None
        if not isinstance(entry[1], LivePiece):
            return super()._logits(cache, slot, made)
        state = int(cache.states[slot, entry[0].num_positions - 1 + made])
        ids = torch.arange(self.vocabulary)
        logits = (((ids + 1) * (state | 1)) % 997).float().div(200)[None]
        logits[0, CONFIG.fill] -= 2.0  # now and then
        logits[0, CONFIG.eos] += 2.0
        return logits


def _prompt_length(cache: FakeCache, slot: int) -> int:
    entry = cache.prompts[slot]
    assert entry is not None
    return entry[0].num_positions


def fake_live_model(
    name: str = "live", mishap: Mishap | None = None, **options: Any
) -> SpeechModel:
    """As `fake_model`, with a decoder that goes on reading."""
    mishap = mishap or Mishap()
    decoder: Decoder = FakeLiveDecoder(name, mishap)
    return SpeechModel(fake_model(name, mishap, **options).renderer, decoder)
