"""The table of units: how each sign is said in Chinese and in English.

Compound units (km/h, mg/dL) are built from the parts; only irregular ones have rows.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Unit(NamedTuple):
    """`chinese` (a reading), the English `singular` and `plural`."""

    chinese: str
    singular: str
    plural: str


def _row(line: str) -> tuple[str, Unit]:
    sign, chinese, singular, *rest = line.split("|")
    return sign, Unit(chinese, singular, rest[0] if rest else singular + "s")


_TABLE = """
km|公里|kilometer
m|米|meter
dm|分米|decimeter
cm|厘米|centimeter
mm|毫米|millimeter
μm|微米|micrometer
um|微米|micrometer
nm|纳米|nanometer
km²|平方公里|square kilometer
m²|平方米|square meter
dm²|平方分米|square decimeter
cm²|平方厘米|square centimeter
mm²|平方毫米|square millimeter
m³|立方米|cubic meter
dm³|立方分米|cubic decimeter
cm³|立方厘米|cubic centimeter
mm³|立方毫米|cubic millimeter
sqft|平方英尺|square foot|square feet
ha|公顷|hectare
t|吨|ton
kg|公斤|kilogram
g|克|gram
mg|毫克|milligram
μg|微克|microgram
ug|微克|microgram
mcg|微克|microgram
L|升|liter
l|升|liter
dL|分升|deciliter
dl|分升|deciliter
mL|毫升|milliliter
ml|毫升|milliliter
μL|微升|microliter
cc|毫升|C C|C C
h|小时|hour
hr|小时|hour
hrs|小时|hour
min|分钟|minute
mins|分钟|minute
s|秒|second
sec|秒|second
secs|秒|second
ms|毫秒|millisecond
μs|微秒|microsecond
ns|纳秒|nanosecond
Hz|赫兹|hertz|hertz
kHz|千赫兹|kilohertz|kilohertz
MHz|兆赫兹|megahertz|megahertz
GHz|吉赫兹|gigahertz|gigahertz
W|瓦|watt
mW|毫瓦|milliwatt
kW|千瓦|kilowatt
MW|兆瓦|megawatt
GW|吉瓦|gigawatt
Wh|瓦时|watt hour
kWh|千瓦时|kilowatt hour
V|伏|volt
mV|毫伏|millivolt
kV|千伏|kilovolt
mA|毫安|milliamp
mAh|毫安时|milliamp hour
Ω|欧姆|ohm
kΩ|千欧|kilohm
J|焦耳|joule
kJ|千焦|kilojoule
cal|卡|calorie
kcal|千卡|kilocalorie
Pa|帕|pascal
hPa|百帕|hectopascal
kPa|千帕|kilopascal
MPa|兆帕|megapascal
mmHg|毫米汞柱|millimeters of mercury|millimeters of mercury
psi|P S I|P S I|P S I
dB|分贝|decibel
mol|摩尔|mole
mmol|毫摩尔|millimole
IU|国际单位|international unit
KB|K B|kilobyte
kB|K B|kilobyte
MB|M B|megabyte
GB|G B|gigabyte
TB|T B|terabyte
PB|P B|petabyte
Kbps|千比特每秒|kilobit per second|kilobits per second
kbps|千比特每秒|kilobit per second|kilobits per second
Mbps|兆比特每秒|megabit per second|megabits per second
Gbps|吉比特每秒|gigabit per second|gigabits per second
MiB|M I B|mebibyte
GiB|G I B|gibibyte
ppm|P P M|part per million|parts per million
px|像素|pixel
fps|帧每秒|frame per second|frames per second
rpm|转每分钟|R P M|R P M
bpm|次每分钟|beat per minute|beats per minute
mph|英里每小时|mile per hour|miles per hour
kph|公里每小时|kilometer per hour|kilometers per hour
mpg|英里每加仑|mile per gallon|miles per gallon
ft|英尺|foot|feet
yd|码|yard
mi|英里|mile
lb|磅|pound
lbs|磅|pound
oz|盎司|ounce
gal|加仑|gallon
tsp|茶匙|teaspoon
tbsp|汤匙|tablespoon
μF|微法|microfarad
sq ft|平方英尺|square foot|square feet
lm|流明|lumen
lx|勒克斯|lux|lux
"""
UNITS = dict(_row(line) for line in _TABLE.split("\n") if line)
UNITS |= {
    key[:-1] + flat: unit
    for key, unit in list(UNITS.items())
    for mark, flat in (("²", "2"), ("³", "3"))
    if key.endswith(mark)
}
# Written with a space these are more often a word or a name: 5 s, 5 V are, "5 t" and "5 W" not.
_LETTERS = sorted(UNITS, key=len, reverse=True)
SIGN = "(?:" + "|".join(re.escape(sign) for sign in _LETTERS) + ")"
_PER = {"日": "日", "天": "天", "次": "次", "人": "人", "day": "天", "week": "周", "year": "年",
        "month": "月", "hour": "小时", "d": "天", "hr": "小时", "s²": "平方秒"}  # fmt: skip
PATTERN = (
    rf"(?P<unit>{SIGN}(?:/(?:s²|s2|day|week|year|month|d|{SIGN}))?)(?![A-Za-z²³\d])"
    r"(?:\.(?=\s[a-z]|[,;:]))?"
)


def chinese_unit(sign: str) -> str:
    """km/h -> 公里每小时."""
    if sign in UNITS:
        return UNITS[sign].chinese
    top, _, bottom = sign.partition("/")
    below = "平方秒" if bottom in ("s2", "s²") else _PER.get(bottom)
    return f"{UNITS[top].chinese}每{below or UNITS[bottom].chinese}"


def english_unit(sign: str, *, singular: bool) -> str:
    """km/h -> kilometers per hour."""
    if sign in UNITS:
        return UNITS[sign].singular if singular else UNITS[sign].plural
    top, _, bottom = sign.partition("/")
    names = {"s2": "second squared", "s²": "second squared", "d": "day"}
    below = names.get(bottom) or (UNITS[bottom].singular if bottom in UNITS else bottom)
    return f"{english_unit(top, singular=singular)} per {below}"
