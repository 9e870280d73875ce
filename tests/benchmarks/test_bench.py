"""The small benchmark: what it calls slower, and what it says."""

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, which imports those beside it as a script does, and bounds the threads of its process."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import bench

    return bench


def test_a_measure_is_a_median_and_its_quartiles(bench: Any) -> None:
    measure = bench.Measure.of([1.0, 5.0, 2.0, 4.0, 3.0])
    assert (measure.median, measure.lower, measure.upper, measure.runs) == (3.0, 2.0, 4.0, 5)
    assert measure.spread == 2.0 and bench.Measure.of([7.0]) == bench.Measure(7.0, 7.0, 7.0, 1)


@pytest.mark.parametrize(
    ("last", "now", "slower"),
    [
        ((1.0, 0.99, 1.01), (1.05, 1.04, 1.06), True),
        ((1.0, 0.99, 1.01), (0.9, 0.89, 0.91), False),
        # Within what either of them varies by.
        ((1.0, 0.95, 1.05), (1.08, 1.07, 1.09), False),
        ((1.0, 0.99, 1.01), (1.08, 1.0, 1.1), False),
        # Steady, and too little to speak of.
        ((1.0, 1.0, 1.0), (1.015, 1.015, 1.015), False),
        ((1.0, 1.0, 1.0), (1.025, 1.025, 1.025), True),
    ],
)
def test_slower_is_more_than_the_spread(
    bench: Any, last: tuple[float, ...], now: tuple[float, ...], slower: bool
) -> None:
    assert bench.is_slower(bench.Measure(*last, 5), bench.Measure(*now, 5)) is slower


def test_the_report(bench: Any) -> None:
    def row(machine: str, **medians: float) -> dict[str, Any]:
        measures = {
            name: {"median": value, "lower": value, "upper": value, "runs": 3}
            for name, value in medians.items()
        }
        return {"date": "d", "machine": machine, "python": "3", "onnxruntime": "1", "measures": measures}

    now = row("here", recordings=2.0, live=1.5)
    assert "Nothing has been committed" in bench.report(now, None)
    text = bench.report(now, row("here", recordings=1.6, gone=1.0))
    assert "| recordings | 1.600 | 2.000 | 0.000 | +25.0% |" in text and "| live |  | 1.500 |" in text
    assert "Slower than the last: recordings (+25.0%)." in text and "Not measured now: gone." in text
    assert "elsewhere" not in text
    text = bench.report(now, row("there", live=1.5))
    assert "elsewhere" in text and "Slower than the last: nothing." in text


def test_time_inside_onnxruntime_is_a_share_of_all(bench: Any) -> None:
    from nim4asr.audio.reading import read_audio
    from nim4asr.recognition.offline import Recognizer

    recognizer = Recognizer.load(runtime="onnx")
    clips = [read_audio(ROOT / "tests/clips/zh-2.flac")]
    bench.live(recognizer, clips, 1)
    plain = bench.onnxruntime.InferenceSession.run
    ratio = bench.to_onnxruntime(lambda: bench.live(recognizer, clips, 1))
    assert 1 < ratio < 20 and bench.onnxruntime.InferenceSession.run is plain


def test_a_process_is_measured(bench: Any) -> None:
    seconds, memory = bench.process([sys.executable, "-S", "-c", "print(sum(range(3_000_000)))"])
    # And not with the memory of this process, which is far more.
    assert 0.005 < seconds < 20 and 5 < memory < 40
    with pytest.raises(SystemExit, match="ended with 3"):
        bench.process([sys.executable, "-S", "-c", "raise SystemExit(3)"])


def test_names_are_always_the_same(bench: Any) -> None:
    names = bench.names()
    assert len(names) == len(set(names)) == bench.NAMES and names == bench.names()
