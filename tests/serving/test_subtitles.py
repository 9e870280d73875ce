"""Subtitles by REST: with a recording, and of segments that were recognized before."""

import json
from typing import Any

import pytest

from nim4asr.recognition.result import Segment, Transcript, Word
from nim4asr.recognition.subtitles import SubtitleConfig
from nim4asr.recognition.writers import to_srt, to_vtt
from nim4asr.serving import subtitles as module
from serving.conftest import Running
from serving.test_application import ask, transcribe

TEXT = "we could not book the room for the meeting because it was given to another team in the morning"
WORDS = [{"word": word, "start": i * 0.5, "end": i * 0.5 + 0.4} for i, word in enumerate(TEXT.split())]
SEGMENT = {"start": 0.0, "end": 10.0, "text": TEXT, "words": WORDS, "names_at": [[4, 13]]}
TRANSCRIPT = Transcript(
    "",
    10.0,
    (Segment(0.0, 10.0, TEXT, 1.0, tuple(Word(w["word"], w["start"], w["end"], 1.0) for w in WORDS)),),  # type: ignore[arg-type]
    0.0,
)


def lay_out(server: Running, row: Any) -> tuple[int, Any]:
    body = row if isinstance(row, bytes) else json.dumps(row).encode()
    status, answer, _ = ask(server, "POST", "/v1/subtitles", body)
    return status, answer


def test_segments_become_the_same_subtitles_as_by_the_writers(nano: Running) -> None:
    asked = {"format": "srt", "segments": [SEGMENT]}
    assert lay_out(nano, asked) == (200, to_srt(TRANSCRIPT))
    layout = {"max_line": 30, "max_lines": 1, "max_cue_s": 3, "highlight_words": True}
    assert lay_out(nano, {"format": "vtt", "segments": [SEGMENT], **layout}) == (
        200,
        to_vtt(TRANSCRIPT, SubtitleConfig(30, 1, 3.0, True)),
    )
    assert lay_out(nano, {"format": "vtt", "segments": []}) == (200, "WEBVTT\n")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": "ass"}, "format is one of srt, vtt"),
        ({"segments": 1}, "segments are a list"),
        ({"segments": [{"start": 0, "end": 1}]}, "object with start, end and text"),
        ({"segments": [{**SEGMENT, "start": 11}]}, "an end is not before its start"),
        ({"segments": [{**SEGMENT, "end": "1"}]}, "start and end are seconds"),
        ({"segments": [{**SEGMENT, "words": [{"text": "a", "start": 0, "end": 1}]}]}, "start, end and word"),
        ({"segments": [{**SEGMENT, "names_at": [[1]]}]}, "names_at are pairs"),
        ({"segments": [{**SEGMENT, "end": 10**400}]}, "an end is not before its start"),
        ({"max_cue_s": 10**400}, "max_cue_s is a number"),
        ({"max_line": 4}, "10 to 200 characters"),
        ({"max_line": 42.5}, "max_line is a whole number"),
        ({"max_cue_s": "nan"}, "1 to 60 s"),
        ({"highlight_words": 3}, "highlight_words is true or false"),
        ({"color": "red"}, "know no 'color'"),
    ],
)
def test_what_cannot_be_is_one_sentence(nano: Running, change: dict[str, Any], sentence: str) -> None:
    status, answer = lay_out(nano, {"format": "srt", "segments": [SEGMENT], **change})
    assert status == 400 and sentence in answer["error"]["message"]


def test_bodies_are_bounded(nano: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    status, answer = lay_out(nano, {"format": "srt", "segments": [[]] * 600_000})
    assert status == 400 and "500000 values" in answer["error"]["message"]
    long = {"start": 0, "end": 1, "text": "a " * 300_000}
    status, answer = lay_out(nano, {"format": "srt", "segments": [long]})
    assert status == 400 and "500000 characters" in answer["error"]["message"]
    monkeypatch.setattr(module, "_MOST_BYTES", 1000)
    status, answer = lay_out(nano, {"format": "srt", "segments": [SEGMENT]})
    assert status == 413 and answer["error"]["code"] == "file_too_large"


def test_a_recording_has_the_layout_that_is_asked_for(nano: Running) -> None:
    status, plain, _ = transcribe(nano, ("response_format", "vtt"))
    assert status == 200 and "中国人" in plain.replace("\n", "") and "<c>" not in plain
    status, timed, _ = transcribe(nano, ("response_format", "vtt"), ("highlight_words", "true"))
    assert status == 200 and "</c><00:00:0" in timed
    status, answer, _ = transcribe(nano, ("response_format", "json"), ("max_line", "30"))
    assert status == 400 and answer["error"]["param"] == "max_line"
    status, answer, _ = transcribe(nano, ("response_format", "srt"), ("max_lines", "x"))
    assert status == 400 and "whole number" in answer["error"]["message"]
