"""The written form of a text: spoken numbers in digits (inverse text normalization), all else as it was said.

Phrases of number words are found by rules; what they are in digits, the grammars of WeTextProcessing say; and
that stands only if it is read as what was said. The grammars alone write ``10×210mm`` for 十乘二十毫米,
``3322`` for 三三两两, ``2nd hand``, and ``09:11`` for "nine eleven", and turn words into others (十分钟 into
``10min``): ``tests/text/written_zh.tsv`` and ``written_en.tsv`` have the cases.

Numbers up to nine (Chinese) and twelve (English) stay in words, unless a unit, a date or a decimal says that
they are figures. Idioms, proverbs and names made of numbers stay as they are.
"""

import re
from collections.abc import Callable

from nim4asr.text import chinese_numbers, english_numbers
from nim4asr.text.characters import is_han
from nim4asr.text.grammars import in_digits
from nim4asr.text.rewriting import Rules, around


def written_form(text: str) -> str:
    """``text`` with spoken numbers, dates and amounts in digits.

    ``"我有一百二十块钱"`` -> ``"我有120块钱"``, ``"twenty five dollars"`` -> ``"$25"``; by the rules of
    Chinese where the text holds a Chinese character, by those of English elsewhere.
    """
    return _CHINESE(text) if any(map(is_han, text)) else _ENGLISH(text)


# Of a number in words. The grammars take time in proportion to the square of a text's length.
_LONGEST = 120

# --- Chinese ----------------------------------------------------------------

_DIGIT = "零〇一二三四五六七八九幺"
_ONE = "一二两三四五六七八九"
# All of them that stand there, or none: "++" gives nothing back.
_RUN = f"[{_DIGIT}两十百千万亿]++"
# 十 is a figure before these.
_MEASURE = (
    r"(?:[个名位只条张本把台辆件家间座套双对份首部项种次遍场轮天年岁斤吨克米块元倍头匹棵颗粒杯瓶碗盒箱包袋层排列组批队段页篇道题元人]"
    r"|公里|千米|厘米|毫米|公斤|千克|分钟|小时|秒|星期|个月|平方|立方|美元|万|亿|点(?!点))"
)
# With numbers of several characters in them that are no figures.
_KEPT_CHINESE = (
    # Idioms, proverbs, things that have a number for a name.
    "三三两两|三三五五|七七八八|一五一十|九九八十一|九九归一|十有八九|八九不离十|十之八九|三六九等"
    "|三十六[计策行]|七十二[变行般家]|三百六十行|一百二十行|十八[般罗层子]|[一二]?十八层地狱|女大十八变"
    "|五十步笑百步|三十而立|四十不惑|五十知天命|七十古来稀|二十四[史孝节桥]|二十八宿|一千零一夜"
    "|十万个为什么|十万八千里|十万火[急速]|[二两]万五千里长征|十三[陵经妹太]"
    "|十二(?:生肖|属相|时辰|经脉|星座|指肠|万分)|十四行诗|五胡十六国|一百(?:零|单)?八将|四万万|八万四千"
    "|不管三七二十一|板板六十四|此地无银三百两|发昏章第十一|三十年河[东西]|十年寒窗|十年树木|十五的月亮"
    "|一百八十度大转弯|两点一线|三八[线式]|三七开|四六级|五五开|二百五(?!十)|百分百|万万|千千"
    # 十 that is no ten, and quantities that are none.
    "|十字|十全|十恶|十面|十足|十分(?!钟|之|[零〇一二三四五六七八九十])|[几数好][十百千万亿]+"
    "|(?<![早晚])上[百千万亿]+|[近成][百千万亿]+|[十百千万亿]+几|一点一[滴点]"
    # Days that have become names.
    f"|(?:五四|五一|六一|八一|七一|三八)(?![{_DIGIT}十百千万年])|二七大罢工|一二九(?=运动)"
    "|[一二三四五六七八九]{2,3}(?=事变|运动|惨案|大?地震)|双十[一二]"
    "|十一(?=黄金周|长假|国庆|假期|期间|放假)|[正腊]月[一二三四五六七八九十]+|八月十五|(?:农历|大年|年)三十"
    "|初[一二三四五六七八九十]+|三十儿"
)
_SCALE = re.compile(r"[倍万亿米公千度元块小吨升秒克斤寸尺年岁折%，。,.]|美元")
_TIME_OF_DAY = re.compile(r"(?:早上|上午|中午|下午|晚上|凌晨|傍晚|半夜|今晚|今早|明早|明晚|早晨|夜里)$")


def _chinese_digits(run: str, least: int = 2) -> str | None:
    """A run of number characters in digits, if it is one number of at least ``least`` characters."""
    plain = run.replace("〇", "零").replace("幺", "一")
    if all(c in _DIGIT for c in plain):
        return "".join(map(_value, plain)) if len(plain) >= max(least, 1) else None
    if len(run) < least or run[0] in "百千万亿零":
        return None
    # 一百二 is 一百二十.
    if tail := re.search(r"([百千万])([一二三四五六七八九])$", plain):
        plain += {"百": "十", "千": "百", "万": "千"}[tail.group(1)]
    if (head := re.fullmatch(r"(.*[^万亿])([万亿])", plain)) and not re.search("[万亿]", head.group(1)):
        number = _chinese_digits(head.group(1).replace("两", "二"), 1)
        return None if number is None else number + head.group(2)
    found = in_digits(plain, "zh") or "" if len(plain) <= _LONGEST else ""
    read = re.sub(r"\d+", lambda digits: chinese_numbers.cardinal(digits.group()), found)
    return found if re.fullmatch(r"[\d万亿]+", found) and _same(read, plain) else None


def _value(character: str) -> str:
    return {"〇": "0", "零": "0", "幺": "1", "两": "2"}.get(character) or str(
        "零一二三四五六七八九".index(character)
    )


def _same(one: str, other: str) -> bool:
    def plain(text: str) -> str:
        return re.sub("一(?=十)", "", text.replace("两", "二"))

    return plain(one) == plain(other)


def _run(found: re.Match[str]) -> str | None:
    """A run of number characters that nothing around makes a date, a time or a share."""
    run, (before, after) = found.group(), around(found)
    if len(run) == 1:
        letter = re.match(r"[A-Za-z]{1,3}(?![A-Za-z])", after)
        if run == "十":
            counted = re.match(_MEASURE, after) and not before.endswith(("第", "几", "数"))
            return "10" if counted or letter else None
        return _value(run) if run in _DIGIT and letter and not re.search(r"[A-Za-z]$", before) else None
    if all(c in _DIGIT for c in run):
        # Two digits alone may be 五六 or 七八, which are no number.
        born = after.startswith("后") and re.fullmatch("[零〇五六七八九][零〇五]", run)
        return _chinese_digits(run, 2 if born or re.search(r"[A-Za-z]$", before) else 3)
    return _chinese_digits(run)


def _figures(found: re.Match[str]) -> str | None:
    """The numbers of a date or a time in digits, what is between them as it stands."""
    parts = [
        (part, _chinese_digits(part, 1) if re.fullmatch(_RUN, part) else part)
        for part in re.split(f"({_RUN})", found.group())
    ]
    return (
        None if any(digits is None for _, digits in parts) else "".join(digits or "" for _, digits in parts)
    )


def _two_figures(write: Callable[[str, str], str]) -> Callable[[re.Match[str]], str | None]:
    def written(found: re.Match[str]) -> str | None:
        first, last = (_chinese_digits(part, 1) for part in found.groups())
        return None if first is None or last is None else write(first, last)

    return written


def _percent(found: re.Match[str]) -> str | None:
    size, number = found.groups()
    digits = "100" if number == "百" else _decimal(number)
    return None if digits is None else digits + {"百": "%", "千": "‰"}[size]


def _decimal(number: str) -> str | None:
    whole, point, rest = number.partition("点")
    digits = _chinese_digits(whole, 1)
    return None if digits is None else digits + ("." + "".join(map(_value, rest)) if point else "")


def _decimal_point(found: re.Match[str]) -> str | None:
    number, (before, after) = found.group(), around(found)
    whole, _, rest = number.partition("点")
    if len(rest) == 1 and (_TIME_OF_DAY.search(before) or after.startswith(("刻", "半"))):
        return None
    # "Somewhat", as in 快一点三个人都等着, is no decimal.
    if whole == "一" and len(rest) == 1 and after and not re.match(_SCALE, after):
        return None
    return _decimal(number)


def _clock(found: re.Match[str]) -> str | None:
    """三点二十分 in figures; 三点五分 is a time only where a part of the day stands before it."""
    minutes = found.group(1).rstrip("分")
    if len(minutes) == 1 and minutes != "十" and not _TIME_OF_DAY.search(around(found)[0]):
        return _decimal(found.group().rstrip("分")) and f"{_decimal(found.group().rstrip('分'))}分"
    return _figures(found)


def _score(found: re.Match[str]) -> str | None:
    return None if len(found.group()) == 3 else _figures(found)


def _negative(found: re.Match[str]) -> str | None:
    number = found.group(1)
    digits = _decimal(number) if "点" in number else _chinese_digits(number)
    return None if digits is None else f"-{digits}"


_CHINESE = Rules(
    [
        (_KEPT_CHINESE, lambda found: found.group()),
        (rf"负({_RUN}(?:点[{_DIGIT}]+)?)", _negative),
        (rf"([百千])分之({_RUN}(?:点[{_DIGIT}]+)?)", _percent),
        (rf"({_RUN})分之({_RUN})", _two_figures(lambda below, above: f"{above}/{below}")),
        (
            rf"(?:[零〇九][{_DIGIT}]|六(?!七)[{_DIGIT}]|七(?!八)[{_DIGIT}]|八(?!九)[{_DIGIT}]|[{_DIGIT}]{{4}}|两千零?{_RUN})年"
            rf"(?:{_RUN}月)?(?:{_RUN}[日号])?",
            _figures,
        ),
        (rf"{_RUN}月{_RUN}[日号]?(?!个)", _figures),
        (rf"{_RUN}比{_RUN}", _score),
        (rf"[{_ONE}十]{{1,3}}点([{_DIGIT}十]+分)(?![之钟])", _clock),
        (rf"[{_ONE}十]{{1,3}}点(?:[二三四五]?十[{_ONE}]?|零[{_ONE}])(?![{_DIGIT}百千万亿])", _figures),
        (rf"{_RUN}点[{_DIGIT}]++(?![点十百千])", _decimal_point),
        (rf"({_RUN})度([{_ONE}])(?![{_DIGIT}十百千万亿])", _two_figures(lambda a, b: f"{a}度{b}")),
        (rf"({_RUN})块([{_ONE}])毛", _two_figures(lambda a, b: f"{a}块{b}毛")),
        (rf"({_RUN})米([{_DIGIT}]{{2}})(?![{_DIGIT}十百千万亿])", _two_figures(lambda m, cm: f"{m}米{cm}")),
        (_RUN, _run),
    ]
)


# --- English ----------------------------------------------------------------

_SMALL = "one|two|three|four|five|six|seven|eight|nine"
_TEENS = "ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_TO_99 = rf"(?:(?:{_TENS})(?:[ -](?:{_SMALL}))?|{_TEENS}|{_SMALL})"
_TO_9999 = rf"(?:(?:{_TO_99}) hundred(?:(?: and)? {_TO_99})?|{_TO_99})"
_CARDINAL = (
    rf"(?:(?:{_TO_9999} (?:billion|million|thousand) )*(?:and )?{_TO_9999}(?: (?:billion|million|thousand))?)"
)
_DIGIT_WORD = rf"(?:zero|oh|o|{_SMALL})"
_DECIMAL = rf"(?:{_CARDINAL}|zero) point {_DIGIT_WORD}(?: {_DIGIT_WORD})*"
_MONTH = "january|february|march|april|may|june|july|august|september|october|november|december"
_FIRST = "first|second|third|fourth|fifth|sixth|seventh|eighth|ninth"
_ORDINAL = (
    rf"(?:(?:{_TENS})[ -](?:{_FIRST})|(?:twent|thirt|fort|fift|sixt|sevent|eight|ninet)ieth"
    r"|(?:thir|four|fif|six|seven|eigh|nine)teenth)"
)
_DAY = rf"(?:{_FIRST}|tenth|eleventh|twelfth|{_ORDINAL})"
_YEAR = (
    r"(?:(?:fifteen|sixteen|seventeen|eighteen|nineteen|twenty) "
    rf"(?:(?:oh|o) (?:{_SMALL})|(?:{_TENS})(?:[ -](?:{_SMALL}))?|{_TEENS})"
    rf"|two thousand(?: and)?(?: (?:{_TO_99}))?)"
)
# With numbers in them that are no figures.
_KEPT_ENGLISH = (
    r"fifty[ -]fifty|catch[ -]twenty[ -]two|forty winks|twenty[ -]four[ -]seven"
    r"|twenty[ -]twenty (?:vision|hindsight)|nine eleven|seven eleven|nine to five|one two punch"
    rf"|one two three(?! (?:{_DIGIT_WORD})\b)|ten[ -]four|sixty[ -]four thousand dollar question"
    r"|ninety nine times out of|(?:my|your|his|her|our|their) two cents|a hundred and ten percent"
    r"|forty niners?|two by four|one in a (?:million|thousand|hundred)|thousand and one"
    r"|(?:a|several|many|few|some) (?:hundred|thousand|million|billion)(?: and [a-z]+)?"
    rf"|double (?:oh?|zero) (?:{_SMALL})|dirty thirty|hang ten|eighty[ -]sixed"
    r"|(?:i|you|he|she|it|we|they|who|that|which) (?:may|march) (?:second|first)"
)


_IN_A_ROW = (
    r" (?:street|avenue|floor|century|birthday|anniversary|of|time|day|year|week|president|regiment)\b"
)


def _english_digits(phrase: str) -> str | None:
    """A cardinal in digits, if what the grammar makes of it is read as what was said."""
    words = phrase.replace("-", " ")
    size = re.search(r" (million|billion|trillion)$", words)
    if size:
        head = _english_digits(words[: size.start()])
        return None if head is None else f"{head} {size.group(1)}"
    if number := _small(words):
        return number
    found = in_digits(words, "en") or "" if len(words) <= _LONGEST else ""
    if not found.isdigit():
        return None
    read = (english_numbers.cardinal(found), english_numbers.in_pairs(found))
    return found if any(_plain(words) == _plain(one) for one in read) else None


def _small(words: str) -> str | None:
    ones = _TO_TWELVE.get(words)
    return None if ones is None else str(ones)


_TO_TWELVE = {word: number for number, word in enumerate(f"zero|{_SMALL}|ten|eleven|twelve".split("|"))}


def _plain(words: str) -> str:
    return words.replace(" and ", " ").removeprefix("and ")


def _spelled_digits(words: str) -> str:
    return "".join("0" if word in ("oh", "o") else str(_TO_TWELVE[word]) for word in words.split())


def _cardinal(found: re.Match[str]) -> str | None:
    phrase = found.group()
    if _AFTER_NUMBER.search(around(found)[0]):
        return None
    # Up to twelve, and what is no one number ("three thirty"), stays in words.
    return None if phrase in _TO_TWELVE else _english_digits(phrase)


def _decimal_in_english(found: re.Match[str]) -> str | None:
    whole, _, rest = found.group().partition(" point ")
    digits = _english_digits(whole)
    return None if digits is None else f"{digits}.{_spelled_digits(rest)}"


def _number_in_english(phrase: str) -> str | None:
    size = re.search(r" (million|billion|trillion)$", phrase)
    head = phrase[: size.start()] if size else phrase
    if " point " in head:
        whole, _, rest = head.partition(" point ")
        digits = _english_digits(whole)
        number = None if digits is None else f"{digits}.{_spelled_digits(rest)}"
    else:
        number = _english_digits(head)
    return None if number is None else number + (size.group() if size else "")


def _percent_in_english(found: re.Match[str]) -> str | None:
    digits = _number_in_english(found.group(1))
    return None if digits is None else f"{digits}%"


def _money(found: re.Match[str]) -> str | None:
    amount, unit, cents = found.groups()
    digits = _number_in_english(amount)
    hundredths = _english_digits(cents) if cents else ""
    if digits is None or hundredths is None:
        return None
    sign = {"d": "$", "e": "€"}[unit[0]]
    return f"{sign}{digits}" + (f".{int(hundredths):02d}" if hundredths else "")


def _ordinal(found: re.Match[str]) -> str | None:
    words = found.group().replace("-", " ")
    before, after = around(found)
    # Sixty seconds, unless something says that they are in a row.
    counted = re.search(r"\b(?:the|my|your|his|her|its|our|their|every|[a-z]+'s) $", before)
    if words.endswith(" second") and not counted and not re.match(_IN_A_ROW, after):
        return None
    return in_digits(words, "en")


def _day(words: str) -> str | None:
    written = in_digits(f"january {words.replace('-', ' ')}", "en") or ""
    return written.removeprefix("january ") if re.fullmatch(r"january \d{1,2}", written) else None


def _year_in_english(words: str) -> str | None:
    words = words.replace("-", " ")
    found = in_digits(words, "en") or ""
    return found if re.fullmatch(r"\d{4}", found) else None


def _date(found: re.Match[str]) -> str | None:
    month, day, year = found.groups()
    number, in_year = _day(day), _year_in_english(year) if year else ""
    if number is None or in_year is None:
        return None
    return f"{month} {number}" + (f" {in_year}" if in_year else "")


def _day_of_month(found: re.Match[str]) -> str | None:
    day, month, year = found.groups()
    number, in_year = _day(day), _year_in_english(year) if year else ""
    if number is None or in_year is None:
        return None
    ending = (
        {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th") if number not in ("11", "12", "13") else "th"
    )
    return f"{number}{ending} of {month}" + (f" {in_year}" if in_year else "")


def _time(found: re.Match[str]) -> str | None:
    hour, minute, part = found.groups()
    minutes = (
        _spelled_digits(minute).zfill(2) if minute.startswith(("o ", "oh ")) else _english_digits(minute)
    )
    return None if minutes is None else f"{_TO_TWELVE[hour]}:{minutes.zfill(2)}{part or ''}"


def _decade(found: re.Match[str]) -> str | None:
    century, decade = found.groups()
    first = {"eighteen": "18", "nineteen": "19", "twenty": "20", "seventeen": "17"}[century]
    tens = {"ten": "1", "twent": "2", "thirt": "3", "fort": "4", "fift": "5", "sixt": "6", "sevent": "7",
            "eight": "8", "ninet": "9"}  # fmt: skip
    return f"{first}{tens[decade]}0s"


_AFTER_NUMBER = re.compile(rf"\b(?:{_SMALL}|{_TENS}|{_TEENS}|hundred|thousand|point|oh|zero)[ -]$")
_HOUR = rf"(?:{_SMALL}|ten|eleven|twelve)"
_MINUTES = rf"(?:(?:oh|o) (?:{_SMALL})|(?:twenty|thirty|forty|fifty)(?:[ -](?:{_SMALL}))?|{_TEENS})"
_PART = r" (?:am|pm|a\.m\.|p\.m\.|a m|p m)"
_ENGLISH = Rules(
    [
        (rf"\b(?:{_KEPT_ENGLISH})\b", lambda found: found.group()),
        # Dates.
        (rf"\b({_MONTH}) ({_DAY})(?: ({_YEAR}))?\b(?! of)", _date),
        (rf"\b({_DAY}) of ({_MONTH})(?: ({_YEAR}))?\b", _day_of_month),
        (
            r"\b(seventeen|eighteen|nineteen|twenty) "
            r"(ten|twent|thirt|fort|fift|sixt|sevent|eight|ninet)(?:ies|s)\b",
            _decade,
        ),
        # Times.
        (rf"\b({_HOUR}) ({_MINUTES})({_PART})\b", _time),
        (rf"(?<=\bat )({_HOUR}) ({_MINUTES})()\b(?! (?:hundred|thousand|million|percent|point|and))", _time),
        (rf"\b({_HOUR})(?={_PART}\b)", lambda found: str(_TO_TWELVE[found.group(1)])),
        # Shares and money.
        (
            rf"\b((?:{_DECIMAL}|{_CARDINAL})(?: (?:million|billion))?) (?:percent|per cent)\b",
            _percent_in_english,
        ),
        (
            rf"\b((?:{_DECIMAL}|{_CARDINAL})(?: (?:million|billion|trillion))?) (dollars?|euros?)"
            rf"(?: and ({_TO_99}) cents)?\b",
            _money,
        ),
        # Numbers.
        (
            rf"\b{_DECIMAL}(?= (?:million|billion|trillion)\b)"
            rf"|\b{_DECIMAL}\b(?! (?:hundred|thousand|{_TENS}|{_TEENS}))",
            _decimal_in_english,
        ),
        (
            rf"\b{_DIGIT_WORD}(?: {_DIGIT_WORD}){{3,}}\b(?! (?:hundred|thousand|million|{_TENS}|{_TEENS}))",
            lambda f: _spelled_digits(f.group()),
        ),
        (
            rf"\b(?:{_SMALL}) (?:oh|o|zero) {_DIGIT_WORD}\b|\bnine one one\b|\bzero zero (?:{_SMALL})\b",
            lambda f: _spelled_digits(f.group()),
        ),
        (
            rf"\b{_YEAR}\b(?! (?:hundred|thousand|million|percent|dollars)\b"
            rf"|[ -](?:{_SMALL}|{_TENS}|{_TEENS})\b)",
            lambda f: _year_in_english(f.group()),
        ),
        (rf"\b{_ORDINAL}\b", _ordinal),
        (
            rf"\b{_CARDINAL}\b(?! (?:{_SMALL}|{_TENS}|{_TEENS}|point|oh|hundred)\b|[ -](?:{_DAY})\b)",
            _cardinal,
        ),
    ]
)
