"""A small subset of SSML, turned into the same pieces as the bracket marks.

Knows: speak, p, s, break, prosody (rate, pitch, volume), emphasis, phoneme, sub, say-as, lang.
XML without document types, entities of its own or processing instructions, limited in size
and depth. Offsets of pieces and errors point into the caller's document.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any
from xml.parsers import expat

from kouji.errors import MarkError
from kouji.text.markup import MAX_BREAK_SECONDS, Break, Piece, Plain, parse_marks
from kouji.text.phonetic import Phonetic, read_string
from kouji.text.say_as import ALLOWED as SAY_AS
from kouji.text.say_as import rewrite
from kouji.text.units import NEUTRAL, Prosody
from kouji.types import Language

MAX_DEPTH = 32
MAX_CHARACTERS = 1_000_000
_ROOT = re.compile(r"<speak[\s>/]")
_PROLOGUE_CHARACTERS = 2000  # how far a declaration before the root may reach
_ATTRIBUTES = {
    "speak": ("version", "xml:lang", "xml:base"),
    "p": ("xml:lang",),
    "s": ("xml:lang",),
    "break": ("time", "strength"),
    "prosody": ("rate", "pitch", "volume"),
    "emphasis": ("level",),
    "phoneme": ("alphabet", "ph"),
    "sub": ("alias",),
    "say-as": ("interpret-as", "format", "detail"),
    "lang": ("xml:lang",),
}
_STRENGTHS = {
    "none": 0.0,
    "x-weak": 0.1,
    "weak": 0.2,
    "medium": 0.4,
    "strong": 0.75,
    "x-strong": 1.2,
}
_RATES = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "default": 1.0, "fast": 1.25, "x-fast": 1.6}
_PITCHES = {"x-low": -6.0, "low": -3.0, "medium": 0.0, "default": 0.0, "high": 3.0, "x-high": 6.0}
_VOLUMES = {
    "x-soft": -12.0, "soft": -6.0, "medium": 0.0, "default": 0.0, "loud": 6.0, "x-loud": 10.0
}  # fmt: skip
_ALPHABETS = {"ipa": "ipa", "x-arpabet": "x-arpabet", "pinyin": "pinyin", "x-pinyin": "pinyin"}
_SEMITONES_PER_OCTAVE = 12.0


def is_ssml(text: str) -> bool:
    """True for a text that begins with a `<speak>` document."""
    head = text.lstrip()[:_PROLOGUE_CHARACTERS]
    found = _ROOT.search(head)
    return found is not None and (found.start() == 0 or head.startswith(("<?xml", "<!")))


def parse_ssml(text: str) -> list[Piece]:
    """Pieces of a document; MarkError with the offset of the first thing that is not allowed."""
    if len(text) > MAX_CHARACTERS:
        raise _error("SSML document is too long", 0, 0, len(text), f"{MAX_CHARACTERS} characters")
    forbidden = re.search(r"<!(?!--|\[CDATA\[)|<\?(?!xml\s)", text)
    if forbidden:
        raise _error(
            "SSML declares a document type, entity or instruction",
            forbidden.start(),
            forbidden.end(),
            text[forbidden.start() : forbidden.start() + 20],
            "elements, text and comments",
        )
    return _Reader(text).run()


@dataclass(frozen=True)
class _Frame:
    """One open element with what it sets for the text in it."""

    name: str
    start: int
    prosody: Prosody = NEUTRAL
    language: Language | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    num_pieces: int = 0  # pieces before it

    def get(self, name: str) -> str | None:
        return dict(self.attributes).get(name)


class _Reader:
    """Drives expat and gathers pieces; text is kept with the offset of every character."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._bytes = text.encode("utf-8", "surrogatepass")
        self._is_ascii = len(self._bytes) == len(text)
        self._byte_seen, self._char_seen = 0, 0
        self._pieces: list[Piece] = []
        self._frames: list[_Frame] = []
        self._chars: list[tuple[str, int]] = []
        self._parser = expat.ParserCreate("utf-8")
        self._parser.buffer_text = False  # one call a run of text, so offsets stay exact
        self._parser.StartElementHandler = self._open
        self._parser.EndElementHandler = self._close
        self._parser.CharacterDataHandler = self._gather

    def run(self) -> list[Piece]:
        try:
            self._parser.Parse(self._bytes, True)
        except expat.ExpatError as error:
            at = self._offset(self._parser.ErrorByteIndex)
            raise _error(
                f"SSML is not well-formed ({expat.ErrorString(error.code)})",
                at,
                min(at + 1, len(self._text)),
                self._text[at : at + 20],
                "XML with every element closed and &amp; for &",
            ) from None
        return self._pieces

    def _offset(self, byte_index: int) -> int:
        """Character offset of a byte offset; parse events only move forward."""
        if self._is_ascii:
            return byte_index
        if byte_index < self._byte_seen:
            return len(self._bytes[:byte_index].decode("utf-8", "surrogatepass"))
        passed = self._bytes[self._byte_seen : byte_index].decode("utf-8", "surrogatepass")
        self._byte_seen, self._char_seen = byte_index, self._char_seen + len(passed)
        return self._char_seen

    def _gather(self, data: str) -> None:
        at = self._offset(self._parser.CurrentByteIndex)
        is_literal = self._text.startswith(data, at)
        for index, sign in enumerate(data):
            self._chars.append((sign, at + index if is_literal else at))

    def _open(self, name: str, attributes: dict[str, str]) -> None:
        at = self._offset(self._parser.CurrentByteIndex)
        self._flush(at)
        self._check(name, attributes, at)
        outer = self._frames[-1] if self._frames else _Frame("", 0)
        frame = replace(
            outer,
            name=name,
            start=at,
            attributes=tuple(attributes.items()),
            num_pieces=len(self._pieces),
        )
        self._frames.append(self._apply(frame, attributes))

    def _check(self, name: str, attributes: dict[str, str], at: int) -> None:
        end = self._text.find(">", at) + 1 or len(self._text)
        if name not in _ATTRIBUTES:
            allowed = ", ".join(f"<{known}>" for known in _ATTRIBUTES)
            raise _error(f"unknown SSML element <{name}>", at, end, self._text[at:end], allowed)
        for attribute in attributes:
            is_namespace = name == "speak" and attribute.startswith(("xmlns", "xsi:"))
            if attribute not in _ATTRIBUTES[name] and not is_namespace:
                allowed = ", ".join(_ATTRIBUTES[name]) or "none"
                raise _error(f"unknown attribute of <{name}>", at, end, attribute, allowed)
        inside = self._frames[-1].name if self._frames else ""
        if (not inside) != (name == "speak"):
            raise _error("misplaced SSML element", at, end, f"<{name}>", "one <speak> around all")
        if inside in ("phoneme", "sub", "say-as"):
            raise _error(f"element inside <{inside}>", at, end, f"<{name}>", "text only")
        if len(self._frames) >= MAX_DEPTH:
            raise _error("SSML nests too deep", at, end, len(self._frames), f"{MAX_DEPTH} levels")

    def _apply(self, frame: _Frame, attributes: dict[str, str]) -> _Frame:
        if "xml:lang" in attributes:
            frame = replace(frame, language=self._language(frame, attributes["xml:lang"]))
        if frame.name == "prosody":
            return replace(frame, prosody=self._prosody(frame, attributes))
        if frame.name == "emphasis":
            return replace(
                frame, prosody=self._emphasis(frame, attributes.get("level", "moderate"))
            )
        if frame.name == "break":
            self._break(frame, attributes)
        return frame

    def _close(self, name: str) -> None:
        start = self._offset(self._parser.CurrentByteIndex)
        self._flush(start)
        frame = self._frames.pop()
        end = self._text.find(">", start) + 1 or len(self._text)
        if name in ("s", "p"):
            self._pieces.append(Break(None, start, max(end, start)))
        elif name in ("phoneme", "sub", "say-as") and len(self._pieces) == frame.num_pieces:
            self._word(frame, "", frame.start, end)

    def _flush(self, end: int) -> None:
        """Turn the gathered characters into pieces, according to the element they stand in."""
        chars, self._chars = self._chars, []
        if not chars:
            return
        frame = self._frames[-1]
        text = "".join(sign for sign, _ in chars)
        if frame.name in ("phoneme", "sub", "say-as"):
            self._word(frame, text, chars[0][1], end)
            return
        starts = tuple(at for _, at in chars)
        ends = tuple(self._end_of(chars, index, end) for index in range(len(chars)))
        plain = Plain(text, starts, ends, frame.prosody, frame.language)
        self._pieces += parse_marks(plain, with_tags=False)  # &lt; is a plain sign

    def _end_of(self, chars: list[tuple[str, int]], index: int, end: int) -> int:
        sign, at = chars[index]
        if self._text[at : at + 1] == "&":
            return self._text.find(";", at) + 1 or at + 1
        if self._text[at : at + 1] == sign:
            return at + 1
        following = chars[index + 1][1] if index + 1 < len(chars) else end
        return max(at + 1, following)

    def _word(self, frame: _Frame, text: str, start: int, end: int) -> None:
        """The content of phoneme, sub or say-as, spoken in its own way."""
        if frame.name == "phoneme":
            self._pieces.append(self._phoneme(frame, text.strip(), start, end))
            return
        if frame.name == "sub":
            alias = frame.get("alias")
            if alias is None:
                raise self._bad(frame, "alias", None, "the text to say instead")
            self._pieces.append(_mapped(alias, start, end, frame))
            return
        kind = frame.get("interpret-as")
        said = rewrite(kind or "", text.strip(), frame.get("format"), frame.language)
        if said is None:
            raise self._bad(frame, "interpret-as", f"{kind}: {text.strip()}", SAY_AS)
        plain = _mapped(said.text, start, end, frame)
        self._pieces.append(replace(plain, say_as=said.kind))

    def _phoneme(self, frame: _Frame, text: str, start: int, end: int) -> Phonetic:
        alphabet = _ALPHABETS.get(frame.get("alphabet") or "ipa")
        if alphabet is None:
            raise self._bad(frame, "alphabet", frame.get("alphabet"), ", ".join(_ALPHABETS))
        written = frame.get("ph") or ""
        found = read_string(alphabet, written)
        if found is None:
            raise self._bad(frame, "ph", written, f"sounds of the alphabet {alphabet}")
        return Phonetic(text or written, *found, start, end, frame.prosody)

    def _language(self, frame: _Frame, tag: str) -> Language:
        primary = tag.lower().partition("-")[0]
        if primary in ("zh", "cmn"):
            return "zh"
        if primary == "en":
            return "en"
        raise self._bad(frame, "xml:lang", tag, "zh-CN or en-US")

    def _emphasis(self, frame: _Frame, level: str) -> Prosody:
        if level not in ("strong", "moderate", "none", "reduced"):
            raise self._bad(frame, "level", level, "strong, moderate, none, reduced")
        return replace(frame.prosody, strong=level in ("strong", "moderate"))

    def _break(self, frame: _Frame, attributes: dict[str, str]) -> None:
        end = self._text.find(">", frame.start) + 1 or len(self._text)
        if "time" in attributes:
            match = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,6})?)(ms|s)\s*", attributes["time"])
            seconds = float(match[1]) * (0.001 if match[2] == "ms" else 1.0) if match else -1.0
            if not 0 <= seconds <= MAX_BREAK_SECONDS:
                allowed = f"500ms or 0.5s, up to {MAX_BREAK_SECONDS:g}s"
                raise self._bad(frame, "time", attributes["time"], allowed)
        else:
            strength = attributes.get("strength", "medium")
            if strength not in _STRENGTHS:
                raise self._bad(frame, "strength", strength, ", ".join(_STRENGTHS))
            seconds = _STRENGTHS[strength]
        if seconds > 0:
            self._pieces.append(Break(seconds, frame.start, end))

    def _prosody(self, frame: _Frame, attributes: dict[str, str]) -> Prosody:
        prosody = frame.prosody
        if "rate" in attributes:
            rate = _read_rate(attributes["rate"])
            if rate is None or not 0.25 <= rate * prosody.rate <= 4.0:
                allowed = f"{', '.join(_RATES)}, or 25% to 400% in all"
                raise self._bad(frame, "rate", attributes["rate"], allowed)
            prosody = replace(prosody, rate=prosody.rate * rate)
        if "pitch" in attributes:
            pitch = _read_pitch(attributes["pitch"])
            if pitch is None or abs(pitch + prosody.pitch_semitones) > _SEMITONES_PER_OCTAVE:
                allowed = f"{', '.join(_PITCHES)}, +2st or +10%, at most an octave in all"
                raise self._bad(frame, "pitch", attributes["pitch"], allowed)
            prosody = replace(prosody, pitch_semitones=prosody.pitch_semitones + pitch)
        if "volume" in attributes:
            volume = _read_volume(attributes["volume"])
            if volume is None or abs(volume + prosody.energy_db) > 20.0:
                allowed = f"{', '.join(_VOLUMES)}, or +6dB, at most 20 dB in all"
                raise self._bad(frame, "volume", attributes["volume"], allowed)
            prosody = replace(prosody, energy_db=prosody.energy_db + volume)
        return prosody

    def _bad(self, frame: _Frame, attribute: str, seen: Any, allowed: str) -> MarkError:
        end = self._text.find(">", frame.start) + 1 or len(self._text)
        what = f"wrong {attribute} of <{frame.name}>"
        return _error(what, frame.start, end, seen if seen is not None else "nothing", allowed)


def _mapped(text: str, start: int, end: int, frame: _Frame) -> Plain:
    """Text that stands for the source span as a whole."""
    count = len(text)
    return Plain(text, (start,) * count, (end,) * count, frame.prosody, frame.language)


def _error(what: str, start: int, end: int, seen: object, allowed: str) -> MarkError:
    return MarkError(what, start=start, end=end, seen=seen, allowed=allowed)


def _read_rate(written: str) -> float | None:
    """A rate as a factor: a word, `80%`, `+20%` (relative) or `1.2`."""
    if written in _RATES:
        return _RATES[written]
    match = re.fullmatch(r"([+-]?)(\d{1,4}(?:\.\d{1,4})?)(%?)", written.strip())
    if match is None:
        return None
    value = float(match[2]) / (100.0 if match[3] else 1.0)
    if match[1]:
        return 1.0 + value * (1 if match[1] == "+" else -1) if match[3] else None
    return value


def _read_pitch(written: str) -> float | None:
    """A shift in semitones: a word, `+2st` or `-10%`."""
    import math

    if written in _PITCHES:
        return _PITCHES[written]
    match = re.fullmatch(r"([+-])(\d{1,3}(?:\.\d{1,4})?)(st|%)", written.strip())
    if match is None:
        return None
    value = float(match[2]) * (1 if match[1] == "+" else -1)
    if match[3] == "st":
        return value
    return _SEMITONES_PER_OCTAVE * math.log2(1 + value / 100) if value > -100 else None


def _read_volume(written: str) -> float | None:
    if written in _VOLUMES:
        return _VOLUMES[written]
    match = re.fullmatch(r"([+-]\d{1,2}(?:\.\d{1,4})?)dB", written.strip())
    return float(match[1]) if match else None
