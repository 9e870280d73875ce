"""Search: how a text grows, token by token, out of the language model's log probabilities.

A search owns rows, each a text in a slot of the cache, and says which tokens are to be appended to which
slots; for the log probabilities that follow them it says how each goes on. Whoever drives it puts the rows of
many searches into one call. ``TextSearch`` looks for the best text, under guard; ``Samples`` draws texts, for
training.

Beam search looks for the text with the highest sum of its tokens' scores. Both terms of a score are log
probabilities of prefixes, which only fall as a text grows, so the search is over as soon as a text that has
ended is better than all that go on. Hints add to a score: with them it ends when as many texts as there are
beams have ended and the worst of them is better than all that go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from nim4asr.audio.samples import Floats
from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.recognition.fusion import Continuation, FusedScorer, likeliest
from nim4asr.recognition.guards import runs_away
from nim4asr.runtime.network import KvCache, Network

# The score of the end of a beam that runs away: finite, for all of them might. An end that costs nothing
# would be a prize.
_RUN_AWAY = -1e4
# In the place of a token: a guard ends the text. In the place of a slot: a text that has ended needs none.
_CUT, _NOWHERE = -1, -1


class Search(Protocol):
    """Texts that grow together."""

    @property
    def done(self) -> bool:
        """Whether nothing is left to be written."""

    def pending(self) -> list[tuple[int, int]]:
        """The slot of each row that grows, and the token to be appended to it."""

    def accept(self, log_probs: Floats) -> None:
        """Choose the next tokens, given log probabilities (rows, vocabulary) in the order of ``pending``; the
        first time (1, vocabulary), after the prompt.
        """


@dataclass(frozen=True, eq=False)
class Beam:
    """One text of a search: its tokens with their log probabilities, its score, and the slot that holds
    it.
    """

    tokens: list[int]
    log_probs: list[float]
    text: str
    score: float
    slot: int


class TextSearch:
    """The best text behind a prompt in ``slot``, of at most ``budget`` tokens.

    It goes on from ``tokens`` with ``log_probs``, which the slot holds too. One beam is greedy search and
    grows in ``slot`` itself; others grow in forks of it, which are freed at the end. It is over when the
    ``wanted`` best texts are known, at most as many as there are beams.
    """

    def __init__(
        self,
        cache: KvCache,
        tokenizer: Tokenizer,
        config: DecodingConfig,
        slot: int,
        budget: int,
        beams: int = 1,
        scorer: FusedScorer | None = None,
        tokens: Sequence[int] = (),
        log_probs: Sequence[float] = (),
        wanted: int = 1,
    ) -> None:
        self._wanted = wanted
        self._cache, self._tokenizer, self._config = cache, tokenizer, config
        self._slot, self._budget, self._width = slot, budget, beams
        self._scorer = scorer
        self._running = [Beam(list(tokens), list(log_probs), tokenizer.decode(tokens), 0.0, slot)]
        self._ended: list[Beam] = []
        self.done = False

    @property
    def best(self) -> Beam:
        """The best text so far: of those that have ended, if any has."""
        return self.ranked[0]

    @property
    def ranked(self) -> list[Beam]:
        """The texts so far, the best first: those that have ended, if any has, and did not run away, unless
        all did.
        """
        if self._width == 1:
            # Greedy search has no use for a score.
            return [replace(beam, score=sum(beam.log_probs)) for beam in self._running]
        beams = sorted(self._ended or self._running, key=lambda beam: -beam.score)
        return [beam for beam in beams if beam.score > beams[0].score + _RUN_AWAY / 2]

    def pending(self) -> list[tuple[int, int]]:
        return [(beam.slot, beam.tokens[-1]) for beam in self._running]

    def accept(self, log_probs: Floats) -> None:
        if self._config.language is not None:
            log_probs = log_probs.copy()
            # A language model may know more tokens than its tokenizer, and these have no piece.
            log_probs[:, self._tokenizer.foreign(self._config.language)] = -np.inf
        if self._width == 1:
            self._accept_greedily(log_probs[0])
        else:
            self._accept_beams(log_probs)
        if self.done:
            self.release()

    def release(self) -> None:
        """Free the forks."""
        for slot in {beam.slot for beam in self._running} - {self._slot}:
            self._cache.free(slot)
        self._running = [replace(beam, slot=self._slot) for beam in self._running]

    def _stopped(self, beam: Beam) -> bool:
        """Whether a guard ends the text, and without the token that would."""
        return len(beam.tokens) >= self._budget or self._runs_away(beam)

    def _runs_away(self, beam: Beam) -> bool:
        return runs_away(self._tokenizer, beam.tokens, beam.text, self._config)

    def _accept_greedily(self, log_probs: Floats) -> None:
        (beam,) = self._running
        if self._stopped(beam):
            self.done = True
            return
        if self._scorer is None:
            token = int(log_probs.argmax())
        else:
            token = self._scorer.best([beam.tokens], [beam.text], [0.0], log_probs[None], 1)[0].token
        self._running = [self._grown(0, token, 0.0, log_probs[None], beam.slot)]
        self.done = token == self._tokenizer.end

    def _accept_beams(self, log_probs: Floats) -> None:
        cut = {
            row: self._cut(beam, own)
            for row, (beam, own) in enumerate(zip(self._running, log_probs, strict=True))
            if self._stopped(beam)
        }
        growing = [row for row in range(len(log_probs)) if row not in cut]
        # The best first, twice as many as there are beams: half of them may be ends.
        found = [Continuation(beam.score, row, _CUT) for row, beam in cut.items()]
        if growing:
            found += self._likeliest(growing, log_probs)
        found.sort(key=lambda continuation: -continuation.score)
        found = found[: 2 * self._width]
        end = self._tokenizer.end
        for score, row, token in found[: self._width]:
            if token == _CUT:
                self._ended.append(cut[row])
            elif token == end:
                self._ended.append(self._grown(row, end, score, log_probs, _NOWHERE))
        self._ended = sorted(self._ended, key=lambda beam: -beam.score)[: self._width]
        on = [one for one in found if one.token not in (_CUT, end)][: self._width]
        if not on or self._over(on[0].score):
            self.done = True
            return
        self._reorder(on, log_probs)

    def _likeliest(self, rows: Sequence[int], log_probs: Floats) -> list[Continuation]:
        """What may become of the beams ``rows``: as many continuations as can matter."""
        beams, most = [self._running[row] for row in rows], 2 * self._width
        scores = [beam.score for beam in beams]
        if self._scorer is None:
            found = likeliest(scores, log_probs[rows], most)
        else:
            written, texts = [beam.tokens for beam in beams], [beam.text for beam in beams]
            found = self._scorer.best(written, texts, scores, log_probs[rows], most)
        return [one._replace(row=rows[one.row]) for one in found]

    def _cut(self, beam: Beam, log_probs: Floats) -> Beam:
        """A text that a guard has ended."""
        ending = _RUN_AWAY
        if not self._runs_away(beam):
            ending = max(float(log_probs[self._tokenizer.end]), _RUN_AWAY)
        if self._scorer is not None:
            ending += self._scorer.ending(beam.text)
        return replace(beam, score=beam.score + ending, slot=_NOWHERE)

    def _grown(self, row: int, token: int, score: float, log_probs: Floats, slot: int) -> Beam:
        beam = self._running[row]
        own = float(log_probs[row, token])
        text = self._tokenizer.grown(beam.text, beam.tokens, token)
        return Beam([*beam.tokens, token], [*beam.log_probs, own], text, score, slot)

    def _over(self, best_running: float) -> bool:
        if self._scorer is None or self._scorer.monotone:
            enough = len(self._ended) >= self._wanted
            return enough and self._ended[self._wanted - 1].score >= best_running
        return len(self._ended) == self._width and self._ended[-1].score >= best_running

    def _reorder(self, on: Sequence[Continuation], log_probs: Floats) -> None:
        """Give each text that goes on a slot: the first one of a row keeps its slot, others fork it."""
        slots: list[int] = []
        taken: set[int] = set()
        for _, row, _ in on:
            slot = self._running[row].slot
            slots.append(self._cache.fork(slot) if slot in taken else slot)
            taken.add(slot)
        for beam in self._running:
            if beam.slot not in taken and beam.slot != self._slot:
                self._cache.free(beam.slot)
        self._running = [
            self._grown(row, token, score, log_probs, slot)
            for (score, row, token), slot in zip(on, slots, strict=True)
        ]


@dataclass
class Samples:
    """So many texts ``count`` behind a prompt in ``slot``, drawn from p^(1/``temperature``), of at most
    ``budget`` tokens each; their ends are among them.
    """

    cache: KvCache
    slot: int
    end: int
    budget: int
    count: int
    temperature: float
    random: np.random.Generator
    written: list[list[int]] = field(default_factory=list)
    _slots: dict[int, int] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return bool(self.written) and not self._slots

    def pending(self) -> list[tuple[int, int]]:
        return [(slot, self.written[row][-1]) for row, slot in self._slots.items()]

    def accept(self, log_probs: Floats) -> None:
        if not self.written:
            self.written = [[] for _ in range(self.count)]
            self._slots = {row: self.cache.fork(self.slot) for row in range(self.count)}
            log_probs = np.repeat(log_probs, self.count, axis=0)
        for (row, slot), own in zip(list(self._slots.items()), log_probs, strict=True):
            # The highest of the log probabilities under Gumbel noise: a draw from their softmax.
            noise = self.random.gumbel(size=len(own))
            token = int((own / self.temperature + noise).argmax())
            self.written[row].append(token)
            if token == self.end or len(self.written[row]) >= self.budget:
                self.cache.free(slot)
                del self._slots[row]


def next_log_probs(
    network: Network, cache: KvCache, pending: Sequence[Sequence[tuple[int, int]]]
) -> list[Floats]:
    """Append what is ``pending`` of several searches, in one call; each one's log probabilities (rows,
    vocabulary).
    """
    embedded = network.embed([token for rows in pending for _, token in rows])
    log_probs = cache.append([slot for rows in pending for slot, _ in rows], list(embedded[:, None]))
    return np.split(log_probs, np.cumsum([len(rows) for rows in pending])[:-1])


def run(
    network: Network,
    cache: KvCache,
    prompts: Sequence[Floats],
    slots: Sequence[int],
    searches: Sequence[Search],
) -> None:
    """Append ``prompts``, embeddings (N, D_llm), to ``slots`` and write all texts of ``searches`` behind
    them.
    """
    for search, log_probs in zip(searches, cache.append(slots, prompts), strict=True):
        search.accept(log_probs[None])
    while growing := [search for search in searches if not search.done]:
        found = next_log_probs(network, cache, [search.pending() for search in growing])
        for search, log_probs in zip(growing, found, strict=True):
            search.accept(log_probs)
