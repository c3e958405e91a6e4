"""Errors and warnings in the reader's language.

English is what every error carries. Chinese is found by the words of the fault, else by its
reason or kind; figures and names are kept as they are.
"""

from __future__ import annotations

import re

from kouji.errors import KoujiError
from kouji.serve.problems import problem_of, public_message
from kouji.serve.ui.faults import CURES, FACTS, FAULTS, KINDS, REASONS, WARNINGS

_PATTERNS = tuple((re.compile(pattern + r"\Z", re.DOTALL), text) for pattern, text in FAULTS)
_WARNINGS = tuple((re.compile(pattern + r"\Z", re.DOTALL), text) for pattern, text in WARNINGS)
_FACTS = tuple((re.compile(pattern), text) for pattern, text in FACTS)


def message_of(error: KoujiError, language: str) -> str:
    """What a person is told of an error, in one sentence; no paths of this machine."""
    english = public_message(error)
    if language == "en":
        return english[:1].upper() + english[1:] + "."
    problem = problem_of(error)
    reason = getattr(error, "reason", None)
    what = _matched(_PATTERNS, error.what) or REASONS.get(str(reason)) or KINDS[problem.code]
    facts = [f"实际：{_fact(str(error.seen))}"] if error.seen is not None else []
    if error.allowed is not None:
        facts.append(f"要求：{_fact(error.allowed)}")
    # facts are cleaned of paths with the same rule as the English line
    shown = f"{what}（{'；'.join(facts)}）" if facts else what
    cure = CURES.get(error.cure or "")
    return public_message(KoujiError(shown + (f"。{cure}" if cure else "") + "。"))


def warning_of(warning: str, language: str) -> str:
    """A warning of the way from text to sound."""
    if language == "en":
        return warning[:1].upper() + warning[1:]
    return _matched(_WARNINGS, warning) or f"提示：{_fact(warning)}"


def reason_of(reason: object, language: str) -> str:
    """A reason of a quality report with its figures."""
    code, message = getattr(reason, "code", ""), str(getattr(reason, "message", ""))
    if language == "en" or code not in REASONS:
        return message[:1].upper() + message[1:]
    figures = re.search(r"\(seen: (.*?); allowed: (.*)\)\Z", message, re.DOTALL)
    if figures is None:
        return REASONS[code]
    seen, allowed = (_fact(text) for text in figures.groups())
    return f"{REASONS[code]}（实际：{seen}；要求：{allowed}）"


def _matched(patterns: tuple[tuple[re.Pattern[str], str], ...], text: str) -> str | None:
    for pattern, template in patterns:
        if match := pattern.match(text):
            return match.expand(template)
    return None


def _fact(text: str) -> str:
    for pattern, replacement in _FACTS:
        text = pattern.sub(replacement, text)
    return text
