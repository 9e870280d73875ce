import json

from nim4asr.recognition.result import Alternative, Segment, Transcript, Word
from nim4asr.recognition.subtitles import SubtitleConfig
from nim4asr.recognition.writers import write

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
    assert write(TRANSCRIPT, "txt") == "hello <b> world\n"


def test_json_is_one_line_with_everything() -> None:
    line = write(TRANSCRIPT, "json")
    assert line.count("\n") == 1
    row = json.loads(line)
    whole = {"audio", "duration", "text", "language", "segments", "phonemes", "real_time_factor", "warnings"}
    assert set(row) == whole and row["language"] == "en"
    parts = {"start", "end", "text", "language", "confidence", "words", "hits", "hints", "hints_used"}
    parts.add("alternatives")
    assert set(row["segments"][0]) == parts
    assert row["segments"][0]["words"] == [{"text": "hello", "start": 0.5, "end": 1.0, "confidence": 0.8}]
    assert row["phonemes"] == "HH AH W"


def test_srt() -> None:
    assert write(TRANSCRIPT, "srt") == (
        "1\n00:00:00,500 --> 00:00:01,500\nhello <b>\n\n2\n01:01:01,000 --> 01:01:02,000\nworld\n"
    )


def test_vtt_escapes() -> None:
    text = write(TRANSCRIPT, "vtt")
    assert text.startswith("WEBVTT\n\n00:00:00.500 --> 00:00:01.500\nhello &lt;b&gt;\n")


def test_chinese_segments_join_without_space() -> None:
    segments = (Segment(0, 1, "你好", 1.0), Segment(1, 2, "世界", 1.0), Segment(2, 3, "ok", 1.0))
    assert Transcript("", 3.0, segments, 0.0).text == "你好世界ok"


def test_nothing_said() -> None:
    empty = Transcript("quiet.wav", 1.0, (), 0.0)
    assert write(empty, "txt") == "\n"
    assert write(empty, "srt") == ""
    assert json.loads(write(empty, "json"))["text"] == ""
    assert write(empty, "vtt").startswith("WEBVTT\n")


def test_vtt_says_when_each_word_is_said() -> None:
    words = (Word("it's", 0.5, 0.9, 0.8), Word("好", 0.9, 1.2, 0.8), Word("a", 1.2, 1.4, 0.8))
    said = Transcript("", 2.0, (Segment(0.5, 1.5, "it's 好, <a>", 0.9, words),), 0.0)
    assert write(said, "vtt", SubtitleConfig(highlight_words=True)) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\n"
        "<c>it's</c> <00:00:00.900><c>好,</c> <00:00:01.200><c>&lt;a&gt;</c>\n"
    )


def test_channels() -> None:
    """A line a turn, a voice a channel; no cue holds words of two channels."""
    call = Transcript(
        "call.wav",
        6.0,
        (
            Segment(0.0, 1.5, "good morning", 0.9, channel=1),
            Segment(1.6, 2.9, "hello", 0.9, channel=2),
            Segment(3.0, 3.9, "who is", 0.9, channel=2),
            Segment(3.2, 4.0, "", 0.9, channel=1),
            Segment(3.5, 5.5, "me", 0.9, channel=1),
        ),
        1.0,
    )
    assert write(call, "txt") == "[1] good morning\n[2] hello who is\n[1] me\n"
    assert [row["channel"] for row in json.loads(write(call, "json"))["segments"]] == [1, 2, 2, 1, 1]
    texts = [block.split("\n", 2)[2].strip() for block in write(call, "srt").split("\n\n")]
    assert texts == ["[1] good morning", "[2] hello who is", "[1] me"]
    voices = [line for line in write(call, "vtt").splitlines() if line.startswith("<v")]
    assert voices == ["<v Channel 1>good morning", "<v Channel 2>hello who is", "<v Channel 1>me"]


def test_a_transcript_writes_itself() -> None:
    one_line = SubtitleConfig(max_lines=1, max_line=10)
    assert TRANSCRIPT.to_text() == write(TRANSCRIPT, "txt")
    assert TRANSCRIPT.to_json() == write(TRANSCRIPT, "json")
    assert TRANSCRIPT.to_srt() == write(TRANSCRIPT, "srt")
    assert TRANSCRIPT.to_vtt(one_line) == write(TRANSCRIPT, "vtt", one_line)
    long = Transcript("", 4.0, (Segment(0.0, 4.0, "one two three four", 1.0),), 0.0)
    assert long.to_srt(one_line) != long.to_srt()


def test_alternatives_in_json_and_in_digits() -> None:
    texts = (("it is twenty", 0.5, -1.0), ("it is 20", 0.25, -2.0), ("it is plenty", 0.125, -3.00004))
    alternatives = tuple(Alternative(*one) for one in texts)
    said = Transcript("", 1.0, (Segment(0, 1, "it is twenty", 0.5, alternatives=alternatives),), 0.0)
    (row,) = json.loads(write(said, "json"))["segments"]
    assert row["alternatives"][0] == {"text": "it is twenty", "confidence": 0.5, "score": -1.0}
    assert [one["score"] for one in row["alternatives"]] == [-1.0, -2.0, -3.0]
    (segment,) = said.with_digits().segments
    # Those that are written alike are one.
    assert [(one.text, one.score) for one in segment.alternatives] == [
        ("it is 20", -1.0), ("it is plenty", -3.00004)
    ]  # fmt: skip
    assert segment.text == "it is 20"
