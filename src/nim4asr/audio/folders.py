"""Which files of a folder are sound."""

import os
from collections.abc import Iterator
from pathlib import Path

# Files of a folder that are taken for sound, by their names; whatever its name, a file that is given is read.
SUFFIXES = frozenset(
    ".wav .wave .w64 .rf64 .aif .aiff .aifc .au .snd .caf .flac .mp3 .mp2 .ogg .oga .opus .spx .m4a .m4b .mp4"
    " .m4v .mov .aac .webm .mkv .mka".split()
)


def sound_files(folder: str | Path, suffixes: frozenset[str] = SUFFIXES) -> Iterator[Path]:
    """The audio files in ``folder`` and in all folders in it, in the order of their names; hidden ones are
    left out.
    """
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
                yield Path(place, name)
