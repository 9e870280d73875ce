import os

from nim4asr.processes import on_cores


def place(number: int) -> tuple[int, int]:
    return number, os.getpid()


def test_results_come_in_order_from_other_processes() -> None:
    numbers, processes = zip(*on_cores(place, range(9), 2, chunk=2), strict=True)
    assert numbers == tuple(range(9))
    assert os.getpid() not in processes


def test_what_is_not_worth_a_process_is_done_here() -> None:
    for items, workers, chunk in ((range(9), 1, 2), (range(2), 2, 2), (range(0), None, 1)):
        assert list(on_cores(place, items, workers, chunk)) == [(n, os.getpid()) for n in items]
