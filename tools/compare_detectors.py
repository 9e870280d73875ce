"""Silero VAD beside FireRedVAD's streaming network: speech missed, noise taken for speech, processor time.

    python tools/compare_detectors.py MANIFEST.jsonl... --split dev --noises FOLDER --firered FOLDER

Speech is where the bundled model's phoneme head hears a phoneme; noise is all of every file under --noises.
--firered is a folder with fireredvad_stream_vad_with_cache.onnx and cmvn.ark. Printed for each detector:
processor seconds a second of sound, and at thresholds that miss 1, 2 and 5 % of the phonemes the share of
noise, and of noise recordings, that is taken for speech.
"""

import argparse
import re
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import kaldi_native_fbank
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.audio.voice_detector import WINDOW, VoiceDetector
from nim4asr.data.manifest import select
from nim4asr.runtime.loading import load

# Seconds of each noise that are heard.
_NOISE_S = 8
# Probabilities are compared 10 ms after 10 ms.
_STEP = SAMPLE_RATE // 100
_MISSED = (0.01, 0.02, 0.05)

# Samples at 16 kHz -> the probability of speech every 10 ms.
Detector = Callable[[Floats], NDArray[np.float32]]


def silero(samples: Floats) -> NDArray[np.float32]:
    found = VoiceDetector().probabilities(np.pad(samples, (0, WINDOW)))
    return found[np.arange(len(samples) // _STEP) * _STEP // WINDOW]


def firered(folder: Path) -> Detector:
    """The detector whose files are in ``folder``; its probabilities are smoothed over five frames."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    graph = folder / "fireredvad_stream_vad_with_cache.onnx"
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    sums = _kaldi_matrix((folder / "cmvn.ark").read_bytes())
    mean = sums[0, :-1] / sums[0, -1]
    deviation = np.sqrt(sums[1, :-1] / sums[0, -1] - mean**2)

    def probabilities(samples: Floats) -> NDArray[np.float32]:
        kaldi = kaldi_native_fbank.FbankOptions()
        kaldi.frame_opts.dither = 0
        kaldi.mel_opts.num_bins = len(mean)
        bank = kaldi_native_fbank.OnlineFbank(kaldi)
        bank.accept_waveform(SAMPLE_RATE, (samples * 32768).tolist())
        frames = np.stack([bank.get_frame(frame) for frame in range(bank.num_frames_ready)])
        features = ((frames - mean) / deviation).astype(np.float32)
        cache = np.zeros((8, 1, 128, 19), np.float32)
        found = []
        for begin in range(0, len(features), 64):
            inputs = {"feat": features[None, begin : begin + 64], "caches_in": cache}
            speech, cache = session.run(None, inputs)
            found.append(speech[0, :, 0])
        smoothed = np.convolve(np.pad(np.concatenate(found), (4, 0), mode="edge"), np.ones(5) / 5, "valid")
        return smoothed.astype(np.float32)

    return probabilities


def _kaldi_matrix(data: bytes) -> NDArray[np.float64]:
    """A matrix of doubles out of Kaldi's binary form."""
    found = re.search(rb"BDM \x04(.{4})\x04(.{4})", data, re.DOTALL)
    if found is None:
        raise SystemExit("cmvn.ark holds no matrix of doubles")
    rows, columns = (struct.unpack("<i", size)[0] for size in found.groups())
    return np.frombuffer(data, np.float64, rows * columns, found.end()).reshape(rows, columns)


def compare(detectors: dict[str, Detector], speech: Sequence[Floats], noises: Sequence[Floats]) -> None:
    model = load()
    clock = model.frontend.clock
    places = []
    for samples in speech:
        (encoded,) = model.network.encode([model.frontend(samples)], None)
        heard = np.flatnonzero(np.exp(encoded.log_probs[:, 0]) < 0.5)
        places.append(((heard + 0.5) * clock.frame_s * SAMPLE_RATE / _STEP).astype(int))
    seconds = sum(map(len, [*speech, *noises])) / SAMPLE_RATE
    print(f"{sum(map(len, places))} frames of speech, {len(noises)} noises, {seconds:.0f} s of sound")
    for name, detect in detectors.items():
        begin = time.process_time()
        of_speech, of_noise = [list(map(detect, sounds)) for sounds in (speech, noises)]
        cost = (time.process_time() - begin) / seconds
        at_speech = np.concatenate(
            [found[np.minimum(own, len(found) - 1)] for found, own in zip(of_speech, places, strict=True)]
        )
        at_noise, highest = np.concatenate(of_noise), np.array([found.max() for found in of_noise])
        print(f"{name}: {1000 * cost:.1f} ms of processor time a second")
        for missed in _MISSED:
            threshold = np.quantile(at_speech, missed)
            share, clips = (at_noise >= threshold).mean(), (highest >= threshold).mean()
            print(f"  {missed:.0%} missed at {threshold:.2f}: noise {share:.1%}, recordings {clips:.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifests", nargs="+", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--clips", type=int, default=25, help="of each manifest, evenly out of all")
    parser.add_argument("--noises", type=Path, required=True)
    parser.add_argument("--firered", type=Path)
    options = parser.parse_args()
    speech = []
    for manifest in options.manifests:
        utterances = select(manifest, options.split, None)
        speech += [one.samples() for one in utterances[:: max(1, len(utterances) // options.clips)]]
    noises = [read_audio(path)[: _NOISE_S * SAMPLE_RATE] for path in sorted(options.noises.rglob("*.wav"))]
    # Shorter ones hold no window of either detector.
    noises = [noise for noise in noises if len(noise) >= SAMPLE_RATE // 4]
    detectors: dict[str, Detector] = {"Silero VAD": silero}
    if options.firered is not None:
        detectors["FireRedVAD"] = firered(options.firered)
    compare(detectors, speech, noises)


if __name__ == "__main__":
    main()
