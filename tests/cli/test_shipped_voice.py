"""The command line as a user types it, in a process of its own, with the weights that ship.

What is judged is what a listener would notice first: the words can be heard, the length is
that of speech, the Chinese is voiced. How good it is, `kouji evaluate` measures.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kouji.audio.load import load_audio
from kouji.audio.pitch import track_pitch
from kouji.cli.demo import SENTENCES
from kouji.models.mini.weights import SHIPPED, WEIGHTS_FILE

pytestmark = pytest.mark.skipif(
    not (SHIPPED / WEIGHTS_FILE).is_file(), reason="the weights of mini are not in this checkout"
)

CONTENT_WORDS = {"hello", "heard", "this", "voice", "for", "six", "seconds", "and", "now", "reads"}
# The same sounds in other spellings: a language model may prefer them.
HOMOPHONES = {"read": "reads", "reeds": "reads", "hurd": "heard", "four": "for", "sicks": "six"}


def kouji(*arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a process of its own; it must succeed."""
    single = {**os.environ, "OMP_NUM_THREADS": "1"}
    told = subprocess.run(
        [sys.executable, "-m", "kouji", *arguments], input=stdin, capture_output=True, env=single
    )
    assert told.returncode == 0, told.stderr.decode()
    assert b"Traceback" not in told.stderr
    return told


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `kouji demo` wrote."""
    folder = tmp_path_factory.mktemp("shipped") / "demo"
    kouji("demo", "--out", str(folder))
    return folder


def test_the_english_demo_is_understood(demo: Path) -> None:
    pytest.importorskip("pocketsphinx", reason="pocketsphinx of the extra dev is not installed")
    from kouji.evaluate.asr_en import EnglishRecogniser
    from kouji.evaluate.wer import spoken_words

    heard = EnglishRecogniser().transcribe(load_audio(demo / "english.wav"))
    found = CONTENT_WORDS & {HOMOPHONES.get(word, word) for word in heard}
    assert set(spoken_words(SENTENCES["english"])) >= CONTENT_WORDS
    assert len(found) >= len(CONTENT_WORDS) / 2, f"heard only {heard}"


def test_the_chinese_demo_is_voiced_speech(demo: Path) -> None:
    audio = load_audio(demo / "chinese.wav")
    syllables = sum("一" <= char <= "鿿" for char in SENTENCES["chinese"])
    assert 0.12 < audio.duration / syllables < 0.45  # seconds a syllable, pauses included
    f0_hz, _ = track_pitch(audio.samples, audio.sample_rate, audio.sample_rate // 50)
    voiced = f0_hz[f0_hz > 0]
    assert 0.3 < len(voiced) / len(f0_hz) < 0.95
    assert 120 < np.median(voiced) < 320  # the sample voice is a woman's
    assert np.percentile(voiced, 90) / np.percentile(voiced, 10) > 1.15  # tones move
    assert 0.02 < float(np.sqrt(np.mean(audio.samples**2))) < 0.3
    assert np.abs(audio.samples).max() <= 1.0


def test_a_pipe_gives_the_same_sound_as_a_file(tmp_path: Path) -> None:
    text = "It reads from a pipe, and into one."
    chosen = ["--seed", "3", "--voice", "sample", "-q"]
    kouji("say", text, *chosen, "--out", str(tmp_path / "file.wav"))
    piped = tmp_path / "pipe.wav"
    piped.write_bytes(kouji("say", "-", *chosen, "--out", "-", stdin=text.encode()).stdout)
    whole, rate = soundfile.read(tmp_path / "file.wav", dtype="int16")
    through, _ = soundfile.read(piped, dtype="int16")
    assert rate == 24_000
    assert whole.shape == through.shape
    # The pipe renders in chunks: equal within 1e-4, which may round to the next of 65,536 steps.
    assert np.abs(whole.astype(int) - through).max() <= 1e-4 * 32768
