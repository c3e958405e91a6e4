"""The front end as a whole: spans, segments, sounds in context, warnings, refusals."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kouji.errors import TextError
from kouji.text.front import (
    Analysis,
    Event,
    Pause,
    SplitLimits,
    Word,
    analyse,
    phones_of,
)
from kouji.text.phones import NUM_TONES, PAUSES, SYMBOL_IDS


def units(analysis: Analysis):
    return [unit for segment in analysis.segments for unit in segment.units]


def words(text: str, **options) -> list[Word]:
    return [unit for unit in units(analyse(text, **options)) if isinstance(unit, Word)]


def sound(text: str) -> str:
    return " ".join("".join(map(str, word.phones)) for word in words(text))


def check(text: str, analysis: Analysis, limits: SplitLimits) -> None:
    """What holds of every analysis."""
    assert "".join(segment.text for segment in analysis.segments) == text
    position = 0
    for segment in analysis.segments:
        assert segment.start == position
        position = segment.end
        assert segment.text == text[segment.start : segment.end]
        size = sum(len(unit.phones) for unit in segment.units if isinstance(unit, Word))
        assert size <= limits.max or len({unit.start for unit in segment.units}) == 1
        for unit in segment.units:
            assert segment.start <= unit.start <= unit.end <= segment.end
    starts = [unit.start for unit in units(analysis)]
    assert starts == sorted(starts)
    for word in words_of(analysis):
        assert word.phones
        assert all(p.symbol in SYMBOL_IDS and 0 <= p.tone < NUM_TONES for p in word.phones)
    assert all(unit.mark in PAUSES for unit in units(analysis) if isinstance(unit, Pause))


def words_of(analysis: Analysis) -> list[Word]:
    return [unit for unit in units(analysis) if isinstance(unit, Word)]


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80).filter(lambda text: not set(text) & set("[]<>\\")))
def test_any_unicode_is_spoken_or_refused(text):
    limits = SplitLimits(20, 40, 4)
    try:
        analysis = analyse(text, limits=limits)
    except TextError:
        return
    check(text, analysis, limits)


MIXED = st.lists(
    st.sampled_from(
        ["你好，", "我有3.14元。", "“他说好。”", "Hello ", "NASA ", "it's ", "12:30 ", "[h][ào]",
         "[break 1s]", "[breath]", "<strong>", "</strong>", "女儿", "花儿", "! ", "2024年", "😀",
         "a@b.com", "”", "啊" * 30, "1" * 40]
    ),
    max_size=60,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(MIXED)
def test_mixed_text_keeps_its_promises(parts):
    text = "".join(parts)
    limits = SplitLimits(30, 60, 6)
    try:
        analysis = analyse(text, limits=limits)
    except TextError:
        return
    check(text, analysis, limits)


def test_words_carry_the_span_of_the_callers_text():
    text = "你好，这是 Kouji。It costs $5.20 on 3月5日!"
    assert [(word.text, text[word.start : word.end]) for word in words(text)] == [
        (word.text, word.text) for word in words(text)
    ]
    assert [word.text for word in words(text)][:5] == ["你好", "这", "是", "Kouji", "It"]
    assert "$5.20" in [word.text for word in words(text)]


@pytest.mark.parametrize(
    ("text", "phones"),
    [
        ("她[h][ào]干净", "ta1 hao4 gan1jing4"),
        ("[K][L][EH1][R]", "KLEH1R"),
        ("I read it yesterday.", "AY1 REH1D IH1T YEH1STER0DEY2"),
        ("They live in a live house.", "DHEY1 LIH1V IH1N AH0 LAY1V HHAW1S"),
        ("Please record the record.", "PLIY1Z RIH0KAO1RD DHAH0 REH1KER0D"),
        ("the FBI", "DHIY0 EH1FBIY1AY1"),
        ("the end", "DHIY0 EH1ND"),
        ("我想买5只小老虎", "uo2 xiang2 mai2 u3zhiii1 xiao3lao2hu3"),
    ],
)
def test_sounds_in_context(text, phones):
    assert sound(text).replace("jing5", "jing4") == phones


def test_one_source_token_is_one_word():
    found = [word.text for word in words("写信到 me@b.com 付$5.20")]
    assert found == ["写信", "到", "me@b.com", "付", "$5.20"]


def test_first_segment_is_short_and_sentences_stay_whole():
    analysis = analyse(
        "你好，我是小李。今天我们一起去公园里面走一走，看一看。It is a very fine day today."
    )
    assert analysis.segments[0].text == "你好，我是小李。"
    assert len(analysis.segments) == 3


def test_quotes_and_numbers_stay_in_one_segment():
    text = "他说：“你好吗？我很好。”然后他走了很远的路。共1,234,567.89元整，不多也不少。" * 3
    for segment in analyse(text, limits=SplitLimits(40, 60, 4)).segments:
        assert segment.text.count("“") == segment.text.count("”")
        assert segment.text.count("1,234") == segment.text.count("567.89")


def test_a_number_longer_than_a_segment_is_cut_all_the_same():
    analysis = analyse("1" * 300, limits=SplitLimits(40, 60, 4))
    assert all(sum(len(word.phones) for word in s.units) <= 60 for s in analysis.segments)


def test_events_a_family_lacks_are_dropped_with_one_warning_a_kind():
    text = "[breath]好[breath]吗<strong>嗯</strong>[laughter]"
    assert [unit.name for unit in units(analyse(text)) if isinstance(unit, Event)] == [
        "breath",
        "breath",
        "laughter",
    ]
    analysis = analyse(text, events=("laughter",))
    assert [unit.name for unit in units(analysis) if isinstance(unit, Event)] == ["laughter"]
    assert len(analysis.warnings) == 2
    assert "[breath]" in analysis.warnings[0]
    assert "2 times" in analysis.warnings[0]
    assert not any(word.prosody.strong for word in words_of(analysis))


def test_characters_that_cannot_be_spoken_are_counted():
    analysis = analyse("hello привет мир")
    assert len(analysis.warnings) == 1
    assert "9 characters" in analysis.warnings[0]
    assert "Cyrillic" in analysis.warnings[0]


@pytest.mark.parametrize("text", ["", "   ", "\n", "!!!", "。。。", "[break 1s]", '""', "привет"])
def test_nothing_to_speak_is_refused(text):
    with pytest.raises(TextError):
        analyse(text)


def test_only_events_the_family_lacks_is_refused():
    assert units(analyse("[laughter]"))
    with pytest.raises(TextError, match="sound"):
        analyse("[laughter]", events=())


def test_too_long_is_refused_with_the_limit():
    with pytest.raises(TextError, match=r"100001 characters.*up to 100000"):
        analyse("a" * 100_001)
    with pytest.raises(TextError, match="up to 10"):
        analyse("a" * 11, max_characters=10)


def test_pauses_join_and_breaks_keep_their_time():
    pauses = [unit for unit in units(analyse("a, [break 0.5s]. b")) if isinstance(unit, Pause)]
    assert [(pause.mark, pause.seconds) for pause in pauses] == [(".", 0.5)]


def test_stress_may_begin_inside_a_word():
    found = [(word.text, word.prosody.strong) for word in words("我<strong>喜</strong>欢你")]
    assert found == [("我", False), ("喜", True), ("欢", False), ("你", False)]


class TestTraining:
    """`phones_of`, the front end of data preparation."""

    def test_pinyin(self):
        found = phones_of("zi4 hua1  wanr2", "zh-pinyin")
        assert [" ".join(map(str, word.phones)) for word in found] == ["z ii4", "h ua1", "uan2 rr2"]
        assert [(word.start, word.end) for word in found] == [(0, 3), (4, 8), (10, 15)]

    def test_marks_are_not_read_in_transcripts(self):
        assert [u.text for u in phones_of("see [1] there", "en") if isinstance(u, Word)] == [
            "see",
            "1",
            "there",
        ]

    def test_language(self):
        assert phones_of("我", "zh")[0].language == "zh"
        assert phones_of("it", "en")[0].language == "en"

    @pytest.mark.parametrize(
        ("text", "language"), [("zi9", "zh-pinyin"), ("", "zh"), ("x", "fr"), (" ", "zh-pinyin")]
    )
    def test_refusals(self, text, language):
        with pytest.raises(TextError):
            phones_of(text, language)


def test_the_whole_corpus_has_phones(shared_dir):
    manifest = (shared_dir / "corpus/speech/manifest.csv").read_text("utf-8").splitlines()[1:]
    for row in manifest[::40]:
        fields = row.split("|")
        assert phones_of(fields[4], fields[2])
