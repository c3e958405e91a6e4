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

# By the two letters a flag is written with (ISO 3166).
FLAGS = {
    code: (chinese, english)
    for code, chinese, english in (
        row.split("|")
        for row in """
CN|中国国旗|flag of china
HK|香港区旗|flag of hong kong
MO|澳门区旗|flag of macau
US|美国国旗|american flag
GB|英国国旗|british flag
JP|日本国旗|flag of japan
KR|韩国国旗|flag of south korea
KP|朝鲜国旗|flag of north korea
FR|法国国旗|french flag
DE|德国国旗|german flag
IT|意大利国旗|italian flag
ES|西班牙国旗|spanish flag
PT|葡萄牙国旗|flag of portugal
RU|俄罗斯国旗|russian flag
UA|乌克兰国旗|flag of ukraine
CA|加拿大国旗|canadian flag
AU|澳大利亚国旗|australian flag
NZ|新西兰国旗|flag of new zealand
IN|印度国旗|indian flag
BR|巴西国旗|brazilian flag
AR|阿根廷国旗|flag of argentina
MX|墨西哥国旗|mexican flag
SG|新加坡国旗|flag of singapore
MY|马来西亚国旗|flag of malaysia
TH|泰国国旗|flag of thailand
VN|越南国旗|flag of vietnam
PH|菲律宾国旗|flag of the philippines
ID|印度尼西亚国旗|flag of indonesia
TR|土耳其国旗|turkish flag
SA|沙特阿拉伯国旗|flag of saudi arabia
AE|阿联酋国旗|flag of the united arab emirates
EG|埃及国旗|flag of egypt
IL|以色列国旗|flag of israel
ZA|南非国旗|flag of south africa
NG|尼日利亚国旗|flag of nigeria
KE|肯尼亚国旗|flag of kenya
SE|瑞典国旗|swedish flag
NO|挪威国旗|flag of norway
DK|丹麦国旗|danish flag
FI|芬兰国旗|flag of finland
NL|荷兰国旗|dutch flag
BE|比利时国旗|flag of belgium
CH|瑞士国旗|swiss flag
AT|奥地利国旗|flag of austria
PL|波兰国旗|polish flag
GR|希腊国旗|greek flag
IE|爱尔兰国旗|irish flag
HR|克罗地亚国旗|flag of croatia
EU|欧盟旗帜|flag of the european union
UN|联合国旗帜|flag of the united nations
""".strip().splitlines()
    )
}
