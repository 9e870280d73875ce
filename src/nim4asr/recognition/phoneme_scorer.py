"""Joint decoding: how well the texts that are being written agree with the phonemes heard.

Beam search looks for the text y with the highest

    log p(y | prompt) + w log p(g(y) | sound),        g(y) its phonemes,

as joint CTC and attention decoding does (Watanabe et al. 2017, doi 10.1109/JSTSP.2017.2763455), with phonemes
in the place of tokens. While y is being written, the second term is the probability that what was said begins
with g:

    log p(g ... | sound) = log sum_t p(the last phoneme of g begins at frame t)

and the end of the turn brings it down to that of g and no more. Of an English word that is still being
written the last phonemes are not known yet and do not count, as the G of "thing" is none of "thin": they do
when the word is complete.

A step of the search asks for what all its texts may become at once. Sequences of phonemes are nodes of a
tree, for many texts sound alike or begin alike, and all that is asked for grows together, a phoneme a call.
"""

import math
from collections.abc import Iterable, Iterator, Sequence, Set
from functools import lru_cache
from itertools import takewhile
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nim4asr.phonemes import BLANK, TABLE, settled, tokenize
from nim4asr.phonemes.ctc import ForwardVariables
from nim4asr.text.spoken import holds_number, spoken_form

# So many phonemes at the end of a word may change with its next letters.
_UNCERTAIN = 2
# For the impossible: finite, so that among impossible texts the language model's order stands.
_FLOOR = -1e4
# The sounds of so many ends of texts are kept: each is a word, or a few characters.
_KEPT = 1 << 13

_Scores = NDArray[np.float64]


class PhonemeScorer:
    """Weighs what one utterance's texts may become by its ``log_probs`` (T, phonemes), ``weight`` times."""

    def __init__(self, log_probs: NDArray[np.float32], weight: float) -> None:
        self._weight = weight
        self._ctc = ForwardVariables(log_probs)
        self._rows = _Rows(len(log_probs) + 1)
        self._root = _Prefix(None, BLANK)
        self._root.begun = 0.0
        self._root.alone = max(float(log_probs[:, BLANK].sum(dtype=np.float64)), _FLOOR)
        in_label, in_blank = self._ctc.of_nothing
        (self._root.row,) = self._rows.hold(in_label[None], in_blank[None])
        # Beginnings of texts, as far as their reading is settled.
        self._settled: dict[str, _Prefix] = {"": self._root}
        self._texts: list[_Text] = []
        # The prefixes that have a row, but for the root.
        self._held: list[_Prefix] = []

    def begin(self, texts: Sequence[str]) -> _Scores:
        """Turn to ``texts``, whose ``gains`` will be asked for; what each gains at most (B,) by what follows.

        Mostly that is nothing. But a word may be said otherwise than its first letters.
        """
        self._texts = [self._text(text) for text in texts]
        self._forget_all_but({node for text in self._texts for node in text.node.back_to(text.base)})
        self._hear([node for text in self._texts for node in (text.base, text.node)], keep=True)
        most: _Scores = self._weight * np.array([text.base.begun - text.node.begun for text in self._texts])
        return most

    def gains(self, rows: Sequence[int], longer: Sequence[str | None]) -> _Scores:
        """What a text gains by each of its continuations (N,), weighted: that in row ``rows[i]`` becomes
        ``longer[i]``, or ends as it is if that is None.
        """
        nodes: list[_Prefix] = []
        for row, text in zip(rows, longer, strict=True):
            before, start, base, _ = self._texts[row]
            ended = text is None
            whole = before if text is None else text
            said = _sounds_apart(whole[start:], ended)
            # How a number is read depends on all of the text.
            nodes.append(_below(self._root, _sounds(whole, ended)) if said is None else _below(base, said))
        self._hear(nodes)
        after = [node.alone if text is None else node.begun for node, text in zip(nodes, longer, strict=True)]
        gained: _Scores = self._weight * (np.array(after) - [self._texts[row].node.begun for row in rows])
        return gained

    def ending(self, text: str) -> float:
        """What the end of ``text`` adds, be it among those begun or not."""
        begun, alone = self._text(text).node, _below(self._root, _sounds(text, True))
        self._hear([begun, alone])
        return self._weight * (alone.alone - begun.begun)

    def _text(self, text: str) -> "_Text":
        start = settled(text)
        base = self._settled_beginning(text[:start])
        return _Text(text, start, base, _below(base, _sounds(text[start:], False)))

    def _settled_beginning(self, text: str) -> "_Prefix":
        """The prefix of a beginning whose reading is settled."""
        if text not in self._settled:
            size = next(size for size in range(len(text) - 1, -1, -1) if text[:size] in self._settled)
            self._settled[text] = _below(self._settled[text[:size]], _sounds(text[size:], True))
        return self._settled[text]

    def _hear(self, nodes: Sequence["_Prefix"], keep: bool = False) -> None:
        """Find the probabilities of all ``nodes``, and their rows if they are to be kept."""
        # Those a phoneme longer than what is known, then those a phoneme longer than these, ...
        rounds: list[dict[_Prefix, None]] = []
        for node in dict.fromkeys(nodes):
            if node.row < 0 and (keep or not node.heard):
                missing = list(takewhile(lambda one: one.row < 0, node.back_to(self._root)))
                rounds += [{} for _ in range(len(missing) - len(rounds))]
                for one, longer in zip(reversed(missing), rounds, strict=False):
                    longer[one] = None
        for some in rounds:
            self._extend(list(some))

    def _extend(self, nodes: Sequence["_Prefix"]) -> None:
        """Find the rows of ``nodes``, which lengthen prefixes that have one."""
        shorter = [node.parent for node in nodes if node.parent is not None]
        rows = [node.row for node in shorter]
        found = self._ctc.extend(
            self._rows.in_label[rows],
            self._rows.in_blank[rows],
            np.array([node.label for node in shorter]),
            np.array([node.label for node in nodes]),
        )
        places = self._rows.hold(found.in_label, found.in_blank)
        begun, alone = np.maximum(found.begun, _FLOOR).tolist(), np.maximum(found.alone, _FLOOR).tolist()
        for node, *own in zip(nodes, begun, alone, places, strict=True):
            node.begun, node.alone, node.row = own
        self._held += nodes

    def _forget_all_but(self, needed: Set["_Prefix"]) -> None:
        """Free the rows of the others: of other texts, of what these begin with, of candidates that were not
        taken.
        """
        for node in self._held:
            if node not in needed:
                self._rows.free(node.row)
                node.row = -1
        self._held = [node for node in self._held if node.row >= 0]


class _Prefix:
    """A phoneme sequence: ``label`` behind ``parent``, and the ``longer`` ones by their next phoneme.

    ``begun`` and ``alone`` are the log probabilities of all that begins with it, and of it and no more, once
    it was ``heard``; ``row`` is where its forward variables stand, as long as they do.
    """

    __slots__ = ("alone", "begun", "label", "longer", "parent", "row")

    def __init__(self, parent: "_Prefix | None", label: int) -> None:
        self.parent, self.label = parent, label
        self.longer: dict[int, _Prefix] = {}
        self.begun = self.alone = math.nan
        self.row = -1

    @property
    def heard(self) -> bool:
        return not math.isnan(self.begun)

    def back_to(self, shortest: "_Prefix") -> Iterator["_Prefix"]:
        """It and all that it begins with, as far as ``shortest``."""
        node = self
        yield node
        while node is not shortest and node.parent is not None:
            node = node.parent
            yield node


class _Text(NamedTuple):
    """A text that is being written, settled as far as ``start``: the prefixes of that much, and of what is
    certain of all of it.
    """

    text: str
    start: int
    base: _Prefix
    node: _Prefix


def _below(prefix: _Prefix, labels: Iterable[int]) -> _Prefix:
    """``prefix`` with ``labels`` behind it."""
    for label in labels:
        longer = prefix.longer.get(label)
        if longer is None:
            longer = prefix.longer[label] = _Prefix(prefix, label)
        prefix = longer
    return prefix


class _Rows:
    """Forward variables of many prefixes, a row (``size``,) of each of the two kinds for one."""

    def __init__(self, size: int) -> None:
        self.in_label, self.in_blank = np.empty((2, 0, size))
        self._free: list[int] = []

    def hold(self, in_label: _Scores, in_blank: _Scores) -> list[int]:
        """Keep rows (N, size); where they stand."""
        have = len(self.in_label)
        if len(self._free) < len(in_label):
            room = np.empty((have + len(in_label), self.in_label.shape[1]))
            self.in_label = np.concatenate([self.in_label, room])
            self.in_blank = np.concatenate([self.in_blank, room])
            self._free += range(have, len(self.in_label))
        places = [self._free.pop() for _ in range(len(in_label))]
        self.in_label[places], self.in_blank[places] = in_label, in_blank
        return places

    def free(self, row: int) -> None:
        """Let another have the place of ``row``."""
        self._free.append(row)


@lru_cache(maxsize=_KEPT)
def _sounds(text: str, ended: bool) -> tuple[int, ...]:
    """The phonemes of ``text``, what has none passed over; if it has not ``ended``, without those at its end
    that may still change.
    """
    said = [token.phonemes for token in tokenize(spoken_form(text))]
    if said and not ended and text[-1].isascii() and text[-1].isalpha():
        said[-1] = said[-1][:-_UNCERTAIN]
    return tuple(TABLE.encode(phoneme for phonemes in said for phoneme in phonemes))


@lru_cache(maxsize=_KEPT)
def _sounds_apart(text: str, ended: bool) -> tuple[int, ...] | None:
    """The same of the end of a text; None if it is not said as it would be alone, as numbers are not."""
    return None if holds_number(text) else _sounds(text, ended)
