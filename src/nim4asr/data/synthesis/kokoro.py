"""Kokoro 82M (Apache-2.0): natural voices, Mandarin and English, by its graph for onnxruntime.

A folder holds the graph (``*.onnx``: inputs ``input_ids``, ``style`` and ``speed``), its symbols
(``tokenizer.json``) and the voices (``voices/NAME.bin``: a style of 256 numbers for each number of symbols,
as float32). Styles of two voices mixed are a third voice.

Chinese is written in its symbols by misaki (``pip install 'nim4asr[synthesis]'``), English by espeak-ng.
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.errors import InputError
from nim4asr.files import parse_json, read_text, reason

if TYPE_CHECKING:
    import onnxruntime

_RATE = 24_000
_STYLE = 256
_BOUNDARY = "$"
# Names of voices begin with the language's letter: a and b are American and British, z is Mandarin.
_LANGUAGES = {"a": "en", "b": "en", "z": "zh"}
# espeak-ng's IPA, its diphthongs and affricates tied by ^, in Kokoro's symbols for American English: to be
# replaced in this order.
_SYMBOLS = {
    "a^ɪ": "I", "a^ʊ": "W", "e^ɪ": "A", "o^ʊ": "O", "ɔ^ɪ": "Y", "d^ʒ": "ʤ", "t^ʃ": "ʧ", "ə^l": "ᵊl",
    "ɚ": "əɹ", "ɜːɹ": "ɜɹ", "ɜː": "ɜɹ", "ɐ": "ə", "r": "ɹ", "ɾ": "T", "ʔ": "t", "x": "k", "ː": "", "^": "",
}  # fmt: skip


@dataclass(frozen=True)
class KokoroVoice:
    """A voice, or a mixture of two: ``share`` of ``other``'s style in it; ``speed`` 1 is as it was made."""

    name: str
    other: str | None = None
    share: float = 0.0
    speed: float = 1.0

    def __str__(self) -> str:
        return self.name if self.other is None else f"{self.name}+{self.share:.1f}*{self.other}"


class Kokoro:
    """The synthesizer in ``folder``. Raises ``InputError`` if it is not there or cannot be read."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self._folder = folder
        graphs = sorted(folder.glob("*.onnx"))
        if not graphs:
            raise InputError(
                f"{folder}: no Kokoro is here; it needs a graph (.onnx), tokenizer.json and voices/"
            )
        self._graph, self._threads = graphs[0], threads
        self._names = sorted(path.stem for path in (folder / "voices").glob("*.bin"))
        self._loaded_styles: dict[str, Floats] = {}
        if not any(self.voices(language) for language in ("zh", "en")):
            raise InputError(f"{folder / 'voices'}: no voice of Kokoro is here (NAME.bin)")

    def voices(self, language: str) -> list[str]:
        """The names of the voices of ``language``, ``zh`` or ``en``."""
        return [name for name in self._names if _LANGUAGES.get(name[:1]) == language]

    def require(self, language: str) -> None:
        """Raise ``InputError`` if nothing in ``language`` could be said: no voice is here, a file cannot be
        read, or what writes the language in symbols is not installed.
        """
        for name in self._some_voices(language):
            self._styles(name)
        _ = self._ids, self._session
        if language == "zh":
            _chinese()
        else:
            _require_espeak()

    def draw_voice(self, language: str, random: Random, mixed_share: float = 0.5) -> KokoroVoice:
        """A voice for ``language``, ``mixed_share`` of the time a mixture of two, at 0.8 to 1.25 its speed.

        Raises ``InputError`` if there is none.
        """
        names = self._some_voices(language)
        speed = round(random.uniform(0.8, 1.25), 2)
        if len(names) > 1 and random.random() < mixed_share:
            name, other = random.sample(names, 2)
            return KokoroVoice(name, other, round(random.uniform(0.2, 0.8), 1), speed)
        return KokoroVoice(random.choice(names), speed=speed)

    def say(self, text: str, language: str, random: Random) -> tuple[str, Floats]:
        """``text`` by a voice that is drawn: its name and the samples, as ``synthesize`` gives them."""
        voice = self.draw_voice(language, random)
        return str(voice), self.synthesize(text, language, voice)

    def synthesize(self, text: str, language: str, voice: KokoroVoice) -> Floats:
        """``text`` said by ``voice``: samples (N,), 16 kHz mono in [-1, 1].

        Raises ``InputError`` if it cannot be said: nothing in it has a sound, it is too long, there is no
        such voice, or what writes it in symbols is not installed.
        """
        import soxr

        symbols = [symbol for symbol in _symbols(text, language) if symbol in self._ids]
        styles = self._styles(voice.name)
        if not any(symbol.isalpha() for symbol in symbols):
            raise InputError(f"{text!r}: nothing in it has a sound")
        if len(symbols) >= len(styles):
            raise InputError(f"{text[:40]!r}...: {len(symbols)} sounds are too many to say at once")
        style = styles[len(symbols)]
        if voice.other is not None:
            style = (1 - voice.share) * style + voice.share * self._styles(voice.other)[len(symbols)]
        end = self._ids[_BOUNDARY]
        ids = [end, *(self._ids[symbol] for symbol in symbols), end]
        (sound,) = self._session.run(
            None,
            {
                "input_ids": np.array([ids], np.int64),
                "style": style[None].astype(np.float32),
                "speed": np.array([voice.speed], np.float32),
            },
        )
        samples = soxr.resample(np.asarray(sound, np.float32).reshape(-1), _RATE, SAMPLE_RATE)
        clipped: Floats = np.clip(samples, -1.0, 1.0).astype(np.float32)
        return clipped

    def _some_voices(self, language: str) -> list[str]:
        names = self.voices(language)
        if not names:
            raise InputError(f"{self._folder}: Kokoro has no voice here for {language!r}")
        return names

    @cached_property
    def _ids(self) -> dict[str, int]:
        path = self._folder / "tokenizer.json"
        try:
            ids: dict[str, int] = parse_json(read_text(path))["model"]["vocab"]
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}: these are no symbols of Kokoro") from None
        return ids

    def _styles(self, name: str) -> Floats:
        """The styles (symbols, 256) of a voice."""
        if name not in self._loaded_styles:
            path = self._folder / "voices" / f"{name}.bin"
            try:
                self._loaded_styles[name] = np.fromfile(path, np.float32).reshape(-1, _STYLE)
            except (OSError, ValueError) as error:
                raise InputError(f"{path}: the voice cannot be read ({reason(error)})") from None
        return self._loaded_styles[name]

    @cached_property
    def _session(self) -> "onnxruntime.InferenceSession":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(str(self._graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # Its errors have no common class.
            raise InputError(f"{self._graph}: the graph cannot be loaded ({reason(error)})") from None


def _symbols(text: str, language: str) -> str:
    return _chinese()(text) if language == "zh" else _english(text)


@cache
def _chinese() -> Callable[[str], str]:
    try:
        from misaki.zh import ZHG2P
    except ModuleNotFoundError:
        raise InputError(
            "Kokoro's Chinese needs misaki, which is not installed: pip install 'nim4asr[synthesis]'"
        ) from None
    write = ZHG2P()
    return lambda text: str(write(text)[0])


def _english(text: str) -> str:
    """The symbols of an English text, by espeak-ng's American English; marks at ends of clauses are kept."""
    _require_espeak()
    # espeak-ng ends a line at each clause, and leaves its mark out.
    clauses = [part.strip() for part in re.split(r"([.,;:!?]+)\s", text + " ")]
    written = []
    for clause, mark in zip(clauses[::2], [*clauses[1::2], ""], strict=False):
        if clause:
            written.append(" ".join(_espeak_ipa(clause).split()) + mark[:1])
    return " ".join(written)


def _require_espeak() -> None:
    if shutil.which("espeak-ng") is None:
        raise InputError("espeak-ng is not installed; Kokoro's English needs it")


def _espeak_ipa(text: str) -> str:
    command = ["espeak-ng", "-q", "--ipa", "--tie=^", "-v", "en-us", "--", text]
    try:
        ipa = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout.decode()
    except subprocess.SubprocessError as error:
        raise InputError(f"espeak-ng could not read {text!r} ({error})") from None
    for theirs, ours in _SYMBOLS.items():
        ipa = ipa.replace(theirs, ours)
    return ipa
