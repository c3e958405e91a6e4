"""What CosyVoice was told in training and how its instructions are put: data for `instructions`.

The strings of `OFFICIAL` are those the official code lists for CosyVoice 3, letter by letter.
"""

from __future__ import annotations

# Dialects by their key in `kouji.text.style_words.DIALECTS`; those the official list names.
TRAINED_DIALECTS = {
    "cantonese": "广东话", "dongbei": "东北话", "gansu": "甘肃话", "guizhou": "贵州话",
    "henan": "河南话", "hubei": "湖北话", "hunan": "湖南话", "jiangxi": "江西话",
    "minnan": "闽南话", "ningxia": "宁夏话", "shanxi": "山西话", "shaanxi": "陕西话",
    "shandong": "山东话", "shanghai": "上海话", "sichuan": "四川话", "tianjin": "天津话",
    "yunnan": "云南话",
}  # fmt: skip
# Others people ask for: the model may follow, or speak as usual.
FURTHER_DIALECTS = {
    "chongqing": "重庆话", "beijing": "北京话", "fuzhou": "福州话", "teochew": "潮汕话",
    "hakka": "客家话", "hebei": "河北话", "anhui": "安徽话", "suzhou": "苏州话",
    "wenzhou": "温州话", "hangzhou": "杭州话", "ningbo": "宁波话", "nanjing": "南京话",
    "guangxi": "广西话", "taiwan": "台湾腔", "hainan": "海南话",
}  # fmt: skip
DIALECTS = {**TRAINED_DIALECTS, **FURTHER_DIALECTS}
STANDARD = "普通话"
# Ends of words that name talk and no dialect.
ORDINARY_TALK = (
    "电话", "笑话", "神话", "童话", "实话", "真话", "假话", "谎话", "大话", "废话", "坏话", "好话",
    "情话", "里话", "梦话", "狠话", "气话", "空话", "对话", "悄话", "耳语", "低语", "细语", "私语",
    "自语", "口语", "母语", "外语", "双语", "成语", "术语", "敬语", "咒语", "标语", "结语", "福语",
)  # fmt: skip

LOUDEST = "Please say a sentence as loudly as possible."
SOFTEST = "Please say a sentence in a very soft voice."
SLOWEST = "请用尽可能慢地语速说一句话。"
FASTEST = "请用尽可能快地语速说一句话。"
PEPPA = "我想体验一下小猪佩奇风格，可以吗？"
ROBOT = "你可以尝试用机器人的方式解答吗？"
OFFICIAL_MOODS = {
    "happy": "请非常开心地说一句话。",
    "sad": "请非常伤心地说一句话。",
    "angry": "请非常生气地说一句话。",
}
OFFICIAL = (
    *(f"请用{name}表达。" for name in TRAINED_DIALECTS.values()),
    LOUDEST, SOFTEST, SLOWEST, FASTEST, *OFFICIAL_MOODS.values(), PEPPA, ROBOT,
)  # fmt: skip

# Moods as adverbs, before 地; manners as what one speaks with, after 用.
MOODS = {
    "happy": "开心", "excited": "兴奋", "sad": "伤心", "angry": "生气", "calm": "平静",
    "fearful": "害怕", "nervous": "紧张", "surprised": "惊讶", "disgusted": "厌恶",
    "serious": "严肃", "gentle": "温柔", "tired": "疲惫", "bored": "冷淡", "confident": "自信",
    "shy": "害羞", "playful": "俏皮", "mysterious": "神秘", "sarcastic": "讽刺",
}  # fmt: skip
MANNERS = {
    "whisper": "耳语的方式", "shout": "大喊的方式", "newsreader": "新闻播报的语气",
    "storyteller": "讲故事的语气", "elderly": "老人的声音", "child": "小孩的声音",
    "robot": "机器人的方式",
}  # fmt: skip
# Ways of speaking with 用, from far below to far above the usual.
RATES = ("尽可能慢的语速", "较慢的语速", "稍慢的语速", "稍快的语速", "较快的语速", "尽可能快的语速")
PITCHES = ("很低的音调", "较低的音调", "稍低的音调", "稍高的音调", "较高的音调", "很高的音调")
VOLUMES = ("非常轻的声音", "较轻的声音", "稍轻的声音", "稍大的声音", "较大的声音", "尽可能大的声音")
RANGES = ("毫无起伏", "平淡", "平淡", "有感情", "富有感情", "非常富有感情")
