"""A disk that takes no more: one line that names the file, exit code 1, nothing half left.

A limit on the size of files stands in for the disk: writing fails the same way.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kouji.voices.sample import sample_path

SMALL = 4096  # bytes
LIMITED = f"""
import resource, sys
import numpy as np
from kouji.audio.encode import AudioWriter
from kouji.cli import chapters, run
from kouji.cli.boundary import say_to_user
from kouji.errors import KoujiError
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, ({SMALL}, {SMALL}))
noise = np.random.default_rng(0).uniform(-0.5, 0.5, 24_000).astype(np.float32)
try:
    BODY
except KoujiError as error:
    say_to_user(str(error))
    sys.exit(error.exit_code)
"""
WRITE_SOUND = """
    with AudioWriter(Path("OUT"), 24_000) as writer:
        writer.write(noise)
"""
KEEP_BLOCK = """
    partial = chapters.PartialFolder(Path("OUT"), {})
    partial.open()
    partial.save(0, noise, 24_000, chapters.Rendered(num_samples=len(noise)))
"""


def run_limited(body: str) -> subprocess.CompletedProcess[str]:
    code = LIMITED.replace("    BODY", body.strip("\n"))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize("name", ["out.wav", "out.flac", "out.mp3", "out.opus"])
def test_no_half_sound_is_left(tmp_path: Path, name: str) -> None:
    told = run_limited(WRITE_SOUND.replace("OUT", str(tmp_path / name)))
    assert (told.returncode, told.stderr.count("\n")) == (1, 1), told.stderr
    assert name in told.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_block_that_cannot_be_kept_is_one_line(tmp_path: Path) -> None:
    told = run_limited(KEEP_BLOCK.replace("OUT", str(tmp_path / "book.mp3")))
    assert (told.returncode, told.stderr.count("\n")) == (1, 1), told.stderr
    assert "book.mp3.kouji-partial" in told.stderr


def test_a_voice_is_kept_whole_or_not_at_all(tmp_path: Path, home_dir: Path) -> None:
    add = f"    sys.exit(run(['voice', 'add', 'x', {str(sample_path())!r}, '--attest']))"
    told = run_limited(add)
    assert (told.returncode, told.stderr.count("\n")) == (1, 1), told.stderr
    assert "cannot write" in told.stderr
    assert list((home_dir / "voices").iterdir()) == []
