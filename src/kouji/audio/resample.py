"""Change the sampling rate, whole or chunk by chunk, with soxr (high quality setting).

Knows: rates and samples. Does not know: files, channels (audio is mono here).
A streamed result equals the whole one to 1e-5.
"""

from __future__ import annotations

import numpy as np

from kouji.errors import AudioError
from kouji.types import Audio, Samples

MIN_RATE_HZ = 4_000
MAX_RATE_HZ = 384_000


def check_rate(sample_rate: object, name: str = "sampling rate") -> int:
    """Return `sample_rate` as a plain int, or raise AudioError when it is no rate we handle."""
    is_whole = isinstance(sample_rate, (int, np.integer)) and not isinstance(sample_rate, bool)
    if not is_whole or not MIN_RATE_HZ <= int(sample_rate) <= MAX_RATE_HZ:  # type: ignore[call-overload]
        raise AudioError(
            f"the {name} is out of range",
            seen=repr(sample_rate),
            allowed=f"a whole number from {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz",
        )
    return int(sample_rate)  # type: ignore[call-overload, no-any-return]


class Resampler:
    """Resample a stream; it owns the filter's memory, one object per stream."""

    def __init__(self, source_rate: int, target_rate: int) -> None:
        """Prepare for mono chunks at `source_rate` Hz that leave at `target_rate` Hz."""
        import soxr

        self.source_rate = check_rate(source_rate)
        self.target_rate = check_rate(target_rate)
        self._stream = None
        if self.source_rate != self.target_rate:
            self._stream = soxr.ResampleStream(
                self.source_rate, self.target_rate, 1, dtype="float32", quality="HQ"
            )

    def push(self, samples: Samples, last: bool = False) -> Samples:
        """Give the next (samples,) float32; get what is ready. `last` flushes the filter."""
        if self._stream is None:
            return samples
        chunk = np.ascontiguousarray(samples, dtype=np.float32)
        ready: Samples = np.asarray(self._stream.resample_chunk(chunk, last=last), np.float32)
        return ready


def resample(audio: Audio, sample_rate: int) -> Audio:
    """Return `audio` at `sample_rate` Hz; the same object when it has that rate already."""
    import soxr

    target_rate = check_rate(sample_rate)
    if audio.sample_rate == target_rate:
        return audio
    source_rate = check_rate(audio.sample_rate)
    samples = soxr.resample(audio.samples, source_rate, target_rate, quality="HQ")
    return Audio(np.ascontiguousarray(samples, dtype=np.float32), target_rate)
