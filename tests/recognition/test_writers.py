import json

from nim4asr.recognition.result import Segment, Transcript, Word
from nim4asr.recognition.writers import WRITERS

TRANSCRIPT = Transcript(
    audio="a & b.wav",
    duration=4000.5,
    segments=(
        Segment(0.5, 1.25, "hello <b>", 0.9, (Word("hello", 0.5, 1.0, 0.8),), ("HH", "AH")),
        Segment(2.0, 2.5, "", 0.1),
        Segment(3661.0, 3662.0, "world", 0.5, (Word("world", 3661.0, 3662.0, 0.7),), ("W",)),
    ),
    computing_s=400.05,
)


def test_txt() -> None:
    assert WRITERS["txt"](TRANSCRIPT) == "hello <b> world\n"


def test_json_is_one_line_with_everything() -> None:
    line = WRITERS["json"](TRANSCRIPT)
    assert line.count("\n") == 1
    row = json.loads(line)
    assert set(row) == {"audio", "duration", "text", "segments", "phonemes", "real_time_factor", "warnings"}
    parts = {"start", "end", "text", "confidence", "words", "hits", "hints", "hints_used"}
    assert set(row["segments"][0]) == parts
    assert row["segments"][0]["words"] == [{"text": "hello", "start": 0.5, "end": 1.0, "confidence": 0.8}]
    assert row["phonemes"] == "HH AH W"


def test_srt() -> None:
    assert WRITERS["srt"](TRANSCRIPT) == (
        "1\n00:00:00,500 --> 00:00:01,250\nhello <b>\n\n2\n01:01:01,000 --> 01:01:02,000\nworld\n"
    )


def test_vtt_escapes() -> None:
    text = WRITERS["vtt"](TRANSCRIPT)
    assert text.startswith("WEBVTT\n\n00:00:00.500 --> 00:00:01.250\nhello &lt;b&gt;\n")


def test_chinese_segments_join_without_space() -> None:
    segments = (Segment(0, 1, "你好", 1.0), Segment(1, 2, "世界", 1.0), Segment(2, 3, "ok", 1.0))
    assert Transcript("", 3.0, segments, 0.0).text == "你好世界ok"


def test_nothing_said() -> None:
    empty = Transcript("quiet.wav", 1.0, (), 0.0)
    assert WRITERS["txt"](empty) == "\n"
    assert WRITERS["srt"](empty) == ""
    assert json.loads(WRITERS["json"](empty))["text"] == ""
    assert WRITERS["vtt"](empty).startswith("WEBVTT\n")
