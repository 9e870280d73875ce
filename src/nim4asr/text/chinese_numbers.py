"""How numbers are said in Chinese.

By rules of our own (``tests/text/spoken_zh.tsv`` has the cases): the grammar of WeTextProcessing says
第两个 and 五月两日, but 二年 and 二点; it reads telephone numbers and codes as amounts, a hyphen behind a
letter as a minus, "1,2,3" as 一百二十三, "7×24" as 七乘二四 and "O2O" as "O to O", and takes time in
proportion to the square of a text's length.
"""

import re

from nim4asr.text import english_numbers
from nim4asr.text.characters import HAN
from nim4asr.text.rewriting import Rules, around, tidied
from nim4asr.text.roman import ROMAN, roman_number
from nim4asr.text.web_addresses import ADDRESS, ENDINGS, say_address

_DIGITS = "零一二三四五六七八九"
_GROUPS = r"\d{1,3}(?:,\d{3})+(?!\d)|\d{1,3}(?:[\u00a0\u2009\u202f]\d{3})+(?!\d)"
_NUMBER = rf"(?:{_GROUPS}|\d+)(?:\.\d+)?"
_DASH = r"[-–—~～－〜]"
_CODES = re.compile(
    r"(?:电话|手机|号码|热线|拨打|致电|密码|验证码|邮编|邮政编码|账号|帐号|账户|卡号|工号|学号|尾号|QQ|qq|微信号?|房间号?|车牌号?|编号"
    r"|身份证|代码|口令|分机|转接?|群号|单号|序列号|(?<!殴)打|拨)(?:号码|号)?(?:是|为|[：:])?\s?$"
)
# Behind a number they say that it is an amount, whatever stands before it.
_AMOUNT = re.compile(r"[个块元分次折万亿千百多人只条斤度岁天年月日号小米]|公|美元")
# Numbers that have become names, before what they then stand with.
_NAMED = {
    "315": "晚会|打假|消费者", "618": "大促|活动|购物|期间|电商|年中", "911": "事件|恐怖|袭击|恐袭",
    "985": "高校|大学|工程|院校|学校|毕业|[和、]", "211": "高校|大学|工程|院校|学校|毕业|[和、]",
    "996": "工作|福报|加班|制|模式|公司", "360": "公司|安全|浏览器|杀毒|软件|卫士|搜索", "58": "同城",
    "38": "妇女节|节", "711": "便利店",
    "110": "报警|接警|民警|指挥", "119": "火警|消防|报警", "120": "急救|救护", "122": "报警",
    "404": "页面|错误", "163": "邮箱", "126": "邮箱", "520": "表白|情人", "12306": "", "12315": "",
    "12345": "热线|投诉|市民", "10086": "", "10010": "客服|营业|$", "10000": "号",
}  # fmt: skip
_EVENTS = (
    "假期|黄金周|劳动节|国庆|事件|晚会|大?地震|运动|事变|惨案|袭击|恐袭|行动|维权|起义|革命|讲话|案|恐怖"
)
# Before these, two is 两.
_COUNTED = (
    r"(?:个|位|名|人|只|条|张|本|把|台|辆|件|家|间|座|套|双|对|份|句|篇|首|部|项|种|次|遍|场|轮|天|周|小时|分(?!之)|秒|年(?!级)|岁|斤|吨|克"
    r"|公里|千米|米|厘米|毫米|公斤|千克|升|块|元|毛|倍|头|匹|朵|棵|颗|粒|杯|瓶|碗|盒|箱|包|袋|层|排|行|列|组|批|群|队|伙|代|星期|百|千|万|亿"
    r"|段|道|面|门|口|扇|根|支|枝|笔|幅|枚|滴|堂|节|度|国|党|市|省|校|地|端|侧|边|平方|立方|美元|日元|英镑|欧元|港元|点(?:钟|半|多|整|[\d零一二三四五六])"
    r"|点(?![\d年])|多|枪|架|艘|株|桶|顿|趟|圈|步|拳|脚|眼|声|夜|晚|页|回|刻钟|支|口|章(?!节)|集|局|盘|球|票|分钟)"
)
_BEFORE_TWO = re.compile(r"第\d+、$|[第周初期拜零一二三四五六七八九十百千万亿点]$")
_UNITS = {
    "km/h": "公里每小时", "m/s": "米每秒", "㎡": "平方米", "m^2": "平方米", "m2": "平方米",
    "km^2": "平方公里",
    "km2": "平方公里", "m^3": "立方米", "m3": "立方米", "mAh": "毫安时", "V": "伏", "W": "瓦", "kW": "千瓦",
    "kWh": "千瓦时", "Hz": "赫兹", "kHz": "千赫兹", "MHz": "兆赫兹", "GHz": "G赫兹", "dB": "分贝",
    "kcal": "千卡", "rpm": "转每分钟", "mph": "英里每小时", "min": "分钟", "m": "米", "L": "升",
    "cm": "厘米", "mm": "毫米", "km": "公里", "kg": "千克", "g": "克", "mg": "毫克", "ml": "毫升",
    "mL": "毫升", "μm": "微米", "nm": "纳米", "s": "秒", "h": "小时", "ms": "毫秒",
    "℃": "摄氏度", "°C": "摄氏度", "℉": "华氏度", "°F": "华氏度", "°": "度", "cm^2": "平方厘米",
    "cm^3": "立方厘米", "Ω": "欧姆",
}  # fmt: skip
_MONEY = {
    "$": "美元", "US$": "美元", "HK$": "港元", "€": "欧元", "£": "英镑", "¥": "元", "￥": "元", "₹": "卢比",
    "₩": "韩元", "USD": "美元", "EUR": "欧元", "GBP": "英镑", "JPY": "日元", "CNY": "元", "RMB": "元",
    "HKD": "港元",
}  # fmt: skip
_CODE_OF_MONEY = "USD|EUR|GBP|JPY|CNY|RMB|HKD"
_ADDRESS_SIGNS = {
    "@": " at ", ".": "点", "-": "杠", "_": "下划线", "/": "斜杠", ":": "冒号", "?": "问号", "=": "等于",
    "&": " and ",
    "#": "井号", "%": "百分号", "+": "加", "~": "波浪号",
}  # fmt: skip
_COMPARED = {
    "<": "小于", ">": "大于", "≤": "小于等于", "<=": "小于等于", "≥": "大于等于", ">=": "大于等于",
    "≠": "不等于", "≈": "约等于",
}  # fmt: skip
_GREEK = {
    "α": "阿尔法", "β": "贝塔", "γ": "伽马", "δ": "德尔塔", "θ": "西塔", "λ": "兰姆达", "μ": "缪", "π": "派",
    "σ": "西格玛", "φ": "斐", "ω": "欧米伽", "Δ": "德尔塔", "Σ": "西格玛", "Ω": "欧米伽",
}  # fmt: skip


def say_chinese(text: str) -> str:
    """``text``, which holds Chinese characters, with its numbers, and the signs in its names, as they are
    said.
    """
    return tidied(_RULES(text), text)


def one_by_one(digits: str, one: str = "一") -> str:
    """Digits alone, ``one`` for 1: ``"4090"`` -> "四零九零"."""
    return "".join(one if digit == "1" else _DIGITS[int(digit)] for digit in digits if digit.isdigit())


def cardinal(digits: str) -> str:
    """A whole number: ``"10203"`` -> "一万零二百零三"."""
    if len(digits) > 16:
        return one_by_one(digits)
    number, said, gap = int(digits), "", False
    for power, size in (("万亿", 10**12), ("亿", 10**8), ("万", 10**4), ("", 1)):
        group, number = divmod(number, size)
        if group:
            zero = bool(said) and (gap or group < 1000)
            said += ("零" if zero else "") + _thousands(group) + power
        gap = bool(said) and not group
    # 两 for what is greatest, but in 二十.
    said = re.sub("^二(?=[百千万亿])", "两", said)
    return re.sub("^一十", "十", said) or "零"


def _thousands(number: int) -> str:
    said, gap = "", False
    for unit, size in (("千", 1000), ("百", 100), ("十", 10), ("", 1)):
        digit, number = divmod(number, size)
        if digit:
            said += ("零" if gap and said else "") + _DIGITS[digit] + unit
        gap = not digit
    return said


def decimal(number: str) -> str:
    """``"1,234.05"`` -> "一千二百三十四点零五"."""
    whole, point, rest = re.sub(r"[^\d.]", "", number).partition(".")
    said = one_by_one(whole) if len(whole) > 1 and whole[0] == "0" else cardinal(whole or "0")
    return f"{re.sub('^两', '二', said) if len(whole) == 1 else said}点{one_by_one(rest)}" if point else said


def _number(found: re.Match[str]) -> str:
    """A number with nothing right behind it that says what it counts."""
    number, (before, after) = found.group(), around(found)
    if not number.isdigit():
        return decimal(number)
    if _is_code(number, before, after):
        return one_by_one(number, "幺" if len(number) > 2 else "一")
    behind = re.search(r"(?<!\d[xX])(?<=[A-Za-z])[-.·]?$", before)
    model = behind or re.match(r"[Pp](?![A-Za-z])", after)
    if (model and len(number) >= 3 and not number.endswith("00")) or _is_long(number):
        return one_by_one(number)
    if number == "2" and not behind and not _BEFORE_TWO.search(before):
        counted = re.match(rf"(?:{_DASH}|到|至|、)?(?:{_NUMBER})?{_COUNTED}", after)
        return "两" if counted and not after.startswith(("月", "日")) else "二"
    return cardinal(number)


def _is_code(number: str, before: str, after: str) -> bool:
    return len(number) >= 3 and bool(_CODES.search(before[-12:])) and not _AMOUNT.match(after)


def _is_long(number: str) -> bool:
    return (len(number) > 1 and number[0] == "0") or (len(number) >= 9 and not number.endswith("000"))


def _range(found: re.Match[str]) -> str:
    """What stands between two numbers: a score's 比, a minus before an equals sign, else 到."""
    before, after = around(found)
    if re.match(rf"{_NUMBER} ?=", after):
        return "减"
    score = re.search(r"(?:比分|总分|以|大比分|战平|击败)(?:为|是)?[\d.]+$", before)
    return (
        "比"
        if score or re.match(r"\d+(?:战胜|击败|领先|落后|取胜|获胜|战平|险胜|大胜|逆转)", after)
        else "到"
    )


def _time(found: re.Match[str]) -> str:
    hour, minute = int(found.group(1)), int(found.group(2))
    ratio = re.search(r"(?:比分|比例|总分|以|宽高比)(?:为|是)?$", around(found)[0])
    if ratio or hour > 24 or minute > 59:
        return f"{cardinal(found.group(1))}比{cardinal(found.group(2))}"
    said = ("两" if hour == 2 else cardinal(str(hour))) + "点"
    for part, unit in zip((found.group(2), found.group(3)), "分秒", strict=True):
        if part and (int(part) or found.group(3)):
            said += ("零" if 0 < int(part) < 10 else "") + cardinal(str(int(part))) + unit
    return said


def _year(found: re.Match[str]) -> str:
    digits, (_, after) = found.group(1), around(found)
    if len(digits) == 4:
        span = not digits.startswith(("19", "20")) and re.match("[前后间来]|历史", after)
        return f"{cardinal(digits) if span else one_by_one(digits)}年"
    if not re.match("[内前后间来以]|时间|历史|期", after):
        eighties = digits[0] in "78" and re.match("出生|毕业|入|生|的|[春夏秋冬初末底]|代?[月款]", after)
        if digits[0] in "09" or eighties or re.match(r"\d{1,2}月", after):
            return f"{one_by_one(digits)}年"
    return f"{cardinal(digits)}年"


def _decade(digits: str) -> str:
    said = one_by_one(digits) if len(digits) == 4 or digits[0] == "0" else cardinal(digits)
    return f"{said}年代"


def _date(found: re.Match[str]) -> str:
    year, month, day = found.groups()
    return f"{one_by_one(year)}年{cardinal(month)}月{cardinal(day)}日"


def _money(found: re.Match[str]) -> str:
    sign, amount, size, named = found.groups()
    said = "两" if amount == "2" else decimal(amount)
    return f"{said}{size or ''}{named or _MONEY[sign]}"


def _measure(found: re.Match[str]) -> str:
    number, unit = found.group(1), found.group(2).strip()
    if unit == "g" and number in "23456":
        return f"{cardinal(number)}g"
    return ("两" if number == "2" else decimal(number)) + _UNITS[unit]


def _share(found: re.Match[str]) -> str:
    number, sign = found.groups()
    return f"{'百' if sign == '%' else '千'}分之{decimal(number)}"


def _shares(found: re.Match[str]) -> str:
    least, most, sign = found.groups()
    of = f"{'百' if sign == '%' else '千'}分之"
    return f"{of}{decimal(least)}到{of}{decimal(most)}"


def _fraction(found: re.Match[str]) -> str:
    above, below = found.groups()
    if found.group() == "9/11":
        return "九一一"
    if int(above) >= int(below):
        return (
            f"{cardinal(above)}比{cardinal(below)}"
            if above == below
            else f"{cardinal(above)}{cardinal(below)}"
        )
    return f"{cardinal(below)}分之{cardinal(above)}"


def _mixed(found: re.Match[str]) -> str:
    whole, above, below = found.groups()
    return f"{cardinal(whole)}又{cardinal(below)}分之{cardinal(above)}"


def _compared(found: re.Match[str]) -> str:
    return _COMPARED[found.group().strip()]


def _power(found: re.Match[str]) -> str:
    """A power of a number or of a letter."""
    sign, power = found.groups()
    if found.string[found.start() - 1].isalpha() and power in ("2", "3"):
        return {"2": "平方", "3": "立方"}[power]
    return f"的{'负' if sign else ''}{cardinal(power)}次方"


def _degrees(found: re.Match[str]) -> str:
    parts = zip(found.groups(), "度分秒", strict=True)
    return "".join(decimal(number) + unit for number, unit in parts if number)


def _minutes(found: re.Match[str]) -> str:
    """Minutes and seconds, or, with one digit behind, feet and inches."""
    minutes, seconds = found.groups()
    if len(seconds) == 1:
        return f"{cardinal(minutes)}英尺{cardinal(seconds)}英寸"
    return f"{cardinal(minutes)}分{cardinal(seconds)}秒"


def _inches(found: re.Match[str]) -> str:
    # A quotation that ends in a number has begun before it.
    return found.group() if found.string.count('"', 0, found.start()) % 2 else "英寸"


def _money_by_code(found: re.Match[str]) -> str:
    code, amount, same, last = found.groups()
    return f"{decimal(amount or same)}{_MONEY[code or last]}"


def _ordered(found: re.Match[str]) -> str:
    """No.1: in English in Chinese too."""
    number = found.group(1)
    said = english_numbers.cardinal(number) if number[0] != "0" else english_numbers.one_by_one(number)
    return f"number {said} "


def _dotted(found: re.Match[str]) -> str:
    parts = found.group().split(".")
    return "点".join(map(one_by_one if len(parts) == 4 else cardinal, parts))


def _hyphen(found: re.Match[str]) -> str:
    """A hyphen behind a letter or a Chinese character: of a name's number, or a minus."""
    before, after = around(found)
    measured = re.match(rf"{_NUMBER}(?:度|℃|°|摄氏|%)", after)
    return "负" if before[-1] in "为是达至到约值于温下零" or (measured and not before[-1].isascii()) else ""


_NAME = "|".join(rf"(?<![\d.]){number}(?![\d.])(?={nouns})" for number, nouns in _NAMED.items())
_UNIT = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))
_RULES = Rules(
    [
        # Addresses of the web and of mail, and who is addressed.
        (ADDRESS, lambda f: say_address(f.group(), _ADDRESS_SIGNS, one_by_one, "")),
        (rf"(?<![A-Za-z.@])@+(?=[A-Za-z\d_]|{HAN})", lambda _: "艾特"),
        # Roman numerals.
        (
            rf"(?<=第)({ROMAN})(?![A-Za-z])|(?<![A-Za-z\d])(?=I|[VX]{{2}}|[VX]I)({ROMAN})(?=[世期型类级])",
            lambda f: cardinal(str(roman_number(f.group()))),
        ),
        (
            rf"(?<={HAN})(?=[IVX]{{2}})(?!X+(?![IV]))({ROMAN})(?![A-Za-z\d])",
            lambda f: cardinal(str(roman_number(f.group()))),
        ),
        # Signs in names: AT&T, C++, C#, .NET, example.com.
        (r"(?<=[A-Za-z\d]) ?& ?(?=[A-Za-z\d])", lambda _: " and "),
        (r"(?<=[A-Za-z])\++(?![A-Za-z\d+])|(?<=[A-Za-z])\+\+(?=\d)", lambda f: "加" * len(f.group())),
        (r"(?<![A-Za-z][A-Za-z])(?<=[A-Za-z])#(?![A-Za-z\d#])", lambda _: " sharp"),
        (r"(?<![A-Za-z\d.])\.(?=[A-Za-z]{2})", lambda _: "点"),
        (rf"(?<=[A-Za-z\d])\.(?=(?:{ENDINGS})(?![A-Za-z\d]))", lambda _: "点"),
        (r"(?:(?<![A-Za-z])(?:No|no|NO)\. ?|№ ?|(?<![A-Za-z\d#])#)(\d+)(?![.:/-]?\d)", _ordered),
        # Telephone numbers.
        (
            rf"(?<![\d.]){english_numbers.OF_A_COUNTRY}"
            r"|(?<![\d.])(?:[（(]0\d{2,3}[)）][ -]?|0\d{2,3}[ -])\d{3,4}[ -]?\d{4}(?![\d.-])",
            lambda f: one_by_one(f.group(), "幺"),
        ),
        (
            r"(?<![\d.])(?:\+?86[- ]?)?1[3-9]\d(?:\d{8}|[- ]\d{4}[- ]\d{4})(?![\d.])",
            lambda f: one_by_one(f.group(), "幺"),
        ),
        (
            r"(?<![\d.-])(?:0\d{2,3}-\d{7,8}|[48]00-\d{3}-?\d{4}|\d{3,4}-\d{3,4}-\d{3,4})(?![\d.-])",
            lambda f: one_by_one(f.group(), "幺"),
        ),
        (
            r"(?<![\d.])95\d{3}(?=客服|热线|电话)|(?<![\d.])955\d\d(?![\d.元万亿个])",
            lambda f: one_by_one(f.group()),
        ),
        # Numbers that are names.
        (_NAME, lambda f: one_by_one(f.group(), "幺" if f.group()[:2] in ("11", "12", "10", "71") else "一")),
        (r"(?<![\d.])7-(?:11|[Ee]leven)(?![\d.])", lambda _: "七幺幺"),
        (
            rf"(?<![\d.])(\d{{1,2}})(?:[·・•]|\.(?=\d{{1,2}}(?:{_EVENTS})))(\d{{1,2}})(?![\d.])",
            lambda f: one_by_one(f.group(1) + f.group(2)),
        ),
        # Dates and times.
        (r"(?<![\d.])(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?![\d.])[日号]?", _date),
        (r"(?<!\d)(\d{4}|\d{2})年(?!代|级)", _year),
        (
            rf"(?<!\d)(\d{{4}})(?=(?:{_DASH}|[到至])\d{{4}}(?:年|学年|赛季|财年))",
            lambda f: one_by_one(f.group()),
        ),
        (r"(?<!\d)(\d{2}|\d{4})年代", lambda f: _decade(f.group(1))),
        (r"(?<!\d)\d{1,2}(?=月|日|号线?)", lambda f: cardinal(f.group())),
        (
            r"(?<![\d.])(?:19|20)\d\d(?=[届级款版]|赛季|财年|学年|奥运|世界杯|春晚|高考|中考|新年|[春夏秋冬]季|Q\d|-n)",
            lambda f: one_by_one(f.group()),
        ),
        (rf"(?<!\d)(\d\d){_DASH}(\d\d)(?=赛季|财年|学年)", lambda f: one_by_one(f.group(1) + f.group(2))),
        (
            r"(?<!\d)(?:[5-9][05]|0\d)(?=(?:[、和与及到至-](?:[5-9][05]|0\d))*后(?![天来面期续]))",
            lambda f: one_by_one(f.group()),
        ),
        (r"(?<=波音|空客)[37]\d\d(?!\d)", lambda f: one_by_one(f.group())),
        (r"(?<!\d)(\d{1,3}(?:\.\d+)?)°(\d{1,2})[′'](?:(\d{1,2})(?:[″\"]|''))?", _degrees),
        (r"(?<!\d)(\d{1,3})['′](\d{1,2})(?:[″\"]|'')", _minutes),
        (r"(?<!\d)(\d{1,2}):(\d\d)(?::(\d\d))?[分秒]?(?!\d)", _time),
        (r"(?<!\d)(\d+):(\d+)(?!\d)", lambda f: f"{cardinal(f.group(1))}比{cardinal(f.group(2))}"),
        # Money, shares, measures.
        (
            rf"((?:US|HK)?\$|[€£¥￥₹₩]) ?({_NUMBER})(百万|千万|万亿|[万亿])?"
            r"(元|块|美元|美金|港元|欧元|英镑|日元)?",
            _money,
        ),
        (rf"({_NUMBER}) ?([$€£¥￥])", lambda f: f"{decimal(f.group(1))}{_MONEY[f.group(2)]}"),
        (rf"({_NUMBER}){_DASH}({_NUMBER}) ?([%‰])", _shares),
        (
            rf"(?<![A-Za-z])({_CODE_OF_MONEY}) ?({_NUMBER})(?![.,:/-]?\d)"
            rf"|({_NUMBER}) ?({_CODE_OF_MONEY})(?![A-Za-z])",
            _money_by_code,
        ),
        (rf"({_NUMBER}) ?([%‰])", _share),
        (r"(?<![A-Za-z\d/.])(\d+)[ 又](\d+)/(\d+)(?![\d/.])", _mixed),
        (r"(?<=第)(\d+)/(\d+)(?![\d/.])", lambda f: f"{cardinal(f.group(1))}、{cardinal(f.group(2))}"),
        (r"(?<=[元个块里米克升斤])/(?=[小人斤米克升平天月年个次分秒吨位只公千件份张本股])", lambda _: "每"),
        (r"(?<![A-Za-z\d/.])(\d+)/(\d+)(?![\d/.])", _fraction),
        (r"(?<=\d米)\d{1,2}(?!\d|[米厘毫公.])", lambda f: one_by_one(f.group())),
        (
            r"(?<!\d)\d\d(?=折)",
            lambda f: cardinal(f.group()) if f.group()[1] == "0" else one_by_one(f.group()),
        ),
        (r"(?<![\d.])\d{3,4}(?=室|房间|号房|包间|教室|宿舍)", lambda f: one_by_one(f.group())),
        (r"(?<![\d.])\d{3}(?=路(?!程|人))", lambda f: one_by_one(f.group())),
        (rf"(?<![A-Za-z])({_NUMBER})( ?(?:{_UNIT}))(?![A-Za-z\d])", _measure),
        # Versions.
        (r"(?<![\d.])\d+(?:\.\d+){2,}(?!\d)", _dotted),
        # What stands between numbers.
        (
            r"(?<![\d.-])\d{1,2}(?:-\d{1,2}){2,}(?![\d-])",
            lambda f: "".join(map(cardinal, f.group().split("-"))),
        ),
        (rf"(?:(?<=\d)|(?<=\d[点月年日号%度元℃])) ?{_DASH} ?(?=\d)", _range),
        (r"(?<=[\d)])\+(?=[人个位名家次件万亿元种])", lambda _: "多"),
        (r"(?<=[\dA-Za-z]) ?\+ ?(?=\d)|(?<=[\d万亿千百])\+(?![\w+])|(?<![\w+)])\+(?=\.?\d)", lambda _: "加"),
        (rf"(?<=\d)\+(?={HAN})", lambda _: "加"),
        (r"(?<=\d) ?÷ ?(?=\d)", lambda _: "除以"),
        (r"(?<=\d) [-−–] (?=\d+ ?=)", lambda _: "减"),
        (r"(?<=[\w)])[<>]=?(?=\d)|(?<=\w) [<>]=? (?=\d)| ?[≤≥≠≈] ?(?=[\w.≤≥≠≈])", _compared),
        (r"(?<=约)[~～](?=\d)", lambda _: ""),
        (r"(?<![\d~～A-Za-z])[~～](?=\d)", lambda _: "约"),
        (r" ?± ?(?=\d)", lambda _: "正负"),
        (r"(?<!√)√++ ?(?=\w)", lambda _: "根号"),
        (r"∞", lambda _: "无穷大"),
        (r"(?<=\d) ?= ?(?=\d)", lambda _: "等于"),
        (r"(?<=\d) ?[×*] ?(?=\d)|(?<=\d) ?x ?(?=\d)", lambda _: "乘"),
        (r"(?<![A-Za-z\d])(k?m|cm)\^([23])(?!\d)", lambda f: _UNITS[f.group()]),
        (r"(?<=[\dA-Za-z)])\^(-?)(\d+)", _power),
        (rf"(?<=[A-Za-z]|{HAN})[-−](?=\d)", _hyphen),
        (r"(?<![\d)-])[-−](?=\d)", lambda _: "负"),
        (r"(?<![\w.])\.\d+", lambda f: decimal(f"0{f.group()}")),
        (r"(?<=\d)w(?![A-Za-z\d])", lambda _: "万"),
        (r"(?<=[gl])/[Ll](?![A-Za-z])", lambda _: "每升"),
        (r"(?<=\^[23])\+(?=[A-Za-z])", lambda _: "加"),
        (r"(?<=\d)[\"″](?![A-Za-z\d])", _inches),
        (rf"{_NUMBER}", _number),
        (rf"(?<![\u0370-\u03ff])[{''.join(_GREEK)}](?![\u0370-\u03ff])", lambda f: _GREEK[f.group()]),
    ]
)
