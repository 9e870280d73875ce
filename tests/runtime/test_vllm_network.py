"""vLLM as the language model's engine: its end is played by Hugging Face's model, and by vLLM where it is."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from nim4asr.errors import InputError
from nim4asr.recognition.configuration import RecognitionConfig
from nim4asr.recognition.events import Final, Partial
from nim4asr.recognition.offline import Recognizer
from nim4asr.runtime.loading import load
from nim4asr.runtime.network import Model
from nim4asr.runtime.vllm_network import VllmCache, VllmNetwork, VllmOptions

WORKER = """
import json, sys
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
torch.set_num_threads(1)
answers, sys.stdout = sys.stdout, sys.stderr
for line in sys.stdin:
    asked = json.loads(line)
    if asked["do"] == "load":
        llm = AutoModelForCausalLM.from_pretrained(asked["model"]).float().eval()
        answer = {"ready": True}
    else:
        rows = load_file(asked["prompts"])
        answer = {"rows": []}
        for i in range(len(rows)):
            with torch.no_grad():
                logits = llm(inputs_embeds=rows[str(i)][None]).logits[0, -1]
            top = logits.log_softmax(-1).topk(asked["top"])
            answer["rows"].append([top.indices.tolist(), top.values.tolist()])
    answers.write(json.dumps(answer) + chr(10))
    answers.flush()
"""
CLIPS = ("zh-1", "en-1")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("worker") / "worker.py"
    path.write_text(WORKER)
    return path


@pytest.fixture(scope="module")
def model(worker: Path) -> Iterator[Model]:
    model = load(device="cpu", vllm=VllmOptions(sys.executable, "float32", worker=worker))
    yield model
    assert isinstance(model.network, VllmNetwork)
    model.network.close()


def texts(model: Model, beams: int) -> list[str]:
    from dataclasses import replace

    decoding = replace(model.config.decoding, beam_size=beams)
    recognizer = Recognizer(model, RecognitionConfig(decoding=decoding))
    return [recognizer.transcribe(CLIP_FOLDER / f"{clip}.flac", hints=["中国人"]).text for clip in CLIPS]


@pytest.mark.parametrize("beams", [1, 4])
def test_recordings_have_the_same_texts(model: Model, beams: int) -> None:
    assert texts(model, beams) == texts(load(runtime="torch", device="cpu"), beams)


def test_live_speech_has_the_same_events(model: Model) -> None:
    sound = read_audio(CLIP_FOLDER / "en-1.flac")
    found = []
    for one in (model, load(runtime="torch", device="cpu")):
        stream = Recognizer(one).stream()
        events = [*stream.feed(sound), *stream.finish()]
        found.append(
            [
                e.stable + e.volatile if isinstance(e, Partial) else e.segment.text
                for e in events
                if isinstance(e, Partial | Final)
            ]
        )
    assert found[0] == found[1] and found[0][-1] == "what do you want"


def test_slots_are_embeddings(model: Model) -> None:
    cache = model.network.open_cache()
    assert isinstance(cache, VllmCache)
    slot = cache.allocate()
    some = np.ones((3, 256), np.float32) * 0.01
    first = cache.append([slot], [some])
    assert first.shape == (1, 6004) and cache.length(slot) == 3
    fork = cache.fork(slot)
    cache.append([fork], [some[:1]])
    assert (cache.length(slot), cache.length(fork), cache.slots_in_use) == (3, 4, 2)
    cache.truncate(fork, 3)
    np.testing.assert_array_equal(cache.append([fork], [some[:0]]), first)
    with pytest.raises(ValueError, match="fewer than 9"):
        cache.truncate(fork, 9)
    cache.load(fork, cache.export(slot))
    cache.free(slot)
    cache.free(fork)
    assert cache.slots_in_use == 0
    # What was not told of is less likely than anything that was.
    assert np.isfinite(first).all() and (first == first.min()).sum() == 6004 - 64


def test_what_cannot_run(worker: Path) -> None:
    with pytest.raises(InputError, match="say which Python"):
        load(runtime="vllm")
    with pytest.raises(InputError, match="cannot be run"):
        load(vllm=VllmOptions("no-such-python"))


@pytest.mark.skipif("NIM4_VLLM_PYTHON" not in os.environ, reason="needs an environment with vLLM")
def test_vllm_writes_the_same_texts() -> None:
    options = VllmOptions(os.environ["NIM4_VLLM_PYTHON"], "float32", longest=512, memory_share=0.1)
    model = load(device="cpu", vllm=options)
    for beams in (1, 4):
        assert texts(model, beams) == texts(load(runtime="torch", device="cpu"), beams)
    assert isinstance(model.network, VllmNetwork)
    model.network.close()
