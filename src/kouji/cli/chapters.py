"""Long texts: cut into blocks, each block rendered once and kept until the whole is done.

Finished blocks lie in `<out>.kouji-partial/`, under a key made of the text, the voice and
every option; a run that was stopped goes on with the block it was in, and the result is the
same bit for bit. Memory holds one block at a time. Knows the stream of the api, the splitter
and FLAC; knows nothing of formats, terminals or consent.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kouji.errors import KoujiError, TextError
from kouji.types import Samples, Timing

FORMAT = "1"  # of the partial folder; a change makes older ones start over
BLOCK_PAUSE_SECONDS = 0.35  # between two blocks, as between two paragraphs


@dataclass
class Rendered:
    """What was rendered besides the samples: timings from the start of the whole, and warnings."""

    words: list[Timing] = field(default_factory=list)
    phones: list[Timing] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    num_samples: int = 0

    def add(self, other: Rendered, sample_rate: int) -> None:
        """Append what follows in time."""
        shift = self.num_samples / sample_rate
        self.words += [_shifted(word, shift) for word in other.words]
        self.phones += [_shifted(phone, shift) for phone in other.phones]
        self.warnings += [line for line in other.warnings if line not in self.warnings]
        self.num_samples += other.num_samples


def stream_into(write: Callable[[Samples], object], chunks: Iterator[Any]) -> Rendered:
    """Write every chunk of one stream and collect what came with it."""
    rendered = Rendered()
    for chunk in chunks:
        write(chunk.samples)
        rendered.words += chunk.words
        rendered.phones += chunk.phones
        rendered.num_samples += len(chunk.samples)
        told = chunk.warnings + (chunk.segment.warnings if chunk.segment else ())
        rendered.warnings += [line for line in told if line not in rendered.warnings]
    return rendered


class PartialFolder:
    """The finished blocks of one output, on disk; `key` is everything the sound depends on."""

    def __init__(self, out: Path, key: Mapping[str, object]) -> None:
        self.path = out.with_name(f"{out.name}.kouji-partial")
        text = json.dumps({"format": FORMAT, **key}, sort_keys=True, ensure_ascii=False)
        self._key = hashlib.sha256(text.encode()).hexdigest()

    def open(self) -> int:
        """Prepare the folder and return how many blocks of this very text it holds already."""
        marker = self.path / "key"
        if not marker.is_file() or marker.read_text(encoding="utf-8") != self._key:
            shutil.rmtree(self.path, ignore_errors=True)
            try:
                self.path.mkdir(parents=True)
                marker.write_text(self._key, encoding="utf-8")
            except OSError as error:
                raise _unwritable(self.path, error) from error
        return len(list(self.path.glob("*.json")))

    def load(self, index: int) -> tuple[Samples, Rendered] | None:
        """A finished block, or None if it is not there or was cut off."""
        import soundfile

        try:
            values = json.loads(self._file(index, "json").read_text(encoding="utf-8"))
            grid = np.zeros(0, np.int32)
            if values["num_samples"]:
                grid, _ = soundfile.read(self._file(index, "flac"), dtype="int32")
        except (OSError, ValueError, soundfile.LibsndfileError):
            return None
        if len(grid) != values["num_samples"]:
            return None
        timings = {name: [Timing(*item) for item in values[name]] for name in ("words", "phones")}
        rendered = Rendered(
            **timings, warnings=values["warnings"], num_samples=values["num_samples"]
        )
        return (grid / np.float32(1 << 31)).astype(np.float32), rendered

    def save(self, index: int, samples: Samples, sample_rate: int, rendered: Rendered) -> None:
        """Keep a block: the sound first, the description that makes it count last.

        raises: KoujiError where the disk refuses; the blocks before are kept
        """
        try:
            self._save(index, samples, sample_rate, rendered)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def _save(self, index: int, samples: Samples, sample_rate: int, rendered: Rendered) -> None:
        import soundfile

        grid = np.clip(np.round(samples.astype(np.float64) * (1 << 23)), -(1 << 23), (1 << 23) - 1)
        sound, draft = self._file(index, "flac"), self._file(index, "tmp")
        if len(grid):
            shifted = grid.astype(np.int32) << 8  # 24 bits sit in the upper part of 32
            content = io.BytesIO()
            soundfile.write(content, shifted, sample_rate, format="FLAC", subtype="PCM_24")
            draft.write_bytes(content.getvalue())
            os.replace(draft, sound)
        values = asdict(rendered) | {
            name: [[item.text, item.start, item.end] for item in getattr(rendered, name)]
            for name in ("words", "phones")
        }
        draft.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
        os.replace(draft, self._file(index, "json"))

    def remove(self) -> None:
        """Everything is in the output: nothing needs to be kept."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _file(self, index: int, suffix: str) -> Path:
        return self.path / f"{index:06}.{suffix}"


def render_blocks(
    blocks: list[str],
    render: Callable[[str, str], Iterator[Any]],
    partial: PartialFolder,
    sample_rate: int,
    on_block: Callable[[int], None],
    *,
    is_end_noted: bool = False,
) -> None:
    """Render every block that the folder does not hold yet.

    render:       starts the stream of one block, given its text and which part of the work it is:
                  whole, first, middle or last of what has a sound
    on_block:     called with the number of characters each time a block is done
    is_end_noted: an audible notice has to follow the last block
    raises:       TextError if no block at all has a sound, or the notice has nothing to follow;
                  another silent block (a row of stars) is passed over with a warning
    """
    has_begun = False
    last = _last_to_sound(blocks)
    for index, block in enumerate(blocks):
        kept = partial.load(index)
        if kept is None:
            part = _part(has_begun, index == last)
            samples, rendered = _render_block(block, part, render)
            if index == last and is_end_noted and rendered.num_samples == 0:
                raise TextError(
                    "the notice at the end has nothing to follow: the last words have no sound",
                    seen=repr(block.strip()[:40]),
                    cure="take them out of the text",
                )
            partial.save(index, samples, sample_rate, rendered)
        else:
            rendered = kept[1]
        has_begun = has_begun or rendered.num_samples > 0
        on_block(len(block))
    if not has_begun:
        raise TextError("nothing in this text has a sound", seen=repr("".join(blocks)[:40]))


def _last_to_sound(blocks: list[str]) -> int:
    """The last block with a letter or digit in it; the last of all where there is none."""
    sounding = [i for i, block in enumerate(blocks) if any(map(str.isalnum, block))]
    return sounding[-1] if sounding else len(blocks) - 1


def _part(has_begun: bool, is_last: bool) -> str:
    if has_begun:
        return "last" if is_last else "middle"
    return "whole" if is_last else "first"


def _render_block(
    block: str, part: str, render: Callable[[str, str], Iterator[Any]]
) -> tuple[Samples, Rendered]:
    parts: list[Samples] = []
    try:
        rendered = stream_into(parts.append, render(block, part))
    except KoujiError as error:
        if type(error) is not TextError:
            raise
        rendered = Rendered(warnings=[f"passed over {block.strip()[:20]!r}: {error.what}"])
        parts = []
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return samples, rendered


def join_blocks(
    num_blocks: int, partial: PartialFolder, sample_rate: int, write: Callable[[Samples], object]
) -> Rendered:
    """Write the kept blocks in order with a pause between them, one in memory at a time.

    raises: KoujiError if a block vanished meanwhile
    """
    whole = Rendered()
    pause = np.zeros(round(BLOCK_PAUSE_SECONDS * sample_rate), np.float32)
    for index in range(num_blocks):
        kept = partial.load(index)
        if kept is None:
            raise KoujiError(
                f"{partial.path} was changed while in use", cure="run the same command again"
            )
        samples, rendered = kept
        if whole.num_samples and rendered.num_samples:
            write(pause)
            whole.num_samples += len(pause)
        if rendered.num_samples:
            write(samples)
        whole.add(rendered, sample_rate)
    return whole


def _unwritable(path: Path, error: OSError) -> KoujiError:
    return KoujiError(
        f"cannot write to {path}",
        seen=error.strerror or error,
        cure="free space or check the folder, then run the same command again",
    )


def _shifted(timing: Timing, seconds: float) -> Timing:
    return Timing(timing.text, timing.start + seconds, timing.end + seconds)
