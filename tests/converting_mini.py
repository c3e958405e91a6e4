"""`mini` with a stand-in for voice conversion: so many words as there are seconds of source.

What is converted still goes through engine, policies and the last stage: those are the point.
"""

from __future__ import annotations

from kouji.models.family import PreparedText
from kouji.models.mini.family import MiniFamily
from kouji.text.style import Style
from kouji.types import Audio
from kouji.voices import Voice


class ConvertingMini(MiniFamily):
    """Implements `kouji.models.family.VoiceConverter` on top of `mini`."""

    def prepare_conversion(self, source: Audio, voice: Voice) -> PreparedText:
        """One sentence for each two seconds begun."""
        count = 1 + int(source.duration / 2)
        text = " ".join(["The river was quiet that evening, and so were we."] * count)
        prepared = self.prepare(text, voice, language=None, style=Style())
        return PreparedText(prepared.segments, (f"heard {source.duration:.1f} s",))
