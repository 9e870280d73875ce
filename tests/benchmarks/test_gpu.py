"""The measurement on a GPU, at toy size on a processor: what it finds, and what becomes of it where it cannot
go on.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu

# Plays vLLM's end: every token is as likely as any other.
WORKER = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked["do"] == "load":
        answer = {"ready": True}
    elif asked["do"] == "sample":
        answer = {"written": [[5] * budget for budget in asked["budgets"]]}
    else:
        from safetensors import safe_open
        with safe_open(asked["prompts"], "numpy") as file:
            count = len(file.keys())
        answer = {"rows": [[list(range(asked["top"])), [-1.0] * asked["top"]]] * count}
    print(json.dumps(answer), flush=True)
"""
SMALL = gpu.Sizes(streams=(1, 2), segments=(2,), segment_s=1.0, live_s=3.5, repeats=1)


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What a child printed, as its parent keeps it."""
    row: dict[str, Any] = {"machine": {}}
    kept: dict[str, Any] = {"sections": {}}
    for line in capsys.readouterr().out.splitlines():
        gpu.keep(row, kept, json.loads(line))
    return row | kept


def test_torch_is_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "TOY", SMALL)
    gpu.main(["--child", "torch", "--toy", "--device", "cpu", "--limit", "3000"])
    found = said(capsys)
    assert found["machine"]["gpu"] is None and "torch" in found["versions"] and found["ready_s"] > 0
    sections = found["sections"]
    assert {one["ended"] for one in sections.values()} == {"whole"}
    assert [row["streams"] for row in sections["steps"]["rows"]] == [1, 2]
    assert [row["segment_s"] for row in sections["encoder"]["rows"]] == [1.0, 30.0]
    for name in ("recordings", "recordings, 4 beams"):
        (row,) = sections[name]["rows"]
        assert row["texts"] == row["segments_at_once"] == 2 and row["tokens_per_s"] > 0
    # A stream of two seconds may be so late on a busy machine that no more are tried.
    for name in ("live", "live, finals alone"):
        row = sections[name]["rows"][0]
        assert row["streams"] == 1 and row["finals"] >= 1 and row["final_p95_s"] > 0
        assert (row["partial_p50_s"] is None) == (name == "live, finals alone")


def test_vllm_is_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu, "TOY", SMALL)
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)
    child = ["--child", "vllm", "--vllm-python", sys.executable, "--worker", str(worker)]
    gpu.main([*child, "--toy", "--device", "cpu", "--limit", "3000"])
    sections = said(capsys)["sections"]
    assert {one["ended"] for one in sections.values()} == {"whole"}, sections
    assert [row["texts_at_once"] for row in sections["generate"]["rows"]] == [1, 1, 2]
    assert sections["live"]["rows"][0]["finals"] >= 1 and sections["recordings"]["rows"][0]["texts"] == 2


def test_delays_are_what_computing_took(monkeypatch: pytest.MonkeyPatch) -> None:
    from nim4asr.recognition.configuration import StreamingConfig
    from nim4asr.recognition.engine import Engine

    model = gpu.torch_model(gpu.parser().parse_args(["--toy", "--device", "cpu"]))
    clock = iter(range(100_000))
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: next(clock) * 0.01)
    config = StreamingConfig("final", decoding=gpu.decoding(1))
    # Each step takes 0.01 s. One segment, three chunks of 0.64 s. The last comes with the endpoint: a step
    # hears it and writes the first token, one follows for each other of ceil(3.5 * 1.92) = 7, one more ends
    # the text.
    found = gpu.speak(Engine(model), config, 1, 4.0)
    assert found["finals"] == 1 and found["first_partial_p50_s"] is None
    assert found["final_p50_s"] == pytest.approx(0.08) == found["final_p95_s"]
    end = [due for due, _ in gpu.conversation(model, config, 0, 4.0)][-1]
    # And one for its beginning, one for each chunk before.
    assert found["load"] * end == pytest.approx((1 + 2 + 8) * 0.01)


def test_a_conversation_is_in_order() -> None:
    from nim4asr.recognition.configuration import StreamingConfig
    from nim4asr.recognition.frontend import FeatureChunk, SpeechEnd, SpeechStart

    model = gpu.torch_model(gpu.parser().parse_args(["--toy", "--device", "cpu"]))
    tasks = list(gpu.conversation(model, StreamingConfig(), 1, 20.0))
    times = [due for due, _ in tasks]
    assert times == sorted(times) and 19 < times[-1] < 22
    kinds = [type(task) for _, task in tasks]
    starts, ends = kinds.count(SpeechStart), kinds.count(SpeechEnd)
    lasts = [task for _, task in tasks if isinstance(task, FeatureChunk) and task.last]
    assert starts == ends == len(lasts) >= 3
    assert times[0] != next(iter(gpu.conversation(model, StreamingConfig(), 2, 20.0)))[0]


def test_a_script_says_words() -> None:
    from nim4asr.model.folder import ModelFolder, bundled

    tokenizer = ModelFolder.open(bundled()).tokenizer
    script = gpu.Script.of(tokenizer)
    words = tokenizer.decode(script.after(range(40))).split()
    assert len(words) == 40 and all(word.isalpha() and word.isascii() for word in words)
    assert max(script.words) < script.size == len(tokenizer) and len(set(words)) > 30


def test_an_error_or_a_limit_ends_one_section(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> Iterator[dict[str, Any]]:
        yield {"n": 1}
        raise RuntimeError("CUDA out of memory")

    def hangs() -> Iterator[dict[str, Any]]:
        yield {"n": 2}
        time.sleep(100)

    gpu.section("first", fails, 60.0, "cpu")
    gpu.section("second", hangs, 0.2, "cpu")
    gpu.section("third", lambda: iter([{"n": 3}]), 60.0, "cpu")
    sections = said(capsys)["sections"]
    assert [[row["n"] for row in one["rows"]] for one in sections.values()] == [[1], [2], [3]]
    ends = [one["ended"] for one in sections.values()]
    assert ends[0] == "failed: RuntimeError: CUDA out of memory" and "limit" in ends[1] and ends[2] == "whole"


def test_a_limit_waits_for_an_answer() -> None:
    heard = []

    def ask(seconds: float) -> str:
        time.sleep(seconds)
        heard.append(seconds)
        return "answer"

    limit = gpu.Limit()
    with pytest.raises(gpu.OutOfTime), limit.of(0.05):
        limit.waiting_for(ask)(0.2)
    assert heard == [0.2]
    with limit.of(60.0):
        assert limit.waiting_for(ask)(0.0) == "answer"


TALKS = """
import sys
print('{"machine": {"gpu": "none"}}')
print('a word of a library')
print('{"section": "live", "row": {"streams": 8, "load": 0.5, "final_p95_s": 0.1}}')
print('{"section": "live", "row": {"streams": 16, "load": 0.9, "final_p95_s": 0.4}}')
print('{"section": "live", "end": "whole"}', flush=True)
"""
HANGS = (
    "import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
)


def test_what_was_measured_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts = {"torch": TALKS, "vllm": TALKS + HANGS + "time.sleep(600)"}

    def command(options: Any, runtime: str, limit: float) -> list[str]:
        return [sys.executable, "-c", scripts[runtime]]

    monkeypatch.setattr(gpu, "command", command)
    output = tmp_path / "new" / "gpu.json"
    arguments = ["--vllm-python", "python", "--limit", "4", "--output", str(output)]
    # The second, and what it has started, would run for ten minutes.
    assert gpu.main(arguments) == 1
    row = json.loads(output.read_text())
    assert row["date"] and row["machine"]["gpu"] == "none" and row["machine"]["cores"]
    assert row["runtimes"]["torch"]["ended"] == "whole"
    assert "limit" in row["runtimes"]["vllm"]["ended"]
    assert [len(one["sections"]["live"]["rows"]) for one in row["runtimes"].values()] == [2, 2]
    printed = capsys.readouterr().out
    assert printed.count("8 streams held") == 2 and "| 16 | 0.9 | 0.4 |" in printed
    assert gpu.main(["--table", str(output)]) == 0
    assert capsys.readouterr().out.strip() in printed


def test_without_vllm_and_with_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for script, status in ((TALKS, 0), (TALKS + "sys.exit(3)", 1), ("", 1)):
        monkeypatch.setattr(gpu, "command", lambda *_, script=script: [sys.executable, "-c", script])
        output = tmp_path / "gpu.json"
        assert gpu.main(["--limit", "60", "--output", str(output)]) == status
        runtimes = json.loads(output.read_text())["runtimes"]
        assert runtimes["vllm"]["ended"] == "not installed"
    assert gpu.main(["--child", "torch", "--device", "cuda:99", "--toy"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["ended"].startswith("torch sees no device")
