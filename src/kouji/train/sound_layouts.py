"""Readers of labelled sound collections: which clips a folder holds, of which class and fold.

Each reader turns one convention into `ListedSound` rows. Nothing is decoded here, and a listed
file may be missing: `sound_sets` judges. Another layout is one more reader in `READERS`.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ..errors import DataError, UsageError

SUFFIXES = frozenset(
    ".wav .flac .ogg .oga .opus .mp3 .m4a .aac .webm .mp4 .aif .aiff .au .caf .w64 .wma".split()
)
_SPLITS = re.compile(r"(?i)(train(ing)?|valid(ation)?|val|dev|test(ing)?|eval|fold[ _-]?\d+)")
# Both say in the name which recording a clip was cut from: ESC's FOLD-RECORDING-TAKE, and
# UrbanSound8K's RECORDING-CLASS-OCCURRENCE-SLICE.
_SOURCES = (re.compile(r"\d+-(\d+)-[A-Z](-\d+)?"), re.compile(r"(\d+)-\d+-\d+-\d+"))


@dataclass(frozen=True)
class ListedSound:
    """One row of a collection.

    name:      path below the collection's folder, with forward slashes; what subsets select by
    fold:      as the collection says it, None where it says none
    speaker:   who is heard, empty where nobody says so
    recording: what the clip was cut from; clips of one recording stay in one fold
    order:     of the class among the others, where the collection numbers its classes
    fault:     why the row itself cannot be used, empty where it can
    """

    name: str
    path: Path
    label: str
    fold: str | None = None
    speaker: str = ""
    recording: str = ""
    order: int | None = None
    is_esc10: bool = False
    fault: str = ""


@dataclass(frozen=True)
class Tree:
    """The sound files below a folder, found once; names are looked up whatever their case."""

    root: Path
    files: dict[str, Path]  # by name below root, forward slashes
    folders: tuple[str, ...]  # names of the folders below root
    _lowered: dict[str, str] = field(default_factory=dict)

    @classmethod
    def walk(cls, root: Path) -> Tree:
        """Look below `root`; hidden files and folders are left out, links are followed once."""
        files: dict[str, Path] = {}
        folders: list[str] = []
        seen: set[str] = set()
        for place, below, names in os.walk(root, followlinks=True):
            real = os.path.realpath(place)
            below[:] = [] if real in seen else sorted(n for n in below if not _is_hidden(n))
            if real in seen:
                continue
            seen.add(real)
            here = Path(place)
            folders += [(here / n).relative_to(root).as_posix() for n in below]
            for name in sorted(names):
                if Path(name).suffix.lower() in SUFFIXES and not _is_hidden(name):
                    files[(here / name).relative_to(root).as_posix()] = here / name
        tree = cls(root, files, tuple(folders))
        for name in files:  # a stem finds the file under another suffix: .wav kept as .ogg
            tree._lowered.setdefault(_stem(name).lower(), name)
        for name in files:
            tree._lowered[name.lower()] = name
        return tree

    def find(self, listed: str, folders: Iterable[str] = ("",)) -> tuple[str, Path]:
        """Name and path of a listed file in one of `folders`, by as much of its path as fits.

        listed: as a table has it, perhaps written on Windows or with another machine's folders
        returns: where it should be, if it is nowhere
        """
        clean = re.sub(r"^[A-Za-z]:", "", listed.strip().replace("\\", "/")).lstrip("/")
        clean = os.path.normpath(clean).replace(os.sep, "/")
        parts = PurePosixPath(clean).parts
        ends = ["/".join(parts[first:]) for first in range(len(parts))]
        wanted = [str(PurePosixPath(folder, end)) for end in ends for folder in folders]
        for key in (*wanted, *map(_stem, wanted)):
            if found := self._lowered.get(key.lower()):
                return found, self.files[found]
        return wanted[0], self.root / wanted[0]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def recording_of(name: str) -> str:
    """What a clip was cut from, by its file name; the name itself where it does not say."""
    stem = PurePosixPath(name).stem
    found = next((m for pattern in _SOURCES if (m := pattern.fullmatch(stem))), None)
    return found.group(1) if found else name


def read_urbansound8k(tree: Tree) -> list[ListedSound]:
    """UrbanSound8K: a table of slice_file_name, fold, classID and class; audio/fold1 ... fold10."""
    table = _find_table(tree, ("metadata", ""), ("slice_file_name", "fold"))
    if table is None:
        return []
    rows = []
    for row in table:
        fold = _fold(row.get("fold"))
        places = (f"audio/fold{fold}", f"fold{fold}", "audio", "")
        name, path = tree.find(row["slice_file_name"], places)
        rows.append(_row(name, path, row, row.get("class") or row.get("classid"), fold, "classid"))
    return rows


def read_esc50(tree: Tree) -> list[ListedSound]:
    """ESC-50 and ESC-10: a table of filename, fold, target and category; clips in audio/."""
    table = _find_table(tree, ("meta", ""), ("filename", "fold"), ("category", "target"))
    if table is None:
        return []
    rows = []
    for row in table:
        name, path = tree.find(row["filename"], ("audio", ""))
        label = row.get("category") or row.get("target")
        rows.append(_row(name, path, row, label, _fold(row.get("fold")), "target"))
    return rows


def read_manifest(tree: Tree) -> list[ListedSound]:
    """Our manifest: `manifest.csv` or `sounds/manifest.csv` with a header path|label|fold|..."""
    table = _find_table(tree, ("",), ("path", "label"), only="manifest.csv") or []
    found = ((row, *tree.find(row["path"])) for row in table)
    return [
        _row(name, path, row, row["label"], _fold(row.get("fold")), "target")
        for row, name, path in found
    ]


def read_folders(tree: Tree) -> list[ListedSound]:
    """A folder per class, with any folders below; train/ and test/ or fold1/ above are folds."""
    parts = {name: PurePosixPath(name).parts for name in tree.files}
    tops = {each[0] for each in parts.values() if len(each) > 1}
    has_folds = bool(tops) and all(_SPLITS.fullmatch(top) for top in tops)
    depth = int(has_folds)
    rows = []
    for name, path in tree.files.items():
        above = parts[name][:-1]
        if len(above) <= depth:
            continue  # a file beside the class folders has no class
        rows.append(
            ListedSound(
                name,
                path,
                above[depth],
                fold=_fold(above[0]) if has_folds else None,
                speaker=above[depth + 1] if len(above) > depth + 1 else "",
                recording=recording_of(name),
            )
        )
    return rows


Reader = Callable[[Tree], list[ListedSound]]
# In the order they are tried, the loosest last.
READERS: dict[str, Reader] = {
    "urbansound8k": read_urbansound8k,
    "esc50": read_esc50,
    "manifest": read_manifest,
    "folders": read_folders,
}


@dataclass(frozen=True)
class Listing:
    """What a layout's reader found.

    rows:     of the subset asked for
    unlisted: names of sound files that no row means
    folders:  all folders below the collection's
    """

    layout: str
    rows: tuple[ListedSound, ...]
    unlisted: tuple[str, ...]
    folders: tuple[str, ...]


def list_sounds(folder: Path, layout: str, subset: str | None) -> Listing:
    """Find out the layout of `folder` and list its rows, those of `subset` only.

    raises: UsageError for an unknown layout, folder or subset, DataError where there is nothing
    """
    if layout != "auto" and layout not in READERS:
        raise UsageError("unknown layout", seen=layout, allowed=f"auto, {', '.join(READERS)}")
    if not folder.exists():
        raise UsageError("the data folder does not exist", seen=folder)
    root = folder if folder.is_dir() else folder.parent
    for name in READERS if layout == "auto" else [layout]:
        for place in _places(root):
            is_folders, inner = name == "folders", place / (subset or "")
            tree = Tree.walk(inner if is_folders and inner.is_dir() else place)
            rows = READERS[name](tree)
            if is_folders and place == root and len({row.label for row in rows}) == 1:
                continue  # an archive unpacked into a folder of its own, perhaps
            if rows:
                chosen = rows if tree.root == inner and is_folders else select_rows(rows, subset)
                listed = {row.path for row in rows}
                loose = tuple(each for each, path in tree.files.items() if path not in listed)
                return Listing(name, tuple(chosen), loose, tree.folders)
    raise DataError(
        "no labelled sounds found" + ("" if layout == "auto" else f" in layout {layout}"),
        seen=folder,
        allowed="UrbanSound8K, ESC-50, a manifest.csv of path|label, or a folder per class",
        cure="see docs/classification.md for the layouts; two classes or more are needed",
    )


def _places(root: Path) -> list[Path]:
    """`root`, and the only folder in it: archives often unpack to one (ESC-50-master/).

    Or its folder sounds/, where that has a manifest.
    """
    if (root / "sounds" / "manifest.csv").is_file():
        return [root, root / "sounds"]
    inner = [path for path in root.iterdir() if path.is_dir() and not _is_hidden(path.name)]
    return [root, *inner] if len(inner) == 1 else [root]


def select_rows(rows: list[ListedSound], subset: str | None) -> list[ListedSound]:
    """Rows whose name begins with the folders of `subset`, or ESC-50's rows flagged esc10."""
    if not subset:
        return rows
    wanted = tuple(part.lower() for part in PurePosixPath(subset.replace("\\", "/")).parts)
    chosen = [
        row
        for row in rows
        if tuple(part.lower() for part in PurePosixPath(row.name).parts[: len(wanted)]) == wanted
    ]
    if not chosen and wanted in {("esc10",), ("esc-10",)}:
        chosen = [row for row in rows if row.is_esc10]
    if not chosen:
        tops = sorted({PurePosixPath(row.name).parts[0] for row in rows})
        flag = ["esc10"] if any(row.is_esc10 for row in rows) else []
        raise UsageError(
            "no clip belongs to this subset", seen=subset, allowed=", ".join((flag + tops)[:20])
        )
    return chosen


def _row(
    name: str, path: Path, row: dict[str, str], label: str | None, fold: str | None, order: str
) -> ListedSound:
    number = row.get(order) or ""
    return ListedSound(
        name,
        path,
        label or "",
        fold,
        speaker=_speaker(name, row, label or ""),
        recording=recording_of(name),
        order=int(float(number)) if re.fullmatch(r"\d+(\.0*)?", number) else None,
        is_esc10=(row.get("esc10") or "").lower() in ("true", "1", "yes"),
        fault=row.get("") or ("" if label else "its row names no class"),
    )


def _speaker(name: str, row: dict[str, str], label: str) -> str:
    """Who is heard: a column `speaker`, "speaker NAME" in the source, or the clip's folder."""
    if row.get("speaker"):
        return row["speaker"]
    if said := re.search(r"speaker[ :=]+([^\s,;|]+)", row.get("source") or ""):
        return said.group(1)
    folder = PurePosixPath(name).parent
    is_person = len(folder.parts) > 1 and folder.name != label and "path" in row
    return folder.name if is_person else ""


def _fold(value: str | None) -> str | None:
    """A fold's name: "fold1", "1" and "1.0" are one."""
    text = (value or "").strip()
    number = re.fullmatch(r"(?i)(?:fold[ _-]?)?(\d+)(?:\.0*)?", text)
    return str(int(number.group(1))) if number else text.lower() or None


def _find_table(
    tree: Tree,
    folders: tuple[str, ...],
    columns: tuple[str, ...],
    any_of: tuple[str, ...] = (),
    *,
    only: str = "",
) -> list[dict[str, str]] | None:
    """Rows of the first csv in `folders` that has all `columns` and, if given, one of `any_of`."""
    for folder in folders:
        place = tree.root / folder
        for file in sorted(place.glob("*")) if place.is_dir() else ():
            is_table = file.suffix.lower() in (".csv", ".tsv") and not _is_hidden(file.name)
            if not is_table or (only and file.name.lower() != only):
                continue
            rows = _read_table(file, columns)
            if rows and (not any_of or any(name in rows[0] for name in any_of)):
                return rows
    return None


def _read_table(file: Path, columns: tuple[str, ...]) -> list[dict[str, str]] | None:
    """Rows of a table whose header has `columns`, by lower-case name; None if it has not.

    Separator and encoding are found out. A row with too few or many fields keeps what it has and
    says so under the name "".
    """
    lines = [line for line in _read_text(file).splitlines() if line.strip()]
    for separator in "|,;\t":
        if separator == "|":
            reader = csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE)
        else:
            reader = csv.reader(lines, delimiter=separator)
        header = [name.strip().lower() for name in next(reader, [])]
        if not set(columns) <= set(header):
            continue
        rows = []
        for fields in reader:
            row = dict(zip(header, (value.strip() for value in fields), strict=False))
            if any(not row.get(name) for name in columns if name != "fold"):
                what = f"{len(fields)} fields, {len(header)} expected"
                row[""] = f"row {reader.line_num} of {file.name} is incomplete: {what}"
            rows.append({**dict.fromkeys(columns, ""), **row})
        return rows
    return None


def _read_text(file: Path) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError("a table cannot be read", seen=f"{file}: {error.strerror}") from error
    encodings = ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError("a table is not text", seen=file, allowed="UTF-8, UTF-16 or Windows-1252")
