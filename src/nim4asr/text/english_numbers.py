"""How numbers are said in English.

The grammar of WeTextProcessing knows units, dates, times and ordinals. What it reads wrong is read by rules
before it sees it (``tests/text/spoken_en.tsv`` has the cases): digits in groups ("1,234" loses its "one"),
decades ("1990s" are seconds), decimals beside letters, long strings of digits, prices with cents, ranges of
years, ratios that are no fractions, four digits that are no year, text in quotation marks. It sees one
number with its unit at a time, so that the words around stay as they are. Addresses, titles ("Dr."), Roman
numerals behind names and signs of arithmetic are said by rules alone.
"""

import re
from functools import cache

from nim4asr.text.grammars import as_said
from nim4asr.text.rewriting import Rules, around, tidied
from nim4asr.text.roman import ROMAN, roman_number
from nim4asr.text.web_addresses import ADDRESS, ENDINGS, say_address

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    " seventeen eighteen nineteen"
).split()
_TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()
_POWERS = ("", " thousand", " million", " billion", " trillion", " quadrillion")
_MONTHS = (
    "January|February|March|April|May|June|July|August|September|October|November|December"
    "|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec"
)
_FULL_MONTHS = {name[:3]: name for name in _MONTHS.split("|")[:12]}
_GROUPS = (
    r"\d{1,3}(?:,\d{3})+(?!\d)|\d{1,2}(?:,\d{2})+,\d{3}(?!\d)"
    r"|\d{1,3}(?:[\u00a0\u2009\u202f]\d{3})+|\d{1,3}(?: 000)+"
)
_NUMBER = rf"(?:{_GROUPS}|\d+)(?:\.\d+)?"
_MONEY = {
    "$": ("dollar", "cent"), "US$": ("us dollar", "cent"), "€": ("euro", "cent"), "£": ("pound", "penny"),
    "¥": ("yen", ""), "￥": ("yen", ""), "₹": ("rupee", ""), "₩": ("won", ""),
    "A$": ("australian dollar", "cent"), "C$": ("canadian dollar", "cent"),
    "HK$": ("hong kong dollar", "cent"), "R$": ("real", ""),
}  # fmt: skip
_AMOUNTS = {
    "k": "thousand", "m": "million", "mn": "million", "bn": "billion", "b": "billion", "tn": "trillion",
    "t": "trillion",
}  # fmt: skip
_SIGNS_OF_MONEY = r"(?<![A-Z])(?:US|HK|[ACR])\$|[$€£¥￥₹₩]"
_CODES_OF_MONEY = {
    "USD": "us dollar", "EUR": "euro", "GBP": "pound", "JPY": "yen", "CNY": "yuan", "RMB": "yuan",
    "CHF": "swiss franc",
}  # fmt: skip
_CODE_OF_MONEY = "|".join(_CODES_OF_MONEY)
_ADDRESS_SIGNS = {
    "@": "at", ".": "dot", "-": "dash", "_": "underscore", "/": "slash", ":": "colon", "?": "question mark",
    "=": "equals", "&": "and", "#": "hash", "%": "percent", "+": "plus", "~": "tilde",
}  # fmt: skip
_COMPARED = {
    "<": "less than", ">": "greater than", "≤": "less than or equal to", "<=": "less than or equal to",
    "≥": "greater than or equal to", ">=": "greater than or equal to", "≠": "not equal to",
    "≈": "approximately",
}  # fmt: skip
# A telephone number with its country's code, of eight to fifteen digits.
OF_A_COUNTRY = (
    r"\+(?=(?:[ .()-]{0,2}\d){8,15}(?!\d))\d{1,4}(?:[ .-]?\(\d{1,4}\))?(?:[ .-]?\d{2,8}){1,6}(?!\d)"
)
# Of an IP address.
_BYTE = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_GREEK = dict(
    zip(
        "αβγδεζηθικλμνξοπρστυφχψω",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau"
        " upsilon phi chi psi omega".split(),
        strict=True,
    )
)
_GREEK_LETTERS = "".join(_GREEK) + "".join(_GREEK).upper()
_TITLES = {"mr": "Mister", "mrs": "Missus", "dr": "Doctor", "prof": "Professor", "st": "Saint"}
_STREETS = {"dr": "Drive", "st": "Street"}
# Behind these a Roman numeral is an ordinal ("Henry the fourth") ...
_RULERS = (
    "Henry|Louis|Elizabeth|Charles|George|Edward|William|James|Richard|Mary|Catherine|Peter|Alexander|Nicholas"
    "|Napoleon|Philip|Frederick|Ivan|Rama|Ramses|Gustav|Christian|Carlos|Paul|Benedict|Pius|Leo|Gregory|Innocent"
    "|Clement|Urban|Wilhelm|Friedrich|Harald|Haakon|Umberto|Alfonso|Ferdinand|Margrethe|Victoria"
)
# ... and behind these, one of a letter too is a number: "Chapter V".
_PARTS = (
    "War|Chapter|Part|Volume|Section|Act|Scene|Book|Type|Phase|Class|Grade|Stage|Title|Article|Appendix|Mark|Bowl"
    "|Level|Season|Episode|Division|Group|Table|Figure|Factor"
)
# What the grammar says otherwise, or not at all.
_UNITS = {
    "m": "meters", "m/s": "meters per second", "hr": "hours", "hrs": "hours", "mins": "minutes",
    "sec": "seconds", "secs": "seconds", "W": "watts", "V": "volts", "L": "liters", "l": "liters",
    "yrs": "years", "㎡": "square meters", "m^2": "square meters", "m2": "square meters",
    "m3": "cubic meters",
    "km2": "square kilometers", "km^2": "square kilometers", "cm^2": "square centimeters",
    "m^3": "cubic meters", "cm^3": "cubic centimeters", "Ω": "ohms", "¢": "cents", "‰": "per mille",
    "x": "times", "kWh": "kilowatt hours", "dB": "decibels",
    "bps": "bits per second", "fps": "frames per second", "cc": "cc", "mA": "milliamps", "kPa": "kilopascals",
    "kcal": "kilocalories", "lb": "pounds", "px": "pixels",
}  # fmt: skip
_KNOWN_UNITS = (
    "km/h kph mph m/s km^2 km2 cm^2 cm^3 km m^2 m2 m^3 m3 cm mm nm μm mi ft yd lbs lb oz kg mg KB"
    " MB GB TB PB kB Kbps kbps Mbps Gbps GHz MHz kHz Hz kWh kW MW mW mA dB ms hrs hr mins"
    " min secs sec yrs ml mL ha kPa psi kcal"
    " rpm fps bps °C °F ℃ ℉ % ‰ ㎡ ° Ω ¢"
).split()
# These only directly behind the number, or, of the last, with one space between.
_CLOSE_UNITS = "s h W V L l x K cc px m g".split()
_SPACED_UNITS = ("m", "g", "W", "V", "L")
# Of mobile networks, which are more often spoken of than so few grams.
_GENERATIONS = ("2", "3", "4", "5", "6")
_COUNTED = re.compile(r" (?:people|men|women|children|[a-z]{2,}[^s\W\d_]s)\b")
_CALLED = re.compile(
    r"\b(?:call|calls|called|dial|dials|dialed|dialled|ring|phone|tel|telephone|number|code|pin|extension|ext|zip"
    r"|password|qq|wechat)(?: (?:is|me|at|us|on))*[.:,]? ?$",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"\b(?:room|flight|bus|suite|apartment|apt|unit|highway|interstate) $", re.IGNORECASE)


def say_english(text: str) -> str:
    """``text`` with its numbers, titles, addresses, and the signs in its names, as they are said."""
    return tidied(_RULES(text), text)


def cardinal(digits: str) -> str:
    """A whole number: ``"1234"`` -> "one thousand two hundred and thirty four"."""
    if len(digits) > 3 * len(_POWERS):
        return one_by_one(digits)
    number = int(digits)
    groups: list[str] = []
    for power in _POWERS:
        number, group = divmod(number, 1000)
        if group:
            small = "and " if not power and number and group < 100 else ""
            groups.append(small + _hundreds(group, "" if power else "and ") + power)
    return " ".join(reversed(groups)) or "zero"


def _hundreds(number: int, between: str) -> str:
    hundreds, rest = divmod(number, 100)
    small = _ONES[rest] if rest < 20 else f"{_TENS[rest // 10]} {_ONES[rest % 10]}".removesuffix(" zero")
    if not hundreds:
        return small
    return f"{_ONES[hundreds]} hundred" + (f" {between}{small}" if rest else "")


def one_by_one(digits: str) -> str:
    """Digits alone: ``"4090"`` -> "four zero nine zero"."""
    return " ".join(_ONES[int(digit)] for digit in digits if digit.isdigit())


def in_pairs(digits: str) -> str:
    """A year, a model or a flight, of three or four digits: ``"1984"``, ``"747"``, ``"305"`` -> "nineteen
    eighty four", "seven forty seven", "three oh five".
    """
    if len(digits) not in (3, 4) or digits[0] == "0":
        return one_by_one(digits)
    first, last = digits[:-2], digits[-2:]
    if last == "00":
        return cardinal(digits) if len(digits) == 3 or first[-1] == "0" else f"{cardinal(first)} hundred"
    if len(first) == 2 and first[1] == "0" and last[0] == "0":
        return cardinal(digits).replace(" and", "")
    return f"{cardinal(first)} {'oh ' if last[0] == '0' else ''}{cardinal(last)}"


def decimal(number: str) -> str:
    """``"1,234.05"`` -> "one thousand two hundred and thirty four point oh five"."""
    whole, point, rest = re.sub(r"[^\d.]", "", number).partition(".")
    said = _whole(whole) if whole else ""
    if not point:
        return said
    after = " ".join("oh" if digit == "0" else _ONES[int(digit)] for digit in rest)
    return f"{said} point {after}".strip()


def _whole(digits: str) -> str:
    if len(digits) > 1 and digits[0] == "0":
        return one_by_one(digits)
    return cardinal(digits)


def _number(found: re.Match[str]) -> str:
    """A number with nothing behind it that says what it counts."""
    number, (before, after) = found.group(), around(found)
    times = re.match(r"x\d", after) is not None
    attached = re.search(r"[^\W\d_][-.]?$", before) is not None or (after[:1].isalpha() and not times)
    if not number.isdigit():
        said = decimal(number)
    elif len(number) >= 3 and _CALLED.search(before):
        said = one_by_one(number)
    elif len(number) in (3, 4) and (attached or _NUMBERED.search(before)):
        said = in_pairs(number)
    elif _COUNTED.match(after):
        said = _whole(number)
    else:
        said = _bare(number)
    space = before[-1:].isalnum() and not re.search(r"\dx$", before)
    return f"{' ' if space else ''}{said}{' ' if after[:1].isalnum() and not times else ''}"


def _bare(digits: str) -> str:
    if len(digits) > 1 and digits[0] == "0":
        return one_by_one(digits)
    if len(digits) >= 10 and not digits.endswith("000"):
        return one_by_one(digits)
    if len(digits) == 4 and 1000 < int(digits) < 2100 and digits != "2000":
        return in_pairs(digits)
    return cardinal(digits)


def _year_or_less(digits: str) -> str:
    return in_pairs(digits) if len(digits) == 4 else cardinal(digits)


def _decade(found: re.Match[str]) -> str:
    digits = found.group(1)
    said = "two thousand" if digits == "2000" else in_pairs(digits)
    return f"{said[:-1]}ies" if said.endswith("y") else f"{said}s"


def _date(found: re.Match[str]) -> str:
    month, day, year = found.groups()
    said = f"{_month(month)} {ordinal(day)}"
    return f"{said}, {_year_or_less(year)}" if year else said


def _day_first(found: re.Match[str]) -> str:
    article, day, month, year = found.groups()
    said = f"{article or 'the '}{ordinal(day)} of {_month(month)}"
    return f"{said} {_year_or_less(year)}" if year else said


def _month(name: str) -> str:
    return _FULL_MONTHS[name[:3]]


def ordinal(number: str) -> str:
    """``"21"`` -> "twenty first"."""
    last = number[-1:] if not number[-2:].startswith("1") or len(number) == 1 else ""
    ending = {"1": "st", "2": "nd", "3": "rd"}.get(last, "th")
    return as_said(f"{int(number)}{ending}", "en") or cardinal(number)


def _price(found: re.Match[str]) -> str:
    sign, amount, size = found.groups()
    one, hundredth = _MONEY[sign]
    if size:
        words = _AMOUNTS.get(size.strip().lower(), size.strip().lower())
        return f"{decimal(amount)} {words} {_many(one)}"
    whole, _, cents = amount.partition(".")
    digits = re.sub(r"\D", "", whole)
    if len(cents) != 2 or not hundredth:
        return f"{decimal(amount)} {one if amount == '1' else _many(one)}"
    parts = []
    if int(digits):
        parts.append(f"{cardinal(digits)} {one if digits == '1' else _many(one)}")
    if int(cents):
        parts.append(f"{cardinal(cents)} {hundredth if cents == '01' else _many(hundredth)}")
    return " and ".join(parts) or f"zero {_many(one)}"


def _priced_by_code(found: re.Match[str]) -> str:
    code, amount, same, last = found.groups()
    one = _CODES_OF_MONEY[code or last]
    number = amount or same
    return f"{decimal(number)} {one if number == '1' else _many(one)}"


def _prices(found: re.Match[str]) -> str:
    sign, least, most, size = found.groups()
    return f"{decimal(least)} to {decimal(most)}{size or ''} {_many(_MONEY[sign][0])}"


def _many(word: str) -> str:
    return {"penny": "pence", "yen": "yen", "yuan": "yuan", "won": "won", "real": "reais"}.get(
        word, f"{word}s"
    )


def _measure(found: re.Match[str]) -> str:
    number, unit = found.groups()
    if unit == "g" and number in _GENERATIONS:
        return f"{decimal(number)} g"
    return f"{decimal(number)} {_unit(unit.strip(), number == '1')}"


@cache
def _unit(unit: str, one: bool) -> str:
    """A unit in words, as the grammar has it behind a number."""
    if unit in _UNITS:
        many = _UNITS[unit]
        return many[:-1] if one and many.endswith("s") and " " not in many else many
    said = as_said(f"{1 if one else 2}{unit}", "en") or ""
    words = said.partition(" ")[2]
    return words or unit


def _groups_of_digits(found: re.Match[str]) -> str:
    groups = re.findall(r"\d+", found.group())
    hundreds = [
        f"{_ONES[int(g[0])]} hundred" if g[1:] == "00" and g[0] != "0" else one_by_one(g) for g in groups
    ]
    return " ".join(hundreds)


def _years(found: re.Match[str]) -> str:
    first, last = found.groups()
    return f"{in_pairs(first)} to {_year_or_less(last)}"


def _ratio(found: re.Match[str]) -> str | None:
    first, last = found.groups()
    if found.group() in ("9/11", "24/7") or first == last or int(first) + int(last) == 100:
        return f"{_year_or_less(first)} {cardinal(last)}"
    if int(first) > int(last) and int(first) > 10:
        return f"{decimal(first)} over {decimal(last)}"
    return _by_grammar(found)


def _numeric_date(found: re.Match[str]) -> str:
    """Year, month, day; month, day, year, as in America; or day, month, year, with points or where the
    first is no month's number.
    """
    parts = re.findall(r"\d+", found.group())
    if len(parts[0]) == 4:
        year, month, day = parts
    else:
        month, day, year = parts
        if "." in found.group() or int(month) > 12:
            month, day = day, month
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return " ".join(map(_year_or_less, parts))
    name = list(_FULL_MONTHS.values())[int(month) - 1].lower()
    return f"the {ordinal(str(int(day)))} of {name} {_year_or_less(year)}"


def _by_grammar(found: re.Match[str]) -> str:
    said = as_said(found.group(), "en")
    if said is not None and ":" in said:
        said = None
    return " ".join(map(one_by_one, re.findall(r"\d+", found.group()))) if said is None else said


def _clock(found: re.Match[str]) -> str:
    """A time, or what looks like one: ``"24:00"``, ``"7.30pm"``."""
    text = found.group().replace(".", ":", 1) if "." in found.group()[:3] else found.group()
    said = as_said(text, "en")
    if said is not None and not re.search(r"[\d:]", said) and ":" in text:
        return said
    hour, minute = re.findall(r"\d+", text)[:2]
    behind = (
        "hundred" if minute == "00" else f"oh {cardinal(minute)}" if minute[0] == "0" else cardinal(minute)
    )
    seconds = "".join(f" {cardinal(more)}" for more in re.findall(r"\d+", text)[2:])
    part = "".join(re.findall("[A-Za-z]", text)).upper()
    return f"{cardinal(hour)} {behind}{seconds} {part}".rstrip()


def _internet_number(found: re.Match[str]) -> str:
    """An IP address, with its port or the length of its mask."""
    parts, sign, port = found.groups()
    said = " dot ".join(map(one_by_one, parts.split(".")))
    behind = f" {_ADDRESS_SIGNS[sign]} {one_by_one(port)}" if sign else ""
    return _apart(found, f"{said}{behind}")


def _hyphenated(found: re.Match[str]) -> str:
    """Numbers with hyphens between: a line-up ("4-4-2"), the number of a book."""
    groups = found.group().split("-")
    return " ".join(map(cardinal if all(len(g) <= 2 and g[0] != "0" for g in groups) else one_by_one, groups))


def _scientific(found: re.Match[str]) -> str:
    number, sign, power = found.groups()
    return f"{decimal(number)} times ten to the power of {'negative ' if sign == '-' else ''}{_whole(power)}"


def _degrees(found: re.Match[str]) -> str:
    parts = zip(found.groups(), ("degree", "minute", "second"), strict=True)
    return " ".join(f"{_whole(n)} {unit if n == '1' else _many(unit)}" for n, unit in parts if n)


def _season(found: re.Match[str]) -> str:
    first, last = found.groups()
    return f"{in_pairs(first)} {_whole(last)}"


def _apart(found: re.Match[str], said: str) -> str:
    """``said`` in the place of what was found, with spaces between it and the words beside it."""
    before, after = around(found)
    return f"{' ' if before[-1:].isalnum() else ''}{said}{' ' if after[:1].isalnum() else ''}"


def _greek(found: re.Match[str]) -> str:
    return _apart(found, _GREEK[found.group().lower()])


def _hashtag(found: re.Match[str]) -> str:
    """What stands behind "#", its words apart: ``"#BlackLivesMatter"``."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", found.group(1))
    return f"hashtag {words}"


def _title(found: re.Match[str]) -> str | None:
    """A title before a name, a street's kind behind one; None where it is not clear which."""
    short, (before, after) = found.group(1).lower(), around(found)
    named = re.match(r" [A-Z]", after) is not None
    street = short in _STREETS and re.search(r"\d [A-Z]\w+ $" if named else r"\b[A-Z]\w+ $", before)
    if street:
        return _STREETS[short]
    if not named and (short == "st" or not re.match(r" ?\d| [a-z]{2}", after)):
        return None
    return _TITLES[short]


def _ruler(found: re.Match[str]) -> str:
    name, numeral = found.groups()
    return f"{name} the {ordinal(str(roman_number(numeral)))}"


def _roman(found: re.Match[str]) -> str:
    name, _, numeral = found.group().rpartition(" ")
    return f"{name} {cardinal(str(roman_number(numeral)))}"


def _inches(found: re.Match[str]) -> str:
    # A quotation that ends in a number has begun before it.
    if found.string.count('"', 0, found.start()) % 2:
        return found.group()
    return " inch" if re.search(r"(?<![\d.,])1$", around(found)[0]) else " inches"


def _compared(found: re.Match[str]) -> str:
    return f" {_COMPARED[found.group().strip()]} "


def _power(found: re.Match[str]) -> str:
    """A power of a letter, or of a length alone: an area or a volume."""
    before, _, of, _ = found.groups()
    power = found.group()[-1]
    length = {"m": "meters", "km": "kilometers", "cm": "centimeters", "mm": "millimeters"}.get(before or "")
    if length:
        return f"{'square' if power == '2' else 'cubic'} {length}"
    space = " " if around(found)[1][:1].isalnum() else ""
    return f"{before or of} {'squared' if power == '2' else 'cubed'}{space}"


def _dotted(found: re.Match[str]) -> str:
    parts = found.group().split(".")
    space = " " if around(found)[0][-1:].isalpha() else ""
    if len(parts) == 4:
        return space + " dot ".join(map(one_by_one, parts))
    return space + " point ".join(map(_whole, parts))


def _two_digit_decade(found: re.Match[str]) -> str:
    return _TENS[int(found.group(1)[0])][:-1] + "ies"


def _count(found: re.Match[str]) -> str:
    number, ending = re.sub(r"\D", "", found.group()), found.group()[-2:]
    return as_said(f"{number}{ending}", "en") or ordinal(number)


_RULES = Rules(
    [
        # Addresses of the web and of mail, names in a network.
        (ADDRESS, lambda f: _apart(f, say_address(f.group(), _ADDRESS_SIGNS, one_by_one, " "))),
        (r"(?<![\w.@])@+ ?(?=\w)", lambda _: "at "),
        (r"(?<![\w&#])#([A-Za-z]{2,})(?!\w)", _hashtag),
        (r"(?<![\w&#])#(?=\d+[A-Za-z])", lambda _: "hashtag "),
        (
            rf"(?<![\d.])({_BYTE}(?:\.{_BYTE}){{3}})(?:([:/])(\d{{1,5}}))?(?!\.?\d)",
            _internet_number,
        ),
        # Titles and streets.
        (r"(?<![\w.])(Mr|Mrs|Dr|Prof|St|mr|mrs|dr|prof|MR|MRS|DR|PROF)(?![A-Za-z])(?:\.(?!\w))?", _title),
        (r"(?<![\w.])vs\b\.?", lambda _: "versus"),
        # Roman numerals behind names.
        (rf"\b({_RULERS}) (?!I\b)({ROMAN})(?![\w'’-])", _ruler),
        (rf"\b(World War) (I)(?![\w'’-])|\b({_PARTS}) (?!I\b)({ROMAN})(?![\w'’-])", _roman),
        (rf"\b((?=[a-z]*[A-Z])[A-Za-z]*[a-z]) (?=[IVX]{{2}})(?!IV [a-z]|X+\b)({ROMAN})(?![\w'’-])", _roman),
        # Signs in names: AT&T, C++, C#, .NET, example.com.
        (r"(?<=[A-Za-z\d]) ?& ?(?=[A-Za-z\d])", lambda _: " and "),
        (
            r"(?<=[A-Za-z\dα-ω])\++(?![\w+])|(?<=[A-Za-z])\+\+(?=\d)",
            lambda f: " plus" * len(f.group()) + " " * f.string[f.end() :][:1].isdigit(),
        ),
        (r"(?<=\b[A-Za-z])#(?![\w#])", lambda _: " sharp"),
        (r"(?<![\w.])\.(?=[A-Za-z]{2})", lambda _: "dot "),
        (rf"(?<=[A-Za-z\d])\.(?=(?:{ENDINGS})\b)", lambda _: " dot "),
        (r"\b(?:No|no|Nos)\. ?(?=\d)|(?<![\w#])#(?=\d)|№ ?(?=\d)", lambda _: "number "),
        (r"§ ?(?=\d)", lambda _: "section "),
        # Dates.
        (
            r"\b(?:19|20)\d\d[-/.]\d{1,2}[-/.]\d{1,2}\b(?!\.\d)|\b\d{1,2}/\d{1,2}/\d{4}\b"
            r"|(?<![\w.-])\d{1,2}[-.]\d{1,2}[-.](?:19|20)\d\d\b(?![.-]\d)",
            _numeric_date,
        ),
        (rf"\b({_MONTHS})\.? (\d{{1,2}})(?:st|nd|rd|th)?(?![\d%]|[.:/,]\d)(?:,? (\d{{4}})\b)?", _date),
        (
            rf"\b([Tt]he )?(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? ({_MONTHS})\b(?:,? (\d{{4}})\b)?",
            _day_first,
        ),
        # Decades: 1990s, '90s.
        (r"\b(\d{3}0)['’]?s\b", _decade),
        (r"['’]?\b([2-9]0)['’]?s\b", _two_digit_decade),
        # Telephone numbers, the plus of whose country is seldom said, and others of many digits.
        (
            rf"(?<![\w.]){OF_A_COUNTRY}",
            _groups_of_digits,
        ),
        (
            r"(?<![\w.])\d{3}\.\d{3}\.\d{4}\b(?!\.\d)|(?<![\w.])\d{4}(?: \d{4}){3}\b(?![.,]\d)",
            _groups_of_digits,
        ),
        (r"(?<![\w.-])1-(8\d\d)-(?=[A-Z]{2})", lambda f: f"one {_groups_of_digits(f).removeprefix('one ')} "),
        (r"(?<![\w.])(?:\+\d{8,15}|(?:86)?1[3-9]\d{9})\b(?![.,]\d)", lambda f: one_by_one(f.group())),
        (
            r"(?<![\w.])(?:\+?\d{1,3}[- ])?(?:\(\d{3}\) ?|\d{3,4}[- ])\d{3,4}[- ]\d{3,4}\b(?![.,]\d)",
            _groups_of_digits,
        ),
        (r"(?<![\w.-])(?!\d\d0-\d{3}0)\d{3}-\d{4}\b(?![-.]\d)", _groups_of_digits),
        # Prices.
        (
            rf"({_SIGNS_OF_MONEY})({_NUMBER}) ?[-–—~] ?[$€£¥￥]?({_NUMBER})"
            r"( (?:trillion|billion|million|thousand)\b)?",
            _prices,
        ),
        (
            rf"({_SIGNS_OF_MONEY}) ?({_NUMBER})"
            r"( ?(?:trillion|billion|million|thousand|tn|bn|mn|[kKmMbBT])\b)?",
            _price,
        ),
        (rf"({_NUMBER}) ?([$€£¥￥])", lambda f: f"{decimal(f.group(1))} {_many(_MONEY[f.group(2)][0])}"),
        (
            rf"\b({_CODE_OF_MONEY}) ?({_NUMBER})(?![.,:/-]?\d)|(?<![\w.])({_NUMBER}) ?({_CODE_OF_MONEY})\b",
            _priced_by_code,
        ),
        # Times, heights, ratios.
        (r"\b\d{1,2}:\d{2}(?::\d{2})?(?: ?[aApP]\.?[mM]\b\.?)?", _clock),
        (r"(?<![\w.])\d{1,2}\.\d{2} ?(?:[aApP][mM]\b|[aApP]\.[mM]\.)", _clock),
        (r"(\d+(?:\.\d+)?)°(\d+)[′'](?:(\d+)(?:[″\"]|''))?", _degrees),
        (r"\b\d{1,2} ?(?:[aApP][mM]\b|[aApP]\.[mM]\.)", _by_grammar),
        (
            r"\b(\d)['’] ?(\d{1,2})(?:[\"”]|'')",
            lambda f: f"{cardinal(f.group(1))} foot {cardinal(f.group(2))}",
        ),
        (r"\b\d+ \d+/\d+\b", _by_grammar),
        (r"(?<![\w/.])((?:19|20)\d\d)/(\d\d)(?![\w/]|\.\d)", _season),
        (r"(?<![\w/.])(\d+)/(\d+)(?![\w/]|\.\d)", _ratio),
        (r"\b(\d+):(\d+)\b", lambda f: f"{cardinal(f.group(1))} to {cardinal(f.group(2))}"),
        # Ranges and sums.
        (r"(?<![\w.-])\d+(?:-\d+){2,}(?![\w-])", _hyphenated),
        (r"(?<![\w.-])(1\d\d\d|20\d\d) ?[-–—] ?((?:1\d|20)?\d\d)\b(?![-.]\d)", _years),
        (r"(?<=[\d%])(?: ?[–—~～] ?)(?=\d)|(?<=\d)-(?=\d+(?:\.\d+)?(?![\d-]| ?=))", lambda _: " to "),
        (r"(?<=[ap]m)[-–—](?=\d)|(?<=0s)[-–—](?=\d)", lambda _: " to "),
        (r"(?<=\d)-(?=\d+ ?=)|(?<=\d) [-−–] (?=\d+ ?=)", lambda _: " minus "),
        (r"(?<=\d) ?÷ ?(?=\d)", lambda _: " divided by "),
        (r"(?<=\d) ?\+ ?(?=\d)", lambda _: " plus "),
        (r"(?<=\d) ?= ?(?=\d)|(?<=\b[A-Za-z]) ?= ?(?=\d|[A-Za-z]{1,2}\^)", lambda _: " equals "),
        (r"(?<=\^[23]) ?\+ ?(?=[A-Za-z])", lambda _: " plus "),
        (r"(?<=\d) ?[×*] ?(?=\d)|(?<=\d) x (?=\d)|(?<=\d)x(?=\d)", lambda _: " times "),
        (r"(?<=[\d)])\^(?=-?\d)", lambda _: " to the power of "),
        (r"(?<![A-Za-z])([kcm]?m)\^([23])(?!\d)|([A-Za-z])\^([23])(?!\d)", _power),
        (r"(?<=[A-Za-z])\^([23])(?!\d)", lambda f: " squared" if f.group(1) == "2" else " cubed"),
        (r"(?<=\w)[<>]=?(?=\d)|(?<=\w) [<>]=? (?=\d)| ?[≤≥≠≈] ?(?=[\w.≤≥≠≈])", _compared),
        (r"(?<![\w~])[~～] ?(?=\d)", lambda _: "about "),
        (r" ?± ?(?=\d)", lambda _: " plus or minus "),
        (r"(?<![\w)+])\+(?=\.?\d)", lambda _: "plus "),
        (r"(?<!√)√++ ?(?=\w)", lambda _: "square root of "),
        (r"∞", lambda _: "infinity"),
        (r"(?<![\w.)-])[-−](?=\.?\d)", lambda _: "negative "),
        # What is counted and measured.
        (r"(?<![A-Za-z])(\d+(?:\.\d+)?)(?:e|E(?=[+-]))([+-]?)(\d{1,3})(?!\w)", _scientific),
        (r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:st|nd|rd|th)\b", _count),
        (r"(?<![\w.])\d+(?:\.\d+){2,}(?!\w)|(?<=\b[vV])\d+(?:\.\d+){2,}(?!\w)", _dotted),
        (
            rf"(?<![A-Za-z])({_NUMBER})("
            + "|".join(
                [
                    *(f" ?{re.escape(unit)}" for unit in sorted(_KNOWN_UNITS, key=len, reverse=True)),
                    *(re.escape(unit) for unit in _CLOSE_UNITS),
                    *(f" {unit}" for unit in _SPACED_UNITS),
                ]
            )
            + r")(?![\w°])",
            _measure,
        ),
        (rf"{_NUMBER}|(?<![\w.])\.\d+", _number),
        (r"(?<=\d)[\"″](?!\w)", _inches),
        (rf"(?<![\u0370-\u03ff])[{_GREEK_LETTERS}](?![\u0370-\u03ff])", _greek),
    ]
)
