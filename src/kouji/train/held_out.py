"""Which clips are never trained on: unseen speakers (test) and unseen utterances (valid).

The choice depends on names alone, through a hash: it is the same on every machine, stays
the same when other clips come or go by the few, and needs no stored list.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError
from .layouts import SourceClip

MANY_CLIPS = 15  # speakers with this many are worth a group of their own
MIN_CLIPS_FOR_VALID = 5  # a speaker with fewer gives all clips to training
_MANY_SHARE, _MOST_OF_MANY, _FEW_SHARE = 1 / 4, 3, 1 / 16


@dataclass(frozen=True)
class SplitRules:
    """How to hold out.

    held_out_speakers: None for the default rule; a file of speaker names, one a line; or a
                       regular expression that must match the whole name ("" holds out none)
    valid_percent:     share of the other speakers' clips that become `valid`
    """

    held_out_speakers: str | None = None
    valid_percent: float = 3.0

    def __post_init__(self) -> None:
        if not 0 <= self.valid_percent < 50:
            raise ConfigError(
                "wrong share of validation clips", seen=self.valid_percent, allowed="0 to 50 %"
            )


def assign_splits(clips: Sequence[SourceClip], rules: SplitRules) -> dict[str, str]:
    """Split of every clip by its id: train, valid or test."""
    test = choose_speakers(clips, rules.held_out_speakers)
    counts = Counter(clip.speaker for clip in clips)
    splits = {}
    for clip in clips:
        if clip.speaker in test:
            splits[clip.id] = "test"
        elif (
            counts[clip.speaker] >= MIN_CLIPS_FOR_VALID
            and _fraction(f"{clip.corpus}/{clip.id}") < rules.valid_percent / 100
        ):
            splits[clip.id] = "valid"
        else:
            splits[clip.id] = "train"
    return splits


def choose_speakers(clips: Sequence[SourceClip], wanted: str | None) -> set[str]:
    """Names of the speakers to hold out.

    The default rule groups speakers by corpus, gender and number of clips (one, 2 to 14, 15
    and more) and takes from each group the ones with the smallest hash: a quarter, at most three,
    of those with many clips, a sixteenth of the others, none of a group under four.
    """
    speakers = {clip.speaker for clip in clips}
    if wanted is None:
        return _default_choice(clips)
    if wanted and Path(wanted).is_file():
        lines = Path(wanted).read_text(encoding="utf-8").splitlines()
        named = {line.strip() for line in lines if line.strip()}
        if missing := sorted(named - speakers):
            raise ConfigError(
                "speakers to hold out are not in the data",
                seen=", ".join(missing[:5]),
                allowed=f"names such as {', '.join(sorted(speakers)[:5])}",
            )
        return named
    try:
        pattern = re.compile(wanted)
    except re.error as error:
        raise ConfigError(
            "the speakers to hold out are neither a file nor a regular expression",
            seen=f"{wanted}: {error}",
        ) from error
    return {name for name in speakers if pattern.fullmatch(name)}


def _default_choice(clips: Sequence[SourceClip]) -> set[str]:
    counts = Counter(clip.speaker for clip in clips)
    groups: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for clip in clips:
        num_clips = counts[clip.speaker]
        size = 2 if num_clips >= MANY_CLIPS else min(1, num_clips - 1)
        groups[clip.corpus, clip.gender, size].add(clip.speaker)
    chosen: set[str] = set()
    for (_, _, size), names in groups.items():
        if len(names) < 4:
            continue
        many = min(_MOST_OF_MANY, round(_MANY_SHARE * len(names)))
        wanted = many if size == 2 else round(_FEW_SHARE * len(names))
        chosen.update(sorted(names, key=_fraction)[:wanted])
    return chosen


def _fraction(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
