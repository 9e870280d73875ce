"""Whole recordings to transcripts: voice activity, batches, encoder, language model, word times."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nim4asr.audio.features import SAMPLE_RATE, Floats, log_mel
from nim4asr.audio.reading import Source, from_array, stream_audio
from nim4asr.audio.voice_activity import SpeechSegment, VoiceActivityConfig, cut_speech
from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint, bundled, load
from nim4asr.model.encoder import SUBSAMPLING, ChunkScheme
from nim4asr.phonemes import TABLE, Token, spoken_form, tokenize
from nim4asr.recognition.ctc import force_align, greedy_path
from nim4asr.recognition.decoding import DecodingConfig, decode
from nim4asr.recognition.result import Segment, Transcript, Word

FRAME_SECONDS = SUBSAMPLING * 0.01


@dataclass(frozen=True)
class RecognitionConfig:
    """How to recognise. A batch holds at most ``batch_seconds`` of speech.

    ``chunks`` None lets the encoder see whole segments; else it sees what a live stream would.
    """

    voice_activity: VoiceActivityConfig = field(default_factory=VoiceActivityConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    batch_seconds: float = 120.0
    chunks: ChunkScheme | None = None


class Recogniser:
    """A checkpoint ready to listen.

    ``Recogniser.load("folder")(["a.wav", "b.mp3"])`` yields a ``Transcript`` for each.
    """

    def __init__(self, checkpoint: Checkpoint, config: RecognitionConfig | None = None) -> None:
        network = checkpoint.network
        if network.llm is None or network.adaptor is None or network.phoneme_head is None:
            raise InputError(
                f"the model {checkpoint.config.name!r} holds an encoder without adaptor, phoneme head "
                "and language model; it can be trained further but cannot transcribe"
            )
        self.checkpoint = checkpoint
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

    def transcribe(self, source: Source | tuple[NDArray[np.generic], int], name: str = "") -> Transcript:
        """What is said in a file, given by path or bytes, or in an array with its sample rate.

        Raises ``InputError`` if it cannot be read; nothing is returned by halves.
        """
        began = time.perf_counter()
        blocks: Iterable[Floats]
        if isinstance(source, tuple):
            blocks = [from_array(*source)]
        else:
            blocks = stream_audio(source)
            name = name or (str(source) if not isinstance(source, bytes) else "")
        heard = _Heard(blocks)
        segments: list[Segment] = []
        pending = cut_speech(heard, self.config.voice_activity)
        while batch := self._next_batch(pending):
            segments += self.recognise(batch)
        elapsed = time.perf_counter() - began
        factor = elapsed / heard.seconds if heard.seconds else 0.0
        return Transcript(name, heard.seconds, tuple(segments), factor)

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
    def recognise(self, segments: Sequence[SpeechSegment]) -> list[Segment]:
        """What is said in each segment of speech, in one batch."""
        network, tokenizer = self.checkpoint.network, self.checkpoint.tokenizer
        assert network.phoneme_head is not None and network.adaptor is not None
        assert tokenizer is not None
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
        speech, speech_lengths = network.adaptor(frames, frame_lengths)
        prompt = network.embed_prompts(tokenizer, speech, speech_lengths)
        seconds = [len(segment.samples) / SAMPLE_RATE for segment in segments]
        hypotheses = decode(network, tokenizer, prompt, seconds, self.config.decoding)
        results = []
        for row, (segment, hypothesis) in enumerate(zip(segments, hypotheses, strict=True)):
            posteriors = log_probs[row, : int(frame_lengths[row])]
            heard = greedy_path(posteriors.argmax(axis=-1).tolist()) if len(posteriors) else []
            # No voiced phoneme, no text: the language model does not write over silence.
            text = hypothesis.text if heard and speech_lengths[row] > 0 else ""
            results.append(
                Segment(
                    start=segment.start,
                    end=segment.end,
                    text=text,
                    confidence=hypothesis.confidence,
                    words=time_words(text, posteriors, segment.start, segment.end),
                    phonemes=tuple(TABLE.decode(heard)),
                )
            )
        return results


class _Heard:
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


def time_words(text: str, log_probs: NDArray[np.float32], start: float, end: float) -> tuple[Word, ...]:
    """When each word of ``text`` was said, by aligning its phonemes with CTC posteriors (T, phonemes).

    A text that does not fit, or has no sounds, has its words spread evenly over ``start`` to ``end``
    seconds, with confidence 0. A word that cannot be sounded takes no time, at the end of the one before it.
    """
    tokens = tokenize(spoken_form(text))
    labels = TABLE.encode(phoneme for token in tokens for phoneme in token.phonemes)
    spans = force_align(log_probs, labels)
    if spans is None:
        step = (end - start) / max(1, len(tokens))
        return tuple(
            Word(token.text, start + i * step, start + (i + 1) * step, 0.0) for i, token in enumerate(tokens)
        )
    words: list[Word] = []
    remaining = iter(spans)
    for token in tokens:
        own = list(islice(remaining, len(token.phonemes)))
        words.append(_word(token, own, words[-1].end if words else start, start))
    return tuple(words)


def _word(token: Token, spans: Sequence[tuple[int, int, float]], before: float, start: float) -> Word:
    if not spans:
        return Word(token.text, before, before, 0.0)
    confidence = float(np.exp(np.mean([log_probability for *_, log_probability in spans])))
    first, last = spans[0][0], spans[-1][1]
    return Word(token.text, start + first * FRAME_SECONDS, start + last * FRAME_SECONDS, confidence)
