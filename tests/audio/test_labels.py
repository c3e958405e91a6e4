"""Labels: every format that can carry them gives them back; foreign and broken tags do no harm."""

import io
import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from kouji.audio.encode import Encoder, encode_bytes, save_audio
from kouji.audio.labels import (
    PLAIN_LABEL,
    id3_tag,
    label_tags,
    read_labels,
    riff_info,
    tags_as_comment,
)
from kouji.audio.load import load_audio
from kouji.errors import UnreadableAudio
from kouji.types import Audio

RATE = 24000
SOUND = Audio((0.1 * np.sin(np.arange(RATE) * 0.05)).astype(np.float32), RATE)
TAGS = {**label_tags("voice-7/line 3"), "title": "第一章：口技 “quoted”", "artist": "Ålice"}
WITH_TAGS = ["wav", "flac", "mp3", "opus", "aac"]


@pytest.mark.parametrize("format", WITH_TAGS)
def test_labels_of_files(format: str, tmp_path: Path) -> None:
    path = tmp_path / f"out.{format}"
    save_audio(SOUND, path, tags=TAGS)
    labels = read_labels(path)
    assert labels.is_ai_generated
    assert labels.aigc == {
        "Label": "1",
        "ContentProducer": "kouji",
        "ProduceID": "voice-7/line 3",
        "ReservedCode1": "",
        "ContentPropagator": "",
        "PropagateID": "",
        "ReservedCode2": "",
    }
    assert labels.tags["comment"] == PLAIN_LABEL
    assert labels.tags["title"] == TAGS["title"]
    assert labels.tags["artist"] == TAGS["artist"]
    assert json.loads(labels.tags["aigc"])["AIGC"]["Label"] == "1"
    assert load_audio(path).duration == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("format", WITH_TAGS)
def test_a_stream_is_labelled_from_its_first_bytes(format: str) -> None:
    pytest.importorskip("av")
    encoder = Encoder(format, RATE, tags=TAGS)
    first = encoder.write(SOUND.samples[: RATE // 2])
    assert read_labels(first).is_ai_generated
    assert read_labels(first + encoder.close()).aigc["ProduceID"] == "voice-7/line 3"


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffprobe")
@pytest.mark.parametrize("format", WITH_TAGS)
@pytest.mark.parametrize("is_streamed", [False, True])
def test_other_programs_read_the_labels(format: str, is_streamed: bool, tmp_path: Path) -> None:
    """ffprobe, which knows nothing of us; RIFF has no field of a free name, so no AIGC there."""
    if is_streamed:
        pytest.importorskip("av")
        encoder = Encoder(format, RATE, tags=TAGS)
        content = encoder.write(SOUND.samples) + encoder.close()
    else:
        content = encode_bytes(SOUND, format, TAGS)
    path = tmp_path / f"out.{format}"
    path.write_bytes(content)
    command = ["ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "json", str(path)]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    tags = {**told["streams"][0].get("tags", {}), **told["format"].get("tags", {})}
    named = {name.lower(): value for name, value in tags.items()}
    assert PLAIN_LABEL in named["comment"]
    if format != "wav":
        assert json.loads(named["aigc"])["AIGC"]["Label"] == "1"


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "opus"])
def test_labels_without_av(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    labels = read_labels(encode_bytes(SOUND, format, TAGS))
    assert labels.is_ai_generated
    assert labels.aigc["ProduceID"] == "voice-7/line 3"


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "opus", "aac"])
def test_ffmpeg_reads_our_tags(format: str) -> None:
    av = pytest.importorskip("av")
    with av.open(io.BytesIO(encode_bytes(SOUND, format, TAGS))) as file:
        tags = {**file.metadata, **file.streams.audio[0].metadata}
    found = {name.lower(): value for name, value in tags.items()}
    assert found["comment"] == PLAIN_LABEL
    if format != "wav":  # RIFF has no field for it; ours is a chunk ffmpeg does not name
        assert '"Label":"1"' in found["aigc"]


def test_libsndfile_reads_our_wav_tags() -> None:
    import soundfile

    with soundfile.SoundFile(io.BytesIO(encode_bytes(SOUND, "wav", TAGS))) as file:
        assert file.comment == PLAIN_LABEL
        assert file.title == TAGS["title"]


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "opus", "aac", "pcm"])
def test_unlabelled_files_claim_nothing(format: str) -> None:
    labels = read_labels(encode_bytes(SOUND, format))
    assert not labels.is_ai_generated
    assert labels.aigc == {}


def test_pcm_has_no_room_for_labels() -> None:
    assert encode_bytes(SOUND, "pcm", TAGS) == encode_bytes(SOUND, "pcm")


def test_tags_that_would_break_a_file_are_cleaned() -> None:
    tags = {"title": "two\nlines\0and\x07more", "artist": "lone \ud800 surrogate", "odd": "é" * 999}
    for format in WITH_TAGS:
        found = read_labels(encode_bytes(SOUND, format, tags)).tags
        assert found["title"] == "two lines and more"
        assert found["artist"] == "lone   surrogate"
    assert riff_info({}) == b""
    assert id3_tag({}) == b""
    assert tags_as_comment({"title": "x"}) == ""


@pytest.mark.parametrize(
    "text", ["", "{", '{"AIGC":', "[1]", '{"AIGC":3}', "{" * 5000, '{"a":NaN}']
)
def test_wrong_records_are_no_records(text: str) -> None:
    labels = read_labels(encode_bytes(SOUND, "wav", {"AIGC": text, "comment": "by hand"}))
    assert not labels.is_ai_generated


def test_old_id3_versions() -> None:
    text = b"\x01" + "你好".encode("utf-16")
    frame = b"TIT2" + struct.pack(">I", len(text)) + b"\0\0" + text
    data = b"ID3\x03\0\0\0\0\0" + bytes([len(frame)]) + frame + bytes(50)
    assert read_labels(data).tags == {"title": "你好"}


@pytest.mark.parametrize("seed", range(40))
def test_damaged_tags_do_no_harm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(encode_bytes(SOUND, WITH_TAGS[seed % 5], TAGS))
    for position in rng.integers(0, 400, 12):
        data[position] = rng.integers(256)
    read_labels(bytes(data[: int(rng.integers(1, len(data)))]))


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.wav", "nul\0"):
        with pytest.raises(UnreadableAudio, match="cannot read"):
            read_labels(path)
