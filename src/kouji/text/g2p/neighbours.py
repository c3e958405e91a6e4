"""Heteronyms of one part of speech, told apart by the words beside them.

A tagger knows that `lead` is a noun before `pipe`, not that it is the metal. Knows words in
lower case and three neighbours on each side; what no rule decides is left to the tagger.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_REACH = 3


class Rule(NamedTuple):
    """Where `before` and `after` match the neighbouring words, the word sounds like `sounds`."""

    sounds: str
    before: re.Pattern[str] | None
    after: re.Pattern[str] | None


def _rule(sounds: str, *, before: str = "", after: str = "") -> Rule:
    """before: pattern of the end of the words before; after: of the beginning of those after."""
    return Rule(
        sounds,
        re.compile(rf"(?:^| )(?:{before})$") if before else None,
        re.compile(rf"(?:{after})(?: |$)") if after else None,
    )


_METAL_NOUNS = (
    "pipes?|paint|poisoning|acid|batter(?:y|ies)|bullets?|weights?|ore|mines?|mining|exposure|levels?"
    "|contamination|solder|crystal|glass|shot|ions?|dust|content|compounds?|oxide|apron|sinker|toxicity"
)
_FIRST_NOUNS = (
    "singers?|roles?|actors?|actress|characters?|time|times|guitar|guitarists?|authors?|engineers?"
    "|story|vocals?|vocalist|generation|developers?|investors?|by|over|in the|to|the|us|them"
)
_LIVE_NOUNS = (
    "from|music|concerts?|shows?|broadcasts?|broadcasting|streams?|streaming|performances?|tv|television"
    "|audience|events?|bands?|coverage|wires?|ammunition|ammo|demos?|chat|updates?|views?|video|albums?"
    "|recordings?|animals|bait|sessions?|action|football|sports|cam|theater|theatre|entertainment"
    "|on (?:air|tv|stage|television|youtube)|in concert|at the"
)
_TINY_NOUNS = (
    "details?|amounts?|quantit(?:y|ies)|differences?|particles?|traces?|fractions?|changes?|cracks?"
    "|inspection|examination|variations?|fragments?|droplets?|fibers?|organisms?|creatures?|adjustments?"
)
RULES: dict[str, tuple[Rule, ...]] = {
    "lead": (
        _rule("L IY1 D", after=_FIRST_NOUNS),
        _rule("L EH1 D", after=_METAL_NOUNS),
        _rule("L EH1 D", before="made of|contain(?:s|ed|ing)?|(?:zinc|tin|copper|mercury|arsenic)"
              "(?: and| or)?"),
        _rule("L EH1 D", after="and (?:zinc|tin|copper|mercury|arsenic)|free"),
    ),
    "live": (
        _rule("L AY1 V", before="(?:go|goes|going|went|gone|broadcast|streamed|aired|watch|watching"
              "|played|recorded|performed|performing|it|is|are|was|were|now|coming to you|i'm|we're"
              "|it's|you're|a|an)", after="$|on|tonight|now|in [0-9a-z]+ minutes?|" + _LIVE_NOUNS),
        _rule("L AY1 V", before="(?:^|the|a|this|our|some|any|first|next|their|watch|and|to|with|of"
              "|see|for|enjoy|love|during)", after=_LIVE_NOUNS.replace("at the", "q")),
        _rule("L AY1 V", before="go|goes|going|went|gone|broadcast|streamed|aired"),
    ),
    "minute": (_rule("M AY0 N UW1 T", after=_TINY_NOUNS),
               _rule("M AY0 N UW1 T", before="very|extremely|so|incredibly|too")),
    "dove": (_rule("D OW1 V", before="(?!(?:an?|the|this|that|white|my|each|one)$)[a-z']+",
                   after="into|in|down|off|under|deep|deeper|beneath|headfirst|straight|for|right"),),
    "bow": (
        _rule("B AW1", before="(?:take|took|takes|taking|made|make|gave) (?:a|the|his|her|their)"
              "(?: (?:deep|final|little|low|slight|last))?"),
        _rule("B AW1", after="to|down|before|of the (?:ship|boat|vessel)|out|his head|her head"
              "|their heads|your heads?"),
        _rule("B AW1", before="ship's|boat's"),
    ),
    "bass": (
        _rule("B AE1 S", before="(?:sea|largemouth|smallmouth|striped|grilled|caught(?: a)?|catch"
              "|fresh|fried|eat|ate|steamed)"),
        _rule("B AE1 S", after="fishing|boat|fillets?|and trout|fish"),
    ),
    "content": (
        _rule("K AH0 N T EH1 N T", before="(?:is|are|was|were|be|feel|feels|felt|been|am|i'm|quite"
              "|perfectly|seem|seems|seemed|very|not)", after="$|with|to|and happy|just|in [a-z]+"),
    ),
    "resume": (_rule("R EH1 Z AH0 M EY2",
                     before="(?:a|my|your|his|her|their|the|our|updated|send(?: in)?|strong)"),),
    "resumes": (_rule("R EH1 Z AH0 M EY2 Z",
                      before="(?:of|my|your|their|the|our|all|many|these|those|send)"),),
    "excuse": (_rule("IH0 K S K Y UW1 Z", after="me|us|him|her|them|my|you|the"),),
    "row": (_rule("R AW1", before="(?:had|having|have) a(?: [a-z]+)?"),),
    "tear": (_rule("T EH1 R", before="wear and|a|the",
                   after="in (?:the|his|her|my) (?:[a-z]+ )?(?:shirt"
                   "|paper|fabric|dress|muscle|ligament|jacket|pants|sail)|apart|up"),),
}  # fmt: skip


def sounds_by_neighbours(words: Sequence[str], index: int) -> str | None:
    """ARPAbet of the heteronym at `index` where its neighbours decide, else None."""
    rules = RULES.get(words[index].lower())
    if rules is None:
        return None
    before = _joined(words[max(0, index - _REACH) : index])
    after = _joined(words[index + 1 : index + 1 + _REACH])
    for rule in rules:
        is_after = rule.after is None or rule.after.match(after) is not None
        if is_after and (rule.before is None or rule.before.search(before)):
            return rule.sounds
    return None


def _joined(words: Sequence[str]) -> str:
    """The words in lower case, parted by single blanks; punctuation goes."""
    return " ".join(word.lower() for word in words if any(map(str.isalnum, word)))
