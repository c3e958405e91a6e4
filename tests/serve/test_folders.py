"""Which files a caller may name, and that every other path is refused alike."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kouji.errors import TooLarge, UsageError
from kouji.serve.caller import LOCAL, Caller
from kouji.serve.folders import Folders

ANN, BOB = (Caller(name, name, frozenset({"speak"})) for name in ("ann", "bob"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a few files, and one outside of it."""
    home = tmp_path / "home"
    for path in (
        "references/all.wav",
        "references/ann/own.wav",
        "references/ann/deep/own.wav",
        "references/bob/own.wav",
        "references/bob/his.wav",
        "models/tuned/a.ckpt",
        "voices/carol/reference.flac",
        "voices/carol/voice.json",
        "config.toml",
    ):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(path)
    (tmp_path / "secret.wav").write_text("secret")
    (home / "references/link.wav").symlink_to(tmp_path / "secret.wav")
    (home / "references/ann/out").symlink_to(tmp_path)
    (home / "references/ann/to-bob.wav").symlink_to(home / "references/bob/his.wav")
    os.mkfifo(home / "references/pipe.wav")
    return home


@pytest.fixture
def folders(home: Path) -> Folders:
    """What lies there."""
    return Folders(home, max_bytes=1000)


def test_a_caller_names_shared_and_own_recordings(folders: Folders, home: Path) -> None:
    assert folders.recording("all.wav", ANN) == b"references/all.wav"
    assert folders.recording("own.wav", ANN) == b"references/ann/own.wav"
    assert folders.recording("own.wav", BOB) == b"references/bob/own.wav"
    assert folders.recording("deep/own.wav", ANN) == b"references/ann/deep/own.wav"
    assert folders.recording(str(home / "references/ann/own.wav"), ANN)
    assert folders.recording("bob/his.wav", LOCAL)


@pytest.mark.parametrize(
    "given",
    [
        "",
        ".",
        "missing.wav",
        "../config.toml",
        "deep/../own.wav",
        "bob/his.wav",
        "to-bob.wav",
        "link.wav",
        "out/secret.wav",
        "pipe.wav",
        "ann",
        "/etc/passwd",
        "own.wav\0",
        "\\\\host\\share\\a.wav",
        "//host/share/a.wav",
        "..\\config.toml",
        "file:///etc/passwd",
        "a" * 2000,
        "own.wav\n",
        "\ud800.wav",
    ],
)
def test_every_other_path_is_refused_in_the_same_words(folders: Folders, given: str) -> None:
    with pytest.raises(UsageError) as caught:
        folders.recording(given, ANN)
    with pytest.raises(UsageError) as missing:
        folders.recording("no-such-file.wav", ANN)
    assert str(caught.value) == str(missing.value)
    with pytest.raises(UsageError):
        folders.weights(given)


def test_paths_out_of_the_home_are_refused_even_where_they_exist(
    folders: Folders, home: Path, tmp_path: Path
) -> None:
    for path in (tmp_path / "secret.wav", home / "config.toml", home / "voices/carol/voice.json"):
        with pytest.raises(UsageError):
            folders.recording(str(path), LOCAL)


def test_a_large_recording_is_refused_before_it_is_read(folders: Folders, home: Path) -> None:
    (home / "references/big.wav").write_bytes(b"x" * 1000)
    assert len(folders.recording("big.wav", ANN)) == 1000
    (home / "references/big.wav").write_bytes(b"x" * 1001)
    with pytest.raises(TooLarge):
        folders.recording("big.wav", ANN)


def test_weights_lie_among_the_models_or_beside_a_voice(folders: Folders, home: Path) -> None:
    for given in ("tuned/a.ckpt", "models/tuned/a.ckpt", str(home / "models/tuned/a.ckpt")):
        assert folders.weights(given) == (home / "models/tuned/a.ckpt", None)
    assert folders.weights("carol/voice.json")[1] == "carol"
    assert folders.kept_voice("voices/carol/reference.flac") == "carol"
    assert folders.kept_voice(str(home / "voices/carol/voice.json")) is None
