"""Whole recordings to transcripts: voice activity, batches, encoder, language model, word times."""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nim4asr.audio.features import SAMPLE_RATE, Floats, log_mel
from nim4asr.audio.reading import Source, from_array, stream_audio
from nim4asr.audio.voice_activity import SpeechSegment, cut_speech
from nim4asr.model.checkpoint import Checkpoint, bundled, load
from nim4asr.recognition.configuration import RecognitionConfig, StreamingConfig
from nim4asr.recognition.decoding import NOTHING, Hypothesis, decode
from nim4asr.recognition.hinting import Heard, Hinting, supported, with_hits
from nim4asr.recognition.inference import Inference
from nim4asr.recognition.result import Segment, Transcript
from nim4asr.recognition.streaming import Stream
from nim4asr.recognition.words import to_segment

if TYPE_CHECKING:
    from nim4asr.hotwords.index import HotwordIndex


class Recogniser(Inference):
    """A checkpoint ready to listen.

    ``Recogniser.load("folder").transcribe("a.wav")`` gives a ``Transcript``.
    """

    def __init__(self, checkpoint: Checkpoint, config: RecognitionConfig | None = None) -> None:
        super().__init__(checkpoint)
        self.config = config or RecognitionConfig()

    @classmethod
    def load(
        cls,
        place: str | Path | None = None,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        config: RecognitionConfig | None = None,
    ) -> "Recogniser":
        """Of the checkpoint at ``place``, a folder or a hub name; by default the bundled nano."""
        return cls(load(bundled() if place is None else place, device, dtype or torch.float32), config)

    def transcribe(
        self,
        source: Source | tuple[NDArray[np.generic], int],
        name: str = "",
        hotwords: "HotwordIndex | None" = None,
        hints: Sequence[str] = (),
    ) -> Transcript:
        """What is said in a file, given by path or bytes, or in an array with its sample rate.

        ``hotwords`` are listened for, and those that were heard become hints; ``hints`` are names, at most 20, that it
        may hold. Raises ``InputError`` if it cannot be read; nothing is returned by halves.
        """
        hinting = Hinting(hotwords, tuple(hints), self.config.hints)
        began = time.perf_counter()
        blocks: Iterable[Floats]
        warnings: list[str] = []
        if isinstance(source, tuple):
            blocks = [from_array(*source)]
        else:
            blocks = stream_audio(source, warnings.append)
            name = name or (str(source) if not isinstance(source, bytes) else "")
        heard = _Blocks(blocks)
        segments: list[Segment] = []
        pending = cut_speech(heard, self.config.voice_activity)
        while batch := self._next_batch(pending):
            segments += self.recognise(batch, hinting)
        elapsed = time.perf_counter() - began
        factor = elapsed / heard.seconds if heard.seconds else 0.0
        return Transcript(name, heard.seconds, tuple(segments), factor, tuple(warnings))

    def stream(
        self,
        config: StreamingConfig | None = None,
        rate: int = SAMPLE_RATE,
        channels: int = 1,
        hints: Sequence[str] = (),
        hotwords: "HotwordIndex | None" = None,
    ) -> Stream:
        """A live stream of samples at ``rate`` Hz, with ``hints`` and ``hotwords`` as in ``transcribe``.

        Raises ``InputError`` for a rate that no speech has.
        """
        return Stream(self, config, rate, channels, hints, hotwords)

    def _next_batch(self, pending: Iterator[SpeechSegment]) -> list[SpeechSegment]:
        batch: list[SpeechSegment] = []
        longest = 0.0
        for segment in pending:
            batch.append(segment)
            longest = max(longest, len(segment.samples) / SAMPLE_RATE)
            if (len(batch) + 1) * longest > self.config.batch_seconds:
                break
        return batch

    @torch.no_grad()
    def log_posteriors(self, segment: SpeechSegment) -> NDArray[np.float32]:
        """What the phoneme head heard in a segment: log posteriors (T, phonemes), 25 frames a second."""
        return self._listen([segment])[2][0]

    @torch.no_grad()
    def recognise(self, segments: Sequence[SpeechSegment], hinting: Hinting | None = None) -> list[Segment]:
        """What is said in each segment of speech, in one batch."""
        network = self.checkpoint.network
        assert network.adaptor is not None
        frames, frame_lengths, log_probs = self._listen(segments)
        speech, lengths = network.adaptor(frames, frame_lengths)
        seconds = [len(segment.samples) / SAMPLE_RATE for segment in segments]
        drafts = self._write(speech, lengths, seconds, log_probs)
        results = [
            to_segment(segment.start, segment.end, draft, posteriors)
            for segment, draft, posteriors in zip(segments, drafts, log_probs, strict=True)
        ]
        if hinting is None:
            return results
        heard = [_heard(hinting, one, draft.text) for one, draft in zip(log_probs, drafts, strict=True)]
        for i, names in enumerate(heard):
            results[i] = with_hits(results[i], names)
        rows = [i for i, names in enumerate(heard) if names.hints]
        if rows:
            hints = [heard[i].hints for i in rows]
            own = [log_probs[i] for i in rows]
            written = self._write(speech[rows], lengths[rows], [seconds[i] for i in rows], own, hints)
            for i, hypothesis in zip(rows, written, strict=True):
                segment = segments[i]
                hinted = with_hits(to_segment(segment.start, segment.end, hypothesis, log_probs[i]), heard[i])
                if supported(hinted, log_probs[i]):
                    results[i] = hinted
        return results

    def _write(
        self,
        speech: Tensor,
        lengths: Tensor,
        seconds: Sequence[float],
        log_probs: Sequence[NDArray[np.float32]],
        hints: Sequence[Sequence[str]] | None = None,
    ) -> list[Hypothesis]:
        """The language model's transcripts of ``speech`` (B, S, D_llm), of which ``lengths`` (B,) count."""
        network = self.checkpoint.network
        prompt = network.embed_prompts(self.tokenizer, speech, lengths, hints)
        hypotheses = decode(network, self.tokenizer, prompt, seconds, self.config.decoding, log_probs, hints)
        # Less than one speech token is nothing that the language model has heard.
        return [
            one if length > 0 else NOTHING for one, length in zip(hypotheses, lengths.tolist(), strict=True)
        ]

    def _listen(self, segments: Sequence[SpeechSegment]) -> tuple[Tensor, Tensor, list[NDArray[np.float32]]]:
        """Encoder frames (B, T, D), their lengths (B,), and each segment's log posteriors."""
        network = self.checkpoint.network
        assert network.phoneme_head is not None
        normalised = [self.checkpoint.cmvn(log_mel(segment.samples)) for segment in segments]
        weight = network.encoder.input_preprocessor.out.weight
        lengths = torch.tensor([len(one) for one in normalised], device=weight.device)
        # The encoder needs one frame of its own to stand on, whatever the segment's length.
        features = torch.zeros(len(normalised), max(7, int(lengths.max())), 80)
        for row, one in enumerate(normalised):
            features[row, : len(one)] = torch.from_numpy(one)
        frames, frame_lengths = network.encoder(
            features.to(weight.device, weight.dtype), lengths, self.config.chunks
        )
        log_probs = network.phoneme_head(frames).float().cpu().numpy()
        return frames, frame_lengths, [log_probs[i, :n] for i, n in enumerate(frame_lengths.tolist())]


def _heard(hinting: Hinting, log_probs: NDArray[np.float32], draft: str) -> Heard:
    listener = hinting.listen()
    listener.feed(log_probs)
    return listener.heard(draft)


class _Blocks:
    """Blocks of samples, counted as they pass."""

    def __init__(self, blocks: Iterable[Floats]) -> None:
        self._blocks = blocks
        self._samples = 0

    @property
    def seconds(self) -> float:
        return self._samples / SAMPLE_RATE

    def __iter__(self) -> Iterator[Floats]:
        for block in self._blocks:
            self._samples += len(block)
            yield block
