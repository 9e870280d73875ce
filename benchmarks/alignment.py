"""How exact are the times of ``nim4asr.align``? On speech of espeak-ng, which tells when it says each word.

    python benchmarks/alignment.py

needs libespeak-ng (``apt install espeak-ng``). Sentences of two languages are said by several voices, each
voice's as one recording with pauses, and aligned with their text. Printed are median and 95th percentile of
the errors of all words' beginnings and ends, and words that were not found. nano was trained on such voices
too; people speak less regularly.
"""

import argparse
import ctypes
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nim4asr.audio.samples import SAMPLE_RATE, Floats, from_array
from nim4asr.errors import InputError
from nim4asr.recognition.alignment import Alignment
from nim4asr.recognition.given_text import given_words
from nim4asr.recognition.offline import Recognizer

PAUSE_S = 0.7
ENGLISH = """
The gardener left his boots beside the kitchen door.
We counted seven boats before the fog came in.
Nobody told me that the library closes early on Fridays.
Her brother plays the violin in a small orchestra.
The train to the coast was late again this morning.
Please put the heavy boxes under the table.
I would rather walk home than wait for the bus.
The soup needs a little more salt and pepper.
Our neighbors are painting their house yellow.
They found an old map behind the wooden wall.
Could you turn the music down a little?
The children built a castle out of snow.
My grandfather still repairs clocks and radios.
The river is too cold for swimming in April.
She wrote her first novel at the age of nineteen.
The meeting has been moved to the third floor.
""".strip().splitlines()
CHINESE = """
昨天晚上下了一场大雨。
他每天早上都去河边跑步。
这家饭馆的面条特别好吃。
请把窗户关上，外面很冷。
我们打算明年去海边旅行。
图书馆里有很多旧报纸。
她正在学习怎样做蛋糕。
火车站离这里只有两公里。
孩子们在院子里放风筝。
老师让我们写一篇文章。
这件衣服的颜色太深了。
爷爷喜欢在树下喝茶。
飞机晚点了三个小时。
他的声音听起来很高兴。
医生说你要多休息。
桌子上放着一杯牛奶。
""".strip().splitlines()
VOICES = (
    ("en-us", 160, ENGLISH),
    ("en-gb+f3", 140, ENGLISH),
    ("en-gb-x-rp+m2", 190, ENGLISH),
    ("cmn-latn-pinyin", 160, CHINESE),
    ("cmn-latn-pinyin+f2", 140, CHINESE),
    ("cmn-latn-pinyin+m4", 190, CHINESE),
)
_WORD, _PHONEME = 1, 7


@dataclass(frozen=True, eq=False)
class Said:
    """A sentence, its samples (N,) at 16 kHz, and when each of its words begins and ends, in seconds."""

    text: str
    samples: Floats
    times: tuple[tuple[float, float], ...]


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


class Espeak:
    """espeak-ng as a library, which tells of words and phonemes as it says them."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libespeak-ng.so.1")
        except OSError:
            raise InputError("libespeak-ng is not installed: apt install espeak-ng") from None
        # Synchronous, with events of phonemes.
        self._rate: int = self._library.espeak_Initialize(2, 0, None, 1)
        self._sound: list[bytes] = []
        self._events: list[tuple[int, float, str]] = []
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
        )
        self._callback = kind(self._take)
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, text: str, voice: str, words_a_minute: int) -> Said | None:
        """``text``, if espeak-ng's words are the text's."""
        self._sound.clear()
        self._events.clear()
        self._library.espeak_SetVoiceByName(voice.encode())
        self._library.espeak_SetParameter(1, words_a_minute, 0)
        said = (_pinyin(text) if voice.startswith("cmn") else text).encode()
        self._library.espeak_Synth(said, len(said) + 1, 0, 1, 0, 1, None, None)
        samples = np.frombuffer(b"".join(self._sound), np.int16)
        times = tuple(self._times())
        if len(times) != len(given_words(text)):
            return None
        return Said(text, from_array(samples, self._rate), times)

    def _take(self, samples: Any, count: int, events: Any) -> int:
        if samples and count:
            self._sound.append(ctypes.string_at(samples, 2 * count))
        number = 0
        while events[number].type:
            event = events[number]
            name = event.id.string.decode("utf-8", "replace") if event.type == _PHONEME else ""
            self._events.append((event.type, event.audio_position / 1000, name))
            number += 1
        return 0

    def _times(self) -> list[tuple[float, float]]:
        """From each word's beginning to that of the next word, or of a pause."""
        times: list[tuple[float, float]] = []
        begin: float | None = None
        sounded = False
        for kind, at, name in self._events:
            ends = kind == _WORD or (kind == _PHONEME and name.startswith("_"))
            if ends and begin is not None and sounded:
                times.append((begin, at))
                begin = None
            if kind == _WORD:
                begin, sounded = at, False
            sounded |= kind == _PHONEME and not name.startswith("_")
        return times


def _pinyin(text: str) -> str:
    from pypinyin import Style, lazy_pinyin

    return " ".join(lazy_pinyin(text, Style.TONE3, neutral_tone_with_five=True, errors=lambda other: " , "))


def recording(sentences: Sequence[Said]) -> tuple[Floats, str, list[tuple[float, float]]]:
    """The sentences one after another, their text, and the times of all words."""
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32)
    parts: list[Floats] = [pause]
    times: list[tuple[float, float]] = []
    for one in sentences:
        at = sum(map(len, parts)) / SAMPLE_RATE
        times += [(at + start, at + end) for start, end in one.times]
        parts += [one.samples, pause]
    return np.concatenate(parts), "\n".join(one.text for one in sentences), times


def errors(found: Alignment, text: str, times: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """What each word's beginning and end are too late, in seconds, of those that were found."""
    number = {word.start: place for place, word in enumerate(given_words(text))}
    return [
        (word.start - times[number[word.place]][0], word.end - times[number[word.place]][1])
        for word in found.words
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Errors of word times on synthetic speech.")
    parser.add_argument("--model", help="model folder (default: bundled nano)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the figures as JSON")
    options = parser.parse_args()
    recognizer, espeak = Recognizer.load(options.model), Espeak()
    rows: dict[str, dict[str, float]] = {}
    for language, sentences in (("en", ENGLISH), ("zh", CHINESE)):
        late: list[tuple[float, float]] = []
        words = 0
        seconds = 0.0
        for voice, rate, texts in VOICES:
            if texts is not sentences:
                continue
            said = [one for text in texts if (one := espeak.say(text, voice, rate)) is not None]
            samples, text, times = recording(said)
            found = recognizer.align(samples, text, sample_rate=SAMPLE_RATE)
            late += errors(found, text, times)
            words += len(times)
            seconds += len(samples) / SAMPLE_RATE
        begins, ends = np.array(late).T
        whole = np.abs(np.concatenate([begins, ends]))
        rows[language] = {
            "minutes": round(seconds / 60, 1),
            "words": words,
            "not_found": words - len(late),
            "median_s": round(float(np.median(whole)), 3),
            "p95_s": round(float(np.percentile(whole, 95)), 3),
            "begins_late_s": round(float(np.median(begins)), 3),
            "ends_late_s": round(float(np.median(ends)), 3),
        }
        print(language, rows[language])
    if options.output is not None:
        options.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
