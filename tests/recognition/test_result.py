from nim4asr.recognition.result import Segment, Transcript, Word


def test_numbers_in_digits_leave_the_words_as_they_were_said() -> None:
    words = (Word("二", 0.0, 0.2, 1.0), Word("十", 0.2, 0.4, 1.0), Word("块", 0.4, 0.6, 1.0))
    said = Transcript(
        "a", 1.0, (Segment(0.0, 1.0, "二十块钱", 0.5, words), Segment(1.0, 2.0, "hello", 0.5)), 0.1
    )
    written = said.with_digits()
    assert written.text == "20块钱hello" and written.segments[0].words == words
    assert said.text == "二十块钱hello"
