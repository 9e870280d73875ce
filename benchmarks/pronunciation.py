"""How many Chinese names a second are pronounced on one core.

    python benchmarks/pronunciation.py [NAMES]

NAMES is a text file of names, one a line, gzipped or not; names with anything but Chinese characters are
left out. Without it, the phrases of pypinyin's dictionary serve, which are harder: every one is a phrase to
look up. Prints JSON: the median of seven passes, each with cold caches of our own, with the machine and the
date; beside it, in the same run, pypinyin alone.
"""

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from nim4asr.data.preparation import read_texts
from nim4asr.phonemes import mandarin

MOST_NAMES = 20_000


def names() -> list[str]:
    """Evenly spaced names of the file, or phrases of the dictionary."""
    if len(sys.argv) > 1:
        found = read_texts(Path(sys.argv[1]))
    else:
        from pypinyin.constants import PHRASES_DICT

        found = sorted(PHRASES_DICT)
    chinese = [name for name in found if all(map(mandarin.is_han, name))]
    return chinese[:: max(1, len(chinese) // MOST_NAMES)]


def rate(pronounce: Callable[[str], object], texts: Sequence[str]) -> float:
    """Texts a second, the median of seven passes."""
    times = []
    for _ in range(7):
        mandarin.character_readings.cache_clear()
        mandarin.syllable.cache_clear()
        began = time.perf_counter()
        for text in texts:
            pronounce(text)
        times.append(time.perf_counter() - began)
    return len(texts) / statistics.median(times)


def main() -> None:
    from pypinyin import Style, lazy_pinyin

    texts = names()
    mandarin.read("预热")
    row = {
        "names": len(texts),
        "names_per_second": round(rate(mandarin.read, texts)),
        "pypinyin_alone": round(rate(lambda text: lazy_pinyin(text, style=Style.TONE3), texts)),
        "machine": f"{platform.processor() or platform.machine()}, one core",
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
