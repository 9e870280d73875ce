from nim4asr.hotwords.hints import Hit
from nim4asr.recognition.result import Segment, Transcript, Word


def test_numbers_in_digits_leave_the_words_as_they_were_said() -> None:
    words = (Word("二", 0.0, 0.2, 1.0), Word("十", 0.2, 0.4, 1.0), Word("块", 0.4, 0.6, 1.0))
    said = Transcript(
        "a", 1.0, (Segment(0.0, 1.0, "二十块钱", 0.5, words), Segment(1.0, 2.0, "hello", 0.5)), 0.1
    )
    written = said.with_digits()
    assert written.text == "20块钱hello" and written.segments[0].words == words
    assert said.text == "二十块钱hello"


def test_a_hint_is_used_only_where_it_stands_as_a_name() -> None:
    hints = ("Ann", "Lee", "北京", "Zürich", "5G")
    inside = Segment(0.0, 1.0, "we were planning while he fell asleep", 0.5, hints=hints)
    assert inside.hints_used == () and inside.named == ()
    said = Segment(0.0, 1.0, "ann's friend 去北京 and zurich with 五g", 0.5, hints=hints)
    assert said.hints_used == ("Ann", "北京", "Zürich", "5G")
    assert [said.text[start:end] for start, end in said.named] == ["ann", "北京", "zurich", "五g"]


def test_what_was_heard_is_told_where_it_stands_in_the_text() -> None:
    hit = Hit("Lee", 0.0, 0.3, 1.0, True, 2, 1.0)
    segment = Segment(0.0, 1.0, "sleep lee 去𠀀李", 0.5, hits=(hit,), hints=("李", "Lee"))
    assert segment.named == ((6, 9), (12, 13))


def test_segments_are_joined_by_script() -> None:
    texts = ["we met at the café", "it was late", "他说“好”", "OK", "…then", "fine"]
    segments = tuple(Segment(0.0, 1.0, text, 1.0) for text in texts)
    text = "we met at the café it was late他说“好”OK …then fine"
    assert Transcript("a", 1.0, segments, 0.1).text == text


def test_the_real_time_factor_is_of_what_computing_took() -> None:
    assert Transcript("a", 2.0, (), 0.5).real_time_factor == 0.25
    assert Transcript("a", 0.0, (), 0.5).real_time_factor == 0.0
