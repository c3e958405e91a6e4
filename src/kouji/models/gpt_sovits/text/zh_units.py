"""What stands around numbers in Chinese text: units, measure words, signs, letters of Greek.

Data for `zh_normalise`. The abbreviations are replaced in their order, wherever they stand;
the measure words say which numbers count something.
"""

from __future__ import annotations

# In the order they are replaced: a longer one must come before its parts, and "mm" comes too
# late on purpose, as in the official front end (`m` has been replaced by then).
ABBREVIATIONS = (
    ("cm2", "平方厘米"), ("cm²", "平方厘米"), ("cm3", "立方厘米"), ("cm³", "立方厘米"),
    ("cm", "厘米"), ("db", "分贝"), ("ds", "毫秒"), ("kg", "千克"), ("km", "千米"),
    ("m2", "平方米"), ("m²", "平方米"), ("m³", "立方米"), ("m3", "立方米"), ("ml", "毫升"),
    ("m", "米"), ("mm", "毫米"), ("s", "秒"),
)  # fmt: skip

_ASCII_UNITS = "cm2|cm²|cm3|cm³|cm|db|ds|kg|km|m2|m²|m³|m3|ml|m|mm|s"
NUMBER_UNITS = f"(?:%|°C|℃|度|摄氏度|{_ASCII_UNITS})"

# Measure words by what they count. Only those the official normaliser knows: 两 for 2 and a
# cardinal instead of single digits are said before them and not before others (份, 次, 遍).
_OF_THINGS = "个只条张块根支枝把台架辆艘座栋幢间所处堵床套件双对幅面口顶盏颗粒丸枚朵株棵片堆捆扎"
_OF_COLLECTIONS = "列层批群队封篇首本页课项例贯"
_OF_PEOPLE = "人位名头匹尾身户家代辈伏"
_OF_PORTIONS = "杯碗碟盘盆盒箱袋瓶罐桶壶锅篮箩笼盏钵煲勺撮道丝泡钟卮簋啖叠贴罗堂"
_OF_MEASURE = "米里丈尺寸分厘毫忽寻常程铺亩斤两钱担石钧铢锱升斗斛合元角毛吨平方刀令打"
_OF_TIME = "年月日天周季旬刻秒时更夜春夏秋冬岁世纪"
_OF_PLACES = "山岭江溪坡丘场网炮阵阙段墙腔砣壳窠曲注客线针管板脚手目单出跳挑袭趟回"
_LARGE = "万亿千百"
_LONGER = "[毫微千]克|公分|小时|美元|微米|十吨"
_SINGLE = "".join(
    (_OF_THINGS, _OF_COLLECTIONS, _OF_PEOPLE, _OF_PORTIONS, _OF_MEASURE, _OF_TIME, _OF_PLACES)
)
MEASURE_WORD = f"(?:[{_SINGLE}{_LARGE}]|{_LONGER})"

SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹ˣʸⁿ", "0123456789xyn", strict=True))
OPERATORS = {"+": "加", "-": "减", "×": "乘", "÷": "除", "=": "等于"}

# What is said for a sign wherever it is left after numbers have been read.
SIGNS = {"/": "每", "+": "加", "-": "减", "×": "乘", "÷": "除", "=": "等"}
CIRCLED = dict(zip("①②③④⑤⑥⑦⑧⑨⑩", "一二三四五六七八九十", strict=True))

_GREEK_NAMES = (
    ("α", "阿尔法"), ("β", "贝塔"), ("γΓ", "伽玛"), ("δΔ", "德尔塔"), ("ε", "艾普西龙"),
    ("ζ", "捷塔"), ("η", "依塔"), ("θΘ", "西塔"), ("ι", "艾欧塔"), ("κ", "喀帕"),
    ("λΛ", "拉姆达"), ("μ", "缪"), ("ν", "拗"), ("ξΞ", "克西"), ("ο", "欧米克伦"), ("πΠ", "派"),
    ("ρ", "肉"), ("ςΣσ", "西格玛"), ("τ", "套"), ("υ", "宇普西龙"), ("φΦ", "服艾"), ("χ", "器"),
    ("ψΨ", "普赛"), ("ωΩ", "欧米伽"),
)  # fmt: skip
GREEK = {letter: name for letters, name in _GREEK_NAMES for letter in letters}
