"""One segment of speech while it is recognized: what has been heard of it, and which texts are to be written
of it.

The policy of hints lies here, for recordings and live speech alike. Of each segment the final text is written
with the hints that it needs: names that were heard, but for those that stand in a draft, what the model
writes anyway. A text with hints stands only if the sound bears it out (``nim4asr.recognition.hinting``); else
the one without them does. A recording's draft is its text without hints, and is there when that is asked for;
a live stream's draft is its last partial, so the text without hints is only written when it is needed.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from nim4asr.acoustics.clock import FrameClock
from nim4asr.audio.samples import Floats
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.phonemes import TABLE
from nim4asr.recognition.configuration import StreamingConfig
from nim4asr.recognition.events import Event, Final, Partial
from nim4asr.recognition.frontend import FeatureChunk, SpeechEnd
from nim4asr.recognition.fusion import FusedScorer, fused_scorer
from nim4asr.recognition.guards import sounding_entropy, without_runaway
from nim4asr.recognition.hinting import HintResult, HintTracker, confirmed_by_audio, contradicted, with_hits
from nim4asr.recognition.hypothesis import NOTHING, to_hypothesis
from nim4asr.recognition.result import Alternative, Segment
from nim4asr.recognition.search import Beam, TextSearch
from nim4asr.recognition.words import to_segment
from nim4asr.runtime.network import Encoded, KvCache


@dataclass(frozen=True)
class Order:
    """A text to be written of the sound so far: behind ``tokens``, kept from before, with ``hints`` in its
    prompt.

    ``heard`` is what was heard of the names; ``end`` is the segment's, if this is the text that follows it.
    """

    tokens: tuple[int, ...] = ()
    log_probs: tuple[float, ...] = ()
    heard: HintResult = field(default_factory=HintResult)
    hinted: bool = False
    end: SpeechEnd | None = None

    @property
    def hints(self) -> tuple[str, ...]:
        return self.heard.hints if self.hinted else ()


@dataclass(frozen=True)
class Written:
    """A text that has been written: its tokens, its end among them if it was reached, and their log
    probabilities.
    """

    tokens: tuple[int, ...]
    log_probs: tuple[float, ...]
    # This one and those after it, if more than one was wanted.
    ranked: tuple[Beam, ...] = ()


class Utterance:
    """An open segment, which begins at ``start`` seconds and lives in ``slot`` of a cache.

    ``positions`` of the slot are prompt and speech; ``state`` is the encoder's. ``stable`` of its ``tokens``
    will not change. ``order`` is the text that is wanted, if one is, and ``search`` the writing of it.
    ``whole`` is a segment that the encoder hears in one piece: a recording's, or a live one ``again`` at its
    end.
    """

    def __init__(
        self,
        config: StreamingConfig,
        tokenizer: Tokenizer,
        stack: int,
        clock: FrameClock,
        start: float,
        listener: HintTracker,
        slot: int,
        positions: int,
        state: object,
        whole: bool,
        again: bool = False,
    ) -> None:
        assert config.decoding is not None
        self._config, self._tokenizer, self._stack, self._clock = config, tokenizer, stack, clock
        self._decoding = config.decoding
        self.whole, self.again = whole, again
        self.start, self.listener = start, listener
        self.slot, self.positions, self.state = slot, positions, state
        self.speech: Floats | None = None
        self.order: Order | None = None
        self.search: TextSearch | None = None
        self._log_probs: list[Floats] = [np.zeros((0, len(TABLE)), np.float32)]
        self._features: list[Floats] = []
        self._frames = 0
        self._chunks = 0
        # Frames that are not blank, and the sum of their entropies.
        self._sounding = 0
        self._entropy = 0.0
        self._stable = 0
        self._tokens: tuple[int, ...] = ()
        self._token_log_probs: tuple[float, ...] = ()
        self._hinted = False
        self._shown = ("", "")
        # The final text without hints, where it is known.
        self._unhinted: Written | None = None

    @property
    def seconds(self) -> float:
        """How much of it the encoder has heard."""
        return self._frames * self._clock.frame_s

    @property
    def wants_whole(self) -> bool:
        """Whether it has been heard in chunks, and its final is to be written of the whole."""
        return self._heard_in_part and self._speaks

    @property
    def _heard_in_part(self) -> bool:
        """Whether it is to be heard once more."""
        return self._config.final_context == "whole" and not self.whole

    def in_one_piece(self) -> FeatureChunk:
        """All that was heard, as one chunk."""
        return FeatureChunk(np.concatenate(self._features), self._frames, last=True)

    @property
    def _speaks(self) -> bool:
        """Whether there is anything for the language model to do: a speech token, a voice, and no sound that
        could be any.
        """
        return self._frames >= self._stack and self.listener.voiced and not self._could_be_anything

    @property
    def _is_guarded(self) -> bool:
        """Whether it is still so short that its entropy may forbid a text."""
        return self._decoding.max_entropy is not None and self._sounding < self._decoding.short_frames

    @property
    def _could_be_anything(self) -> bool:
        most = self._decoding.max_entropy
        if most is None or not self._is_guarded or self._stable:
            return False
        return self._entropy > most * self._sounding

    def hear(self, chunk: FeatureChunk, encoded: Encoded) -> None:
        """Take in what the encoder made of ``chunk``; live, that asks for a new partial."""
        self._log_probs.append(encoded.log_probs)
        self.speech = encoded.speech
        self.listener.feed(encoded.log_probs)
        if self._is_guarded:
            self._measure(encoded.log_probs)
        if self._heard_in_part:
            self._keep(chunk)
        self._frames += chunk.frames
        self._chunks += 1
        if self._config.mode == "refresh" and not chunk.last and self._speaks:
            self.order = self._ordered(self._stable)

    def end(self, end: SpeechEnd) -> Event | None:
        """Ask for the final text; it is there at once where nobody spoke."""
        if self._could_be_anything:
            return Final(end.time, self._segment(end.time, None, HintResult()))
        if not self._speaks:
            return Final(end.time, self._segment(end.time, None, self._heard()))
        if self.whole:
            self.order = Order(end=end)
        else:
            self.order = self._ordered(0 if self._config.second_pass else self._stable, end)
        return None

    def _measure(self, log_probs: Floats) -> None:
        frames, entropy = sounding_entropy(log_probs)
        self._sounding += frames
        self._entropy += entropy

    def _keep(self, chunk: FeatureChunk) -> None:
        """The features of ``chunk`` that make its frames: where the next one begins, those before are
        enough.
        """
        if self._features:
            last = self._features[-1]
            self._features[-1] = last[: len(last) - self._clock.lookahead]
        self._features.append(chunk.features[: self._clock.window(chunk.frames)])

    def open_search(self, cache: KvCache, order: Order) -> TextSearch:
        """The search for the text that was ordered."""
        config = self._decoding
        final = order.end is not None
        beams = config.beam_size if final else 1
        seconds = self.seconds if order.end is None else order.end.time - self.start
        self.search = TextSearch(
            cache,
            self._tokenizer,
            config,
            self.slot,
            config.max_new_tokens(seconds),
            beams,
            self._fused_scorer(beams, order.hints),
            tokens=order.tokens,
            log_probs=order.log_probs,
            wanted=max(1, self._config.nbest) if final else 1,
        )
        return self.search

    def conclude(self, order: Order, written: Written) -> Event | None:
        """What a text that is done amounts to: an event, another order, or nothing new."""
        if order.end is not None:
            return self._conclude_final(order, order.end, written)
        if order.hinted:
            segment = self._segment(self.start + self.seconds, written, order.heard)
            if contradicted(segment, self._posteriors(), self._clock.frame_s):
                self.order = Order(order.tokens, order.log_probs, order.heard)
                return None
        return self._conclude_partial(order, written)

    def _conclude_final(self, order: Order, end: SpeechEnd, written: Written) -> Event | None:
        segment = self._segment(end.time, written, order.heard)
        if self.whole and not order.hinted:
            heard = self.listener.heard(segment.text)
            segment = with_hits(segment, heard)
            if heard.hints:
                self._unhinted = written
                self.order = Order(heard=heard, hinted=True, end=end)
                return None
        elif order.hinted and not confirmed_by_audio(segment, self._posteriors(), self._clock.frame_s):
            if self._unhinted is None:
                self.order = Order(order.tokens, order.log_probs, order.heard, end=end)
                return None
            segment = self._segment(end.time, self._unhinted, order.heard)
        return Final(end.time, segment)

    def _conclude_partial(self, order: Order, written: Written) -> Event | None:
        tokens = written.tokens
        if tokens and tokens[-1] == self._tokenizer.end:
            tokens = tokens[:-1]
        tokens = tuple(without_runaway(self._tokenizer, tokens, self._decoding, self._stable))
        self._tokens, self._token_log_probs = tokens, written.log_probs[: len(tokens)]
        self._hinted = order.hinted
        if self._chunks >= self._config.unfixed_chunks:
            self._stable = max(self._stable, len(tokens) - self._config.rollback_tokens)
        whole = self._tokenizer.decode(tokens)
        # A trailing U+FFFD is an incomplete UTF-8 sequence: it is neither shown nor stable.
        stable = self._tokenizer.decode(tokens[: self._stable]).rstrip("\ufffd")
        if not whole.startswith(stable):
            stable = self._shown[0]
        shown = (stable, whole[len(stable) :].rstrip("\ufffd"))
        if shown == self._shown:
            return None
        self._shown = shown
        return Partial(self.start + self.seconds, *shown)

    def _ordered(self, kept: int, end: SpeechEnd | None = None) -> Order:
        """A text behind the first ``kept`` tokens, with the hits so far as hints."""
        heard = self._heard()
        return Order(self._tokens[:kept], self._token_log_probs[:kept], heard, bool(heard.hints), end)

    def _heard(self) -> HintResult:
        # A name that the model writes anyway needs no hint. A text written with hints does not show that.
        draft = self._tokens[: self._stable if self._hinted else None]
        return self.listener.heard(self._tokenizer.decode(draft))

    def _posteriors(self) -> Floats:
        """The log posteriors (T, phonemes) of all its sound so far."""
        if len(self._log_probs) > 1:
            # Joined once: a text asks for them several times.
            self._log_probs = [np.concatenate(self._log_probs)]
        return self._log_probs[0]

    def _fused_scorer(self, beams: int, hints: tuple[str, ...]) -> FusedScorer | None:
        return fused_scorer(self._tokenizer, self._decoding, beams, self._posteriors(), hints)

    def _segment(self, end: float, written: Written | None, heard: HintResult) -> Segment:
        hypothesis = NOTHING
        if written is not None and written.tokens:
            least = 0 if self._config.second_pass else self._stable
            hypothesis = to_hypothesis(
                self._tokenizer, written.tokens, written.log_probs, self._decoding, least
            )
        segment = to_segment(self.start, end, hypothesis, self._posteriors(), self._clock.frame_s)
        if written is not None and self._config.nbest and segment.phonemes:
            segment = replace(segment, alternatives=self._alternatives(written))
        return with_hits(segment, heard)

    def _alternatives(self, written: Written) -> tuple[Alternative, ...]:
        found: dict[str, Alternative] = {}
        least = 0 if self._config.second_pass else self._stable
        for beam in written.ranked:
            one = to_hypothesis(self._tokenizer, beam.tokens, beam.log_probs, self._decoding, least)
            # Other tokens may be the same text.
            found.setdefault(one.text, Alternative(one.text, one.confidence, beam.score))
        return tuple(found.values())[: self._config.nbest]
