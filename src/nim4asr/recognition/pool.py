"""Many live streams on one network.

Each turn of the pool makes at most three calls, each for all streams that wait for it: one of the encoder, for chunks
of sound; one of the language model, to append speech and what follows it in the prompt; and one more of the language
model, for the next token of every text that is being written. A stream joins and leaves between any two turns, so
none waits for another's text, and one that sends nothing costs nothing.

Every frame is encoded once and every speech token enters the language model's keys and values once. What follows the
speech in the prompt (the turn's change and the text kept so far) does not outlive its refresh: the slot is set
back to the end of the speech, and the next chunk's speech goes there.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nim4asr.audio.features import FRAME_SECONDS, SAMPLE_RATE, Floats
from nim4asr.errors import InputError
from nim4asr.model.encoder import EncoderState
from nim4asr.model.prompt import end_token, tokens_after
from nim4asr.model.slot_cache import SlotCache
from nim4asr.phonemes import BLANK, TABLE
from nim4asr.recognition.configuration import StreamingConfig
from nim4asr.recognition.decoding import (
    NOTHING,
    guidance,
    runs_away,
    text_of,
    to_hypothesis,
    without_runaway,
)
from nim4asr.recognition.ear import Begin, Chunk, Ear, End, Samples, Task
from nim4asr.recognition.events import Event, Failed, Final, Partial, SpeechEnded, SpeechStarted
from nim4asr.recognition.hinting import Heard, Hinting, HintListener, contradicted, supported, with_hits
from nim4asr.recognition.inference import Inference
from nim4asr.recognition.result import Segment
from nim4asr.recognition.words import to_segment

if TYPE_CHECKING:
    from nim4asr.hotwords.index import HotwordIndex
    from nim4asr.recognition.guidance import Guidance


@dataclass
class Work:
    """What a pool has computed: encoder frames, positions of speech and of other text that the language model has
    read, and tokens it has written; and in how many calls.
    """

    encoder_frames: int = 0
    speech_tokens: int = 0
    text_tokens: int = 0
    written_tokens: int = 0
    encoder_calls: int = 0
    language_model_calls: int = 0


@dataclass
class _Text:
    """A text being written for ``seconds`` of sound: its ``tokens`` so far, the first ``kept`` of them from before,
    and their log probabilities. ``final`` is the segment's end, if this is the text that follows it; it is written
    with the hints of ``heard``, and their ``guidance``, if it is ``hinted``.
    """

    tokens: list[int]
    log_probs: list[float]
    seconds: float
    kept: int
    heard: Heard = field(default_factory=Heard)
    hinted: bool = False
    guidance: "Guidance | None" = None
    final: End | None = None
    done: bool = False
    error: Exception | None = None


@dataclass
class _Utterance:
    """An open segment: ``spoken`` positions of its slot are prompt and speech; ``stable`` of its ``tokens`` will not
    change; they are ``hinted`` if they were written with hints.
    """

    start: float
    slot: int
    state: EncoderState
    spoken: int
    listener: HintListener
    frames: int = 0
    chunks: int = 0
    heard: bool = False
    log_probs: list[Floats] = field(default_factory=list)
    speech: Tensor | None = None
    stable: int = 0
    tokens: list[int] = field(default_factory=list)
    token_log_probs: list[float] = field(default_factory=list)
    hinted: bool = False
    shown: tuple[str, str] = ("", "")
    text: _Text | None = None

    @property
    def seconds(self) -> float:
        return self.frames * FRAME_SECONDS

    def posteriors(self) -> Floats:
        """The log posteriors (T, phonemes) of all its sound so far."""
        return np.concatenate([np.zeros((0, len(TABLE)), np.float32), *self.log_probs])


@dataclass
class _Live:
    """One stream of the pool."""

    ear: Ear
    hinting: Hinting
    tasks: deque[Task] = field(default_factory=deque)
    events: list[Event] = field(default_factory=list)
    utterance: _Utterance | None = None
    finished: bool = False

    @property
    def busy(self) -> bool:
        return bool(self.tasks) or (self.utterance is not None and self.utterance.text is not None)


class StreamPool:
    """Live streams that share one network and one configuration.

    ``feed``, ``commit`` and ``finish`` listen and return at once; ``step`` does a turn of the network's work and
    returns what became known. Not for several threads at a time.
    """

    def __init__(self, inference: Inference, config: StreamingConfig | None = None) -> None:
        checkpoint = inference.checkpoint
        self.config = config or StreamingConfig()
        self.work = Work()
        self._network, self._tokenizer, self._cmvn = checkpoint.network, inference.tokenizer, checkpoint.cmvn
        assert self._network.adaptor is not None
        self._stack = self._network.adaptor.config.stack
        self._chunks = self.config.chunks(self._stack)
        self._prompt_cache = inference.prompt_cache
        self._cache = SlotCache(self._network.llm)
        self._end = end_token(self._tokenizer)
        self._names = count()
        self._streams: dict[int, _Live] = {}

    def open(
        self,
        rate: int = SAMPLE_RATE,
        channels: int = 1,
        hints: Sequence[str] = (),
        hotwords: "HotwordIndex | None" = None,
    ) -> int:
        """A new stream, of samples at ``rate`` Hz; returns the name by which the other verbs know it.

        ``hotwords`` are listened for, and those that were heard become hints; ``hints`` are names that it may hold.
        Raises ``InputError`` for a rate that no speech has and for over 20 hints.
        """
        ear = Ear(self._cmvn, self._chunks.size, self.config.voice_activity, rate, channels)
        name = next(self._names)
        self._streams[name] = _Live(ear, Hinting(hotwords, tuple(hints), self.config.hints))
        return name

    def feed(self, name: int, samples: Samples) -> None:
        """Listen to the next samples, (N,) or (N, channels) of any type, or bytes of 16-bit PCM.

        Raises ``InputError`` for what is no sound, which is then not heard, and after ``finish``.
        """
        live = self._open_stream(name)
        live.tasks += live.ear.feed(samples)

    def hint(self, name: int, hints: Sequence[str] = (), hotwords: "HotwordIndex | None" = None) -> None:
        """Give the hints for this segment and those after it, and the hotwords to listen for from the next segment on,
        in place of the ones before.
        """
        live = self._open_stream(name)
        live.hinting = Hinting(hotwords, tuple(hints), self.config.hints)
        if live.utterance is not None:
            live.utterance.listener.given = live.hinting.given

    def commit(self, name: int) -> None:
        """End the open segment here and now, without waiting for a pause."""
        live = self._open_stream(name)
        live.tasks += live.ear.commit()

    def finish(self, name: int) -> None:
        """End the stream; its last events are still to come."""
        live = self._open_stream(name)
        live.tasks += live.ear.finish()
        live.finished = True

    def drop(self, name: int) -> None:
        """Forget the stream at once, with whatever it still had to say."""
        live = self._streams.pop(name, None)
        if live is not None and live.utterance is not None:
            self._cache.give_back(live.utterance.slot)

    def busy(self, name: int) -> bool:
        """Whether ``step`` has anything to do for the stream."""
        return name in self._streams and self._streams[name].busy

    @torch.no_grad()
    def step(self) -> Mapping[int, list[Event]]:
        """Do a turn of the waiting work; the new events of each stream that has any."""
        writing = [
            live.utterance for live in self._streams.values() if live.utterance and live.utterance.text
        ]
        for live in self._streams.values():
            self._alone(live, self._advance)
        self._encode()
        self._append()
        self._write(writing)
        found = {}
        for name, live in list(self._streams.items()):
            self._alone(live, self._conclude)
            if live.events:
                found[name], live.events = live.events, []
            if live.finished and not live.busy:
                del self._streams[name]
        return found

    def _alone(self, live: _Live, act: Callable[[_Live], None]) -> None:
        """Do something for one stream; an error ends that stream and leaves the others alone."""
        try:
            act(live)
        except Exception as error:
            live.events.append(Failed(error))
            live.tasks.clear()
            live.finished = True
            if live.utterance is not None:
                # Nothing is written any more into a slot that may be another's at once.
                live.utterance.text = None
                self._cache.give_back(live.utterance.slot)
                live.utterance = None

    def _open_stream(self, name: int) -> _Live:
        live = self._streams.get(name)
        if live is None or live.finished:
            raise InputError("this stream is finished; open another one")
        return live

    def _advance(self, live: _Live) -> None:
        """Begin and end segments until a chunk of sound, or a text, is to be worked on."""
        while live.tasks and not (live.utterance and live.utterance.text):
            task = live.tasks[0]
            if isinstance(task, Chunk):
                return
            live.tasks.popleft()
            if isinstance(task, Begin):
                live.utterance = self._begin(live, task)
                live.events.append(SpeechStarted(task.time))
            else:
                self._end_speech(live, task)

    def _begin(self, live: _Live, begin: Begin) -> _Utterance:
        slot = self._cache.take()
        self._cache.copy_in(slot, self._prompt_cache)
        state = self._network.encoder.initial_state(1, self._chunks)
        return _Utterance(begin.time, slot, state, self._cache.lengths[slot], live.hinting.listen())

    def _end_speech(self, live: _Live, end: End) -> None:
        utterance = live.utterance
        assert utterance is not None
        live.events.append(SpeechEnded(end.time, end.cause))
        utterance.text = text = self._text(utterance, 0 if self.config.second_pass else utterance.stable)
        text.final, text.seconds = end, end.time - utterance.start
        # Nothing voiced, or less than a speech token: nothing for the language model to do.
        text.done = not utterance.heard or utterance.frames < self._stack

    def _text(self, utterance: _Utterance, kept: int) -> _Text:
        """The text of all the sound so far, to be written behind ``kept`` tokens, with the hits so far as hints."""
        # A name that the model writes anyway needs no hint. What it wrote with hints is no word on that.
        draft = utterance.tokens[: utterance.stable if utterance.hinted else None]
        heard = utterance.listener.heard(text_of(self._tokenizer, draft))
        guide = guidance(self._tokenizer, self.config.decoding, utterance.posteriors(), heard.hints)
        tokens, log_probs = utterance.tokens[:kept], utterance.token_log_probs[:kept]
        return _Text(tokens, log_probs, utterance.seconds, kept, heard, bool(heard.hints), guide)

    def _encode(self) -> None:
        """The next chunk of every stream that stands before one."""
        waiting: list[tuple[_Live, _Utterance, Chunk]] = []
        for live in self._streams.values():
            if (
                live.tasks
                and isinstance(chunk := live.tasks[0], Chunk)
                and live.utterance
                and not live.utterance.text
            ):
                live.tasks.popleft()
                waiting.append((live, live.utterance, chunk))
        if not waiting:
            return
        assert self._network.phoneme_head is not None and self._network.adaptor is not None
        weight = self._network.encoder.input_preprocessor.out.weight
        features = torch.from_numpy(np.stack([chunk.features for *_, chunk in waiting]))
        lengths = torch.tensor([chunk.frames for *_, chunk in waiting], device=weight.device)
        state = EncoderState.joined([utterance.state for _, utterance, _ in waiting])
        frames, state = self._network.encoder.forward_chunk(
            features.to(weight.device, weight.dtype), lengths, state
        )
        log_probs = self._network.phoneme_head(frames).float().cpu().numpy()
        speech, speech_lengths = self._network.adaptor(frames, lengths)
        self.work.encoder_frames += int(lengths.sum())
        self.work.encoder_calls += 1
        for row, (live, utterance, chunk) in enumerate(waiting):
            utterance.state = state.of_row(row)
            utterance.speech = speech[row, : int(speech_lengths[row])]
            self._alone(live, partial(self._hear, chunk=chunk, posteriors=log_probs[row, : chunk.frames]))

    def _hear(self, live: _Live, chunk: Chunk, posteriors: Floats) -> None:
        """Take in what the encoder made of a chunk: log ``posteriors`` (T, phonemes)."""
        utterance = live.utterance
        assert utterance is not None
        utterance.log_probs.append(posteriors)
        utterance.listener.feed(posteriors)
        utterance.heard |= bool((posteriors.argmax(axis=-1) != BLANK).any())
        utterance.frames += chunk.frames
        utterance.chunks += 1
        if chunk.last:
            # The segment's end comes next, so the last speech and what follows it go in together.
            self._advance(live)
        elif self.config.mode == "refresh" and utterance.heard:
            utterance.text = self._text(utterance, utterance.stable)

    def _append(self) -> None:
        """New speech into its slots and, where a text is to be written, all that goes before its first token."""
        embed = self._network.llm.get_input_embeddings()
        rows: list[_Utterance] = []
        inputs: list[Tensor] = []
        for live in self._streams.values():
            utterance = live.utterance
            if utterance is None:
                continue
            parts: list[Tensor] = []
            if utterance.speech is not None and len(utterance.speech):
                parts.append(utterance.speech.to(embed.weight.dtype))
                utterance.spoken += len(utterance.speech)
                self.work.speech_tokens += len(utterance.speech)
            utterance.speech = None
            text = utterance.text
            if text and not text.done and self._cache.lengths[utterance.slot] <= utterance.spoken:
                hints = text.heard.hints if text.hinted else ()
                after = tokens_after(self._tokenizer, self._network.config.prompt, hints)
                ids = torch.tensor([*after, *text.tokens], device=embed.weight.device)
                parts.append(embed(ids))
                self.work.text_tokens += len(ids)
            if parts:
                rows.append(utterance)
                inputs.append(torch.cat(parts))
        self._extend(rows, inputs)

    def _write(self, utterances: Sequence[_Utterance]) -> None:
        """The next token of every text that was being written before this turn."""
        rows = [u for u in utterances if u.text is not None and not u.text.done]
        if not rows:
            return
        embed = self._network.llm.get_input_embeddings()
        last = [u.text.tokens[-1] for u in rows if u.text is not None]
        written = embed(torch.tensor(last, device=embed.weight.device))
        self.work.written_tokens += len(rows)
        self._extend(rows, list(written[:, None]))

    def _extend(self, utterances: Sequence[_Utterance], inputs: Sequence[Tensor]) -> None:
        if not utterances:
            return
        logits = self._cache.extend([utterance.slot for utterance in utterances], inputs)
        self.work.language_model_calls += 1
        log_probs = logits.float().log_softmax(dim=-1)
        for utterance, scores, likeliest in zip(
            utterances, log_probs, log_probs.argmax(dim=-1).tolist(), strict=True
        ):
            text = utterance.text
            if text is not None and not text.done:
                guide = text.guidance
                try:
                    token = int(guide.weighed(text.tokens, scores).argmax()) if guide else likeliest
                    self._accept(text, token, float(scores[token]))
                except Exception as error:
                    # This stream's own, told where its text is concluded.
                    text.error, text.done = error, True

    def _accept(self, text: _Text, token: int, log_prob: float) -> None:
        """The token goes into the text, unless a guard ends it here."""
        config = self.config.decoding
        written = text.tokens
        if len(written) >= config.budget(text.seconds) or runs_away(self._tokenizer, written, config):
            text.done = True
            return
        text.tokens.append(token)
        text.log_probs.append(log_prob)
        text.done = token == self._end

    def _conclude(self, live: _Live) -> None:
        """Say what a text that is done says."""
        utterance = live.utterance
        if utterance is None or utterance.text is None or not utterance.text.done:
            return
        text, utterance.text = utterance.text, None
        if text.error is not None:
            raise text.error
        if text.hinted:
            log_probs = utterance.posteriors()
            segment = self._segment(utterance, text, log_probs)
            # A final is written again where no hint stands in it, too; a partial only where one stands unsaid.
            refused = (
                contradicted(segment, log_probs) if text.final is None else not supported(segment, log_probs)
            )
            if refused:
                self._cache.rewind(utterance.slot, utterance.spoken)
                tokens, kept_log_probs = text.tokens[: text.kept], text.log_probs[: text.kept]
                utterance.text = replace(
                    text, tokens=tokens, log_probs=kept_log_probs, hinted=False, guidance=None, done=False
                )
                return
        if text.final is not None:
            segment = self._segment(utterance, text, utterance.posteriors())
            live.events.append(Final(text.final.time, segment))
            self._cache.give_back(utterance.slot)
            live.utterance = None
            return
        self._cache.rewind(utterance.slot, utterance.spoken)
        tokens = text.tokens[:-1] if text.tokens and text.tokens[-1] == self._end else text.tokens
        tokens = without_runaway(self._tokenizer, tokens, self.config.decoding, utterance.stable)
        utterance.tokens, utterance.token_log_probs = tokens, text.log_probs[: len(tokens)]
        utterance.hinted = text.hinted
        if utterance.chunks >= self.config.free_chunks:
            utterance.stable = max(utterance.stable, len(tokens) - self.config.rolled_back)
        whole = text_of(self._tokenizer, tokens)
        stable = text_of(self._tokenizer, tokens[: utterance.stable])
        # Bytes of half a character are no text yet, neither shown nor promised.
        stable = stable.rstrip("\ufffd")
        if not whole.startswith(stable):
            stable = utterance.shown[0]
        shown = (stable, whole[len(stable) :].rstrip("\ufffd"))
        if shown != utterance.shown:
            utterance.shown = shown
            live.events.append(Partial(utterance.start + utterance.seconds, *shown))

    def _segment(self, utterance: _Utterance, text: _Text, log_probs: Floats) -> Segment:
        hypothesis = NOTHING
        if text.tokens:
            kept = 0 if self.config.second_pass else utterance.stable
            hypothesis = to_hypothesis(
                self._tokenizer, text.tokens, text.log_probs, self.config.decoding, kept
            )
        end = utterance.start + utterance.seconds if text.final is None else text.final.time
        segment = to_segment(utterance.start, end, hypothesis, log_probs)
        return with_hits(segment, text.heard)
