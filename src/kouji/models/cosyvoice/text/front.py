"""A text, a voice's transcript and a style as what CosyVoice's language model reads.

Kouji's own text handling: marks, numbers as words, segments of a comfortable length, and around
them what the mode needs. Compatible requests go the official way instead, token for token.
Knows no audio and no networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from kouji.errors import MarkError, TextError, UsageError
from kouji.models.cosyvoice.conditioning import Mode, TextSegment
from kouji.models.cosyvoice.config import Version
from kouji.models.cosyvoice.text.instructions import check_style, instruction_of
from kouji.models.cosyvoice.text.languages import (
    CANTONESE,
    LANGUAGES,
    check_language,
    foreign_script,
    guess_language,
    language_warnings,
)
from kouji.models.cosyvoice.text.official_text import (
    Normaliser,
    official_normalise,
    official_segments,
)
from kouji.models.cosyvoice.text.prompt_text import (
    SYSTEM,
    Around,
    Pasted,
    around,
    bare_instruction,
    encode,
    read_pasted,
)
from kouji.models.cosyvoice.text.sounds import Atom
from kouji.models.cosyvoice.text.special_tokens import END_OF_PROMPT, SPECIAL_TOKENS
from kouji.models.cosyvoice.text.spelling import Sign
from kouji.models.cosyvoice.text.text_cut import LIMITS, after_first, cut_stretch
from kouji.models.cosyvoice.text.text_marks import (
    MarkedText,
    Stretch,
    ends_openly,
    read_marks,
    replace_unreadable,
    spell_plain,
    stop_of,
)
from kouji.models.cosyvoice.text.text_tokenizer import TextTokenizer
from kouji.models.family import PreparedSegment, PreparedText
from kouji.text.style import Style

MAX_TEXT_CHARACTERS = 100_000
_NO_TRANSCRIPT = (
    "the voice has no transcript, so the model does not hear its words (cross-lingual mode); "
    "add the voice with what its recording says for a closer likeness"
)
_SHORT = "the text is shorter than half of the voice's transcript, which may be spoken less well"


@dataclass(frozen=True)
class Setting:
    """How a request is read: what is decided before its text is looked at.

    language: of the text, one of `languages.LANGUAGES`
    """

    language: str
    mode: Mode
    around: Around
    warnings: tuple[str, ...]


class Front:
    """The text side of one model; safe to use from many threads."""

    def __init__(
        self,
        tokenizer: TextTokenizer,
        version: Version,
        *,
        is_compat: bool = False,
        normaliser: Normaliser = "wetext",
    ) -> None:
        """Take over a tokenizer of this version.

        is_compat:  every token as the official code makes it
        normaliser: of compatible requests
        """
        self.tokenizer, self.version = tokenizer, version
        self.is_compat, self._normaliser = is_compat, normaliser
        self.known = frozenset(SPECIAL_TOKENS[version])

    def check_style(self, style: Style) -> tuple[str, ...]:
        """What of a style is not followed; StyleError for a dialect nobody knows."""
        return check_style(style, self.version)

    def prepare(
        self,
        text: str,
        *,
        transcript: str | None = None,
        language: str | None = None,
        transcript_language: str | None = None,
        style: Style | None = None,
        is_fixed_speaker: bool = False,
        mode: Mode | None = None,
        pause_seconds: float = 0.0,
    ) -> PreparedText:
        """A whole text in segments, whose payloads are `TextSegment`.

        transcript:       what the voice's recording says; without it the mode is cross-lingual
        language:         a name `check_language` takes; None guesses
        transcript_language: any name; one that is not ours is guessed too
        style:            its words become the instruction; its rate is rendering's
        is_fixed_speaker: the voice is a speaker of the model without a recording
        mode:             in place of the one chosen by what is there
        pause_seconds:    of silence between segments
        raises: TextError for nothing to speak or too much, MarkError, StyleError, UsageError for
                a language CosyVoice does not speak
        """
        text = replace_unreadable(text)
        _check_size(text)
        pasted = Pasted("", text, 0) if self.is_compat else read_pasted(text)
        setting = self.settle(
            pasted.text,
            instruction=pasted.instruction,
            transcript=transcript,
            language=language,
            transcript_language=transcript_language,
            style=style,
            is_fixed_speaker=is_fixed_speaker,
            mode=mode,
        )
        if self.is_compat:
            prepared = self._official(text, setting, transcript, pause_seconds)
        else:
            prepared = self._own(pasted.text, pasted.start, setting, pause_seconds)
        warnings = (*setting.warnings, *prepared.warnings)
        if setting.mode == "zero_shot" and 2 * len(pasted.text) < len(transcript or ""):
            warnings = (*warnings, _SHORT)
        return replace(prepared, warnings=warnings)

    def settle(
        self,
        text: str,
        *,
        instruction: str = "",
        transcript: str | None = None,
        language: str | None = None,
        transcript_language: str | None = None,
        style: Style | None = None,
        is_fixed_speaker: bool = False,
        mode: Mode | None = None,
    ) -> Setting:
        """Language, mode and prompt of a request; arguments and errors as of `prepare`.

        instruction: that the text itself brought along; counts before the style's words
        """
        named = check_language(language)
        if named == CANTONESE:
            style = replace(style or Style(), dialect=(style and style.dialect) or "cantonese")
            named = "zh"
        said = _bare_transcript(replace_unreadable(transcript or ""))
        heard_in = _language_of(said, transcript_language)
        words = self._transcript(said, heard_in) if said else []
        if not self.is_compat and not Stretch(tuple(words)).is_heard:
            said = ""  # marks alone do not tell what the recording says
        spoken = named or guess_language(text, default=heard_in)
        warnings = [*language_warnings(spoken, self.version)]
        asked = instruction_of(style, self.version) if style else None
        if instruction and asked:
            warnings.append(f"the instruction in the text counts; left out: {asked}")
        asked = instruction or asked
        mode = mode or _choose_mode(asked, said, is_fixed_speaker)
        if mode == "cross_lingual" and not said:
            warnings.append(_NO_TRANSCRIPT)
        signs: Sequence[Atom] = ()
        if mode == "zero_shot":
            if not said:
                cure = "give the voice a transcript, or take cross_lingual"
                raise TextError("zero-shot speech needs the voice's words", cure=cure)
            signs = atoms_of(words)
        placed = around(self.version, mode, instruction=asked or "", transcript=signs)
        return Setting(spoken, mode, placed, tuple(warnings))

    def encode(self, atoms: Sequence[Atom]) -> list[int]:
        """Ids of tokens and the text between them."""
        return encode(atoms, self.tokenizer)

    # --- our own way

    def _own(self, text: str, offset: int, setting: Setting, pause: float) -> PreparedText:
        if foreign_script(text):
            raise nothing_to_speak(text)
        try:
            marked = read_marks(text, setting.language, self.known)
        except MarkError as error:
            raise moved(error, offset) from None
        parts = _cut(marked, setting.language)
        if not parts:
            raise nothing_to_speak(text)
        prompt = torch.tensor(self.encode(setting.around.prompt), dtype=torch.int64)
        prefix = self.encode(setting.around.prefix)
        starts = [0, *(part.signs[0].start for part in parts[1:]), len(text)]
        segments = []
        for place, part in enumerate(parts):
            source = text[starts[place] : max(starts[place], starts[place + 1])]
            is_last = place + 1 == len(parts)
            silence = part.pause_seconds + (0.0 if is_last else pause)
            spoken = self.encode(atoms_of(part.signs))
            read = torch.tensor([*prefix, *spoken], dtype=torch.int64)
            payload = TextSegment(prompt, read, setting.mode, len(spoken))
            segments.append(PreparedSegment(source, payload, silence))
        return PreparedText(tuple(segments), marked.warnings)

    def _transcript(self, said: str, language: str) -> list[Sign]:
        """What a recording says, spelled; brackets that are no marks belong to it."""
        try:
            marked = read_marks(said, language, self.known)
        except MarkError:
            return spell_plain(said, language)
        return [sign for stretch in marked.stretches for sign in stretch.signs]

    # --- the official way

    def _official(
        self, text: str, setting: Setting, transcript: str | None, pause: float
    ) -> PreparedText:
        is_third, mode = self.version == "cosyvoice3", setting.mode
        if is_third and mode in ("cross_lingual", "sft") and END_OF_PROMPT not in text:
            text = f"{SYSTEM}{END_OF_PROMPT}{text}"
        prompt = "".join(atom.text for atom in setting.around.prompt)
        if mode == "zero_shot":
            prompt = replace_unreadable(transcript or "")
            if is_third and END_OF_PROMPT not in prompt:
                prompt = f"{SYSTEM}{END_OF_PROMPT}{prompt}"
            prompt = official_normalise(
                prompt, normaliser=self._normaliser, count_tokens=self._count
            )
        segments = official_segments(text, normaliser=self._normaliser, count_tokens=self._count)
        if not segments:
            raise nothing_to_speak(text)
        prompt_ids = torch.tensor(self.tokenizer.encode(prompt), dtype=torch.int64)
        prepared = []
        for place, segment in enumerate(segments):
            ids = self.tokenizer.encode(segment)
            before, _, behind = segment.rpartition(END_OF_PROMPT)
            spoken = len(self.tokenizer.encode(behind or before))  # a tag at the end opens nothing
            if not spoken:
                raise nothing_to_speak(text)
            payload = TextSegment(prompt_ids, torch.tensor(ids, dtype=torch.int64), mode, spoken)
            silence = 0.0 if place + 1 == len(segments) else pause
            prepared.append(PreparedSegment(segment, payload, silence))
        return PreparedText(tuple(prepared))

    def _count(self, text: str) -> int:
        return len(self.tokenizer.encode(text))


def nothing_to_speak(text: str) -> TextError:
    """The error for a text without a sound, or in a script that CosyVoice does not read."""
    script = foreign_script(text)
    if script:
        return TextError(
            "CosyVoice does not speak this language",
            seen=f"{text.strip()[:40]!r}, in {script} letters",
            allowed=", ".join((*LANGUAGES, CANTONESE)),
            cure="write the text in one of these, or take another model",
        )
    return TextError(
        "nothing to speak in the text",
        seen=repr(text[:40]),
        allowed="words, numbers or signs with a reading",
        cure="give it a word",
    )


def _check_size(text: str) -> None:
    if not text.strip():
        raise TextError("the text is empty", seen=repr(text[:40]), allowed="at least one word")
    if len(text) > MAX_TEXT_CHARACTERS:
        raise TextError(
            "the text is too long",
            seen=f"{len(text)} characters",
            allowed=f"up to {MAX_TEXT_CHARACTERS}",
            cure="send it in parts",
        )


def _choose_mode(instruction: str | None, transcript: str, is_fixed_speaker: bool) -> Mode:
    if instruction:
        return "instruct"
    if is_fixed_speaker:
        return "sft"
    return "zero_shot" if transcript else "cross_lingual"


def _bare_transcript(written: str) -> str:
    """What a recording says, without system words and instruction pasted around it."""
    said = read_pasted(written).text.strip()
    return "" if END_OF_PROMPT in said and not bare_instruction(said) else said


def _language_of(said: str, name: str | None) -> str:
    """The language of a transcript; the name comes with the voice and may be another family's."""
    try:
        named = check_language(name)
    except UsageError:
        named = None
    return "zh" if named == CANTONESE else named or guess_language(said)


def _cut(marked: MarkedText, language: str) -> list[Stretch]:
    """Segments that are heard, each with the silence behind it; the last sign is a mark."""
    parts: list[Stretch] = []
    limits = LIMITS
    for stretch in marked.stretches:
        for signs in cut_stretch(stretch, limits):
            trimmed = Stretch(_trimmed(signs))
            if trimmed.is_heard:
                parts.append(trimmed)
        if parts:
            limits = after_first(LIMITS)
            last = parts[-1]
            stop = last.signs[-1]._replace(text=stop_of(language), is_token=False)
            closed = (*last.signs, stop) if ends_openly(last.signs) else last.signs
            parts[-1] = Stretch(closed, last.pause_seconds + stretch.pause_seconds)
    return parts


def _trimmed(signs: Sequence[Sign]) -> tuple[Sign, ...]:
    start, end = 0, len(signs)
    while start < end and signs[start].text == " ":
        start += 1
    while end > start and signs[end - 1].text == " ":
        end -= 1
    return tuple(signs[start:end])


def atoms_of(signs: Sequence[Sign]) -> list[Atom]:
    """Signs without their places."""
    return [Atom(sign.text, sign.is_token) for sign in signs]


def moved(error: MarkError, offset: int) -> MarkError:
    """The error of a text from whose beginning so many characters were taken."""
    if not offset:
        return error
    return MarkError(
        error.what.rpartition(" at character")[0],
        start=error.start + offset,
        end=error.end + offset,
        seen=error.seen,
        allowed=str(error.allowed),
        cure=error.cure,
    )
