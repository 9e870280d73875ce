"""The engine: recordings and live streams on one network.

It owns the slots of keys and values, and all writing of text. A step makes at most four calls, each for
everything that waits for it: the encoder for chunks of live sound, the encoder for whole segments of
recordings, the language model to append speech and what follows it in the prompt, and the language model
again for the next token of every text that is being written. Streams join and leave between any two steps, so
none waits for another's text, and one that sends nothing costs nothing.

Every frame is encoded once and every speech embedding enters the keys and values once; only a stream that
asks for finals of whole segments (``StreamingConfig.final_context``) is heard a second time. What follows the
speech in the prompt (hints, the assistant's header, the text kept so far) is dropped after its text: the slot
is cut back to the end of the speech, and the next chunk's speech goes there. Beams grow in forks of the slot.

``Engine`` is one thread's; ``StreamHandle.add`` may be called from others.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.audio.voice_activity import VoiceActivityConfig
from nim4asr.errors import InputError, OverloadedError
from nim4asr.model.prompt import tokens_after
from nim4asr.model.shapes import ChunkScheme
from nim4asr.recognition.configuration import RecognitionConfig, StreamingConfig, check_beams
from nim4asr.recognition.events import Event, Failed, Marked, SpeechEnded, SpeechStarted
from nim4asr.recognition.frontend import (
    FeatureChunk,
    Mark,
    Samples,
    SpeechEnd,
    SpeechStart,
    StreamFrontend,
    Task,
)
from nim4asr.recognition.hinting import HintPolicy, HintTracker, as_hints
from nim4asr.recognition.search import TextSearch, next_log_probs
from nim4asr.recognition.utterance import Utterance, Written
from nim4asr.runtime.network import ChunkInput, Encoded, Model

if TYPE_CHECKING:
    from nim4asr.hotwords.index import HotwordIndex


# A segment of a recording: where it begins, all its features, where it ends.
SegmentTasks = tuple[SpeechStart, FeatureChunk, SpeechEnd]


@dataclass
class ComputeStats:
    """What an engine has computed: encoder frames, positions of speech and of other text that the language
    model has read, and tokens it has written; and in how many calls.
    """

    encoder_frames: int = 0
    speech_tokens: int = 0
    text_tokens: int = 0
    written_tokens: int = 0
    encoder_calls: int = 0
    language_model_calls: int = 0


@dataclass(eq=False)
class StreamHandle:
    """One stream of an engine: a live one, or a segment of a recording.

    ``feed``, ``commit`` and ``finish`` run the front end and return at once; the engine's ``step`` does the
    work. ``add`` takes the tasks of a front end that runs elsewhere. A frame lasts ``frame_s`` seconds.
    """

    config: StreamingConfig
    hinting: HintPolicy
    frontend: StreamFrontend | None
    frame_s: float
    # None: whole segments; then as ``mask`` has it.
    chunks: ChunkScheme | None = None
    mask: ChunkScheme | None = None
    recorded: bool = False
    # Whole segments of one batch are encoded, and padded, together, and with no others.
    batch: object = None
    tasks: deque[Task] = field(default_factory=deque)
    events: list[Event] = field(default_factory=list)
    utterance: Utterance | None = None
    finished: bool = False

    @property
    def scheme(self) -> ChunkScheme | None:
        """The chunks that its next sound is heard in; None: it is heard whole."""
        return None if self.utterance is not None and self.utterance.whole else self.chunks

    @property
    def busy(self) -> bool:
        """Whether ``step`` has anything to do for it."""
        return bool(self.tasks) or _has_order(self)

    @property
    def waiting_s(self) -> float:
        """Seconds of speech that have been fed and not yet been heard by the encoder."""
        tasks, utterance = list(self.tasks), self.utterance
        if tasks and isinstance(tasks[0], FeatureChunk) and utterance is not None and utterance.again:
            # It has been heard, in chunks.
            del tasks[0]
        return self.frame_s * sum(task.frames for task in tasks if isinstance(task, FeatureChunk))

    def feed(self, samples: Samples) -> None:
        """Listen to the next samples, (N,) or (N, channels) of any type, or bytes of 16-bit PCM.

        Raises ``InputError`` for what is no sound, which is then not heard, and after ``finish``.
        """
        self.add(self._open().feed(samples))

    def commit(self) -> None:
        """End the open segment here and now, without waiting for a pause."""
        self.add(self._open().commit())

    def mark(self, token: object) -> None:
        """Ask for ``Marked(token)`` once everything fed so far has been recognized."""
        self.add([Mark(token)])

    def configure(self, voice_activity: VoiceActivityConfig) -> None:
        """Judge by ``voice_activity`` where speech begins and ends, from now on."""
        self._open().configure(voice_activity)

    def finish(self) -> None:
        """End the stream; its last events are still to come."""
        self.add(self._open().finish(), last=True)

    def add(self, tasks: Sequence[Task], last: bool = False) -> None:
        """Take the next tasks of the stream's front end, which may run in any thread, one call at a time;
        after the ``last`` of them the stream is finished.
        """
        self._open()
        self.tasks.extend(tasks)
        self.finished = last

    def hint(self, hints: Sequence[str] = (), hotwords: "HotwordIndex | None" = None) -> None:
        """Give the hints for this segment and those after it, and the hotwords to listen for from the next
        segment on, in place of the ones before. Later changes of the index do not reach the stream.
        """
        self._open()
        self.hinting = HintPolicy(hotwords, as_hints(hints), self.config.hints)
        # Another thread may end it meanwhile.
        utterance = self.utterance
        if utterance is not None:
            utterance.listener.given = self.hinting.given

    def _open(self) -> StreamFrontend:
        if self.finished or self.frontend is None:
            raise InputError("this stream is finished; open another one")
        return self.frontend


class Engine:
    """Recognizes whatever is opened on it, ``most_streams`` live streams at a time at most."""

    def __init__(self, model: Model, most_streams: int | None = None) -> None:
        self.model, self.most_streams = model, most_streams
        self.stats = ComputeStats()
        self._network, self._tokenizer = model.network, model.tokenizer
        assert model.config.adaptor is not None
        self._stack = model.config.adaptor.stack
        self._cache = self._network.open_cache()
        self._streams: list[StreamHandle] = []
        self._dropped: deque[StreamHandle] = deque()

    def open(
        self,
        config: StreamingConfig | None = None,
        *,
        sample_rate: int = SAMPLE_RATE,
        channels: int = 1,
        hints: Sequence[str] = (),
        hotwords: "HotwordIndex | None" = None,
    ) -> StreamHandle:
        """A new live stream, of samples at ``sample_rate`` Hz.

        ``hotwords`` are listened for, and those that were heard become hints; ``hints`` are names that it may
        hold. Raises ``OverloadedError`` when no more streams are admitted, ``InputError`` for a rate that no
        speech has, for over 20 hints, for a chunk that holds no whole number of speech embeddings, and for
        more alternatives than there are beams.
        """
        if self.most_streams is not None and self.live_streams >= self.most_streams:
            raise OverloadedError(f"all {self.most_streams} streams are in use; try again later")
        config = self._complete(config or StreamingConfig())
        acoustics = self.model.frontend
        # An encoder that was never trained in chunks hears each segment whole, when it has ended.
        frame_s, chunks, size = acoustics.clock.frame_s, None, None
        if self.model.config.chunks is not None:
            chunks = config.chunks(self._stack, frame_s)
            size = chunks.size
        frontend = StreamFrontend(acoustics, size, config.voice_activity, sample_rate, channels)
        hinting = HintPolicy(hotwords, as_hints(hints), config.hints)
        handle = StreamHandle(config, hinting, frontend, frame_s, chunks)
        self._streams.append(handle)
        return handle

    def open_batch(
        self, config: RecognitionConfig, hinting: HintPolicy, batch: Sequence[SegmentTasks]
    ) -> list[StreamHandle]:
        """Segments of a recording, each as one chunk of all its features; the ``Final`` of each comes from
        ``step``.
        """
        live = self._complete(
            StreamingConfig("final", decoding=config.decoding, hints=config.hints, nbest=config.nbest)
        )
        together = object()
        handles = [
            StreamHandle(
                live,
                hinting,
                None,
                self.model.frontend.clock.frame_s,
                mask=config.chunks,
                recorded=True,
                batch=together,
                tasks=deque(tasks),
                finished=True,
            )
            for tasks in batch
        ]
        self._streams += handles
        return handles

    def _complete(self, config: StreamingConfig) -> StreamingConfig:
        """With the model's own decoding where none is asked for."""
        decoding = config.decoding or self.model.config.decoding
        check_beams(config.nbest, decoding)
        return replace(config, decoding=decoding)

    def drop(self, handle: StreamHandle) -> None:
        """Forget the stream at once, with whatever it still had to say."""
        if handle in self._streams:
            self._streams.remove(handle)
            handle.finished = True
            self._dropped.append(handle)

    @property
    def slots_in_use(self) -> int:
        """Slots of keys and values in use: one an open segment, more while beams write its text."""
        return self._cache.slots_in_use

    @property
    def live_streams(self) -> int:
        """How many live streams are open."""
        return sum(not stream.recorded for stream in list(self._streams))

    def step(self) -> Mapping[StreamHandle, list[Event]]:
        """Do a turn of the waiting work; the new events of each stream that has any."""
        while self._dropped:
            self._release(self._dropped.popleft())
        streams = list(self._streams)
        writing = [stream for stream in streams if stream.utterance and stream.utterance.search]
        for stream in streams:
            self._alone(stream, self._advance)
        self._encode(streams)
        self._append(streams)
        self._write(writing)
        found: dict[StreamHandle, list[Event]] = {}
        for stream in streams:
            self._alone(stream, self._conclude)
            if stream.events:
                found[stream], stream.events = stream.events, []
            if stream.finished and not stream.busy and stream in self._streams:
                self._streams.remove(stream)
        return found

    def _alone(self, stream: StreamHandle, act: Callable[[StreamHandle], None]) -> None:
        """Do something for one stream; an error ends that stream and leaves the others alone."""
        try:
            act(stream)
        except Exception as error:
            self._fail(stream, error)

    def _fail(self, stream: StreamHandle, error: Exception) -> None:
        stream.events.append(Failed(error))
        stream.tasks.clear()
        stream.finished = True
        self._release(stream)

    def _release(self, stream: StreamHandle) -> None:
        """Give back the slots of the stream's open segment, which is over."""
        if stream.utterance is not None:
            if stream.utterance.search is not None:
                stream.utterance.search.release()
            self._cache.free(stream.utterance.slot)
        stream.utterance = None

    def _advance(self, stream: StreamHandle) -> None:
        """Begin and end segments until a chunk of sound, or a text, is to be worked on."""
        while stream.tasks and not _has_order(stream):
            task = stream.tasks[0]
            if isinstance(task, FeatureChunk):
                return
            stream.tasks.popleft()
            if isinstance(task, SpeechStart):
                stream.utterance = self._begin(stream, task.time, whole=stream.chunks is None)
                stream.events.append(SpeechStarted(task.time))
            elif isinstance(task, Mark):
                stream.events.append(Marked(task.token))
            else:
                assert stream.utterance is not None
                if not stream.utterance.again:
                    stream.events.append(SpeechEnded(task.time, task.reason))
                if stream.utterance.wants_whole:
                    self._hear_again(stream, task)
                    return
                final = stream.utterance.end(task)
                if final is not None:
                    self._close(stream, final)

    def _begin(
        self, stream: StreamHandle, start: float, whole: bool, again: HintTracker | None = None
    ) -> Utterance:
        """A segment that begins at ``start``; ``again`` listens to one that has been heard before."""
        # Whatever may fail comes before the slot, which nobody would give back.
        prefix, clock = self.model.prompt_cache, self.model.frontend.clock
        listener = again or stream.hinting.listen(clock.frame_s, self.model.config.evidence)
        state = None if whole or stream.chunks is None else self._network.initial_state(stream.chunks)
        slot = self._cache.allocate()
        self._cache.load(slot, prefix)
        return Utterance(
            stream.config,
            self._tokenizer,
            self._stack,
            clock,
            start,
            listener,
            slot,
            self._cache.length(slot),
            state,
            whole,
            again is not None,
        )

    def _hear_again(self, stream: StreamHandle, end: SpeechEnd) -> None:
        """Begin the segment that ended anew, to be heard in one piece."""
        heard = stream.utterance
        assert heard is not None
        self._release(stream)
        stream.utterance = self._begin(stream, heard.start, whole=True, again=heard.listener.again())
        stream.tasks.extendleft([end, heard.in_one_piece()])

    def _close(self, stream: StreamHandle, final: Event) -> None:
        stream.events.append(final)
        self._release(stream)

    def _encode(self, streams: Sequence[StreamHandle]) -> None:
        """The next chunk of every stream that stands before one: of each chunk scheme in one call.

        While anyone speaks live, one whole segment at a time: no step must take long.
        """
        chunked: dict[ChunkScheme, list[StreamHandle]] = {}
        whole: list[StreamHandle] = []
        for stream in streams:
            if stream.tasks and isinstance(stream.tasks[0], FeatureChunk) and not _has_order(stream):
                if stream.scheme is None:
                    whole.append(stream)
                else:
                    chunked.setdefault(stream.scheme, []).append(stream)
        for waiting in chunked.values():
            self._encode_group(waiting, self._encode_chunks)
        if any(not stream.recorded for stream in streams):
            # Whoever has just spoken waits for the final; a recording can wait.
            whole = sorted(whole, key=lambda stream: stream.recorded)[:1]
        batches: dict[tuple[ChunkScheme | None, object], list[StreamHandle]] = {}
        for stream in whole:
            batches.setdefault((stream.mask, stream.batch), []).append(stream)
        for waiting in batches.values():
            self._encode_group(waiting, self._encode_whole)

    def _encode_group(
        self,
        waiting: Sequence[StreamHandle],
        call: Callable[[Sequence[tuple[StreamHandle, FeatureChunk]]], list[Encoded]],
    ) -> None:
        rows: list[tuple[StreamHandle, FeatureChunk]] = []
        for stream in waiting:
            chunk = stream.tasks.popleft()
            assert isinstance(chunk, FeatureChunk)
            rows.append((stream, chunk))
        for (stream, chunk), encoded in zip(rows, _isolated(rows, call), strict=True):
            if isinstance(encoded, Exception):
                self._fail(stream, encoded)
            else:
                self.stats.encoder_frames += chunk.frames
                self._alone(stream, lambda one, c=chunk, e=encoded: self._hear(one, c, e))  # type: ignore[misc]
        self.stats.encoder_calls += 1

    def _encode_chunks(self, rows: Sequence[tuple[StreamHandle, FeatureChunk]]) -> list[Encoded]:
        utterances = [stream.utterance for stream, _ in rows]
        inputs = [
            ChunkInput(chunk.features, chunk.frames, utterance.state)
            for (_, chunk), utterance in zip(rows, utterances, strict=True)
            if utterance is not None
        ]
        found = self._network.encode_chunks(inputs)
        for utterance, (_, state) in zip(utterances, found, strict=True):
            assert utterance is not None
            utterance.state = state
        return [encoded for encoded, _ in found]

    def _encode_whole(self, rows: Sequence[tuple[StreamHandle, FeatureChunk]]) -> list[Encoded]:
        return self._network.encode([chunk.features for _, chunk in rows], rows[0][0].mask)

    def _hear(self, stream: StreamHandle, chunk: FeatureChunk, encoded: Encoded) -> None:
        assert stream.utterance is not None
        stream.utterance.hear(chunk, encoded)
        if chunk.last:
            # The segment's end comes next, so the last speech and what follows it go in together.
            self._advance(stream)

    def _append(self, streams: Sequence[StreamHandle]) -> None:
        """New speech into its slots and, where a text is to be written, all that goes before its first
        token.
        """
        rows: list[tuple[StreamHandle, Floats]] = []
        for stream in streams:
            utterance = stream.utterance
            if utterance is None:
                continue
            parts: list[Floats] = []
            if utterance.speech is not None and len(utterance.speech):
                parts.append(utterance.speech)
                utterance.positions += len(utterance.speech)
                self.stats.speech_tokens += len(utterance.speech)
            utterance.speech = None
            order = utterance.order
            if order is not None and utterance.search is None:
                self._alone(stream, self._open_search)
                if stream.utterance is None:
                    continue
                after = tokens_after(self._tokenizer, self.model.config.prompt, order.hints)
                ids = [*after, *order.tokens]
                parts.append(self._network.embed(ids))
                self.stats.text_tokens += len(ids)
            if parts:
                rows.append((stream, np.concatenate(parts)))
        self._extend(rows)

    def _open_search(self, stream: StreamHandle) -> None:
        assert stream.utterance is not None and stream.utterance.order is not None
        stream.utterance.open_search(self._cache, stream.utterance.order)

    def _extend(self, rows: Sequence[tuple[StreamHandle, Floats]]) -> None:
        if not rows:
            return

        def call(some: Sequence[tuple[StreamHandle, Floats]]) -> list[Floats]:
            slots = [stream.utterance.slot for stream, _ in some if stream.utterance is not None]
            return list(self._cache.append(slots, [inputs for _, inputs in some])[:, None])

        for (stream, _), log_probs in zip(rows, _isolated(rows, call), strict=True):
            if isinstance(log_probs, Exception):
                self._fail(stream, log_probs)
            elif stream.utterance is not None and stream.utterance.search is not None:
                self._accept(stream, stream.utterance.search, log_probs)
        self.stats.language_model_calls += 1

    def _write(self, streams: Sequence[StreamHandle]) -> None:
        """The next token of every text that was being written before this step."""
        rows: list[tuple[StreamHandle, TextSearch, list[tuple[int, int]]]] = []
        for stream in streams:
            search = None if stream.utterance is None else stream.utterance.search
            if search is not None and not search.done:
                rows.append((stream, search, search.pending()))
        if not rows:
            return

        def call(some: Sequence[tuple[StreamHandle, TextSearch, list[tuple[int, int]]]]) -> list[Floats]:
            return next_log_probs(self._network, self._cache, [own for *_, own in some])

        for (stream, search, own), log_probs in zip(rows, _isolated(rows, call), strict=True):
            if isinstance(log_probs, Exception):
                self._fail(stream, log_probs)
            else:
                self.stats.written_tokens += len(own)
                self._accept(stream, search, log_probs)
        self.stats.language_model_calls += 1

    def _accept(self, stream: StreamHandle, search: TextSearch, log_probs: Floats) -> None:
        self._alone(stream, lambda _: search.accept(log_probs))

    def _conclude(self, stream: StreamHandle) -> None:
        """Say what a text that is done says."""
        utterance = stream.utterance
        if utterance is None or utterance.search is None or not utterance.search.done:
            return
        order, ranked = utterance.order, tuple(utterance.search.ranked)
        assert order is not None
        utterance.search = utterance.order = None
        self._cache.truncate(utterance.slot, utterance.positions)
        best = ranked[0]
        event = utterance.conclude(order, Written(tuple(best.tokens), tuple(best.log_probs), ranked))
        if event is not None and order.end is not None:
            self._close(stream, event)
        elif event is not None:
            stream.events.append(event)


def _has_order(stream: StreamHandle) -> bool:
    """Whether a text is to be written before anything else of the stream is worked on."""
    return stream.utterance is not None and stream.utterance.order is not None


def _isolated(rows: Sequence[Any], call: Callable[[Sequence[Any]], list[Any]]) -> list[Any]:
    """The results of ``call`` for all rows together or, if that fails, for each alone; of one that fails, its
    error.
    """
    try:
        return call(rows)
    except Exception as error:
        if len(rows) == 1:
            return [error]
        return [_isolated([row], call)[0] for row in rows]
