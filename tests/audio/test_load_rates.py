"""A small file of a high rate is brought down while it is decoded."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from kouji.audio.clean import ReferenceRules, load_reference
from kouji.audio.load import load_audio


@pytest.mark.parametrize(("rate", "kept"), [(96_000, 48_000), (48_000, 48_000), (8_000, 8_000)])
def test_the_highest_rate_bounds_memory(rate: int, kept: int) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(rate * 2, np.int16), rate, format="FLAC", subtype="PCM_16")
    audio = load_audio(file.getvalue(), highest_rate=48_000)
    assert (audio.sample_rate, len(audio.samples)) == (kept, 2 * kept)
    assert load_audio(file.getvalue()).sample_rate == rate
    assert load_reference(file.getvalue(), ReferenceRules()).sample_rate == kept
