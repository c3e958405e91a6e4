"""The page docs/marks.md: every example is run, every mark and mood is on it."""

import re

import pytest

from kouji.errors import KoujiError
from kouji.text.front import Event, Pause, analyse
from kouji.text.markup import EVENTS
from kouji.text.style import parse_style
from kouji.text.style_words import DIALECTS, MANNERS, MOODS

FIELDS = {"rate": "rate", "pitch": "pitch_semitones", "energy": "energy_db", "range": "pitch_range"}


@pytest.fixture(scope="module")
def page(request):
    return (request.config.rootpath / "docs/marks.md").read_text("utf-8")


def examples(page: str, kind: str) -> list[tuple[str, str]]:
    blocks = re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL)
    return [tuple(line.split(" => ")) for block in blocks for line in block.splitlines()]


def sounds(text: str) -> str:
    shown = []
    for segment in analyse(text).segments:
        for unit in segment.units:
            if isinstance(unit, Event):
                shown.append(f"({unit.name})")
            elif isinstance(unit, Pause):
                shown.append(unit.mark if unit.seconds is None else f"({unit.seconds:g} s)")
            else:
                shown.append(" ".join(map(str, unit.phones)))
    return " | ".join(shown)


def test_marks(page):
    found = examples(page, "marks")
    assert len(found) > 15
    assert [(text, sounds(text)) for text, _ in found] == found


def test_refusals(page):
    found = examples(page, "refused")
    assert len(found) > 10
    for text, message in found:
        with pytest.raises(KoujiError, match=re.escape(message)):
            analyse(text)


def test_styles(page):
    found = examples(page, "style")
    assert len(found) > 8
    for text, values in found:
        style = parse_style(text)
        expected = {"rate": "1.0", "pitch": "0.0", "energy": "0.0", "range": "1.0"}
        expected |= dict(pair.split("=") for pair in values.split())
        shown = {name: str(getattr(style, field)) for name, field in FIELDS.items()}
        for name in ("emotion", "dialect"):
            if getattr(style, name):
                shown[name] = getattr(style, name)
        if style.unknown:
            shown["unknown"] = " ".join(style.unknown)
        assert (text, shown) == (text, expected)


def test_nothing_is_left_out(page):
    for name in EVENTS:
        assert f"`[{name}]`" in page
    for name, (effect, _) in (MOODS | MANNERS).items():
        row = f"| {name} | {effect.rate:g} | {effect.pitch_semitones:+g} | {effect.energy_db:+g} "
        assert row in page
    for name in DIALECTS:
        assert f"{name} (" in page.replace("\n", " ")
