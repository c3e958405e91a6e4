"""The clips of the acoustic recipe as examples: aligned phones, what was measured, and company.

References are other utterances of the same speaker where there are any. A clip may be in a
made voice (`made_voices`), which then is another speaker; and with it may come strangers, whom the
speaker shall be told apart from. Knows no network and no loss.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from kouji.errors import ConfigError
from kouji.models.mini.config import (
    ENERGY_BANDS,
    FRAME_RATE_HZ,
    LOG_F0_MEAN,
    LOG_F0_STD,
    NUM_MELS,
)
from kouji.train.made_voices import MadeVoice
from kouji.train.mini_data import clip_path, heard_stretch, measure_clip
from kouji.train.store import Store

_STRETCH_FRAMES = 100  # of what is heard of a stranger
_LIKE_STRANGER = 0.25  # share of strangers that are the same speaker, made into another
_LEAD_FRAMES, _TAIL_FRAMES = 4, 8  # silence kept at the ends of an utterance
_NOBODY = np.zeros((0, NUM_MELS), np.float32)


class Example(NamedTuple):
    """One utterance; arrays are (phones,), (frames,) or (frames, channels).

    mel: fine, what the decoder is to say; reference: coarse, as the speaker encoder hears it
    again, strangers: (_STRETCH_FRAMES, mels) of the same speaker and (strangers, _STRETCH_FRAMES,
                      mels) of others, both empty where there are no strangers
    """

    symbols: NDArray[np.int64]
    tones: NDArray[np.int64]
    durations: NDArray[np.int64]
    prosody: NDArray[np.float32]
    mel: NDArray[np.float32]
    log_f0: NDArray[np.float32]
    voiced: NDArray[np.float32]
    reference: NDArray[np.float32]
    full_band: float
    speaker: int
    words: NDArray[np.int64]
    again: NDArray[np.float32] = _NOBODY
    strangers: NDArray[np.float32] = _NOBODY


def phone_means(
    values: NDArray[np.float32], weights: NDArray[np.float32], durations: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Weighted mean of frame values over each phone, 0 where nothing weighs.

    values, weights: (frames,); durations: (phones,) that sum to frames
    """
    ends = np.cumsum(durations)
    sums = [
        np.concatenate([[0.0], np.cumsum(x.astype(np.float64))])
        for x in (values * weights, weights)
    ]
    total, weight = (s[ends] - s[ends - durations] for s in sums)
    return np.where(weight > 0, total / np.maximum(weight, 1e-9), 0.0).astype(np.float32)


class AcousticData(Dataset[Example]):
    """Aligned utterances of one split."""

    def __init__(
        self,
        store: Store,
        reference_seconds: Sequence[float],
        *,
        with_mel: bool = True,
        voices: Sequence[MadeVoice] = (),
        made_share: float = 0.0,
        num_strangers: int = 0,
    ) -> None:
        """Open the clips.

        with_mel:      whether examples have what the decoder is to say; measuring it takes the
                       waves
        voices:        made voices; this share of the examples is in one of them
        num_strangers: other speakers that come with each example
        """
        kept = [i for i in range(len(store)) if len(store.array("aligned_durations", i)) > 2]
        self.store = store.select(store.rows[kept])
        self.with_mel = with_mel
        self.voices, self.made_share, self.num_strangers = voices, made_share, num_strangers
        self.has_words = "aligned_words" in self.store.arrays
        self.reference_frames = [round(s * FRAME_RATE_HZ) for s in reference_seconds]
        names = sorted(speaker.name for speaker in store.speakers)
        self.speaker_ids = {name: number for number, name in enumerate(names)}
        self.by_speaker: dict[str, list[int]] = defaultdict(list)
        for index, clip in enumerate(self.store.clips):
            self.by_speaker[clip.speaker].append(index)
        self.heard_speakers = sorted(self.by_speaker)
        if num_strangers and not voices and len(self.by_speaker) < 2:
            raise ConfigError(
                "there are no strangers to one speaker",
                seen=f"data.strangers: {num_strangers}",
                cure="write strangers: 0, or name voices to make",
            )

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> Example:
        return self.example(index, np.random.default_rng(index))

    def lengths(self) -> list[float]:
        """Seconds of each clip."""
        return [clip.seconds for clip in self.store.clips]

    def path(self, index: int) -> str:
        """Where a clip came from."""
        return clip_path(self.store, index)

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """One clip with a random reference of its speaker, maybe in a made voice."""
        store, clip = self.store, self.store.clip(index)
        made = self._draw_voice(rng)
        voice = None if made is None else self.voices[made]
        durations = store.array("aligned_durations", index).astype(np.int64)
        durations, mel, fine, f0 = measure_clip(
            store, index, durations, voice, with_fine=self.with_mel
        )
        lead = max(0, int(durations[0]) - _LEAD_FRAMES)
        tail = max(0, int(durations[-1]) - _TAIL_FRAMES)
        durations[0] -= lead
        durations[-1] -= tail
        end = len(mel) - tail
        mel, f0 = mel[lead:end], f0[lead:end]
        voiced = (f0 > 0).astype(np.float32)
        scaled = (np.log(np.maximum(f0, 1.0)) - LOG_F0_MEAN) / LOG_F0_STD * voiced
        log_f0 = scaled.astype(np.float32)
        ones = np.ones(len(mel), dtype=np.float32)
        prosody = np.stack(
            [
                phone_means(log_f0, voiced, durations),
                phone_means(voiced, ones, durations),
                phone_means(mel[:, :ENERGY_BANDS].mean(axis=1), ones, durations),
            ],
            axis=1,
        )
        wanted = int(rng.integers(self.reference_frames[0], self.reference_frames[1] + 1))
        others = [i for i in rng.permutation(self.by_speaker[clip.speaker])[:12] if i != index]
        reference = self._listen(others or [index], wanted, voice, rng)
        return Example(
            store.array("aligned_symbols", index).astype(np.int64),
            store.array("aligned_tones", index).astype(np.int64),
            durations,
            prosody,
            fine[lead:end],
            log_f0,
            voiced,
            reference,
            float(clip.full_band and (voice is None or voice.has_full_band)),
            self.speaker_number(clip.speaker, made),
            self.words(index),
            *self._company(clip.speaker, made, rng),
        )

    def speaker_number(self, name: str, made: int | None) -> int:
        """Which class a speaker is, as recorded or in one of the made voices."""
        return self.speaker_ids[name] * (1 + len(self.voices)) + (0 if made is None else 1 + made)

    def words(self, index: int) -> NDArray[np.int64]:
        """Which word each phone belongs to; all one where a packed store left that out."""
        if self.has_words:
            return self.store.array("aligned_words", index).astype(np.int64)
        return np.zeros(len(self.store.array("aligned_symbols", index)), np.int64)

    def _draw_voice(self, rng: np.random.Generator) -> int | None:
        """Number of a made voice, or None for the recorded one; nothing drawn without any."""
        if not self.voices or rng.random() >= self.made_share:
            return None
        return int(rng.integers(len(self.voices)))

    def _listen(
        self, clips: Iterable[int], wanted: int, voice: MadeVoice | None, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """A random stretch of the first clip, of the next ones too until there is enough."""
        pieces: list[NDArray[np.float32]] = []
        for index in clips:
            missing = wanted - sum(map(len, pieces))
            length = self.store.clip(int(index)).num_frames
            start = int(rng.integers(0, max(1, length - missing + 1)))
            pieces.append(heard_stretch(self.store, int(index), start, missing, voice))
            if sum(map(len, pieces)) >= wanted:
                break
        return np.concatenate(pieces)

    def _company(
        self, name: str, made: int | None, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The speaker once more and others, as `Example` keeps them."""
        if not self.num_strangers:
            return _NOBODY, _NOBODY
        again = self._stretch(name, made, rng)
        strangers = [
            self._stretch(*self._stranger(name, made, rng), rng) for _ in range(self.num_strangers)
        ]
        return again, np.stack(strangers)

    def _stranger(
        self, name: str, made: int | None, rng: np.random.Generator
    ) -> tuple[str, int | None]:
        """Someone else: another speaker, or the same one made into another."""
        if self.voices and (len(self.by_speaker) == 1 or rng.random() < _LIKE_STRANGER):
            kinds = [None, *range(len(self.voices))]
            return name, kinds[(kinds.index(made) + int(rng.integers(1, len(kinds)))) % len(kinds)]
        others = [other for other in self.heard_speakers if other != name]
        return others[int(rng.integers(len(others)))], self._draw_voice(rng)

    def _stretch(
        self, name: str, made: int | None, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """(_STRETCH_FRAMES, mels) of a speaker; short clips are joined, a lone one repeated."""
        clips = rng.permutation(self.by_speaker[name])[:12]
        voice = None if made is None else self.voices[made]
        heard = self._listen(clips, _STRETCH_FRAMES, voice, rng)
        return np.resize(heard, (_STRETCH_FRAMES, heard.shape[1]))
