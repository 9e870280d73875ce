"""One recognizer over a folder of clips, in a process of its own: nim4asr or a peer, in whatever environment
it lives.

    python peer.py NAME MODEL CLIPS

``CLIPS`` holds 16 kHz mono WAV files named ``LANGUAGE-NUMBER.wav``. Prints a JSON line a clip: its text and
the processor seconds that it took. Run by ``benchmarks/peers.py``; needs numpy and the recognizer's own
package alone.
"""

import json
import os
import sys
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Each takes what one thread gives: by a processor's second they are compared.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402

Hear = Callable[[Any, str], str]


def nim4asr(model: str, beams: int = 1) -> Hear:
    from nim4asr.model.decoding import DecodingConfig
    from nim4asr.recognition.configuration import RecognitionConfig
    from nim4asr.recognition.offline import Recognizer

    config = RecognitionConfig(decoding=DecodingConfig(beam_size=beams))
    recognizer = Recognizer.load(model or None, config=config)
    return lambda samples, language: recognizer.transcribe(samples, sample_rate=16_000).text


def moonshine(model: str) -> Hear:
    from moonshine_voice import ModelArch, Transcriber

    transcriber = Transcriber(model, ModelArch.TINY)

    def hear(samples: Any, language: str) -> str:
        lines = transcriber.transcribe_without_streaming(samples.tolist(), 16_000).lines
        return " ".join(line.text for line in lines)

    return hear


def whisper(model: str) -> Hear:
    from faster_whisper import WhisperModel

    whisper = WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=1, num_workers=1)

    def hear(samples: Any, language: str) -> str:
        segments, _ = whisper.transcribe(samples)
        return " ".join(segment.text for segment in segments)

    return hear


def vosk(model: str) -> Hear:
    from vosk import KaldiRecognizer, Model, SetLogLevel

    SetLogLevel(-1)
    models: dict[str, Any] = {}

    def hear(samples: Any, language: str) -> str:
        if language not in models:
            models[language] = Model(str(Path(model) / language))
        recognizer = KaldiRecognizer(models[language], 16_000)
        parts = []
        pcm = (samples * 32767).astype("<i2").tobytes()
        for start in range(0, len(pcm), 8000):
            if recognizer.AcceptWaveform(pcm[start : start + 8000]):
                parts.append(json.loads(recognizer.Result())["text"])
        parts.append(json.loads(recognizer.FinalResult())["text"])
        return " ".join(parts)

    return hear


def pocketsphinx(model: str) -> Hear:
    from pocketsphinx import Decoder

    decoder = Decoder(loglevel="FATAL")

    def hear(samples: Any, language: str) -> str:
        decoder.start_utt()
        decoder.process_raw((samples * 32767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        return str(found.hypstr) if found is not None else ""

    return hear


RECOGNIZERS: dict[str, Callable[[str], Hear]] = {
    "nim4asr": nim4asr,
    "nim4asr-8-beams": lambda model: nim4asr(model, 8),
    "moonshine-tiny": moonshine,
    "whisper-base": whisper,
    "vosk-small": vosk,
    "pocketsphinx": pocketsphinx,
}


def samples_of(path: Path) -> Any:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


def main() -> None:
    name, model, folder = sys.argv[1:]
    hear = RECOGNIZERS[name](model)
    for path in sorted(Path(folder).glob("*.wav")):
        samples = samples_of(path)
        began = time.process_time()
        text = hear(samples, path.stem.partition("-")[0])
        row = {"clip": path.stem, "text": text, "seconds": round(time.process_time() - began, 4)}
        print(json.dumps(row, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
