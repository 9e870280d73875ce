"""FunASR's WebSocket protocol.

A JSON row with the settings, binary messages of sound, a JSON row with ``is_speaking: false`` at the end;
then the next recording may follow. In the modes ``2pass`` and ``online`` the sound is 16-bit PCM, and the
answers are rows of ``2pass-online`` with what the text grew by and ``2pass-offline`` with a segment's final
text. In the mode ``offline``, and for any ``wav_format`` but bare samples, the sound is a recording of any
format, and one row has its whole text. The last of these has ``is_final``, and one row more ``is_end``.

Its clients offer the subprotocol ``binary``.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.errors import InputError
from nim4asr.hotwords.names import names_in
from nim4asr.recognition.events import Event, Failed, Final, Partial
from nim4asr.recognition.result import Segment
from nim4asr.serving.admission import Place
from nim4asr.serving.errors import ApiError
from nim4asr.serving.formats import RATES
from nim4asr.serving.json_text import parsed_object, written
from nim4asr.serving.live import LiveConnection, LiveProtocol
from nim4asr.serving.reading import RecordingOptions
from nim4asr.serving.recordings import Recognition, Spool, recording_place, wav_header
from nim4asr.serving.state import State

SUBPROTOCOL = "binary"
# Formats that are the samples themselves; with ``wav`` a header may come before them.
_BARE = ("pcm", "wav")
_MODES = ("2pass", "online", "offline")
_LONGEST_NAME = 1000
# A client that is ahead of its own speech by so much sends a file, and is in no hurry for its rows.
_AHEAD_S = 0.5


class FunAsr(LiveProtocol):
    """A client in any of the three modes."""

    name = "funasr"

    def __init__(self, state: State, place: Place, connection: LiveConnection[str | bytes]) -> None:
        self._state, self._place, self._connection = state, place, connection
        self._settings: dict[str, Any] = {}
        self._generation = 0
        self._live = False
        self._began = self._seconds = 0.0
        # What was sent of the open segment, and a final that waits to be the last.
        self._shown = ""
        self._held: dict[str, Any] | None = None
        self._ending = False
        self._recording: _Recording | None = None
        self._answering = False

    async def converse(self) -> None:
        """One recording after another, each begun by ``is_speaking: true`` and ended by false."""
        while True:
            message = await self._connection.receive()
            if isinstance(message, bytes):
                await self._sound(message)
                continue
            row = _checked(parsed_object(message))
            self._settings |= row
            if row.get("is_speaking") is False:
                await self.conclude()

    async def conclude(self) -> None:
        if self._answering:
            # The server ends while it recognizes a recording: no text would be as if nothing were said in it.
            return
        if self._recording is not None:
            recording, self._recording = self._recording, None
            self._answering = True
            self._end(await self._recorded(recording))
            self._answering = False
            return
        self._ending = True
        await self._connection.finish()
        mode = self._settings.get("mode", "2pass")
        self._end(self._held or {**self._common(_mode_of_finals(mode)), "text": "", "timestamp": "[]"})
        self._held, self._live, self._ending = None, False, False

    def _end(self, last: dict[str, Any]) -> None:
        """The row of the last text, and the one that says that it was. Some clients read no further than
        ``is_final``, and some wait for ``is_end``; to the first kind, the second row is an error that is
        none.
        """
        self._connection.post(written({**last, "is_final": True}))
        end = {**self._common(last["mode"]), "text": "", "is_final": True, "is_end": True, "error": None}
        self._connection.post(written(end))

    def drop(self) -> None:
        if self._recording is not None:
            self._recording.drop()

    def rows(self, generation: int, events: Sequence[Event]) -> Iterator[str]:
        for event in events:
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Partial):
                if (row := self._grown(event.stable)) is not None:
                    yield written(row)
            elif isinstance(event, Final):
                self._shown = ""
                if event.segment.text:
                    yield from self._final(event.segment)

    def error(self, error: ApiError) -> str:
        return written({"error": error.message, "is_final": False, "is_end": True})

    async def _sound(self, data: bytes) -> None:
        if self._recording is None and not self._live:
            kind = str(self._settings.get("wav_format", "pcm")).lower()
            if self._settings.get("mode") == "offline" or kind not in _BARE:
                self._recording = _Recording(self._state, self._place)
                if kind == "pcm" or (kind == "wav" and not data.startswith(b"RIFF")):
                    await self._recording.spool.write(wav_header(self._rate))
            else:
                await self._open()
        if self._recording is not None:
            await self._recording.spool.write(data)
            return
        if len(data) % 2:
            raise InputError("expected 16-bit samples")
        self._seconds += len(data) / 2 / self._rate
        await self._connection.feed(data)

    @property
    def _rate(self) -> int:
        rate = self._settings.get("audio_fs", SAMPLE_RATE)
        assert isinstance(rate, int)
        return rate

    async def _open(self) -> None:
        self._generation += 1
        self._shown, self._held = "", None
        self._began, self._seconds = time.monotonic(), 0.0
        await self._connection.open(
            self._generation, sample_rate=self._rate, names=_hotwords(self._settings.get("hotwords"))
        )
        self._live = True

    async def _recorded(self, recording: "_Recording") -> dict[str, Any]:
        """The row of a recording."""
        try:
            hints, index = await self._state.chosen(None, _hotwords(self._settings.get("hotwords")))
        except BaseException:
            recording.drop()
            raise
        options = RecordingOptions(hints, index)
        recognition = await Recognition.begin(self._state, recording.place, recording.spool, options)
        transcript = await recognition.transcript()
        words = [word for segment in transcript.segments for word in segment.words]
        times = [[round(word.start * 1000), round(word.end * 1000)] for word in words]
        mode = _mode_of_finals(self._settings.get("mode", "2pass"))
        return {**self._common(mode), "text": transcript.text, "timestamp": json.dumps(times)}

    def _grown(self, text: str) -> dict[str, Any] | None:
        if not text.startswith(self._shown) or text == self._shown:
            return None
        grown, self._shown = text[len(self._shown) :], text
        return {**self._common("2pass-online"), "text": grown, "is_final": False}

    def _final(self, segment: Segment) -> Iterator[str]:
        """The row of a final; the last one is to have both the text and ``is_final``: some clients read no
        further, and take the text of that row. Of a file each is held until the next comes; live speech waits
        for nothing.
        """
        if self._held is not None:
            yield written(self._held)
            self._held = None
        times = [[round(word.start * 1000), round(word.end * 1000)] for word in segment.words]
        row = {
            **self._common("2pass-offline"),
            "text": segment.text,
            "timestamp": json.dumps(times),
            "is_final": False,
        }
        if self._ending or self._seconds - (time.monotonic() - self._began) > _AHEAD_S:
            self._held = row
        else:
            yield written(row)

    def _common(self, mode: str) -> dict[str, Any]:
        return {"mode": mode, "wav_name": self._settings.get("wav_name", "")}


class _Recording:
    """A recording that is being received."""

    def __init__(self, state: State, place: Place) -> None:
        self.place = recording_place(state, place.client)
        self.spool = Spool(state.config.max_upload_bytes)

    def drop(self) -> None:
        self.place.release()
        self.spool.close()


def _mode_of_finals(mode: str) -> str:
    return "offline" if mode == "offline" else "2pass-offline"


def _checked(row: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in ``row``. Raises ``InputError`` for values that cannot be; what is not known here is
    left alone.
    """
    rate = row.get("audio_fs", SAMPLE_RATE)
    if type(rate) is not int or rate not in RATES:
        raise InputError(f"audio_fs is a sample rate, expected {RATES[0]} to {RATES[-1]} Hz")
    if row.get("mode", "2pass") not in _MODES:
        raise InputError(f"mode: expected one of {', '.join(_MODES)}")
    for name in ("wav_name", "wav_format"):
        value = row.get(name, "")
        if not isinstance(value, str) or len(value) > _LONGEST_NAME:
            raise InputError(f"{name}: expected a text of at most {_LONGEST_NAME} characters")
    if not isinstance(row.get("is_speaking", True), bool):
        raise InputError("is_speaking: expected true or false")
    return dict(row)


def _hotwords(given: object) -> list[str]:
    """The names of FunASR's field: a JSON object of weights, as such or as a string, or words with commas or
    spaces.
    """
    if isinstance(given, dict):
        return [str(name) for name in given]
    if not isinstance(given, str) or not given.strip():
        return []
    try:
        return [str(name) for name in parsed_object(given)]
    except ApiError:
        return names_in(given)
