"""Readers of the data set layouts people have: which clips there are and what is said in them.

Each reader turns one folder convention into `SourceClip` records; nothing is decoded or
judged here, so a listed file may be missing or a text empty: `prepare` reports those. To
support another layout, write one reader and add it to `READERS`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError, UsageError

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".webm", ".aac")
TEXT_SUFFIXES = (".txt", ".lab")
_LANGUAGES = {
    "zh": ("zh", "zh-cn", "zh-tw", "cmn", "chinese", "mandarin", "all_zh"),
    "en": ("en", "en-us", "en-gb", "eng", "english"),
    "zh-pinyin": ("zh-pinyin", "pinyin"),
}
_LANGUAGE_OF = {alias: name for name, aliases in _LANGUAGES.items() for alias in aliases}
_GENDERS = {"f": "f", "female": "f", "m": "m", "male": "m"}
_HANZI = re.compile(r"[㐀-鿿]")


@dataclass(frozen=True)
class SourceClip:
    """One recording before any check.

    language: zh, en, zh-pinyin, or the layout's own word for a language we do not know
    gender:   f, m or empty
    corpus:   a name for the sub-collection, used to spread held-out speakers
    pinyin:   tone-numbered syllables as spoken, where the layout has them; preferred to text
    """

    id: str
    path: Path
    speaker: str
    language: str
    text: str
    gender: str = ""
    corpus: str = ""
    pinyin: str = ""


def read_clips(data: str | Path, layout: str = "auto") -> tuple[str, list[SourceClip]]:
    """Find out the layout of `data` and list its clips, sorted by id.

    layout:  one of `READERS` or auto
    returns: the layout's name and its clips
    raises:  UsageError if there is no such folder or layout; DataError if the layout is not
             recognised or has no clips
    """
    root = Path(data)
    if not root.exists():
        raise UsageError("the data folder does not exist", seen=root)
    if layout != "auto" and layout not in READERS:
        raise UsageError("unknown layout", seen=layout, allowed=f"auto, {', '.join(READERS)}")
    names = READERS if layout == "auto" else {layout: READERS[layout]}
    for name, reader in names.items():
        clips = sorted(reader(root), key=lambda clip: clip.id)
        if clips:
            return name, clips
    raise _nothing_found(root, layout)


def _nothing_found(root: Path, layout: str) -> DataError:
    recordings = sum(1 for _ in _audio_files(root)) if root.is_dir() else 0
    if layout == "auto" and recordings:
        return DataError(
            "these recordings have no text",
            seen=f"{recordings} audio files under {root}",
            allowed="a manifest, or a .txt with the same name beside each recording",
            cure="cut long recordings into utterances of 2 to 12 s "
            "(`kouji slice RECORDING --out FOLDER`), write what is said in each into a .txt "
            "beside it, and prepare again",
        )
    return DataError(
        "no clips found" if layout == "auto" else f"no clips found in layout {layout}",
        seen=root,
        allowed=f"one of the layouts {', '.join(READERS)}",
    )


def language_of(name: str, text: str) -> str:
    """Our name for a language a data set names; guessed from the script where it names none."""
    known = _LANGUAGE_OF.get(name.strip().lower())
    if known:
        return known
    return name.strip() or ("zh" if _HANZI.search(text) else "en")


def read_manifest(root: Path) -> Iterator[SourceClip]:
    """Our own manifest: `manifest.csv` or `speech/manifest.csv` with a header, split by `|`.

    Columns path and text are needed; speaker, language and gender are used if present, and
    `<corpus>/pinyin.csv` (path|pinyin) beside the manifest adds the syllables as spoken.
    """
    file = next(
        (
            f
            for f in (root / "manifest.csv", root / "speech/manifest.csv", root)
            if f.is_file() and f.name.endswith(".csv") and f.name != "metadata.csv"
        ),
        None,
    )
    if file is None:
        return
    rows = _read_table(file)
    if rows and not {"path", "text"} <= rows[0].keys():
        raise DataError(
            "the manifest lacks columns",
            seen=", ".join(rows[0]),
            allowed="a header with at least path|text",
        )
    pinyin = _read_pinyin(file.parent)
    for row in rows:
        relative, text = row["path"], row["text"].strip("\ufeff ")
        folder = Path(relative).parent
        yield SourceClip(
            id=str(Path(relative).with_suffix("")),
            path=file.parent / relative,
            speaker=row.get("speaker") or folder.name or "speaker",
            language=language_of(row.get("language") or "", text),
            text=text,
            gender=_GENDERS.get((row.get("gender") or "").lower(), ""),
            corpus=folder.parts[0] if folder.parts else "",
            pinyin=pinyin.get(relative, ""),
        )


def read_sovits_list(root: Path) -> Iterator[SourceClip]:
    """GPT-SoVITS: a `.list` file, or a folder with some, of lines path|speaker|language|text."""
    files = [root] if root.suffix == ".list" else sorted(root.glob("*.list"))
    for file in files:
        for number, line in enumerate(_read_lines(file), 1):
            parts = line.split("|", 3)
            if len(parts) != 4:
                raise DataError(
                    f"line {number} of {file.name} is not a clip",
                    seen=line[:80],
                    allowed="path|speaker|language|text",
                )
            path, speaker, language, text = (part.strip() for part in parts)
            yield SourceClip(
                id=str(Path(path.replace("\\", "/")).with_suffix("")),
                path=_find_listed(file.parent, path),
                speaker=speaker or "speaker",
                language=language_of(language, text),
                text=text,
            )


def _find_listed(folder: Path, listed: str) -> Path:
    """The file a list means: as written, from the list's folder, or by its bare name there.

    Lists are often made on another machine, so the folder part may not exist here.
    """
    relative = Path(listed.replace("\\", "/"))
    candidates = (folder / relative, folder / relative.name, folder / "wavs" / relative.name)
    return next((path for path in candidates if path.is_file()), candidates[0])


def read_ljspeech(root: Path) -> Iterator[SourceClip]:
    """LJ Speech: `metadata.csv` of id|text|normalised text beside `wavs/`; one speaker."""
    table = root / "metadata.csv"
    if not table.is_file():
        return
    for line in _read_lines(table):
        name, *texts = (part.strip() for part in line.split("|"))
        text = next((t for t in reversed(texts) if t), "")
        yield SourceClip(
            id=name,
            path=_with_any_suffix(root / "wavs" / name),
            speaker=root.resolve().name,
            language=language_of("", text),
            text=text,
        )


def read_aishell3(root: Path) -> Iterator[SourceClip]:
    """AISHELL-3: `content.txt` with hanzi and pinyin in turn beside `wav/SPEAKER/*.wav`.

    Takes the top folder (with train and test in it) or one of the two.
    """
    genders = {}
    info = next(
        (f for f in (root / "spk-info.txt", root.parent / "spk-info.txt") if f.is_file()), None
    )
    for line in _read_lines(info) if info else []:
        parts = line.split()
        if len(parts) >= 3 and not line.startswith("#"):
            genders[parts[0]] = _GENDERS.get(parts[2].lower(), "")
    for part in (root, root / "train", root / "test"):
        if not (part / "content.txt").is_file() or not (part / "wav").is_dir():
            continue
        for line in _read_lines(part / "content.txt"):
            name, *tokens = line.split()
            speaker = Path(name).stem[:7]
            yield SourceClip(
                id=f"{part.name}/{Path(name).stem}",
                path=part / "wav" / speaker / name,
                speaker=speaker,
                language="zh",
                text="".join(tokens[0::2]),
                gender=genders.get(speaker, ""),
                pinyin=" ".join(tokens[1::2]),
            )


def read_librispeech(root: Path) -> Iterator[SourceClip]:
    """LibriSpeech and LibriTTS: SPEAKER/CHAPTER/ with `*.trans.txt` or `*.normalized.txt`.

    The speaker folders may lie some levels below `root` (train-clean-100/...); all-capitals
    texts are lower-cased, since capitals would read as acronyms.
    """
    genders = _libri_genders(root)
    for file in sorted(root.rglob("*.trans.txt")):
        for line in _read_lines(file):
            name, _, text = line.partition(" ")
            yield _libri_clip(file.parent, name, text, genders)
    for file in sorted(root.rglob("*.normalized.txt")):
        text = " ".join(_read_lines(file))
        yield _libri_clip(file.parent, file.name.removesuffix(".normalized.txt"), text, genders)


def _libri_clip(chapter: Path, name: str, text: str, genders: dict[str, str]) -> SourceClip:
    speaker = chapter.parent.name
    text = text.strip()
    return SourceClip(
        id=name,
        path=_with_any_suffix(chapter / name),
        speaker=speaker,
        language="en",
        text=text.lower() if text.isupper() else text,
        gender=genders.get(speaker, ""),
        corpus=chapter.parent.parent.name,
    )


def _libri_genders(root: Path) -> dict[str, str]:
    """Speaker genders from SPEAKERS.TXT or speakers.tsv in `root` or up to two levels above."""
    for folder in (root, root.parent, root.parent.parent):
        for name in ("SPEAKERS.TXT", "SPEAKERS.txt", "speakers.tsv"):
            if (folder / name).is_file():
                rows = (re.split(r"\s*[|\t]\s*", line) for line in _read_lines(folder / name))
                return {r[0].strip(): _GENDERS.get(r[1].lower(), "") for r in rows if len(r) > 1}
    return {}


def read_pairs(root: Path) -> Iterator[SourceClip]:
    """A folder of recordings, each with a text of the same name beside it; speaker = folder.

    Recordings without a text are listed with an empty one, provided that any has a text.
    """
    if not root.is_dir():
        return
    files = list(_audio_files(root))
    texts = {audio: _text_beside(audio) for audio in files}
    if not any(texts.values()):
        return
    for audio, file in texts.items():
        text = " ".join(_read_lines(file)) if file else ""
        yield SourceClip(
            id=str(audio.relative_to(root).with_suffix("")),
            path=audio,
            speaker=audio.resolve().parent.name,
            language=language_of("", text),
            text=text,
        )


Reader = Callable[[Path], Iterator[SourceClip]]
# In the order they are tried: the most telling marks first, the loosest convention last.
READERS: dict[str, Reader] = {
    "manifest": read_manifest,
    "gpt-sovits": read_sovits_list,
    "ljspeech": read_ljspeech,
    "aishell3": read_aishell3,
    "librispeech": read_librispeech,
    "pairs": read_pairs,
}


def _audio_files(root: Path) -> Iterator[Path]:
    for file in sorted(root.rglob("*")):
        if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file():
            yield file


def _text_beside(audio: Path) -> Path | None:
    candidates = (audio.with_suffix(suffix) for suffix in TEXT_SUFFIXES)
    return next((file for file in candidates if file.is_file()), None)


def _with_any_suffix(stem: Path) -> Path:
    """The audio file called `stem` plus a suffix; the .wav name if there is none."""
    names = [stem.with_name(stem.name + suffix) for suffix in AUDIO_SUFFIXES]
    return next((path for path in names if path.is_file()), names[0])


def _read_lines(file: Path) -> list[str]:
    """Non-empty lines of a UTF-8 text, without a byte order mark."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            "a text file cannot be read", seen=f"{file}: {error}", allowed="UTF-8 text"
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _read_table(file: Path) -> list[dict[str, str]]:
    """Rows of a `|`-separated table with a header and no quoting; short rows are an error."""
    lines = _read_lines(file)
    reader = csv.reader(lines, delimiter="|", quoting=csv.QUOTE_NONE)
    header = next(reader, [])
    rows = []
    for number, row in enumerate(reader, 2):
        if len(row) != len(header):
            raise DataError(
                f"row {number} of {file.name} has the wrong number of fields",
                seen=f"{len(row)}: {'|'.join(row)[:80]}",
                allowed=f"{len(header)}: {'|'.join(header)}",
            )
        rows.append(dict(zip(header, row, strict=True)))
    return rows


def _read_pinyin(folder: Path) -> dict[str, str]:
    """Pinyin by clip path (relative to the manifest) from every `*/pinyin.csv`."""
    found = {}
    for file in sorted(folder.glob("*/pinyin.csv")):
        for row in _read_table(file):
            found[row["path"]] = row["pinyin"]
    return found
