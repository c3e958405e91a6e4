"""A wish for a manner as the instruction CosyVoice follows: dialect, mood, pace, any words.

What our style words understand becomes one Chinese sentence, an official one where that says
it; anything else goes to the model as the caller wrote it. Figures are no words: the rate is
left to rendering, other figures to nobody.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from kouji.errors import StyleError
from kouji.models.cosyvoice.config import Version
from kouji.models.cosyvoice.text import instruction_words as words
from kouji.models.cosyvoice.text.prompt_text import MAX_PASTED_CHARACTERS, bare_instruction
from kouji.text.style import Style, parse_style
from kouji.text.style_figures import without_figures
from kouji.text.style_words import STANDARD

MAX_CHARACTERS = MAX_PASTED_CHARACTERS
_STRENGTHS = (0.8, 1.3)  # in plain words' own strength: below "a bit", above "very"
_STEPS = {"rate": math.log2(1.25), "pitch": 2.0, "energy": 4.0, "range": math.log2(1.35)}
_MODEL_TOKEN = re.compile(r"<\|[^<>|\n]{0,60}\|>")
_MARKS = " \t.。!！?？,，;；"
_OFFICIAL = {each.strip(_MARKS).lower(): each for each in words.OFFICIAL}
_PEPPA = re.compile(r"小猪佩奇|佩奇|peppa", re.IGNORECASE)
_STANDARD = re.compile("|".join(map(re.escape, STANDARD.split())), re.IGNORECASE)
# 用火星话, 火星话, 说藏语; but not 火星话的故事: what follows must end the wish or be speech.
_ENDS = r"(?=$|[\s,，。.!！;；、说讲念读来表朗吧])"
_NAMED_DIALECTS = (
    re.compile(rf"(?:^|[用说讲成以])(?![用说讲请])\s*([\u4e00-\u9fff]{{1,4}}?(?:话|方言)){_ENDS}"),
    re.compile(rf"[用说讲成以]\s*([\u4e00-\u9fff]{{1,3}}?语){_ENDS}"),
    re.compile(r"([A-Za-z'-]+ dialect)\b", re.IGNORECASE),
)
_VERY = re.compile(r"非常|特别|十分|极|超|very|extremely|really|so\b|incredibly", re.IGNORECASE)


def instruction_of(style: Style, version: Version) -> str | None:
    """The instruction for a style, without what stands around it; None where nothing is asked.

    raises: StyleError for a dialect nobody knows, or for too long a text
    """
    text = _MODEL_TOKEN.sub("", bare_instruction(style.text)).strip()
    if len(text) > MAX_CHARACTERS:
        raise StyleError(
            "the style is too long for an instruction",
            seen=f"{len(text)} characters",
            allowed=f"up to {MAX_CHARACTERS}",
            cure="say it in fewer words",
        )
    official = _OFFICIAL.get(text.strip(_MARKS).lower())
    if official:
        return official
    if _PEPPA.search(text):
        return words.PEPPA
    heard = _read(text)
    _check_dialect(style.dialect, text, heard)
    if heard.unknown:
        return _verbatim(style, text, heard)
    return _composed(style, text, heard, version)


def check_style(style: Style, version: Version) -> tuple[str, ...]:
    """What of a style is not followed; raises as `instruction_of`."""
    instruction_of(style, version)
    return tuple(_warnings(style, version))


def known_dialects() -> str:
    """All dialects that can be asked for, for people to choose from."""
    return ", ".join(f"{name} ({key})" for key, name in words.DIALECTS.items())


def _read(text: str) -> Style:
    """What our words make of a text; one with figures that are not allowed is free text."""
    try:
        return parse_style(text)
    except StyleError:
        return Style(text=text, unknown=(text,))


def _warnings(style: Style, version: Version) -> Iterator[str]:
    name = words.DIALECTS.get(style.dialect or "")
    if version == "cosyvoice3" and style.dialect in words.FURTHER_DIALECTS:
        yield f"CosyVoice is not known to have learned {name} by name; it is asked for all the same"
    heard = _read(style.text)
    for figure, has, expected, what in (
        ("pitch", style.pitch_semitones, heard.pitch_semitones, "semitones of pitch"),
        ("energy", style.energy_db, heard.energy_db, "decibels of loudness"),
    ):
        if figure in heard.heard.figures or abs(has - expected) > 1e-3:
            yield f"CosyVoice follows words, not {what} in figures: say 'higher' or 'louder'"
    if abs(style.pitch_range - heard.pitch_range) > 1e-3:
        yield "CosyVoice follows words, not a range of the melody in figures: say 'expressive'"


# --- words of ours


def _composed(style: Style, text: str, heard: Style, version: Version) -> str | None:
    """One sentence of all that was understood."""
    mood, manner = heard.heard.mood, heard.heard.manner
    if style.emotion not in (None, mood, manner):
        is_mood = style.emotion in words.MOODS
        mood, manner = (style.emotion, None) if is_mood else (None, style.emotion)
    asked = heard.heard.asked
    moves = {
        "rate": 0.0 if "rate" in heard.heard.figures else math.log2(asked.rate),
        "pitch": asked.pitch_semitones if "pitch" not in heard.heard.figures else 0.0,
        "energy": asked.energy_db if "energy" not in heard.heard.figures else 0.0,
        "range": math.log2(asked.pitch_range),
    }
    levels = {name: _level(value / _STEPS[name]) for name, value in moves.items()}
    dialect = words.DIALECTS.get(style.dialect or "")
    if dialect is None and _STANDARD.search(text):
        dialect = words.STANDARD
    single = _single(dialect, mood, manner, levels)
    if single and version == "cosyvoice3":
        return single
    return _sentence(dialect, mood, manner, levels, version, is_very=bool(_VERY.search(text)))


def _level(steps: float) -> int | None:
    """Place in a table of six, None for no wish."""
    if abs(steps) < 0.05:
        return None
    strength = sum(abs(steps) > bound for bound in _STRENGTHS)
    return 3 + strength if steps > 0 else 2 - strength


def _single(
    dialect: str | None, mood: str | None, manner: str | None, levels: dict[str, int | None]
) -> str | None:
    """The official sentence for a lone wish, where there is one."""
    wishes = [wish for wish in (dialect, mood, manner, *levels.values()) if wish is not None]
    if len(wishes) != 1:
        return None
    if mood in words.OFFICIAL_MOODS:
        return words.OFFICIAL_MOODS[mood]
    if manner == "robot":
        return words.ROBOT
    slow_to_fast = {0: words.SLOWEST, 5: words.FASTEST}
    soft_to_loud = {0: words.SOFTEST, 5: words.LOUDEST}
    rate, energy = levels["rate"], levels["energy"]
    return slow_to_fast.get(-1 if rate is None else rate) or soft_to_loud.get(
        -1 if energy is None else energy
    )


def _sentence(
    dialect: str | None,
    mood: str | None,
    manner: str | None,
    levels: dict[str, int | None],
    version: Version,
    *,
    is_very: bool,
) -> str | None:
    """`请用四川话，兴奋地，用较快的语速表达。`"""
    parts = [f"用{dialect}"] if dialect else []
    if mood in words.MOODS:
        said = ("非常" if is_very else "") + words.MOODS[mood]
        parts.append(f"{said}地" if version == "cosyvoice3" else f"用{said}的语气")
    span = levels["range"]
    if span is not None:
        parts.append(f"{words.RANGES[span]}地")
    if manner in words.MANNERS:
        parts.append(f"用{words.MANNERS[manner]}")
    for name, table in (("rate", words.RATES), ("pitch", words.PITCHES), ("energy", words.VOLUMES)):
        level = levels[name]
        if level is not None:
            parts.append(f"用{table[level]}")
    if not parts:
        return None
    if version == "cosyvoice2":  # its own examples are put so
        return "，".join(parts) + "说这句话"
    return f"请{'，'.join(parts)}表达。"


# --- words of the caller's


def _verbatim(style: Style, text: str, heard: Style) -> str | None:
    """The caller's own words, without figures; a dialect beside them goes first."""
    said = without_figures(text) if heard.heard.figures else text
    if style.dialect is not None and style.dialect != heard.dialect:
        said = f"请用{words.DIALECTS[style.dialect]}表达。{said}"
    return said or None


def _check_dialect(dialect: str | None, text: str, heard: Style) -> None:
    """StyleError for a dialect that is named and not known."""
    if dialect is not None and dialect not in words.DIALECTS:
        raise _unknown_dialect(dialect)
    for pattern in _NAMED_DIALECTS:
        for match in pattern.finditer(text):
            name = match.group(1).strip()
            is_unknown = any(word in name.lower() for word in heard.unknown)
            if is_unknown and not name.endswith(words.ORDINARY_TALK):
                raise _unknown_dialect(name)


def _unknown_dialect(seen: str) -> StyleError:
    return StyleError(
        "CosyVoice does not know this dialect",
        seen=seen,
        allowed=known_dialects(),
        cure="for another language write the text itself in it",
    )
