"""The audit file: one line for every use of a voice, chained by hashes, without any text.

Each line carries the hash of the line before it, so a line that was changed or taken out
shows; the number of lines and the last hash stand in a file beside it, so that lines cut off
at the end show too. Whoever can write both can forge both: `Chain.hash`, kept somewhere else,
tells even then. It knows what was done with which voice under which policy, never what was said.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kouji.errors import VoiceError
from kouji.voices.lines import append_line, drop_torn_end, last_line, locked

FIRST = "0" * 64  # what the first line names as the hash before it
_EVIDENCE = "keep the file and its .head as evidence, and move both away to begin anew"


@dataclass(frozen=True)
class Chain:
    """How many lines there are, and the hash of the last."""

    count: int = 0
    hash: str = FIRST


def append(path: Path, event: str, **facts: str | int | bool | None) -> str:
    """Add one line and return its hash; safe against other processes doing the same.

    event:  what happened, such as `say` or `voice.add`
    facts:  voice hash, watermark id, policy; never the text that was spoken
    raises: VoiceError if the end of the file is not as it was left, OSError
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path) as descriptor:
        end = _end_of(path, descriptor)
        time = datetime.now(UTC).isoformat(timespec="seconds")
        line: dict[str, object] = {"time": time, "event": event, **facts, "previous": end.hash}
        line["hash"] = _hash_line(line)
        append_line(descriptor, json.dumps(line, ensure_ascii=False))
        _write_head(path, Chain(end.count + 1, str(line["hash"])))
    return str(line["hash"])


def verify(path: Path) -> int:
    """Check the chain and return the number of lines; VoiceError names the first broken one."""
    return check(path).count


def check(path: Path, *, expected: str | None = None) -> Chain:
    """Walk the whole chain, which is compared with what the file's head says.

    expected: a hash noted earlier, which must still be a line of the chain
    raises:   VoiceError naming the first broken line, or how many are missing; OSError
    """
    head = _read_head(path)  # first: lines may be added meanwhile
    end, head_hash, is_expected = Chain(), FIRST, expected in (None, FIRST)
    for line in _lines(path):
        end = _next(path, end, line)
        is_expected = is_expected or end.hash == expected
        if head is not None and end.count == head.count:
            head_hash = end.hash
    _compare(path, end, head, head_hash)
    if not is_expected:
        raise VoiceError(f"no line of {path} has this hash", seen=expected, cure=_EVIDENCE)
    return end


def find(path: Path, **facts: str) -> Iterator[dict[str, Any]]:
    """The lines with these facts, such as watermark="1a2b3c4d"; damaged lines are passed over."""
    for text in _lines(path):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and all(line.get(key) == facts[key] for key in facts):
            yield line


def head_path(path: Path) -> Path:
    """The file with the count and last hash of an audit file."""
    return path.with_name(path.name + ".head")


def _lines(path: Path) -> Iterator[str]:
    """The lines one by one; an unfinished one at the end is not a line yet."""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for text in file:
            if text.endswith("\n"):
                yield text[:-1]


def _next(path: Path, before: Chain, text: str) -> Chain:
    """The chain with one more line; VoiceError if it does not hang on the one before."""
    try:
        line = json.loads(text)
        is_whole = line["previous"] == before.hash and line["hash"] == _hash_line(line)
    except (ValueError, KeyError, TypeError):
        is_whole = False
    if not is_whole:
        number = before.count + 1
        raise VoiceError(f"{path} was changed at line {number}", cure="keep it as evidence")
    return Chain(before.count + 1, str(line["hash"]))


def _compare(path: Path, end: Chain, head: Chain | None, head_hash: str) -> None:
    """The head may lag behind the chain (a crash between the two), never the other way round."""
    if head is None or head.hash == head_hash:
        return
    if head.count > end.count:
        raise VoiceError(
            f"{path} is damaged: lines are missing at its end",
            seen=f"{end.count} lines of {head.count}: line {end.count + 1} is missing",
            cure=_EVIDENCE,
        )
    raise VoiceError(f"{path} was changed at line {head.count} or before", cure=_EVIDENCE)


def _end_of(path: Path, descriptor: int) -> Chain:
    """Where to go on; only the end of the file is read as long as it is as the head says."""
    head = _read_head(path) or Chain()
    if _hash_in(last_line(descriptor)) == head.hash:
        if os.pread(descriptor, 1, max(0, os.fstat(descriptor).st_size - 1)) in (b"", b"\n"):
            return head
    elif os.fstat(descriptor).st_size == 0 and head.count == 0:
        return head
    # No head yet, or a crash between line and head: the chain itself decides, once.
    end = check(path)
    is_torn = _is_torn(descriptor)
    if is_torn and end.count == 0 and head.count == 0:
        raise VoiceError(f"the last line of {path} is damaged", cure=_EVIDENCE)
    if is_torn:
        drop_torn_end(descriptor)  # it was never finished: whoever wrote it was not told so
    return end


def _is_torn(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def _hash_in(line: bytes) -> str | None:
    """The hash a line carries; None if it is not a line of ours."""
    try:
        return str(json.loads(line)["hash"])
    except (ValueError, KeyError, TypeError):
        return None


def _hash_line(line: dict[str, object]) -> str:
    """sha256 of every field but the hash itself, in a fixed order."""
    content = {key: value for key, value in line.items() if key != "hash"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read_head(path: Path) -> Chain | None:
    """What the head says; None where there is none, as beside files of older versions."""
    try:
        values = json.loads(head_path(path).read_text(encoding="utf-8"))
        return Chain(int(values["count"]), str(values["hash"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VoiceError(
            f"{head_path(path)} is damaged", seen=error, cure="keep it as evidence, and remove it"
        ) from error


def _write_head(path: Path, chain: Chain) -> None:
    """Under the lock of the file, so one name for the draft is enough."""
    draft = path.with_name(f".{path.name}.head.tmp")
    draft.write_text(json.dumps(asdict(chain)) + "\n", encoding="utf-8")
    os.replace(draft, head_path(path))
