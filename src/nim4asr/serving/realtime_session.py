"""A Realtime transcription session as a state machine: client rows and recognition events in, what to do out.

No socket, no clock, no thread. ``RealtimeSession.receive`` takes a client's message, ``hear`` the events of
the session's stream; both return ``Action``s for whoever has the socket and the stream
(``nim4asr.serving.realtime``).

An *item* is a turn of speech. With server VAD it is a segment: it begins with ``speech_started`` and is
completed by its final. In manual turns (``turn_detection: null``) it collects every segment up to the
client's commit.

    speech_started? ──> delta* ──> speech_stopped? ──> committed, item.added
        ──> delta? ──> completed, item.done

Deltas are stable text and are never taken back; ``completed`` has the final text, which a second pass over
the whole segment may have mended.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nim4asr.audio.voice_activity import EndReason, VoiceActivityConfig
from nim4asr.recognition.configuration import StreamingConfig
from nim4asr.recognition.events import Event, Failed, Final, Marked, Partial, SpeechEnded, SpeechStarted
from nim4asr.recognition.result import Token
from nim4asr.serving.errors import ApiError, as_api_error, error_row
from nim4asr.serving.formats import RATES, a_law, mu_law
from nim4asr.serving.json_text import parsed_object
from nim4asr.serving.openai_settings import names_of_prompt, voice_activity_of
from nim4asr.serving.shapes import logprob_rows
from nim4asr.text.joining import addition

LOGPROBS = "item.input_audio_transcription.logprobs"
HYPOTHESES = "nim4.hypothesis"
_CONTENT_INDEX = 0
# The longest piece of base64 in one append, as OpenAI has it.
_MOST_APPEND = 15 << 20
# Chunks of the encoder by OpenAI's names for the delay of transcription, in seconds.
DELAYS = {"minimal": 0.16, "low": 0.32, "medium": 0.64, "high": 1.28, "xhigh": 1.28}
_G711 = {"audio/pcmu": 8000, "audio/pcma": 8000}
# Pauses that end a turn, in ms, by OpenAI's eagerness of semantic turn detection.
EAGERNESS = {"low": 1000, "medium": 500, "auto": 500, "high": 300}
_INPUT = "session.audio.input"
# Bounds of what is sent back: OpenAI's for ids, ours for the others.
_LONGEST_ID = 512
_LONGEST_TEXT, _LONGEST_NAME, _MOST_NAMES, _MOST_LANGUAGES = 20_000, 200, 1000, 100
# What OpenAI has for sessions that answer; it does nothing in one that transcribes.
_CONVERSATION = (
    "instructions", "max_output_tokens", "model", "output_modalities", "parallel_tool_calls", "prompt",
    "reasoning", "tool_choice", "tools", "tracing", "truncation",
)  # fmt: skip
_TURNS_OF_ANSWERS = ("create_response", "interrupt_response", "idle_timeout_ms")
_MOST_ERRORS = 8
_ANSWERS = ("response.", "conversation.item.", "output_audio_buffer.")


@dataclass(frozen=True)
class Send:
    """Send ``row`` to the client."""

    row: Mapping[str, Any]


@dataclass(frozen=True)
class Open:
    """Open a stream; its events belong to ``generation``."""

    generation: int
    config: StreamingConfig
    sample_rate: int
    keywords: tuple[str, ...]
    hotwords: str | None
    model: str


@dataclass(frozen=True, eq=False)
class Feed:
    """Feed ``samples`` (N,) to the open stream."""

    samples: NDArray[np.int16]


@dataclass(frozen=True)
class Commit:
    """End the open segment; ``Marked(token)`` is to follow everything before."""

    token: object


@dataclass(frozen=True)
class Configure:
    """Use other settings of voice activity detection from now on."""

    voice_activity: VoiceActivityConfig


@dataclass(frozen=True)
class Hint:
    """Use other names from now on."""

    keywords: tuple[str, ...]
    hotwords: str | None


@dataclass(frozen=True)
class Drop:
    """Forget the open stream."""


Action = Send | Open | Feed | Commit | Configure | Hint | Drop


class State(Enum):
    """Whether sound has come, after which its format is fixed."""

    CONFIGURING = auto()
    LISTENING = auto()


@dataclass(frozen=True)
class _VadCommit:
    """A commit while the server detects turns, by the client's ``event_id``."""

    event_id: str | None


@dataclass
class _Item:
    id: str
    before: str | None
    text: str = ""
    """The finals so far; more than one in manual turns alone."""
    sent: str = ""
    """The text sent in deltas."""
    start_s: float = 0.0
    end_s: float = 0.0
    committed: bool = False
    tokens: tuple[Token, ...] = ()


class RealtimeSession:
    """One session. ``new_id(kind)`` makes ids; times are in the client's sound, from the session's start."""

    def __init__(
        self,
        new_id: Callable[[str], str],
        *,
        model: str = "nano",
        is_model: Callable[[str], bool] | None = None,
        expires_at: int = 0,
        config: StreamingConfig | None = None,
        hypotheses: bool = False,
    ) -> None:
        self._new_id, self._model, self._expires_at = new_id, model, expires_at
        self._is_model = is_model or (lambda name: name == model)
        self._config = config or StreamingConfig()
        self._id = new_id("sess")
        self._format: dict[str, Any] = {"type": "audio/pcm", "rate": 24_000}
        self._no_transcription: dict[str, Any] = {"model": model, "language": None, "prompt": ""}
        self._transcription = dict(self._no_transcription)
        self._turns: dict[str, Any] | None = self._server_vad({})
        self._include: list[str] = [HYPOTHESES] if hypotheses else []
        self._state = State.CONFIGURING
        self._generation = 0
        self._open = False
        self._received = 0
        self._offset_s = 0.0
        # Samples since the last commit: an empty commit is an error.
        self._uncommitted = 0
        self._ended_by_commit = False
        self._item: _Item | None = None
        # Committed items of manual turns, whose last words are still to come.
        self._waiting: dict[object, _Item] = {}
        self._last_item: str | None = None

    def start(self) -> list[Action]:
        """What the client is told at first."""
        return [self._send("session.created", session=self._session_row())]

    def receive(self, message: str | bytes) -> list[Action]:
        """React to a client's message; what is wrong with it is told in an ``error`` row."""
        event_id = None
        try:
            row = parsed_object(message)
            event_id = _event_id(row)
            return self._react(row, event_id)
        except ApiError as error:
            return [self._error(error, event_id)]

    def conclude(self) -> list[Action]:
        """End the turn that is open, for a client that cannot any more; the stream's end is to follow."""
        return self._commit(None) if self._open and self._manual and self._uncommitted else []

    def error(self, error: Exception) -> Send:
        """Tell of an error that ends nothing."""
        return self._error(as_api_error(error), None)

    @property
    def seconds(self) -> float:
        """Seconds of sound received."""
        return self._received / self.rate

    @property
    def idle(self) -> bool:
        """Whether nothing is left to be told of the sound so far."""
        return self._item is None and not self._waiting

    def hear(self, generation: int, events: Sequence[Event]) -> list[Action]:
        """React to the events of the stream of that ``generation``; those of a dropped one are nothing."""
        actions: list[Action] = []
        for event in events:
            if generation == self._generation:
                actions += self._heard(event)
        return actions

    @property
    def rate(self) -> int:
        """The client's sample rate in Hz."""
        return _G711.get(self._format["type"], 0) or int(self._format["rate"])

    @property
    def _manual(self) -> bool:
        return self._turns is None

    def _react(self, row: dict[str, Any], event_id: str | None) -> list[Action]:
        kind = row.get("type")
        if kind == "session.update":
            return self._update(row.get("session"), event_id)
        if kind == "input_audio_buffer.append":
            return self._append(row.get("audio"))
        if kind == "input_audio_buffer.commit":
            return self._commit(event_id)
        if kind == "input_audio_buffer.clear":
            return self._clear()
        if kind == "transcription_session.update":
            raise ApiError(
                400,
                "that is the beta's event; send session.update with session.type transcription",
                "unknown_event",
                "type",
            )
        if isinstance(kind, str) and kind.startswith(_ANSWERS):
            raise ApiError(
                400,
                f"{kind[:80]!r} is for sessions that answer; this one transcribes",
                "unknown_event",
                "type",
            )
        raise ApiError(
            400,
            'expected "session.update" or "input_audio_buffer.append", ".commit" or ".clear", '
            f"but got {str(kind)[:80]!r}",
            "unknown_event",
            "type",
        )

    def _update(self, session: object, event_id: str | None) -> list[Action]:
        """``session.update``: what is absent stays, null clears. Each setting is taken or refused by itself;
        what is known and has no effect is taken, and named in ``nim4_ignored``.
        """
        session = _object(session, "session")
        if session.get("type", "transcription") != "transcription":
            raise _invalid("session.type", "this server has transcription sessions alone")
        audio = _object(session.get("audio", {}), "session.audio")
        given = _object(audio.get("input", {}), _INPUT)
        update = _Update()
        update.look(
            session, "session", ("type", "audio", "include", "id", "object", "expires_at"), _CONVERSATION
        )
        update.look(audio, "session.audio", ("input",), ("output",))
        update.look(given, _INPUT, ("format", "transcription", "turn_detection", "noise_reduction"))
        names, turns = self._names(), self._turns
        update.take(given, "format", self._set_format)
        if given.get("transcription") is not None:
            self._update_transcription(given["transcription"], update)
        elif "transcription" in given:
            self._transcription = self._no_transcription
            update.taken = True
        update.take(given, "turn_detection", lambda value: self._set_turns(value, update))
        update.take(given, "noise_reduction", lambda value: _noise_reduction(value, update))
        update.take(session, "include", self._set_include)
        actions: list[Action] = []
        if update.taken or update.ignored or not update.errors:
            actions.append(self._send("session.updated", session=self._session_row(update.ignored)))
        actions += [self._error(error, event_id) for error in update.errors[:_MOST_ERRORS]]
        if self._open and self._names() != names:
            actions.append(Hint(*self._names()))
        if self._open and self._turns is not None and self._turns != turns:
            actions.append(Configure(self._voice_activity()))
        return actions

    def _update_transcription(self, given: object, update: "_Update") -> None:
        """Take or refuse each field of ``transcription`` by itself."""
        param = f"{_INPUT}.transcription"
        try:
            asked = _object(given, param)
        except ApiError as error:
            update.errors.append(error)
            return
        new = dict(self._transcription)
        checks: dict[str, Callable[[Any], Any]] = {
            "model": self._checked_model,
            "language": lambda value: _text(value, f"{param}.language", 35),
            "languages": lambda value: _texts(value, f"{param}.languages", _MOST_LANGUAGES, 35),
            "prompt": lambda value: _text(value, f"{param}.prompt", _LONGEST_TEXT),
            "keywords": lambda value: _texts(value, f"{param}.keywords", _MOST_NAMES, _LONGEST_NAME),
            "hotwords": lambda value: _text(value, f"{param}.hotwords", _LONGEST_NAME),
            "delay": lambda value: _one_of(value, f"{param}.delay", DELAYS),
        }
        update.look(asked, param, tuple(checks))
        for name, check in checks.items():
            update.take(asked, name, partial(_put, new, name, check))
        for name in ("language", "languages"):
            if new.get(name) and name in asked:
                update.ignore(f"{param}.{name}")
        if new.get("prompt") and "prompt" in asked and names_of_prompt(new["prompt"]) is None:
            update.ignore(f"{param}.prompt")
        base = self._no_transcription
        self._transcription = {
            name: base.get(name) if value is None else value
            for name, value in new.items()
            if value is not None or name in base
        }

    def _append(self, audio: object) -> list[Action]:
        if not isinstance(audio, str):
            raise _invalid("audio", "audio is a string of base64")
        if len(audio) > _MOST_APPEND * 4 // 3 + 4:
            raise _invalid("audio", "more than 15 MiB in one append")
        try:
            data = base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError):
            raise _invalid("audio", "audio is no base64") from None
        samples = self._samples(data)
        if not len(samples):
            return []
        actions: list[Action] = [] if self._open else [self._opened()]
        self._received += len(samples)
        self._uncommitted += len(samples)
        return [*actions, Feed(samples)]

    def _commit(self, event_id: str | None) -> list[Action]:
        if not self._uncommitted:
            raise _nothing_to_commit()
        self._uncommitted = 0
        if not self._manual:
            # Whether anyone has spoken is known when the stream has got that far.
            return [Commit(_VadCommit(event_id))]
        item = self._item or self._new_item(self.seconds)
        self._item = None
        self._waiting[item.id] = item
        return [*self._committed(item), Commit(item.id)]

    def _clear(self) -> list[Action]:
        self._generation += 1
        self._item, self._uncommitted = None, 0
        self._waiting.clear()
        actions: list[Action] = [Drop()] if self._open else []
        self._open = False
        return [*actions, self._send("input_audio_buffer.cleared")]

    def _opened(self) -> Open:
        self._generation += 1
        self._open, self._state = True, State.LISTENING
        self._offset_s = self.seconds
        delay = self._transcription.get("delay")
        config = replace(
            self._config,
            chunk_s=DELAYS.get(str(delay), self._config.chunk_s),
            voice_activity=self._voice_activity(),
        )
        keywords, hotwords = self._names()
        return Open(self._generation, config, self.rate, keywords, hotwords, self._transcription["model"])

    def _heard(self, event: Event) -> list[Action]:
        match event:
            case SpeechStarted(time):
                return self._speech_started(time + self._offset_s)
            case Partial():
                return self._partial(event)
            case SpeechEnded(time, reason):
                return self._speech_ended(time + self._offset_s, reason)
            case Final():
                return self._final(event)
            case Marked(_VadCommit(event_id)):
                ended, self._ended_by_commit = self._ended_by_commit, False
                return [] if ended else [self._error(_nothing_to_commit(), event_id)]
            case Marked(token):
                item = self._waiting.pop(token, None)
                return [] if item is None else self._completed(item)
            case Failed(error):
                return self._failed(error)

    def _speech_started(self, time: float) -> list[Action]:
        if self._manual:
            if self._current is None:
                self._item = self._new_item(time)
            return []
        item = self._item = self._new_item(time)
        return [self._send("input_audio_buffer.speech_started", item_id=item.id, audio_start_ms=_ms(time))]

    @property
    def _current(self) -> _Item | None:
        """The item that events of the stream are about: the oldest that waits for its last words, or the open
        one.
        """
        return next(iter(self._waiting.values()), self._item)

    def _partial(self, event: Partial) -> list[Action]:
        item = self._current
        if item is None:
            return []
        stable = item.text + addition(item.text, event.stable)
        actions = self._delta(item, stable)
        if HYPOTHESES in self._include:
            actions.append(
                self._send(
                    HYPOTHESES,
                    item_id=item.id,
                    stable=stable,
                    volatile=event.volatile,
                    audio_end_ms=_ms(event.time + self._offset_s),
                )
            )
        return actions

    def _speech_ended(self, time: float, reason: EndReason) -> list[Action]:
        item = self._current
        if item is None:
            return []
        item.end_s = time
        self._ended_by_commit = reason is EndReason.COMMIT
        if self._manual or item.committed:
            return []
        actions: list[Action] = []
        if reason is not EndReason.COMMIT:
            self._uncommitted = 0
            actions.append(
                self._send("input_audio_buffer.speech_stopped", item_id=item.id, audio_end_ms=_ms(time))
            )
        return [*actions, *self._committed(item)]

    def _final(self, event: Final) -> list[Action]:
        item = self._current
        if item is None:
            return []
        item.end_s = event.time + self._offset_s
        item.text += addition(item.text, event.segment.text)
        before = len(item.text) - len(event.segment.text)
        item.tokens += event.segment.tokens
        actions = self._delta(item, item.text)
        if HYPOTHESES in self._include and (event.segment.hits or event.segment.hints):
            actions.append(
                self._send(
                    "nim4.names",
                    item_id=item.id,
                    hits=[
                        {
                            "text": hit.text,
                            "start_ms": _ms(hit.start + self._offset_s),
                            "end_ms": _ms(hit.end + self._offset_s),
                        }
                        for hit in event.segment.hits
                    ],
                    hints_used=list(event.segment.hints_used),
                    names_at=[[start + before, end + before] for start, end in event.segment.named],
                )
            )
        if HYPOTHESES in self._include and event.segment.words:
            actions.append(
                self._send(
                    "nim4.words",
                    item_id=item.id,
                    words=[
                        {
                            "text": word.text,
                            "start_ms": _ms(word.start + self._offset_s),
                            "end_ms": _ms(word.end + self._offset_s),
                        }
                        for word in event.segment.words
                    ],
                )
            )
        if item is self._item and not self._manual:
            self._item = None
            actions += self._completed(item)
        return actions

    def _delta(self, item: _Item, text: str) -> list[Action]:
        """What ``text`` adds to the deltas sent, if it goes on from them."""
        if not text.startswith(item.sent) or text == item.sent:
            return []
        delta, item.sent = text[len(item.sent) :], text
        return [
            self._send(
                "conversation.item.input_audio_transcription.delta",
                item_id=item.id,
                content_index=_CONTENT_INDEX,
                delta=delta,
            )
        ]

    def _committed(self, item: _Item) -> list[Action]:
        item.committed = True
        return [
            self._send("input_audio_buffer.committed", item_id=item.id, previous_item_id=item.before),
            self._send(
                "conversation.item.added",
                previous_item_id=item.before,
                item=_item_row(item, "in_progress", None),
            ),
        ]

    def _completed(self, item: _Item) -> list[Action]:
        row: dict[str, Any] = {
            "item_id": item.id,
            "content_index": _CONTENT_INDEX,
            "transcript": item.text,
            "usage": {"type": "duration", "seconds": round(max(0.0, item.end_s - item.start_s), 3)},
        }
        if LOGPROBS in self._include:
            row["logprobs"] = logprob_rows(item.tokens)
        return [
            self._send("conversation.item.input_audio_transcription.completed", **row),
            self._send(
                "conversation.item.done",
                previous_item_id=item.before,
                item=_item_row(item, "completed", item.text),
            ),
        ]

    def _failed(self, error: Exception) -> list[Action]:
        """The stream is over; the next sound opens another."""
        told = as_api_error(error)
        items = [*self._waiting.values(), *([self._item] if self._item else [])]
        self._open, self._item = False, None
        self._waiting.clear()
        row = told.body["error"]
        if not items:
            return [self._send("error", error={**row, "event_id": None})]
        return [
            self._send(
                "conversation.item.input_audio_transcription.failed",
                item_id=item.id,
                content_index=_CONTENT_INDEX,
                error={key: row[key] for key in ("type", "code", "message", "param")},
            )
            for item in items
        ]

    def _new_item(self, time: float) -> _Item:
        item = _Item(self._new_id("item"), self._last_item, start_s=time, end_s=time)
        self._last_item = item.id
        return item

    def _samples(self, data: bytes) -> NDArray[np.int16]:
        kind = self._format["type"]
        if kind == "audio/pcm":
            if len(data) % 2:
                raise _invalid("audio", "half a sample: PCM has 16 bits, little-endian")
            return np.frombuffer(data, "<i2")
        table = mu_law() if kind == "audio/pcmu" else a_law()
        return table[np.frombuffer(data, np.uint8)]

    def _set_format(self, given: object) -> None:
        format = self._checked_format(given)
        if format != self._format and self._state is State.LISTENING:
            raise _invalid(f"{_INPUT}.format", "the format cannot change once sound has come")
        self._format = format

    def _checked_format(self, given: object) -> dict[str, Any]:
        param = f"{_INPUT}.format"
        if given is None:
            return {"type": "audio/pcm", "rate": 24_000}
        format = _object(given, param)
        kind = format.get("type")
        if isinstance(kind, str) and kind in _G711:
            return {"type": kind}
        rate = format.get("rate", 24_000)
        if kind != "audio/pcm" or type(rate) is not int or rate not in RATES:
            raise _invalid(
                param,
                f"expected audio/pcm with a rate of {RATES[0]} to {RATES[-1]}, audio/pcmu or audio/pcma",
            )
        return {"type": kind, "rate": rate}

    def _checked_model(self, given: object) -> str:
        name = _text(given, f"{_INPUT}.transcription.model", _LONGEST_NAME)
        if not self._is_model(name):
            raise ApiError(
                404,
                f"there is no model {name!r} here; this session uses {self._model!r}",
                "model_not_found",
                f"{_INPUT}.transcription.model",
            )
        if name != self._transcription["model"] and self._state is State.LISTENING:
            raise _invalid(f"{_INPUT}.transcription.model", "the model cannot change once sound has come")
        return name

    def _set_turns(self, given: object, update: "_Update") -> None:
        param = f"{_INPUT}.turn_detection"
        if given is None:
            self._turns = None
            return
        asked = _object(given, param)
        kind = asked.get("type")
        idle: list[str] = [name for name in _TURNS_OF_ANSWERS if name in asked]
        checked = {name: value for name, value in asked.items() if name not in idle and value is not None}
        if kind == "semantic_vad":
            # What OpenAI's model decides by the words, a pause decides here.
            eagerness = _one_of(checked.pop("eagerness", "auto"), f"{param}.eagerness", EAGERNESS)
            if set(checked) != {"type"}:
                raise _invalid(param, "semantic_vad has eagerness alone")
            checked = {"silence_duration_ms": EAGERNESS[eagerness]}
            idle.append("type")
        elif kind == "server_vad":
            voice_activity_of(checked, self._config.voice_activity, param)
        else:
            raise _invalid(param, "expected server_vad, semantic_vad or null")
        for name in idle:
            update.ignore(f"{param}.{name}")
        self._turns = self._server_vad(checked)

    def _set_include(self, given: object) -> None:
        names = _texts([] if given is None else given, "session.include", 10, _LONGEST_NAME)
        if not set(names) <= {LOGPROBS, HYPOTHESES}:
            raise _invalid("session.include", f"expected {LOGPROBS} or {HYPOTHESES}")
        self._include = sorted(set(names))

    def _server_vad(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        default = self._config.voice_activity
        return {
            "type": "server_vad",
            "threshold": asked.get("threshold", default.threshold),
            "prefix_padding_ms": asked.get("prefix_padding_ms", round(default.speech_pad_s * 1000)),
            "silence_duration_ms": asked.get("silence_duration_ms", round(default.min_silence_s * 1000)),
        }

    def _voice_activity(self) -> VoiceActivityConfig:
        default = self._config.voice_activity
        return default if self._turns is None else voice_activity_of(self._turns, default, "turn_detection")

    def _names(self) -> tuple[tuple[str, ...], str | None]:
        """Names that may be said, and a list of the server."""
        names = [
            *self._transcription.get("keywords", ()),
            *(names_of_prompt(self._transcription["prompt"]) or ()),
        ]
        return tuple(dict.fromkeys(names)), self._transcription.get("hotwords")

    def _session_row(self, ignored: Sequence[str] = ()) -> dict[str, Any]:
        row = {
            "id": self._id,
            "object": "realtime.transcription_session",
            "type": "transcription",
            "expires_at": self._expires_at,
            "audio": {
                "input": {
                    "format": self._format,
                    "transcription": self._transcription,
                    "turn_detection": self._turns,
                    "noise_reduction": None,
                }
            },
            "include": self._include,
        }
        return {**row, "nim4_ignored": list(ignored)} if ignored else row

    def _send(self, kind: str, **fields: Any) -> Send:
        return Send({"event_id": self._new_id("event"), "type": kind, **fields})

    def _error(self, error: ApiError, event_id: str | None) -> Send:
        row = error_row(error.message, error.type, error.code or "invalid_value", error.param)
        return self._send("error", error={**row, "event_id": event_id})


class _Update:
    """What becomes of one ``session.update``."""

    def __init__(self) -> None:
        self.taken = False
        self.errors: list[ApiError] = []
        self.ignored: list[str] = []

    def look(
        self, row: Mapping[str, Any], param: str, known: Sequence[str], idle: Sequence[str] = ()
    ) -> None:
        """Refuse the fields of ``row`` that nobody knows, and name those without effect."""
        for name in row:
            if name in idle:
                self.ignore(f"{param}.{name}")
            elif name not in known and len(self.errors) < _MOST_ERRORS:
                self.errors.append(_invalid(f"{param}.{name[:80]}", f"expected {', '.join(known)}"))

    def ignore(self, param: str) -> None:
        """Name a field that is taken and has no effect."""
        self.ignored.append(param)

    def take(self, row: Mapping[str, Any], name: str, apply: Callable[[Any], None]) -> None:
        """Apply the field if it is given; an error of it is its own."""
        if name in row:
            try:
                apply(row[name])
                self.taken = True
            except ApiError as error:
                self.errors.append(error)


def _event_id(row: Mapping[str, Any]) -> str | None:
    event_id = row.get("event_id")
    return None if event_id is None else _text(event_id, "event_id", _LONGEST_ID)


def _text(value: object, param: str, longest: int) -> str:
    if not isinstance(value, str) or len(value) > longest:
        raise _invalid(param, f"expected a text of at most {longest} characters")
    return value


def _texts(value: object, param: str, most: int, longest: int) -> list[str]:
    if not isinstance(value, list) or len(value) > most:
        raise _invalid(param, f"expected a list of at most {most} texts")
    return [_text(one, param, longest) for one in value]


def _one_of(value: object, param: str, known: Mapping[str, Any]) -> str:
    if not isinstance(value, str) or value not in known:
        raise _invalid(param, f"expected one of {', '.join(known)}")
    return value


def _put(row: dict[str, Any], name: str, check: Callable[[Any], Any], value: object) -> None:
    row[name] = None if value is None else check(value)


def _noise_reduction(value: object, update: _Update) -> None:
    """Taken, and without effect: this server does not change the sound."""
    param = f"{_INPUT}.noise_reduction"
    if value is None:
        return
    asked = _object(value, param)
    strength = asked.get("strength", 1)
    if asked.get("type", "near_field") not in ("near_field", "far_field") or not set(asked) <= {
        "type",
        "strength",
    }:
        raise _invalid(param, "expected the type near_field or far_field, or null")
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 <= strength <= 1:
        raise _invalid(f"{param}.strength", "expected a number from 0 to 1")
    update.ignore(param)


def _nothing_to_commit() -> ApiError:
    return ApiError(400, "nobody has spoken since the last turn", "input_audio_buffer_commit_empty")


def _object(value: object, param: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(param, "expected an object")
    return value


def _invalid(param: str, message: str) -> ApiError:
    return ApiError(400, f"{param}: {message}", "invalid_value", param)


def _item_row(item: _Item, status: str, transcript: str | None) -> dict[str, Any]:
    return {
        "id": item.id,
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": "user",
        "content": [{"type": "input_audio", "transcript": transcript}],
    }


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
