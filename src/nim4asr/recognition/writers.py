"""Transcripts as txt, json, srt and vtt."""

import json
from collections.abc import Callable, Mapping

from nim4asr.hotwords.hints import Hit
from nim4asr.recognition.result import Segment, Transcript


def to_txt(transcript: Transcript) -> str:
    """The text on one line."""
    return transcript.text + "\n"


def to_json(transcript: Transcript) -> str:
    """One JSON object on one line."""
    row = {
        "audio": transcript.audio,
        "duration": round(transcript.duration, 3),
        "text": transcript.text,
        "segments": [segment_row(segment) for segment in transcript.segments],
        "phonemes": " ".join(transcript.phonemes),
        "real_time_factor": round(transcript.real_time_factor, 4),
        "warnings": list(transcript.warnings),
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


def segment_row(segment: Segment) -> dict[str, object]:
    """A segment as JSON has it, but for its phonemes: times in milliseconds' precision."""
    return {
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
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
        "hits": [hit_row(hit) for hit in segment.hits],
        "hints": list(segment.hints),
        "hints_used": list(segment.hints_used),
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


def to_srt(transcript: Transcript) -> str:
    """SubRip: a numbered block a segment, times as 00:00:01,234."""
    blocks = [
        f"{number}\n{_clock(s.start, ',')} --> {_clock(s.end, ',')}\n{s.text}\n"
        for number, s in enumerate((s for s in transcript.segments if s.text), 1)
    ]
    return "\n".join(blocks)


def to_vtt(transcript: Transcript) -> str:
    """WebVTT: a block a segment, times as 00:00:01.234."""
    blocks = [
        f"{_clock(s.start, '.')} --> {_clock(s.end, '.')}\n{_escape(s.text)}\n"
        for s in transcript.segments
        if s.text
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


WRITERS: Mapping[str, Callable[[Transcript], str]] = {
    "txt": to_txt,
    "json": to_json,
    "srt": to_srt,
    "vtt": to_vtt,
}
