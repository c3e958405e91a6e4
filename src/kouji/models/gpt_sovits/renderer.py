"""The render stages of GPT-SoVITS: `acoustic` is prior and flow, `vocode` the generator.

A whole segment gets exactly the official numbers; a streamed one is cut as `chunks` says. What a
row gives depends on its own tokens, voice and seed, never on its mates or on when it was fed.
Prior and flow stay in float32 (a seventh of the cost in bfloat16, and runs of a stream must agree);
the generator computes in the chosen precision.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from kouji.errors import ModelError
from kouji.models.gpt_sovits.chunks import frame_noise
from kouji.models.gpt_sovits.conditioning import Conditioning, TextFeatures
from kouji.models.gpt_sovits.generator import Window
from kouji.models.gpt_sovits.quantizer import FRAMES_PER_TOKEN
from kouji.models.gpt_sovits.render_row import SoVITSRow
from kouji.models.gpt_sovits.sovits import SoVITS, stretch
from kouji.models.precision import Precision
from kouji.models.stages import RenderOptions

WINDOW_STEP, MAX_WINDOW = 32, 256  # frames of latents vocoded at once on a CPU
BATCH_ROWS = 32  # vocoded together on a GPU
PADDED_FRAMES = 64  # lengths of what goes through prior, flow and a GPU are multiples of it


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
        self.vocode_rows = BATCH_ROWS if self._is_batching else 1
        self.packs_rows = False

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
                self._vocode_alone(row, *piece) for row, piece in zip(rows, pieces, strict=True)
            ]
        for row, (_, begin, end) in zip(rows, pieces, strict=True):
            row.give(end - begin)
        return [sound.cpu().numpy() for sound in sounds]

    def _vocode_alone(self, row: SoVITSRow, latents: Tensor, begin: int, end: int) -> Tensor:
        """Frames `begin` to `end` in windows of a few fixed sizes; see `generator.Window`."""
        style, context = self._styles([row]), self._context
        sounds = []
        while begin < end:
            size = window_frames(end - begin)
            left, right = max(0, begin - context), min(len(latents), begin + size + context)
            first = left - (begin - context)  # frames before the beginning of the sequence
            window = latents.new_zeros(1, size + 2 * context, latents.shape[1])
            window[0, first : first + right - left] = latents[left:right]
            place = Window(first, first + right - left)
            sound = self.networks.dec(window, style, place, context, context + size)[0]
            count = min(size, end - begin)
            sounds.append(sound[: count * self.config.frame_samples])
            begin += count
        return torch.cat(sounds)

    def _vocode_together(
        self, rows: Sequence[SoVITSRow], pieces: Sequence[tuple[Tensor, int, int]]
    ) -> list[Tensor]:
        latents = [piece[0] for piece in pieces]
        samples = self._generate(self._padded(latents), self._styles(rows), self._ends(latents))
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
        """Rows side by side, up to a multiple of `PADDED_FRAMES`: few shapes, see `Window`."""
        rows = pad_sequence(list(parts), batch_first=True)
        missing = -rows.shape[1] % PADDED_FRAMES
        around = [0, 0] * (rows.ndim - 2) + [0, missing]
        return torch.nn.functional.pad(rows, around).to(self.device)

    def _ends(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.tensor([len(part) for part in parts], device=self.device)


def window_frames(num_frames: int) -> int:
    """The window to begin with where `num_frames` are to be vocoded: eight sizes in all.

    A window pays for its context with the work of about 14 frames.
    """
    return min(MAX_WINDOW, -(-num_frames // WINDOW_STEP) * WINDOW_STEP)


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
