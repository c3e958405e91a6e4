"""The render stages of GPT-SoVITS: `acoustic` is prior and flow, `vocode` the generator.

A whole segment gets exactly the official numbers; a streamed one is cut as `chunks` says. What a
row gives depends on its own tokens, voice and seed, never on its mates or on when it was fed.
Prior and flow stay in float32 (a seventh of the cost in bfloat16, and runs of a stream must agree);
the generator computes in the chosen precision.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from kouji.errors import ModelError
from kouji.models.gpt_sovits.chunks import (
    FADE_TOKENS,
    LOOKAHEAD_TOKENS,
    frame_noise,
    hand_over,
    run_tokens,
)
from kouji.models.gpt_sovits.conditioning import Conditioning, TextFeatures
from kouji.models.gpt_sovits.config import SoVITSConfig
from kouji.models.gpt_sovits.quantizer import FRAMES_PER_TOKEN
from kouji.models.gpt_sovits.sovits import SoVITS, frames_at, stretch
from kouji.models.precision import Precision
from kouji.models.stages import RenderOptions

PIECE_FRAMES = 512  # vocoded at once, about ten seconds: bounds memory and lets others in
PADDED_FRAMES = 64  # lengths on a GPU are multiples of it, so that few shapes are compiled


@dataclass(frozen=True)
class RenderFacts:
    """What became of a segment.

    num_tokens: given; num_frames: of the latent, at 50 Hz; num_runs: of the prior
    """

    num_tokens: int
    num_frames: int
    num_runs: int


class SoVITSRow:
    """One segment on its way from tokens to samples; implements `stages.RenderRow`.

    Frames are counted from the segment's beginning. `latents` holds those from `start` on that
    are settled; `fading` what the last run had behind them.
    """

    def __init__(
        self,
        segment: TextFeatures,
        voice: Conditioning,
        options: RenderOptions,
        seed: int,
        *,
        config: SoVITSConfig,
        context: int,
    ) -> None:
        self.segment, self.voice, self.seed = segment, voice, seed
        self.is_streamed, self.speed = options.is_streamed, options.speed
        self._config, self._context = config, context
        self._tokens: tuple[int, ...] = ()
        self._is_final = self._is_drawn = False
        self._num_runs = 0
        self._latents = torch.zeros(0, config.latent)
        self._fading: Tensor | None = None
        self._start = self._num_settled = self._num_given = 0

    @property
    def acoustic_cost(self) -> int:
        """Sound that is ready goes out first, so that pieces are cut alike at any pace."""
        return 0 if self.vocode_cost else self._run_length * FRAMES_PER_TOKEN

    @property
    def vocode_cost(self) -> int:
        """Frames whose whole context is settled."""
        ready = self._num_settled - (0 if self._is_drawn else self._context)
        return min(PIECE_FRAMES, max(0, ready - self._num_given))

    @property
    def is_done(self) -> bool:
        return self._is_drawn and self._num_given == self._num_settled

    @property
    def info(self) -> RenderFacts:
        return RenderFacts(len(self._tokens), self._num_settled, self._num_runs)

    def feed(self, tokens: Sequence[int], *, is_final: bool) -> None:
        """All tokens so far; raises ModelError for one the codebook does not have."""
        size = self._config.codebook_size
        wrong = next((token for token in tokens if not 0 <= token < size), None)
        if wrong is not None:
            cure = "use a decoder and a renderer of one version"
            raise ModelError("unknown token", seen=wrong, allowed=f"0 to {size - 1}", cure=cure)
        self._tokens, self._is_final = tuple(tokens), is_final
        self._is_drawn = is_final and not tokens

    @property
    def _run_length(self) -> int:
        """Tokens the next run looks at; 0: none is due.

        A run before the last waits for one token more than it looks at: only then it is known not
        to be the last, whenever the tokens came.
        """
        if self._is_drawn:
            return 0
        length = run_tokens(self._num_runs)
        if self.is_streamed and len(self._tokens) > length:
            return length
        return len(self._tokens) if self._is_final else 0

    def next_run(self) -> tuple[tuple[int, ...], int]:
        """The tokens to look at, and how many frames they become at the row's speed."""
        tokens = self._tokens[: self._run_length]
        num_frames = len(tokens) * FRAMES_PER_TOKEN
        if self.is_streamed:  # all runs must put their frames at the same times
            return tokens, max(1, round(num_frames / self.speed))
        return tokens, frames_at(num_frames, self.speed)

    def take_latents(self, latents: Tensor) -> None:
        """What the run gave, (frames, latent): settle all but the look-ahead."""
        is_last = self._is_final and self._run_length == len(self._tokens)
        shown = len(latents) - (0 if is_last else self._frames(LOOKAHEAD_TOKENS))
        shown = max(shown, self._num_settled)
        if is_last:
            fading = None
        else:
            fading = latents[shown : shown + max(1, self._frames(FADE_TOKENS))].clone()
        added = latents[self._num_settled : shown]
        if self._fading is not None and len(added):
            added = hand_over(self._fading, added)
        self._latents = torch.cat([self._latents.to(added.device), added])
        self._fading = fading if len(added) or fading is None else self._fading
        self._num_settled, self._is_drawn = shown, is_last
        self._num_runs += 1

    def next_piece(self) -> tuple[Tensor, int, int]:
        """What the generator works on next.

        returns: (frames, latent), and where in it the frames to give out begin and end
        """
        first, last = self._num_given, self._num_given + self.vocode_cost
        left = max(0, first - self._context)
        right = min(self._num_settled, last + self._context)
        return self._latents[left - self._start : right - self._start], first - left, last - left

    def give(self, num_frames: int) -> None:
        """These frames were heard; forget what no later frame needs."""
        self._num_given += num_frames
        kept = max(self._start, self._num_given - self._context)
        self._latents = self._latents[kept - self._start :].clone()
        self._start = kept

    def _frames(self, num_tokens: int) -> int:
        return round(num_tokens * FRAMES_PER_TOKEN / self.speed)


class SoVITSRenderer:
    """`stages.Renderer` over one set of weights; one thread at a time."""

    def __init__(
        self,
        networks: SoVITS,
        identity: str,
        *,
        precision: Precision = "float32",
        device: torch.device | str = "cpu",
        compile_renderer: Callable[[Any], Any] | None = None,
    ) -> None:
        """Place networks, all but the generator in float32; the ones given stay as they are.

        identity:  family and hash of the weights
        precision: of the generator
        compile_renderer: turns a pure function of tensors into a faster one, on a GPU
        """
        self.device, self.identity, self.precision = torch.device(device), identity, precision
        self.networks = networks = _placed(networks, self.device, getattr(torch, precision))
        self.config, self.sample_rate = networks.config, networks.config.sample_rate
        self._context = networks.dec.context
        self._is_batching = self.device.type != "cpu"  # one row fills a CPU, and needs no padding

        def generate(latents: Tensor, style: Tensor, lengths: Tensor) -> Tensor:
            samples: Tensor = networks.dec(latents, style, lengths)
            return samples

        self._generate = compile_renderer(generate) if compile_renderer else generate

    @property
    def num_bytes(self) -> int:
        """Memory of the weights."""
        return self.networks.num_bytes

    def open(
        self,
        segment: TextFeatures,
        voice: Conditioning,
        options: RenderOptions,
        seed: int,
        *,
        is_last: bool,
    ) -> SoVITSRow:
        """Begin a segment.

        raises: ModelError where voice or text were made for other weights
        """
        del is_last  # segments end alike
        channels, rows = self.config.style_channels, self.config.num_phones
        if voice.style.shape != (channels,):
            raise ModelError(
                "a voice of other weights",
                seen=f"{tuple(voice.style.shape)} channels",
                allowed=f"{channels} channels",
                cure="encode the voice with these weights",
            )
        phones = segment.phones
        if not len(phones) or not 0 <= int(phones.min()) <= int(phones.max()) < rows:
            raise ModelError(
                "phones of another symbol table",
                seen=phones.tolist()[:20],
                allowed=f"one or more of 0 to {rows - 1}",
                cure="prepare the text for the version of these weights",
            )
        return SoVITSRow(segment, voice, options, seed, config=self.config, context=self._context)

    @torch.inference_mode()
    def acoustic(self, rows: Sequence[SoVITSRow]) -> None:
        """One run of prior and flow in each row."""
        runs = [row.next_run() for row in rows]
        codes = [torch.tensor(tokens) for tokens, _ in runs]
        phones = [row.segment.phones for row in rows]
        style = self._styles(rows)
        met = self.networks.encode(
            self._padded(codes), self._padded(phones), style, self._ends(codes), self._ends(phones)
        )
        read = [
            self._at_speed(row, part[: len(own) * FRAMES_PER_TOKEN], num_frames)
            for row, part, (own, num_frames) in zip(rows, met, runs, strict=True)
        ]
        noise = [
            frame_noise(row.seed, num_frames, self.config.latent)
            for row, (_, num_frames) in zip(rows, runs, strict=True)
        ]
        latents = self.networks.sample_latents(
            self._padded(read), style, self._ends(read), self._padded(noise)
        )
        for row, own, (_, num_frames) in zip(rows, latents, runs, strict=True):
            row.take_latents(own[:num_frames])

    @torch.inference_mode()
    def vocode(self, rows: Sequence[SoVITSRow]) -> list[NDArray[np.float32]]:
        """The samples of the next piece of each row."""
        pieces = [row.next_piece() for row in rows]
        if self._is_batching:
            sounds = self._vocode_together(rows, pieces)
        else:
            sounds = [
                self.networks.dec(latents[None], self._styles([row]), None, begin, end)[0]
                for row, (latents, begin, end) in zip(rows, pieces, strict=True)
            ]
        for row, (_, begin, end) in zip(rows, pieces, strict=True):
            row.give(end - begin)
        return [sound.cpu().numpy() for sound in sounds]

    def _vocode_together(
        self, rows: Sequence[SoVITSRow], pieces: Sequence[tuple[Tensor, int, int]]
    ) -> list[Tensor]:
        latents = [piece[0] for piece in pieces]
        longest = max(len(one) for one in latents)
        padded = self._padded(latents)
        padded = torch.nn.functional.pad(padded, (0, 0, 0, -longest % PADDED_FRAMES))
        lengths = torch.tensor([len(one) for one in latents], device=self.device)
        samples = self._generate(padded, self._styles(rows), lengths)
        size = self.config.frame_samples
        return [
            own[begin * size : end * size]
            for own, (_, begin, end) in zip(samples, pieces, strict=True)
        ]

    def _at_speed(self, row: SoVITSRow, met: Tensor, num_frames: int) -> Tensor:
        if num_frames == len(met):
            return met
        ratio = row.speed if row.is_streamed else len(met) / num_frames
        return stretch(met, num_frames, ratio)

    def _styles(self, rows: Sequence[SoVITSRow]) -> Tensor:
        return torch.stack([row.voice.style for row in rows]).to(self.device, torch.float32)

    def _padded(self, parts: Sequence[Tensor]) -> Tensor:
        return pad_sequence(list(parts), batch_first=True).to(self.device)

    def _ends(self, parts: Sequence[Tensor]) -> Tensor | None:
        """Lengths, where they differ."""
        lengths = [len(part) for part in parts]
        if len(set(lengths)) == 1:
            return None
        return torch.tensor(lengths, device=self.device)


def _placed(networks: SoVITS, device: torch.device, dtype: torch.dtype) -> SoVITS:
    """Networks on a device with a generator of `dtype`; shares what need not change."""
    placed = copy.copy(networks)
    placed._modules = {
        name: _on(module, device, dtype if name == "dec" else torch.float32)
        for name, module in networks._modules.items()
    }
    return placed


def _on(module: nn.Module | None, device: torch.device, dtype: torch.dtype) -> nn.Module | None:
    if module is None or all(
        value.device == device and value.dtype == dtype for value in module.parameters()
    ):
        return module
    return copy.deepcopy(module).to(device, dtype)
