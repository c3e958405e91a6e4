"""Which Mandarin words end in a neutral tone for no reason a rule could tell.

A list of our own, grouped by what the words mean, of the words textbooks of Putonghua have
pupils learn by heart. Rules of sandhi (particles, 子 and 们, repeated syllables) are not in it.
"""

from __future__ import annotations

_PEOPLE = """
大夫 丈夫 师傅 师父 姑娘 媳妇 女婿 亲家 亲戚 朋友 先生 学生 丫头 老爷 少爷 大爷 姥爷 姐夫 妹夫
寡妇 和尚 木匠 石匠 铁匠 裁缝 秀才 财主 东家 冤家 婆家 娘家 人家 街坊 邻居 兄弟 弟兄 妯娌 闺女
外甥 徒弟 伙计 护士 老婆 媒人 奴才 妖精 怪物 畜生 牲口 母亲 父亲 丈人 大人 状元 特务 喇嘛 祖宗
上司 对头 帮手 把式 哑巴 结巴 小伙
"""
_BODY = """
脑袋 头发 眼睛 耳朵 嘴巴 下巴 舌头 喉咙 胳膊 拳头 巴掌 指头 指甲 骨头 屁股 尾巴 眉毛 唾沫 哈欠
喷嚏 咳嗽 疙瘩 脾气 力气 福气 志气 运气 客气 和气 阔气 小气 俗气 秀气 丧气
"""
_ANIMALS_AND_PLANTS = """
狐狸 骆驼 蛤蟆 苍蝇 蚂蚱 刺猬 泥鳅 凤凰 葡萄 石榴 枇杷 核桃 萝卜 蘑菇 芝麻 高粱 庄稼 棉花 槟榔
柴火 粮食 豆腐 馒头 馄饨 烧饼 月饼 点心 咖喱 膏药 胭脂 荸荠
"""
_THINGS = """
衣服 铺盖 帐篷 枕头 戒指 首饰 嫁妆 钥匙 扫帚 扫把 笤帚 炊帚 簸箕 扁担 棒槌 算盘 灯笼 喇叭 吉他
琵琶 风筝 篱笆 栅栏 窗户 玻璃 烟筒 棺材 口袋 包袱 行李 招牌 字号 记号 名字 名堂 木头 石头 罐头
锄头 码头 家伙 东西 买卖 生意 官司 差事 火候 牌楼 芦苇 轱辘 胡琴 甘蔗 云彩 月亮 太阳 浪头 作坊
弄堂 衙门 地方 前头 后头 里头 外头 上头 跟头 苗头 念头 甜头 兆头 窟窿 胡同
"""
_MATTERS = """
事情 故事 消息 意思 主意 心思 情形 动静 规矩 关系 学问 见识 意识 知识 本事 功夫 工夫 能耐 悟性
记性 时候 位置 岁数 尺寸 分量 交情 便宜 盘缠 嫁妆 笑话 相声 比方 告示 合同 费用 队伍 毛病 困难
麻烦 委屈 冤枉 精神 架势 收成 出息 世故 部分 门道 行当 折磨 称呼 千斤 应酬 冷战 戏法
"""
_ACTS = """
告诉 打听 打发 打扮 打算 打量 打点 打搅 商量 琢磨 思量 寻思 惦记 认识 懒得 喜欢 佩服 巴结 欺负
吓唬 得罪 埋怨 挖苦 挑剔 唠叨 念叨 嘟囔 嘀咕 咕噜 吆喝 叫唤 使唤 招呼 答应 应付 对付 凑合 将就
伺候 照应 照顾 张罗 收拾 拾掇 拨弄 折腾 倒腾 搅和 搀和 糟蹋 耽误 耽搁 提防 包涵 介绍 吩咐 嘱咐
哆嗦 动弹 扑腾 溜达 休息 歇息 养活 抬举 讲究 报复 刺激 咳嗽 编辑 拖沓 忙活 蘑菇 咋呼 撺掇 扒拉
拨拉 眨巴 在乎
"""
_QUALITIES = """
明白 清楚 聪明 糊涂 模糊 马虎 迷糊 含糊 漂亮 体面 干净 利索 利落 麻利 爽快 痛快 凉快 暖和 温和
随和 软和 热闹 红火 活泼 快活 勤快 机灵 伶俐 老实 厚道 忠厚 地道 实在 扎实 结实 壮实 牢靠 稳当
妥当 匀称 自在 舒服 舒坦 厉害 利害 新鲜 稀罕 希罕 别扭 冒失 窝囊 寒碜 寒酸 邋遢 小气 大方 大意
滑溜 顺当 正经 贤惠 幸福 亮堂 轻快 轻巧 苗条 喽啰 踏实 累赘 烂糊 絮叨 啰嗦 啰唆 孝顺
"""
_SMALL_WORDS = """
什么 怎么 这么 那么 多么 多少 似的 早上 晚上
"""
_NEUTRAL = frozenset(
    " ".join(
        (_PEOPLE, _BODY, _ANIMALS_AND_PLANTS, _THINGS, _MATTERS, _ACTS, _QUALITIES, _SMALL_WORDS)
    ).split()
)

# Words that look like a repetition or like one with the suffix 子 and are neither: learned words,
# particles of physics, masters, and things that 子 names in full. A few third-tone verbs keep
# both tones, so that the first can rise.
_FULL = frozenset(
    "男子 女子 学子 才子 公子 王子 太子 分子 原子 电子 质子 中子 离子 粒子 量子 因子 "
    "莲子 瓜子 石子 卵子 孔子 孟子 老子 庄子 荀子 "
    "幺幺 想想 打打 数数 人人 哈哈 家家户户 花花草草 形形色色 "
    "青青 冉冉 袅袅 莘莘 佼佼 恳恳 熙熙 攘攘 滔滔 滚滚 茫茫 炎炎 翩翩 历历 郁郁 皑皑 整整".split()
)


def ends_neutral(word: str) -> bool:
    """True when a word, or its last two characters, has a neutral tone at its end."""
    return word in _NEUTRAL or word[-2:] in _NEUTRAL


def keeps_repeated_tone(word: str) -> bool:
    """True for a word whose second half keeps its tone although it repeats the first."""
    return word in _FULL
