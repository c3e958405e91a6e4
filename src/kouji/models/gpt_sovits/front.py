"""Text to what the GPT-SoVITS networks read: segments, phones with ids, BERT features.

Joins the cutting, the language of each piece, the languages' own ways to symbols, and BERT,
which only Chinese has. Knows no marks of Kouji's own; the caller hands their sounds in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kouji.errors import ModelError, TextError
from kouji.models.gpt_sovits import symbols
from kouji.models.gpt_sovits.conditioning import TextFeatures
from kouji.models.gpt_sovits.cut import close, collapse_punctuation, pre_segment
from kouji.models.gpt_sovits.text import languages
from kouji.models.gpt_sovits.text.phonemes import Phonemes
from kouji.models.gpt_sovits.text.spans import Splitter, split_by_script
from kouji.models.gpt_sovits.text.speakers import Speaker, speakers, unspoken
from kouji.models.gpt_sovits.text.zh import WORD_BY_WORD, Pinyin
from kouji.models.gpt_sovits.text.zh_reader import BY_NEIGHBOURS

MAX_TEXT_CHARACTERS = 100_000
BERT_CHANNELS = 1024
_MIN_PHONES = 6  # with fewer, a full stop is put before the text and all is done again
_MAX_NAMED = 8  # unspeakable characters a warning names
_SOUNDS = ""  # the language of sounds the caller gave

Text = str | Sequence[str | tuple[str, ...]]
"""A text, or its parts in order: text, and symbols that stand for themselves."""


class SpokenPiece(NamedTuple):
    """A piece of a text in one language."""

    language: str
    spoken: Phonemes


class Front:
    """The text side of one version of GPT-SoVITS.

    version:  "v1", or "v2" for v2, v2Pro and v2ProPlus
    bert:     normalised Chinese to (characters, channels); None gives zeros
    channels: width of the features
    pinyin:   how Chinese is read: zh_reader.official_pinyin with g2pW, zh.WORD_BY_WORD as
              officially without; None takes Kouji's own rules; v1 always reads word by word
    split:    a text into pieces with languages
    speak:    replaces the way some languages are spoken
    """

    def __init__(
        self,
        version: str,
        bert: Callable[[str], Tensor] | None = None,
        channels: int = BERT_CHANNELS,
        *,
        pinyin: Pinyin | None = None,
        split: Splitter = split_by_script,
        speak: Mapping[str, Speaker] | None = None,
    ) -> None:
        symbols.symbol_table(version)  # refuses what is no version
        self.version = version
        self.channels = channels
        self._bert = bert
        self._split = split
        self._speakers = {
            **speakers((pinyin or BY_NEIGHBOURS) if version != "v1" else WORD_BY_WORD),
            **(speak or {}),
        }

    def segments(
        self,
        text: str,
        mode: str,
        method: str = "cut5",
        *,
        collapse: bool = True,
        compat: bool = False,
    ) -> list[str]:
        """The segments that are spoken one by one, none longer than 510 characters.

        mode:     language mode of the request, one of languages.MODES
        method:   cut0 to cut5, see `cut`
        collapse: runs of marks become their first; the official code does not when it streams
        compat:   lose the marks the official methods lose
        raises:   TextError when nothing in the text can be spoken, or there is too much
        """
        languages.check_mode(mode, self.version)
        if len(text) > MAX_TEXT_CHARACTERS:
            raise TextError(
                "the text is too long",
                seen=f"{len(text)} characters",
                allowed=f"up to {MAX_TEXT_CHARACTERS}",
                cure="send it in parts",
            )
        text = collapse_punctuation(text) if collapse else text
        found = pre_segment(text, mode, method, compat=compat)
        if not found:
            raise _nothing_to_speak(text)
        return found

    def transcript(self, text: str, mode: str) -> TextFeatures:
        """What a reference recording says, with a mark at its end."""
        return self.features(close(text, mode), mode)

    def pieces(self, text: Text, mode: str) -> list[SpokenPiece]:
        """A segment in the languages of its pieces.

        A text of fewer than 6 phones is spoken again with a full stop before it.
        raises: UsageError for a mode the version lacks, or a language whose library is missing
        """
        languages.check_mode(mode, self.version)
        parts = [text] if isinstance(text, str) else list(text)
        spoken = self._speak(parts, mode)
        if sum(len(piece.spoken.phones) for piece in spoken) < _MIN_PHONES:
            if parts and isinstance(parts[0], str):
                parts[0] = "." + parts[0]
            else:
                parts.insert(0, ".")
            spoken = self._speak(parts, mode)
        return spoken

    def phones(self, text: Text, mode: str) -> Phonemes:
        """All symbols of a segment; `word2ph` only where every piece has it."""
        found = [piece.spoken for piece in self.pieces(text, mode)]
        counts = [spoken.word2ph for spoken in found]
        known = [count for count in counts if count is not None]
        return Phonemes(
            tuple(phone for spoken in found for phone in spoken.phones),
            tuple(n for count in known for n in count) if len(known) == len(counts) else None,
            "".join(spoken.norm_text for spoken in found),
        )

    def features(self, text: Text, mode: str) -> TextFeatures:
        """A segment as the networks read it.

        text:   a segment, or parts of one with the symbols of given sounds between
        raises: TextError when nothing in it can be spoken
        """
        pieces = self.pieces(text, mode)
        phones = [phone for piece in pieces for phone in piece.spoken.phones]
        if all(phone in symbols.PUNCTUATION for phone in phones):
            raise _nothing_to_speak(text if isinstance(text, str) else str(list(text)))
        return TextFeatures(
            symbols.encode(phones, self.version),
            torch.cat([self._bert_features(piece) for piece in pieces]),
            "".join(piece.spoken.norm_text for piece in pieces),
        )

    def check(self, text: str, mode: str) -> tuple[str, ...]:
        """Warnings about characters that will not be heard, one per language; often none."""
        languages.check_mode(mode, self.version)
        left_out: dict[str, list[str]] = {}
        for language, part in languages.segment(text, mode, self._split):
            signs = left_out.setdefault(language, [])
            signs += [sign for sign in unspoken(part, language) if sign not in signs]
        return tuple(
            f"left out, not spoken in {language}: {' '.join(signs[:_MAX_NAMED])}"
            + (f" and {len(signs) - _MAX_NAMED} more" if len(signs) > _MAX_NAMED else "")
            for language, signs in left_out.items()
            if signs
        )

    def _speak(self, parts: Sequence[str | tuple[str, ...]], mode: str) -> list[SpokenPiece]:
        spoken = []
        for part in parts:
            if isinstance(part, tuple):
                spoken.append(SpokenPiece(_SOUNDS, Phonemes(part, None, "")))
                continue
            for language, text in languages.segment(part, mode, self._split):
                spoken.append(self._speak_piece(language, text))
        return spoken

    def _speak_piece(self, language: str, text: str) -> SpokenPiece:
        """A language the version lacks is spoken as an English blank, as officially."""
        if language not in languages.LANGUAGES[self.version]:
            language, text = "en", " "
        return SpokenPiece(language, self._speakers[language](text))

    def _bert_features(self, piece: SpokenPiece) -> Tensor:
        """(phones, channels): one vector per character, repeated for each of its phones."""
        _, spoken = piece
        if piece.language != "zh" or self._bert is None or not spoken.phones:
            return torch.zeros(len(spoken.phones), self.channels)
        assert spoken.word2ph is not None  # Chinese always counts
        rows = self._bert(spoken.norm_text)
        if tuple(rows.shape) != (len(spoken.word2ph), self.channels):
            raise ModelError(
                "BERT does not fit the GPT-SoVITS weights",
                seen=tuple(rows.shape),
                allowed=f"({len(spoken.word2ph)} characters, {self.channels} channels)",
                cure="use the BERT that came with the weights",
            )
        return rows.float().repeat_interleave(torch.tensor(spoken.word2ph), dim=0)


def _nothing_to_speak(text: str) -> TextError:
    return TextError(
        "nothing to speak in the text",
        seen=text[:80],
        allowed="words of a language the mode names",
        cure="give it a word, or another language mode",
    )
