import pytest

from nim4asr.cli.progress import progress, progress_in_lines


def test_a_log_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress_in_lines(iter("abc"), "rl", 8, 5, seconds=0.0)) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == [f"rl: {done} of 8, 00:00 left" for done in (6, 7, 8)]


def test_a_log_is_not_flooded(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress_in_lines(range(1000), "rl", 2000)) == list(range(1000))
    assert capsys.readouterr().err == ""


def test_a_pipe_gets_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(3), "decoding", 3)) == [0, 1, 2]
    assert capsys.readouterr().err == ""
