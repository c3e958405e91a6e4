"""Where does this sound come from? Watermark, labels and audit lines of one recording together.

What `kouji watermark detect` and the server's route of the same name both call. Knows how to ask;
how a mark is found is `audio.watermark`'s, what a line means `audit`'s.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kouji.audio.clean import HIGHEST_RATE
from kouji.audio.labels import Labels, read_labels
from kouji.audio.load import load_audio
from kouji.audio.watermark import Detection, detect
from kouji.voices import audit


@dataclass(frozen=True)
class Inspection:
    """What a recording says about its origin.

    detection: what was found in the sound
    labels:    what the file itself claims
    audit:     lines of the audit file that the mark's number leads to, oldest first; None where
               nobody looked
    """

    detection: Detection
    labels: Labels
    audit: tuple[dict[str, Any], ...] | None = None

    @property
    def id(self) -> str | None:
        """The number as it stands in labels and audit lines: 8 hexadecimal digits."""
        payload = self.detection.payload
        return None if payload is None else f"{payload:08x}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values: found, payload, score, speed, id, labelled, aigc; audit if asked for."""
        values = {
            **asdict(self.detection),
            "id": self.id,
            "labelled": self.labels.is_ai_generated,
            "aigc": self.labels.aigc,
        }
        return values if self.audit is None else {**values, "audit": list(self.audit)}


def inspect(
    source: bytes | str | Path,
    audit_file: Path | None = None,
    *,
    search_speeds: bool = True,
    max_seconds: float = 3600.0,
) -> Inspection:
    """Look for the mark in the sound and the labels in the file.

    source:        a whole file, or its path
    audit_file:    where the number is looked up; None looks nothing up
    search_speeds: also find sound that plays up to 6 % faster or slower, which takes a second more
    max_seconds:   a longer recording is refused
    raises:        UnreadableAudio; OSError where the audit file is there but cannot be read
    """
    audio = load_audio(source, max_seconds=max_seconds, highest_rate=HIGHEST_RATE)
    detection = detect(audio, search_speeds=search_speeds)
    inspection = Inspection(detection, read_labels(source))
    if audit_file is None:
        return inspection
    lines: tuple[dict[str, Any], ...] = ()
    if inspection.id is not None and audit_file.is_file():
        lines = tuple(audit.find(audit_file, watermark=inspection.id))
    return Inspection(detection, inspection.labels, lines)
