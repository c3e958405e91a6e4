"""What a model family offers the product: voices and texts in, stages for the engine out.

`kouji.api` asks these questions of every family and knows none of them by name. What is
typed `Any` belongs to the family and passes through unread.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from kouji.errors import UsageError
from kouji.models.stages import SamplingOptions, SpeechModel
from kouji.text.style import Style
from kouji.types import Audio, Timing
from kouji.voices import Voice

Arrays = Mapping[str, NDArray[Any]]
MAX_PAUSE_SECONDS = 10.0


@dataclass(frozen=True)
class TextOptions:
    """How a text is cut into segments, by families that offer a choice; None leaves it to them.

    method:        the family's own name of a way to cut
    pause_seconds: silence between segments, 0 to MAX_PAUSE_SECONDS
    """

    method: str | None = None
    pause_seconds: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What was asked for, in words for a warning."""
        asked = {
            "a way to cut the text": self.method,
            "a pause between segments": self.pause_seconds,
        }
        return tuple(name for name, value in asked.items() if value is not None)

    def pause(self, usual: float) -> float:
        """The pause in seconds, `usual` where none was asked for; UsageError out of range."""
        seconds = usual if self.pause_seconds is None else self.pause_seconds
        if not 0 <= seconds <= MAX_PAUSE_SECONDS:  # nor NaN
            allowed = f"0 to {MAX_PAUSE_SECONDS:g} s"
            raise UsageError("pause between segments out of range", seen=seconds, allowed=allowed)
        return seconds


AS_USUAL = TextOptions()


@dataclass(frozen=True)
class PreparedSegment:
    """One piece of a text, ready for the engine.

    text:          as the caller wrote it
    payload:       the family's inputs
    pause_seconds: silence added after it, where the family does not make its own
    """

    text: str
    payload: Any
    pause_seconds: float = 0.0


@dataclass(frozen=True)
class PreparedText:
    """A whole text; `warnings` name what was left out or changed."""

    segments: tuple[PreparedSegment, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Timeline:
    """When what was spoken, in seconds from the start of the request's audio."""

    words: tuple[Timing, ...] = ()
    phones: tuple[Timing, ...] = ()


class Family(Protocol):
    """One family with the weights it was loaded with; safe to use from many threads.

    name:        short, as in file names
    sample_rate: of its audio
    precision:   of rendering, for log lines
    sampling:    its defaults
    """

    name: str
    sample_rate: int
    precision: str
    sampling: SamplingOptions

    def weights_hash(self, voice: Voice | None = None) -> str:
        """Hash of the weights that speak this voice (or of the default ones)."""
        ...

    def check_style(self, style: Style) -> tuple[str, ...]:
        """Warnings about wishes it cannot fulfil; StyleError where it makes no sense to go on."""
        ...

    def prepare(
        self,
        text: str,
        voice: Voice,
        *,
        language: str | None,
        style: Style,
        options: TextOptions = AS_USUAL,
    ) -> PreparedText:
        """Everything about a text that can be wrong is told here, before it costs compute.

        options: what the family does not offer is told in a warning

        raises: TextError, MarkError, UsageError
        """
        ...

    def hold(self, voice: Voice) -> AbstractContextManager[SpeechModel]:
        """The weights that speak this voice, kept in memory while the context is open.

        raises: ModelError
        """
        ...

    def condition(self, voice: Voice, model: SpeechModel) -> Any:
        """Encode a voice with the weights that will speak it.

        raises: ReferenceRefused, VoiceError where this family needs more of a voice
        """
        ...

    def pack(self, conditioning: Any) -> dict[str, NDArray[Any]]:
        """The arrays kept beside a voice."""
        ...

    def unpack(self, arrays: Arrays) -> Any:
        """Undo `pack`."""
        ...

    def timeline(self, segment: PreparedSegment, info: Any, offset: float) -> Timeline:
        """Timings of one segment that starts at `offset` seconds; empty if it knows none."""
        ...

    def warnings(self, info: Any) -> tuple[str, ...]:
        """What rendering a segment could not fulfil."""
        ...


@runtime_checkable
class FreeStyle(Protocol):
    """A family that follows a style in any words, known to `parse_style` or not.

    Its rendering follows a rate in figures only; the model makes of the words what it can.
    """

    takes_free_style: bool


@runtime_checkable
class VoiceConverter(Protocol):
    """A family that also says a recording again in another voice."""

    def prepare_conversion(self, source: Audio, voice: Voice) -> PreparedText:
        """Speech of any length in segments for `SpeechModel.renderer`, without decode stage.

        raises: AudioError, ReferenceRefused, ModelError
        """
        ...


@runtime_checkable
class SpeakerFiles(Protocol):
    """A family whose own format holds many voices without their recordings."""

    def save_speakers(self, path: Path, speakers: Mapping[str, tuple[Voice, Any]]) -> None:
        """Write voices with their conditionings, by name; whole or not at all.

        raises: VoiceError where the disk refuses
        """
        ...


def speaks_for(family: Family, model: str) -> bool:
    """Whether a model's name means this family, or the version of it that is loaded."""
    return model in (family.name, getattr(family, "version", family.name))
