"""Version 3's vocoder: causal, so a stream costs what the whole costs and gives the same samples.

Each call computes only frames that no call computed before; a row keeps the last inputs of every
layer, the source it has not used, its phases and the windows that still overlap. What a frame needs
of the future is 4 frames of mel; like the official code, a call that is not final gives out all but
the last 8 frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from kouji.models.cosyvoice.config import MELS, SAMPLES_PER_FRAME, HiftConfig
from kouji.models.cosyvoice.vocoder.hift_edges import History, Memory, joined
from kouji.models.cosyvoice.vocoder.hift_f0 import LOOKAHEAD_FRAMES as F0_LOOKAHEAD
from kouji.models.cosyvoice.vocoder.hift_noise import Noise, uniform_table
from kouji.models.cosyvoice.vocoder.hift_spectrum import Spectrum
from kouji.models.cosyvoice.vocoder.hift_weights import body_dtype, load_hift
from kouji.models.cosyvoice.vocoder.undo import unmoved_on_failure
from kouji.models.precision import Precision

# Frames of mel a row computes at once on a CPU: the activations of a tile stay in the cache, and
# few sizes do, for each new one costs oneDNN some 10 MB of generated code. What is left behind
# whole tiles is padded to a small size. Every tile reads all weights: in ones of 32 frames ten
# seconds of speech cost 1.48 s of one core, of 64 1.27, of 128 1.19 (bfloat16, AVX512-BF16).
CPU_TILES = (100, 50)
SMALL_TILES = (1, 2, *range(5, 50, 5))
MAX_FRAMES = 256  # of one tile on a GPU
HELD_FRAMES = 1  # computed, and given out with the next


def tile_frames(num_left: int) -> int:
    """How many of the frames that are left a CPU computes next; more than there are: padded."""
    large = [size for size in CPU_TILES if size <= num_left]
    return large[0] if large else next(s for s in (*SMALL_TILES, CPU_TILES[-1]) if s >= num_left)


class CausalState:
    """One segment on its way. Counts are frames of mel since its beginning.

    num_fed, num_pitched, num_done, num_given: with a mel, with a source, through the body, heard
    """

    def __init__(self, config: HiftConfig, device: torch.device) -> None:
        self.num_fed = self.num_pitched = self.num_done = self.num_given = 0
        self.is_closed = False
        self.mel = torch.zeros(0, MELS, device=device)  # from frame num_done on
        self.turns = torch.zeros(config.num_harmonics + 1, dtype=torch.float64, device=device)
        self.source = torch.zeros(0, device=device)  # from half a window before num_done on
        self.f0_memory: Memory = []
        self.body_memory: Memory = []
        self.held: list[Tensor] = []  # samples computed and not given out

    @property
    def num_bytes(self) -> int:
        """Memory of all it keeps."""
        kept = [self.mel, self.source, *self.f0_memory, *self.body_memory, *self.held]
        return sum(part.nbytes for part in kept)


class CausalHift:
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
        """Fold and place the weights of a `hift.pt`.

        precision: of the body between its first and its last layer
        noise:     of the source; the official table if not given
        raises:    ModelError where the weights do not fit `config`
        """
        self.config, self.device = config, torch.device(device)
        self.noise = noise or uniform_table(config.num_harmonics + 1)
        self.networks = load_hift(config, state).to(self.device)
        self.networks.body.place(self.device, body_dtype(precision))
        self._spectrum = Spectrum(config.n_fft, config.hop_length).to(self.device)
        self._is_batching = self.device.type != "cpu"  # one row fills a CPU, and needs no padding
        self._rate = self.networks.body.rates[-1]  # windows in a frame of mel
        self._weights_of_noise = self.networks.m_source.l_linear.weight[0].cpu()

    @property
    def num_bytes(self) -> int:
        """Memory of the weights."""
        return self.networks.num_bytes

    def open(self, seed: int) -> CausalState:
        """Begin a segment; its noise is the same for every seed."""
        del seed
        return CausalState(self.config, self.device)

    @torch.inference_mode()
    def vocode(
        self, states: Sequence[CausalState], mels: Sequence[Tensor], is_final: Sequence[bool]
    ) -> list[Tensor]:
        """See `flow.Vocoder`.

        Before the final call 480 samples are out for each frame but the last 8; then for all.
        Where it fails, all rows stay where they were.
        """
        with unmoved_on_failure(states):
            return self._vocode(states, mels, is_final)

    def _vocode(
        self, states: Sequence[CausalState], mels: Sequence[Tensor], is_final: Sequence[bool]
    ) -> list[Tensor]:
        targets = []
        for state, mel, ends in zip(states, mels, is_final, strict=True):
            assert not state.is_closed, "a segment goes on after its final call"
            state.num_fed += len(mel)
            state.is_closed = ends
            behind = self.config.lookahead_frames if ends else 0
            state.mel = F.pad(
                torch.cat([state.mel, mel.to(self.device, torch.float32)]), (0, 0, 0, behind)
            )
            targets.append(self._targets(state, ends))
        for start, end in self._groups(len(states)):
            pitched, done = zip(*targets[start:end], strict=True)
            self._excite(states[start:end], pitched)
            self._filter(states[start:end], done)
        return [self._given(state) for state in states]

    def _groups(self, num_rows: int) -> Iterator[tuple[int, int]]:
        size = max(1, num_rows) if self._is_batching else 1
        return ((start, start + size) for start in range(0, num_rows, size))

    def _targets(self, state: CausalState, is_final: bool) -> tuple[int, int]:
        """How many frames get a source, and how many go through the body."""
        if is_final:
            return state.num_fed, state.num_fed
        num_pitched = max(0, state.num_fed - F0_LOOKAHEAD)
        return num_pitched, max(0, num_pitched - self.config.lookahead_frames)

    def _excite(self, states: Sequence[CausalState], targets: Sequence[int]) -> None:
        """Give frames up to each row's target their source."""
        pairs = zip(states, targets, strict=True)
        rows = [(state, target - state.num_pitched) for state, target in pairs]
        rows = [(state, count) for state, count in rows if count > 0]
        if not rows:
            return
        parts = []
        for state, count in rows:
            first = state.num_pitched - state.num_done
            parts.append(state.mel[first : first + count + F0_LOOKAHEAD])
        history = History([state.f0_memory for state, _ in rows], [count for _, count in rows])
        mel = pad_sequence(parts, batch_first=True)
        frequencies = self.networks.f0_predictor(mel, history)
        for (state, count), memory, f0 in zip(rows, history.memories, frequencies, strict=True):
            state.f0_memory = memory
            self._extend_source(state, f0[:count])

    def _extend_source(self, state: CausalState, f0: Tensor) -> None:
        network, half = self.networks.m_source, self.config.n_fft // 2
        start, end = state.num_pitched, state.num_pitched + len(f0)
        turns, state.turns = network.turns(f0, state.turns)
        noise = self.noise.rows(0, start * SAMPLES_PER_FRAME, end * SAMPLES_PER_FRAME)
        weighed = (noise @ self._weights_of_noise).to(self.device)
        new = network.stepped(f0, turns, weighed)
        parts = [state.source, new]
        if start == 0:  # the transform sees its ends reflected
            parts.insert(0, new[1 : half + 1].flip(0))
        if state.is_closed:
            parts.append(new[-half - 1 : -1].flip(0))
        state.source, state.num_pitched = torch.cat(parts), end

    def _filter(self, states: Sequence[CausalState], targets: Sequence[int]) -> None:
        """Take each row up to its target through the body, tile by tile."""
        pairs = list(zip(states, targets, strict=True))
        while rows := [(state, target) for state, target in pairs if state.num_done < target]:
            self._filter_tile(*zip(*rows, strict=True))

    def _filter_tile(self, states: Sequence[CausalState], targets: Sequence[int]) -> None:
        left = [target - state.num_done for state, target in zip(states, targets, strict=True)]
        size = min(MAX_FRAMES, max(left)) if self._is_batching else tile_frames(left[0])
        counts = [min(size, count) for count in left]
        history = History([state.body_memory for state in states], counts)
        windows = self._windows(states, counts, size, history)
        for row, count in enumerate(counts):
            windows[row, count * self._rate + 1 :] = 0  # behind a sentence there are none
        overlaps = self._spectrum.num_overlaps - 1
        samples = self._spectrum.overlapped(joined(windows, overlaps, self._rate, history))
        for state, own, count, memory in zip(
            states, samples, counts, history.memories, strict=True
        ):
            state.body_memory = memory
            self._hold(state, own, count)

    def _windows(
        self, states: Sequence[CausalState], counts: Sequence[int], size: int, history: History
    ) -> Tensor:
        """The next windows of each row, (rows, 120 * size + 2, 16), the last one empty."""
        ahead, n_fft = self.config.lookahead_frames, self.config.n_fft
        mel = torch.zeros(len(states), size + ahead, MELS, device=self.device)
        heard = torch.zeros(len(states), size * self._rate + 1, n_fft + 2, device=self.device)
        for row, (state, count) in enumerate(zip(states, counts, strict=True)):
            mel[row, : count + ahead] = state.mel[: count + ahead]
            stretch = state.source[: count * SAMPLES_PER_FRAME + n_fft]
            heard[row, : count * self._rate + 1] = self._spectrum.analyse(stretch)
        features = self.networks.body(mel, heard, history)
        return F.pad(self._spectrum.windows(features), (0, 0, 0, 1))

    def _hold(self, state: CausalState, samples: Tensor, count: int) -> None:
        """Keep the samples that `count` frames more have settled.

        samples: from half a window before the first of these frames on
        """
        half, hop = self.config.n_fft // 2, self.config.hop_length
        is_first = state.num_done == 0
        state.num_done += count
        is_last = state.is_closed and state.num_done == state.num_fed
        end = count * SAMPLES_PER_FRAME + (half if is_last else 0)
        settled = samples[half if is_first else 0 : end]
        if is_first:
            settled[:hop] *= self._spectrum.first_gain
        if is_last:
            settled[-hop:] *= self._spectrum.last_gain
        limit = self.config.audio_limit
        state.held.append(settled.clamp(-limit, limit))
        state.mel = state.mel[count:]
        state.source = state.source[count * SAMPLES_PER_FRAME :]

    def _given(self, state: CausalState) -> Tensor:
        """The samples that are due; what stays is copied, so that no row keeps a whole tile."""
        held = HELD_FRAMES if not state.is_closed else 0
        num_due = max(state.num_given, state.num_done - held)
        settled = torch.cat(state.held) if state.held else torch.zeros(0, device=self.device)
        count = (num_due - state.num_given) * SAMPLES_PER_FRAME
        state.held, state.num_given = [settled[count:].clone()], num_due
        state.mel, state.source = state.mel.clone(), state.source.clone()
        return settled[:count]
