"""Transcripts as txt, json, srt and vtt."""

import json
from collections.abc import Callable, Mapping

from nim4asr.hotwords.hints import Hit
from nim4asr.recognition.result import Segment, Transcript
from nim4asr.recognition.subtitles import Cue, SubtitleConfig, subtitles


def to_txt(transcript: Transcript) -> str:
    """The text on one line; of channels, each heard for itself, a line a turn, ``[1] text``."""
    if not transcript.by_channel:
        return transcript.text + "\n"
    return "".join(f"{_tag(channel)}{text}\n" for channel, text in transcript.turns)


def to_json(transcript: Transcript) -> str:
    """One JSON object on one line."""
    row = {
        "audio": transcript.audio,
        "duration": round(transcript.duration, 3),
        "text": transcript.text,
        "language": transcript.language,
        "segments": [segment_row(segment) for segment in transcript.segments],
        "phonemes": " ".join(transcript.phonemes),
        "real_time_factor": round(transcript.real_time_factor, 4),
        "warnings": list(transcript.told),
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


def segment_row(segment: Segment) -> dict[str, object]:
    """A segment as JSON has it, but for its phonemes: times in milliseconds' precision."""
    return {
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "language": segment.language,
        "confidence": round(segment.confidence, 4),
        "words": [
            {
                "text": word.text,
                "start": round(word.start, 3),
                "end": round(word.end, 3),
                "confidence": round(word.confidence, 4),
            }
            for word in segment.words
        ],
        "alternatives": [
            {"text": one.text, "confidence": round(one.confidence, 4), "score": round(one.score, 4)}
            for one in segment.alternatives
        ],
        "hits": [hit_row(hit) for hit in segment.hits],
        "hints": list(segment.hints),
        "hints_used": list(segment.hints_used),
        **({} if segment.channel is None else {"channel": segment.channel}),
    }


def hit_row(hit: Hit) -> dict[str, object]:
    """A name that was heard, as JSON has it."""
    return {
        "text": hit.text,
        "start": round(hit.start, 2),
        "end": round(hit.end, 2),
        "score": round(hit.score, 4),
        "tones": hit.tones,
        "phonemes": hit.phonemes,
        "evidence": round(hit.evidence, 2),
        "weight": hit.weight,
        "category": hit.category,
    }


def to_srt(transcript: Transcript, config: SubtitleConfig | None = None) -> str:
    """SubRip: a numbered block a cue of ``nim4asr.recognition.subtitles``, times as 00:00:01,234."""
    blocks = [
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_tag(cue.channel)}{cue.text}\n"
        for number, cue in enumerate(subtitles(transcript, config), 1)
    ]
    return "\n".join(blocks)


def to_vtt(transcript: Transcript, config: SubtitleConfig | None = None) -> str:
    """WebVTT: a block a cue of ``nim4asr.recognition.subtitles``, times as 00:00:01.234; with
    ``highlight_words`` the time of each word before it, ``<00:00:01.500><c>word</c>``. A channel is a voice,
    ``<v Channel 1>``.
    """
    text = _timed if config is not None and config.highlight_words else _plain
    blocks = [
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{_voice(cue.channel)}{text(cue)}\n"
        for cue in subtitles(transcript, config)
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _tag(channel: int | None) -> str:
    return "" if channel is None else f"[{channel}] "


def _voice(channel: int | None) -> str:
    return "" if channel is None else f"<v Channel {channel}>"


def _plain(cue: Cue) -> str:
    return _escape(cue.text)


def _timed(cue: Cue) -> str:
    """The lines of ``cue`` with the time of each word. WebVTT wants times that rise, inside those of the
    cue.
    """
    last = _clock(cue.start, ".")
    end = _clock(cue.end, ".")
    lines: list[str] = []
    for line in cue.lines:
        words: list[str] = []
        for word in line:
            time = _clock(word.start, ".")
            stamp = f"<{time}>" if last < time < end else ""
            last = max(last, time)
            words.append(f"{word.before}{stamp}<c>{_escape(word.text)}</c>")
        lines.append("".join(words))
    return "\n".join(lines)


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def write(transcript: Transcript, format: str, config: SubtitleConfig | None = None) -> str:
    """``transcript`` in a ``format`` of ``FORMATS``; ``config`` is for those of ``SUBTITLES``."""
    return SUBTITLES[format](transcript, config) if format in SUBTITLES else _PLAIN[format](transcript)


_PLAIN: Mapping[str, Callable[[Transcript], str]] = {"txt": to_txt, "json": to_json}
SUBTITLES: Mapping[str, Callable[[Transcript, SubtitleConfig | None], str]] = {"srt": to_srt, "vtt": to_vtt}
FORMATS = (*_PLAIN, *SUBTITLES)
