"""One evaluation from set to report: every system through every measure that applies.

Measures are loaded when first needed and can be left out one by one, so a missing
optional library costs its own column only if the caller says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kouji.errors import KoujiError, UsageError
from kouji.evaluate.borders import Borders, measure_borders
from kouji.evaluate.controls import Sweep, sweep_controls
from kouji.evaluate.items import EvaluationItem, load_set
from kouji.evaluate.mos import QualityScores
from kouji.evaluate.optional import require_extra
from kouji.evaluate.per_zh import PhoneErrors
from kouji.evaluate.speed import Speed, measure_speed
from kouji.evaluate.systems import Model, Recordings, Rendering, System
from kouji.evaluate.wer import Errors
from kouji.text.phones import is_silence
from kouji.types import Audio

EXTRAS = (  # measure, the library it stands on, what for
    ("words", "pocketsphinx", "English word error rate"),
    ("speaker", "resemblyzer", "speaker similarity"),
    ("quality", "speechmos", "DNSMOS"),
)
MEASURES = ("words", "phones", "speaker", "quality", "pitch", "controls", "speed", "borders")
STREAMED_ITEMS = 8  # whose borders are listened to
# One frame of the mel clock: no phone can be shorter.
MINIMUM_PHONE_SECONDS = 0.02
SPEED_TEXTS = {
    "en": "The evening train was late, so we walked along the river and talked about the sea.",
    "zh": "晚上的火车又晚点了，我们沿着河边慢慢走，聊起小时候看海的那个夏天。",
}


@dataclass(frozen=True)
class ItemResult:
    """What was measured on one item; None where a measure does not apply."""

    id: str
    seconds: float
    render_seconds: float | None = None
    words: Errors | None = None
    phones: PhoneErrors | None = None
    own_similarity: float | None = None
    other_similarity: float | None = None
    quality: QualityScores | None = None
    pitch_spread: float | None = None
    pitch_correlation: float | None = None
    num_phones: int = 0
    num_short_phones: int = 0


@dataclass(frozen=True)
class SystemReport:
    """One row of the table: all items of a system, and what is measured once per model."""

    name: str
    items: tuple[ItemResult, ...]
    failed: tuple[str, ...] = ()  # "id: reason" of items the system could not speak
    sweeps: tuple[Sweep, ...] = ()
    speed: Speed | None = None
    borders: Borders | None = None


@dataclass(frozen=True)
class EvaluationReport:
    """All rows, the first the one evaluated, with the set and how many items it has."""

    set_name: str
    num_items: int
    systems: tuple[SystemReport, ...]


class Judges:
    """The measuring instruments; each is loaded when the first clip needs it."""

    def __init__(self, measures: Sequence[str] = MEASURES) -> None:
        """measures: names out of `MEASURES`. Raises UsageError for another name."""
        for name in measures:
            if name not in MEASURES:
                raise UsageError("unknown measure", seen=name, allowed=", ".join(MEASURES))
        self._measures = frozenset(measures)
        self._embeddings: dict[str, Any] = {}

    def check_libraries(self, items: Sequence[EvaluationItem]) -> None:
        """Raise UsageError now, before any speech is made, if a needed library is missing."""
        has_english = any(item.language == "en" for item in items)
        for measure, module, purpose in EXTRAS:
            if self.wants(measure) and (has_english or measure != "words"):
                require_extra(module, purpose)

    def wants(self, measure: str) -> bool:
        """True if this measure was asked for."""
        return measure in self._measures

    def judge(
        self, item: EvaluationItem, rendering: Rendering, *, is_recording: bool
    ) -> ItemResult:
        """Apply every measure that fits the item's language and the kind of system.

        A recording lent by another speaker than the reference's says nothing about
        similarity, and a recording is not correlated with itself.
        """
        audio = rendering.audio
        spoken = [timing for timing in rendering.phones if not is_silence(timing.text)]
        short = [t for t in spoken if t.end - t.start <= MINIMUM_PHONE_SECONDS * 1.25]
        own = other = None
        if self.wants("speaker") and (item.is_own_recording or not is_recording):
            own = self._similarity(audio, item.reference)
            other = self._similarity(audio, item.other_reference)
        return ItemResult(
            id=item.id,
            seconds=audio.duration,
            render_seconds=rendering.seconds,
            words=self._count_words(item, audio),
            phones=self._count_phones(item, audio),
            own_similarity=own,
            other_similarity=other,
            quality=self._quality.rate(audio) if self.wants("quality") else None,
            pitch_spread=self._spread(audio),
            pitch_correlation=None if is_recording else self._correlate(item, audio),
            num_phones=len(spoken),
            num_short_phones=len(short),
        )

    def _count_words(self, item: EvaluationItem, audio: Audio) -> Errors | None:
        if item.language != "en" or not self.wants("words"):
            return None
        from kouji.evaluate.wer import count_errors, spoken_words

        return count_errors(spoken_words(item.text), self._english.transcribe(audio))

    def _count_phones(self, item: EvaluationItem, audio: Audio) -> PhoneErrors | None:
        if item.language != "zh" or not self.wants("phones"):
            return None
        from kouji.evaluate.per_zh import count_phone_errors, phones_of_text

        return count_phone_errors(phones_of_text(item.text), self._chinese.transcribe(audio))

    def _similarity(self, audio: Audio, reference: str | None) -> float | None:
        from kouji.audio.load import load_audio
        from kouji.evaluate.similarity import cosine

        if reference is None:
            return None
        if reference not in self._embeddings:
            self._embeddings[reference] = self._speakers.embed(load_audio(reference))
        heard, wanted = self._speakers.embed(audio), self._embeddings[reference]
        return None if heard is None or wanted is None else cosine(heard, wanted)

    def _spread(self, audio: Audio) -> float | None:
        if not self.wants("pitch"):
            return None
        from kouji.evaluate.prosody import pitch_spread

        return pitch_spread(audio)

    def _correlate(self, item: EvaluationItem, audio: Audio) -> float | None:
        if item.recording is None or not self.wants("pitch"):
            return None
        from kouji.audio.load import load_audio
        from kouji.evaluate.prosody import correlate_pitch

        return correlate_pitch(audio, load_audio(item.recording))

    @cached_property
    def _english(self) -> Any:
        from kouji.evaluate.asr_en import EnglishRecogniser

        return EnglishRecogniser()

    @cached_property
    def _chinese(self) -> Any:
        from kouji.evaluate.per_zh import ChineseRecogniser

        return ChineseRecogniser()

    @cached_property
    def _speakers(self) -> Any:
        from kouji.evaluate.similarity import SpeakerEncoder

        return SpeakerEncoder()

    @cached_property
    def _quality(self) -> Any:
        from kouji.evaluate.mos import QualityJudge

        return QualityJudge()


def evaluate(
    systems: Iterable[System],
    set_path: Path,
    *,
    data: Path | None = None,
    measures: Sequence[str] = MEASURES,
    limit: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> EvaluationReport:
    """Measure systems on a set.

    systems:  rows of the table in this order; a `Model` gets controls and speed as well
    data:     folder the set's paths are relative to
    limit:    only so many items from the start of the set
    progress: called with system name, items done and items in all
    raises:   DataError for a bad set, UsageError for a missing optional library
    """
    items = load_set(set_path, data)[:limit]
    judges = Judges(measures)
    judges.check_libraries(items)
    reports = [_run_system(system, items, judges, progress) for system in systems]
    return EvaluationReport(set_path.name, len(items), tuple(reports))


def _run_system(
    system: System,
    items: Sequence[EvaluationItem],
    judges: Judges,
    progress: Callable[[str, int, int], None] | None,
) -> SystemReport:
    results, failed = [], []
    for done, item in enumerate(items):
        if progress is not None:
            progress(system.name, done, len(items))
        try:
            rendering = system.render(item)
        except KoujiError as error:  # one bad item fails alone and is reported
            failed.append(f"{item.id}: {error}")
            continue
        if rendering is not None:
            is_recording = isinstance(system, Recordings)
            results.append(judges.judge(item, rendering, is_recording=is_recording))
    measured = {result.id for result in results}
    spoken = [item for item in items if item.id in measured]
    sweeps, speed, borders = _measure_model(system, spoken, judges) if spoken else ((), None, None)
    return SystemReport(system.name, tuple(results), tuple(failed), sweeps, speed, borders)


def _measure_model(
    system: System, items: Sequence[EvaluationItem], judges: Judges
) -> tuple[tuple[Sweep, ...], Speed | None, Borders | None]:
    """Controls and speed on one sentence in the voice of the first item; borders on some."""
    if not isinstance(system, Model):
        return (), None, None
    item = items[0]
    voice, text = system.voice(item.reference), SPEED_TEXTS[item.language]
    model = system.synthesiser
    sweeps = tuple(sweep_controls(model, voice, text)) if judges.wants("controls") else ()
    speed = measure_speed(model, voice, text) if judges.wants("speed") else None  # type: ignore[arg-type]
    streamed = ((each.text, system.voice(each.reference)) for each in items[:STREAMED_ITEMS])
    borders = measure_borders(model, streamed) if judges.wants("borders") else None  # type: ignore[arg-type]
    return sweeps, speed, borders
