import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.audio.voice_activity import EndReason
from nim4asr.cli import live as command
from nim4asr.cli.live import Screen, to_json
from nim4asr.cli.main import main
from nim4asr.cli.options import tell_if_whole
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.recognition.events import Final, Partial, SpeechEnded, SpeechStarted
from nim4asr.recognition.result import Segment
from nim4asr.runtime.torch_network import torch_model

CLIP = sorted((Path(__file__).parents[1] / "clips").glob("*.flac"))[0]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main(["stream", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("mode", ["refresh", "final"])
def test_json_is_one_event_a_line(capsys: pytest.CaptureFixture[str], mode: str) -> None:
    status, out, err = run(capsys, CLIP, "--json", "--mode", mode)
    assert (status, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "speech_started" and kinds[-2:] == ["speech_ended", "final"]
    assert ("partial" in kinds) == (mode == "refresh")
    final = events[-1]
    assert final["text"] and final["words"][0]["start"] >= final["start"]
    # Without a terminal, the text alone.
    assert run(capsys, CLIP, "--mode", mode) == (0, final["text"] + "\n", "")


def test_every_kind_of_event_has_its_json() -> None:
    segment = Segment(0.5, 1.0, "hi", 0.9, hints=("hi", "ho"))
    rows = [
        json.loads(to_json(event))
        for event in (
            SpeechStarted(0.5),
            Partial(0.9, "h", "i"),
            SpeechEnded(1.0, EndReason.SILENCE),
            Final(1.0, segment),
        )
    ]
    assert rows[1] == {"event": "partial", "time": 0.9, "stable": "h", "volatile": "i"}
    assert rows[2] == {"event": "speech_ended", "time": 1.0, "reason": "silence"}
    assert rows[3]["hints_used"] == ["hi"] and rows[3]["confidence"] == 0.9


def test_the_pace_is_that_of_the_audio(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(command.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(command.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    assert run(capsys, CLIP, "--pace", "--mode", "final")[0] == 0
    assert clock[0] - 100 == pytest.approx(soundfile.info(CLIP).duration)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "either an audio file or --mic"),
        ([CLIP, "--mic"], "either an audio file or --mic"),
        (["--mic", "--pace"], "its own pace"),
        ([CLIP, "--chunk", "500"], "multiple of 160 ms, not 500 ms"),
        ([CLIP, "--chunk", "0"], "chunk must be positive"),
        ([CLIP, "--end-silence", "-1"], "contradict"),
        (["nowhere.wav"], "no such file"),
        ([CLIP, *["--hint", "x"] * 21], "at most 20 hints"),
    ],
)
def test_bad_options_are_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[object], said: str
) -> None:
    status, out, err = run(capsys, *arguments)
    assert status == 1 and out == ""
    assert said in err and err.count("\n") == 1


def test_what_the_microphone_heard_before_ctrl_c_is_written_down(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, speech: Floats
) -> None:
    def listen() -> Any:
        pcm = np.round(speech * 32767).astype("<i2").tobytes()
        yield pcm[: len(pcm) // 4 * 2]
        yield pcm[len(pcm) // 4 * 2 :]
        raise KeyboardInterrupt

    monkeypatch.setattr("nim4asr.audio.microphone.listen", listen)
    status, out, err = run(capsys, "--mic", "--mode", "final")
    assert status == 0 and "listening" in err
    assert out == run(capsys, CLIP, "--mode", "final")[1]


def test_what_a_broken_file_held_before_its_break_is_written_down(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, speech: Floats
) -> None:
    samples = np.concatenate([speech, np.zeros(SAMPLE_RATE, np.float32), [np.nan]]).astype(np.float32)
    padded = np.concatenate([np.resize(speech, 1 << 18), samples])
    soundfile.write(tmp_path / "x.wav", padded, SAMPLE_RATE, subtype="FLOAT")
    status, out, err = run(capsys, tmp_path / "x.wav", "--mode", "final")
    assert status == 1 and out.strip() and "NaN" in err and err.count("\n") == 1


def test_a_terminal_shows_stable_text_plain_and_volatile_text_dim() -> None:
    out = io.StringIO()
    screen = Screen(out, columns=12)
    screen(
        [Partial(1.0, "ab", "cd"), Partial(2.0, "abcdefghijkl", "我们"), SpeechEnded(2.5, EndReason.SILENCE)]
    )
    screen([Final(2.5, Segment(0.0, 2.5, "abcd", 1.0)), Final(3.0, Segment(2.5, 3.0, "", 1.0))])
    assert out.getvalue() == (
        "\r\x1b[Kab\x1b[2mcd\x1b[0m"
        # Eleven columns hold the end of the text: two wide characters and seven others.
        "\r\x1b[Kfghijkl\x1b[2m我们\x1b[0m"
        "\r\x1b[Kabcd\n"
        "\r\x1b[K"
    )


def test_evaluate_streaming(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    row = {"id": "a", "audio": str(CLIP), "text": "what do you want", "language": "en"}
    manifest.write_text(json.dumps(row) + "\n")
    assert main(["evaluate", str(manifest), "--streaming", "--chunk", "320", "--beams", "2"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["streaming"] == {"mode": "refresh", "chunk": 0.32} and summary["beams"] == 2
    assert summary["total"]["utterances"] == 1
    for wrong, said in (
        (["--mode", "final"], "add --streaming"),
        (["--streaming", "--chunk-frames", "8"], "recordings"),
    ):
        assert main(["evaluate", str(manifest), *wrong]) == 1
        assert said in capsys.readouterr().err


def test_samples_at_the_microphones_rate_are_streamed(speech: Floats) -> None:
    import nim4asr

    stream = nim4asr.stream(sample_rate=SAMPLE_RATE)
    events = [*stream.feed(speech), *stream.finish()]
    assert isinstance(events[-1], Final)


def test_a_model_without_chunks_says_when_its_text_comes(
    toy_checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    model = torch_model(toy_checkpoint)
    tell_if_whole(model)
    assert capsys.readouterr().err == ""
    network = toy_checkpoint.network
    config, network.config = network.config, replace(network.config, chunks=None)
    try:
        tell_if_whole(model)
    finally:
        network.config = config
    assert "text comes when a segment ends" in capsys.readouterr().err
