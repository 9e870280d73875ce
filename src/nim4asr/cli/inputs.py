"""What a job is given: files, folders, standard input."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nim4asr.audio.folders import sound_files
from nim4asr.cli.outputs import STDIN
from nim4asr.errors import InputError


@dataclass(frozen=True)
class JobInput:
    """An audio by its path or ``-``; ``under`` is its folder within the one that was given, ``size`` in
    bytes.
    """

    audio: str
    under: Path = Path()
    size: int = 0


def job_inputs(given: Sequence[str], recursive: bool) -> list[JobInput]:
    """The audios of a job, those of folders in the order of their names. Raises ``InputError`` if standard
    input is given more than once.
    """
    if given.count(STDIN) > 1:
        raise InputError("standard input (-) can be read once; give it once")
    inputs: list[JobInput] = []
    for audio in given:
        if recursive and audio != STDIN and os.path.isdir(audio):
            inputs += [
                JobInput(str(path), path.parent.relative_to(audio), _size(path))
                for path in sound_files(audio)
            ]
        else:
            inputs.append(JobInput(audio, size=0 if audio == STDIN else _size(Path(audio))))
    if given and not inputs:
        raise InputError(f"{', '.join(given)}: there is no audio file in it")
    return inputs


def read_stdin() -> bytes:
    """All of standard input. Raises ``InputError`` if it is a terminal, or closed."""
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError("-: standard input is a terminal; send it a file: nim4 transcribe - < talk.mp3")
    return sys.stdin.buffer.read()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        # Why it cannot be read is told when it is.
        return 0
