"""``POST /v1/audio/transcriptions``, as OpenAI has it: a form with a file; JSON, text, subtitles or events.

Every field is honored, refused, or named in the response header ``nim4-ignored``.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from nim4asr.audio.samples import Channels, as_channels
from nim4asr.audio.voice_activity import VoiceActivityConfig
from nim4asr.errors import InputError
from nim4asr.recognition.result import Segment, Transcript
from nim4asr.recognition.subtitles import SubtitleConfig
from nim4asr.recognition.writers import SUBTITLES
from nim4asr.serving.admission import Place
from nim4asr.serving.errors import ApiError, as_api_error, shown
from nim4asr.serving.json_text import parsed_object, written
from nim4asr.serving.lifecycle import call_in_loop
from nim4asr.serving.openai_settings import names_of_prompt, voice_activity_of
from nim4asr.serving.reading import RecordingOptions
from nim4asr.serving.recordings import Recognition, Spool, recording_place
from nim4asr.serving.shapes import (
    TEXT_FORMATS,
    json_row,
    logprob_rows,
    segment_row,
    verbose_row,
    warnings_row,
    word_rows,
)
from nim4asr.serving.state import State, state_of
from nim4asr.serving.subtitles import SETTINGS, subtitle_config
from nim4asr.text.joining import addition

FORMATS = ("json", "verbose_json", *TEXT_FORMATS)
_KNOWN = {
    "file", "model", "response_format", "timestamp_granularities", "keywords", "hotwords", "prompt",
    "language", "languages", "temperature", "include", "chunking_strategy", "stream", "channels", *SETTINGS,
}  # fmt: skip
# Of `include`, beside OpenAI's: events with segments and their words.
_SEGMENTS = "nim4.segment"
# Names of fields without effect are told, so many and so much of each.
_MOST_SHOWN, _LONGEST_SHOWN = 20, 80


@dataclass(frozen=True)
class TranscriptionRequest:
    """A request, checked."""

    model: str
    response_format: str
    granularities: tuple[str, ...]
    logprobs: bool
    segments: bool
    stream: bool
    options: RecordingOptions
    subtitles: SubtitleConfig
    ignored: tuple[str, ...]


async def transcriptions(request: Request) -> Response:
    """Recognize an uploaded recording; a place for it is taken before its body is read."""
    state = state_of(request)
    client = state.access.check(request)
    place, spool = recording_place(state, client), Spool(state.config.max_upload_bytes)
    try:
        async with state.lifecycle.until_closing():
            asked = await _received(request, state, spool)
    except BaseException:
        place.release()
        spool.close()
        raise
    headers: dict[str, str] = {}
    if asked.ignored:
        headers["nim4-ignored"] = ", ".join(map(_as_header, asked.ignored[:_MOST_SHOWN]))
    if asked.stream:
        return await _EventStream.begun(state, place, spool, asked, headers)
    recognition = await Recognition.begin(state, place, spool, asked.options, model=asked.model)
    transcript = await _while_asked(request, recognition, state)
    if transcript.told:
        headers["nim4-warning"] = "; ".join(transcript.told)
    # To lay out hours of subtitles takes a while, and the loop must not wait.
    return await asyncio.to_thread(_response, transcript, asked, headers)


async def _received(request: Request, state: State, spool: Spool) -> TranscriptionRequest:
    """The form: its recording in ``spool``, and what it asks for."""
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise ApiError(400, "expected a form, multipart/form-data", param="file")
    try:
        async with request.form(max_files=1, max_fields=200) as form:
            upload = form.get("file")
            if not isinstance(upload, UploadFile):
                raise ApiError(
                    400, "the form has no file; send the recording as the part named file", param="file"
                )
            # Pronouncing names takes time, and the loop must not wait.
            asked = await asyncio.to_thread(checked, form, state)
            await spool.read_from(upload.file)
    except UnicodeError:
        # A charset that is none of text: Starlette reads fields by whatever the client names.
        raise ApiError(400, "the form's fields are not in its charset; send UTF-8") from None
    return asked


async def _while_asked(request: Request, recognition: Recognition, state: State) -> Transcript:
    """The transcript; given up if the client goes, which raises ``ClientDisconnect``, or the server closes,
    which raises ``ApiError`` 503.
    """
    working = asyncio.create_task(recognition.transcript())
    gone = asyncio.create_task(_gone(request))
    try:
        async with state.lifecycle.until_closing():
            await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            gone.result()
            raise ClientDisconnect
        return working.result()
    finally:
        recognition.cancel()
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    """Wait until the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def translations(request: Request) -> Response:
    """Refused: the model writes what is said in its own language."""
    state_of(request).access.check(request)
    raise ApiError(
        400,
        "this model does not translate; it writes each language as it is spoken, at /v1/audio/transcriptions",
        "unsupported_model",
        "model",
    )


def checked(form: FormData, state: State) -> TranscriptionRequest:
    """The request in ``form``. Raises ``ApiError`` or ``InputError`` for what cannot be."""
    fields = _fields(form)
    unknown = sorted(name for name in fields if name.partition("[")[0] not in _KNOWN)
    asked = _single(fields, "model")
    if asked is None:
        raise ApiError(400, "the form has no model", param="model")
    model = state.model_of(asked)
    if model is None:
        raise ApiError(
            404, f"there is no model {shown(asked)} here; see /v1/models", "model_not_found", "model"
        )
    response_format = _single(fields, "response_format") or "json"
    if response_format not in FORMATS:
        raise ApiError(
            400, f"response_format is one of {', '.join(FORMATS)}", "unsupported_value", "response_format"
        )
    granularities = tuple(_several(fields, "timestamp_granularities")) or ("segment",)
    if not set(granularities) <= {"segment", "word"}:
        raise ApiError(400, "timestamp_granularities are segment and word", param="timestamp_granularities")
    if "word" in granularities and response_format != "verbose_json":
        raise ApiError(400, "words come with response_format=verbose_json", param="timestamp_granularities")
    include = _several(fields, "include")
    if not set(include) <= {"logprobs", _SEGMENTS}:
        raise ApiError(400, f"include knows logprobs and {_SEGMENTS}", "unsupported_value", "include")
    if "logprobs" in include and response_format != "json":
        raise ApiError(400, "logprobs come with response_format=json", param="include")
    stream = _flag(fields, "stream")
    if _SEGMENTS in include and not stream:
        raise ApiError(400, f"{_SEGMENTS} comes with stream=true", param="include")
    channels = _channels(fields)
    if channels == "apart" and stream:
        raise ApiError(400, "channels=apart comes as a whole, without stream", param="channels")
    settings = {name: value for name in SETTINGS if (value := _single(fields, name)) is not None}
    if settings and (stream or response_format not in SUBTITLES):
        name = next(iter(settings))
        formats = " or ".join(f"response_format={format}" for format in SUBTITLES)
        raise ApiError(400, f"{name} comes with {formats}", param=name)
    names, ignored = _names(fields)
    hints, index = state.hotwords.chosen(_single(fields, "hotwords"), names)
    ignored += [name for name in ("language", "languages", "temperature") if _several(fields, name)]
    voice_activity = _voice_activity(fields, state.worker.config.voice_activity)
    return TranscriptionRequest(
        model,
        response_format,
        granularities,
        "logprobs" in include,
        _SEGMENTS in include,
        stream,
        RecordingOptions(hints, index, voice_activity, channels),
        subtitle_config(settings),
        (*ignored, *unknown),
    )


class _EventStream(StreamingResponse):
    """Server-sent events: a delta a segment, as soon as it is recognized, and the whole text at the end."""

    def __init__(self, state: State, asked: TranscriptionRequest, headers: Mapping[str, str]) -> None:
        self._state, self._asked = state, asked
        self._recognition: Recognition
        # Segments, and what ends them: the whole, or an error.
        self._found: asyncio.Queue[Segment | Transcript | Exception] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        super().__init__(
            self._rows(),
            media_type="text/event-stream",
            headers={**headers, "cache-control": "no-cache", "x-accel-buffering": "no"},
        )

    @classmethod
    async def begun(
        cls,
        state: State,
        place: Place,
        spool: Spool,
        asked: TranscriptionRequest,
        headers: Mapping[str, str],
    ) -> "_EventStream":
        """The events of what is in ``spool``, which ``Recognition.begin`` takes."""
        stream = cls(state, asked, headers)
        options, model = asked.options, asked.model
        stream._recognition = await Recognition.begin(state, place, spool, options, stream._put, model)
        return stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; the recording is given up if the client goes."""
        watching = asyncio.create_task(self._watch())
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._recognition.cancel()
            watching.cancel()

    async def _watch(self) -> None:
        outcome: Transcript | Exception
        try:
            async with self._state.lifecycle.until_closing():
                outcome = await self._recognition.transcript()
        except Exception as error:
            outcome = error
        self._found.put_nowait(outcome)

    def _put(self, segment: Segment) -> None:
        call_in_loop(self._loop, self._found.put_nowait, segment)

    async def _rows(self) -> AsyncIterator[str]:
        text, logprobs, number = "", list[dict[str, Any]](), 0
        while isinstance(found := await self._found.get(), Segment):
            delta = addition(text, found.text)
            text += delta
            row: dict[str, Any] = {"type": "transcript.text.delta", "delta": delta}
            if self._asked.logprobs:
                row["logprobs"] = logprob_rows(found.tokens)
                logprobs += row["logprobs"]
            if delta:
                yield _event(row)
            if self._asked.segments:
                segment = segment_row(found, number)
                yield _event({"type": _SEGMENTS, "segment": segment, "words": word_rows(found)})
            number += 1
        if isinstance(found, Exception):
            # The status is sent already: the error is an event, at which the SDKs raise.
            yield _event(as_api_error(found).body)
            return
        if self._asked.segments:
            row = {"duration": round(found.duration, 3), "truncated": bool(found.warnings)}
            yield _event({"type": "nim4.transcript", **row, **warnings_row(found)})
        done: dict[str, Any] = {"type": "transcript.text.done", "text": text}
        if self._asked.logprobs:
            done["logprobs"] = logprobs
        yield _event(done)


def _response(transcript: Transcript, asked: TranscriptionRequest, headers: dict[str, str]) -> Response:
    if asked.response_format == "json":
        return JSONResponse(json_row(transcript, asked.logprobs), headers=headers)
    if asked.response_format == "verbose_json":
        return JSONResponse(verbose_row(transcript, asked.granularities), headers=headers)
    write, media_type = TEXT_FORMATS[asked.response_format]
    return PlainTextResponse(write(transcript, asked.subtitles), media_type=media_type, headers=headers)


def _event(row: dict[str, Any]) -> str:
    return f"data: {written(row)}\n\n"


def _as_header(name: str) -> str:
    """A field's name as a header may hold it: printable ASCII, the rest and commas in per cents."""
    return quote(name[:_LONGEST_SHOWN], safe="[]() /:;=?!*'~@$&+")


def _fields(form: FormData) -> dict[str, list[str]]:
    """The form's values by name, of lists without their brackets."""
    fields: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if isinstance(value, str):
            # Some charsets have halves of surrogate pairs, which no answer can hold.
            (name + value).encode()
            bare = name.removesuffix("[]")
            # ``hotwords`` names a list of the server, ``hotwords[]`` are names.
            fields.setdefault(name if bare == "hotwords" else bare, []).append(value)
        elif name != "file":
            raise ApiError(400, f"{shown(name)} is no file")
    return fields


def _several(fields: dict[str, list[str]], name: str) -> list[str]:
    return [value for value in fields.get(name, ()) if value.strip()]


def _single(fields: dict[str, list[str]], name: str) -> str | None:
    values = _several(fields, name)
    if len(values) > 1:
        raise ApiError(400, f"{name} is given {len(values)} times", param=name)
    return values[0].strip() if values else None


def _flag(fields: dict[str, list[str]], name: str) -> bool:
    value = (_single(fields, name) or "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise ApiError(400, f"{name} is true or false, not {shown(value)}", param=name)
    return value in ("true", "1")


def _channels(fields: dict[str, list[str]]) -> Channels:
    value = (_single(fields, "channels") or "mixed").lower()
    # Numbers of thousands of digits are none that Python would read.
    with suppress(InputError):
        if len(value) < 9:
            return as_channels(value)
    raise ApiError(400, "channels are mixed, apart, or the number of one, from 1", param="channels")


def _names(fields: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    """The names that the request gives, and which of its fields had no effect."""
    names = [*_several(fields, "keywords"), *_several(fields, "hotwords[]")]
    prompt = _single(fields, "prompt")
    if prompt is None:
        return names, []
    parts = names_of_prompt(prompt)
    return ([*names, *parts], []) if parts else (names, ["prompt"])


def _voice_activity(fields: dict[str, list[str]], default: VoiceActivityConfig) -> VoiceActivityConfig | None:
    """What ``chunking_strategy`` asks for: ``auto``, or ``server_vad`` with its settings, as JSON or in
    brackets.
    """
    param = "chunking_strategy"
    values: dict[str, Any] = {}
    plain = _single(fields, param)
    if plain is not None and plain != "auto":
        try:
            values = parsed_object(plain)
        except ApiError:
            raise ApiError(400, "chunking_strategy is auto or a JSON object", param=param) from None
    for name, given in fields.items():
        if name.startswith(f"{param}["):
            values[name.removeprefix(f"{param}[").rstrip("]")] = given[-1]
    if not values or values.get("type") == "auto":
        return None
    return voice_activity_of(values, default, param)
