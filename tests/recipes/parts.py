"""Public parts in small, as their own libraries save them, and a corpus to train on."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from nim4asr.audio.samples import SAMPLE_RATE

TEXTS = [
    "今天天气很好",
    "How are you today?",
    "我想去北京看老朋友",
    "The weather is fine.",
    "上海的公园很漂亮",
    "My neighbor plays guitar.",
    "请把窗户关上",
    "Coffee in Vienna costs three euros.",
]


def write_whisper(folder: Path, card: str | None = "---\nlicense: mit\n---\n") -> Path:
    """A whole Whisper of transformers, with random weights."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(1)
    config = WhisperConfig(
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        vocab_size=60,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
    )
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    if card is not None:
        (folder / "README.md").write_text(card, encoding="utf-8")
    return folder


def write_qwen3(folder: Path, card: str | None = "---\nlicense: apache-2.0\n---\n") -> Path:
    """A whole Qwen3 of transformers, with random weights and a tokenizer of its turns."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from nim4asr.training.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(TEXTS * 3, 200)
    torch.manual_seed(2)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save(folder)
    if card is not None:
        (folder / "README.md").write_text(card, encoding="utf-8")
    return folder


def write_corpora(data: Path, clips: int = 30, durations: bool = True, noise: bool = True) -> Path:
    """``clips`` clips of noise that swells as syllables do, the last three of them of the split dev."""
    random = np.random.default_rng(0)
    (data / "speech").mkdir(parents=True)
    rows = []
    for number in range(clips):
        seconds = 1.2 + 0.2 * (number % 6)
        time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        sound = 0.2 * random.standard_normal(len(time)) * np.abs(np.sin(2 * np.pi * 2 * time))
        soundfile.write(data / "speech" / f"{number}.wav", sound, SAMPLE_RATE)
        row: dict[str, Any] = {
            "audio": f"{number}.wav",
            "text": TEXTS[number % len(TEXTS)],
            "language": "zh" if number % 2 == 0 else "en",
            "split": "dev" if number >= clips - 3 else "train",
        }
        rows.append(row | ({"duration": seconds} if durations else {}))
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (data / "speech/mine.jsonl").write_text("".join(lines), encoding="utf-8")
    if noise:
        (data / "noise").mkdir()
        with tarfile.open(data / "noise/noise.tar", "w") as archive:
            for number in range(3):
                buffer = io.BytesIO()
                soundfile.write(
                    buffer, 0.1 * random.standard_normal(2 * SAMPLE_RATE), SAMPLE_RATE, format="WAV"
                )
                info = tarfile.TarInfo(f"hum/{number}.wav")
                info.size = buffer.tell()
                buffer.seek(0)
                archive.addfile(info, buffer)
    return data
