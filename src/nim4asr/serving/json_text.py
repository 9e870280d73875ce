"""JSON as it may come from anyone, and as it goes out: one place for all protocols.

Python's own parser takes more than JSON has: NaN and infinity, numbers beyond a float, escapes of half a
surrogate pair, which no encoder takes back; and 16 MB of brackets become 400 MB of lists.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from nim4asr.serving.errors import ApiError

# So many values and keys at most: messages have tens, with a list of names a thousand or two.
_MOST_VALUES = 50_000
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parsed_object(text: str | bytes | bytearray, most_values: int = _MOST_VALUES) -> dict[str, Any]:
    """The JSON object in ``text``, of no more than ``most_values`` values and keys. Raises ``ApiError`` 400,
    code ``invalid_json``, for anything else.
    """
    row = parsed(text, most_values)
    if not isinstance(row, dict):
        raise ApiError(400, "expected a JSON object", "invalid_json")
    return row


def parsed(text: str | bytes | bytearray, most_values: int = _MOST_VALUES) -> Any:
    """The JSON value in ``text``. Raises ``ApiError`` as ``parsed_object`` does."""
    try:
        if not isinstance(text, str):
            text = bytes(text).decode("utf-8")
        if text.count(",") + text.count("[") + text.count("{") > most_values:
            raise ApiError(400, f"more than {most_values} values in one message", "invalid_json")
        value = json.loads(text, parse_constant=_refused, parse_float=_finite)
        if _SURROGATE.search(text):
            # Half of a pair is no character, and could not be written back.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise ApiError(400, "expected JSON, in UTF-8", "invalid_json") from None
    return value


def written(row: Mapping[str, Any]) -> str:
    """``row`` as JSON."""
    return json.dumps(row, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is no number that can be held")
    return value
