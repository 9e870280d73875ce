"""The log of a stage: its rows, and where it goes on after a cut."""

from pathlib import Path

from nim4asr.training.loop.metrics import MetricsLog, read_log


def test_rows_hold_six_digits_behind_the_point(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.write(3, {"loss": 1.23456789, "learning_rate": 1e-9})
    log.close()
    assert list(read_log(tmp_path)) == [{"step": 3, "loss": 1.234568, "learning_rate": 0.0}]


def test_rows_past_the_state_that_is_taken_up_are_taken_out(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for step in (10, 20, 30):
        log.write(step, {"loss": 1.0})
    log.close()
    MetricsLog(tmp_path, start=20).close()
    assert [row["step"] for row in read_log(tmp_path)] == [10, 20]
