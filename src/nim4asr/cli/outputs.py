"""Where transcripts of files go: one file an audio, and none is written over another audio's."""

import json
import os
from pathlib import Path

from nim4asr.errors import InputError
from nim4asr.files import append_line, locked, mended_log, parse_json, write_atomic, writing

# Which audio each file in the folder is the transcript of, a line of JSON each.
LIST = ".transcripts.jsonl"


class OutputFolder:
    """A folder of transcripts, each under its audio's own name: ``talk.wav`` becomes ``talk.txt``.

    Where that is the transcript of another audio, or a file that is nobody's, it becomes ``talk-2.txt``, and
    stays so: which is whose is kept in ``.transcripts.jsonl``. A transcript of the same audio is replaced.
    """

    def __init__(self, folder: Path, ending: str) -> None:
        self._folder, self._ending = folder, ending
        self._list = folder / LIST
        self._owners: dict[str, str] = {}
        self._read = 0  # so many bytes of the list

    def write(self, audio: str, text: str) -> Path:
        """Write the transcript of ``audio``; returns its path. Raises ``InputError`` if it cannot be
        written.
        """
        source = os.path.abspath(audio)
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        # Whoever writes here at the same time must not take the same name.
        with locked(self._list):
            self._refresh()
            path = self._folder / self._name(Path(audio).stem, source)
            if self._owners.get(path.name) != source:
                append_line(self._list, json.dumps({"file": path.name, "audio": source}) + "\n")
        write_atomic(path, text)
        return path

    def _refresh(self) -> None:
        """Read the list, if it is not as it was."""
        if not self._list.exists() or self._list.stat().st_size == self._read:
            return
        text = mended_log(self._list, "list of transcripts")
        try:
            rows = [parse_json(line) for line in text.splitlines()]
            self._owners = {str(row["file"]): str(row["audio"]) for row in rows}
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{self._list}: this is no list of transcripts; remove it") from None
        self._read = self._list.stat().st_size

    def _name(self, stem: str, source: str) -> str:
        number = 1
        while True:
            name = f"{stem}{'' if number == 1 else f'-{number}'}.{self._ending}"
            owner = self._owners.get(name)
            if owner == source or (owner is None and not (self._folder / name).exists()):
                return name
            number += 1
