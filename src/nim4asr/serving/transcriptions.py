"""``POST /v1/audio/transcriptions``, as OpenAI has it: a form with a file; JSON, text, subtitles or events.

Every field is honored, refused, or named in the response header ``nim4-ignored``.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from nim4asr.audio.voice_activity import VoiceActivityConfig
from nim4asr.recognition.result import Segment, Transcript
from nim4asr.serving.errors import ApiError, as_api_error
from nim4asr.serving.shapes import TEXT_FORMATS, json_row, logprob_rows, verbose_row
from nim4asr.serving.state import State, state_of
from nim4asr.serving.worker import RecordingOptions
from nim4asr.text.joining import addition

FORMATS = ("json", "verbose_json", *TEXT_FORMATS)
_KNOWN = {
    "file", "model", "response_format", "timestamp_granularities", "keywords", "hotwords", "prompt",
    "language", "languages", "temperature", "include", "chunking_strategy", "stream",
}  # fmt: skip
# A prompt is read as a list of names if it looks like one: so many parts, of so many characters at most.
_PROMPT_PARTS, _PROMPT_PART = 20, 40


@dataclass(frozen=True)
class TranscriptionRequest:
    """A request, checked."""

    response_format: str
    granularities: tuple[str, ...]
    logprobs: bool
    stream: bool
    options: RecordingOptions
    ignored: tuple[str, ...]


async def transcriptions(request: Request) -> Response:
    """Recognize an uploaded recording."""
    state = state_of(request)
    client = state.access.check(request)
    state.refuse_if_draining()
    state.access.admit(client)
    async with request.form(max_files=1, max_fields=200) as form:
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise ApiError(
                400, "the form has no file; send the recording as the part named file", param="file"
            )
        # Pronouncing names takes time, and this loop must not wait.
        asked = await asyncio.to_thread(checked, form, state)
        data = await upload.read()
    headers = {"nim4-ignored": ", ".join(asked.ignored)} if asked.ignored else {}
    if asked.stream:
        events = _Events(state, data, asked, client)
        return StreamingResponse(
            events.rows(),
            media_type="text/event-stream",
            headers={**headers, "cache-control": "no-cache", "x-accel-buffering": "no"},
        )
    transcript = await _transcribed(request, state, data, asked)
    _account(state, client, transcript)
    if transcript.warnings:
        headers["nim4-warning"] = "the file is cut short"
    return _response(transcript, asked, headers)


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
    model = _single(fields, "model")
    if model is None:
        raise ApiError(400, "the form has no model", param="model")
    if not state.config.is_model(model):
        raise ApiError(404, f"there is no model {model!r} here; see /v1/models", "model_not_found", "model")
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
    if not set(include) <= {"logprobs"}:
        raise ApiError(400, "include knows logprobs alone", "unsupported_value", "include")
    if include and response_format != "json":
        raise ApiError(400, "logprobs come with response_format=json", param="include")
    names, ignored = _names(fields)
    hints, index = state.hotwords.chosen(_single(fields, "hotwords"), names)
    ignored += [name for name in ("language", "languages", "temperature") if _several(fields, name)]
    voice_activity = _voice_activity(fields, state.worker.config.voice_activity)
    return TranscriptionRequest(
        response_format,
        granularities,
        bool(include),
        _flag(fields, "stream"),
        RecordingOptions(hints, index, voice_activity),
        (*ignored, *unknown),
    )


class _Events:
    """Server-sent events: a delta a segment, as soon as it is recognized, and the whole text at the end."""

    def __init__(self, state: State, data: bytes, asked: TranscriptionRequest, client: str) -> None:
        self._state, self._data, self._asked, self._client = state, data, asked, client

    async def rows(self) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        segments: asyncio.Queue[Segment | None] = asyncio.Queue()
        text, logprobs = "", list[dict[str, Any]]()
        try:
            future = self._state.worker.transcribe(
                self._data,
                self._asked.options,
                self._state.config.max_duration_s,
                lambda segment: _put(loop, segments, segment),
            )
            future.add_done_callback(lambda _: _put(loop, segments, None))
            try:
                while (segment := await segments.get()) is not None:
                    delta = addition(text, segment.text)
                    text += delta
                    row: dict[str, Any] = {"type": "transcript.text.delta", "delta": delta}
                    if self._asked.logprobs:
                        row["logprobs"] = logprob_rows(segment.tokens)
                        logprobs += row["logprobs"]
                    if delta:
                        yield _event(row)
                transcript = future.result()
            finally:
                future.cancel()
            _account(self._state, self._client, transcript)
            done: dict[str, Any] = {"type": "transcript.text.done", "text": text}
            if self._asked.logprobs:
                done["logprobs"] = logprobs
            yield _event(done)
        except Exception as error:
            # The status is sent already: the error is an event, at which the SDKs raise.
            yield _event(as_api_error(error).body)


async def _transcribed(
    request: Request, state: State, data: bytes, asked: TranscriptionRequest
) -> Transcript:
    """The transcript; given up if the client goes."""
    future = state.worker.transcribe(data, asked.options, state.config.max_duration_s)
    result = asyncio.ensure_future(asyncio.wrap_future(future))
    try:
        while not result.done():
            await asyncio.wait({result}, timeout=1.0)
            if not result.done() and await request.is_disconnected():
                raise ApiError(499, "the client has gone")
        return result.result()
    finally:
        future.cancel()


def _response(transcript: Transcript, asked: TranscriptionRequest, headers: dict[str, str]) -> Response:
    if asked.response_format == "json":
        return JSONResponse(json_row(transcript, asked.logprobs), headers=headers)
    if asked.response_format == "verbose_json":
        return JSONResponse(verbose_row(transcript, asked.granularities), headers=headers)
    write, media_type = TEXT_FORMATS[asked.response_format]
    return PlainTextResponse(write(transcript), media_type=media_type, headers=headers)


def _account(state: State, client: str, transcript: Transcript) -> None:
    state.metrics.audio_seconds.labels("recording").inc(transcript.duration)
    state.access.charge(client, transcript.duration)


def _put(
    loop: asyncio.AbstractEventLoop, queue: "asyncio.Queue[Segment | None]", item: Segment | None
) -> None:
    loop.call_soon_threadsafe(queue.put_nowait, item)


def _event(row: dict[str, Any]) -> str:
    return f"data: {json.dumps(row, ensure_ascii=False)}\n\n"


def _fields(form: FormData) -> dict[str, list[str]]:
    """The form's values by name, of lists without their brackets."""
    fields: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if isinstance(value, str):
            bare = name.removesuffix("[]")
            # ``hotwords`` names a list of the server, ``hotwords[]`` are names.
            fields.setdefault(name if bare == "hotwords" else bare, []).append(value)
        elif name != "file":
            raise ApiError(400, f"{name} is no file", param=name)
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
        raise ApiError(400, f"{name} is true or false, not {value!r}", param=name)
    return value in ("true", "1")


def _names(fields: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    """The names that the request gives, and which of its fields had no effect."""
    names = [*_several(fields, "keywords"), *_several(fields, "hotwords[]")]
    prompt = _single(fields, "prompt")
    if prompt is None:
        return names, []
    parts = [part.strip() for part in prompt.replace("，", ",").replace("、", ",").split(",")]
    if (
        len(parts) <= _PROMPT_PARTS
        and all(0 < len(part) <= _PROMPT_PART for part in parts)
        and len(parts) > 1
    ):
        return [*names, *parts], []
    return names, ["prompt"]


def _voice_activity(fields: dict[str, list[str]], default: VoiceActivityConfig) -> VoiceActivityConfig | None:
    """What ``chunking_strategy`` asks for: ``auto``, or ``server_vad`` with its settings, as JSON or in
    brackets.
    """
    param = "chunking_strategy"
    values: dict[str, Any] = {}
    plain = _single(fields, param)
    if plain is not None and plain != "auto":
        try:
            values = dict(json.loads(plain))
        except (ValueError, TypeError, RecursionError):
            raise ApiError(400, "chunking_strategy is auto or a JSON object", param=param) from None
    for name, given in fields.items():
        if name.startswith(f"{param}["):
            values[name.removeprefix(f"{param}[").rstrip("]")] = given[-1]
    if not values or values.get("type") == "auto":
        return None
    return voice_activity_of(values, default, param)


def voice_activity_of(
    values: dict[str, Any], default: VoiceActivityConfig, param: str
) -> VoiceActivityConfig:
    """OpenAI's ``server_vad`` settings. Raises ``ApiError`` for what cannot be."""
    known = {"type", "threshold", "prefix_padding_ms", "silence_duration_ms"}
    if values.get("type") != "server_vad" or not set(values) <= known:
        raise ApiError(
            400, f"{param} knows server_vad with {', '.join(sorted(known - {'type'}))}", param=param
        )
    try:
        return replace(
            default,
            threshold=_number(values.get("threshold", default.threshold)),
            speech_pad_s=_number(values.get("prefix_padding_ms", default.speech_pad_s * 1000)) / 1000,
            min_silence_s=_number(values.get("silence_duration_ms", default.min_silence_s * 1000)) / 1000,
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise ApiError(400, f"{param}: {error}", "invalid_value", param) from None


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"{value!r} is no number")
    number = float(value)
    if not 0 <= number <= 1e5:
        raise ValueError(f"{value!r} is out of range")
    return number
