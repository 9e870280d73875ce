"""Alignments as a table of words, JSON, subtitles, TextGrid (Praat) and CTM (NIST's scoring tools)."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from nim4asr.recognition.alignment import AlignedWord, Alignment
from nim4asr.recognition.subtitles import SubtitleConfig
from nim4asr.recognition.writers import to_srt, to_vtt
from nim4asr.text.joining import joined

# A shorter interval of a TextGrid would have no length once it is written.
_SHORTEST_S = 0.0005


def to_table(alignment: Alignment) -> str:
    """A word a line, with the marks around it: start and end in seconds, and the word, with tabs between
    them. Audacity reads it as labels.
    """
    rows = (f"{word.start:.3f}\t{word.end:.3f}\t{_on_a_line(word.shown)}\n" for word in alignment.words)
    return "".join(rows)


def to_json(alignment: Alignment) -> str:
    """One JSON object on one line."""
    row = {
        "audio": alignment.audio,
        "duration": round(alignment.duration, 3),
        "text": alignment.text,
        "words": [_word_row(word) for word in alignment.words],
        "segments": [
            {
                "start": round(segment.start, 3),
                "end": round(segment.end, 3),
                "text": segment.text,
                "words": [first, behind],
            }
            for segment, (first, behind) in zip(alignment.transcript.segments, alignment.lines, strict=True)
        ],
        "not_found": [
            {
                "text": one.text,
                "first": one.first,
                "last": one.last,
                "start": round(one.start, 3),
                "end": round(one.end, 3),
            }
            for one in alignment.not_found
        ],
        "unexpected": [
            {"start": round(one.start, 3), "end": round(one.end, 3)} for one in alignment.unexpected
        ],
        "warnings": list(alignment.told),
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


def _word_row(word: AlignedWord) -> dict[str, object]:
    return {
        "text": word.text,
        "shown": word.shown,
        "start": round(word.start, 3),
        "end": round(word.end, 3),
        "confidence": round(word.confidence, 4),
        "place": word.place,
    }


def to_textgrid(alignment: Alignment) -> str:
    """Praat's TextGrid with two tiers of intervals: ``segments``, stretches of speech with their text, and
    ``words``. What no interval has is an empty one. A word that takes no time stands in the one before it.
    """
    segments = [(one.start, one.end, one.text) for one in alignment.transcript.segments]
    words = [(word.start, word.end, _on_a_line(word.shown)) for word in alignment.words]
    tiers = (("segments", segments), ("words", words))
    # Praat wants a grid to have a length.
    end = max([alignment.duration, _SHORTEST_S, *(end for _, end, _ in segments)])
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', ""]
    lines += ["xmin = 0", f"xmax = {end:.6f}", "tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, intervals) in enumerate(tiers, 1):
        filled = list(_filled(intervals, end))
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"']
        lines += ["        xmin = 0", f"        xmax = {end:.6f}", f"        intervals: size = {len(filled)}"]
        for place, (start, stop, text) in enumerate(filled, 1):
            quoted = text.replace('"', '""')
            lines += [f"        intervals [{place}]:", f"            xmin = {start:.6f}"]
            lines += [f"            xmax = {stop:.6f}", f'            text = "{quoted}"']
    return "\n".join(lines) + "\n"


def _filled(
    intervals: Sequence[tuple[float, float, str]], whole_s: float
) -> Iterator[tuple[float, float, str]]:
    """``intervals`` that leave nothing out from 0 to ``whole_s``, each of some length."""
    found: list[tuple[float, float, str]] = []
    waiting: list[str] = []
    now = 0.0
    for start, end, text in intervals:
        if end - max(start, now) < _SHORTEST_S:
            if found and found[-1][2]:
                found[-1] = (*found[-1][:2], joined([found[-1][2], text]))
            else:
                waiting.append(text)
            continue
        if start - now >= _SHORTEST_S:
            found.append((now, start, ""))
            now = start
        found.append((now, end, joined([*waiting, text])))
        waiting.clear()
        now = end
    if waiting:
        found.append((now, whole_s, joined(waiting)))
    elif whole_s - now >= _SHORTEST_S or not found:
        found.append((now, whole_s, ""))
    else:
        found[-1] = (found[-1][0], whole_s, found[-1][2])
    yield from found


def to_ctm(alignment: Alignment) -> str:
    """A word a line, without the marks around it: recording, channel, start, duration in seconds, word,
    confidence. The recording is the audio's name; spaces in it, and in words, become ``_``.
    """
    name = re.sub(r"\s+", "_", Path(alignment.audio).stem) or "audio"
    rows = (
        f"{name} 1 {word.start:.3f} {word.end - word.start:.3f} {_without_spaces(word.text)} "
        f"{word.confidence:.4f}\n"
        for word in alignment.words
    )
    return "".join(rows)


def _without_spaces(text: str) -> str:
    return re.sub(r"\s+", "_", text)


def _on_a_line(text: str) -> str:
    return " ".join(text.split())


def write(alignment: Alignment, format: str, config: SubtitleConfig | None = None) -> str:
    """``alignment`` in a ``format`` of ``FORMATS``; ``config`` is for subtitles."""
    if format in _SUBTITLES:
        return _SUBTITLES[format](alignment.transcript, config)
    return _PLAIN[format](alignment)


_PLAIN: Mapping[str, Callable[[Alignment], str]] = {
    "txt": to_table,
    "json": to_json,
    "textgrid": to_textgrid,
    "ctm": to_ctm,
}
_SUBTITLES = {"srt": to_srt, "vtt": to_vtt}
FORMATS = (*_PLAIN, *_SUBTITLES)
# What files of a format are called by, where that is not its name.
ENDINGS: Mapping[str, str] = {"textgrid": "TextGrid"}
