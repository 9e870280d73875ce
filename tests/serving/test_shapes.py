"""Transcripts as OpenAI's rows."""

import math

import pytest

from nim4asr.hotwords.hints import Hit
from nim4asr.recognition.result import Segment, Token, Transcript
from nim4asr.serving.shapes import language_of, logprob_rows, segment_row, usage, verbose_row

EMPTY = Transcript("", 1.2, (), 0.1)


def test_a_segment_has_all_fields_that_the_clients_require() -> None:
    row = segment_row(Segment(1.0, 2.5, "hello", 0.5), 3)
    required = (
        "id seek start end text tokens temperature avg_logprob compression_ratio no_speech_prob".split()
    )
    assert list(row) == required
    assert row["avg_logprob"] == pytest.approx(math.log(0.5), abs=1e-6) and row["no_speech_prob"] == 0.0


def test_a_segment_without_text_has_finite_numbers() -> None:
    row = segment_row(Segment(0.0, 0.1, "", 0.0), 0)
    assert row["avg_logprob"] == -100.0 and row["compression_ratio"] == 0.0 and row["no_speech_prob"] == 1.0


def test_names_that_were_heard_are_told() -> None:
    hit = Hit("NIO", 0.2, 0.6, 1.0, True, 4, 2.0)
    row = segment_row(Segment(0.0, 1.0, "my nio", 0.5, hits=(hit,), hints=("NIO",)), 0)
    assert row["hits"] == [{"text": "NIO", "start": 0.2, "end": 0.6}] and row["hints_used"] == ["NIO"]
    assert row["names_at"] == [[3, 6]]


def test_nothing_said() -> None:
    row = verbose_row(EMPTY, ("segment", "word"))
    assert (row["text"], row["segments"], row["words"]) == ("", [], []) and usage(EMPTY)["seconds"] == 2


def test_log_probabilities_are_finite_and_bytes_are_utf_8() -> None:
    (row,) = logprob_rows([Token("我", -math.inf)])
    assert row == {"token": "我", "bytes": [0xE6, 0x88, 0x91], "logprob": -100.0}


def test_languages_are_told_by_script() -> None:
    assert language_of("我用iPhone") == "chinese" and language_of("hello") == "english"
