"""The front: modes and what stands around a text, segments, languages, compatible requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cosyvoice_text import text_of
from tiny_cosyvoice import tiny_config, write_tokenizer

from kouji.errors import MarkError, StyleError, TextError, UsageError
from kouji.models.cosyvoice.conditioning import TextSegment
from kouji.models.cosyvoice.text.front import Front
from kouji.models.cosyvoice.text.languages import guess_language
from kouji.models.cosyvoice.text.prompt_text import read_pasted
from kouji.models.cosyvoice.text.tokenizer import CosyTokenizer
from kouji.text.style import Style, parse_style

SYSTEM, END = "You are a helpful assistant.", "<|endofprompt|>"
SICHUAN = "请用四川话，兴奋地表达。"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"), tiny_config().lm)


@pytest.fixture(scope="module")
def third(folder: Path) -> Front:
    return Front(CosyTokenizer(folder, "cosyvoice3"), "cosyvoice3")


@pytest.fixture(scope="module")
def second(folder: Path) -> Front:
    return Front(CosyTokenizer(folder, "cosyvoice2"), "cosyvoice2")


def heard(front: Front, text: str, **facts: Any) -> list[tuple[str, str, str]]:
    """Mode, prompt and text of every segment, decoded."""
    found = []
    for segment in front.prepare(text, **facts).segments:
        payload = segment.payload
        assert isinstance(payload, TextSegment)
        assert payload.text.dtype == payload.prompt_text.dtype == torch.int64
        prompt, read = (
            text_of(front.tokenizer, ids.tolist())  # type: ignore[arg-type]
            for ids in (payload.prompt_text, payload.text)
        )
        found.append((payload.mode, prompt, read))
    return found


@pytest.mark.parametrize(("facts", "mode", "prompt", "prefix"), [
    ({"transcript": "我有3个。"}, "zero_shot", f"{SYSTEM}{END}我有三个。", ""),
    ({}, "cross_lingual", "", f"{SYSTEM}{END}"),
    ({"is_fixed_speaker": True}, "sft", "", f"{SYSTEM}{END}"),
    ({"style": parse_style("用四川话，兴奋一点"), "transcript": "好。"}, "instruct",
     f"{SYSTEM} {SICHUAN}{END}", ""),
    ({"style": parse_style("1.2x"), "transcript": "好。"}, "zero_shot", f"{SYSTEM}{END}好。", ""),
    ({"language": "yue"}, "instruct", f"{SYSTEM} 请用广东话表达。{END}", ""),
    ({"transcript": "好。", "mode": "cross_lingual"}, "cross_lingual", "", f"{SYSTEM}{END}"),
])  # fmt: skip
def test_modes(third: Front, facts: dict[str, Any], mode: str, prompt: str, prefix: str) -> None:
    assert heard(third, "买了2个苹果", **facts) == [(mode, prompt, f"{prefix}买了两个苹果。")]


@pytest.mark.parametrize(("facts", "mode", "prompt"), [
    ({"transcript": "我有3个。"}, "zero_shot", "我有三个。"),
    ({}, "cross_lingual", ""),
    ({"style": parse_style("四川话")}, "instruct", f"用四川话说这句话{END}"),
])  # fmt: skip
def test_modes_of_version_2(second: Front, facts: dict[str, Any], mode: str, prompt: str) -> None:
    assert heard(second, "你好", **facts) == [(mode, prompt, "你好。")]


@pytest.mark.parametrize("transcript", ["  ", "。。", f"{SYSTEM}{END}", "<|im_end|>"])
def test_a_transcript_without_words_is_none(third: Front, transcript: str) -> None:
    prepared = third.prepare("你好", transcript=transcript)
    assert prepared.segments[0].payload.mode == "cross_lingual"
    assert "no transcript" in prepared.warnings[0]


def test_only_what_is_heard_is_counted(third: Front) -> None:
    lone = third.prepare("你好").segments[0].payload
    prompted = third.prepare("你好", transcript="再见").segments[0].payload
    assert lone.num_spoken == prompted.num_spoken == len(prompted.text) < len(lone.text)


@pytest.mark.parametrize("pasted", [
    f"{SYSTEM}{END}", f"  {SYSTEM}{END} ", END,
])  # fmt: skip
def test_pasted_system_words_are_not_doubled(third: Front, pasted: str) -> None:
    expected = heard(third, "你好", transcript="再见。")
    assert heard(third, f"{pasted}你好", transcript=f"{SYSTEM}{END}再见。") == expected


@pytest.mark.parametrize("pasted", [f"{SYSTEM} {SICHUAN}{END}", f"{SICHUAN}{END}"])
def test_pasted_instructions(third: Front, pasted: str) -> None:
    assert heard(third, f"{pasted}你好", transcript="再见") == [
        ("instruct", f"{SYSTEM} {SICHUAN}{END}", "你好。")
    ]
    with pytest.raises(MarkError) as raised:
        third.prepare(f"{pasted}你[hao9]好")
    assert raised.value.start == len(pasted) + 1


def test_a_late_token_pastes_nothing() -> None:
    assert read_pasted(f"你好{END}").start == 0
    assert read_pasted(f"{'好' * 500}{END}你好").start == 0


def test_special_tokens_of_users_never_count(third: Front) -> None:
    prepared = third.prepare("你<|im_start|>好<|endofprompt|>", transcript="a<|im_end|>b")
    payload = prepared.segments[0].payload
    ids = {*payload.text.tolist(), *payload.prompt_text.tolist()}
    tokens = third.tokenizer.special_ids  # type: ignore[attr-defined]
    assert not ids & {tokens["<|im_start|>"], tokens["<|im_end|>"]}
    assert payload.prompt_text.tolist().count(tokens[END]) == 1
    assert tokens[END] not in payload.text.tolist()
    assert "left out" in prepared.warnings[0]


def test_a_style_holds_no_tokens(third: Front) -> None:
    style = Style(text="like [breath] a <strong>pirate</strong>", unknown=("pirate",))
    ids = third.prepare("好", style=style).segments[0].payload.prompt_text.tolist()
    specials = set(third.tokenizer.special_ids.values())  # type: ignore[attr-defined]
    assert len(specials & set(ids)) == 1


def test_marks_become_tokens(third: Front) -> None:
    assert heard(third, "真[h][ào][breath]，<strong>好</strong>", transcript="x")[0][2] == (
        "真[h][ào][breath]，<strong>好</strong>。"
    )


# --- segments


def test_segments_cover_the_text_in_order(third: Front) -> None:
    text = " 有3个苹果。她说：[breath]“好！”[break 0.5s]" * 30 + "The end is near, 2 days. " * 20
    prepared = third.prepare(text, transcript="x", pause_seconds=0.1)
    assert "".join(segment.text for segment in prepared.segments) == text
    assert prepared.segments[0].pause_seconds in (0.1, 0.6)
    assert prepared.segments[-1].pause_seconds == 0.0
    assert sum(segment.pause_seconds for segment in prepared.segments) == pytest.approx(
        30 * 0.5 + 0.1 * (len(prepared.segments) - 1)
    )


def test_pauses_lie_between_segments(third: Front) -> None:
    segments = third.prepare("一[break 1s][break 2s]二[break 3s]", transcript="x").segments
    assert [(s.text, s.pause_seconds) for s in segments] == [
        ("一[break 1s][break 2s]", 3.0), ("二[break 3s]", 3.0)
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", " \n", "。。。", "<|im_start|>", "😶", "[break 1s]"])
@pytest.mark.parametrize("front", ["third", "second"])
def test_nothing_to_speak(text: str, front: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(TextError):
        request.getfixturevalue(front).prepare(text)


@pytest.mark.parametrize(
    ("text", "script"),
    [("สวัสดี", "Thai"), ("नमस्ते 3", "Devanagari"), ("مرحبا!", "Arabic"), ("Ωμέγα", "Greek")],
)
@pytest.mark.parametrize("language", [None, "de"])
def test_a_script_that_nobody_taught_it_is_named(
    third: Front, text: str, script: str, language: str | None
) -> None:
    with pytest.raises(TextError, match=f"in {script} letters.*allowed: zh, en.*write the text"):
        third.prepare(text, language=language)
    assert third.prepare(f"hello {text}").segments


def test_an_open_scope_is_not_taken_for_an_initial(third: Front) -> None:
    with pytest.raises(MarkError) as caught:
        third.prepare("<strong>你好")
    assert "final" not in str(caught.value)


def test_too_long_a_text(third: Front) -> None:
    with pytest.raises(TextError, match="too long"):
        third.prepare("好" * 100_001)


# --- languages


@pytest.mark.parametrize(("text", "language"), [
    ("你好 world", "zh"), ("Hello there", "en"), ("これはテストです。", "ja"),
    ("我喜欢吃的の饭菜和水果", "zh"),
    ("안녕하세요 100", "ko"), ("Это проверка", "ru"), ("Das ist nicht gut", "de"),
    ("Natürlich", "de"), ("Ceci est un test", "fr"), ("Esto es una prueba", "es"),
    ("Questo è un test per il mondo", "it"), ("<speak>한국어</speak>", "ko"), ("123", "en"),
])  # fmt: skip
def test_guessed_languages(text: str, language: str) -> None:
    assert guess_language(text) == language


def test_languages(third: Front, second: Front) -> None:
    assert heard(third, "3 mal", language="de-DE")[0][2].endswith("3 mal.")
    assert heard(third, "12", transcript="你好。")[0][2] == "十二。"  # as the voice speaks
    assert heard(third, "12", language="en", transcript="你好。")[0][2] == "twelve."
    assert "三" in heard(third, "好", transcript="有3个", transcript_language="all_zh")[0][1]
    with pytest.raises(UsageError, match="does not speak this language") as raised:
        third.prepare("مرحبا", language="ar")
    assert "zh, en, ja, ko, de, es, fr, it, ru, yue" in str(raised.value)
    assert "was trained on" in second.prepare("Guten Tag", language="de").warnings[0]


def test_warnings(third: Front) -> None:
    assert "no transcript" in third.prepare("你好").warnings[0]
    assert third.prepare("你好", transcript="再见").warnings == ()
    assert "shorter than half" in third.prepare("好", transcript="一二三四五六七八").warnings[0]
    assert "left out" in third.prepare(f"{SICHUAN}{END}好", style=parse_style("sad")).warnings[0]


def test_zero_shot_needs_words(third: Front) -> None:
    with pytest.raises(TextError, match="needs the voice's words"):
        third.prepare("好", mode="zero_shot")


def test_an_unknown_dialect_is_an_error_at_once(third: Front) -> None:
    with pytest.raises(StyleError):
        third.check_style(parse_style("用火星话"))
    with pytest.raises(StyleError):
        third.prepare("好", style=parse_style("用火星话"))


def test_transcripts_may_hold_brackets_that_are_no_marks(third: Front) -> None:
    assert "好" in heard(third, "好", transcript="看[见图]好")[0][1]


# --- compatible requests


@pytest.fixture(scope="module")
def compat(folder: Path) -> Front:
    tokenizer = CosyTokenizer(folder, "cosyvoice3")
    return Front(tokenizer, "cosyvoice3", is_compat=True, normaliser="none")


def test_compatible_segments_are_the_official_ones(shared_dir: Path) -> None:
    goldens = shared_dir / "goldens" / "cosyvoice3"
    tokenizer = CosyTokenizer(goldens / "CosyVoice-BlankEN", "cosyvoice3")
    front = Front(tokenizer, "cosyvoice3", is_compat=True)
    rows = json.loads((goldens / "frontend" / "text.json").read_text("utf-8"))["rows"]
    num_compared = 0
    for row in rows:
        segments = row["wetext.segments"]
        if isinstance(segments, dict) or not segments or not row["text"].strip():
            with pytest.raises(TextError):
                front.prepare(row["text"], transcript="x")
            continue
        prepared = front.prepare(row["text"], transcript="x")
        ids = [segment.payload.text.tolist() for segment in prepared.segments]
        assert ids == [tokenizer.encode(segment) for segment in segments]
        num_compared += 1
    assert num_compared > 60


def test_compatible_prompts(compat: Front) -> None:
    # a prompt with the token is not normalised, as officially; nor is a text, nor is it cut
    assert heard(compat, "有2个。", transcript="我有3.5。") == [
        ("zero_shot", f"{SYSTEM}{END}我有3.5。", "有2个。")
    ]
    assert heard(compat, "有2.5个。再见") == [("cross_lingual", "", f"{SYSTEM}{END}有2.5个。再见")]
    pasted = f"{SYSTEM} {SICHUAN}{END}好"
    assert heard(compat, pasted) == [("cross_lingual", "", pasted)]
    assert heard(compat, "好", style=parse_style("四川话")) == [
        ("instruct", f"{SYSTEM} 请用四川话表达。{END}", "好。")
    ]


def test_compatible_texts_keep_their_tokens(compat: Front) -> None:
    segment = compat.prepare("你[breath]<|im_start|>好", transcript="x").segments[0]
    assert compat.tokenizer.special_ids["<|im_start|>"] in segment.payload.text.tolist()  # type: ignore[attr-defined]
