"""The symbol tables of GPT-SoVITS: which sounds the networks know, and their ids.

The order is a fact of the checkpoints (an id is a row of an embedding). It follows from rules:
every group of sounds is a product of bases and tones, a version's groups are sorted by code
point, and v2 goes on where v1 ends. The syllables of pinyin are spelled by rule too.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from torch import Tensor, tensor

from kouji.errors import UsageError

VERSIONS = ("v1", "v2")  # v2Pro, v2ProPlus, v3 and v4 have the table of v2
PUNCTUATION = ("!", "?", "…", ",", ".", "-")
UNKNOWN = "UNK"
LONG_PAUSE = "SP2"
LONGEST_PAUSE = "SP3"

_PADDING = "_"
_PAUSES = ("SP", LONG_PAUSE, LONGEST_PAUSE, UNKNOWN)

# Mandarin: initials, AA EE OO for syllables that begin with a vowel, finals with tone 1-5.
# i0 and ir are the vowels of zi and zhi, E and En those of ye and yan.
_ZH_INITIALS = "b p m f d t n l g k h j q x zh ch sh r z c s y w AA EE OO".split()
_ZH_FINALS = (
    "a ai an ang ao e ei en eng er o ong ou i i0 ir ia ian iang iao ie in ing iong iu "
    "u ua uai uan uang ui un uo v van ve vn E En"
).split()
_ZH_TONES = range(1, 6)

# English: ARPAbet with stress; two vowels also stand without.
_EN_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split()
_EN_OTHERS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH ER IH".split()

# Japanese, as OpenJTalk names them; capital vowels are unvoiced, N and cl the moraic consonants.
_JA_PHONES = (
    "a i u e o I U N cl b by ch d dy f g gy h hy j k ky m my n ny p py r ry s sh t ts v w y z"
).split()
_JA_PITCH = ("[", "]")

# Korean: compatibility jamo after compound vowels have been taken apart.
_KO_JAMO = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎㅏㅐㅓㅔㅗㅜㅡㅣ"
KO_SPACE = "空"
KO_UNKNOWN = "停"

# Cantonese: Jyutping behind a Y. What can open a syllable stands bare, what can end one has
# tones 1-6. Stops and nasals that were left without a vowel are among both.
_YUE_INITIALS = "b p m f d t n l g k ng gw kw h z c s j w a aa ai ak au e o oi ok on ou uk".split()
_YUE_FINALS = (
    "a aa aai aak aam aan aang aap aat aau ai ak am an ang ap at au e ei ek eng eoi eon eot "
    "i ik im in ing ip it iu o oe oek oeng oi ok on ong ot ou u ui uk un ung ut yu yun yut "
    "g k m n p t"
).split()
_YUE_TONES = range(1, 7)


def _toned(bases: Iterable[str], tones: Iterable[int]) -> list[str]:
    tones = tuple(tones)
    return [f"{base}{tone}" for base in bases for tone in tones]


@lru_cache(maxsize=2)
def symbol_table(version: str) -> tuple[str, ...]:
    """All symbols of a version, "v1" or "v2"; the index is the id.

    raises: UsageError for another version
    """
    if version not in VERSIONS:
        raise UsageError("unknown symbol table", seen=version, allowed=", ".join(VERSIONS))
    first = {_PADDING, *PUNCTUATION, *_PAUSES, *_ZH_INITIALS, *_toned(_ZH_FINALS, _ZH_TONES)}
    first |= {*_toned(_EN_VOWELS, range(3)), *_EN_OTHERS, *_JA_PHONES}
    table = sorted(first)
    if version == "v2":
        cantonese = [*_YUE_INITIALS, *_toned(_YUE_FINALS, _YUE_TONES)]
        table += [*_JA_PITCH, *sorted([*_KO_JAMO, KO_SPACE, KO_UNKNOWN])]
        table += sorted(f"Y{sound}" for sound in cantonese)
    return tuple(table)


@lru_cache(maxsize=2)
def symbol_ids(version: str) -> dict[str, int]:
    """The id of each symbol of a version; the caller does not change it."""
    return {symbol: index for index, symbol in enumerate(symbol_table(version))}


def encode(phones: Iterable[str], version: str) -> Tensor:
    """Ids of phones, (phones,) int64; a phone the version lacks becomes UNK."""
    ids = symbol_ids(version)
    return tensor([ids.get(phone, ids[UNKNOWN]) for phone in phones]).long()


_APICAL = dict.fromkeys("z c s".split(), "i0") | dict.fromkeys("zh ch sh r".split(), "ir")
_FRONT_ROUNDED = {"u": "v", "uan": "van", "ue": "ve", "un": "vn"}  # ju is said jü
_VOWEL_INITIALS = {"a": "AA", "e": "EE", "o": "OO"}
_FINALS = frozenset(_ZH_FINALS)


@lru_cache(maxsize=1024)
def pinyin_to_symbols(syllable: str) -> tuple[str, str] | None:
    """Initial and final, without tone, of a toneless syllable; None where there is none.

    `zhi` -> ("zh", "ir"), `yuan` -> ("y", "van"), `ang` -> ("AA", "ang"); `v` stands for u-umlaut.
    """
    if syllable[:1] in _VOWEL_INITIALS:
        initial, final = _VOWEL_INITIALS[syllable[0]], syllable
    else:
        length = 2 if syllable[:2] in ("zh", "ch", "sh") else 1
        initial, final = syllable[:length], syllable[length:]
    if final == "i":
        final = _APICAL.get(initial, "i")
    if initial in ("j", "q", "x", "y"):
        final = _FRONT_ROUNDED.get(final, final)
    if initial == "y":
        final = {"an": "En", "e": "E"}.get(final, final)
    return (initial, final) if initial in _ZH_INITIALS and final in _FINALS else None
