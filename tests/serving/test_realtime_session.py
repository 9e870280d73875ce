"""The session without a socket and without a model: any order of messages and events keeps its laws."""

import base64
import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from nim4asr.audio.voice_activity import EndReason
from nim4asr.recognition.events import Event, Failed, Final, Marked, Partial, SpeechEnded, SpeechStarted
from nim4asr.recognition.result import Segment, Word
from nim4asr.serving.formats import a_law, mu_law
from nim4asr.serving.realtime_session import (
    Action,
    Commit,
    Configure,
    Drop,
    Feed,
    Hint,
    Open,
    RealtimeSession,
    Send,
)

SECOND = base64.b64encode(b"\0" * 48_000).decode()
SERVER_EVENTS: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
TRANSCRIPTION = "conversation.item.input_audio_transcription"


def session(**options: Any) -> RealtimeSession:
    numbers = itertools.count()
    return RealtimeSession(lambda kind: f"{kind}_{next(numbers)}", expires_at=7, **options)


def rows(actions: Sequence[Action]) -> list[dict[str, Any]]:
    return [dict(action.row) for action in actions if isinstance(action, Send)]


def kinds(actions: Sequence[Action]) -> list[str]:
    return [row["type"].removeprefix(f"{TRANSCRIPTION}.") for row in rows(actions)]


def receive(target: RealtimeSession, kind: str, **fields: Any) -> list[Action]:
    return target.receive(json.dumps({"type": kind, **fields}))


def update(target: RealtimeSession, **given: Any) -> list[Action]:
    return receive(target, "session.update", session={"type": "transcription", "audio": {"input": given}})


def append(target: RealtimeSession, audio: str = SECOND) -> list[Action]:
    return receive(target, "input_audio_buffer.append", audio=audio)


def final(text: str, end: float = 1.0) -> Final:
    return Final(end, Segment(0.0, end, text, 0.5, (Word(text, 0.1, 0.2, 1.0),)))


def test_a_turn_by_server_vad() -> None:
    one = session(hypotheses=True)
    assert kinds(one.start()) == ["session.created"]
    opened, fed = append(one)
    assert isinstance(opened, Open) and opened.sample_rate == 24_000
    assert isinstance(fed, Feed) and len(fed.samples) == 24_000 and one.seconds == 1.0
    events: list[Event] = [
        SpeechStarted(0.2),
        Partial(0.6, "a", " bc"),
        Partial(0.9, "a b", "d"),
        SpeechEnded(1.0, EndReason.SILENCE),
        final("a bde"),
    ]
    told = rows(one.hear(opened.generation, events))
    assert [row["type"].rpartition(".")[2] for row in told] == [
        "speech_started",
        "delta",
        "hypothesis",
        "delta",
        "hypothesis",
        "speech_stopped",
        "committed",
        "added",
        "delta",
        "words",
        "completed",
        "done",
    ]
    assert "".join(row["delta"] for row in told if row["type"].endswith("delta")) == "a bde"
    assert told[0]["audio_start_ms"] == 200 and told[5]["audio_end_ms"] == 1000
    assert told[-2]["usage"] == {"type": "duration", "seconds": 0.8}
    # The next turn names the one before.
    again = rows(one.hear(opened.generation, [SpeechStarted(2.0), SpeechEnded(2.5, EndReason.SILENCE)]))
    assert again[2]["previous_item_id"] == told[0]["item_id"]


def test_what_the_second_pass_mends_is_in_completed_alone() -> None:
    one = session()
    (opened, _) = append(one)
    assert isinstance(opened, Open)
    told = rows(
        one.hear(
            1,
            [
                SpeechStarted(0.2),
                Partial(0.6, "wrong", ""),
                SpeechEnded(1.0, EndReason.SILENCE),
                final("right"),
            ],
        )
    )
    assert [row["delta"] for row in told if row["type"].endswith("delta")] == ["wrong"]
    assert [row["transcript"] for row in told if row["type"].endswith("completed")] == ["right"]


def test_a_manual_turn_collects_segments_up_to_its_commit() -> None:
    one = session()
    update(one, turn_detection=None)
    append(one)
    first = one.hear(1, [SpeechStarted(0.1), SpeechEnded(0.4, EndReason.SILENCE), final("hello", 0.4)])
    assert kinds(first) == ["delta"]
    committed = receive(one, "input_audio_buffer.commit")
    assert kinds(committed) == ["input_audio_buffer.committed", "conversation.item.added"]
    (commit,) = [action for action in committed if isinstance(action, Commit)]
    # Sound of the next turn may come before the last words of this one are out.
    append(one)
    told = one.hear(
        1, [SpeechStarted(0.5), SpeechEnded(0.9, EndReason.COMMIT), final("world", 0.9), Marked(commit.token)]
    )
    assert [row["transcript"] for row in rows(told) if "transcript" in row] == ["hello world"]
    assert one.hear(1, [SpeechStarted(1.2), Partial(1.5, "next", "")]) and not one.idle


def test_a_manual_turn_of_silence_is_empty() -> None:
    one = session()
    update(one, turn_detection=None)
    append(one)
    (commit,) = [action for action in receive(one, "input_audio_buffer.commit") if isinstance(action, Commit)]
    completed = rows(one.hear(1, [Marked(commit.token)]))
    assert completed[0]["transcript"] == "" and one.idle


def test_a_commit_where_nobody_spoke_is_an_error_of_its_own() -> None:
    one = session()
    assert (
        rows(receive(one, "input_audio_buffer.commit"))[0]["error"]["code"]
        == "input_audio_buffer_commit_empty"
    )
    append(one)
    (commit,) = receive(one, "input_audio_buffer.commit", event_id="mine")
    assert isinstance(commit, Commit)
    (error,) = rows(one.hear(1, [Marked(commit.token)]))
    assert (
        error["error"]["code"] == "input_audio_buffer_commit_empty" and error["error"]["event_id"] == "mine"
    )
    append(one)
    (commit,) = receive(one, "input_audio_buffer.commit")
    assert isinstance(commit, Commit)
    spoken = [SpeechStarted(1.1), SpeechEnded(1.5, EndReason.COMMIT), final("yes"), Marked(commit.token)]
    assert "error" not in kinds(one.hear(1, spoken))


def test_settings_are_merged_and_bad_ones_change_nothing() -> None:
    one = session()
    update(
        one,
        turn_detection={"type": "server_vad", "silence_duration_ms": 900},
        transcription={"keywords": ["NIO"]},
    )
    (updated,) = rows(update(one, format={"type": "audio/pcmu"}))
    read = updated["session"]["audio"]["input"]
    assert read["turn_detection"]["silence_duration_ms"] == 900 and read["format"] == {"type": "audio/pcmu"}
    assert read["transcription"]["keywords"] == ["NIO"] and one.rate == 8000
    wrong: list[dict[str, Any]] = [
        {"format": {"type": "audio/pcm", "rate": 1}},
        {"format": {"type": "audio/opus"}},
        {"turn_detection": {"type": "server_vad", "threshold": 3}},
        {"turn_detection": {"type": "magic"}},
        {"transcription": {"keywords": "NIO"}},
        {"transcription": {"delay": "never"}},
        {"transcription": {"mood": 1}},
        {"transcription": 3},
        {"transcription": {"language": 3}},
        {"transcription": {"languages": "zh"}},
        {"transcription": {"prompt": ["a"]}},
        {"transcription": {"prompt": "x" * 100_000}},
        {"transcription": {"keywords": ["x" * 300]}},
        {"transcription": {"keywords": [["x"]]}},
        {"transcription": {"hotwords": {}}},
        {"transcription": {"model": {"name": "nano"}}},
        {"turn_detection": {"type": "server_vad", "mood": 1}},
        {"turn_detection": {"type": "semantic_vad", "eagerness": "never"}},
        {"turn_detection": {"type": "semantic_vad", "threshold": 0.5}},
        {"turn_detection": {"type": ["server_vad"]}},
        {"noise_reduction": {"type": "magic"}},
        {"noise_reduction": {"type": "near_field", "strength": 2}},
        {"noise_reduction": True},
        {"format": {"type": ["audio/pcm"]}},
        {"format": {"type": "audio/pcm", "rate": 10**400}},
        {"mood": 1},
    ]
    for input_ in wrong:
        (error,) = rows(update(one, **input_))
        assert error["type"] == "error" and error["error"]["code"] == "invalid_value", input_
        assert error["error"]["param"].startswith("session.audio.input.")
    assert rows(update(one))[0]["session"]["audio"]["input"] == read
    opened, _ = append(one)
    assert isinstance(opened, Open) and opened.keywords == ("NIO",) and opened.sample_rate == 8000
    assert opened.config.voice_activity.min_silence_s == 0.9
    # Sound has come: the format stays, the others may change.
    assert rows(update(one, format={"type": "audio/pcma"}))[0]["type"] == "error"
    actions = update(
        one, transcription={"keywords": ["A"]}, turn_detection={"type": "server_vad", "threshold": 0.7}
    )
    assert [type(action) for action in actions] == [Send, Hint, Configure]
    assert rows(update(one, turn_detection=None))[0]["session"]["audio"]["input"]["turn_detection"] is None


def test_each_setting_is_taken_or_refused_by_itself() -> None:
    one = session()
    told = rows(
        receive(
            one,
            "session.update",
            event_id="mine",
            session={
                "type": "transcription",
                "audio": {
                    "input": {
                        "format": {"type": "audio/opus"},
                        "transcription": {"model": "gpt-9", "language": "zh", "keywords": ["NIO"]},
                        "turn_detection": None,
                    }
                },
                "include": ["all"],
            },
        )
    )
    assert [row["type"] for row in told] == ["session.updated", "error", "error", "error"]
    read = told[0]["session"]["audio"]["input"]
    assert read["format"] == {"type": "audio/pcm", "rate": 24_000} and read["turn_detection"] is None
    assert read["transcription"] == {"model": "nano", "language": "zh", "prompt": "", "keywords": ["NIO"]}
    assert [(row["error"]["param"], row["error"]["code"]) for row in told[1:]] == [
        ("session.audio.input.format", "invalid_value"),
        ("session.audio.input.transcription.model", "model_not_found"),
        ("session.include", "invalid_value"),
    ]
    assert all(row["error"]["event_id"] == "mine" for row in told[1:])


def test_null_clears() -> None:
    one = session()
    update(one, transcription={"keywords": ["NIO"], "hotwords": "people", "language": "en"})
    (cleared,) = rows(update(one, transcription={"keywords": None, "hotwords": None, "language": None}))
    assert cleared["session"]["audio"]["input"]["transcription"] == {
        "model": "nano",
        "language": None,
        "prompt": "",
    }
    update(one, transcription={"keywords": ["NIO"]})
    (cleared,) = rows(update(one, transcription=None, format=None, noise_reduction=None))
    assert "keywords" not in cleared["session"]["audio"]["input"]["transcription"]
    assert rows(receive(one, "session.update", session={"include": None}))[0]["session"]["include"] == []


# As OpenAI's documentation has them, in our own words: what it shows of transcription sessions.
DOCUMENTED = [
    {
        "type": "transcription",
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "noise_reduction": {"type": "near_field"},
                "transcription": {"model": "whisper-1", "prompt": "", "language": "en"},
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.4,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 700,
                },
            }
        },
        "include": ["item.input_audio_transcription.logprobs"],
    },
    {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}}},
    {
        "audio": {
            "input": {
                "turn_detection": {"type": "server_vad", "create_response": False, "interrupt_response": True}
            }
        }
    },
    {"audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 6000}}}},
    {"audio": {"input": {"noise_reduction": {"type": "far_field", "strength": 0.5}}}},
    {
        "audio": {
            "input": {"transcription": {"model": "whisper-1", "languages": ["en", "zh"], "delay": "low"}}
        }
    },
    {"audio": {"input": {"format": {"type": "audio/pcmu"}, "turn_detection": None}}},
    {"type": "transcription", "audio": {"input": {"noise_reduction": None}, "output": {"voice": "marin"}}},
    {"instructions": "Write it down.", "tools": [], "tool_choice": "auto", "model": "gpt-realtime"},
    {},
]


@pytest.mark.parametrize(
    ("given", "ignored"),
    list(
        zip(
            DOCUMENTED,
            [
                ["audio.input.transcription.language", "audio.input.noise_reduction"],
                ["audio.input.turn_detection.type"],
                [
                    "audio.input.turn_detection.create_response",
                    "audio.input.turn_detection.interrupt_response",
                ],
                ["audio.input.turn_detection.idle_timeout_ms"],
                ["audio.input.noise_reduction"],
                ["audio.input.transcription.languages"],
                [],
                ["audio.output"],
                ["instructions", "tools", "tool_choice", "model"],
                [],
            ],
            strict=True,
        )
    ),
)
def test_what_openai_documents_is_taken_and_what_has_no_effect_is_named(
    given: dict[str, Any], ignored: list[str]
) -> None:
    one = session(is_model=lambda name: name in ("nano", "whisper-1"))
    (updated,) = rows(receive(one, "session.update", session=given))
    assert updated["type"] == "session.updated"
    SERVER_EVENTS.validate_python(updated)
    named = updated["session"].get("nim4_ignored", [])
    assert [name.removeprefix("session.") for name in named] == ignored
    assert updated["session"]["audio"]["input"]["noise_reduction"] is None


def test_openai_s_example_has_its_effect() -> None:
    one = session(is_model=lambda name: name in ("nano", "whisper-1"))
    receive(one, "session.update", session=DOCUMENTED[0])
    opened, _ = append(one)
    assert isinstance(opened, Open) and opened.sample_rate == 24_000
    vad = opened.config.voice_activity
    assert (vad.threshold, vad.speech_pad_s, vad.min_silence_s) == (0.4, 0.3, 0.7)


def test_eagerness_is_a_pause() -> None:
    for eagerness, pause in (("low", 1.0), ("auto", 0.5), ("high", 0.3)):
        one = session()
        update(one, turn_detection={"type": "semantic_vad", "eagerness": eagerness})
        opened, _ = append(one)
        assert isinstance(opened, Open) and opened.config.voice_activity.min_silence_s == pause


def test_names_in_a_prompt_are_hints() -> None:
    one = session()
    (updated,) = rows(update(one, transcription={"prompt": "NIO, Zürich", "keywords": ["张伟东", "NIO"]}))
    assert "nim4_ignored" not in updated["session"]
    opened, _ = append(one)
    assert isinstance(opened, Open) and opened.keywords == ("张伟东", "NIO", "Zürich")
    (updated,) = rows(update(one, transcription={"prompt": "A talk about wishes."}))[:1]
    assert updated["session"]["nim4_ignored"] == ["session.audio.input.transcription.prompt"]


def test_a_session_that_must_end_commits_what_was_said() -> None:
    one = session()
    assert one.conclude() == []
    update(one, turn_detection=None)
    append(one)
    actions = one.conclude()
    assert kinds(actions) == ["input_audio_buffer.committed", "conversation.item.added"]
    (commit,) = [action for action in actions if isinstance(action, Commit)]
    assert kinds(one.hear(1, [final("yes"), Marked(commit.token)]))[-2:] == [
        "completed",
        "conversation.item.done",
    ]
    # With turns by the server, the stream's end is the turn's.
    one = session()
    append(one)
    assert one.conclude() == []


def test_delays_are_chunks() -> None:
    one = session()
    update(one, transcription={"delay": "minimal"})
    opened, _ = append(one)
    assert isinstance(opened, Open) and opened.config.chunk_s == 0.16


def test_clear_forgets_and_what_was_under_way_is_not_told() -> None:
    one = session()
    append(one)
    one.hear(1, [SpeechStarted(0.1)])
    actions = receive(one, "input_audio_buffer.clear")
    assert isinstance(actions[0], Drop) and kinds(actions) == ["input_audio_buffer.cleared"]
    assert one.hear(1, [final("late")]) == []
    opened, _ = append(one)
    assert isinstance(opened, Open) and opened.generation > 1
    # Times go on from the session's start.
    assert rows(one.hear(opened.generation, [SpeechStarted(0.5)]))[0]["audio_start_ms"] == 1500


def test_a_failed_stream_fails_its_turn_and_the_next_sound_opens_another() -> None:
    one = session()
    append(one)
    one.hear(1, [SpeechStarted(0.1)])
    (failed,) = rows(one.hear(1, [Failed(RuntimeError("secret details"))]))
    assert failed["type"] == f"{TRANSCRIPTION}.failed" and "secret" not in json.dumps(failed)
    assert failed["error"]["type"] == failed["error"]["code"] == "server_error"
    assert isinstance(append(one)[0], Open)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("", "invalid_json"),
        ("[]", "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ('{"type": 3}', "unknown_event"),
        ('{"type": "response.create"}', "unknown_event"),
        ('{"type": "transcription_session.update"}', "unknown_event"),
        ('{"type": "session.update"}', "invalid_value"),
        ('{"type": "session.update", "session": {"type": "realtime"}}', "invalid_value"),
        ('{"type": "session.update", "session": {"include": ["all"]}}', "invalid_value"),
        ('{"type": "input_audio_buffer.append"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": "???"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": "AA=="}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": "\\u00e9"}', "invalid_value"),
        ('{"type": "conversation.item.create", "item": {}}', "unknown_event"),
        ('{"type": "output_audio_buffer.clear"}', "unknown_event"),
        ('{"type": "input_audio_buffer.clear", "event_id": "\\ud800"}', "invalid_json"),
        ('{"type": "input_audio_buffer.clear", "event_id": 3}', "invalid_value"),
        ('{"type": "input_audio_buffer.clear", "event_id": "' + "x" * 600 + '"}', "invalid_value"),
        (
            '{"type": "session.update", "session": {"audio": {"input": {"transcription": '
            '{"prompt": "\\udc00"}}}}}',
            "invalid_json",
        ),
        ('{"type": NaN}', "invalid_json"),
        ('{"type": "session.update", "session": {"include": [Infinity]}}', "invalid_json"),
        (
            '{"type": "session.update", "session": {"audio": {"input": {"turn_detection": '
            '{"type": "server_vad", "threshold": 1e999}}}}}',
            "invalid_json",
        ),
        ('{"type": "session.update", "session": {"audio": null}}', "invalid_value"),
        ('{"type": "session.update", "session": [' + "[]," * 100_000 + "[]]}", "invalid_json"),
        ('{"type": "' + "9" * 5000 + '", "a": ' + "9" * 5000 + "}", "invalid_json"),
    ],
)
def test_bad_messages_are_errors_and_the_session_goes_on(message: str, code: str) -> None:
    one = session()
    (error,) = rows(one.receive(message))
    assert error["type"] == "error" and error["error"]["code"] == code and error["error"]["message"]
    assert isinstance(append(one)[0], Open)


def test_g711_decodes_as_the_recommendation_says() -> None:
    """Segments of the tables of ITU-T G.711: their ends, and that both are odd and monotone."""
    mu, a = mu_law().astype(int), a_law().astype(int)
    assert (mu[0x00], mu[0x7F], mu[0x80], mu[0xFF]) == (-32124, 0, 32124, 0)
    assert (a[0x2A], a[0xAA], a[0x55], a[0xD5]) == (-32256, 32256, -8, 8)
    assert sorted(mu[:128]) == list(mu[:128]) and list(mu[128:]) == [-x for x in mu[:128]]
    assert sorted(-a) == sorted(a)


words = st.sampled_from(["", "a", "ab", "ab c", "abc", "x"])
events = st.one_of(
    st.builds(Partial, st.just(1.0), words, words),
    st.just(SpeechStarted(0.5)),
    st.sampled_from([SpeechEnded(1.0, reason) for reason in EndReason]),
    words.map(final),
    st.just(Failed(ValueError("x"))),
)
messages = st.one_of(
    st.just(("input_audio_buffer.append", {"audio": SECOND})),
    st.just(("input_audio_buffer.commit", {})),
    st.just(("input_audio_buffer.clear", {})),
    st.sampled_from([None, {"type": "server_vad"}]).map(
        lambda turns: ("session.update", {"session": {"audio": {"input": {"turn_detection": turns}}}})
    ),
    st.text(max_size=20).map(lambda text: (text, {})),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(messages, events), max_size=40))
def test_any_order_keeps_the_laws(steps: list[Any]) -> None:
    """Deltas of an item only grow, it is completed or failed once, and nothing is told of it afterwards."""
    one = session(hypotheses=True)
    told: list[dict[str, Any]] = []
    generation = 0
    for step in steps:
        actions = (
            receive(one, step[0], **step[1]) if isinstance(step, tuple) else one.hear(generation, [step])
        )
        pending = list(actions)
        while pending:
            action = pending.pop(0)
            if isinstance(action, Open):
                generation = action.generation
            elif isinstance(action, Commit):
                # The engine marks what has been worked off.
                pending += one.hear(generation, [Marked(action.token)])
            elif isinstance(action, Send):
                told.append(dict(action.row))
    ids = [row["event_id"] for row in told]
    assert len(ids) == len(set(ids))
    ended: set[str] = set()
    texts: dict[str, str] = {}
    for row in told:
        item = row.get("item_id")
        if item is None:
            continue
        assert item not in ended
        if row["type"].endswith(".delta"):
            assert row["delta"]
            texts[item] = texts.get(item, "") + row["delta"]
        elif row["type"].endswith((".completed", ".failed")):
            ended.add(item)


def test_samples_are_read_as_they_were_sent() -> None:
    one = session()
    values = np.array([0, 1, -2, 32767, -32768], "<i2")
    fed = append(one, base64.b64encode(values.tobytes()).decode())[1]
    assert isinstance(fed, Feed)
    np.testing.assert_array_equal(fed.samples, values)


def test_where_names_stand_is_told_in_the_text_of_the_whole_item() -> None:
    one = session(hypotheses=True)
    one.start()
    update(one, turn_detection=None)
    opened, _ = append(one)
    assert isinstance(opened, Open)
    first, second = (
        Final(end, Segment(end - 1, end, text, 0.5, hints=("Ann", "北京")))
        for end, text in ((1.0, "we were planning"), (2.0, "ann去北京"))
    )
    told = rows(one.hear(opened.generation, [SpeechStarted(0.1), first, second]))
    names = [row for row in told if row["type"] == "nim4.names"]
    # "we were planning ann去北京": letters inside "planning" are no name.
    assert [row["names_at"] for row in names] == [[], [[17, 20], [21, 23]]]
    assert [row["hints_used"] for row in names] == [[], ["Ann", "北京"]]
