"""Names of common emoji, Chinese and English; all others are dropped with the reason "emoji".

A sequence (skin tones, joined people) goes by its first code point.
"""

from __future__ import annotations

_TABLE = """
😀 笑脸|grinning face
😃 笑脸|smiling face
😄 笑脸|smiling face
😁 嘻嘻笑|beaming face
😆 大笑|laughing face
😅 苦笑|nervous laugh
🤣 笑翻了|rolling on the floor laughing
😂 笑哭|tears of joy
🙂 微笑|slight smile
🙃 倒脸|upside down face
😉 眨眼|winking face
😊 微笑|smiling face
😇 天使|angel face
🥰 喜欢|smiling face with hearts
😍 爱心眼|heart eyes
🤩 星星眼|star struck
😘 飞吻|blowing a kiss
😋 好吃|yummy face
😎 酷|cool face
🤔 思考|thinking face
🤗 抱抱|hugging face
😐 面无表情|neutral face
🙄 翻白眼|rolling eyes
😏 坏笑|smirking face
😴 睡觉|sleeping face
😷 戴口罩|face with mask
🤒 发烧|sick face
😭 大哭|crying face
😢 流泪|crying face
😤 哼|huffing face
😠 生气|angry face
😡 生气|angry face
🤯 震惊|mind blown
😱 惊恐|screaming face
😨 害怕|fearful face
😳 脸红|flushed face
😞 失望|disappointed face
😔 难过|sad face
😩 累|weary face
🥺 可怜|pleading face
🥳 庆祝|party face
🤡 小丑|clown
👻 鬼|ghost
💀 骷髅|skull
👽 外星人|alien
🤖 机器人|robot
💩 便便|poop
👍 点赞|thumbs up
👎 踩|thumbs down
👏 鼓掌|clapping hands
🙌 举手欢呼|raised hands
🙏 拜托|folded hands
👌 好的|OK hand
✌ 耶|victory hand
🤝 握手|handshake
💪 加油|flexed arm
👋 挥手|waving hand
👉 看右边|pointing right
👈 看左边|pointing left
👆 看上面|pointing up
👇 看下面|pointing down
👀 眼睛|eyes
❤ 爱心|heart
💔 心碎|broken heart
💕 爱心|hearts
💖 爱心|sparkling heart
💯 一百分|one hundred points
🔥 火|fire
✨ 闪亮|sparkles
⭐ 星星|star
🌟 星星|glowing star
🎉 撒花|party popper
🎊 彩球|confetti
🎁 礼物|gift
🎂 生日蛋糕|birthday cake
🎄 圣诞树|christmas tree
🎃 南瓜灯|jack o lantern
🎵 音符|musical note
🎶 音符|musical notes
🏆 奖杯|trophy
🥇 金牌|gold medal
⚽ 足球|soccer ball
🏀 篮球|basketball
🚀 火箭|rocket
✈ 飞机|airplane
🚗 汽车|car
🚲 自行车|bicycle
🏠 房子|house
☀ 太阳|sun
🌞 太阳|sun
🌙 月亮|moon
☁ 云|cloud
🌧 下雨|rain
☔ 雨伞|umbrella
❄ 雪花|snowflake
🌈 彩虹|rainbow
🌸 樱花|cherry blossom
🌹 玫瑰|rose
🌷 郁金香|tulip
🌳 树|tree
🍀 四叶草|four leaf clover
🍎 苹果|apple
🍌 香蕉|banana
🍉 西瓜|watermelon
🍓 草莓|strawberry
🍕 披萨|pizza
🍔 汉堡|hamburger
🍜 面条|noodles
🍚 米饭|rice
🍰 蛋糕|cake
☕ 咖啡|coffee
🍵 茶|tea
🍺 啤酒|beer
🍻 干杯|cheers
🐶 小狗|dog
🐱 小猫|cat
🐭 老鼠|mouse
🐰 兔子|rabbit
🐼 熊猫|panda
🐷 猪|pig
🐮 牛|cow
🐯 老虎|tiger
🐔 鸡|chicken
🐟 鱼|fish
🦋 蝴蝶|butterfly
🐉 龙|dragon
👶 宝宝|baby
👦 男孩|boy
👧 女孩|girl
👨 男人|man
👩 女人|woman
👴 老爷爷|old man
👵 老奶奶|old woman
👑 皇冠|crown
💰 钱袋|money bag
💵 钞票|money
📱 手机|phone
💻 电脑|laptop
📷 相机|camera
📚 书|books
📖 书|book
📝 笔记|memo
📅 日历|calendar
📞 电话|telephone
📧 邮件|e mail
🔑 钥匙|key
🔔 铃铛|bell
💡 灯泡|light bulb
🔒 锁|lock
🔍 放大镜|magnifying glass
⏰ 闹钟|alarm clock
⌚ 手表|watch
⚠ 警告|warning
✅ 对勾|check mark
✔ 对勾|check mark
❌ 叉|cross mark
❓ 问号|question mark
❗ 感叹号|exclamation mark
💤 睡觉|sleeping
🌍 地球|globe
🌏 地球|globe
"""
NAMES: dict[str, tuple[str, str]] = {}
for _line in _TABLE.strip().split("\n"):
    _sign, _, _names = _line.partition(" ")
    _zh, _, _en = _names.partition("|")
    NAMES[_sign] = (_zh, _en)
