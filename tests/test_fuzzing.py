"""Some of the fuzz job's inputs at every run (``make fuzz`` has them all), and that it would tell."""

import os
import time
from pathlib import Path
from random import Random

from tests.fuzzing import TARGETS, failures

from nim4asr.errors import InputError


def test_bad_input_is_read_or_refused() -> None:
    assert list(failures(90 * len(TARGETS), seed=1)) == []


def refuse(random: Random, folder: Path) -> None:
    raise InputError("no")


def crash(random: Random, folder: Path) -> None:
    os.abort()


def hang(random: Random, folder: Path) -> None:
    time.sleep(60)


def trace(random: Random, folder: Path) -> None:
    raise KeyError("surprise")


def test_crashes_hangs_and_tracebacks_are_told() -> None:
    told = list(failures(4, 0, (refuse, crash, hang, trace), hang_s=1))
    assert [one.partition(",")[0] for one in told] == ["crash", "hang", "trace"]
    assert "ended with -6" in told[0] and "no answer in time" in told[1] and "surprise" in told[2]
