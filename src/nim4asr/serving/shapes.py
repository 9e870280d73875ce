"""Transcripts as OpenAI's transcription API has them: pure functions from ``Transcript`` to JSON rows."""

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nim4asr.recognition.result import Segment, Token, Transcript
from nim4asr.recognition.subtitles import SubtitleConfig
from nim4asr.recognition.writers import to_srt, to_txt, to_vtt
from nim4asr.text.characters import is_han

# The fields of ``verbose_json`` that this model has nothing to say on.
_SEEK, _TEMPERATURE = 0, 0.0
# What a probability of 0 is written as: JSON has no infinity.
_LEAST_LOG_PROB = -100.0


def json_row(transcript: Transcript, logprobs: bool = False) -> dict[str, Any]:
    """``response_format=json``."""
    row: dict[str, Any] = {
        "text": transcript.text,
        "usage": usage(transcript),
        **warnings_row(transcript),
    }
    if logprobs:
        row["logprobs"] = [row for segment in transcript.segments for row in logprob_rows(segment.tokens)]
    return row


def verbose_row(transcript: Transcript, granularities: Sequence[str]) -> dict[str, Any]:
    """``response_format=verbose_json``, with segments, words or both."""
    row: dict[str, Any] = {
        "task": "transcribe",
        "language": language_of(transcript.text),
        "duration": round(transcript.duration, 3),
        "text": transcript.text,
        "usage": usage(transcript),
        **warnings_row(transcript),
    }
    if "segment" in granularities:
        row["segments"] = [segment_row(segment, i) for i, segment in enumerate(transcript.segments)]
    if "word" in granularities:
        row["words"] = [word for segment in transcript.segments for word in word_rows(segment)]
    return row


def segment_row(segment: Segment, number: int) -> dict[str, Any]:
    """A segment of ``verbose_json``, all ten fields; beside them, where there are names, ``hits``,
    ``hints_used`` and ``names_at``, and its ``channel`` where each was listened to for itself.
    """
    text = segment.text.encode("utf-8")
    row: dict[str, Any] = {
        "id": number,
        "seek": _SEEK,
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "tokens": [],
        "temperature": _TEMPERATURE,
        "avg_logprob": _log(segment.confidence),
        "compression_ratio": round(len(text) / max(1, len(zlib.compress(text))), 4),
        "no_speech_prob": 0.0 if segment.text else 1.0,
    }
    if segment.hits or segment.hints:
        row["hits"] = [
            {"text": hit.text, "start": round(hit.start, 2), "end": round(hit.end, 2)} for hit in segment.hits
        ]
        row["hints_used"] = list(segment.hints_used)
        row["names_at"] = list(map(list, segment.named))
    return row | _channel_row(segment)


def word_rows(segment: Segment) -> list[dict[str, Any]]:
    """The words of a segment with their times, in seconds."""
    return [
        {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)} | _channel_row(segment)
        for word in segment.words
    ]


def warnings_row(transcript: Transcript) -> dict[str, Any]:
    """What a user should know of the recording: that it was not whole, or that nothing was said."""
    return {"warnings": list(transcript.told)} if transcript.told else {}


def usage(transcript: Transcript) -> dict[str, Any]:
    """What the request is counted by."""
    return {"type": "duration", "seconds": math.ceil(transcript.duration)}


def logprob_rows(tokens: Sequence[Token]) -> list[dict[str, Any]]:
    """The tokens of a text with their log probabilities."""
    return [
        {
            "token": token.text,
            "bytes": list(token.text.encode("utf-8")),
            "logprob": round(max(token.log_prob, _LEAST_LOG_PROB), 6),
        }
        for token in tokens
    ]


def language_of(text: str) -> str:
    """The language of a text by its script, as OpenAI names it."""
    return "chinese" if any(map(is_han, text)) else "english"


def plain(transcript: Transcript, config: SubtitleConfig | None = None) -> str:
    """``response_format=text``, which has no use for ``config``."""
    return to_txt(transcript)


# Formats that are no JSON, with their types.
TEXT_FORMATS: Mapping[str, tuple[Callable[[Transcript, SubtitleConfig | None], str], str]] = {
    "text": (plain, "text/plain; charset=utf-8"),
    "srt": (to_srt, "text/plain; charset=utf-8"),
    "vtt": (to_vtt, "text/vtt; charset=utf-8"),
}


def _channel_row(segment: Segment) -> dict[str, Any]:
    return {} if segment.channel is None else {"channel": segment.channel}


def _log(probability: float) -> float:
    return round(max(math.log(probability), _LEAST_LOG_PROB), 6) if probability > 0 else _LEAST_LOG_PROB
