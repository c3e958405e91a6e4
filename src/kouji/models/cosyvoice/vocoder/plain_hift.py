"""Version 2's vocoder, whose convolutions see ahead: a whole segment at once, or the official way.

Streamed, each call is a rendering of its own: 8 frames of the call before come again, with the
source they had, and 3840 samples are faded over from what was rendered then. The phases begin anew
in each call; nothing can be taken up exactly, so a stream resembles the whole and is not equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from kouji.models.cosyvoice.config import MELS, SAMPLES_PER_FRAME, HiftConfig
from kouji.models.cosyvoice.vocoder.hift_edges import Ends
from kouji.models.cosyvoice.vocoder.hift_noise import GaussianNoise, Noise
from kouji.models.cosyvoice.vocoder.hift_spectrum import Spectrum
from kouji.models.cosyvoice.vocoder.hift_weights import body_dtype, load_hift
from kouji.models.cosyvoice.vocoder.undo import unmoved_on_failure
from kouji.models.precision import Precision

KEPT_FRAMES = 8
KEPT_SAMPLES = KEPT_FRAMES * SAMPLES_PER_FRAME  # 160 ms, of source and of speech
PADDED_FRAMES = 32  # lengths are multiples of it: each new one costs oneDNN 10 MB of code


class PlainState:
    """One segment on its way.

    mel:    frames that the next call begins with: kept, or not yet enough to be rendered
    source: of the kept frames; empty before the first rendering
    speech: of the kept frames, not given out yet
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed = seed
        self.num_given = 0  # frames
        self.is_closed = False
        self.mel = torch.zeros(0, MELS, device=device)
        self.source = torch.zeros(0, device=device)
        self.speech = torch.zeros(0, device=device)

    @property
    def num_bytes(self) -> int:
        """Memory of all it keeps."""
        return self.mel.nbytes + self.source.nbytes + self.speech.nbytes


class PlainHift:
    """`flow.Vocoder` over one set of weights; one thread at a time."""

    def __init__(
        self,
        config: HiftConfig,
        state: Mapping[str, Tensor],
        *,
        precision: Precision = "float32",
        device: torch.device | str = "cpu",
        noise: Noise | None = None,
    ) -> None:
        """Fold and place the weights of a `hift.pt`; arguments and errors as `CausalHift` has them.

        noise: of the source; drawn for each segment if not given
        """
        self.config, self.device = config, torch.device(device)
        self.noise = noise or GaussianNoise(config.num_harmonics + 1)
        self.networks = load_hift(config, state).to(self.device)
        self.networks.body.place(self.device, body_dtype(precision))
        self._spectrum = Spectrum(config.n_fft, config.hop_length).to(self.device)
        self._is_batching = self.device.type != "cpu"  # one row fills a CPU
        self._rate = self.networks.body.rates[-1]  # windows in a frame of mel
        self._weights_of_noise = self.networks.m_source.l_linear.weight[0].cpu()
        fade = torch.hamming_window(2 * KEPT_SAMPLES, periodic=False, dtype=torch.float64)
        self._fades = fade.float().to(self.device).reshape(2, KEPT_SAMPLES)  # in, out

    @property
    def num_bytes(self) -> int:
        """Memory of the weights."""
        return self.networks.num_bytes

    def open(self, seed: int) -> PlainState:
        """Begin a segment; `seed` decides its noise."""
        return PlainState(seed, self.device)

    @torch.inference_mode()
    def vocode(
        self, states: Sequence[PlainState], mels: Sequence[Tensor], is_final: Sequence[bool]
    ) -> list[Tensor]:
        """See `flow.Vocoder`.

        Before the final call 480 samples are out for each frame but the last 8; then for all. One
        final call is the official rendering of a whole segment. Where it fails, all rows stay
        where they were.
        """
        with unmoved_on_failure(states):
            return self._vocode(states, mels, is_final)

    def _vocode(
        self, states: Sequence[PlainState], mels: Sequence[Tensor], is_final: Sequence[bool]
    ) -> list[Tensor]:
        ready = []
        for state, mel, ends in zip(states, mels, is_final, strict=True):
            assert not state.is_closed, "a segment goes on after its final call"
            state.mel = torch.cat([state.mel, mel.to(self.device, torch.float32)])
            state.is_closed = ends
            if len(state.mel) > (0 if ends else KEPT_FRAMES):
                ready.append(state)
        size = len(ready) if self._is_batching else 1
        waves: dict[int, Tensor] = {}
        for start in range(0, len(ready), max(1, size)):
            group = ready[start : start + size]
            for state, wave in zip(group, self._rendered(group), strict=True):
                waves[id(state)] = self._given(state, wave)
        nothing = torch.zeros(0, device=self.device)
        return [waves.get(id(state), nothing) for state in states]

    def _rendered(self, states: Sequence[PlainState]) -> list[Tensor]:
        """What each row's mel sounds like; takes its source over, and keeps the end of it."""
        lengths = [len(state.mel) for state in states]
        size = -(-max(lengths) // PADDED_FRAMES) * PADDED_FRAMES
        mel = pad_sequence([state.mel for state in states], batch_first=True)
        mel = F.pad(mel, (0, 0, 0, size - mel.shape[1]))
        ends = Ends(lengths, size, self._rate)
        frequencies = self.networks.f0_predictor(mel, ends)
        heard = mel.new_zeros(len(states), size * self._rate + 1, self.config.n_fft + 2)
        for row, (state, f0) in enumerate(zip(states, frequencies, strict=True)):
            source = self._source(state, f0[: lengths[row]])
            half = self.config.n_fft // 2
            around = F.pad(source[None], (half, half), mode="reflect")[0]
            heard[row, : lengths[row] * self._rate + 1] = self._spectrum.analyse(around)
            state.source = source[-KEPT_SAMPLES:].clone()
        windows = self._spectrum.windows(self.networks.body(mel, heard, ends))
        return [
            self._wave(own[: length * self._rate + 1])
            for own, length in zip(windows, lengths, strict=True)
        ]

    def _source(self, state: PlainState, f0: Tensor) -> Tensor:
        network, start = self.networks.m_source, state.num_given * SAMPLES_PER_FRAME
        none_before = torch.zeros(self.config.num_harmonics + 1, dtype=torch.float64)
        turns, _ = network.turns(f0, none_before.to(self.device))
        noise = self.noise.rows(state.seed, start, start + len(f0) * SAMPLES_PER_FRAME)
        weighed = (noise @ self._weights_of_noise).to(self.device)
        source: Tensor = network.gliding(f0, turns, weighed)
        source[: len(state.source)] = state.source
        return source

    def _wave(self, windows: Tensor) -> Tensor:
        """(120 * frames + 1, 16) -> (480 * frames,)."""
        half, hop = self.config.n_fft // 2, self.config.hop_length
        before = self._spectrum.num_overlaps - 1
        samples = self._spectrum.overlapped(F.pad(windows, (0, 0, before, 1))[None])[0]
        wave = samples[half:]
        wave[:hop] *= self._spectrum.first_gain
        wave[-hop:] *= self._spectrum.last_gain
        return wave.clamp(-self.config.audio_limit, self.config.audio_limit)

    def _given(self, state: PlainState, wave: Tensor) -> Tensor:
        """Fade over from what was kept, and keep the end for the next call."""
        if len(state.speech):
            wave[:KEPT_SAMPLES] *= self._fades[0]
            wave[:KEPT_SAMPLES] += state.speech * self._fades[1]
        if state.is_closed:
            state.mel, state.source, state.speech = (
                part[:0].clone() for part in (state.mel, state.source, state.speech)
            )
            return wave
        state.num_given += len(state.mel) - KEPT_FRAMES
        state.mel = state.mel[-KEPT_FRAMES:].clone()
        state.speech = wave[-KEPT_SAMPLES:].clone()
        return wave[:-KEPT_SAMPLES]
