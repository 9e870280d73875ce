"""A client of a Realtime server: sound in, the same events out as from a stream on this machine.

It speaks OpenAI's protocol with the server's extension ``nim4.hypothesis``, and so is an example of how to.
"""

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit, urlunsplit

import numpy as np

from nim4asr.addresses import is_loopback
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.audio.voice_activity import EndReason
from nim4asr.errors import InputError
from nim4asr.files import reason
from nim4asr.recognition.events import Event, Final, Partial, SpeechEnded, SpeechStarted
from nim4asr.recognition.result import Segment, Word

_QUERY = {"intent": "transcription", "hypotheses": "1"}
_ITEM = "conversation.item.input_audio_transcription"


@dataclass(frozen=True)
class ClientOptions:
    """What is asked of the server."""

    server: str = "http://localhost:8000"
    key: str = ""
    names: tuple[str, ...] = ()
    """Names that may be said."""
    hotwords: str | None = None
    """A list of the server."""


def stream_to_server(blocks: Iterable[Floats], options: ClientOptions) -> Iterator[Event]:
    """Send 16 kHz blocks (N,) as they come; the events as they come back, until the last text is there.

    Raises ``InputError`` if there is no such server, or it refuses.
    """
    from websockets.exceptions import ConnectionClosed, InvalidHandshake
    from websockets.sync.client import connect

    headers = {"Authorization": f"Bearer {options.key}"} if options.key else {}
    url = realtime_url(options.server)
    context = ssl.create_default_context() if url.startswith("wss") else None
    try:
        proxy: Literal[True] | None = None if is_loopback(urlsplit(url).hostname) else True
        with connect(url, additional_headers=headers, ssl=context, max_size=None, proxy=proxy) as socket:
            rows: SimpleQueue[Mapping[str, Any] | None] = SimpleQueue()

            def receive() -> None:
                try:
                    for message in socket:
                        rows.put(json.loads(message))
                except ConnectionClosed:
                    pass
                rows.put(None)

            threading.Thread(target=receive, daemon=True).start()
            socket.send(json.dumps(_update(options)))
            yield from _exchanged(blocks, lambda row: socket.send(json.dumps(row)), rows)
    except InvalidHandshake as error:
        raise InputError(f"{options.server}: the server refuses the session ({reason(error)})") from None
    except ConnectionClosed as error:
        raise InputError(f"{options.server}: the server ended the session ({reason(error)})") from None
    except (OSError, TimeoutError) as error:
        raise InputError(f"{options.server}: there is no server to be reached ({reason(error)})") from None


def realtime_url(server: str) -> str:
    """The address of the Realtime endpoint of a server given as ``http://host:port``."""
    parts = urlsplit(server if "//" in server else f"http://{server}")
    schemes = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
    if parts.scheme not in schemes or not parts.netloc:
        raise InputError(f"{server!r} is not the address of a server; expected http://HOST:PORT")
    path = parts.path.rstrip("/").removesuffix("/v1") + "/v1/realtime"
    return urlunsplit((schemes[parts.scheme], parts.netloc, path, urlencode(_QUERY), ""))


def _update(options: ClientOptions) -> dict[str, Any]:
    transcription = {"keywords": list(options.names), "hotwords": options.hotwords}
    audio = {"format": {"type": "audio/pcm", "rate": SAMPLE_RATE}, "transcription": transcription}
    return {"type": "session.update", "session": {"type": "transcription", "audio": {"input": audio}}}


def _exchanged(
    blocks: Iterable[Floats],
    send: Callable[[Mapping[str, Any]], None],
    rows: "SimpleQueue[Mapping[str, Any] | None]",
) -> Iterator[Event]:
    heard = _Heard()
    for block in blocks:
        pcm = (np.clip(block, -1, 1) * 32767).astype("<i2")
        send({"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm.tobytes()).decode()})
        while not rows.empty():
            yield from heard.events(rows.get())
    send({"type": "input_audio_buffer.commit"})
    heard.ending = True
    while not heard.ended:
        yield from heard.events(rows.get())


class _Heard:
    """What the server has told so far, and the events that follow from a row."""

    def __init__(self) -> None:
        self.ending = False
        self._acknowledged = False
        self._closed = False
        self._open: dict[str, list[Word]] = {}
        self._starts: dict[str, float] = {}

    @property
    def ended(self) -> bool:
        """Whether the last commit is answered and nothing more is to come."""
        return self._closed or (self._acknowledged and not self._open)

    def events(self, row: Mapping[str, Any] | None) -> Sequence[Event]:
        if row is None:
            if not self.ended:
                raise InputError("the server closed the connection before the last text")
            self._closed = True
            return ()
        item = str(row.get("item_id"))
        match row["type"]:
            case "input_audio_buffer.speech_started":
                self._open[item], self._starts[item] = [], row["audio_start_ms"] / 1000
                return (SpeechStarted(self._starts[item]),)
            case "nim4.hypothesis":
                return (Partial(row["audio_end_ms"] / 1000, row["stable"], row["volatile"]),)
            case "input_audio_buffer.speech_stopped":
                return (SpeechEnded(row["audio_end_ms"] / 1000, EndReason.SILENCE),)
            case "input_audio_buffer.committed":
                self._acknowledged |= self.ending
            case "nim4.words":
                words = row["words"]
                self._open.setdefault(item, []).extend(
                    Word(word["text"], word["start_ms"] / 1000, word["end_ms"] / 1000, 1.0) for word in words
                )
            case "conversation.item.input_audio_transcription.completed":
                return (self._final(item, row),)
            case "conversation.item.input_audio_transcription.failed":
                self._open.pop(item, None)
                raise InputError(str(row["error"]["message"]))
            case "error":
                if row["error"]["code"] != "input_audio_buffer_commit_empty":
                    raise InputError(str(row["error"]["message"]))
                self._acknowledged |= self.ending
        return ()

    def _final(self, item: str, row: Mapping[str, Any]) -> Final:
        words = tuple(self._open.pop(item, ()))
        start = self._starts.pop(item, 0.0)
        end = start + float(row["usage"]["seconds"])
        return Final(end, Segment(start, end, str(row["transcript"]), 1.0, words))
