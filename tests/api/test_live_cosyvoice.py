"""CosyVoice reads along: sound of a sentence that is still being written, on toy widths."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_cosyvoice import make_tiny_cosyvoice

from kouji.api import TTS, load
from kouji.config import Settings
from kouji.voices import Voice
from kouji.voices.sample import sample_voice

SENTENCE = "Good morning, she said, and so on, and on, "
TEXT = SENTENCE * 2 + "then. Bye now."


@pytest.fixture(scope="module")
def tts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TTS]:
    folder = make_tiny_cosyvoice(tmp_path_factory.mktemp("model") / "cosyvoice3")
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    with load(str(folder), precision="float32", settings=settings) as made:
        yield made


@pytest.fixture(scope="module")
def voice() -> Voice:
    return sample_voice()


def test_a_sentence_is_heard_before_its_end(tts: TTS, voice: Voice, tmp_path: Path) -> None:
    may_end = threading.Event()

    def written() -> Iterator[str]:
        yield SENTENCE
        assert may_end.wait(60)
        yield TEXT[len(SENTENCE) :]

    stream = tts.stream(written(), voice, seed=5)
    first = next(stream)  # it would wait for ever
    assert np.isfinite(first.samples).all()
    assert len(first.samples)
    may_end.set()
    speech = stream.join([first, *stream])
    assert [segment.text for segment in speech.segments] == [TEXT[:-8], TEXT[-8:]]
    whole = tts.stream([TEXT], voice, seed=5)
    wanted = whole.join(list(whole)).audio.samples
    np.testing.assert_allclose(speech.audio.samples, wanted, atol=3e-3)  # phases
