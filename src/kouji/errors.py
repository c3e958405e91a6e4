"""The one tree of errors callers of Kouji can meet.

A message says what was wrong, the value seen, what is allowed and what to do next.
The boundary (CLI, server) turns a class into an exit code or an HTTP status once;
nothing below it prints or exits.
"""

from __future__ import annotations

from typing import Any


class KoujiError(Exception):
    """Base of every error raised on purpose; `exit_code` is what the CLI returns for it."""

    exit_code = 1

    def __init__(
        self, what: str, *, seen: object = None, allowed: str | None = None, cure: str | None = None
    ) -> None:
        """Compose the one-line message.

        what:    the fault in a few words, without a full stop
        seen:    the offending value, shown as given
        allowed: which values would have been accepted
        cure:    the next step, an imperative clause
        """
        self.what, self.seen, self.allowed, self.cure = what, seen, allowed, cure
        facts = [f"seen: {seen}"] if seen is not None else []
        if allowed is not None:
            facts.append(f"allowed: {allowed}")
        message = what + (f" ({'; '.join(facts)})" if facts else "")
        super().__init__(message + (f"; {cure}" if cure else ""))


class UsageError(KoujiError):
    """The caller asked for something that does not exist or contradicts itself (exit code 2)."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting, recipe or checkpoint config holds a wrong or unknown value."""


class AudioError(KoujiError):
    """Audio that cannot be read, written or used."""


class UnreadableAudio(AudioError):
    """Not audio, truncated, of an unknown format, or a decompression bomb."""


class ReferenceRefused(AudioError):
    """A reference recording fails the quality rules; `reason` is a stable short code.

    Codes: empty, silent, too_short, too_long, clipped, noisy, not_finite.
    """

    def __init__(
        self,
        reason: str,
        what: str,
        *,
        seen: object = None,
        allowed: str | None = None,
        cure: str | None = None,
    ) -> None:
        self.reason = reason
        super().__init__(what, seen=seen, allowed=allowed, cure=cure)


class TextError(KoujiError):
    """Text that cannot be spoken: empty, too long, or nothing in it has a sound."""

    exit_code = 2


class MarkError(TextError):
    """A control mark or SSML tag is wrong; `start` and `end` are offsets into the caller's text."""

    def __init__(
        self,
        what: str,
        *,
        start: int,
        end: int,
        seen: object,
        allowed: str,
        cure: str | None = None,
    ) -> None:
        self.start, self.end = start, end
        super().__init__(f"{what} at character {start}", seen=seen, allowed=allowed, cure=cure)


class StyleError(TextError):
    """A style instruction the chosen model family cannot follow."""


class VoiceError(KoujiError):
    """A voice that does not exist, exists already, or is damaged on disk."""


class ConsentError(VoiceError):
    """A voice may not be used or enrolled; `reason` is a stable short code.

    Of a voice: missing, unverified, expired, revoked, not_this_voice. Of a challenge:
    unknown_challenge, expired_challenge, used_challenge, other_challenge, too_many_challenges.
    Of a recording: unreadable, no_speech, too_long, narrow, noisy, synthetic, wrong_words,
    other_speaker. Of a typed statement: wrong_statement.
    Of the audio asked for: unmarked.
    """

    def __init__(self, what: str, *, reason: str = "missing", **facts: Any) -> None:
        """reason: one of the codes above; `facts` as for every error."""
        self.reason = reason
        super().__init__(what, **facts)


class UnknownVoice(VoiceError):
    """There is no voice of this name, or none the caller may see."""


class ModelError(KoujiError):
    """A model or checkpoint that cannot be loaded: missing, wrong keys, wrong shapes."""


class DataError(KoujiError):
    """A data set or prepared store that cannot be read."""


class TrainingError(KoujiError):
    """A training run that had to stop: diverged loss, mismatching resume, no data."""


class EngineError(KoujiError):
    """A request the engine took or was offered, and that did not end in sound."""


class EngineBusy(EngineError):
    """The queue is full: nothing was computed, and the same request may be sent again later."""


class EngineFailed(EngineError):
    """A stage failed on this request alone, or the device under all of them did."""


class Overloaded(EngineBusy):
    """The server has as many requests as it takes; `retry_after` says when to come again."""

    def __init__(self, what: str, *, retry_after: float, **facts: Any) -> None:
        """retry_after: seconds; `facts` as for every error."""
        self.retry_after = retry_after
        super().__init__(what, **facts)


class DeadlineExceeded(EngineError):
    """The time the caller allowed passed before the request was done."""


class Cancelled(EngineError):
    """The caller left, or the engine was closed, before the request was done."""


class JobError(KoujiError):
    """A job that does not exist, cannot be read, or cannot do what was asked in its state."""


class AccessError(KoujiError):
    """A caller of the server who may not do this."""


class NotAuthenticated(AccessError):
    """No key was given, or one that is unknown, revoked or expired."""


class NotAllowed(AccessError):
    """A key without the scope this needs, or something the server never does."""


class QuotaExceeded(AccessError):
    """A key has used up what it may use; `retry_after` says when there is more."""

    def __init__(self, what: str, *, retry_after: float | None, **facts: Any) -> None:
        """retry_after: seconds, None where waiting does not help; `facts` as for every error."""
        self.retry_after = retry_after
        super().__init__(what, **facts)


class TooLarge(UsageError):
    """A body, text or file beyond what the operator allows."""
