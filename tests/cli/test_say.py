"""`kouji say`: what a user types, with a synthesiser that needs no model."""

from __future__ import annotations

import io
import json
import stat
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from kouji.audio.load import load_audio
from kouji.cli import run
from kouji.errors import TextError
from kouji.text import blocks
from kouji.voices import Voice, VoiceStore
from kouji.voices.consent import attest

pytestmark = pytest.mark.usefixtures("home_dir")


def stdin_of(content: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8")


def spoken(tts: Any) -> list[str]:
    """The texts the synthesiser was asked for."""
    return [call["text"] for call in tts.calls if "text" in call]


def test_the_command_of_the_readme(
    fake_tts: Any, reference: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, subtitles = tmp_path / "out.wav", tmp_path / "out.srt"
    text = "你好，这是 Kouji。It speaks in your voice."
    chosen = ["--voice", str(reference), "--seed", "7", "--subtitles", str(subtitles)]
    code = run(["say", text, *chosen, "--out", str(out)])
    captured = capfd.readouterr()
    assert (code, captured.out) == (0, "")
    assert "attests that you have its speaker's consent" in captured.err
    assert "s of speech in" in captured.err
    assert fake_tts.calls[-1] == {"text": text, "style": None, "seed": 7, "language": None}
    samples, rate = soundfile.read(out)
    assert rate == 24_000
    assert len(samples) > 10_000
    assert "It speaks" in subtitles.read_text(encoding="utf-8")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"out.wav", "out.srt", "reference.wav"}


def test_warnings_are_told_once(
    fake_tts: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["say", "I warn you", "--out", str(tmp_path / "out.wav")]
    assert run(command) == 0
    assert capfd.readouterr().err.count("warning: a fake warning\n") == 1
    assert run([*command, "-q"]) == 0
    assert capfd.readouterr().err == ""


def test_the_watermark_is_left_out_only_where_permitted(
    fake_tts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["say", "a", "--out", str(tmp_path / "out.wav"), "-q"]
    assert run([*command, "--no-watermark"]) == 2
    assert run(command) == 0
    monkeypatch.setenv("KOUJI_WATERMARK", "false")
    assert run([*command, "--no-watermark"]) == 0
    assert run(command) == 0
    assert fake_tts.watermarks == [True, False, True]


def test_the_same_command_gives_the_same_file(
    fake_tts: Any, reference: Path, tmp_path: Path
) -> None:
    command = ["say", "one two", "--voice", str(reference), "-q", "--out"]
    for name in ("a.wav", "b.wav"):
        assert run([*command, str(tmp_path / name)]) == 0
    assert run([*command, str(tmp_path / "c.wav"), "--seed", "3"]) == 0
    first, second, third = ((tmp_path / f"{n}.wav").read_bytes() for n in "abc")
    assert first == second != third


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "opus", "ogg"])
def test_formats_by_suffix(fake_tts: Any, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out.{suffix}"
    assert run(["say", "some words here", "--out", str(out), "-q"]) == 0
    assert soundfile.info(str(out)).duration > 0.3


def test_stdin_to_stdout(
    fake_tts: Any, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin_of("从管道来 words".encode()))
    assert run(["say", "-", "--out", "-", "--format", "flac"]) == 0
    sound = capfdbinary.readouterr().out
    assert spoken(fake_tts) == ["从管道来 words"]
    assert len(load_audio(sound).samples) == 600 * len("从管道来words")


def test_files_in_usual_encodings(fake_tts: Any, tmp_path: Path) -> None:
    source = tmp_path / "text.txt"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "gb18030"):
        source.write_bytes("你好世界".encode(encoding))
        assert run(["say", "--file", str(source), "--out", str(tmp_path / "o.wav"), "-q"]) == 0
        assert spoken(fake_tts)[-1] == "你好世界"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--out", "o.wav"], "exactly one text"),
        (["a", "--file", "b", "--out", "o.wav"], "exactly one text"),
        (["a"], "nowhere to put"),
        (["a", "--out", "o.xyz"], ".wav .flac"),
        (["a", "--out", "missing/o.wav"], "no such folder"),
        (["a", "--out", "."], "is a folder"),
        (["a", "--out", "o.wav", "--subtitles", "o.txt"], ".srt, .vtt, .json"),
        (["a", "--out", "o.wav", "--subtitles", "missing/o.srt"], "no such folder"),
        (["a", "--out", "o.wav", "--voice", "nobody"], "one of sample"),
        (["a", "--out", "o.wav", "--voice", "no.wav"], "no such voice file"),
        (["a", "--out", "o.wav", "--voice", "/"], "cannot be a folder"),
        (["a", "--out", "o.wav", "--language", "tlh"], "zh, en"),
        (["a", "--out", "o.wav", "--speed", "9"], "seen: 9"),
        (["a", "--out", "o.wav", "--seed", "x"], "seen: x"),
        (["a", "--out", "o.wav", "--format", "xyz"], "wav, flac"),
        (["a", "--out", "o.wav", "--no-watermark"], "watermark = false"),
        (["--file", "missing.txt", "--out", "o.wav"], "missing.txt"),
        (["a", "--out", "o.wav", "--wrong"], "--wrong"),
        (["a", "--out", "-", "--play"], "play"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(
    fake_tts: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["say", *arguments]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert told in captured.err
    assert not fake_tts.calls, "refused before a model is loaded"
    assert not list(tmp_path.glob("o.*"))


def test_a_binary_file_is_not_text(
    fake_tts: Any, reference: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["say", "--file", str(reference), "--out", str(tmp_path / "o.wav")]) == 2
    assert "not a text" in capfd.readouterr().err


def test_nothing_is_left_of_a_failure(
    fake_tts: Any, reference: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.wav"
    out.write_bytes(b"precious")
    assert run(["say", "...", "--voice", str(reference), "--out", str(out)]) == 2
    assert "nothing in it has a sound" in capfd.readouterr().err
    assert out.read_bytes() == b"precious"
    assert not list(tmp_path.glob(".out*"))


def test_unexpected_errors_are_one_line(
    fake_tts: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(fake_tts, "stream", broken, raising=False)
    command = ["say", "a", "--out", str(tmp_path / "o.wav"), "-q"]
    assert run(command) == 1
    told = capfd.readouterr().err
    assert told == (
        "kouji: unexpected ZeroDivisionError: division by zero; "
        "run again with --debug and report it\n"
    )
    assert run(["--debug", *command]) == 1
    assert "Traceback" in capfd.readouterr().err
    assert run([*command, "--debug"]) == 1
    assert "Traceback" in capfd.readouterr().err


def test_kept_voices_speak_by_name(
    fake_tts: Any, tone: Any, tmp_path: Path, home_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = VoiceStore(home_dir)
    store.add(Voice.from_reference(tone, name="小明", consent=attest()))
    store.add(Voice.from_reference(tone, name="nobody"))
    out = str(tmp_path / "o.wav")
    assert run(["say", "a", "--voice", "小明", "--out", out]) == 0
    assert "attests" not in capfd.readouterr().err
    assert run(["say", "a", "--voice", "nobody", "--out", out]) == 1
    assert "without consent" in capfd.readouterr().err


def test_strict_consent_needs_more_than_the_flag(
    fake_tts: Any,
    reference: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KOUJI_CONSENT", "verify")
    command = ["say", "a", "--voice", str(reference), "--out", str(tmp_path / "o.wav")]
    assert run(command) == 1
    assert "kouji voice challenge" in capfd.readouterr().err
    assert run([*command, "--i-have-consent"]) == 1
    assert "an attestation alone" in capfd.readouterr().err
    assert run(["say", "a", "--voice", "sample", "--out", str(tmp_path / "o.wav")]) == 0


def test_play_names_the_players(
    fake_tts: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert run(["say", "a", "--play"]) == 2
    assert "ffplay" in capfd.readouterr().err


def test_play_hands_the_file_to_a_player(
    fake_tts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = tmp_path / "bin" / "aplay"
    player.parent.mkdir()
    player.write_text(f'#!/bin/sh\n/bin/cp "$2" {tmp_path}/played.wav\n', encoding="utf-8")
    player.chmod(player.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(player.parent))
    assert run(["say", "a b", "--play", "-q"]) == 0
    assert soundfile.info(str(tmp_path / "played.wav")).frames == 1200


# Long texts

CHAPTER = "\n\n".join(
    f"Paragraph {number} tells of the sea and of the long way home. " * 8 for number in range(6)
)


def say_chapter(tmp_path: Path, name: str = "out.flac") -> list[str]:
    source = tmp_path / "chapter.txt"
    source.write_text(CHAPTER, encoding="utf-8")
    return ["say", "--file", str(source), "--out", str(tmp_path / name)]


def test_long_texts_are_cut_and_joined_again(fake_tts: Any, tmp_path: Path) -> None:
    subtitles = tmp_path / "s.json"
    assert run([*say_chapter(tmp_path), "--subtitles", str(subtitles)]) == 0
    blocks = spoken(fake_tts)
    assert len(blocks) > 3
    assert "".join(blocks) == CHAPTER
    words = json.loads(subtitles.read_text(encoding="utf-8"))["words"]
    assert [word["text"] for word in words] == CHAPTER.split()
    assert all(a["end"] <= b["start"] + 1e-6 for a, b in pairwise(words))
    duration = soundfile.info(str(tmp_path / "out.flac")).duration
    assert words[-1]["end"] == pytest.approx(duration, abs=1e-3)
    assert not list(tmp_path.glob("*.kouji-partial"))


def test_an_interrupted_text_goes_on_to_the_same_sound(
    fake_tts: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([*say_chapter(tmp_path, "whole.flac"), "-q"]) == 0
    num_blocks = len(spoken(fake_tts))
    fake_tts.calls.clear()
    fake_tts.fail_after = 3  # the load is one of them: two blocks are rendered
    assert run([*say_chapter(tmp_path), "-q"]) == 130
    assert capfd.readouterr().err == "kouji: interrupted\n"
    assert not (tmp_path / "out.flac").exists()
    fake_tts.calls.clear()
    fake_tts.fail_after = None
    assert run(say_chapter(tmp_path)) == 0
    assert "going on with" in capfd.readouterr().err
    assert len(spoken(fake_tts)) == num_blocks - 2
    whole, _ = soundfile.read(tmp_path / "whole.flac", dtype="int32")
    resumed, _ = soundfile.read(tmp_path / "out.flac", dtype="int32")
    assert np.array_equal(whole, resumed)
    assert not list(tmp_path.glob("*.kouji-partial"))


def test_another_seed_starts_over(fake_tts: Any, tmp_path: Path) -> None:
    fake_tts.fail_after = 3
    assert run([*say_chapter(tmp_path), "-q"]) == 130
    fake_tts.fail_after = None
    fake_tts.calls.clear()
    assert run([*say_chapter(tmp_path), "--seed", "9", "-q"]) == 0
    assert "".join(spoken(fake_tts)) == CHAPTER


def test_a_block_that_was_cut_off_is_rendered_again(fake_tts: Any, tmp_path: Path) -> None:
    fake_tts.fail_after = 3
    assert run([*say_chapter(tmp_path), "-q"]) == 130
    first = tmp_path / "out.flac.kouji-partial" / "000000.flac"
    first.write_bytes(first.read_bytes()[:100])
    fake_tts.fail_after = None
    fake_tts.calls.clear()
    assert run([*say_chapter(tmp_path), "-q"]) == 0
    assert spoken(fake_tts)[0] == blocks.cut_blocks(CHAPTER)[0]


def test_silent_blocks_are_passed_over(
    fake_tts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "cut_blocks", lambda _: ["words here ", "***", " more words"])
    assert run(say_chapter(tmp_path)) == 0
    assert spoken(fake_tts) == ["words here ", "***", " more words"]
    assert soundfile.info(str(tmp_path / "out.flac")).duration > 0.5


@pytest.mark.parametrize(
    ("texts", "parts"),
    [
        (["one"], ["whole"]),
        (["one ", "two ", "three"], ["first", "middle", "last"]),
        (["***", "one ", "two ", "..."], ["first", "first", "last", "middle"]),
    ],
)
def test_a_long_text_is_one_work(
    fake_tts: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    texts: list[str],
    parts: list[str],
) -> None:
    """However many blocks: one notice at the start, one at the end, beside words that sound."""
    monkeypatch.setattr(blocks, "cut_blocks", lambda _: texts)
    command = [*say_chapter(tmp_path), "--disclosure", "end", "--notice", "morse"]
    assert run(command) == 0
    assert [options.part for options in fake_tts.options_seen] == parts
    assert {(options.disclosure, options.notice) for options in fake_tts.options_seen} == {
        ("end", "morse")
    }


def test_a_notice_never_gets_lost(
    fake_tts: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Letters that turn out to have no sound cannot carry it: that is said, not passed over."""
    monkeypatch.setattr(blocks, "cut_blocks", lambda _: ["words ", "unheard"])
    usual = fake_tts.stream

    def stream(text: str, *args: Any, **options: Any) -> Any:
        if text == "unheard":
            raise TextError("nothing in it has a sound", seen=text)
        return usual(text, *args, **options)

    monkeypatch.setattr(fake_tts, "stream", stream)
    assert run([*say_chapter(tmp_path), "--disclosure", "end"]) == 2
    assert "the last words have no sound" in capfd.readouterr().err
    assert run(say_chapter(tmp_path)) == 0


def test_the_notice_the_operator_wants_is_not_left_out(
    fake_tts: Any,
    tmp_path: Path,
    home_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KOUJI_DISCLOSURE", "start")
    assert run([*say_chapter(tmp_path), "--disclosure", "none"]) == 1
    assert "may not be left out" in capfd.readouterr().err
    assert fake_tts.calls == []
    assert run([*say_chapter(tmp_path), "--disclosure", "loudly"]) == 2


def test_what_cannot_be_signed_stops_before_a_model_is_loaded(
    fake_tts: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KOUJI_C2PA_CERTIFICATE", str(tmp_path / "missing.pem"))
    assert run(say_chapter(tmp_path)) == 2
    assert "c2pa_key" in capfd.readouterr().err
    assert fake_tts.calls == []


def test_wrong_marks_are_found_before_anything_is_rendered(
    fake_tts: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "t.txt"
    source.write_text(CHAPTER + " [break 99parsecs]", encoding="utf-8")
    assert run(["say", "--file", str(source), "--out", str(tmp_path / "o.wav"), "-q"]) == 2
    assert "parsecs" in capfd.readouterr().err
    assert spoken(fake_tts) == []


FAKE_SAY = """
import runpy, sys, types
fake = runpy.run_path(sys.argv[1])
api = types.ModuleType("kouji.api")
api.load = lambda name, **options: fake["FakeTTS"]()
sys.modules["kouji.api"] = api
from kouji.cli import run
sys.exit(run(sys.argv[2:]))
"""


def test_a_reader_that_leaves_is_no_error(home_dir: Path) -> None:
    fake = Path(__file__).with_name("conftest.py")
    command = [sys.executable, "-c", FAKE_SAY, str(fake), "say", "many words " * 500, "--out", "-"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(4) == b"RIFF"
    process.stdout.close()
    assert process.stderr is not None
    told = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=60), told) == (1, b"")
