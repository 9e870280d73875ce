import json
import re

import pytest

from nim4asr.recognition.alignment import AlignedWord, Alignment, NotFound, Unexpected
from nim4asr.recognition.alignment_writers import FORMATS, write
from nim4asr.recognition.subtitles import SubtitleConfig

TEXT = 'He said "3 km", Привет, not this. 好！'
ALIGNMENT = Alignment(
    "my talk.wav",
    5.0,
    TEXT,
    (
        AlignedWord("He", "He", 0.5, 0.75, 0.9, 0),
        AlignedWord("said", "said", 0.75, 1.0, 0.8, 3),
        AlignedWord("3 km", '"3 km",', 1.25, 2.0, 0.7, 9),
        AlignedWord("Привет", "Привет,", 2.0, 2.0, 0.0, 16),
        AlignedWord("好", "好！", 3.0, 3.5, 0.98765, 34),
    ),
    ((0, 4), (4, 5)),
    (NotFound("not this.", 4, 5, 2.0, 3.0),),
    (Unexpected(3.75, 4.5),),
)


def test_a_word_a_line() -> None:
    assert write(ALIGNMENT, "txt").splitlines() == [
        "0.500\t0.750\tHe", "0.750\t1.000\tsaid", '1.250\t2.000\t"3 km",', "2.000\t2.000\tПривет,",
        "3.000\t3.500\t好！",
    ]  # fmt: skip


def test_ctm_has_six_fields() -> None:
    rows = [line.split(" ") for line in write(ALIGNMENT, "ctm").splitlines()]
    assert rows[2] == ["my_talk", "1", "1.250", "0.750", "3_km", "0.7000"]
    assert [len(row) for row in rows] == [6] * 5 and rows[4][4:] == ["好", "0.9877"]


def test_json_tells_all() -> None:
    row = json.loads(write(ALIGNMENT, "json"))
    assert row["words"][2] == {
        "text": "3 km", "shown": '"3 km",', "start": 1.25, "end": 2.0, "confidence": 0.7, "place": 9
    }  # fmt: skip
    assert all(row["text"][word["place"] :].startswith(word["text"]) for word in row["words"])
    assert row["segments"] == [
        {"start": 0.5, "end": 2.0, "text": 'He said "3 km", Привет,', "words": [0, 4]},
        {"start": 3.0, "end": 3.5, "text": "好！", "words": [4, 5]},
    ]
    assert row["not_found"] == [{"text": "not this.", "first": 4, "last": 5, "start": 2.0, "end": 3.0}]
    assert row["unexpected"] == [{"start": 3.75, "end": 4.5}]
    assert row["warnings"] == [
        "my talk.wav: not said, between 0:02.00 and 0:03.00: not this.",
        "my talk.wav: said, but not in the text: 0:03.75 to 0:04.50",
    ]


def intervals(grid: str, tier: str) -> list[tuple[float, float, str]]:
    part = grid.partition(f'name = "{tier}"')[2].partition("item [")[0]
    found = re.findall(r'xmin = (\S+)\s+xmax = (\S+)\s+text = "(.*)"\n', part)
    assert f"intervals: size = {len(found)}\n" in part
    return [(float(start), float(end), text.replace('""', '"')) for start, end, text in found]


def test_a_textgrid_leaves_nothing_out() -> None:
    grid = write(ALIGNMENT, "textgrid")
    assert grid.startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 5.0')
    for tier in ("segments", "words"):
        found = intervals(grid, tier)
        assert found[0][0] == 0 and found[-1][1] == 5
        assert all(start < end for start, end, _ in found)
        assert [end for _, end, _ in found[:-1]] == [start for start, _, _ in found[1:]]
    words = [text for *_, text in intervals(grid, "words")]
    # A word that takes no time stands in the one before it.
    assert words == ["", "He", "said", "", '"3 km", Привет,', "", "好！", ""]


def test_a_word_without_time_at_the_beginning_stands_in_the_next_one() -> None:
    words = (AlignedWord("Да", "Да", 0.0, 0.0, 0.0, 0), AlignedWord("hi", "hi", 0.0, 1.0, 0.5, 3))
    grid = write(Alignment("", 1.0, "Да hi", words, ((0, 2),)), "textgrid")
    assert intervals(grid, "words") == [(0.0, 1.0, "Да hi")]


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_every_word(format: str) -> None:
    written = write(ALIGNMENT, format).replace('""', '"').replace("3_km", "3 km").replace('\\"', '"')
    assert all(word.text in written for word in ALIGNMENT.words)


def test_subtitles_are_laid_out_as_asked() -> None:
    one = write(ALIGNMENT, "srt", SubtitleConfig(max_line=12, max_lines=1))
    assert one.startswith("1\n00:00:00,") and "-->" in one and one != write(ALIGNMENT, "srt")
    assert write(ALIGNMENT, "vtt").startswith("WEBVTT\n")
