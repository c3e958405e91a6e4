"""Mandarin g2p: spelling of syllables, readings in context, tone sandhi."""

import pytest

from kouji.errors import TextError
from kouji.text.g2p.chinese import FIXED, hanzi_to_phones, pinyin_to_phones, read_stretch


def spell(syllable: str) -> str:
    return " ".join(map(str, pinyin_to_phones(syllable)))


@pytest.mark.parametrize(
    ("syllable", "phones"),
    [
        ("zi4", "z ii4"),
        ("zhi1", "zh iii1"),
        ("ri4", "r iii4"),
        ("ji3", "j i3"),
        ("yang2", "iang2"),
        ("wo3", "uo3"),
        ("yu2", "v2"),
        ("yuan2", "van2"),
        ("yi1", "i1"),
        ("wu3", "u3"),
        ("you3", "iou3"),
        ("wen2", "uen2"),
        ("weng1", "ueng1"),
        ("jue2", "j ve2"),
        ("jv2", "j v2"),
        ("lü4", "l v4"),
        ("lve4", "l ve4"),
        ("lue4", "l ve4"),
        ("liu4", "l iou4"),
        ("gui4", "g uei4"),
        ("lun2", "l uen2"),
        ("jun1", "j vn1"),
        ("er2", "er2"),
        ("wanr2", "uan2 rr2"),
        ("hua1", "h ua1"),
        ("a0", "a5"),
        ("lo5", "l o5"),
        ("yo1", "i1 o1"),
        ("ê4", "ee4"),
        ("m2", "m2"),
        ("ng4", "eng4"),
        ("hm5", "h m5"),
        ("zhuang4", "zh uang4"),
    ],
)
def test_syllables_are_spelled_as_they_sound(syllable, phones):
    assert spell(syllable) == phones


@pytest.mark.parametrize(
    "wrong", ["", "zi", "zi6", "zi44", "4", "vang2", "ZI4", "hello1", "jo3", "zhi 4"]
)
def test_wrong_syllables_are_refused(wrong):
    with pytest.raises(TextError, match="pinyin"):
        pinyin_to_phones(wrong)


def read(text: str) -> str:
    return " ".join("".join(map(str, phones)) for _, phones in hanzi_to_phones(text))


def pinyin(syllables: str) -> str:
    return " ".join("".join(map(str, pinyin_to_phones(each))) for each in syllables.split())


def test_foreign_signs_are_left_out():
    assert [sign for sign, _ in hanzi_to_phones("我hello，你！")] == ["我", "你"]


READINGS = """
银行 yin2 hang2|第二行 di4 er4 hang2|旅行 lv3 xing2|行业 hang2 ye4|两行字 liang3 hang2 zi4
长大 zhang3 da4|很长 hen3 chang2|校长 xiao4 zhang3|长江 chang2 jiang1|他长高了 ta1 zhang3 gao1 le5
重要 zhong4 yao4|重新 chong2 xin1|重写一遍 chong2 xie3 yi2 bian4|重庆 chong2 qing4
他得去 ta1 dei3 qu4|跑得很快 pao3 de5 hen3 kuai4|获得 huo4 de2|觉得 jue2 de5|得奖 de2 jiang3
慢慢地走 man4 man4 de5 zou3|土地 tu3 di4|高兴地说 gao1 xing4 de5 shuo1|地球 di4 qiu2
着急 zhao2 ji2|看着 kan4 zhe5|睡着了 shui4 zhao2 le5|找不着 zhao3 bu4 zhao2|着陆 zhuo2 lu4
走了 zou3 le5|吃不了 chi1 bu4 liao3|为了 wei4 le5|了不起 liao3 bu5 qi3
还钱 huan2 qian2|还是 hai2 shi4|归还 gui1 huan2|还给他 huan2 gei3 ta1|还有 hai2 you3
都市 du1 shi4|全都 quan2 dou1|为人民服务 wei4 ren2 min2 fu2 wu4|成为 cheng2 wei2
选他为班长 xuan3 ta1 wei2 ban1 zhang3|以北京为中心 yi2 bei3 jing1 wei2 zhong1 xin1
爱好 ai4 hao4|好人 hao3 ren2|种树 zhong4 shu4|种类 zhong3 lei4|打中 da3 zhong4
三只小猪 san1 zhi1 xiao3 zhu1|只有 zhi2 you3|理发 li3 fa4|发现 fa1 xian4
干净 gan1 jing5|干活 gan4 huo2|衣服干了 yi1 fu5 gan1 le5|数学 shu4 xue2|数一数 shu3 yi5 shu3
教室 jiao4 shi4|他教我 ta1 jiao1 wo3|睡觉 shui4 jiao4|感觉 gan3 jue2|睡了一觉 shui4 le5 yi2 jiao4
音乐 yin1 yue4|快乐 kuai4 le4|便宜 pian2 yi5|方便 fang1 bian4|曾经 ceng2 jing1|目的 mu4 di4
参差不齐 cen1 ci1 bu4 qi2|人参 ren2 shen1|下载 xia4 zai4|挣钱 zheng4 qian2|系鞋带 ji4 xie2 dai4
北京大学生 bei3 jing1 da4 xue2 sheng1|研究生命 yan2 jiu1 sheng1 ming4
南京市长江大桥 nan2 jing1 shi4 chang2 jiang1 da4 qiao2
长春市长长春药店 chang2 chun1 shi4 zhang3 chang2 chun1 yao4 dian4
"""
SANDHI = """
你好 ni2 hao3|我很好 wo2 hen2 hao3|展览馆 zhan2 lan2 guan3|小老虎 xiao3 lao2 hu3
水果 shui2 guo3|可以 ke2 yi3|你好吗 ni2 hao3 ma5|电影有什么 dian4 ying3 you3 shen2 me5
一个 yi2 ge4|一天 yi4 tian1|一年 yi4 nian2|一起 yi4 qi3|一共 yi2 gong4|第一 di4 yi1
一月一号 yi1 yue4 yi1 hao4|一百 yi4 bai3|三十一个 san1 shi2 yi1 ge4|看一看 kan4 yi5 kan4
统一 tong3 yi1|一二三 yi1 er4 san1|十一点 shi2 yi1 dian3|星期一早上 xing1 qi1 yi1 zao3 shang5
一等奖 yi1 deng2 jiang3|一楼 yi1 lou2|一九九八年 yi1 jiu2 jiu3 ba1 nian2
不是 bu2 shi4|不好 bu4 hao3|好不好 hao3 bu5 hao3|不一定 bu4 yi2 ding4|不对 bu2 dui4
爸爸妈妈 ba4 ba5 ma1 ma5|弟弟 di4 di5|东西 dong1 xi5|桌子 zhuo1 zi5|石头 shi2 tou5
我们的 wo3 men5 de5|漂亮 piao4 liang5|电子 dian4 zi3|原子弹 yuan2 zi3 dan4|喜欢 xi3 huan5
"""


def rows(table: str) -> list[tuple[str, str]]:
    entries = [entry for line in table.strip().splitlines() for entry in line.split("|")]
    return [tuple(entry.split(" ", 1)) for entry in entries]  # type: ignore[misc]


@pytest.mark.parametrize(("text", "syllables"), rows(READINGS))
def test_readings_follow_words_and_neighbours(text, syllables):
    assert read(text) == pinyin(syllables)


@pytest.mark.parametrize(("text", "syllables"), rows(SANDHI))
def test_tone_sandhi(text, syllables):
    assert read(text) == pinyin(syllables)


@pytest.mark.parametrize(
    ("text", "phones"),
    [
        ("花儿", "hua1 rr1"),
        ("这儿", "zhe4 rr4"),
        ("一点儿", "i4 dian3 rr3"),
        ("小孩儿", "xiao3 hai2 rr2"),
        ("女儿", "nv3 er2"),
        ("儿子", "er2 zii5"),
        ("儿童", "er2 tong2"),
        ("幼儿园", "iou4 er2 van2"),
        ("婴儿", "ing1 er2"),
    ],
)
def test_erhua(text, phones):
    assert read(text) == phones


def test_third_tones_do_not_reach_across_a_pause():
    assert read("你，好") == "ni3 hao3"


def test_a_fixed_syllable_stays_and_moves_its_neighbour():
    words = read_stretch(f"你{FIXED}", {1: pinyin_to_phones("hao3")})
    assert [str(word.phones[0][-1]) for word in words] == ["i2", "ao3"]


def test_agrees_with_the_annotated_corpus(shared_dir):
    folder = shared_dir / "corpus/speech"
    spoken = dict(
        row.split("|") for row in (folder / "aishell3/pinyin.csv").read_text("utf-8").splitlines()
    )
    agreed = compared = 0
    for row in (folder / "manifest.csv").read_text("utf-8").splitlines():
        fields = row.split("|")
        syllables = spoken.get(fields[0], "").split()
        found = [sounds for _, sounds in hanzi_to_phones(fields[4])] if syllables else []
        if len(found) == len(syllables):
            pairs = zip(found, map(pinyin_to_phones, syllables), strict=True)
            agreed += sum(ours[-1].symbol == theirs[-1].symbol for ours, theirs in pairs)
            compared += len(found)
    assert agreed / compared > 0.95  # the speaker's southern accent accounts for the rest


@pytest.mark.parametrize(
    ("text", "character", "reading"),
    [
        ("单先生好", "单", "sh an4"),
        ("解老师讲课", "解", "x ie4"),
        ("仇先生来了", "仇", "q iou2"),
        ("她姓乐", "乐", "ve4"),
        ("任女士在吗", "任", "r en2"),
        ("区先生来了", "区", "ou1"),
        ("区主任来了", "区", "q v1"),
        ("那女士走了", "那", "n a4"),
        ("曾国藩的家书", "曾", "z eng1"),
        ("我曾去过北京", "曾", "c eng2"),
        ("尉迟恭是门神", "尉", "v4"),
        ("查一下字典", "查", "ch a2"),
        ("任务完成了", "任", "r en4"),
        ("这次考试他得了满分", "得", "d e2"),
        ("我记得了", "了", "l e5"),
        ("他获得了成功", "了", "l e5"),
        ("他们赢得了比赛", "了", "l e5"),
        ("我舍不得了", "了", "l e5"),
        ("明天你来得了吗", "了", "l iao3"),
        ("他做得了这件事", "了", "l iao3"),
        ("他比我快得多", "得", "d e5"),
        ("这块地很肥", "地", "d i4"),
        ("书要按时还", "还", "h uan2"),
        ("他还在等", "还", "h ai2"),
        ("他被选为主席", "为", "uei2"),
        ("地球绕着太阳转", "转", "zh uan4"),
        ("盛一碗汤", "盛", "ch eng2"),
        ("他吐了", "吐", "t u4"),
        ("大喝一声", "喝", "h e4"),
        ("和面做馒头", "和", "h uo2"),
        ("妈妈在切菜", "切", "q ie1"),
        ("给他量体温", "量", "l iang2"),
        ("扎辫子的女孩", "扎", "z a1"),
        ("他们处得不错", "处", "ch u3"),
        ("果实累累", "累", "l ei2"),
        ("他着了凉", "着", "zh ao2"),
    ],
)
def test_names_and_groups_decide_readings(text, character, reading):
    found = next(phones for sign, phones in hanzi_to_phones(text) if sign == character)
    assert " ".join(map(str, found)) == reading


@pytest.mark.parametrize(
    ("text", "tones"),
    [("纸老虎", "323"), ("展览馆", "223"), ("十一月一日", "21414"), ("一日三餐", "2411")],
)
def test_tones_follow_the_cut_of_the_word(text, tones):
    spoken = [str(phones[-1])[-1] for _, phones in hanzi_to_phones(text)]
    assert "".join(spoken) == tones
