"""The vocabulary of speaking styles, Chinese and English: data for the parser in `style`.

Base strengths are for a plain word ("fast"); degrees ("a bit", "非常") scale them.
"""

# ruff: noqa: E501 - the checker counts a hanzi as two columns
from __future__ import annotations

from typing import NamedTuple


class Effect(NamedTuple):
    """A move of the prosody; rate and range are factors, the others differences."""

    rate: float = 1.0
    pitch_semitones: float = 0.0
    energy_db: float = 0.0
    pitch_range: float = 1.0


# Moods and manners: the prosody that stands for each, after the tendencies summarised by
# K. Scherer, "Vocal communication of emotion" (2003); sizes chosen to stay natural.
MOODS: dict[str, tuple[Effect, str]] = {
    "happy": (Effect(1.06, 1.5, 2.0, 1.25), "happy happily happiness joy cheerful cheerfully joyful glad merry delighted smiling friendly upbeat bright 友好 高兴 开心 快乐 愉快 欢快 喜悦 欢乐 欣喜 乐呵呵 轻快 喜气洋洋 笑着"),
    "excited": (Effect(1.12, 2.0, 3.0, 1.35), "excited excitedly excitement enthusiasm enthusiastic enthusiastically thrilled energetic lively passionate 兴奋 激动 热情 激昂 亢奋 振奋 活泼 热烈 充满活力 有活力 充满激情 慷慨激昂"),
    "sad": (Effect(0.86, -1.0, -3.0, 0.75), "sad sadly sadness sorrow sorrowful unhappy melancholy melancholic depressed gloomy heartbroken mournful crying tearful 悲伤 难过 伤心 忧伤 悲痛 沮丧 低落 哀伤 忧郁 哭着 哭腔 哭 失落 悲哀"),
    "angry": (Effect(1.08, 1.0, 4.0, 1.25), "angry angrily anger rage furious mad irritated annoyed outraged 生气 愤怒 恼火 气愤 暴怒 发火 怒气冲冲 不耐烦 气冲冲"),
    "calm": (Effect(0.94, -0.3, -1.0, 0.85), "calm calmly relaxed peaceful peacefully serene soothing composed 平静 冷静 沉着 淡定 安静 平和 镇定 从容 舒缓 放松 心平气和"),
    "fearful": (Effect(1.1, 1.5, -1.0, 1.15), "fearful fear scared afraid frightened terrified panicked horrified trembling shaky 颤抖 发抖 害怕 恐惧 惊恐 恐慌 惊慌"),
    "nervous": (Effect(1.1, 1.0, 0.0, 1.1), "nervous nervously anxious anxiously worried tense 紧张 焦虑 担心 忧虑 不安 慌张 着急 焦急"),
    "surprised": (Effect(1.05, 2.5, 2.0, 1.45), "surprised surprise astonished amazed shocked startled 惊讶 吃惊 惊奇 震惊 惊喜 诧异"),
    "disgusted": (Effect(0.93, -1.0, 0.5, 0.9), "disgusted disgust contemptuous 厌恶 嫌弃 恶心 鄙视 反感"),
    "serious": (Effect(0.95, -0.8, 0.5, 0.85), "serious seriously solemn solemnly stern formal formally 严肃 认真 庄重 正式 郑重 严厉"),
    "gentle": (Effect(0.93, 0.3, -2.5, 0.95), "gentle gently gentleness warmth tenderness tender tenderly soft-spoken kind kindly warm warmly loving sweet comforting reassuring 温柔 柔和 温和 亲切 温暖 甜美 慈祥 体贴 哄孩子 哄孩子睡觉 安慰 治愈 和蔼 深情"),
    "tired": (Effect(0.85, -1.0, -3.0, 0.75), "tired tiredly weary exhausted sleepy drowsy 疲惫 疲倦 困倦 累 有气无力 慵懒 懒洋洋 没精神"),
    "bored": (Effect(0.9, -0.8, -1.5, 0.65), "bored boring indifferent monotonous flat emotionless without_emotion no_emotion 无聊 冷漠 平淡 冷淡 冷冷 冷冰冰 漠不关心 没有感情"),
    "confident": (Effect(1.0, -0.3, 2.0, 1.1), "confident confidently confidence pride firm firmly assertive determined proud proudly 自信 坚定 骄傲 自豪 果断 有力 铿锵有力"),
    "shy": (Effect(0.94, 0.8, -3.0, 0.9), "shy shyly timid timidly bashful embarrassed 害羞 羞涩 胆怯 腼腆 不好意思"),
    "playful": (Effect(1.06, 2.0, 1.0, 1.35), "playful playfully teasing cute mischievous childlike 俏皮 调皮 可爱 撒娇 顽皮 嬉皮笑脸"),
    "mysterious": (Effect(0.88, -1.5, -3.0, 0.95), "mysterious mysteriously secretive 神秘 神神秘秘"),
    "sarcastic": (Effect(0.94, 0.5, 0.0, 1.3), "sarcastic sarcastically ironic mocking 讽刺 嘲讽 阴阳怪气 调侃"),
}  # fmt: skip
MANNERS: dict[str, tuple[Effect, str]] = {
    "whisper": (Effect(0.93, -0.5, -9.0, 0.7), "whisper whispers whispering whispered whispery secret secretly telling_a_secret 耳语 悄悄话 悄悄 低语 窃窃私语 说悄悄话 气声"),
    "shout": (Effect(1.0, 2.5, 8.0, 1.2), "shout shouts shouting shouted yell yelling scream screaming 大喊 喊着 喊 吼 呐喊 喊叫 吼叫 高喊"),
    "newsreader": (Effect(1.03, 0.0, 1.0, 0.95), "newsreader newscaster anchor broadcaster news 新闻 播音 播报 主播 播音员 新闻联播"),
    "storyteller": (Effect(0.93, 0.3, 0.0, 1.2), "storyteller storytelling narrator narration audiobook 讲故事 说书 旁白 叙述 有声书"),
    "elderly": (Effect(0.82, -1.5, -1.5, 0.9), "elderly grandpa grandfather grandma grandmother aged 老人 老年人 老爷爷 老奶奶 老头 老人家 爷爷 奶奶 苍老"),
    "child": (Effect(1.05, 4.0, 0.5, 1.25), "child children kid kids childish boyish girlish 孩子 小孩 儿童 小朋友 小女孩 小男孩 童声 稚嫩 奶声奶气"),
    "robot": (Effect(1.0, 0.0, 0.0, 0.3), "robot robotic mechanical machine-like monotone 机器人 机械"),
}  # fmt: skip

# Words that move one dimension whatever else is said.
FIXED: dict[Effect, str] = {
    Effect(rate=1.25): "fast faster quick quickly quicker rapid rapidly hurried hurriedly hasty brisk briskly speedy speedily swift swiftly speed_up hurry hurry_up pick_up_the_pace accelerate 快 加快 加速 快速 迅速 急促 飞快 快快 匆忙 急",
    Effect(rate=0.8): "slow slower slowly unhurried leisurely drawn-out dragging slow_down take_your_time decelerate 慢 放慢 减速 缓慢 慢慢 缓缓 慢速 慢悠悠 慢吞吞 不慌不忙 徐徐 慢条斯理",
    Effect(pitch_semitones=2.0): "high-pitched high_voice higher_voice shrill squeaky 尖 尖细 尖锐 高音 高亢 清脆",
    Effect(pitch_semitones=-2.0): "low-pitched low_voice deep deeper deeply husky 低沉 低音 深沉 浑厚 沉稳 粗 沉",
    Effect(energy_db=4.0): "loud louder loudly aloud booming speak_up forceful forcefully powerful powerfully 大声 响亮 洪亮 高声 响 放大声音 大点声 大声点",
    Effect(energy_db=-5.0): "quiet quieter quietly soft softer softly faint hushed murmur murmuring 小声 轻声 低声 轻 轻轻 轻柔 小点声 小声点 细声细语 轻声细语",
    Effect(pitch_range=1.35): "expressive expressively dramatic dramatically animated vivid vividly melodious 抑扬顿挫 情绪饱满 饱满 有感情 富有感情 生动 夸张 戏剧性 绘声绘色 声情并茂",
    Effect(rate=1.5): "double-time",
}  # fmt: skip

# Nouns that name a dimension, and words that move whatever dimension is named.
NOUNS = {
    "rate": "speed pace rate tempo speaking-rate 语速 速度 节奏 速率",
    "pitch": "pitch key tone-height 音调 音高 声调 调子 调门 嗓音",
    "energy": "volume loudness energy 音量 声音 嗓门 力度 声量",
    "range": "intonation pitch-range variation 语调变化 起伏 语调 抑扬",
}
UP = "high higher highly raise raised raising increase increased up more bigger stronger turn_up 高 大 提高 加大 升高 增大 增加 调高 调大 抬高 强 变高 变大"
DOWN = "low lower lowered lowering decrease decreased reduce reduced down less smaller weaker turn_down 低 小 降低 减小 减少 降 调低 调小 压低 弱 变低 变小"
STEP = {
    "rate": Effect(rate=1.25),
    "pitch": Effect(pitch_semitones=2.0),
    "energy": Effect(energy_db=4.0),
    "range": Effect(pitch_range=1.3),
}

DEGREES: dict[float, str] = {
    0.5: "slightly somewhat a_bit a_little a_tad a_little_bit bit little kind_of sort_of mildly a_touch marginally 稍微 稍 有点 有点儿 有些 略 略微 微微 些许 轻微 一点 一点儿 一点点 一些 点儿 点 些",
    0.8: "fairly rather quite pretty moderately 比较 较 还算 相对",
    1.6: "very really much so highly strongly a_lot super lots too 非常 很 特别 十分 相当 好 挺 超 超级 得多 许多 多 很多 更加 格外 尤其",
    2.0: "extremely incredibly extraordinarily insanely as_possible utterly absolutely 极其 极 极度 最 无比 太 极了 万分 不得了 尽量 尽可能",
}  # fmt: skip
NEGATIONS = (
    "not_too not_so not_very not_that not_overly not don't do_not dont never no without isn't don't_be nothing_too "
    "不要太 不要那么 别太 别那么 不太 不那么 不要 不用 别 不 没 没有 勿 莫 不是"
)
MORE = "more"  # before an effect a degree, with a noun a step up
LESS = "less"  # before an effect a negation, with a noun a step down

DIALECTS: dict[str, str] = {
    "cantonese": "cantonese guangdonghua 粤语 广东话 广州话 白话 香港话 广府话 广东",
    "sichuan": "sichuan sichuanese szechuan 四川话 四川 川普 成都话 川话 四川方言",
    "chongqing": "chongqing 重庆话 重庆",
    "dongbei": "dongbei northeastern northeast 东北话 东北 东北腔 东北方言 沈阳话 哈尔滨话",
    "shanghai": "shanghai shanghainese 上海话 沪语 上海",
    "henan": "henan 河南话 河南 郑州话",
    "shaanxi": "shaanxi xi'an 陕西话 陕西 西安话 关中话",
    "shandong": "shandong 山东话 山东 济南话 青岛话",
    "tianjin": "tianjin 天津话 天津",
    "beijing": "beijing pekingese beijinghua 北京话 京片子 京腔 老北京",
    "hunan": "hunan hunanese changsha xiang 湖南话 湖南 长沙话 湘语",
    "hubei": "hubei wuhan 湖北话 湖北 武汉话",
    "minnan": "hokkien minnan southern-min fujianese taiwanese-hokkien 闽南语 闽南话 闽南 台语 福建话 厦门话 泉州话",
    "fuzhou": "fuzhou fuzhounese 福州话",
    "teochew": "teochew chaoshan chiuchow 潮汕话 潮州话 潮汕",
    "hakka": "hakka 客家话 客家",
    "jiangxi": "gan jiangxi nanchang 江西话 赣语 江西 南昌话",
    "guizhou": "guizhou guiyang 贵州话 贵州 贵阳话",
    "yunnan": "yunnan kunming 云南话 云南 昆明话",
    "gansu": "gansu lanzhou 甘肃话 甘肃 兰州话",
    "ningxia": "ningxia 宁夏话 宁夏 银川话",
    "shanxi": "shanxi taiyuan 山西话 山西 太原话",
    "hebei": "hebei tangshan baoding 河北话 河北 唐山话 保定话 石家庄话",
    "anhui": "anhui hefei 安徽话 安徽 合肥话",
    "suzhou": "suzhou suzhounese wu 苏州话 吴语 苏州",
    "wenzhou": "wenzhou wenzhounese 温州话 温州",
    "hangzhou": "hangzhou hangzhounese 杭州话 杭州",
    "ningbo": "ningbo ningbonese 宁波话 宁波",
    "nanjing": "nanjing 南京话 南京",
    "guangxi": "guangxi 广西话 广西 南宁话 桂林话",
    "taiwan": "taiwanese taiwan 台湾腔 台湾国语 台湾话 台湾口音 台湾",
    "hainan": "hainan hainanese 海南话 海南",
}  # fmt: skip
STANDARD = "mandarin putonghua standard 普通话 国语 标准"

# Words that carry no instruction by themselves; what is left after all others is unknown.
FILLERS = (
    "in a an the with voice tone style speak speaks speaking say says it talk talking please of like sound sounds "
    "sounding manner way mood feeling feel read reading accent dialect make made be being at that is was to me as if "
    "you your are were person someone emotion emotional by using use this line sentence text keep try him her them "
    "man woman lady guy for audience on side bring add but just i want would natural normal normally naturally clear clearly than medium moderate average usual please level bring can could would should "
    "适中 中等 不快不慢 不紧不慢 不高不低 想 想要 希望 人家 别人 妈妈 爸爸 清晰 清楚 用 以 请 的 地 得 语气 口吻 说 讲 话 读 念 说话 来 着 一下 情绪 感觉 要 把 带 带着 带有 样子 方式 情感 风格 腔 腔调 口音 "
    "方言 像 一样 似的 那样 人 状态 心情 再 更 帮我 我 你 能 可以 吗 吧 啊 呢 讲话 朗读 它 这 这段 这句 了 保持 听起来 显得 给我 "
    "充满 满怀 怀着 声 中 调 变 变得 让 使 比 平时 时 正常 自然 位 个 一个 一位 一种 种 在 放 加 儿 般 如同 好像 仿佛 那种 表达 去 一"
)
CONJUNCTIONS = (
    "and but then also while yet or 和 又 且 而且 并且 并 但是 但 同时 然后 以及 可是 不过"
)
