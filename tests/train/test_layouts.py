"""Every layout on a tiny folder: the readers see names and texts, not sound."""

from __future__ import annotations

from pathlib import Path

import pytest

from kouji.errors import DataError, UsageError
from kouji.train.layouts import SourceClip, read_clips


def touch(path: Path, text: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"" if text is None else text.encode())
    return path


def by_id(data: Path, layout: str = "auto") -> tuple[str, dict[str, SourceClip]]:
    name, clips = read_clips(data, layout)
    return name, {clip.id: clip for clip in clips}


MANIFEST = """path|speaker|language|gender|text
a/s1/one.ogg|s1|en|f|hello "you"
a/s1/two.ogg|s1|zh|F|\ufeff你好
b/s2/three.ogg|s2|zh-pinyin||zi4
"""


@pytest.mark.parametrize("place", ["manifest.csv", "speech/manifest.csv"])
def test_manifest(tmp_path: Path, place: str) -> None:
    file = touch(tmp_path / place, MANIFEST)
    touch(file.parent / "a/pinyin.csv", "path|pinyin\na/s1/two.ogg|ni2 hao3\n")
    name, clips = by_id(tmp_path)
    assert name == "manifest"
    assert clips["a/s1/one"].text == 'hello "you"'
    assert clips["a/s1/one"].path == file.parent / "a/s1/one.ogg"
    two = clips["a/s1/two"]
    assert (two.text, two.pinyin, two.language, two.gender) == ("你好", "ni2 hao3", "zh", "f")
    assert (two.corpus, two.speaker) == ("a", "s1")
    assert clips["b/s2/three"].language == "zh-pinyin"


def test_manifest_without_text_column(tmp_path: Path) -> None:
    touch(tmp_path / "manifest.csv", "path|words\na.wav|hello\n")
    with pytest.raises(DataError, match="lacks columns"):
        read_clips(tmp_path)


def test_manifest_with_short_row_names_the_row(tmp_path: Path) -> None:
    touch(tmp_path / "manifest.csv", "path|text\na.wav|hello\nb.wav\n")
    with pytest.raises(DataError, match=r"row 3 of manifest\.csv"):
        read_clips(tmp_path)


def test_ljspeech_prefers_normalised_text(tmp_path: Path) -> None:
    root = tmp_path / "reader"
    touch(root / "metadata.csv", "L1|in 1455|in fourteen fifty-five\nL2|plain|\n")
    touch(root / "wavs/L1.wav")
    touch(root / "wavs/L2.flac")
    name, clips = by_id(root)
    assert name == "ljspeech"
    assert clips["L1"].text == "in fourteen fifty-five"
    assert clips["L2"].text == "plain"
    assert clips["L2"].path == root / "wavs/L2.flac"
    assert {clip.speaker for clip in clips.values()} == {"reader"}


@pytest.mark.parametrize("inner", ["", "train"])
def test_aishell3(tmp_path: Path, inner: str) -> None:
    touch(tmp_path / "train/content.txt", "SSB00050001.wav\t广 guang3 州 zhou1\n")
    touch(tmp_path / "train/wav/SSB0005/SSB00050001.wav")
    touch(tmp_path / "spk-info.txt", "# name\nSSB0005\tB\tfemale\tnorth\n")
    name, clips = by_id(tmp_path / inner)
    clip = clips["train/SSB00050001"]
    assert name == "aishell3"
    assert (clip.text, clip.pinyin) == ("广州", "guang3 zhou1")
    assert (clip.speaker, clip.gender, clip.language) == ("SSB0005", "f", "zh")
    assert clip.path.is_file()


def test_librispeech_lowers_capitals_and_knows_genders(tmp_path: Path) -> None:
    chapter = tmp_path / "train-clean-5/84/121123"
    touch(chapter / "84-121123.trans.txt", "84-121123-0000 GO DO YOU HEAR\n")
    touch(chapter / "84-121123-0000.flac")
    touch(tmp_path / "SPEAKERS.TXT", "; comment\n84   | F | train-clean-5 | 4 | Name\n")
    name, clips = by_id(tmp_path)
    clip = clips["84-121123-0000"]
    assert name == "librispeech"
    assert (clip.text, clip.speaker, clip.gender) == ("go do you hear", "84", "f")
    assert clip.path == chapter / "84-121123-0000.flac"


def test_libritts_keeps_case_and_marks(tmp_path: Path) -> None:
    chapter = tmp_path / "dev-clean/84/121"
    touch(chapter / "84_121_000.normalized.txt", "Go! Do you hear?\n")
    touch(chapter / "84_121_000.original.txt", "Go! Do you hear?\n")
    touch(chapter / "84_121_000.wav")
    name, clips = by_id(tmp_path)
    assert name == "librispeech"
    assert clips["84_121_000"].text == "Go! Do you hear?"
    assert clips["84_121_000"].corpus == "dev-clean"


def test_sovits_list_finds_moved_files(tmp_path: Path) -> None:
    wav = touch(tmp_path / "wavs/a.wav")
    lines = "D:\\old\\a.wav|amy|ZH|你好\nmissing/b.wav|amy|EN|hi | there\nc.wav|amy|JA|こんにちは\n"
    file = touch(tmp_path / "amy.list", lines)
    for data in (file, tmp_path):
        name, clips = read_clips(data)
        assert name == "gpt-sovits"
        found = {clip.path.name: clip for clip in clips}
        assert {clip.language for clip in clips} == {"zh", "en", "JA"}
        assert found["b.wav"].text == "hi | there"
        assert wav in {clip.path for clip in clips}


def test_sovits_list_with_wrong_line(tmp_path: Path) -> None:
    touch(tmp_path / "x.list", "a.wav|amy|hello\n")
    with pytest.raises(DataError, match="line 1"):
        read_clips(tmp_path)


def test_pairs_speaker_is_the_folder(tmp_path: Path) -> None:
    touch(tmp_path / "amy/a.wav")
    touch(tmp_path / "amy/a.txt", "你好\n世界\n")
    touch(tmp_path / "bob/b.mp3")
    touch(tmp_path / "bob/b.lab", "hello")
    touch(tmp_path / "bob/c.wav")
    name, clips = by_id(tmp_path)
    assert name == "pairs"
    assert (clips["amy/a"].speaker, clips["amy/a"].language) == ("amy", "zh")
    assert clips["amy/a"].text == "你好 世界"
    assert (clips["bob/b"].speaker, clips["bob/b"].language) == ("bob", "en")
    assert clips["bob/c"].text == ""


def test_recordings_without_text_say_what_to_do(tmp_path: Path) -> None:
    touch(tmp_path / "long.wav")
    with pytest.raises(DataError, match="no text") as caught:
        read_clips(tmp_path)
    assert "cut long recordings" in str(caught.value)


def test_empty_absent_and_unknown(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no clips found"):
        read_clips(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        read_clips(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="unknown layout"):
        read_clips(tmp_path, "vctk")
    with pytest.raises(DataError, match="layout ljspeech"):
        read_clips(tmp_path, "ljspeech")


def test_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_bytes("你好".encode("gb18030"))
    with pytest.raises(DataError, match=r"a\.txt.*UTF-8"):
        read_clips(tmp_path)


def test_shared_corpus(shared_dir: Path) -> None:
    name, clips = read_clips(shared_dir / "corpus")
    assert name == "manifest"
    assert len({clip.id for clip in clips}) == len(clips) > 7000
    assert all(clip.path.is_file() for clip in clips[::100])
    assert sum(bool(clip.pinyin) for clip in clips) == 476
