"""``POST /v1/subtitles``: subtitles of segments that were recognized before, as the page keeps them.

Subtitles are laid out in one place, ``nim4asr.recognition.subtitles``; whoever has segments and words, of
``verbose_json``, of events or of a live session, has them laid out here.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, TypeGuard

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from nim4asr.recognition.result import Segment, Transcript, Word
from nim4asr.recognition.subtitles import SubtitleConfig
from nim4asr.recognition.writers import SUBTITLES
from nim4asr.serving.errors import ApiError
from nim4asr.serving.json_text import parsed_object
from nim4asr.serving.shapes import TEXT_FORMATS
from nim4asr.serving.state import state_of

# Settings of subtitles in a form or a message, each with the type of its value.
SETTINGS: Mapping[str, type] = {
    "max_line": int,
    "max_lines": int,
    "max_cue_s": float,
    "highlight_words": bool,
}
# Ten hours of speech have about 100,000 words, each of three values.
_MOST_VALUES, _MOST_BYTES = 500_000, 16 << 20
_LONGEST_S, _MOST_TEXT = 1e6, 500_000
_MOST_NAMES, _LONGEST_NAME = 1000, 200


async def subtitles(request: Request) -> Response:
    """Subtitles of ``{"format": "srt" or "vtt", "segments": [{"start", "end", "text", "words": [{"word",
    "start", "end"}], "names_at": [[start, end]]}]}``, with the settings beside them.
    """
    state_of(request).access.check(request)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            raise ApiError(413, f"the body is over {_MOST_BYTES >> 20} MiB", "file_too_large", "segments")
    # It takes a while for hours of speech, and the loop must not wait.
    text, media_type = await asyncio.to_thread(_laid_out, bytes(body))
    return PlainTextResponse(text, media_type=media_type)


def subtitle_config(values: Mapping[str, Any]) -> SubtitleConfig:
    """What ``values`` ask of ``SETTINGS``, numbers as such or in digits. Raises ``ApiError`` or
    ``InputError`` for what cannot be.
    """
    return SubtitleConfig(**{name: _value(name, values[name]) for name in SETTINGS if name in values})


def _value(name: str, value: Any) -> Any:
    kind = SETTINGS[name]
    if kind is bool:
        flags = {"true": True, "1": True, "false": False, "0": False}
        if str(value).lower() in flags:
            return flags[str(value).lower()]
        raise ApiError(400, f"{name} is true or false", param=name)
    try:
        if isinstance(value, bool):
            raise ValueError
        # 42.5 characters are none.
        return float(value) if kind is float else int(str(value))
    except (TypeError, ValueError, OverflowError):
        number = "a number" if kind is float else "a whole number"
        raise ApiError(400, f"{name} is {number}", param=name) from None


def _laid_out(body: bytes) -> tuple[str, str]:
    row = parsed_object(body, _MOST_VALUES)
    if unknown := sorted(set(row) - {"format", "segments", *SETTINGS}):
        raise ApiError(400, f"subtitles know no {unknown[0][:80]!r}", param=unknown[0][:80])
    format = row.get("format")
    if not isinstance(format, str) or format not in SUBTITLES:
        raise ApiError(400, f"format is one of {', '.join(SUBTITLES)}", "unsupported_value", "format")
    config = subtitle_config(row)
    rows = row.get("segments")
    if not isinstance(rows, list):
        raise ApiError(400, "segments are a list", param="segments")
    segments = sorted(map(_segment, rows), key=lambda segment: segment.start)
    if sum(len(segment.text) for segment in segments) > _MOST_TEXT:
        raise ApiError(400, f"the segments hold over {_MOST_TEXT} characters; send parts", param="segments")
    duration = max((segment.end for segment in segments), default=0.0)
    write, media_type = TEXT_FORMATS[format]
    return write(Transcript("", duration, tuple(segments), 0.0), config), media_type


def _segment(row: Any) -> Segment:
    start, end, text = _said(row, "text")
    words = row.get("words", [])
    if not isinstance(words, list):
        raise ApiError(400, "the words of a segment are a list", param="segments")
    places = row.get("names_at", [])
    if not isinstance(places, list) or not all(map(_is_place, places)):
        raise ApiError(400, "names_at are pairs of places in the text", param="segments")
    # No line break stands in a name. What is longer, or one of so many, is none.
    parts = (
        text[first:last].strip() for first, last in places[:_MOST_NAMES] if last - first <= _LONGEST_NAME
    )
    names = tuple(filter(None, parts))
    said = [Word(word, first, last, 1.0) for first, last, word in (_said(one, "word") for one in words)]
    return Segment(start, end, text, 1.0, tuple(said), hints=names)


def _is_place(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(one) is int and one >= 0 for one in value)


def _said(row: Any, key: str) -> tuple[float, float, str]:
    if not isinstance(row, dict) or not isinstance(row.get(key), str):
        raise ApiError(400, f"each of them is an object with start, end and {key}", param="segments")
    start, end = row.get("start"), row.get("end")
    if not _is_number(start) or not _is_number(end):
        raise ApiError(400, "start and end are seconds", param="segments")
    if not 0 <= start <= end <= _LONGEST_S:
        raise ApiError(400, "an end is not before its start, and no time is below 0", param="segments")
    return float(start), float(end), row[key]


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
