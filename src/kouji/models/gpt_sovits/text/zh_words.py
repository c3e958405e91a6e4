"""Words of a Chinese sentence with their parts of speech, joined where tone sandhi needs them.

jieba cuts and tags. The merges follow the official front end: a word is what sandhi works on,
so 不 belongs to the verb behind it and a run of third tones to one word.
"""

from __future__ import annotations

import logging
import warnings
from functools import lru_cache
from typing import Any, NamedTuple

from kouji.errors import ModelError
from kouji.models.gpt_sovits.text.zh_pinyin import finals_of

_MAX_THIRD_TONES = 3  # characters of a word joined for its third tones


class Word(NamedTuple):
    """Characters and ICTCLAS tag (n, v, a, d, m, r, x ...); the tag of its first part if joined."""

    text: str
    tag: str


def cut_words(sentence: str) -> list[Word]:
    """The words of one sentence, marks included, before any is joined."""
    return [Word(pair.word, pair.flag) for pair in _tagger().lcut(sentence)]


def cut_parts(word: str) -> list[str]:
    """The shorter words inside one, and itself, as a search index would list them."""
    parts: list[str] = list(_tokenizer().cut_for_search(word))
    return parts


def merge_words(words: list[Word]) -> list[Word]:
    """Words as tone sandhi wants them, in the official order of the merges."""
    for merge in (_merge_bu, _merge_verb_yi, _merge_yi, _merge_repeated):
        words = merge(words)
    words = _merge_third_tones(words, whole=True)
    words = _merge_third_tones(words, whole=False)
    return _merge_er(words)


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    """jieba with its own dictionary, so that words others add do not change how we read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it still imports pkg_resources
            import jieba
    except ImportError as error:
        raise ModelError(
            "the Chinese word list is not installed",
            seen="no package jieba",
            cure="run: pip install jieba",
        ) from error
    jieba.setLogLevel(logging.WARNING)
    return jieba.Tokenizer()


@lru_cache(maxsize=1)
def _tagger() -> Any:
    tokenizer = _tokenizer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from jieba.posseg import POSTokenizer

    return POSTokenizer(tokenizer)


def _merge_bu(words: list[Word]) -> list[Word]:
    """不 joins the word behind it; at the end of a sentence it is an adverb by itself."""
    merged: list[Word] = []
    is_open = False
    for text, tag in words:
        text = "不" + text if is_open else text
        is_open = text == "不"
        if not is_open:
            merged.append(Word(text, tag))
    return [*merged, Word("不", "d")] if is_open else merged


def _merge_verb_yi(words: list[Word]) -> list[Word]:
    """听 一 听 is one word."""
    merged: list[Word] = []
    index = 0
    while index < len(words):
        after = words[index + 1] if index + 1 < len(words) else None
        if merged and words[index].text == "一" and after == merged[-1] and after.tag == "v":
            merged[-1] = Word(f"{after.text}一{after.text}", "v")
            index += 2
        else:
            merged.append(words[index])
            index += 1
    return merged


def _merge_yi(words: list[Word]) -> list[Word]:
    """一 joins the word behind it, a mark too."""
    merged: list[Word] = []
    for word in words:
        if merged and merged[-1].text == "一":
            merged[-1] = Word("一" + word.text, merged[-1].tag)
        else:
            merged.append(word)
    return merged


def _merge_repeated(words: list[Word]) -> list[Word]:
    merged: list[Word] = []
    for word in words:
        if merged and merged[-1].text == word.text:
            merged[-1] = Word(word.text * 2, merged[-1].tag)
        else:
            merged.append(word)
    return merged


def _merge_third_tones(words: list[Word], *, whole: bool) -> list[Word]:
    """Neighbours with third tones where they meet become one word of at most 3 characters.

    whole: only words that have no other tone
    """
    tones = [[final[-1:] for final in finals_of(word.text)] for word in words]
    merged: list[Word] = []
    was_joined = False
    for index, word in enumerate(words):
        before = words[index - 1] if index else None
        if before is not None and not was_joined and _meet(tones, index, whole):
            is_doubled = len(before.text) == 2 and before.text[0] == before.text[1]
            if not is_doubled and len(before.text) + len(word.text) <= _MAX_THIRD_TONES:
                merged[-1] = Word(merged[-1].text + word.text, merged[-1].tag)
                was_joined = True
                continue
        merged.append(word)
        was_joined = False
    return merged


def _meet(tones: list[list[str]], index: int, whole: bool) -> bool:
    before, here = tones[index - 1], tones[index]
    if whole:
        return set(before) == {"3"} == set(here)
    return before[-1] == "3" == here[0]


def _merge_er(words: list[Word]) -> list[Word]:
    """儿 joins the word before it."""
    merged: list[Word] = []
    for word in words:
        if merged and word.text == "儿":
            merged[-1] = Word(merged[-1].text + "儿", merged[-1].tag)
        else:
            merged.append(word)
    return merged
