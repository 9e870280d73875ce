"""OpenAI's own client, unmodified, over real sockets; what it gets is validated against its types, for it
does not do so itself.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from openai.types.audio import Transcription, TranscriptionVerbose
from openai.types.audio.transcription_stream_event import TranscriptionStreamEvent
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from serving.conftest import Running

# The client calls its WebSocket library in a way that this deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used as a context:DeprecationWarning")
SERVER_EVENTS = TypeAdapter(RealtimeServerEvent)
STREAM_EVENTS = TypeAdapter(TranscriptionStreamEvent)
ZH, EN = CLIP_FOLDER / "zh-1.flac", CLIP_FOLDER / "en-1.flac"


@pytest.fixture
def client(nano: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{nano.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["nano", "whisper-1"]
    assert client.models.retrieve("nano").object == "model"
    with pytest.raises(openai.NotFoundError, match="org/name"):
        client.models.retrieve("org/name")


def test_json(client: openai.OpenAI) -> None:
    result = client.audio.transcriptions.create(file=ZH, model="nano", include=["logprobs"])
    assert result.text == "他是中国人"
    strict = Transcription.model_validate(result.to_dict(), strict=True)
    assert strict.logprobs is not None
    assert "".join(one.token or "" for one in strict.logprobs).strip() == "他是中国人"
    assert strict.usage is not None and strict.usage.type == "duration"


def test_verbose_json(client: openai.OpenAI) -> None:
    result = client.audio.transcriptions.create(
        file=EN,
        model="whisper-1",
        response_format="verbose_json",
        timestamp_granularities=["segment", "word"],
    )
    strict = TranscriptionVerbose.model_validate(result.to_dict(), strict=False)
    assert strict.segments is not None and strict.words is not None
    assert [word.word for word in strict.words] == ["what", "do", "you", "want"]
    assert strict.segments[0].text == strict.text == "what do you want"
    assert strict.language == "english" and strict.duration == pytest.approx(1.77, abs=0.01)
    words = client.audio.transcriptions.create(
        file=EN, model="nano", response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert words.segments is None


@pytest.mark.parametrize(
    ("response_format", "expected"),
    [
        ("text", "what do you want\n"),
        ("srt", "1\n00:00:00,"),
        ("vtt", "WEBVTT\n"),
    ],
)
def test_plain_formats(client: openai.OpenAI, response_format: Any, expected: str) -> None:
    result: Any = client.audio.transcriptions.create(file=EN, model="nano", response_format=response_format)
    assert str(result).startswith(expected)


def test_server_sent_events(client: openai.OpenAI) -> None:
    deltas = []
    for event in client.audio.transcriptions.create(file=EN, model="nano", stream=True, include=["logprobs"]):
        STREAM_EVENTS.validate_python(event.to_dict())
        if event.type == "transcript.text.delta":
            deltas.append(event.delta)
        else:
            assert (
                event.type == "transcript.text.done" and event.text == "".join(deltas) == "what do you want"
            )
    assert deltas


def test_a_file_that_is_none(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="not audio that can be read") as raised:
        client.audio.transcriptions.create(file=("x.wav", b"no sound at all"), model="nano")
    assert raised.value.type == "invalid_request_error"
    with pytest.raises(openai.APIError, match="not audio that can be read"):
        list(client.audio.transcriptions.create(file=("x.wav", b"no sound"), model="nano", stream=True))


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"model": "gpt-9"}, openai.NotFoundError, "no model 'gpt-9'"),
        ({"response_format": "diarized_json"}, openai.BadRequestError, "response_format is one of"),
        ({"timestamp_granularities": ["word"]}, openai.BadRequestError, "words come with"),
        ({"timestamp_granularities": ["year"]}, openai.BadRequestError, "segment and word"),
        ({"response_format": "srt", "include": ["logprobs"]}, openai.BadRequestError, "logprobs come with"),
        ({"chunking_strategy": {"type": "server_vad", "threshold": 7}}, openai.BadRequestError, "threshold"),
        ({"extra_body": {"hotwords": "nowhere"}}, openai.NotFoundError, "no hotword list 'nowhere'"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    client: openai.OpenAI, options: dict[str, Any], error: type[openai.APIStatusError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        client.audio.transcriptions.create(**{"file": EN, "model": "nano", **options})


def test_translations_are_refused(client: openai.OpenAI) -> None:
    with (
        pytest.warns(DeprecationWarning, match="translations|deprecated"),
        pytest.raises(openai.BadRequestError, match="does not translate"),
    ):
        client.audio.translations.create(file=EN, model="nano")


def test_what_has_no_effect_is_named(client: openai.OpenAI) -> None:
    raw = client.audio.transcriptions.with_raw_response.create(
        file=EN,
        model="nano",
        language="en",
        temperature=0.5,
        prompt="A talk about wishes.",
        extra_body={"colour": "1"},
    )
    assert raw.headers["nim4-ignored"] == "prompt, language, temperature, colour"
    names = client.audio.transcriptions.with_raw_response.create(file=ZH, model="nano", prompt="中国人, 北京")
    assert "nim4-ignored" not in names.headers


def pcm(path: Path, rate: int = 24_000) -> bytes:
    import soxr

    samples = np.concatenate([read_audio(path), np.zeros(16_000, np.float32)])
    return (np.clip(soxr.resample(samples, 16_000, rate), -1, 1) * 32767).astype("<i2").tobytes()


def pieces(data: bytes, size: int = 9600) -> Iterator[str]:
    for start in range(0, len(data), size):
        yield base64.b64encode(data[start : start + size]).decode()


def test_realtime_with_server_vad(client: openai.OpenAI) -> None:
    with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        connection.session.update(
            session={
                "type": "transcription",
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcm", "rate": 24000},
                        "transcription": {"model": "nano"},
                        "turn_detection": {"type": "server_vad", "silence_duration_ms": 400},
                    }
                },
                "include": ["item.input_audio_transcription.logprobs"],
            }
        )
        for piece in [*pieces(pcm(EN)), *pieces(pcm(ZH))]:
            connection.input_audio_buffer.append(audio=piece)
        texts, kinds, deltas = [], [], ""
        for event in connection:
            SERVER_EVENTS.validate_python(event.to_dict())
            kinds.append(event.type)
            if event.type == "conversation.item.input_audio_transcription.delta":
                deltas += event.delta or ""
            if event.type == "conversation.item.input_audio_transcription.completed":
                texts.append(event.transcript)
                assert event.logprobs
            if event.type == "conversation.item.done" and len(texts) == 2:
                break
    assert texts == ["what do you want", "他是中国人"]
    assert kinds[:2] == ["session.created", "session.updated"]
    turn = [kind for kind in kinds[2:] if not kind.endswith("delta")]
    assert turn == 2 * [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.input_audio_transcription.completed",
        "conversation.item.done",
    ]


def test_realtime_with_manual_turns(client: openai.OpenAI) -> None:
    with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        connection.session.update(
            session={"type": "transcription", "audio": {"input": {"turn_detection": None}}}
        )
        for piece in [*pieces(pcm(EN)), *pieces(pcm(ZH))]:
            connection.input_audio_buffer.append(audio=piece)
        connection.input_audio_buffer.commit()
        for event in connection:
            SERVER_EVENTS.validate_python(event.to_dict())
            if event.type == "conversation.item.input_audio_transcription.completed":
                assert event.transcript == "what do you want他是中国人"
                break
            assert event.type not in ("error", "input_audio_buffer.speech_started")
        connection.input_audio_buffer.commit()
        errors = (event for event in connection if event.type == "error")
        assert next(errors).error.code == "input_audio_buffer_commit_empty"
