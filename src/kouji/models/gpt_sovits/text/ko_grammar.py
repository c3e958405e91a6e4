"""Korean sounds that spelling does not show: they depend on words and word classes.

Verb stems tense the ending behind them, the ending -ㄹ tenses the noun behind it, and some
compounds tense, insert ㄴ or lose a coda. Without a morphological analyser the places are found
by lists of stems, endings and compounds and by the shape of the neighbours. The compounds are
examples of the Standard Pronunciation Law (표준 발음법, articles 20, 26 and 28 to 30; 국민윤리 is
of its first edition). The official front end knows nearly the same examples and reads all other
compounds as they are spelled; so does this.
"""

from __future__ import annotations

import re
from itertools import pairwise

from kouji.models.gpt_sovits.text.ko_sounds import Syllable, Unit, decompose

# Examples of the law by article. Marks: ^ the next onset is tense, + ㄴ is inserted, = ㄹ is ㄴ,
# - the coda before falls and the next onset is tense. What rules of sound find is left out.
_LIQUID_AS_NASAL = """
의견=란 임진=란 생산=량 결^단=력 공^권=력 동원=령 상견=례 횡단=로 이원=론 입원=료 구근=류
"""  # article 20
_TENSE_SINO_KOREAN = "갈^등 갈^증 말^살 몰^상식 물^질 발^동 발^전 불^세출 불^소 일^시 절^도"  # 26
_TENSE_GENITIVE = """
강^가 강^줄기 굴^속 그믐^달 길^가 눈^동자 등^불 문^고리 물^동이 바람^결 발^바닥 산^새 손^재주 술^잔
신^바람 아침^밥 잠^자리 창^살 초승^달
"""  # article 28
_INSERTED_N = """
솜+이불 홑+이불 막+일 삯+일 맨+입 꽃+잎 내복+약 한+여름 남존+여비 신+여성 색+연필 직행+열차 늑막+염
콩+엿 담+요 눈+요기 영업+용 식용+유 백분+율 국민+윤리 밤+윷
이죽+이죽 야금+야금 검+열 욜랑+욜랑 금+융
들+일 솔+잎 설+익다 물+약 불+여우 서울+역 물+엿 휘발+유 유들+유들
한+일 옷+입다 서른+여섯 삼+연대 먹은+엿 할+일 잘+입다 스물+여섯 일+연대 먹을+엿
"""  # article 29
_INTER_S = """
냇-가 샛-길 빨랫-돌 콧-등 깃-발 대팻-밥 햇-살 뱃-속 뱃-전 고갯-짓
베갯+잇 깻+잎 나뭇+잎 도리깻+열 뒷+윷
"""  # article 30
_COMPOUNDS = [
    *_LIQUID_AS_NASAL.split(), *_TENSE_SINO_KOREAN.split(), *_TENSE_GENITIVE.split(),
    *_INSERTED_N.split(), *_INTER_S.split(), "삼일^절",
]  # fmt: skip
_COMPOUND = {re.sub("[-^+=]", "", word): word for word in _COMPOUNDS}
_COMPOUND_PATTERN = re.compile("|".join(sorted(_COMPOUND, key=len, reverse=True)))

# Syllables that are verb stems wherever they stand, and words that are one with these endings.
_STEM_SYLLABLES = frozenset("앉얹닮굶젊옮곪읽맑밝늙긁묽붉굵갉낡핥훑")
_CAUSATIVES = ("옮기", "굶기", "곪기")  # 기 is part of the stem: no tensing
_STEMS = (
    "신 안 껴안 끌어안 떠안 얼싸안 감 남 넘 담 참 숨 심 품 머금 다듬 더듬 보듬 가다듬 쓰다듬 검 삶"
).split()
_ENDINGS = (
    "고 고는 고도 고서 고요 다 다가 다고 다는 다니 다면 다며 던 더니 더라 더라도 도록 든 든지 지 "
    "지는 지도 지만 지요 지를 게 게도 겠다 겠습니다 겠어요 겠지 거나 거든 습니다 습니까 자 자고 "
    "자마자 소"
).split()
_VERB = re.compile(rf"({'|'.join(sorted(_STEMS, key=len, reverse=True))})({'|'.join(_ENDINGS)})")
_NOUNS = tuple("신고 참고 감자 남자 감지 심지 검거 검소 안다 담소".split())  # look like such verbs

# What may stand behind the adnominal -ㄹ: bound nouns, the surest first.
_SURE_NOUN = re.compile(r"(수|줄)(가|는|은|도|를|을|만|로|밖에)?$|수(있|없)")
_BOUND_NOUN = re.compile(
    r"것|(거|게|걸|건|겁|듯|데|지|바)(가|는|도|를|에|이|요|야|다|고|라|든|니|냐|죠|나|예요|에요|니다|니까|"
    r"한|하다|합니다|했다)?$|(만|법)(한|하다|합니다)$"
)
_STEMS_IN_EUL = (
    "았었였했겠있없먹읽좋많같않받찾앉넣놓죽믿웃잡잊겪짧얻깊높낮늦찍씻싶닫쌓녹막속볶묶깎닦"
)
_SURE_VERB = re.compile(rf"(할|될|[{_STEMS_IN_EUL}]을)$")
_NOUN_IN_RIEUL = re.compile(
    r"(오늘|내일|매일|서울|정말|가을|겨울|마을|얼굴|하늘|아들|사실|현실|비밀|제일|요일|파일|메일|호텔|모델|스타일|"
    r"이걸|그걸|저걸|무얼|뭘|를)$"
)
_TENSING_ENDINGS = ("걸", "밖에", "세라", "수록", "지라도", "지언정", "진대")
_WORD = re.compile("[가-힣]+")


def mark_grammar(text: str, units: list[Unit]) -> None:
    """Change, in place, the syllables whose sound words and grammar decide.

    text: the text the units were taken from, one unit a character
    """
    for found in _COMPOUND_PATTERN.finditer(text):
        _mark_compound(_COMPOUND[found[0]], units[found.start() : found.end()])
    words = list(_WORD.finditer(text))
    for word in words:
        syllables = [
            unit for unit in units[word.start() : word.end()] if isinstance(unit, Syllable)
        ]
        _mark_stems(word[0], syllables)
        _mark_ending(word[0], syllables)
    for word, following in pairwise(words):
        first = units[following.start()]
        is_next = text[word.end() : following.start()] == " "
        if is_next and isinstance(first, Syllable) and _is_adnominal(word[0], following[0]):
            first.tense()


def _mark_compound(marked: str, units: list[Unit]) -> None:
    place = 0
    for sign in marked:
        if sign not in "^+=-":
            place += 1
            continue
        before, behind = units[place - 1], units[place]
        assert isinstance(before, Syllable)
        assert isinstance(behind, Syllable)
        if sign == "-":
            before.coda = ""
        if sign in "^-":
            behind.tense()
        else:
            behind.onset = "ㄴ"


def _mark_stems(word: str, syllables: list[Syllable]) -> None:
    """Tense the ending behind a verb stem, and keep the ㄹ of ㄺ before ㄱ."""
    verb = None if word.startswith(_NOUNS) else _VERB.fullmatch(word)
    for place, behind in enumerate(syllables[1:]):
        stem = syllables[place]
        if _is_trodden(word[place], behind):
            stem.coda = "ㅂ"
        is_stem = word[place] in _STEM_SYLLABLES and word[place : place + 2] not in _CAUSATIVES
        if not is_stem and not (verb and place + 1 == verb.end(1)):
            continue
        if stem.coda == "ㄺ" and behind.onset == "ㄱ":
            stem.coda = "ㄹ"
        if stem.coda != "ㄺ":
            behind.tense()


def _is_trodden(stem: str, behind: Syllable) -> bool:
    """밟- is 밥- before consonants, 넓- only in 넓죽하다 and 넓둥글다."""
    if stem == "밟":
        return behind.onset not in "ㅇㅎ"
    return stem == "넓" and behind.onset in "ㅈㄷ" and behind.vowel == "ㅜ"


def _mark_ending(word: str, syllables: list[Syllable]) -> None:
    """Endings such as -ㄹ수록 are said with a tense onset."""
    for ending in _TENSING_ENDINGS:
        place = len(word) - len(ending)
        if word.endswith(ending) and place > 0 and syllables[place - 1].coda == "ㄹ":
            syllables[place].tense()


def _is_adnominal(word: str, following: str) -> bool:
    """True when a word ends in -ㄹ before a noun, as in 할 수, 먹을 것, 갈 데."""
    if decompose(word[-1]).coda != "ㄹ":
        return False
    if _SURE_VERB.search(word):
        return True
    if word.endswith("을") or _NOUN_IN_RIEUL.search(word):
        return False
    return bool(_SURE_NOUN.match(following) or _BOUND_NOUN.match(following))
