"""Heteronyms of one part of speech, told apart by their neighbours."""

import pytest

from kouji.text.front import Word, analyse


@pytest.mark.parametrize(
    ("text", "word", "sounds"),
    [
        ("The lead pipe is old.", "lead", "L EH1 D"),
        ("It contained lead and mercury.", "lead", "L EH1 D"),
        ("The lead singer left.", "lead", "L IY1 D"),
        ("They lead the way.", "lead", "L IY1 D"),
        ("It is a minute detail.", "minute", "M AY0 N UW1 T"),
        ("Wait a minute.", "minute", "M IH1 N IH0 T"),
        ("Live from New York.", "Live", "L AY1 V"),
        ("We go live at noon.", "live", "L AY1 V"),
        ("I live in Paris.", "live", "L IH1 V"),
        ("People live from day to day.", "live", "L IH1 V"),
        ("He dove into the lake.", "dove", "D OW1 V"),
        ("A dove for peace.", "dove", "D AH1 V"),
        ("She took a bow.", "bow", "B AW1"),
        ("A bow and arrow.", "bow", "B OW1"),
        ("He caught a sea bass.", "bass", "B AE1 S"),
        ("She plays bass guitar.", "bass", "B EY1 S"),
        ("They are content with it.", "content", "K AH0 N T EH1 N T"),
        ("Send your resume today.", "resume", "R EH1 Z AH0 M EY2"),
        ("That is no excuse.", "excuse", "IH0 K S K Y UW1 S"),
        ("Please excuse me.", "excuse", "IH0 K S K Y UW1 Z"),
    ],
)
def test_neighbours_choose(text, word, sounds):
    units = [unit for segment in analyse(text).segments for unit in segment.units]
    found = next(unit for unit in units if isinstance(unit, Word) and unit.spoken == word)
    assert " ".join(map(str, found.phones)) == sounds
