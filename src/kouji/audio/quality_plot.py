"""Draw a quality report: waveform, spectrogram and pitch, with the best part marked.

Needs matplotlib, which is an extra; draws without a display and changes no global state.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kouji.audio.denoise import profile_noise
from kouji.audio.pitch import track_pitch
from kouji.errors import AudioError
from kouji.types import Audio

if TYPE_CHECKING:
    from kouji.audio.clean import QualityReport

MAX_POINTS = 4000  # of the waveform; more would not be seen
MAX_COLUMNS = 1500  # of the spectrogram
RANGE_DB = 80.0


def plot_quality(audio: Audio, report: QualityReport, path: str | Path) -> Path:
    """Write a PNG of the recording and its report; returns the path.

    raises: AudioError where matplotlib is missing or the recording is empty
    """
    if len(audio.samples) == 0:
        raise AudioError("an empty recording cannot be drawn", allowed="one sample or more")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise AudioError(
            "pictures need matplotlib, which is not installed", cure="pip install matplotlib"
        ) from error
    clean = Audio(np.nan_to_num(audio.samples, posinf=0.0, neginf=0.0), audio.sample_rate)
    figure = Figure(figsize=(10, 7), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    wave, spectrum, pitch = figure.subplots(3, 1, sharex=True)
    _draw_wave(wave, clean)
    _draw_spectrum(spectrum, clean)
    _draw_pitch(pitch, clean)
    for axis in (wave, pitch):
        axis.axvspan(report.best_start, report.best_end, color="tab:green", alpha=0.15)
    for axis in (wave, spectrum, pitch):
        for edge in (report.best_start, report.best_end):
            axis.axvline(edge, color="tab:green", linewidth=2)
        axis.set_xlim(0.0, audio.duration)
    figure.suptitle(_title(report), fontsize=10)
    return _write(canvas, Path(path))


def _title(report: QualityReport) -> str:
    facts = (
        f"{report.verdict}: {report.duration:.1f} s, speech {report.speech_seconds:.1f} s, "
        f"SNR {report.snr_db:.0f} dB, clipped {report.clipped_fraction:.2%}, "
        f"{report.loudness_lufs:.1f} LUFS, pitch {report.pitch_median_hz:.0f} Hz, "
        f"band {report.bandwidth_hz / 1000:.1f} kHz"
    )
    return "\n".join([facts, *(f"{code}: {message}" for code, message in report.reasons)])


def _draw_wave(axis: Any, audio: Audio) -> None:
    """Highest and lowest sample of each of MAX_POINTS stretches."""
    step = max(1, -(-len(audio.samples) // MAX_POINTS))
    whole = audio.samples[: len(audio.samples) // step * step].reshape(-1, step)
    seconds = np.arange(len(whole)) * step / audio.sample_rate
    axis.fill_between(seconds, whole.min(axis=1), whole.max(axis=1), linewidth=0.3)
    axis.set_ylabel("amplitude")
    axis.set_ylim(-1.05, 1.05)


def _draw_spectrum(axis: Any, audio: Audio) -> None:
    power = profile_noise(audio).power
    power = power[:: max(1, -(-len(power) // MAX_COLUMNS))]
    level = 10.0 * np.log10(power.T + 1e-12)
    extent = (0.0, audio.duration, 0.0, audio.sample_rate / 2000.0)
    top = float(level.max())
    axis.imshow(level, origin="lower", aspect="auto", extent=extent, vmin=top - RANGE_DB, vmax=top)
    axis.set_ylabel("kHz")


def _draw_pitch(axis: Any, audio: Audio) -> None:
    hop = max(1, audio.sample_rate // 50)
    f0_hz, _ = track_pitch(audio.samples, audio.sample_rate, hop)
    seconds = (np.arange(len(f0_hz)) + 0.5) * hop / audio.sample_rate
    axis.plot(seconds, np.where(f0_hz > 0, f0_hz, np.nan), ".", markersize=3)
    axis.set_ylabel("pitch, Hz")
    axis.set_xlabel("seconds")
    axis.set_ylim(50.0, 500.0)


def _write(canvas: Any, path: Path) -> Path:
    """Write beside the target and rename, so that no half picture is left."""
    handle, temporary = tempfile.mkstemp(suffix=".png", dir=path.parent)
    os.close(handle)
    try:
        canvas.print_png(temporary)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path
