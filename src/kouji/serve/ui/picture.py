"""Sound as pictures: a spectrogram, and a recording with its pitch and its best part.

Numpy and pillow only, which Gradio brings; the same colours by day and by night.
"""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from kouji.audio.pitch import track_pitch
from kouji.types import Audio, Samples

_WINDOW_SECONDS = 0.032
_MAX_COLUMNS, _ROWS = 1200, 128
_TOP_HZ, _RANGE_DB = 8000.0, 75.0
# From the page's dark ground over its accent to a warm light, even in brightness.
_SCALE = np.array([[16, 20, 24], [10, 54, 58], [15, 118, 110], [120, 190, 150], [253, 244, 200]])
_INK, _ACCENT, _PITCH = (120, 130, 135), (15, 118, 110), (230, 150, 60)
_Picture = NDArray[np.uint8]


def spectrogram_png(audio: Audio) -> bytes:
    """A spectrogram on a mel scale up to 8 kHz as a PNG; low is at the bottom."""
    return _png(Image.fromarray(_colour(_levels(audio))))


def recording_png(audio: Audio, best: tuple[float, float]) -> bytes:
    """A recording: waveform over spectrogram with its pitch; outside the best part dimmed.

    best: start and end in seconds of what a voice would be made from
    """
    spectrum = _colour(_levels(audio))
    width = spectrum.shape[1]
    wave = Image.new("RGB", (width, 72), (16, 20, 24))
    draw = ImageDraw.Draw(wave)
    for column, loudest in enumerate(_peaks(audio.samples, width)):
        half = max(1.0, 34 * float(loudest))
        draw.line([(column, 36 - half), (column, 36 + half)], fill=(94, 190, 176))
    whole = Image.new("RGB", (width, wave.height + len(spectrum)))
    whole.paste(wave, (0, 0))
    whole.paste(Image.fromarray(spectrum), (0, wave.height))
    draw = ImageDraw.Draw(whole)
    _draw_pitch(draw, audio, width, wave.height)
    scale = width / max(audio.duration, 1e-6)
    edges = (int(best[0] * scale), int(best[1] * scale))
    shade = Image.new("L", whole.size, 90)
    ImageDraw.Draw(shade).rectangle((*((edges[0], 0)), edges[1], whole.height), fill=255)
    whole = Image.composite(whole, Image.new("RGB", whole.size, (16, 20, 24)), shade)
    draw = ImageDraw.Draw(whole)
    for edge in edges:
        draw.line([(edge, 0), (edge, whole.height)], fill=(253, 244, 200))
    return _png(whole)


def _draw_pitch(draw: ImageDraw.ImageDraw, audio: Audio, width: int, top: int) -> None:
    hop = max(1, audio.sample_rate // 50)
    f0_hz, _ = track_pitch(audio.samples, audio.sample_rate, hop)
    for index, pitch in enumerate(f0_hz):
        if pitch > 0:
            x = (index + 0.5) * hop / max(1, len(audio.samples)) * width
            share = float(_mel(pitch * 8) / _mel(_TOP_HZ))  # eightfold: to be seen
            y = top + (1 - share) * _ROWS
            draw.rectangle((x - 1, y - 1, x + 1, y + 1), fill=_PITCH)


def _levels(audio: Audio) -> NDArray[np.float32]:
    """(rows, columns) in [0, 1], the highest band first."""
    window = 1 << round(np.log2(_WINDOW_SECONDS * audio.sample_rate))
    samples = np.nan_to_num(audio.samples)
    samples = np.pad(samples, (window // 2, window // 2 + window))
    last = len(samples) - window
    columns = int(np.clip(last // (window // 4), 1, _MAX_COLUMNS))
    starts = np.linspace(0, last - window, columns).astype(int)
    frames = np.stack([samples[start : start + window] for start in starts])
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)) ** 2
    bins = np.interp(
        np.linspace(_mel(_TOP_HZ), _mel(50.0), _ROWS),
        _mel(np.fft.rfftfreq(window, 1 / audio.sample_rate)),
        np.arange(power.shape[1]),
    )
    level = 10 * np.log10(power[:, np.round(bins).astype(int)].T + 1e-10)
    top = max(float(level.max()), -40.0)
    return np.clip((level - top) / _RANGE_DB + 1, 0, 1).astype(np.float32)


def _colour(levels: NDArray[np.float32]) -> _Picture:
    corners = np.linspace(0, 1, len(_SCALE))
    channels = [np.interp(levels, corners, _SCALE[:, index]) for index in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def _peaks(samples: Samples, columns: int) -> NDArray[np.float32]:
    edges = np.linspace(0, len(samples), columns + 1).astype(int)
    loud = np.abs(np.nan_to_num(samples))
    return np.array(
        [loud[a:b].max(initial=0.0) for a, b in pairwise(edges)],
        np.float32,
    )


def _mel(hertz: float | NDArray[np.floating]) -> NDArray[np.float64]:
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
