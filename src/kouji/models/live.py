"""What a family may offer for text that is still being written: sound of a sentence before its end.

A family without it is spoken sentence by sentence, each when it is whole.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from kouji.text.style import Style
from kouji.voices import Voice


class LiveSentence(Protocol):
    """One sentence while it is being written; one thread writes, the engine reads beside it.

    payload: the segment for the engine; its prompt carries a `stages.Script`
    unread:  text that was taken and not passed on yet: lost, where the sentence counts as ended
    """

    payload: Any

    @property
    def unread(self) -> str: ...

    def feed(self, text: str) -> bool:
        """More of it, cut anywhere; False, and nothing is taken, where it counts as ended.

        raises: TextError, MarkError
        """
        ...

    def close(self) -> tuple[str, ...]:
        """It is whole; warnings about what was left out or changed. Again is harmless.

        raises: TextError where nothing in it has a sound
        """
        ...


@runtime_checkable
class LiveReader(Protocol):
    """A family that speaks a sentence while it is being written."""

    def open_live(self, voice: Voice, *, style: Style, language: str | None) -> LiveSentence | None:
        """Begin a sentence; None where this voice or style needs it whole.

        What it says must not hang on where the text is cut, nor on when it comes.

        raises: TextError, VoiceError, UsageError
        """
        ...
