"""Tables of readings where the dictionaries are wrong, silent or too formal.

Data only. Tone numbers, `v` for u-umlaut, 5 for the neutral tone.
"""

# ruff: noqa: E501 - the checker counts a hanzi as two columns
from __future__ import annotations

# Usual reading of a character that stands alone as a word.
CHARACTERS = dict(
    pair.split(":")
    for pair in (
        "得:de5 地:di4 着:zhe5 了:le5 还:hai2 行:xing2 长:chang2 重:zhong4 的:de5 都:dou1 切:qie1 "
        "教:jiao1 曲:qu3 尽:jin4 挣:zheng4 为:wei4 谁:shei2 吗:ma5 呢:ne5 吧:ba5 啊:a5 呀:ya5 啦:la5 "
        "嘛:ma5 哇:wa5 呗:bei5 喽:lou5 嘞:lei5 们:men5 么:me5 个:ge4 没:mei2 子:zi3 儿:er2 头:tou2 "
        "嗯:en4 哦:o4 噢:o1 哎:ai1 唉:ai4 喂:wei4 嘿:hei1 哼:heng1 呃:e4 嗨:hai1 哟:yo5 呵:he1 哈:ha1 "
        "曾:ceng2 薄:bao2 削:xiao1 壳:ke2 血:xue4 似:si4 给:gei3 露:lu4 落:luo4 塞:sai1 扇:shan4 "
        "吓:xia4 折:zhe2 炸:zha4 扎:zha1 载:zai4 系:xi4 假:jia3 间:jian1 观:guan1 号:hao4 喝:he1 "
        "和:he2 会:hui4 降:jiang4 角:jiao3 觉:jue2 看:kan4 空:kong1 累:lei4 量:liang4 率:lv4 难:nan2 "
        "强:qiang2 散:san4 色:se4 相:xiang1 兴:xing1 要:yao4 应:ying1 与:yu3 占:zhan4 涨:zhang3 "
        "正:zheng4 作:zuo4 钻:zuan1 单:dan1 参:can1 盛:sheng4 省:sheng3 臭:chou4 差:cha4 倒:dao4 "
        "弹:dan4 朝:chao2 藏:cang2 传:chuan2 称:cheng1 冲:chong1 处:chu4 担:dan1 斗:dou4 恶:e4 "
        "更:geng4 划:hua4 将:jiang1 卡:ka3 乐:le4 模:mo2 任:ren4 压:ya1 干:gan4 数:shu4 少:shao3 "
        "转:zhuan3 背:bei4 便:bian4 调:diao4 分:fen1 发:fa1 当:dang1 中:zhong1 种:zhong3 好:hao3 "
        "只:zhi3 过:guo4 石:shi2 吐:tu3 晕:yun1 圈:quan1 尿:niao4 宿:su4 咽:yan4 缝:feng2 钉:ding1 "
        "一:yi1 不:bu4 二:er4 几:ji3 奇:qi2 查:cha2 解:jie3 车:che1 夹:jia1 术:shu4 仔:zi3 蛤:ha2 "
        "咯:lo5 哪:na3 那:na4 这:zhe4 溜:liu1 拽:zhuai4 蹭:ceng4 厦:sha4 尾:wei3 伯:bo2 大:da4 戏:xi4 "
        "杆:gan1 杉:shan1 泊:bo2 铺:pu1 撒:sa3 模:mo2 磨:mo2 闷:men4 宁:ning2 漂:piao1 屏:ping2 "
        "呛:qiang1 翘:qiao4 撇:pie3 旋:xuan2 蒙:meng2 埋:mai2 蔓:man4 供:gong1 冠:guan1 哄:hong3 "
        "监:jian1 槛:kan3 靓:liang4 淋:lin2 笼:long2 绿:lv4 抹:mo3 泥:ni2 拧:ning3 胖:pang4 刨:pao2 "
        "喷:pen1 迫:po4 悄:qiao1 雀:que4 嚷:rang3 丧:sang4 啥:sha2 咋:za3 俩:lia3 仨:sa1 甭:beng2 "
        "帖:tie3 熨:yun4 轧:ya4 粘:zhan1 爪:zhua3 症:zheng4 综:zong1 佣:yong1 殷:yin1 遗:yi2 艾:ai4 "
        "坊:fang1 否:fou3 糊:hu2 豁:huo4 圣:sheng4 隆:long2 吗:ma5 牟:mou2 秘:mi4 嘟:du1 嗷:ao2 〇:ling2"
    ).split()
)  # fmt: skip

# Words whose reading the phrase dictionary lacks or has otherwise; spaces between syllables.
PHRASES = {
    "东西": "dong1 xi5", "大夫": "dai4 fu5", "地方": "di4 fang5", "地道": "di4 dao5",
    "银行": "yin2 hang2", "行长": "hang2 zhang3", "还书": "huan2 shu1", "还钱": "huan2 qian2",
    "还给": "huan2 gei3", "还债": "huan2 zhai4", "还清": "huan2 qing1", "还我": "huan2 wo3",
    "还有": "hai2 you3", "还没": "hai2 mei2", "还要": "hai2 yao4", "还在": "hai2 zai4",
    "还得": "hai2 dei3", "总得": "zong3 dei3", "非得": "fei1 dei3", "就得": "jiu4 dei3",
    "都得": "dou1 dei3", "可得": "ke3 dei3", "得了": "de2 le5", "了得": "liao3 de2",
    "什么": "shen2 me5", "怎么": "zen3 me5", "这么": "zhe4 me5", "那么": "na4 me5",
    "多么": "duo1 me5", "要么": "yao4 me5", "为什么": "wei4 shen2 me5", "哪儿": "na3 er5",
    "这儿": "zhe4 er5", "那儿": "na4 er5", "一会儿": "yi1 hui4 er5", "一点儿": "yi1 dian3 er5",
    "似的": "shi4 de5", "目的": "mu4 di4", "的确": "di2 que4", "的士": "di1 shi4",
    "打的": "da3 di1", "有的": "you3 de5", "有的是": "you3 de5 shi4", "是的": "shi4 de5",
    "好的": "hao3 de5", "一切": "yi1 qie4", "没有": "mei2 you3", "便宜": "pian2 yi5",
    "睡觉": "shui4 jiao4", "午觉": "wu3 jiao4", "头发": "tou2 fa5", "理发": "li3 fa4",
    "重庆": "chong2 qing4", "重新": "chong2 xin1", "重复": "chong2 fu4", "重启": "chong2 qi3",
    "重写": "chong2 xie3", "重做": "chong2 zuo4", "重来": "chong2 lai2", "重装": "chong2 zhuang1",
    "重播": "chong2 bo1", "重逢": "chong2 feng2", "重置": "chong2 zhi4", "重试": "chong2 shi4",
    "音乐": "yin1 yue4", "乐队": "yue4 dui4", "乐器": "yue4 qi4", "快乐": "kuai4 le4",
    "爱好": "ai4 hao4", "好奇": "hao4 qi2", "好学": "hao4 xue2", "好客": "hao4 ke4",
    "处理": "chu3 li3", "出差": "chu1 chai1", "差不多": "cha4 bu5 duo1", "参差": "cen1 ci1",
    "角色": "jue2 se4", "主角": "zhu3 jue2", "配角": "pei4 jue2", "血液": "xue4 ye4",
    "流血": "liu2 xue4", "出血": "chu1 xue4", "暖和": "nuan3 huo5", "因为": "yin1 wei4",
    "以为": "yi3 wei2", "认为": "ren4 wei2", "成为": "cheng2 wei2", "行为": "xing2 wei2",
    "作为": "zuo4 wei2", "称为": "cheng1 wei2", "为主": "wei2 zhu3", "为首": "wei2 shou3",
    "为止": "wei2 zhi3", "为期": "wei2 qi1", "为难": "wei2 nan2", "为了": "wei4 le5",
    "长得": "zhang3 de5", "长着": "zhang3 zhe5", "长出": "zhang3 chu1", "长满": "zhang3 man3",
    "长高": "zhang3 gao1", "长大": "zhang3 da4", "长胖": "zhang3 pang4", "成长": "cheng2 zhang3",
    "增长": "zeng1 zhang3", "生长": "sheng1 zhang3", "家长": "jia1 zhang3", "长短": "chang2 duan3",
    "长江": "chang2 jiang1", "长城": "chang2 cheng2", "长期": "chang2 qi1", "特长": "te4 chang2",
    "着急": "zhao2 ji2", "着火": "zhao2 huo3", "着凉": "zhao2 liang2", "睡着": "shui4 zhao2",
    "睡着了": "shui4 zhao2 le5", "找着": "zhao3 zhao2", "着手": "zhuo2 shou3", "穿着": "chuan1 zhe5",
    "着陆": "zhuo2 lu4", "着重": "zhuo2 zhong4", "沿着": "yan2 zhe5", "随着": "sui2 zhe5",
    "中奖": "zhong4 jiang3", "打中": "da3 zhong4", "看中": "kan4 zhong4", "中毒": "zhong4 du2",
    "种树": "zhong4 shu4", "种地": "zhong4 di4", "种花": "zhong4 hua1", "种田": "zhong4 tian2",
    "种菜": "zhong4 cai4", "种植": "zhong4 zhi2", "教书": "jiao1 shu1", "教学": "jiao4 xue2",
    "弹琴": "tan2 qin2", "弹钢琴": "tan2 gang1 qin2", "弹吉他": "tan2 ji2 ta1", "炮弹": "pao4 dan4",
    "朝阳": "chao2 yang2", "数数": "shu3 shu4", "数一数": "shu3 yi1 shu3", "数字": "shu4 zi4",
    "数不清": "shu3 bu5 qing1", "数学": "shu4 xue2", "分量": "fen4 liang4", "成分": "cheng2 fen4",
    "部分": "bu4 fen5", "充分": "chong1 fen4", "应该": "ying1 gai1", "应用": "ying4 yong4",
    "反应": "fan3 ying4", "答应": "da1 ying5", "供应": "gong1 ying4", "相信": "xiang1 xin4",
    "照相": "zhao4 xiang4", "相机": "xiang4 ji1", "真相": "zhen1 xiang4", "空调": "kong1 tiao2",
    "有空": "you3 kong4", "没空": "mei2 kong4", "抽空": "chou1 kong4", "空儿": "kong4 er5",
    "调整": "tiao2 zheng3", "调查": "diao4 cha2", "声调": "sheng1 diao4", "强调": "qiang2 diao4",
    "勉强": "mian3 qiang3", "倔强": "jue2 jiang4", "摔倒": "shuai1 dao3", "倒下": "dao3 xia4",
    "跌倒": "die1 dao3", "倒水": "dao4 shui3", "倒是": "dao4 shi4", "假期": "jia4 qi1",
    "放假": "fang4 jia4", "请假": "qing3 jia4", "暑假": "shu3 jia4", "寒假": "han2 jia4",
    "干净": "gan1 jing4", "干杯": "gan1 bei1", "饼干": "bing3 gan1", "晒干": "shai4 gan1",
    "干吗": "gan4 ma2", "干嘛": "gan4 ma2", "干活": "gan4 huo2", "能干": "neng2 gan4",
    "转圈": "zhuan4 quan1", "转动": "zhuan4 dong4", "尽管": "jin3 guan3", "尽量": "jin3 liang4",
    "尽快": "jin3 kuai4", "尽可能": "jin3 ke3 neng2", "几乎": "ji1 hu1", "茶几": "cha2 ji1",
    "系鞋带": "ji4 xie2 dai4", "系领带": "ji4 ling3 dai4", "给予": "ji3 yu3", "供给": "gong1 ji3",
    "背包": "bei1 bao1", "背着": "bei1 zhe5", "称职": "chen4 zhi2", "对称": "dui4 chen4",
    "曾经": "ceng2 jing1", "炸鸡": "zha2 ji1", "油炸": "you2 zha2", "薄弱": "bo2 ruo4",
    "薄荷": "bo4 he5", "模样": "mu2 yang4", "落后": "luo4 hou4", "落下": "luo4 xia4", "数星星": "shu3 xing1 xing5", "和面": "huo2 mian4", "得奖": "de2 jiang3", "丢三落四": "diu1 san1 la4 si4",
    "露面": "lou4 mian4", "说服": "shuo1 fu2", "游说": "you2 shui4", "卷子": "juan4 zi5",
    "圈养": "juan4 yang3", "朴素": "pu3 su4", "下载": "xia4 zai4", "记载": "ji4 zai3",
    "载体": "zai4 ti3", "扎实": "zha1 shi5", "挣扎": "zheng1 zha2", "挣钱": "zheng4 qian2",
    "给我": "gei3 wo3", "一行人": "yi1 xing2 ren2", "不行": "bu4 xing2", "行不行": "xing2 bu5 xing2",
    "行业": "hang2 ye4", "内行": "nei4 hang2", "外行": "wai4 hang2", "同行": "tong2 hang2",
    "行李": "xing2 li5", "步行街": "bu4 xing2 jie1", "了不起": "liao3 bu5 qi3", "不得了": "bu4 de2 liao3",
    "受不了": "shou4 bu5 liao3", "大不了": "da4 bu5 liao3", "对不起": "dui4 bu5 qi3",
    "看不见": "kan4 bu5 jian4", "来不及": "lai2 bu5 ji2", "舍不得": "she3 bu5 de5", "恨不得": "hen4 bu5 de5",
    "不见得": "bu4 jian4 de5", "值得": "zhi2 de5", "觉得": "jue2 de5", "记得": "ji4 de5",
    "获得": "huo4 de2", "取得": "qu3 de2", "不得不": "bu4 de2 bu4", "懂得": "dong3 de5",
    "得到": "de2 dao4", "得意": "de2 yi4", "心得": "xin1 de2", "舍得": "she3 de5", "省得": "sheng3 de5",
    "免得": "mian3 de5", "懒得": "lan3 de5", "晓得": "xiao3 de5", "认得": "ren4 de5", "显得": "xian3 de5",
    "使得": "shi3 de5", "变得": "bian4 de5", "算了": "suan4 le5", "为人": "wei2 ren2",
    "三分之一": "san1 fen1 zhi1 yi1", "分之": "fen1 zhi1", "百分之": "bai3 fen1 zhi1",
    "都是": "dou1 shi4", "首都": "shou3 du1", "成都": "cheng2 du1", "厦门": "xia4 men2",
    "台州": "tai1 zhou1", "六安": "lu4 an1", "蚌埠": "beng4 bu4", "朝鲜": "chao2 xian3",
    "重阳": "chong2 yang2", "单于": "chan2 yu2", "吐蕃": "tu3 bo1", "乐山": "le4 shan1",
    "乐亭": "lao4 ting2", "大城": "dai4 cheng2", "铅山": "yan2 shan1", "吐血": "tu4 xue4",
    "呕吐": "ou3 tu4", "记号": "ji4 hao5", "发生": "fa1 sheng1", "曲折": "qu1 zhe2",
    "弯曲": "wan1 qu1", "歌曲": "ge1 qu3", "一曲": "yi1 qu3", "散步": "san4 bu4", "散文": "san3 wen2",
    "松散": "song1 san3", "种子": "zhong3 zi5", "一只": "yi1 zhi1", "两只": "liang3 zhi1",
    "几只": "ji3 zhi1", "这只": "zhe4 zhi1", "那只": "na4 zhi1", "只有": "zhi3 you3", "只能": "zhi3 neng2",
    "人家": "ren2 jia5", "大家": "da4 jia1", "国家": "guo2 jia1", "女儿": "nv3 er2", "儿子": "er2 zi5",
    "老子": "lao3 zi5", "孔子": "kong3 zi3", "电子": "dian4 zi3", "分子": "fen1 zi3", "原子": "yuan2 zi3",
    "王子": "wang2 zi3", "男子": "nan2 zi3", "女子": "nv3 zi3", "父子": "fu4 zi3", "母子": "mu3 zi3",
    "弟子": "di4 zi3", "才子": "cai2 zi3", "量子": "liang4 zi3", "粒子": "li4 zi3", "质子": "zhi4 zi3",
    "中子": "zhong1 zi3", "离子": "li2 zi3", "孙子": "sun1 zi5", "妻子": "qi1 zi5", "房子": "fang2 zi5",
    "孩子": "hai2 zi5", "日子": "ri4 zi5", "样子": "yang4 zi5", "石头": "shi2 tou5", "木头": "mu4 tou5",
    "馒头": "man2 tou5", "前头": "qian2 tou5", "里头": "li3 tou5", "外头": "wai4 tou5", "后头": "hou4 tou5",
    "念头": "nian4 tou5", "骨头": "gu3 tou5", "舌头": "she2 tou5", "枕头": "zhen3 tou5",
    "拳头": "quan2 tou5", "丫头": "ya1 tou5", "码头": "ma3 tou5", "额头": "e2 tou2", "镜头": "jing4 tou2",
    "街头": "jie1 tou2", "老头": "lao3 tou2", "点头": "dian3 tou2", "回头": "hui2 tou2",
    "一把": "yi1 ba3", "好不好": "hao3 bu5 hao3", "空气": "kong1 qi4", "卡车": "ka3 che1",
    "卡片": "ka3 pian4", "关卡": "guan1 qia3", "大厦": "da4 sha4", "冠军": "guan4 jun1",
    "观察": "guan1 cha2", "省长": "sheng3 zhang3", "会计": "kuai4 ji4", "宿舍": "su4 she4",
    "似乎": "si4 hu1", "压根": "ya4 gen1", "比重": "bi3 zhong4", "体重": "ti3 zhong4",
    "盛饭": "cheng2 fan4", "茂盛": "mao4 sheng4", "刹那": "cha4 na4", "刹车": "sha1 che1",
    "投降": "tou2 xiang2", "降落": "jiang4 luo4", "下降": "xia4 jiang4", "降价": "jiang4 jia4",
    "计划": "ji4 hua4", "划船": "hua2 chuan2", "划算": "hua2 suan4", "分子式": "fen1 zi3 shi4",
}  # fmt: skip

# Readings that only the whole group of words decides; the segmenter keeps these together.
COMBINATIONS = {
    "长长了": "zhang3 chang2 le5", "快得多": "kuai4 de5 duo1", "大喝一声": "da4 he4 yi1 sheng1",
    "大喝": "da4 he4", "和面": "huo2 mian4", "和泥": "huo2 ni2", "和诗": "he4 shi1", "曲高和寡": "qu3 gao1 he4 gua3",
    "好喝酒": "hao4 he1 jiu3", "好吃懒做": "hao4 chi1 lan3 zuo4", "好逸恶劳": "hao4 yi4 wu4 lao2",
    "累累": "lei2 lei2", "果实累累": "guo3 shi2 lei2 lei2", "硕果累累": "shuo4 guo3 lei2 lei2",
    "伤痕累累": "shang1 hen2 lei2 lei2", "量一量": "liang2 yi1 liang2", "量体温": "liang2 ti3 wen1",
    "量血压": "liang2 xue4 ya1", "量身高": "liang2 shen1 gao1", "量尺寸": "liang2 chi3 cun4",
    "切菜": "qie1 cai4", "切肉": "qie1 rou4", "切开": "qie1 kai1", "切片": "qie1 pian4", "切成": "qie1 cheng2",
    "切断": "qie1 duan4", "切割": "qie1 ge1", "切换": "qie1 huan4", "切除": "qie1 chu2", "切入": "qie1 ru4",
    "切丝": "qie1 si1", "切丁": "qie1 ding1", "切块": "qie1 kuai4", "切碎": "qie1 sui4", "切蛋糕": "qie1 dan4 gao1",
    "吐了一口": "tu3 le5 yi1 kou3", "扎辫子": "za1 bian4 zi5", "扎头发": "za1 tou2 fa5", "扎马尾": "za1 ma3 wei3",
    "鞋带散了": "xie2 dai4 san3 le5", "头发散了": "tou2 fa5 san3 le5", "骨头散了": "gu3 tou5 san3 le5",
    "处得": "chu3 de5", "处得来": "chu3 de5 lai2", "处不来": "chu3 bu5 lai2", "处不好": "chu3 bu4 hao3",
    "着了凉": "zhao2 le5 liang2", "着了迷": "zhao2 le5 mi2", "着了魔": "zhao2 le5 mo2", "着了火": "zhao2 le5 huo3",
    "着了急": "zhao2 le5 ji2", "得了冠军": "de2 le5 guan4 jun1", "得了满分": "de2 le5 man3 fen1",
    "还不还": "huan2 bu5 huan2", "转来转去": "zhuan4 lai2 zhuan4 qu4", "团团转": "tuan2 tuan2 zhuan4",
    "打转": "da3 zhuan4", "空出": "kong4 chu1", "空出来": "kong4 chu5 lai5", "空着": "kong4 zhe5",
    "挑毛病": "tiao1 mao2 bing4", "挑水": "tiao1 shui3", "发横财": "fa1 heng4 cai2", "数了数": "shu3 le5 shu3",
    "教我": "jiao1 wo3", "教你": "jiao1 ni3", "教他": "jiao1 ta1", "教她": "jiao1 ta1",
}  # fmt: skip
PHRASES |= COMBINATIONS

# Surnames that are read otherwise than the character alone.
SURNAMES = dict(
    pair.split(":")
    for pair in (
        "单:shan4 解:xie4 仇:qiu2 查:zha1 曾:zeng1 任:ren2 华:hua4 区:ou1 朴:piao2 盖:ge3 燕:yan1 葛:ge3 翟:zhai2 "
        "覃:qin2 乐:yue4 曲:qu1 尉:wei4 缪:miao4 瞿:qu2 哈:ha3 晁:chao2 应:ying1 "
        "车:che1 薄:bo2 柏:bai3 牟:mou4 洗:xian3 冼:xian3 佘:she2 褚:chu3 隗:wei3 郗:xi1 "
        "贲:ben1 逄:pang2 臧:zang1 殷:yin1 娄:lou2 訾:zi1 宓:mi4 纪:ji3 尹:yin3 庞:pang2"
    ).split()
)
DOUBLE_SURNAMES = {
    "尉迟": "yu4 chi2", "万俟": "mo4 qi2", "令狐": "ling2 hu2", "长孙": "zhang3 sun1", "澹台": "tan2 tai2",
    "单于": "chan2 yu2", "宇文": "yu3 wen2", "皇甫": "huang2 fu3",
}  # fmt: skip
PHRASES |= DOUBLE_SURNAMES
COMBINATIONS |= DOUBLE_SURNAMES
# What follows a surname, and what its bearer is not called by.
TITLES = frozenset(
    "先生 女士 小姐 老师 教授 医生 大夫 经理 总经理 主任 同学 师傅 某 某某 姐 哥 叔叔 阿姨 博士 律师 局长 处长 院长 所长 校长 "
    "主席 院士 警官 太太 夫人 同志 书记 导演 总 董 董事长 工程师 护士 教练 科长 部长 市长 省长 县长 老板 大人 将军 爷爷 奶奶 "
    "大爷 大妈 大哥 大姐 氏".split()
)
FOREIGN = frozenset(
    "查理 查尔斯 查德 查克 盖茨 盖伦 盖尔 盖恩 乐天 华生 华莱士 华伦 华盛顿 任天堂 哈利 哈里 哈利波特 那英".split()
)

# Common words whose last syllable is unstressed in standard speech.
NEUTRAL_WORDS = frozenset(
    (
        "爸爸 妈妈 爷爷 奶奶 哥哥 姐姐 弟弟 妹妹 叔叔 舅舅 姑姑 姥姥 伯伯 婆婆 公公 宝宝 娃娃 "
        "太太 星星 猩猩 朋友 喜欢 先生 知道 漂亮 明白 清楚 热闹 舒服 聪明 客气 意思 东西 事情 关系 "
        "时候 学生 医生 消息 告诉 休息 商量 打听 收拾 照顾 认识 窗户 衣服 眼睛 耳朵 鼻子 嘴巴 脑袋 "
        "头发 胳膊 屁股 身子 功夫 工夫 点心 豆腐 葡萄 萝卜 核桃 玻璃 钥匙 凉快 暖和 麻烦 困难 便宜 "
        "干净 结实 老实 厉害 奇怪 糊涂 马虎 痛快 新鲜 规矩 故事 名字 月亮 云彩 太阳 早上 晚上 "
        "地上 桌上 身上 路上 车上 头上 手上 脸上 心上 床上 墙上 天上 世上 山上 家里 心里 手里 屋里 "
        "这里 那里 哪里 夜里 嘴里 眼里 水里 城里 村里 上边 下边 里边 外边 前边 后边 左边 右边 旁边 "
        "上面 下面 里面 外面 前面 后面 这个 那个 哪个 咱们 他们 她们 它们 我们 你们 人们 孩子们 同学们 "
        "丈夫 媳妇 亲戚 邻居 师傅 老婆 姑娘 小姐 和尚 徒弟 裁缝 木匠 客人 主人 工人 大人 别人 "
        "本事 力气 精神 脾气 学问 主意 心思 兴致 运气 福气 名堂 笑话 行李 包袱 帐篷 扫帚 簸箕 灯笼 "
        "风筝 蘑菇 蚂蚱 蛤蟆 骆驼 狐狸 苍蝇 蚊子 石榴 芝麻 棉花 庄稼 高粱 粮食 烧饼 馄饨 "
        "耽误 答应 称呼 招呼 打扮 打量 打算 打发 吩咐 琢磨 嘀咕 嘟囔 唠叨 抱怨 埋怨 应付 对付 伺候 "
        "折腾 惦记 搅和 凑合 将就 讲究 包涵 巴结 逛逛 看看 听听 说说 想想 试试 走走 坐坐 等等 谢谢 "
        "尝尝 聊聊 问问 找找 玩玩 歇歇 瞧瞧 念念 谈谈 部分 行当 买卖 动静 态度 相声 秀才 疙瘩 "
        "活泼 机灵 利索 利落 勤快 随和 踏实 实在 体面 稳当 窝囊 冤枉 自在 阔气 牢靠 迷糊 模糊 多少 "
        "出来 进来 回来 过来 起来 上来 下来 出去 进去 回去 过去 上去 下去 师父 大方 下巴 指甲 "
        "膏药 女婿 亲家 街坊 牲口 尾巴 爪子 畜生 喇叭 算盘 扁担 招牌 栅栏 篱笆 胭脂 刺猬 戒指 "
        "生意 什么 怎么 早晨 养活 委屈 位置 味道 稀罕 吓唬 休养 钥匙 月饼 在乎 怎样 张罗 "
    ).split()
) - frozenset("困难 工人 太阳 休养 怎样 抱怨 态度 位置 等等 主人 客人 早晨 部分 旁边".split())

# Before 儿, these make a word in which it is a syllable of its own.
FULL_ER_AFTER = frozenset("女婴幼少孤健胎男育产患弃宠孙妻混病托低孺生")
