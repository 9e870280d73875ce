"""Synthetic speech, from the synthesizers a Debian system installs: espeak-ng and flite.

Chinese is handed to espeak-ng as pinyin, so that it says just the phonemes the text is labeled with.
"""

import shutil
import subprocess
from dataclasses import dataclass
from random import Random
from typing import Literal

import numpy as np

from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import Floats
from nim4asr.errors import InputError
from nim4asr.files import temporary_folder

_ESPEAK_VARIANTS = """
    Alex Alicia Andrea Andy Annie Denis Diogo Gene Henrique Hugo Jacky Lee Marco Mario Michael Mike Mr
    adam anika announcer antonio aunty belinda benjamin boris caleb david ed edward f1 f2 f3 f4 f5
    gustave iven iven2 john kaukovalta linda m1 m2 m3 m4 m5 m6 m7 m8 max michel miguel norbert pablo
    paul pedro quincy rob robert sandro shelby steph steph2 travis victor zac
""".split()
_ESPEAK_ENGLISH = ("en-us", "en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029")
_FLITE_ENGLISH = ("kal16", "awb", "rms", "slt")


@dataclass(frozen=True)
class Voice:
    """One way to say a sentence: the program, its voice, words a minute, pitch (0 to 99)."""

    program: Literal["espeak-ng", "flite"]
    name: str
    rate: int = 160
    pitch: int = 50


def draw_voice(language: str, random: Random) -> Voice:
    """A voice for ``language`` (``zh`` or ``en``), drawn with its rate and pitch."""
    rate, pitch = random.randint(105, 210), random.randint(15, 85)
    if language == "zh":
        return Voice("espeak-ng", f"cmn-latn-pinyin+{random.choice(_ESPEAK_VARIANTS)}", rate, pitch)
    if random.random() < 0.5:
        return Voice("flite", random.choice(_FLITE_ENGLISH), rate)
    accent, variant = random.choice(_ESPEAK_ENGLISH), random.choice(_ESPEAK_VARIANTS)
    return Voice("espeak-ng", f"{accent}+{variant}", rate, pitch)


def available() -> bool:
    """Whether both synthesizers are installed."""
    return all(shutil.which(program) for program in ("espeak-ng", "flite"))


def synthesize(text: str, voice: Voice) -> Floats:
    """``text`` said by ``voice``: samples (N,), 16 kHz mono in [-1, 1].

    Raises ``InputError`` if the synthesizer is not installed or fails.
    """
    with temporary_folder() as folder:
        wav = folder / "speech.wav"
        if voice.program == "flite":
            stretch = f"duration_stretch={160 / voice.rate:.2f}"
            command = ["flite", "-voice", voice.name, "--setf", stretch, "-t", text, "-o", str(wav)]
        else:
            said = _as_pinyin(text) if voice.name.startswith("cmn") else text
            command = ["espeak-ng", "-v", voice.name, "-s", str(voice.rate)]
            command += ["-p", str(voice.pitch), "-w", str(wav), "--", said]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        except FileNotFoundError:
            raise InputError(
                f"{voice.program} is not installed; synthetic speech needs espeak-ng and flite"
            ) from None
        except subprocess.SubprocessError as error:
            raise InputError(f"{voice.program} could not say {text!r} ({error})") from None
        samples = read_audio(wav)
    peak = float(np.abs(samples).max(initial=0.0))
    return samples * np.float32(0.5 / peak) if peak > 0 else samples


class Programs:
    """espeak-ng and flite as the speakers of a corpus (``nim4asr.data.synthesis.corpus``)."""

    def say(self, text: str, language: str, random: Random) -> tuple[str, Floats]:
        """``text`` by a voice that is drawn: its name and the samples, as ``synthesize`` gives them."""
        voice = draw_voice(language, random)
        return f"{voice.program}/{voice.name}", synthesize(text, voice)


def _as_pinyin(text: str) -> str:
    from pypinyin import Style, lazy_pinyin

    syllables = lazy_pinyin(
        text,
        style=Style.TONE3,
        neutral_tone_with_five=True,
        errors=lambda other: " , ",
    )
    return " ".join(syllables)
