"""A Voice: a cleaned reference recording with its transcript and the consent to use it.

Knows nothing of models: what a model computes from the reference (its conditioning) is
cached beside it by `store`, under the model's name and weights hash.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from kouji.errors import VoiceError
from kouji.types import Audio, Language
from kouji.voices.consent import Consent

REFERENCE_RATE = 24_000  # Hz, the rate of every stored reference
MAX_NAME_CHARACTERS = 100
RESERVED_IDS = ("sample",)  # the voice that comes with the package


@dataclass(frozen=True)
class WeightsFile:
    """A checkpoint file a voice brings along, and the sha256 it had when the voice was made."""

    path: str
    sha256: str


@dataclass(frozen=True)
class VoiceWeights:
    """The weights that speak a voice, where they are its own; None leaves a part to the model."""

    model: str
    t2s: WeightsFile | None = None
    sovits: WeightsFile | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> VoiceWeights:
        """Undo `asdict`; ValueError, KeyError or TypeError for anything else."""
        files = {
            part: WeightsFile(**values[part]) if values.get(part) else None
            for part in ("t2s", "sovits")
        }
        return cls(str(values["model"]), **files)


@dataclass(frozen=True)
class Adaptation:
    """What a model learned of a voice (`kouji finetune`); the arrays lie beside it.

    weights: hash of the weights it was learned for, which alone can use it
    digest:  sha256 of the arrays
    """

    model: str
    weights: str
    digest: str


@dataclass(frozen=True)
class Imported:
    """All there is of a voice whose recording stayed elsewhere: what one model heard in it.

    model:  the family that can speak it
    arrays: as that family's `unpack` takes them
    """

    model: str
    arrays: Mapping[str, NDArray[Any]] = field(repr=False)

    @property
    def content_hash(self) -> str:
        """sha256 of the arrays; consent and revocation hang on it as on that of a recording."""
        return hash_arrays(self.model, self.arrays)


@dataclass(frozen=True)
class Voice:
    """One speaker as heard in one reference recording, or in several.

    id:           safe for file names; made from the name
    reference:    mono 24 kHz on the 16-bit grid, so that disk and memory hold the same samples
    content_hash: sha256 of the reference samples; cached conditionings hang on it
    report:       the quality report of the reference as plain values
    others:       further references, whose timbre is averaged in by families that can
    weights:      checkpoints of its own
    owner:        the id of the key that may use it; empty: everybody on this machine
    imported:     in place of a recording; `reference` is empty then
    adapted:      what a model learned of the speaker beyond the reference
    """

    id: str
    name: str
    reference: Audio
    content_hash: str
    transcript: str | None = None
    language: str | None = None
    consent: Consent | None = None
    created: str = ""
    report: Mapping[str, Any] = field(default_factory=dict)
    others: tuple[Audio, ...] = ()
    weights: VoiceWeights | None = None
    owner: str = ""
    imported: Imported | None = None
    adapted: Adaptation | None = None

    @property
    def model(self) -> str | None:
        """The model it was made for, where there is one."""
        if self.imported is not None:
            return self.imported.model
        return self.weights.model if self.weights else None

    @property
    def key(self) -> str:
        """Hash of all that a model's conditioning can depend on, weights aside."""
        others = [hash_audio(audio) for audio in self.others]
        if self.adapted is not None:
            others.append(self.adapted.digest)
        return conditioning_key(self.content_hash, self.transcript, self.language, others)

    @classmethod
    def from_reference(
        cls,
        reference: Audio,
        *,
        name: str = "unnamed",
        transcript: str | None = None,
        language: str | None = None,
        consent: Consent | None = None,
        report: object = None,
        others: Iterable[Audio] = (),
        weights: VoiceWeights | None = None,
        id: str | None = None,
        owner: str = "",
    ) -> Voice:
        """Make a voice of a cleaned recording.

        reference: mono; must already be at 24 kHz
        language:  guessed from the transcript where it is not given
        report:    a QualityReport or a mapping; kept as plain values
        others:    further references, as `reference`
        id:        where it is not to be made from the name
        raises:    VoiceError for an unusable name or rate
        """
        others = tuple(others)
        for audio in (reference, *others):
            if audio.sample_rate != REFERENCE_RATE:
                raise VoiceError(
                    "a voice's reference has the wrong sample rate",
                    seen=f"{audio.sample_rate} Hz",
                    allowed=f"{REFERENCE_RATE} Hz",
                    cure="resample it first",
                )
        grid = to_grid(reference.samples)
        return cls(
            id=voice_id(name) if id is None else voice_id(id),
            name=clean_name(name),
            reference=Audio(from_grid(grid), REFERENCE_RATE),
            content_hash=hash_grid(grid),
            transcript=transcript,
            language=language or guess_language(transcript),
            consent=consent,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            report=to_plain(report),
            others=tuple(
                Audio(from_grid(to_grid(audio.samples)), REFERENCE_RATE) for audio in others
            ),
            weights=weights,
            owner=owner,
        )

    @classmethod
    def from_import(
        cls,
        imported: Imported,
        *,
        name: str,
        language: str | None = None,
        consent: Consent | None = None,
    ) -> Voice:
        """A voice without a recording; VoiceError for an unusable name."""
        return cls(
            id=voice_id(name),
            name=clean_name(name),
            reference=Audio(np.zeros(0, np.float32), REFERENCE_RATE),
            content_hash=imported.content_hash,
            language=language,
            consent=consent,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            imported=imported,
        )


def conditioning_key(
    content_hash: str, transcript: str | None, language: str | None, others: Iterable[str]
) -> str:
    """sha256 of a voice's parts; see `Voice.key`."""
    parts = [content_hash, transcript or "", language or "", *others]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def hash_arrays(model: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    """sha256 of what a model keeps of a voice: names, shapes and values."""
    digest = hashlib.sha256(f"{model}\n".encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def hash_audio(audio: Audio) -> str:
    """`hash_grid` of a reference that lies on the grid."""
    return hash_grid(to_grid(audio.samples))


def to_grid(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """(samples,) float in [-1, 1] -> (samples,) int16, the grid of the stored FLAC."""
    return np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)


def from_grid(grid: NDArray[np.int16]) -> NDArray[np.float32]:
    """The exact inverse of `to_grid` on its image."""
    return grid.astype(np.float32) / np.float32(32768.0)


def hash_grid(grid: NDArray[np.int16]) -> str:
    """sha256 of the samples as little-endian 16-bit numbers."""
    return hashlib.sha256(grid.astype("<i2").tobytes()).hexdigest()


def guess_language(text: str | None) -> Language | None:
    """zh if the text holds a Chinese character, en if it holds a letter, else None."""
    if not text:
        return None
    if re.search(r"[\u3400-\u9fff]", text):
        return "zh"
    return "en" if re.search(r"[A-Za-z]", text) else None


def clean_name(name: str) -> str:
    """The name as shown: NFC, no outer spaces; VoiceError if nothing printable is left."""
    shown = unicodedata.normalize("NFC", name).strip()
    is_printable = shown.isprintable() and any(char.isalnum() for char in shown)
    if not is_printable or len(shown) > MAX_NAME_CHARACTERS:
        raise VoiceError(
            "unusable voice name",
            seen=repr(name[:60]),
            allowed=f"1 to {MAX_NAME_CHARACTERS} printable characters with a letter or digit",
        )
    return shown


def voice_id(name: str) -> str:
    """A file-safe id of a name: plain names stay, others get a slug and a hash of the name.

    `alice` -> `alice`, `My Voice` -> `my-voice-…`, `小明` -> `voice-…`, `../x` -> `x-…`:
    no id holds a separator or a leading dot, and names that differ in case alone share one.
    """
    folded = clean_name(name).casefold()
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", folded):
        return folded
    slug = re.sub(r"[^a-z0-9]+", "-", folded).strip("-")[:40].strip("-") or "voice"
    return f"{slug}-{hashlib.sha256(folded.encode()).hexdigest()[:8]}"


def to_plain(report: object) -> Mapping[str, Any]:
    """A report (dataclass or mapping) as values that JSON can hold; infinities become None."""
    if report is None:
        return {}
    values = asdict(cast(Any, report)) if is_dataclass(report) else dict(cast(Any, report))
    return {key: _plain_value(value) for key, value in values.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_value(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        # JSON has no inf or nan; 2 decimals hide nothing a reader of a report needs
        return round(value, 4) if np.isfinite(value) else None
    return value if isinstance(value, str | int | bool) or value is None else str(value)
