"""Many voices at once: each answer is in its own voice, whoever else is spoken to."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from live_server import Live

from kouji.config import Settings
from kouji.serve.models import _public_name
from kouji.voices.consent import STATEMENT
from kouji.voices.sample import sample_path

NUM_VOICES, NUM_REQUESTS = 32, 64
TEXT = "Each voice says the same."


def recordings() -> list[bytes]:
    """The sample at several pitches."""
    samples, rate = soundfile.read(sample_path(), dtype="float32")
    files = []
    for number in range(NUM_VOICES):
        file = io.BytesIO()
        soundfile.write(file, samples[: 4 * rate], int(rate * (0.8 + 0.02 * number)), format="WAV")
        files.append(file.getvalue())
    return files


@pytest.mark.parametrize("is_inline", [False, True])
def test_voices_never_mix(
    serve: Callable[[Settings], Live], settings: Settings, is_inline: bool
) -> None:
    live = serve(replace(settings, serve_seats=8, serve_queue=NUM_VOICES))
    sources = recordings()
    with live.client() as client:
        for number, recording in enumerate(sources if not is_inline else ()):
            data = {"name": f"v{number}", "attestation": STATEMENT}
            kept = client.post("/v1/audio/voices", data=data, files={"audio_sample": recording})
            kept.raise_for_status()

        def speak(number: int) -> np.ndarray:
            data = {"input": TEXT, "response_format": "pcm"}
            inline = {"ref_audio": sources[number]} if is_inline else None
            if inline is None:
                data["voice"] = f"v{number}"
            answer = client.post("/v1/audio/speech", data=data, files=inline)
            answer.raise_for_status()
            return np.frombuffer(answer.content, "<i2").astype(int)

        alone = [speak(number) for number in range(NUM_VOICES)]
        with ThreadPoolExecutor(NUM_VOICES) as crowd:
            wanted = [request % NUM_VOICES for request in range(NUM_REQUESTS)]
            found = list(crowd.map(speak, wanted))
    for number, sound in zip(wanted, found, strict=True):
        assert len(sound) == len(alone[number])
        assert np.abs(sound - alone[number]).max() <= 1  # the rounding of 16 bits
        others = [other for other in range(NUM_VOICES) if other != number]
        assert all(not np.array_equal(sound, alone[other]) for other in others)
    assert live.service.gate.num_inside == 0


@pytest.mark.parametrize(
    ("model", "name"),
    [("mini", "mini"), ("gpt-sovits-v2pro", "gpt-sovits-v2pro"), ("/srv/secret/mine", "mine"),
     ("../mine/", "mine")],
)  # fmt: skip
def test_a_models_place_is_nobodys_business(model: str, name: str) -> None:
    assert _public_name(model) == name
