"""A toy model and toy sounds: everything the tests need, made in memory in seconds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

from nim4asr.acoustics.normalization import Cmvn
from nim4asr.acoustics.whisper import WhisperFeatures
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.prompt import PromptConfig
from nim4asr.model.shapes import AdaptorConfig, ConformerConfig, PhonemeHeadConfig, WhisperConfig

# What needs torch is imported where it is used: an installation without it is tested as well (make lowest).
if TYPE_CHECKING:
    from nim4asr.model.checkpoint import Checkpoint

# A machine may be busy: how long an example takes says nothing.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# Why a test may be skipped where all extras are installed.
EXPECTED_SKIPS = (
    "needs DeepSpeed",
    "needs an environment with vLLM",
    "espeak-ng and flite are not installed",
    "needs Playwright and Chromium",
    "needs Node and OpenAI's npm package",
    "needs Ray",
    "needs LiveKit's agents or pipecat",
    "needs Docker's daemon",
    "needs the clients of sherpa-onnx and FunASR",
    "needs mount namespaces",
)
# Four clips of espeak-ng and flite, which nano gets right.
CLIP_FOLDER = Path(__file__).parent / "clips"
TEXTS = ["今天天气很好", "我想去北京", "how are you today", "the weather is fine", "你好世界 hello world"] * 3


def toy_config(vocabulary: int) -> Nim4Config:
    return Nim4Config(
        name="toy",
        encoder=ConformerConfig(model_dim=16, blocks=2, heads=2, kernel_size=7, subsampling_channels=4),
        adaptor=AdaptorConfig(encoder_dim=16, llm_dim=32),
        phoneme_head=PhonemeHeadConfig(encoder_dim=16, hidden_dim=16),
        llm={
            "model_type": "qwen3",
            "vocab_size": vocabulary,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "max_position_embeddings": 512,
            "tie_word_embeddings": True,
        },
        prompt=PromptConfig(system="", task="", hints="\n", separator=","),
    )


def toy_whisper_config(vocabulary: int) -> Nim4Config:
    """The toy, hearing by Whisper's encoder."""
    return replace(
        toy_config(vocabulary),
        name="toy-whisper",
        encoder=WhisperConfig(model_dim=16, blocks=2, heads=2, feedforward_dim=32),
        features=WhisperFeatures(),
        adaptor=AdaptorConfig(encoder_dim=32, llm_dim=32),
        phoneme_head=PhonemeHeadConfig(encoder_dim=32, hidden_dim=16),
    )


@pytest.fixture(scope="session")
def toy_checkpoint() -> "Checkpoint":
    return _checkpoint(toy_config)


@pytest.fixture(scope="session")
def toy_whisper_checkpoint() -> "Checkpoint":
    return _checkpoint(toy_whisper_config)


def _checkpoint(config: Callable[[int], Nim4Config]) -> "Checkpoint":
    import torch

    from nim4asr.model.checkpoint import Checkpoint
    from nim4asr.model.nim4 import Nim4
    from nim4asr.training.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(TEXTS, 120)
    torch.manual_seed(0)
    network = Nim4(config(len(tokenizer))).eval()
    cmvn = Cmvn(np.full(80, 8, np.float32), np.full(80, 0.2, np.float32))
    return Checkpoint(network, network.config.features.normalization or cmvn, tokenizer)


@pytest.fixture(scope="session")
def toy_model(toy_checkpoint: "Checkpoint", tmp_path_factory: pytest.TempPathFactory) -> Path:
    from nim4asr.model.checkpoint import save

    folder = tmp_path_factory.mktemp("models") / "toy"
    save(toy_checkpoint, folder)
    return folder


@pytest.fixture
def tone() -> Floats:
    """A second of a tone that rises and falls, 16 kHz."""
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    swell = np.sin(np.pi * time)
    return (0.4 * swell * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


@pytest.fixture(scope="session")
def speech() -> Floats:
    """One of the clips: real enough for voice activity detection."""
    from nim4asr.audio.reading import read_audio

    return read_audio(sorted(CLIP_FOLDER.glob("*.flac"))[0])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--only-expected-skips", action="store_true", help="fail if a test is skipped for another reason"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not session.config.getoption("--only-expected-skips"):
        return
    reasons = {
        str(report.longrepr[2]).removeprefix("Skipped: ") for report in reporter.stats.get("skipped", [])
    }
    if unexpected := reasons.difference(EXPECTED_SKIPS):
        reporter.write_line(f"unexpected skips: {'; '.join(sorted(unexpected))}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
