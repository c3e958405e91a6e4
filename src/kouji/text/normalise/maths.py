"""Reading of formulas: operands joined by signs of which at least one is only mathematics.

A lone dash, slash or colon is no proof of mathematics (ranges, dates, scores have them too).
"""

from __future__ import annotations

import re
from unicodedata import normalize

from kouji.text.normalise import chinese, english
from kouji.text.normalise.reading import NUMBER, Reader, View, reader

SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
GREEK = {
    "α": ("阿尔法", "alpha"), "β": ("贝塔", "beta"), "γ": ("伽马", "gamma"),
    "δ": ("德尔塔", "delta"), "ε": ("艾普西龙", "epsilon"), "ζ": ("泽塔", "zeta"),
    "η": ("伊塔", "eta"), "θ": ("西塔", "theta"), "κ": ("卡帕", "kappa"),
    "λ": ("兰姆达", "lambda"), "μ": ("缪", "mu"), "ν": ("纽", "nu"), "ξ": ("克西", "xi"),
    "π": ("派", "pi"), "ρ": ("柔", "rho"), "σ": ("西格马", "sigma"), "τ": ("陶", "tau"),
    "φ": ("斐", "phi"), "χ": ("希", "chi"), "ψ": ("普西", "psi"), "ω": ("欧米伽", "omega"),
    "Γ": ("伽马", "gamma"), "Δ": ("德尔塔", "delta"), "Θ": ("西塔", "theta"),
    "Λ": ("兰姆达", "lambda"), "Π": ("派", "pi"), "Σ": ("西格马", "sigma"),
    "Φ": ("斐", "phi"), "Ψ": ("普西", "psi"), "Ω": ("欧米伽", "omega"),
}  # fmt: skip
SIGNS = {
    "+": ("加", "plus"), "−": ("减", "minus"), "-": ("减", "minus"), "×": ("乘", "times"),
    "*": ("乘", "times"), "·": ("乘", "times"), "÷": ("除以", "divided by"),
    "/": ("除以", "over"), "=": ("等于", "equals"), "≠": ("不等于", "is not equal to"),
    "≤": ("小于等于", "is less than or equal to"), "≈": ("约等于", "is approximately"),
    "≥": ("大于等于", "is greater than or equal to"), "<": ("小于", "is less than"),
    ">": ("大于", "is greater than"), "±": ("正负", "plus or minus"), "∞": ("无穷大", "infinity"),
    "∈": ("属于", "in"), "→": ("趋向于", "goes to"), "≡": ("恒等于", "is identical to"),
}  # fmt: skip
_FUNCTIONS = {
    "sin": ("正弦", "sine"), "cos": ("余弦", "cosine"), "tan": ("正切", "tangent"),
    "log": ("log", "log"), "ln": ("LN", "LN"), "lim": ("极限", "limit"), "max": ("max", "max"),
    "min": ("min", "min"), "sqrt": ("根号", "the square root of"), "exp": ("exp", "exp"),
}  # fmt: skip
_GREEK = "".join(GREEK)
_PROOF = re.compile(
    r"[=≠≤≥≈≡^√±÷×<>∈∞]|\d\s?\+\s?[\da-zA-Z(]|[A-Za-z)]\s?\+\s?\d|[A-Za-z)]\s?\*\s?"
)
_ATOM = (
    rf"(?>{NUMBER}%?|(?:{'|'.join(_FUNCTIONS)})(?![A-Za-z])|[a-z]{{1,2}}(?![A-Za-z])|[A-Z](?![A-Za-z])"
    rf"|[{_GREEK}∞√()（）\[\]]|[{SUPERSCRIPTS}⁺⁻])"
)
_MEASURED = re.compile(
    r"\d\s?(?:[kcdmn]m|[km]g|ml|ms|ft|in|lb|oz|mi|[mgsLlV](?=\s|$))(?![A-Za-z])|^\d+×\d+\s?(?:[kcdm]?m|in|ft)\b"
)
_OPERATOR = r"(?:[-+−×÷*/·^=≠≤≥≈≡<>±∈→]|<=|>=|!=|==)"
_TOKEN = re.compile(
    rf"(?P<top>\d+)⁄(?P<bottom>\d+)|(?P<number>{NUMBER})(?P<percent>%)?|(?P<power>[{SUPERSCRIPTS}⁺⁻]+)|(?P<word>[A-Za-z]+)"
    rf"|(?P<two><=|>=|!=|==)|(?P<sign>[^\s])"
)
_SHORT_WORD = re.compile(
    r"(?<![A-Za-z])(?:or|is|to|at|on|of|by|me|us|we|no|go|do|so|as|an|up|my|if|it|he|be|am)(?![A-Za-z])"
)
_TWO = {"<=": "≤", ">=": "≥", "!=": "≠", "==": "="}


def _formula(match: re.Match[str], view: View) -> str | None:
    text = match.group()
    if not _PROOF.search(text) or not re.search(rf"\d|[=^√≤≥≠≈]|[A-Za-z{_GREEK}]\s?[+<>×÷]", text):
        return None
    if _MEASURED.search(text + view.after(match, 5)):
        return None  # 10×20 cm
    if not re.search(r"\d|=|√|\^", text) and re.search("[a-z]{2}", text):
        return None
    if _SHORT_WORD.search(text):
        return None  # call 12 or +1 (415) 555-2671
    return say_formula(text, 0 if view.language(match) == "zh" else 1)


def _proportion(match: re.Match[str], view: View) -> str:
    """A:B=1:2."""
    is_chinese = view.language(match) == "zh"
    left, right = (
        [chinese.number(p) if p.isdecimal() else p.upper() for p in side]
        if is_chinese
        else [english.number(p) if p.isdecimal() else p.upper() for p in side]
        for side in (match.group(1, 2), match.group(3, 4))
    )
    joint, equals = (" 比 ", " 等于 ") if is_chinese else (" to ", " equals ")
    return joint.join(left) + equals + joint.join(right)


def say_formula(text: str, column: int) -> str:
    """A formula as a reading; column 0 is Chinese, 1 English."""
    text = re.sub(r"(?<![\d./])(\d{1,3})/(\d{1,3})(?![\d./(a-zA-Z])", r"\1⁄\2", text)
    said: list[str] = []
    operand_before = False
    tokens = list(_TOKEN.finditer(text))
    for index, token in enumerate(tokens):
        following = tokens[index + 1].group() if index + 1 < len(tokens) else ""
        words, operand_before = _say_token(token, following, operand_before, column)
        said.append(words)
    return re.sub(r"^[ ,]+|[ ,]+$", "", " ".join(filter(None, said)))


def _say_token(
    token: re.Match[str], following: str, operand_before: bool, column: int
) -> tuple[str, bool]:
    """The words of one token and whether an operand has now been said."""
    text = token.group()
    if token["top"]:
        say = chinese.fraction if column == 0 else english.fraction
        return say(token["top"], token["bottom"]), True
    if token["number"]:
        return _say_number(token, following, column), True
    if token["power"]:
        return say_power(text, column), True
    if token["word"]:
        if text in _FUNCTIONS:
            return _FUNCTIONS[text][column], False
        return text.upper(), True
    if text in "()（）[]":
        return _say_bracket(token), text in ")）]"
    if text == "!=" and token.start() and token.string[token.start() - 1].isdecimal():
        return ("的阶乘等于", "factorial equals")[column], False
    if text == "√":
        return ("根号", "the square root of")[column], False
    if text == "^":
        return ("的", "to the power of")[column], False
    if text in "-−" and not operand_before:
        return ("负", "minus")[column], False
    if text in GREEK:
        return GREEK[text][column], True
    return SIGNS.get(_TWO.get(text, text), ("", ""))[column], text == "∞"


def _say_bracket(token: re.Match[str]) -> str:
    """A pause around a bracket that holds a sum; none in f(x)."""
    text, at = token.string, token.start()
    inside = text[at + 1 :] if text[at] in "(（[" else text[:at]
    inside = re.split(r"[()（）\[\]]", inside)[0 if text[at] in "(（[" else -1]
    return "," if re.search(r"[-+−×÷*/⁄]", inside.strip()) else ""


def _say_number(token: re.Match[str], following: str, column: int) -> str:  # noqa: ARG001
    number = token["number"]
    if column == 0:
        return ("百分之" if token["percent"] else "") + chinese.number(number)
    return english.number(number) + (" percent" if token["percent"] else "")


def say_power(raised: str, column: int) -> str:
    """² -> 的平方 / squared, ⁻⁶ -> 的负六次方 / to the power of minus six."""
    power = normalize("NFKC", raised).replace("−", "-")
    if power in ("2", "3"):
        index = int(power) - 2
        return (("的平方", "的立方"), ("squared", "cubed"))[column][index]
    if not re.fullmatch(r"[+-]?\d+", power):
        return ""
    if column == 0:
        return f"的{chinese.number(power)}次方"
    return f"to the power of {english.number(power)}"


def _power(match: re.Match[str], view: View) -> str:
    column = 0 if view.language(match) == "zh" else 1
    base, raised = match["base"], match["power"]
    if base[0].isdecimal():
        said = chinese.number(base) if column == 0 else english.number(base)
    else:
        said = GREEK[base][column] if base in GREEK else base.upper()
    return f"{said} {say_power(raised, column)}"


def _scientific(match: re.Match[str], view: View) -> str:
    """6.02×10^23, 3×10⁸, 1e-5."""
    power = normalize("NFKC", match["power"]).replace("−", "-").strip("()+")
    if view.language(match) == "zh":
        return f"{chinese.number(match['base'])}乘以十的{chinese.number(power)}次方"
    return f"{english.number(match['base'])} times ten to the power of {english.number(power)}"


def _with_carets(match: re.Match[str], view: View) -> str | None:
    said = _formula(match, view)
    if said is None or "^" not in match.group():
        return said
    column = 0 if view.language(match) == "zh" else 1
    text = match.group()
    parts = re.split(r"\^(\([^()]*\)|[-−]?\d+|[A-Za-z])", text)
    spoken: list[str] = []
    for index, part in enumerate(parts):
        if index % 2 == 0:
            spoken.append(say_formula_tail(part, column, is_first=index == 0))
        else:
            spoken.append(_raise_to(part.strip("()"), column))
    return " ".join(filter(None, spoken))


def say_formula_tail(part: str, column: int, *, is_first: bool) -> str:
    """What follows a power begins with an operator: its minus is a subtraction."""
    if is_first or not part.strip():
        return say_formula(part, column)
    said = say_formula("0" + part.lstrip(), column)
    return re.sub(r"^(?:零|zero)\s*", "", said)


def _raise_to(power: str, column: int) -> str:
    if power in ("2", "3"):
        return say_power("²" if power == "2" else "³", column)
    said = say_formula(power, column)
    return f"的{said}次方" if column == 0 else f"to the power of {said}"


_OPERAND = rf"(?:[-−±]\s?)?{_ATOM}{{1,60}}+"  # bounded: a line of brackets is not one operand
_FORMULA = rf"{_OPERAND}(?:\s?{_OPERATOR}\s?{_OPERAND}){{1,60}}(?![\dA-Za-z]|\.\d)"
_START = r"(?<![A-Za-z\d.])"


def _root(match: re.Match[str], view: View) -> str:
    return say_formula(match.group(), 0 if view.language(match) == "zh" else 1)


_COMMON: tuple[Reader, ...] = (
    reader("formula", _START + _FORMULA, _with_carets),
    reader("power", rf"(?P<base>{NUMBER}|[A-Za-z](?<![A-Za-z]{{2}})|[{_GREEK}])"
           rf"(?P<power>[⁺⁻]?[{SUPERSCRIPTS}]+)", _power),
)  # fmt: skip
_SCIENTIFIC = reader(
    "scientific",
    rf"(?P<base>{NUMBER})(?:\s?[×x*]\s?10(?:\^(?P<caret>)|(?=[⁺⁻{SUPERSCRIPTS}]))|[eE](?=[-+]?\d))"
    rf"(?P<power>\(?[-−+]?\d+\)?|[⁺⁻{SUPERSCRIPTS}]+)(?![A-Za-z\d])",
    _scientific,
)
DIGIT_READERS: tuple[Reader, ...] = (_SCIENTIFIC, *_COMMON)
LETTER_READERS: tuple[Reader, ...] = (
    reader("proportion", r"([A-Za-z])\s?[:：]\s?([A-Za-z])\s?="
           r"\s?(\d+|[A-Za-z])\s?[:：]\s?(\d+|[A-Za-z])(?![A-Za-z\d])", _proportion),
    *_COMMON,
)  # fmt: skip
SYMBOL_READERS: tuple[Reader, ...] = (
    reader("factorial", r"(?<=\d)!(?=\s?[=+×*/-])",
           lambda match, view: "的阶乘" if view.language(match) == "zh" else "factorial"),
    *_COMMON,
    reader("root", r"√\s?(?P<inside>\d+(?:\.\d+)?|[a-z](?![A-Za-z]))",
           _root),
)  # fmt: skip
