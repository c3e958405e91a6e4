"""Kouji's marks in a text for CosyVoice, as the special tokens the model was trained with.

Events and scopes have tokens of the same name, sounds those of `sounds`, pauses cut the text
into stretches. Sounds already written as tokens, `[j][ǐ]` or `[K][AH0]`, pass as they are if the
model has them. Tokens that steer the model are never taken from a text.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from kouji.errors import MarkError, TextError
from kouji.models.cosyvoice.text.sounds import Atom, english_tokens, read_syllable
from kouji.models.cosyvoice.text.spelling import Sign, spell
from kouji.text.g2p.pinyin import spell_syllable
from kouji.text.language import is_hanzi
from kouji.text.markup import EVENTS, Break, Event, Phonetic, Piece, Plain, parse
from kouji.text.units import NEUTRAL, Prosody

_MODEL_TOKEN = re.compile(r"<\|[^<>|\n]{0,60}\|>")
_RUN = re.compile(r"\\.|(?:\[[^\[\]\\\n]{1,40}\])+", re.DOTALL)
_MARK = re.compile(r"\[([^\[\]]*)\]")
_CMU = re.compile(r"\[[A-Z]+[0-2]?\]")
_INITIALS = frozenset("b p m f d t n l g k h j q x zh ch sh r z c s y w".split())
# Private characters stand for runs of tokens while marks are read, as long as what they replace.
_FIRST_RUN, _LAST_RUN = 0xF0000, 0xFFFFD
_HELD = re.compile(f"([{chr(_FIRST_RUN)}-{chr(_LAST_RUN)}])\\1*")
_UNREADABLE = re.compile(f"[\ud800-\udfff{chr(_FIRST_RUN)}-{chr(_LAST_RUN)}]")
_SHORT_BREAK_SECONDS = 0.2  # shorter ones are a comma
_STOPS = frozenset("。！？.!?…；;")
_NO_STOP_AFTER = _STOPS | frozenset("，,、：:")
_NEAR = 5  # tokens an error offers


@dataclass(frozen=True)
class Stretch:
    """What is read between two pauses; `pause_seconds` of silence follow it."""

    signs: tuple[Sign, ...]
    pause_seconds: float = 0.0

    @property
    def is_heard(self) -> bool:
        """True where anything in it has a sound."""
        return any(
            sign.text[1] != "/" if sign.is_token else sign.text.isalnum() for sign in self.signs
        )


@dataclass(frozen=True)
class MarkedText:
    """A text whose marks were read, and what of it is not heard as written."""

    stretches: tuple[Stretch, ...]
    warnings: tuple[str, ...]


def read_marks(text: str, language: str, known: Collection[str]) -> MarkedText:
    """Read marks or SSML and spell what lies between.

    language: one of `languages.LANGUAGES`
    known:    the special tokens of the model
    raises:   MarkError at the first mark that is wrong, TextError for too many of them
    """
    return _Reader(text, language, known).run()


def spell_plain(text: str, language: str) -> list[Sign]:
    """A text in which nothing is a mark, and no token of the model either."""
    return spell(_MODEL_TOKEN.sub(" ", replace_unreadable(text)), language).signs


def replace_unreadable(text: str) -> str:
    """A text of the same length without what no tokenizer takes, or what we write ourselves."""
    return _UNREADABLE.sub("\ufffd", text)


def stop_of(language: str) -> str:
    """The full stop of a language."""
    return "。" if language in ("zh", "ja") else "."


def ends_openly(signs: Sequence[Sign]) -> bool:
    """True for speech that ends without any mark, quotes and closing tokens aside."""
    for sign in reversed(signs):
        if sign.is_token and sign.text.startswith("</"):
            continue
        if sign.text in "\"'”’」』》» ":
            continue
        if sign.is_token:
            return sign.text[1:-1] not in EVENTS
        return sign.text not in _NO_STOP_AFTER
    return False


@dataclass
class _Reader:
    """One walk over one text; `_signs` is the stretch being gathered."""

    text: str
    language: str
    known: Collection[str]
    _signs: list[Sign] = field(default_factory=list)
    _stretches: list[Stretch] = field(default_factory=list)
    _open: list[str] = field(default_factory=list)
    _dropped: dict[str, list[str]] = field(default_factory=dict)
    _losses: list[str] = field(default_factory=list)
    _runs: list[tuple[str, ...]] = field(default_factory=list)

    def run(self) -> MarkedText:
        for piece in self._parse(self._hold_tokens(self._without_model_tokens())):
            if isinstance(piece, Break):
                self._break(piece)
            elif isinstance(piece, Event):
                self._signs.append(Sign(f"[{piece.name}]", piece.start, True))
            else:
                self._set_scopes(piece.prosody, piece.start if isinstance(piece, Phonetic) else
                                 piece.starts[0] if piece.starts else 0)  # fmt: skip
                self._phonetic(piece) if isinstance(piece, Phonetic) else self._plain(piece)
        self._end_stretch(0.0)
        return MarkedText(tuple(self._stretches), tuple(self._warnings()))

    # --- before marks are read

    def _without_model_tokens(self) -> str:
        text = replace_unreadable(self.text)
        names = dict.fromkeys(_MODEL_TOKEN.findall(text))
        if names:
            told = ", ".join(list(names)[:4])
            self._losses.append(f"left out, as it steers the model and is no text: {told}")
        return _MODEL_TOKEN.sub(lambda match: " " * len(match.group()), text)

    def _hold_tokens(self, text: str) -> str:
        """The text with private characters for sounds that are tokens of the model already."""
        return _RUN.sub(self._hold_run, text)

    def _hold_run(self, match: re.Match[str]) -> str:
        if match.group().startswith("\\"):
            return match.group()
        marks = list(_MARK.finditer(match.group()))
        held, sounds = "", list[re.Match[str]]()
        for mark in marks:
            name = mark.group(1).strip().lower()
            if name in EVENTS or name.startswith("break"):
                held += self._hold(sounds) + mark.group()
                sounds = []
            else:
                sounds.append(mark)
        return held + self._hold(sounds)

    def _hold(self, marks: Sequence[re.Match[str]]) -> str:
        written = "".join(mark.group() for mark in marks)
        names = [unicodedata.normalize("NFC", mark.group()) for mark in marks]
        if not names or not _are_syllables(names) or any(n not in self.known for n in names):
            return written
        if len(self._runs) > _LAST_RUN - _FIRST_RUN:
            seen, cure = len(self._runs), "send the text in parts"
            raise TextError("too many sounds are given in one text", seen=seen, cure=cure)
        self._runs.append(tuple(names))
        return chr(_FIRST_RUN + len(self._runs) - 1) * len(written)

    def _parse(self, text: str) -> list[Piece]:
        try:
            return parse(text)
        except MarkError as error:
            wrong = self._first_unknown(text, error)
            near = self._near(wrong)
            if wrong[1:-1] in _INITIALS and wrong in self.known:
                near_cure = f"write its final behind it, as in {wrong}[ǎo]"
            elif near and _MARK.fullmatch(wrong):
                near_cure = f"use one of {near}"
            else:
                raise
            raise MarkError(
                error.what.rpartition(" at character")[0],
                start=error.start,
                end=error.end,
                seen=wrong,
                allowed=str(error.allowed),
                cure=near_cure + (f", or {error.cure}" if error.cure else ""),
            ) from None

    def _first_unknown(self, text: str, error: MarkError) -> str:
        """The mark that is no token, of those that follow one another where reading failed."""
        run = _RUN.match(text, error.start)
        names = [m.group() for m in _MARK.finditer(run.group())] if run else []
        unknown = (name for name in names if unicodedata.normalize("NFC", name) not in self.known)
        return next(unknown, str(error.seen))

    def _near(self, written: str) -> str:
        """Tokens that look like what was written, for an error."""
        content = _bare(written.partition("]")[0])
        if spell_syllable(content) and self._has_sounds:
            return " ".join(f"[{content}{tone}]" for tone in range(1, 5))
        names = sorted(name for name in self.known if name.startswith("["))
        alike = [name for name in names if _bare(name) == content]
        bare = {_bare(name): name for name in names}
        close = difflib.get_close_matches(content, list(bare), _NEAR, 0.7)
        found = dict.fromkeys([*alike, *(bare[name] for name in close)])
        return " ".join(list(found)[:_NEAR])

    # --- pieces

    def _plain(self, piece: Plain) -> None:
        language = piece.language or self.language
        text = " ".join(piece.text) if piece.say_as == "letters" else piece.text
        scale = 2 if piece.say_as == "letters" else 1
        end = 0
        for match in _HELD.finditer(text):
            self._words(piece, text[end : match.start()], end, language, scale)
            tokens = self._runs[ord(match.group(1)) - _FIRST_RUN]
            start = piece.starts[match.start() // scale]
            self._signs += (Sign(token, start, True) for token in tokens)
            end = match.end()
        self._words(piece, text[end:], end, language, scale)

    def _words(self, piece: Plain, text: str, at: int, language: str, scale: int) -> None:
        if not text:
            return
        spelled = spell(text, language)
        for sign in spelled.signs:
            place = min((at + sign.start) // scale, len(piece.starts) - 1)
            self._signs.append(Sign(sign.text, piece.starts[place]))
        for reason, lost in spelled.dropped.items():
            self._dropped.setdefault(reason, []).extend(lost)

    def _phonetic(self, piece: Phonetic) -> None:
        if piece.language == "zh":
            self._syllables(piece)
            return
        tokens = english_tokens([phone for syllable in piece.syllables for phone in syllable])
        if all(token in self.known for token in tokens):
            self._signs += (Sign(token, piece.start, True) for token in tokens)
        elif self._is_mark(piece):
            raise self._no_token(piece, "write the word in letters")
        else:
            self._losses.append(f"the sounds given for {piece.text} are not in this model")
            self._add_plain(piece.text, piece.start)

    def _syllables(self, piece: Phonetic) -> None:
        hanzi: Sequence[str | None] = [None] * len(piece.syllables)
        if len(piece.text) == len(piece.syllables) and all(map(is_hanzi, piece.text)):
            hanzi = list(piece.text)
        written = self.text[piece.start : piece.end]
        for phones, character in zip(piece.syllables, hanzi, strict=True):
            reading = read_syllable(phones, self.known, character)
            is_tokens = "][" in written and not any(sign.isdigit() for sign in written)
            if reading is None or (reading.loss and is_tokens and self._has_sounds):
                raise self._no_token(piece, "write a character that sounds so")
            if reading.loss:
                self._losses.append(reading.loss)
            for atom in reading.atoms:
                self._add(atom, piece.start)

    @property
    def _has_sounds(self) -> bool:
        return "[AA]" in self.known

    def _is_mark(self, piece: Phonetic) -> bool:
        return self.text.startswith("[", piece.start)

    def _no_token(self, piece: Phonetic, cure: str) -> MarkError:
        written = self.text[piece.start : piece.end]
        near = self._near(written.rpartition("[")[2])
        return MarkError(
            "the model has no token for this sound",
            start=piece.start,
            end=piece.end,
            seen=written,
            allowed="sounds of its list" if self._has_sounds else "words",
            cure=f"use one of {near}, or {cure}" if near else cure,
        )

    def _add(self, atom: Atom, start: int) -> None:
        if atom.is_token:
            self._signs.append(Sign(atom.text, start, True))
        else:
            self._add_plain(atom.text, start)

    def _add_plain(self, text: str, start: int) -> None:
        self._signs += (Sign(sign, start) for sign in text)

    # --- scopes and pauses

    def _set_scopes(self, prosody: Prosody, start: int) -> None:
        wanted = [
            name for name, is_on in (("laughter", prosody.laughing), ("strong", prosody.strong))
            if is_on
        ]  # fmt: skip
        if (prosody.rate, prosody.pitch_semitones, prosody.energy_db) != (
            NEUTRAL.rate, NEUTRAL.pitch_semitones, NEUTRAL.energy_db
        ):  # fmt: skip
            self._losses.append(
                "CosyVoice cannot change rate, pitch or volume inside a text; spoken as usual"
            )
        while self._open != wanted[: len(self._open)]:
            self._signs.append(Sign(f"</{self._open.pop()}>", start, True))
        for name in wanted[len(self._open) :]:
            self._signs.append(Sign(f"<{name}>", start, True))
            self._open.append(name)

    def _break(self, piece: Break) -> None:
        if piece.seconds is None or piece.seconds < _SHORT_BREAK_SECONDS:
            if ends_openly(self._signs):
                wide = self.language in ("zh", "ja")
                comma = "，" if wide else ", "
                mark = comma if piece.seconds else stop_of(self.language) + ("" if wide else " ")
                self._add_plain(mark, piece.start)
            return
        self._end_stretch(piece.seconds)

    def _end_stretch(self, seconds: float) -> None:
        start = self._signs[-1].start if self._signs else 0
        self._set_scopes(NEUTRAL, start)
        self._stretches.append(Stretch(tuple(self._signs), seconds))
        self._signs = []

    def _warnings(self) -> Iterator[str]:
        yield from dict.fromkeys(self._losses)
        for reason, lost in self._dropped.items():
            count, first = len("".join(lost)), lost[0][:1]
            yield f"{count} characters not spoken ({reason}), the first {first!r}"


def _are_syllables(names: Sequence[str]) -> bool:
    """True for CMU tokens and whole syllables; an initial waits for its final."""
    waits = False
    for name in names:
        is_initial = name[1:-1] in _INITIALS
        if waits and (is_initial or _CMU.fullmatch(name)):
            return False
        waits = is_initial
    return not waits


def _bare(name: str) -> str:
    """A token's name without tone, stress and brackets, to find its neighbours."""
    plain = unicodedata.normalize("NFD", name.lower())
    return "".join(sign for sign in plain if sign.isalpha()).replace("v", "u")
