import subprocess
import sys
from pathlib import Path

import pytest

from nim4asr.errors import InputError
from nim4asr.runtime import loading
from nim4asr.runtime.loading import load
from nim4asr.runtime.onnx_network import OnnxNetwork
from nim4asr.runtime.torch_network import TorchNetwork


def test_a_model_with_graphs_runs_on_onnxruntime(toy_model: Path) -> None:
    assert isinstance(load().network, OnnxNetwork)
    assert isinstance(load(runtime="torch").network, TorchNetwork)
    assert isinstance(load(dtype="bfloat16").network, TorchNetwork)
    assert isinstance(load(toy_model).network, TorchNetwork)


def test_what_cannot_be(toy_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no graphs for onnxruntime; write them with: nim4 export"):
        load(toy_model, "onnx")
    with pytest.raises(InputError, match="not on cuda in float32; use torch"):
        load(runtime="onnx", device="cuda")
    with pytest.raises(InputError, match="'meta' is not available"):
        load(device="meta")
    with pytest.raises(InputError, match="dtype must be one of"):
        load(dtype="int4")
    with pytest.raises(InputError, match="threads must be from 1 to 1024, not 0"):
        load(threads=0)
    monkeypatch.setattr(loading, "_installed", lambda *packages: "torch" not in packages)
    with pytest.raises(InputError, match=r"torch, which is not installed: pip install 'nim4asr\[torch\]'"):
        load(runtime="torch")
    monkeypatch.setattr(loading, "_installed", lambda *packages: False)
    with pytest.raises(InputError, match="onnxruntime is not installed"):
        load(runtime="onnx")


def test_recognition_needs_neither_torch_nor_transformers() -> None:
    """Recordings, beams, hints, hotwords and live speech, in a process that cannot import them."""
    program = """
import sys
for name in ("torch", "transformers", "onnx", "accelerate"):
    sys.modules[name] = None
import nim4asr
from nim4asr.audio.reading import read_audio
from nim4asr.hotwords.names import Name
from nim4asr.model.decoding import DecodingConfig
from nim4asr.recognition.configuration import RecognitionConfig
from nim4asr.recognition.offline import Recognizer
names = nim4asr.HotwordIndex()
names.add([Name("中国人")])
recognizer = Recognizer.load(config=RecognitionConfig(decoding=DecodingConfig(beam_size=2)))
segment = recognizer.transcribe("tests/clips/zh-1.flac", hotwords=names, hints=["他是"]).segments[0]
print(segment.text, [hit.text for hit in segment.hits])
stream = nim4asr.stream()
stream.feed(read_audio("tests/clips/en-1.flac"))
print(stream.finish()[-1].segment.text)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["他是中国人 ['中国人']", "what do you want"]
