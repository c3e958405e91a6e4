"""One source clip into checked features: what `prepare` runs in every worker process.

Decodes, measures, refuses what cannot be trained on with a stable reason, brings speech to
one level and computes the arrays of the store. Knows nothing of processes, files of the
store, or other clips.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audio.features import MINI_MEL
from ..errors import AudioError, ConfigError, TextError
from ..types import Audio, Samples
from .layouts import SourceClip
from .transcript import transcript_phones

SAMPLE_RATE = MINI_MEL.sample_rate
HOP_LENGTH = MINI_MEL.hop_length
REASONS = (
    "missing", "unreadable", "too_short", "too_long", "silent", "clipped", "noisy", "no_text",
    "language", "unspeakable", "implausible_rate", "duplicate",
)  # fmt: skip
_LANGUAGES = ("en", "zh", "zh-pinyin")
_FULL_BAND_HZ = 10_000.0  # 22.05 kHz sources count as full, 16 kHz ones do not
_BAND_FLOOR_DB = 75.0  # below the strongest band there is only coding noise and resampling residue
_ACTIVE_DB = 30.0  # frames this far below the loud ones are pauses


@dataclass(frozen=True)
class ClipRules:
    """What a clip must fulfil to be trained on, and the level it is brought to.

    Phones per second bound both ends of a wrong text: too much of it for the sound, or too
    little, where up to `free_seconds` of silence are not held against a clip. Levels are dBFS
    of active speech, which for speech lies within about 1 dB of LUFS; references at inference
    are brought to -23 LUFS.
    """

    min_seconds: float = 0.3
    max_seconds: float = 20.0
    silence_dbfs: float = -60.0
    max_clipped: float = 0.01
    min_snr_db: float = 5.0
    min_phones_per_second: float = 1.5
    free_seconds: float = 2.0
    max_phones_per_second: float = 25.0
    level_dbfs: float = -23.0

    def __post_init__(self) -> None:
        if not 0 < self.min_seconds < self.max_seconds:
            raise ConfigError(
                "the limits of a clip's duration contradict each other",
                seen=f"{self.min_seconds} to {self.max_seconds} s",
                allowed="0 < least < most",
            )


@dataclass(frozen=True)
class Measured:
    """Facts about a recording: see `store.Clip` for the fields they become."""

    seconds: float
    level_dbfs: float
    snr_db: float
    bandwidth_hz: float
    clipped: float


@dataclass(frozen=True)
class PreparedClip:
    """The features of an accepted clip by array name, and its measures."""

    measured: Measured
    arrays: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Skipped:
    """A refused clip: a stable reason of `REASONS`, and the figure or message behind it."""

    id: str
    path: str
    reason: str
    detail: str


def prepare_clip(source: SourceClip, rules: ClipRules) -> PreparedClip | Skipped:
    """Check one clip and compute its features; a bad clip is an answer, never an exception."""
    try:
        phones = _speakable(source)
        audio = _load(source)
        measured = measure(audio.samples)
        _check(measured, len(phones["phones"]), rules)
    except _Refused as refusal:
        return Skipped(source.id, str(source.path), refusal.reason, refusal.detail)
    samples = level_speech(audio.samples, measured.level_dbfs, rules.level_dbfs)
    return PreparedClip(measured, {**acoustic_features(samples), **phones})


class _Refused(Exception):
    """Control flow inside this module: a check failed; never seen by callers."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def _speakable(source: SourceClip) -> dict[str, NDArray[Any]]:
    if not (source.text or source.pinyin):
        raise _Refused("no_text", "nothing is written down for this recording")
    if source.language not in _LANGUAGES:
        raise _Refused("language", f"{source.language}; allowed: {', '.join(_LANGUAGES)}")
    try:
        return transcript_phones(source.text, source.language, source.pinyin)
    except TextError as error:
        raise _Refused("unspeakable", str(error)) from error


def _load(source: SourceClip) -> Audio:
    from ..audio.load import load_audio

    if not source.path.is_file():
        raise _Refused("missing", "no such file")
    try:
        audio = load_audio(source.path, sample_rate=SAMPLE_RATE)
    except AudioError as error:
        raise _Refused("unreadable", str(error)) from error
    if not np.isfinite(audio.samples).all():
        raise _Refused("unreadable", "samples are not finite")
    return audio


def _check(measured: Measured, num_phones: int, rules: ClipRules) -> None:
    seconds = measured.seconds
    fewest = rules.min_phones_per_second * (seconds - rules.free_seconds)
    most = rules.max_phones_per_second * seconds
    tests = (
        ("too_short", seconds < rules.min_seconds, f"{seconds:.2f} s < {rules.min_seconds} s"),
        ("too_long", seconds > rules.max_seconds,
         f"{seconds:.2f} s > {rules.max_seconds} s; cut it (`kouji slice`) and write each text"),
        ("silent", measured.level_dbfs < rules.silence_dbfs, f"{measured.level_dbfs:.1f} dBFS"),
        ("clipped", measured.clipped > rules.max_clipped, f"{measured.clipped:.2%} of samples"),
        ("noisy", measured.snr_db < rules.min_snr_db, f"SNR about {measured.snr_db:.1f} dB"),
        ("implausible_rate",
         not fewest <= num_phones <= most,
         f"{num_phones} phones in {seconds:.2f} s: the text does not fit"),
    )  # fmt: skip
    for reason, is_bad, detail in tests:
        if is_bad:
            raise _Refused(reason, detail)


def measure(samples: Samples) -> Measured:
    """Level, signal-to-noise estimate, bandwidth and clipping of mono samples at 24 kHz.

    The noise is taken as the quietest tenth of 20 ms frames; a recording trimmed to the speech
    has none, so its figure is too low rather than too high.
    """
    seconds = len(samples) / SAMPLE_RATE
    power = _frame_powers(samples)
    if not len(power) or power.max() < 1e-10:
        return Measured(seconds, -100.0, 0.0, 0.0, 0.0)
    loud = np.quantile(power, 0.95)
    active = power[power >= loud * 10 ** (-_ACTIVE_DB / 10)]
    speech = float(active.mean())
    noise = float(np.quantile(power, 0.05)) + 1e-10
    peak = np.abs(samples).max()
    clipped = float(np.mean(np.abs(samples) >= 0.999 * peak)) if peak >= 0.98 else 0.0
    return Measured(
        seconds=seconds,
        level_dbfs=10 * float(np.log10(speech)),
        snr_db=10 * float(np.log10(max(speech / noise, 1e-3))),
        bandwidth_hz=estimate_bandwidth(samples),
        clipped=clipped,
    )


def _frame_powers(samples: Samples, size: int = HOP_LENGTH) -> NDArray[np.float64]:
    """(frames,) mean square of consecutive 20 ms pieces; a shorter end is left out."""
    whole = len(samples) // size * size
    powers: NDArray[np.float64] = np.square(samples[:whole].reshape(-1, size), dtype=np.float64)
    return np.asarray(powers.mean(axis=1), np.float64)


def estimate_bandwidth(samples: Samples, n_fft: int = 1024) -> float:
    """Highest frequency in Hz that carries sound, from the loudest moments of each band.

    samples: (samples,) at 24 kHz. Bands of about 190 Hz; a band counts if its 95th percentile
    over time is less than 75 dB under the strongest one.
    """
    usable = len(samples) // n_fft
    if usable == 0:
        return 0.0
    frames = samples[: usable * n_fft].reshape(usable, n_fft) * np.hanning(n_fft)
    power = np.abs(np.fft.rfft(frames, axis=1))[:, 1:] ** 2
    bands = power.reshape(usable, -1, 8).mean(axis=2)  # 64 bands of 8 bins
    level = 10 * np.log10(np.quantile(bands, 0.95, axis=0) + 1e-12)
    filled = np.nonzero(level > level.max() - _BAND_FLOOR_DB)[0]
    return float((filled[-1] + 1) * 8 * SAMPLE_RATE / n_fft)


def is_full_band(bandwidth_hz: float) -> bool:
    """True if a recording has about all that 24 kHz audio can hold."""
    return bandwidth_hz >= _FULL_BAND_HZ


def level_speech(samples: Samples, level_dbfs: float, target_dbfs: float) -> Samples:
    """Scale so that active speech has `target_dbfs`, less if the peak would pass full scale."""
    gain = 10 ** ((target_dbfs - level_dbfs) / 20)
    peak = float(np.abs(samples).max())
    return (samples * min(gain, 0.99 / max(peak, 1e-6))).astype(np.float32)


def acoustic_features(samples: Samples) -> dict[str, NDArray[Any]]:
    """The frame and sample arrays of the store from levelled samples at 24 kHz.

    The sound is padded with zeros to whole frames: num_samples = num_frames * HOP_LENGTH.
    """
    import torch

    from ..audio.features import energy, mel_spectrogram
    from ..audio.pitch import track_pitch

    padded = np.pad(samples, (0, -len(samples) % HOP_LENGTH))
    batch = torch.from_numpy(padded)[None]
    with torch.inference_mode():
        mel = mel_spectrogram(batch, MINI_MEL)[0].T.numpy()
        level = energy(batch, MINI_MEL)[0].numpy()
    f0, voicing = track_pitch(padded, SAMPLE_RATE, HOP_LENGTH)
    pitch = np.zeros(len(mel), np.float32)
    count = min(len(mel), len(f0))
    pitch[:count] = np.where(voicing[:count] >= 0.5, f0[:count], 0.0)
    return {
        "mel": mel.astype(np.float16),
        "f0": pitch,
        "energy": level.astype(np.float16),
        "wave": np.round(padded * 32767).astype(np.int16),
    }


def mel_record() -> dict[str, Any]:
    """The mel definition as a plain record for the store's index."""
    return asdict(MINI_MEL)
