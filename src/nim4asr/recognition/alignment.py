"""When each word of a given text is said in a recording.

The recording is heard once, segment by segment; what the phoneme head makes of it is kept in a file. The
phonemes that it heard are matched with those of the text over the whole recording
(``nim4asr.recognition.anchoring``). Where they agree, text and recording are cut into blocks of some
seconds, and in each block the words are placed by forced alignment (``nim4asr.phonemes.ctc``). Words that the
sound does not bear out are taken out and told, and the rest of their block is aligned once more. Mandarin's
tones do not count.

Memory grows by the phonemes of the recording and of the text, not by the sound.
"""

import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import IO

import numpy as np
from numpy.typing import NDArray

from nim4asr.audio.samples import Floats
from nim4asr.audio.voice_activity import SpeechSegment
from nim4asr.errors import InputError
from nim4asr.phonemes import BLANK, TABLE
from nim4asr.phonemes.ctc import force_align
from nim4asr.recognition.anchoring import Labels, matched
from nim4asr.recognition.given_text import GivenWord, given_words, shown
from nim4asr.recognition.result import Segment, Transcript, Word

_TONELESS = np.array(TABLE.toneless)
_SOUNDS = int(_TONELESS.max()) + 1

# A frame may belong to no word, so many nats below the likeliest sound in it: the recording may hold more
# than the text.
_OTHER = 4.0
# Inside a word sound that is none of its own is so much less likely, in nats, than no sound is in that frame;
# and of equals a word is the shorter one, by so much a frame.
_INSIDE_A_WORD, _LATER = 6.0, 0.05
# A word whose phonemes have less evidence than this, in [0, 1], is more likely missing than said; it is
# missing if its run of such words lacks so much evidence together. Of phonemes that are said, nano hears 0.7
# and more, of those that are not 0.3 and less.
_LEAST_EVIDENCE = 0.4
_LACKS = 2.8
# Such a run ends before words that have so much evidence beyond that: four phonemes heard for certain.
_ENDS = 2.4
# The same for what of the text finds no match in what was heard, before anything is aligned.
_LACKS_FAR = 5.0
# Words without a match are looked for all the same where so many frames are left for each of their phonemes.
_FRAMES_A_PHONEME = 2
# A text as a whole that has less evidence is another text.
_LEAST_AT_ALL = 0.35
# A block ends at the first place behind this length, in seconds, where sound and text agree.
_BLOCK_S = 6.0
# On so many phonemes at each side of a cut they must agree.
_AGREED = 2
# So much sound is taken beside matched words, in seconds: at least, and for each phoneme without a match.
_ROOM_S, _ROOM_A_PHONEME_S = 1.5, 0.2
# Without a word for so long, in seconds, text and sound are cut in any case.
_FAR_S = 10.0
# A block of more frames times phonemes would take too much memory.
_MOST_CELLS = 4_000_000
# Speech of so many phonemes in which no word of the text stands is told.
_UNEXPECTED = 12


@dataclass(frozen=True)
class _Edges:
    """The head says when a phoneme is heard, not from when to when. In seconds: a word begins ``before_s``
    before the frame of its first phoneme begins. It ends where the next one begins, if that is no more than
    ``joined_s`` behind the end of the frame of its last phoneme; else there is a pause, ``behind_s`` behind
    it.
    """

    before_s: float
    joined_s: float
    behind_s: float


# Fitted to nano's head, on speech of espeak-ng. A final of Mandarin is heard where it begins, and lasts.
_MANDARIN, _ENGLISH = _Edges(0.07, 0.3, 0.2), _Edges(0.035, 0.15, 0.03)


@dataclass(frozen=True)
class AlignedWord:
    """A word, a Chinese character or a number of the given text, and when it is said, in seconds.

    ``text`` is as it is written there, ``shown`` with the marks around it; the word is the given text's
    ``[place:place + len(text)]``. ``confidence`` is the geometric mean of its phonemes' posteriors, in
    [0, 1]; 0 for a word of which no sound is known, which takes no time.
    """

    text: str
    shown: str
    start: float
    end: float
    confidence: float
    place: int


@dataclass(frozen=True)
class NotFound:
    """Words of the given text that are not said: those of numbers ``first`` to ``last``, counted from 0 over
    all words of the text. Were they said, it would be between ``start`` and ``end`` seconds.
    """

    text: str
    first: int
    last: int
    start: float
    end: float


@dataclass(frozen=True)
class Unexpected:
    """Speech from ``start`` to ``end`` seconds that the given text does not hold."""

    start: float
    end: float


@dataclass(frozen=True)
class Alignment:
    """When the words of a given ``text`` are said in an audio of ``duration`` seconds.

    Each word of the text is in ``words`` or in one of ``not_found``, in the text's order. ``lines`` are the
    words by stretches of speech: the numbers, in ``words``, of the first of each and of the one behind its
    last. ``computing_s`` is what it took.
    """

    audio: str
    duration: float
    text: str
    words: tuple[AlignedWord, ...]
    lines: tuple[tuple[int, int], ...]
    not_found: tuple[NotFound, ...] = ()
    unexpected: tuple[Unexpected, ...] = ()
    warnings: tuple[str, ...] = ()
    computing_s: float = 0.0

    @property
    def told(self) -> tuple[str, ...]:
        """All that a user should know: the warnings, and where text and audio differ."""
        name = f"{self.audio}: " if self.audio else ""
        missing = (
            f"{name}not said, between {_clock(one.start)} and {_clock(one.end)}: {_short(one.text)}"
            for one in self.not_found
        )
        other = (
            f"{name}said, but not in the text: {_clock(one.start)} to {_clock(one.end)}"
            for one in self.unexpected
        )
        return (*self.warnings, *missing, *other)

    @property
    def transcript(self) -> Transcript:
        """The given text as a transcript, for subtitles and whatever else takes one: a segment a stretch of
        speech, without the words that are not said.
        """
        segments: list[Segment] = []
        for first, behind in self.lines:
            own = self.words[first:behind]
            last = own[-1]
            begin = own[0].place - own[0].shown.index(own[0].text)
            end = last.place - last.shown.index(last.text) + len(last.shown)
            words = tuple(Word(word.text, word.start, word.end, word.confidence) for word in own)
            confidence = float(np.exp(np.mean([np.log(max(word.confidence, 1e-6)) for word in own])))
            text = shown(self.text[begin:end])
            segments.append(Segment(own[0].start, last.end, text, confidence, words))
        return Transcript(self.audio, self.duration, tuple(segments), self.computing_s, self.told)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60.0)
    return f"{int(minutes)}:{rest:05.2f}"


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:50]} ... {text[-25:]}"


def align(
    segments: Iterable[SpeechSegment],
    log_posteriors: Callable[[SpeechSegment], Floats],
    text: str,
    frame_s: float,
    duration: Callable[[], float],
    name: str = "",
) -> Alignment:
    """Align ``text`` with a recording's ``segments``, of each of which ``log_posteriors`` gives (T,
    phonemes), a row every ``frame_s`` seconds. ``duration`` is asked for the recording's when all segments
    were heard.

    Raises ``InputError`` for a text without a word that has a known sound, and for one that is not said at
    all.
    """
    given = given_words(text)
    if not any(word.phonemes for word in given):
        raise InputError(
            "the text has no word whose sound is known: Chinese characters, Latin letters, digits"
        )
    with tempfile.TemporaryFile() as file:
        heard = _Heard(file, frame_s)
        for segment in segments:
            heard.add(segment, log_posteriors(segment))
        placed = _Placing(given, heard).placed
    whole_s = duration()
    if not placed:
        raise InputError(
            f"{name + ': ' if name else ''}none of the text is said in {_clock(whole_s)} of sound; "
            "is it the text of this recording?"
        )
    words = _timed(text, given, placed, heard, whole_s)
    kept = [number for number in range(len(given)) if number in words]
    return Alignment(
        name,
        whole_s,
        text,
        tuple(words[number] for number in kept),
        tuple(_lines([words[number] for number in kept], kept, heard)),
        tuple(_not_found(text, given, words, whole_s)),
        tuple(_unexpected([words[number] for number in kept], heard)),
    )


class _Heard:
    """What was heard of a recording: posteriors without tones, in a file; the likeliest sounds, here.

    Frames are counted over all segments, without what lies between these.
    """

    def __init__(self, file: IO[bytes], frame_s: float) -> None:
        self._file, self.frame_s = file, frame_s
        self.spans: list[tuple[float, float]] = []
        self._begins: list[int] = []
        self.frames = 0
        self._sounds: list[NDArray[np.int64]] = []
        self._places: list[NDArray[np.int64]] = []

    def add(self, segment: SpeechSegment, log_probs: Floats) -> None:
        """Keep what was heard of the next segment."""
        if not len(log_probs):
            return
        pooled = toneless(log_probs)
        best = pooled.argmax(axis=1)
        new = np.flatnonzero((best != BLANK) & np.r_[True, best[1:] != best[:-1]])
        self._sounds.append(best[new])
        self._places.append(new + self.frames)
        self.spans.append((segment.start, segment.end))
        self._begins.append(self.frames)
        self._file.write(pooled.astype(np.float16).tobytes())
        self.frames += len(pooled)

    @property
    def sounds(self) -> Labels:
        """The sounds of the likeliest path."""
        return np.concatenate(self._sounds) if self._sounds else np.zeros(0, np.int64)

    @property
    def places(self) -> Labels:
        """The frames of ``sounds``."""
        return np.concatenate(self._places) if self._places else np.zeros(0, np.int64)

    def posteriors(self, begin: int, end: int) -> Floats:
        """Log posteriors of the frames from ``begin`` to ``end``."""
        row = _SOUNDS * np.dtype(np.float16).itemsize
        self._file.seek(begin * row)
        data = self._file.read((end - begin) * row)
        return np.frombuffer(data, np.float16).reshape(-1, _SOUNDS).astype(np.float32)

    def segment_of(self, frame: int) -> int:
        """The number of the segment that holds a frame."""
        return bisect_right(self._begins, frame) - 1

    def time(self, frame: int) -> float:
        """When a frame begins, in seconds."""
        segment = self.segment_of(frame)
        return self.spans[segment][0] + (frame - self._begins[segment]) * self.frame_s


def toneless(log_probs: Floats) -> Floats:
    """Log posteriors (T, sounds) of sounds without their tones, of those of phonemes."""
    pooled: Floats = np.exp(log_probs) @ np.eye(_SOUNDS, dtype=np.float32)[_TONELESS]
    return np.log(np.maximum(pooled, 1e-7))


@dataclass(frozen=True)
class _Place:
    """The frames of a word's first phoneme and of its last one, and the log posterior of each of them all."""

    first: int
    last: int
    log_probs: tuple[float, ...]


class _Placing:
    """Finds the place of each word that is said: ``placed``, by the number of the word."""

    def __init__(self, given: Sequence[GivenWord], heard: _Heard) -> None:
        self._heard = heard
        self._labels = [_TONELESS[list(word.phonemes)] for word in given]
        sounded = [number for number, labels in enumerate(self._labels) if len(labels)]
        ours = np.concatenate([self._labels[number] for number in sounded])
        partner = matched(ours, heard.sounds)
        places = np.append(heard.places, -1)
        # Of each phoneme of a word, the frame that it was matched with, or -1.
        cuts = np.cumsum([len(self._labels[number]) for number in sounded])[:-1]
        self._frames = dict(zip(sounded, np.split(places[partner], cuts), strict=True))
        self.placed: dict[int, _Place] = {}
        evidence = {number: (self._frames[number] >= 0).astype(float) for number in sounded}
        for block, begin, end in self._blocks(self._likely(sounded, evidence)):
            self._place(block, begin, end)
        found = [value for place in self.placed.values() for value in np.exp(place.log_probs)]
        if found and np.mean(found) < _LEAST_AT_ALL:
            self.placed.clear()

    def _likely(self, words: Sequence[int], evidence: dict[int, NDArray[np.float64]]) -> list[int]:
        """The words without those runs that have no match, nor room in what was heard between others."""
        lacking = _lacking(words, evidence, _LACKS_FAR)
        likely: list[int] = []
        run: list[int] = []
        last = 0
        for number in words:
            if number in lacking:
                run.append(number)
                continue
            frames = self._frames[number][self._frames[number] >= 0]
            if run and len(frames):
                likely += self._fitting(run, int(frames[0]) - last)
                run = []
            likely += [*self._fitting(run, 0), number]
            run = []
            last = int(frames[-1]) if len(frames) else last
        return likely + self._fitting(run, self._heard.frames - last)

    def _fitting(self, run: Sequence[int], frames: int) -> list[int]:
        needed = _FRAMES_A_PHONEME * sum(len(self._labels[number]) for number in run)
        return list(run) if needed <= frames else []

    def _blocks(self, words: Sequence[int]) -> Iterator[tuple[list[int], int, int]]:
        """Words that are aligned together, and the frames among which."""
        begin, own = 0, list[int]()
        for number, after in pairwise([*words, -1]):
            own.append(number)
            cut = None if after < 0 else self._cut(number, after)
            if cut is None:
                continue
            end, next_begin = cut
            if (end - begin) * self._heard.frame_s >= _BLOCK_S or next_begin > end:
                yield own, *self._near(own, begin, end)
                own, begin = [], next_begin
        if own:
            yield own, *self._near(own, begin, self._heard.frames)

    def _cut(self, word: int, after: int) -> tuple[int, int] | None:
        """Where the frames of a block may end that ends with ``word``, and those of the next one begin."""
        left, right = self._frames[word][-_AGREED:], self._frames[after][:_AGREED]
        if min(left.min(), right.min()) < 0:
            return None
        a, b = int(left[-1]), int(right[0])
        if (self._heard.time(b) - self._heard.time(a)) > _FAR_S:
            room = round(_ROOM_S / self._heard.frame_s)
            a, b = min(a + room, b), max(b - room, a)
            return (a, b) if a < b else ((a + b) // 2, (a + b) // 2)
        # Between a word's phonemes there are frames enough.
        consistent = left[-1] - left[0] < 25 and right[-1] - right[0] < 25
        return ((a + b + 1) // 2, (a + b + 1) // 2) if b - a >= 2 and consistent else None

    def _near(self, words: Sequence[int], begin: int, end: int) -> tuple[int, int]:
        """The frames from ``begin`` to ``end`` without those far from all that was matched."""
        frames = np.concatenate([self._frames[number] for number in words])
        there = np.flatnonzero(frames >= 0)
        if not len(there):
            return begin, end
        before, behind = int(there[0]), len(frames) - 1 - int(there[-1])

        def room(phonemes: int) -> int:
            return round((_ROOM_S + _ROOM_A_PHONEME_S * phonemes) / self._heard.frame_s)

        first, last = int(frames[there[0]]), int(frames[there[-1]])
        return max(begin, first - room(before)), min(end, last + 1 + room(behind))

    def _place(self, words: Sequence[int], begin: int, end: int) -> None:
        """Place the words of a block, but for those that are not said."""
        words = list(words)
        # Each round takes words out, so it comes to an end.
        while words:
            found = self._aligned(words, begin, end)
            if found is None:
                # More phonemes than frames, or more of both than fit into memory: those without a match go.
                matched_ = [number for number in words if (self._frames[number] >= 0).mean() >= 0.5]
                if len(matched_) == len(words):
                    return
                words = matched_
                begin, end = self._near(words, begin, end) if words else (begin, end)
                continue
            evidence = {number: np.exp(place.log_probs) for number, place in found.items()}
            lacking = _lacking(words, evidence, _LACKS)
            if not lacking:
                self.placed |= found
                return
            words = [number for number in words if number not in lacking]

    def _aligned(self, words: Sequence[int], begin: int, end: int) -> dict[int, _Place] | None:
        labels = np.concatenate([self._labels[number] for number in words])
        if len(labels) * (end - begin) > _MOST_CELLS or not len(labels):
            return None
        log_probs = self._heard.posteriors(begin, end)
        # Columns beside the table: what lies inside a word, and what lies between two, which may be sound.
        blank, heard = log_probs[:, BLANK], log_probs.max(axis=1)
        inside = blank - np.where(blank < heard - 1.0, _INSIDE_A_WORD, _LATER)
        between = np.maximum(blank, heard - _OTHER)
        blanks = np.full(len(labels) + 1, _SOUNDS)
        blanks[np.cumsum([0, *(len(self._labels[number]) for number in words)])] = _SOUNDS + 1
        spans = force_align(np.c_[log_probs, inside, between], labels.tolist(), blanks=blanks.tolist())
        if spans is None:
            return None
        found: dict[int, _Place] = {}
        at = 0
        for number in words:
            own = spans[at : at + len(self._labels[number])]
            best = [
                float(log_probs[span.start : span.end, label].max())
                for span, label in zip(own, self._labels[number], strict=True)
            ]
            peaks = [
                begin + span.start + int(log_probs[span.start : span.end, label].argmax())
                for span, label in zip(own, self._labels[number], strict=True)
            ]
            found[number] = _Place(peaks[0], peaks[-1], tuple(best))
            at += len(own)
        return found


def _lacking(words: Sequence[int], evidence: dict[int, NDArray[np.float64]], least: float) -> set[int]:
    """The words of those runs that lack ``least`` of evidence or more."""
    lacks = [float((_LEAST_EVIDENCE - evidence[number]).sum()) for number in words]
    found: set[int] = set()
    for first, last in _runs(lacks, least):
        found |= set(words[first:last])
    return found


def _runs(values: Sequence[float], least: float) -> Iterator[tuple[int, int]]:
    """Runs, from the first to behind the last, whose sum is ``least`` or more, from the left; each ends
    where its sum is greatest, before ``_ENDS`` is lost of it.
    """
    begin, total, top, top_end = 0, 0.0, 0.0, 0
    place = 0
    while place <= len(values):
        total += values[place] if place < len(values) else -np.inf
        place += 1
        if total > top:
            top, top_end = total, place
        elif top >= least and total <= top - _ENDS:
            yield begin, top_end
            begin, total, top, place = top_end, 0.0, 0.0, top_end
        elif total <= 0:
            begin, total, top, top_end = place, 0.0, 0.0, place


def _timed(
    text: str, given: Sequence[GivenWord], placed: dict[int, _Place], heard: _Heard, whole_s: float
) -> dict[int, AlignedWord]:
    """The words that are said, or without a sound, by their numbers; times ascend and lie inside the
    audio.
    """
    order = sorted(placed)
    starts, ends = {}, {}
    for before, number in pairwise([-1, *order]):
        place = placed[number]
        first = heard.time(place.first)
        start = max(
            heard.spans[heard.segment_of(place.first)][0], first - _edges(given[number].phonemes[0]).before_s
        )
        if before >= 0:
            # Not before the middle between the frames of their nearest phonemes.
            last = heard.time(placed[before].last)
            start = max(start, (last + first + heard.frame_s) / 2)
            own = _edges(given[before].phonemes[-1])
            if start - (last + heard.frame_s) <= own.joined_s:
                ends[before] = start
        starts[number] = start
        high = heard.spans[heard.segment_of(place.last)][1]
        own = _edges(given[number].phonemes[-1])
        ends[number] = min(high, heard.time(place.last) + heard.frame_s + own.behind_s)
    words: dict[int, AlignedWord] = {}
    now = 0.0
    for number, word in enumerate(given):
        confidence = 0.0
        if number in placed:
            start = min(max(now, starts[number]), whole_s)
            now = min(max(start, ends[number]), whole_s)
            confidence = min(1.0, float(np.exp(np.mean(placed[number].log_probs))))
        elif not word.phonemes:
            start = now
        else:
            continue
        words[number] = AlignedWord(
            text[word.start : word.end],
            text[word.shown_start : word.shown_end],
            start,
            now,
            confidence,
            word.start,
        )
    return words


def _edges(phoneme: int) -> _Edges:
    return _MANDARIN if TABLE.symbols[phoneme].islower() else _ENGLISH


def _lines(words: Sequence[AlignedWord], numbers: Sequence[int], heard: _Heard) -> Iterator[tuple[int, int]]:
    """Where a line of words begins and ends: a segment's words, as far as none between them is missing."""
    begins = [start for start, _ in heard.spans]
    own = [bisect_right(begins, word.start + 1e-6) for word in words]
    # A word that takes no time goes with the one before it, or else with the next one.
    timed = [place for place, word in enumerate(words) if word.end > word.start]
    for place in set(range(len(words))).difference(timed) if timed else ():
        own[place] = own[timed[max(0, bisect_right(timed, place) - 1)]]
    first = 0
    for place in range(1, len(words) + 1):
        if place == len(words) or own[place] != own[place - 1] or numbers[place] != numbers[place - 1] + 1:
            yield first, place
            first = place


def _not_found(
    text: str, given: Sequence[GivenWord], words: dict[int, AlignedWord], whole_s: float
) -> Iterator[NotFound]:
    first, before = 0, 0.0
    for number in range(len(given) + 1):
        if number < len(given) and number not in words:
            continue
        after = words[number].start if number < len(given) else whole_s
        if first < number:
            piece = text[given[first].shown_start : given[number - 1].shown_end]
            yield NotFound(shown(piece), first, number - 1, before, after)
        if number < len(given):
            before = words[number].end
        first = number + 1


def _unexpected(words: Sequence[AlignedWord], heard: _Heard) -> Iterator[Unexpected]:
    """Stretches between two words in which much was heard."""
    times = np.array([heard.time(int(place)) for place in heard.places])
    gaps = [(0.0, words[0].start), *((a.end, b.start) for a, b in pairwise(words)), (words[-1].end, np.inf)]
    for start, end in gaps:
        first, last = np.searchsorted(times, [start, end])
        if last - first >= _UNEXPECTED:
            yield Unexpected(float(times[first]), float(times[last - 1]) + heard.frame_s)
