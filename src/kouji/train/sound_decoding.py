"""One clip to what a store keeps: samples as int16 with a scale, where sound is, log-mels.

Runs in worker processes: a part of some dozens of clips becomes one file, renamed into place, so
that a run that was stopped goes on with the parts it lacks.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from kouji.audio.load import load_audio
from kouji.errors import AudioError
from kouji.train.sound_sets import reason_of
from kouji.types import Samples

if TYPE_CHECKING:  # brings torch, which takes a worker seconds to load and decoding does not need
    from kouji.models.classifier.config import ClassifierConfig

FORMAT = 2  # raise it when what is kept changes, so that old parts are not taken for new ones
_FRAME_SECONDS = 0.01
_SILENCE = 10 ** (-50 / 20)  # of the loudest frame: below it the ends of a clip count as silent
_NO_SOUND = 1e-4  # a clip whose loudest frame is below this (-80 dBFS) is silent throughout
Stamp = tuple[int, int]


@dataclass(frozen=True)
class Wanted:
    """What to keep of each clip.

    mel: the log-mel to store as well: n_fft, hop_length, num_mels and fmin of a `ClassifierConfig`;
         None: samples only
    """

    sample_rate: int
    mel: Mapping[str, float] | None = None

    def record(self) -> dict[str, Any]:
        """The JSON form, that says whether what is stored still fits."""
        mel = None if self.mel is None else dict(self.mel)
        return {"format": FORMAT, "sample_rate": self.sample_rate, "mel": mel}

    def classifier(self) -> ClassifierConfig:
        """A config that hears so."""
        from kouji.models.classifier.config import ClassifierConfig

        known = {"labels": ("any", "other"), "sample_rate": self.sample_rate, **(self.mel or {})}
        return ClassifierConfig.from_dict(known)


@dataclass(frozen=True)
class Ear:
    """How a log-mel is computed, in plain numbers: what a worker needs instead of torch.

    window: (n_fft,) float32; bank: (mels, n_fft // 2 + 1) float32; floor: of the mel, before ln
    """

    hop_length: int
    floor: float
    window: NDArray[np.float32]
    bank: NDArray[np.float32]

    @classmethod
    def of(cls, wanted: Wanted) -> Ear | None:
        """The tables of `kouji.audio.features`, which brings torch; None where no mel is wanted."""
        if wanted.mel is None:
            return None
        import torch

        from kouji.audio.features import mel_filterbank

        mel = wanted.classifier().mel
        window = torch.hann_window(mel.n_fft, periodic=True, dtype=torch.float32)
        bank = mel_filterbank(mel, torch.device("cpu"), torch.float32)
        return cls(mel.hop_length, mel.floor, window.numpy(), bank.numpy())

    def log_mel(self, samples: Samples) -> NDArray[np.float16]:
        """(frames, mels) natural-log mel of a whole clip; frames = samples // hop_length + 1.

        The classifiers' own, before they set it in relation to the loudest point of a window.
        """
        num_fft = len(self.window)
        short = max(0, num_fft - len(samples))
        padded = np.pad(np.pad(samples, (0, short)), num_fft // 2, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, num_fft)[:: self.hop_length]
        spectrum = np.fft.rfft(frames * self.window, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        mel = np.maximum(power.astype(np.float32) @ self.bank.T, self.floor)
        return np.ascontiguousarray(np.log(mel).astype(np.float16))


@dataclass(frozen=True)
class Kept:
    """One decoded clip.

    samples: (samples,) int16; times `scale` they are the sound
    begin, end: samples before and behind these are silence, such as a collection pads with
    mel:     (frames, mels) float16, or None
    """

    samples: NDArray[np.int16]
    scale: float
    seconds: float
    begin: int
    end: int
    mel: NDArray[np.float16] | None = None


@dataclass(frozen=True)
class Part:
    """Clips decoded together, into `folder`; named by all that decides the result."""

    clips: tuple[tuple[str, str, Stamp | None], ...]  # name, path, stamp
    wanted: Wanted
    folder: str
    ear: Ear | None = None

    @property
    def file(self) -> Path:
        """Where the finished part lies."""
        facts = json.dumps([self.wanted.record(), self.clips])
        return Path(self.folder) / f"{hashlib.sha256(facts.encode()).hexdigest()[:20]}.npz"


def stamp_of(path: Path) -> Stamp | None:
    """Size and time of a file, by which a changed one is known; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def decode_part(part: Part) -> Path:
    """Decode the clips of a part and write them as one file, atomically; returns the file."""
    records: list[dict[str, Any]] = []
    arrays: dict[str, Any] = {}
    for number, (_, path, _) in enumerate(part.clips):
        kept = decode_sound(Path(path), part.wanted, part.ear)
        if isinstance(kept, str):
            records.append({"reason": kept})
            continue
        records.append(_facts(kept))
        arrays[f"{number}/samples"] = kept.samples
        if kept.mel is not None:
            arrays[f"{number}/mel"] = kept.mel
    arrays["records"] = np.frombuffer(json.dumps(records).encode(), np.uint8)
    temporary = part.file.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    os.replace(temporary, part.file)
    return part.file


def _facts(kept: Kept) -> dict[str, Any]:
    facts = {"scale": kept.scale, "seconds": kept.seconds, "begin": kept.begin, "end": kept.end}
    return {**facts, "count": len(kept.samples), "frames": 0 if kept.mel is None else len(kept.mel)}


def read_part(part: Part) -> list[Kept | str] | None:
    """The clips of a finished part, or why each cannot be used; None if it has to be done again."""
    try:
        with part.file.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            found: list[Kept | str] = []
            for number, record in enumerate(json.loads(file["records"].tobytes())):
                if "reason" in record:
                    found.append(record["reason"])
                    continue
                mel = file.get(f"{number}/mel", None)
                facts = {name: record[name] for name in ("scale", "seconds", "begin", "end")}
                found.append(Kept(file[f"{number}/samples"], **facts, mel=mel))
            return found
    except (OSError, ValueError, KeyError, BadZipFile):
        return None


def decode_sound(path: Path, wanted: Wanted, ear: Ear | None) -> Kept | str:
    """Decode one file at the wanted rate, or say in one line why it cannot be used."""
    if not path.is_file():
        return "the file is missing"
    try:
        samples = load_audio(path, sample_rate=wanted.sample_rate).samples
    except AudioError as error:
        return reason_of(error)
    peak = float(np.abs(samples).max())
    # The full range of int16 for every clip: a quiet one keeps as many bits as a loud one.
    scale = (peak or 1.0) / 32767
    begin, end = sound_bounds(samples, wanted.sample_rate)
    return Kept(
        np.rint(samples / scale).astype(np.int16),
        scale,
        len(samples) / wanted.sample_rate,
        begin,
        end,
        None if ear is None else ear.log_mel(samples),
    )


def sound_bounds(samples: Samples, sample_rate: int) -> tuple[int, int]:
    """Where the sound of a clip begins and ends, in samples; all of it where it is silent.

    Frames of 10 ms more than 50 dB below the loudest one count as silence: ESC's clips are padded
    with zeros, and a crop of those would teach that nothing is a dog.
    """
    frame = max(1, round(_FRAME_SECONDS * sample_rate))
    padded = np.pad(samples, (0, -len(samples) % frame)).reshape(-1, frame)
    levels = np.sqrt(np.mean(padded**2, axis=1))
    if levels.max() < _NO_SOUND:
        return 0, len(samples)
    loud = np.flatnonzero(levels > levels.max() * _SILENCE)
    return int(loud[0]) * frame, min(len(samples), (int(loud[-1]) + 1) * frame)
