"""Judge a reference recording and make the best of it, before any voice model runs.

Knows the rules a reference must keep; the figures come first, the verdict follows from them, and
every refusal names its figure. Does not know what a voice is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kouji.audio.denoise import denoise
from kouji.audio.load import AudioTooLong, NoSound, Source, load_audio
from kouji.audio.loudness import measure_loudness, normalise_loudness
from kouji.audio.pitch import track_pitch
from kouji.audio.quality import (
    bandwidth_hz,
    choose_all_speech,
    choose_best_part,
    crop,
    estimate_snr_db,
    mark_clipped,
)
from kouji.audio.resample import resample
from kouji.audio.slice import split_long_spans
from kouji.audio.vad import frame_levels_db, speech_spans
from kouji.errors import ConfigError, ReferenceRefused
from kouji.types import Audio

PREPARED_RATE = 24000
WHOLE_SECONDS = 30.0  # of a recording that stays with its words: the most a model goes on from
SILENT_DB = -60.0  # a recording never louder than this holds nothing
DENOISE_BELOW_DB = 20.0  # "auto" denoises below this SNR
GOOD_SNR_DB = 15.0
GOOD_BANDWIDTH_HZ = 5000.0
CONTEXT_SECONDS = 60.0  # around the best part: what noise is measured on; bounds the memory
HIGHEST_RATE = 48_000  # Hz; voices have nothing above, and memory has an end
LOAD_MARGIN = 2  # files this many times over the limit are not even decoded


@dataclass(frozen=True)
class ReferenceRules:
    """What a reference must keep to, and what is made of it.

    best_seconds: shortest and longest part chosen from a longer recording
    denoise:      "auto" denoises below 20 dB SNR, "on" always, "off" never
    """

    min_speech_seconds: float = 1.0
    max_seconds: float = 300.0
    max_clipped: float = 0.01
    min_snr_db: float = 10.0
    target_lufs: float = -23.0
    best_seconds: tuple[float, float] = (3.0, 10.0)
    denoise: Literal["auto", "on", "off"] = "auto"

    def __post_init__(self) -> None:
        if not 0 < self.best_seconds[0] < self.best_seconds[1]:
            raise ConfigError(
                "best_seconds must rise", seen=self.best_seconds, allowed="0 < shortest < longest"
            )
        if self.denoise not in ("auto", "on", "off"):
            raise ConfigError(
                "unknown denoise rule", seen=self.denoise, allowed='"auto", "on", "off"'
            )
        if not (0 <= self.min_speech_seconds < self.max_seconds and 0 <= self.max_clipped <= 1):
            raise ConfigError(
                "reference limits contradict each other",
                seen=(self.min_speech_seconds, self.max_seconds, self.max_clipped),
                allowed="min_speech_seconds < max_seconds; max_clipped from 0 to 1",
            )


class Reason(NamedTuple):
    """Why a recording is not good: a stable code and one line with the figure and the limit."""

    code: str
    message: str


@dataclass(frozen=True)
class QualityReport:
    """The figures of a recording and what follows from them.

    pitch_range: 10th and 90th percentile in Hz, (0, 0) without a voiced frame
    best_start, best_end: the part a voice would be made from, in seconds
    reasons: with verdict "refused" the refusals come first; with "good" there are none
    """

    duration: float
    speech_seconds: float
    snr_db: float
    clipped_fraction: float
    loudness_lufs: float
    peak: float
    pitch_median_hz: float
    pitch_range: tuple[float, float]
    bandwidth_hz: float
    best_start: float
    best_end: float
    verdict: Literal["good", "usable", "refused"]
    reasons: tuple[Reason, ...] = ()


def check_reference(
    audio: Audio, rules: ReferenceRules | None = None, *, has_words: bool = False
) -> QualityReport:
    """Measure a recording; bad quality is in the report, never an exception.

    has_words: as `prepare_reference`
    """
    rules = rules or ReferenceRules()
    samples = np.asarray(audio.samples, np.float32)
    is_finite = np.isfinite(samples)
    findings = []
    if not is_finite.all():
        findings.append(_not_finite(samples))
    finite = Audio(np.where(is_finite, samples, 0.0), audio.sample_rate)
    report = _measure(finite, rules, has_words=has_words)
    findings += _judge(report, rules)
    refusals = [finding for finding in findings if finding.refuses]
    others = [finding for finding in findings if not finding.refuses]
    verdict: Literal["good", "usable", "refused"] = "usable" if others else "good"
    return replace(
        report,
        verdict="refused" if refusals else verdict,
        reasons=tuple(Reason(each.code, each.message) for each in refusals + others),
    )


def prepare_reference(
    source: Source,
    rules: ReferenceRules | None = None,
    *,
    array_rate: int | None = None,
    has_words: bool = False,
) -> tuple[Audio, QualityReport]:
    """Load, judge and clean a reference.

    source:  whatever `load_audio` takes; array_rate: Hz, for arrays only
    has_words: its transcript is known and is of all of it: up to `WHOLE_SECONDS` nothing is cut
             off but silence at its ends, or words would be given that are not to be heard
    returns: the best part at 24 kHz, denoised as the rules say, at the target loudness; and the
             report of the whole recording
    raises:  ReferenceRefused with the first refusal's code and figure, UnreadableAudio
    """
    rules = rules or ReferenceRules()
    audio = load_reference(source, rules, array_rate=array_rate)
    report = check_reference(audio, rules, has_words=has_words)
    if report.verdict == "refused":
        refusal = next(each for each in _judge(report, rules) if each.refuses)
        raise refusal.as_error()
    best = (report.best_start, report.best_end)
    around, (best,) = crop(audio, [best], best, CONTEXT_SECONDS)
    if rules.denoise == "on" or (rules.denoise == "auto" and report.snr_db < DENOISE_BELOW_DB):
        around = denoise(around)  # more than the part, so that the pauses tell the noise
    first, last = (round(seconds * audio.sample_rate) for seconds in best)
    part = resample(Audio(around.samples[first:last], audio.sample_rate), PREPARED_RATE)
    return normalise_loudness(part, rules.target_lufs), report


def load_reference(
    source: Source, rules: ReferenceRules, *, array_rate: int | None = None
) -> Audio:
    """Load what may become a reference; files far over the limit are not even decoded.

    raises: ReferenceRefused for what holds no sound or far too much of it, UnreadableAudio
    """
    _refuse_broken_array(source)
    in_memory = isinstance(source, (Audio, np.ndarray))
    limit = math.inf if in_memory else LOAD_MARGIN * rules.max_seconds
    try:
        return load_audio(
            source, max_seconds=limit, array_rate=array_rate, highest_rate=HIGHEST_RATE
        )
    except AudioTooLong as error:
        refusal = _refusal(
            "too_long", error.what, str(error.seen), f"at most {rules.max_seconds:g} s"
        )
        raise refusal.as_error() from error
    except NoSound as error:
        raise _refusal("empty", error.what, str(error.seen), "some sound").as_error() from error


def refuse_silence(audio: Audio) -> None:
    """Raise ReferenceRefused for a recording in which nothing is to be heard.

    One that is too short for a level passes: it is the caller's to tell it is too short.
    """
    levels = frame_levels_db(audio)
    loudest = float(levels.max(initial=-100.0))
    if len(levels) and loudest < SILENT_DB:
        seen, allowed = f"never above {loudest:.0f} dBFS", f"speech above {SILENT_DB:.0f} dBFS"
        raise _refusal("silent", "the reference is silent", seen, allowed).as_error()


class _Finding(NamedTuple):
    """One thing wrong with a recording, in the parts of an error message."""

    code: str
    what: str
    seen: str
    allowed: str
    cure: str
    refuses: bool

    @property
    def message(self) -> str:
        return f"{self.what} (seen: {self.seen}; allowed: {self.allowed})"

    def as_error(self) -> ReferenceRefused:
        return ReferenceRefused(
            self.code, self.what, seen=self.seen, allowed=self.allowed, cure=self.cure
        )


def _judge(report: QualityReport, rules: ReferenceRules) -> list[_Finding]:
    """Refusals in the order in which they explain each other, then lesser faults."""
    if report.duration == 0.0:
        return [_refusal("empty", "the recording is empty", "0 samples", "some sound")]
    if report.duration > rules.max_seconds:
        seen, allowed = f"{report.duration:.1f} s", f"at most {rules.max_seconds:g} s"
        return [_refusal("too_long", "the recording is too long", seen, allowed)]
    if report.loudness_lufs == -math.inf:
        level = 20.0 * math.log10(max(report.peak, 1e-6))
        seen, allowed = f"peak {level:.0f} dBFS", f"speech above {SILENT_DB:.0f} dBFS"
        return [_refusal("silent", "the recording is silent", seen, allowed)]
    findings = []
    if report.clipped_fraction > rules.max_clipped:
        seen, allowed = f"{report.clipped_fraction:.1%}", f"at most {rules.max_clipped:.1%}"
        findings.append(_refusal("clipped", "the recording is clipped", seen, allowed))
    if report.snr_db < rules.min_snr_db:
        seen, allowed = f"SNR {report.snr_db:.1f} dB", f"at least {rules.min_snr_db:g} dB"
        findings.append(_refusal("noisy", "the recording is too noisy", seen, allowed))
    if report.speech_seconds < rules.min_speech_seconds:
        seen, allowed = f"{report.speech_seconds:.2f} s", f"at least {rules.min_speech_seconds:g} s"
        short = _refusal("too_short", "there is too little speech in it", seen, allowed)
        # Noise hides speech from the VAD, so noise explains; in a short clip it cannot be told.
        is_tiny = report.duration < 2 * rules.min_speech_seconds
        findings.insert(0 if is_tiny else len(findings), short)
    return findings + _lesser(report, rules)


def _lesser(report: QualityReport, rules: ReferenceRules) -> list[_Finding]:
    """What makes a recording usable instead of good."""
    shortest = rules.best_seconds[0]
    checks = [
        (
            rules.min_speech_seconds <= report.speech_seconds < shortest,
            ("short", "the voice will be nearer with more speech"),
            (f"{report.speech_seconds:.1f} s", f"{shortest:g} s or more is good"),
        ),
        (
            rules.min_snr_db <= report.snr_db < GOOD_SNR_DB,
            ("noise", "some background noise"),
            (f"SNR {report.snr_db:.1f} dB", f"{GOOD_SNR_DB:g} dB or more is good"),
        ),
        (
            rules.max_clipped / 10 < report.clipped_fraction <= rules.max_clipped,
            ("some_clipping", "some peaks are clipped"),
            (f"{report.clipped_fraction:.2%}", f"{rules.max_clipped / 10:.1%} or less is good"),
        ),
        (
            0.0 < report.bandwidth_hz < GOOD_BANDWIDTH_HZ,
            ("narrow", "a narrow, telephone-like band"),
            (f"{report.bandwidth_hz:.0f} Hz", f"{GOOD_BANDWIDTH_HZ:.0f} Hz or more is good"),
        ),
    ]
    return [
        _Finding(*names, *facts, cure=_CURES["better"], refuses=False)
        for is_wrong, names, facts in checks
        if is_wrong
    ]


_CURES = {
    "empty": "give a recording of 3 to 10 s of one person",
    "silent": "check the microphone and its level",
    "too_short": "record 3 to 10 s of one person speaking",
    "too_long": "cut out the part with the voice, or raise max_seconds",
    "clipped": "record again at a lower level",
    "noisy": "record in a quiet room, or lower min_snr_db",
    "not_finite": "write the file again; a plug-in or division produced these samples",
    "better": "record 3 to 10 s in a quiet room at a moderate level",
}


def _refusal(code: str, what: str, seen: str, allowed: str) -> _Finding:
    return _Finding(code, what, seen, allowed, _CURES[code], refuses=True)


def _not_finite(samples: NDArray[np.floating]) -> _Finding:
    count = int((~np.isfinite(samples)).sum())
    seen = f"{count} of {samples.size} samples"
    return _refusal("not_finite", "the recording holds NaN or infinite samples", seen, "none")


def _refuse_broken_array(source: Source) -> None:
    """Refuse what `load_audio` would call a wrong argument, though it is a bad recording."""
    samples = source.samples if isinstance(source, Audio) else source
    if not isinstance(samples, np.ndarray):
        return
    if samples.size == 0:
        raise _refusal("empty", "the recording is empty", "0 samples", "some sound").as_error()
    if np.issubdtype(samples.dtype, np.floating) and not np.isfinite(samples).all():
        raise _not_finite(samples).as_error()


def _measure(audio: Audio, rules: ReferenceRules, *, has_words: bool) -> QualityReport:
    """All figures of finite samples; the verdict is filled in later."""
    peak = float(np.abs(audio.samples).max(initial=0.0))
    is_silent = peak == 0.0 or frame_levels_db(audio).max(initial=-100.0) < SILENT_DB
    if is_silent or audio.duration > rules.max_seconds:
        return _bare_report(audio, peak)
    spans = speech_spans(audio)
    f0_hz, _ = track_pitch(audio.samples, audio.sample_rate, max(1, audio.sample_rate // 50))
    voiced = f0_hz[f0_hz > 0]
    low, median, high = np.percentile(voiced, (10, 50, 90)) if len(voiced) else (0.0, 0.0, 0.0)
    if has_words and audio.duration <= WHOLE_SECONDS:
        start, end = choose_all_speech(audio, spans)
    else:
        longest = rules.best_seconds[1] - 0.2
        start, end = choose_best_part(
            audio, split_long_spans(audio, spans, longest), rules.best_seconds
        )
    around, spans_around = crop(audio, spans, (start, end), CONTEXT_SECONDS)
    return QualityReport(
        duration=audio.duration,
        speech_seconds=sum(end - start for start, end in spans),
        snr_db=estimate_snr_db(around, spans_around),
        clipped_fraction=float(mark_clipped(audio.samples).mean()),
        loudness_lufs=measure_loudness(audio),
        peak=peak,
        pitch_median_hz=float(median),
        pitch_range=(float(low), float(high)),
        bandwidth_hz=bandwidth_hz(around, spans_around),
        best_start=start,
        best_end=end,
        verdict="good",
    )


def _bare_report(audio: Audio, peak: float) -> QualityReport:
    """The report of a recording that holds nothing to measure."""
    return QualityReport(
        duration=audio.duration,
        speech_seconds=0.0,
        snr_db=0.0,
        clipped_fraction=0.0,
        loudness_lufs=-math.inf,
        peak=peak,
        pitch_median_hz=0.0,
        pitch_range=(0.0, 0.0),
        bandwidth_hz=0.0,
        best_start=0.0,
        best_end=0.0,
        verdict="refused",
    )
