"""Which Mandarin words end in a neutral tone for no reason a rule could tell.

Two lists. One is what the Putonghua Proficiency Test of China's language commission requires
everybody to know by heart (普通话水平测试用必读轻声词语表), less what rules of sandhi find by
themselves: 子 and 们, repeated syllables, particles. The other is our choice of further words that
dictionaries give a neutral tone. The official front end's list has the same norm behind it, so
most words are in both; what differs is told in docs/gpt-sovits-text.md.
"""

from __future__ import annotations

_REQUIRED = """
爱人 巴掌 白净 帮手 棒槌 包袱 包涵 本事 比方 扁担 别扭 拨弄 簸箕 补丁 部分 裁缝 财主 苍蝇 差事 柴火
称呼 锄头 畜生 窗户 刺猬 凑合 耷拉 答应 打扮 打点 打发 打量 打算 打听 大方 大爷 大夫 耽搁 耽误 道士
灯笼 提防 地道 地方 弟兄 点心 东家 东西 动静 动弹 豆腐 嘟囔 对付 对头 队伍 多么 耳朵 风筝 福气 甘蔗
干事 高粱 膏药 告诉 疙瘩 胳膊 跟头 工夫 功夫 姑娘 骨头 故事 寡妇 怪物 关系 官司 罐头 规矩 闺女 蛤蟆
含糊 行当 合同 和尚 核桃 红火 后头 厚道 狐狸 胡琴 糊涂 活泼 火候 伙计 护士 机灵 脊梁 记号 记性 家伙
架势 嫁妆 见识 将就 交情 叫唤 结实 街坊 姐夫 戒指 精神 咳嗽 客气 口袋 窟窿 快活 困难 阔气 喇叭 喇嘛
懒得 浪头 老婆 老实 老爷 累赘 篱笆 里头 力气 厉害 利落 利索 痢疾 连累 凉快 粮食 溜达 萝卜 骆驼 麻烦
麻利 马虎 码头 买卖 馒头 忙活 冒失 眉毛 媒人 门道 眯缝 迷糊 苗条 苗头 名堂 名字 明白 蘑菇 模糊 木匠
木头 那么 难为 脑袋 能耐 念叨 念头 娘家 奴才 女婿 暖和 疟疾 牌楼 盘算 朋友 脾气 屁股 便宜 漂亮 婆家
铺盖 欺负 前头 亲戚 勤快 清楚 亲家 拳头 热闹 人家 认识 扫帚 商量 晌午 上司 上头 烧饼 少爷 舌头 什么
生意 牲口 师父 师傅 石匠 石榴 石头 时候 实在 拾掇 使唤 世故 似的 事情 收成 收拾 首饰 舒服 舒坦 疏忽
爽快 思量 算计 岁数 特务 挑剔 跳蚤 铁匠 头发 妥当 唾沫 挖苦 晚上 尾巴 委屈 位置 稳当 稀罕 媳妇 喜欢
下巴 吓唬 先生 相声 消息 小气 笑话 心思 行李 兄弟 休息 秀才 秀气 学生 学问 丫头 衙门 哑巴 胭脂 烟筒
眼睛 秧歌 养活 吆喝 妖精 钥匙 衣服 衣裳 意思 应酬 冤枉 月饼 月亮 云彩 运气 在乎 早上 怎么 扎实 眨巴
栅栏 张罗 丈夫 丈人 帐篷 招呼 招牌 折腾 这么 枕头 芝麻 知识 指甲 指头 主意 转悠 庄稼 壮实 状元 字号
自在 祖宗 嘴巴 作坊 琢磨
"""
_FAMILY_AND_TRADES = "父亲 母亲 妹夫 姥爷 外甥 妯娌 邻居 冤家 徒弟 和气 大人 小伙 结巴 喽啰"
_BODY_AND_MANNER = """
喉咙 喷嚏 哈欠 哆嗦 志气 俗气 丧气 悟性 大意 体面 伶俐 干净 利害 聪明 忠厚 贤惠
孝顺 寒碜 窝囊 邋遢 踏实 牢靠 匀称 亮堂 顺当 随和 软和 温和 轻快 轻巧 滑溜 痛快 正经 新鲜 希罕
伺候 糟蹋
"""
_HOUSE_AND_FIELD = """
玻璃 葡萄 枇杷 琵琶 吉他 芦苇 槟榔 荸荠 棉花 凤凰 泥鳅 蚂蚱 馄饨 咖喱 葫芦 玫瑰 菩萨 薄荷 铃铛 算盘
棺材 笤帚 炊帚 扫把 轱辘 弄堂 胡同 盘缠 太阳 外头 甜头 兆头 尺寸 分量 费用 千斤 冷战 戏法 告示 意识
"""
_DEEDS = """
吩咐 嘱咐 埋怨 唠叨 啰嗦 啰唆 絮叨 嘀咕 咕噜 咋呼 惦记 寻思 打搅 折磨 搅和 搀和 掺和 撺掇 扒拉 拨拉
扑腾 倒腾 应付 照应 照顾 佩服 巴结 得罪 抬举 讲究 歇息 报复 刺激 介绍 烂糊 把式 毛病 多少
"""
_NEUTRAL = frozenset(
    " ".join((_REQUIRED, _FAMILY_AND_TRADES, _BODY_AND_MANNER, _HOUSE_AND_FIELD, _DEEDS)).split()
)

# Words that look like a repetition or like one with the suffix 子 and are neither: learned words,
# particles of physics, masters, and things that 子 names in full; 幺幺 stands in telephone numbers.
# A few third-tone verbs keep both tones, so that the first can rise.
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
