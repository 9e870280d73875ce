"""A transcript as subtitles that people can read: cues of a few short lines, with their times.

Netflix's guides for timed text are the measure: at most 42 characters of English or 18 of Chinese a line,
two lines, 1 to 7 seconds a cue, 17 (9) characters a second where the speech allows, breaks where a clause
ends. Where the cues are cut is found over the whole transcript at once, by dynamic programming: the cut of
least cost of all that keep within the lines and the longest time.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

from nim4asr.errors import InputError
from nim4asr.recognition.result import Segment, Transcript, Word
from nim4asr.text.breaking import ends_sentence, line_width, pieces, reading_s, width
from nim4asr.text.joining import addition
from nim4asr.text.tokens import aligned, tokens_of

_SPACE = width(" ")
# No cue is shorter, where there is room.
MIN_CUE_S = 1.0
# A longer pause always ends a cue.
_LONGEST_PAUSE_S = 2.0
# A pause of this length between two segments is one of the speaker.
_SEGMENT_PAUSE_S = 0.3
# A cue begins so long before its first word, and ends so long behind its last one, if the segment does.
_LEAD_S = 0.5
# A shorter gap between two cues is closed: what blinks cannot be read.
_GAP_S = 0.5

# Costs, beside those of breaks: of a cue at all; of one second of time that lacks for reading; of a cue that
# is too short, which is worse than any other; of the end of a sentence in the middle of a cue; of one second
# of pause there; of lines of unequal length.
_CUE, _FAST, _SHORT, _PASSED, _PAUSE, _UNEQUAL = 4.0, 6.0, 1000.0, 4.0, 8.0, 8.0


@dataclass(frozen=True)
class SubtitleConfig:
    """How subtitles are laid out."""

    max_line: int = 42
    """Characters a line at most; a Chinese one counts as 2 1/3, so that 42 are 18 of them."""
    max_lines: int = 2
    """Lines a cue at most."""
    max_cue_s: float = 7.0
    """Seconds that a cue lasts at most."""
    highlight_words: bool = False
    """Say in VTT when each word is said, so that players can highlight it."""

    def __post_init__(self) -> None:
        if not 10 <= self.max_line <= 200:
            raise InputError(f"a line of subtitles has 10 to 200 characters at most, not {self.max_line}")
        if not 1 <= self.max_lines <= 10:
            raise InputError(f"a cue of subtitles has 1 to 10 lines at most, not {self.max_lines}")
        if not MIN_CUE_S <= self.max_cue_s <= 60:
            raise InputError(f"a cue of subtitles lasts 1 to 60 s at most, not {self.max_cue_s:g}")


@dataclass(frozen=True)
class CueWord:
    """A part of a cue's line that no break may stand in; ``before`` is what stands between it and the one
    before it in its line: a space or nothing. Times in seconds.
    """

    text: str
    before: str
    start: float
    end: float


@dataclass(frozen=True)
class Cue:
    """What is shown from ``start`` to ``end``, in seconds: ``lines`` of words, and the ``channel`` that they
    were said in if each was listened to for itself.
    """

    start: float
    end: float
    lines: tuple[tuple[CueWord, ...], ...]
    channel: int | None = None

    @property
    def text(self) -> str:
        """The lines, one under another."""
        return "\n".join("".join(word.before + word.text for word in line) for line in self.lines)


@dataclass
class _Part:
    """A word with all that the search for cuts asks of it."""

    text: str
    before: str
    start: float
    end: float
    # What a break behind it costs, and whether a segment ends there for a pause.
    cost: float
    pause: float = 0.0
    width: int = field(init=False)

    def __post_init__(self) -> None:
        self.width = width(self.text)

    @property
    def gap(self) -> int:
        """The width of what stands before it in its line."""
        return _SPACE if self.before else 0


def subtitles(transcript: Transcript, config: SubtitleConfig | None = None) -> list[Cue]:
    """The cues of ``transcript``, in order; none overlaps another of its channel.

    A cue holds at most ``max_lines`` lines of ``max_line`` characters and lasts at most ``max_cue_s``
    seconds; only a word that is wider than a line makes a longer one. A cue is shown for at least a second,
    and as long as its reading takes, unless the next one begins before, or the recording ends.
    """
    config = config or SubtitleConfig()
    channels = dict.fromkeys(segment.channel for segment in transcript.segments)
    cues = [
        replace(cue, channel=channel)
        for channel in channels
        for cue in _cues(
            [segment for segment in transcript.segments if segment.channel == channel],
            transcript.duration,
            config,
        )
    ]
    return sorted(cues, key=lambda cue: cue.start)


def _cues(segments: Sequence[Segment], duration: float, config: SubtitleConfig) -> list[Cue]:
    """Those of one channel."""
    parts = _parts(segments, line_width(config.max_line))
    # Words may end, by a hair, behind the recording.
    whole_s = max(duration, parts[-1].end) if parts else 0.0
    cuts = _cuts(parts, whole_s, config)
    spans = list(zip([0, *cuts], cuts, strict=False))
    cues: list[Cue] = []
    for number, (begin, end) in enumerate(spans):
        shown = parts[begin:end]
        after = parts[spans[number + 1][0]].start if number + 1 < len(spans) else math.inf
        before = cues[-1].end if cues else 0.0
        start, stop = _times(shown, before, after, whole_s, config)
        lines = tuple(tuple(_line(shown[a:b])) for a, b in _lines(shown, config))
        cues.append(Cue(start, stop, lines))
    return cues


def _line(parts: Sequence[_Part]) -> Iterator[CueWord]:
    for number, part in enumerate(parts):
        yield CueWord(part.text, part.before if number else "", part.start, part.end)


def _parts(segments: Sequence[Segment], widest: int) -> list[_Part]:
    """The words of all segments, with the times that they are shown at the earliest and the latest."""
    parts: list[_Part] = []
    text, said_until = "", 0.0
    for segment in segments:
        own = _parts_of(segment, widest)
        if not own:
            continue
        begins, ends = own[0].start, own[-1].end
        own[0].start = max(segment.start, begins - _LEAD_S)
        own[-1].end = max(ends, min(segment.end, ends + _LEAD_S))
        if parts:
            last = parts[-1]
            if segment.start - last.end > 0.01 or begins - said_until >= _SEGMENT_PAUSE_S:
                # A segment ends where the speaker pauses, unless it was cut for its length.
                last.cost, last.pause = 0.0, max(0.0, begins - said_until)
            own[0].start = max(own[0].start, last.end)
            own[0].end = max(own[0].end, own[0].start)
            own[0].before = " " if addition(text, segment.text.strip()).startswith(" ") else ""
        parts += own
        text, said_until = segment.text.strip(), ends
    return parts


def _parts_of(segment: Segment, widest: int) -> list[_Part]:
    text = segment.text
    times = _token_times(segment)
    parts: list[_Part] = []
    at, now, last_end = 0, segment.start, 0
    for piece in pieces(text, widest, segment.named):
        inside: list[tuple[float, float]] = []
        while at < len(times) and times[at][0] < piece.end:
            inside.append(times[at][1:])
            at += 1
        start = max(now, inside[0][0] if inside else now)
        end = max(start, inside[-1][1] if inside else start)
        between = " " if text[last_end : piece.start] else ""
        parts.append(_Part(text[piece.start : piece.end], between, start, end, piece.cost))
        now, last_end = end, piece.end
    for part, after in pairwise(parts):
        part.pause = after.start - part.end
        if part.pause >= 0.2:
            part.cost = max(0.0, part.cost - 10 * part.pause)
    return parts


def _token_times(segment: Segment) -> list[tuple[int, float, float]]:
    """Where each token of the text ends its first character, and from when to when it was said.

    The words are what was said, the text may have digits for them: what is written otherwise has the time of
    the words between those that are the same.
    """
    tokens = tokens_of(segment.text)
    words = [word for word in segment.words if math.isfinite(word.start) and math.isfinite(word.end)]
    whole = Word("", segment.start, segment.end, 0.0)
    spans: list[tuple[float, float]] = []
    for own, said in aligned([token.text for token in tokens], [word.text for word in words]):
        if said:
            start, end = words[said.start].start, words[said.stop - 1].end
        else:
            # Written and not said: between its neighbors.
            start = words[said.start - 1].end if said.start else whole.start
            end = words[said.stop].start if said.stop < len(words) else whole.end
        spans += _shares([tokens[i].text for i in own], start, max(start, end))
    spans = _spread(spans, whole.end)
    return [(token.start, *span) for token, span in zip(tokens, spans, strict=True)]


def _shares(texts: Sequence[str], start: float, end: float) -> Iterator[tuple[float, float]]:
    """The time from ``start`` to ``end``, to each text by the time that it takes to read."""
    total = sum(map(reading_s, texts)) or 1.0
    at = start
    for text in texts:
        until = at + (end - start) * reading_s(text) / total
        yield at, until
        at = until


def _spread(spans: Sequence[tuple[float, float]], end: float) -> list[tuple[float, float]]:
    """``spans`` where those that take no time share that of the one before them and the pause behind."""
    spread: list[tuple[float, float]] = []
    number = 0
    while number < len(spans):
        last = number + 1
        while (
            last < len(spans) and spans[last][1] - spans[last][0] <= 0 and spans[last][0] <= spans[number][1]
        ):
            last += 1
        start, stop = spans[number]
        if last > number + 1:
            until = max(stop, min(spans[last][0] if last < len(spans) else end, stop + 0.5 * (last - number)))
            step = (until - start) / (last - number)
            spread += [(start + i * step, start + (i + 1) * step) for i in range(last - number)]
        else:
            spread.append((start, stop))
        number = last
    return spread


def _cuts(parts: Sequence[_Part], whole_s: float, config: SubtitleConfig) -> list[int]:
    """Behind how many parts each cue ends: the cheapest cuts of all."""
    count = len(parts)
    reading = [0.0, *accumulate(reading_s(part.before + part.text) for part in parts)]
    passed = [
        (_PASSED if part.cost == 0 or ends_sentence(part.text) else 0.0) + _PAUSE * max(0.0, part.pause - 0.3)
        for part in parts
    ]
    stays = [0.0, *accumulate(passed)]
    best = [0.0] + [math.inf] * count
    came = [0] * (count + 1)
    for begin in range(count):
        for end, lines in _reaches(parts, begin, config):
            after = parts[end].start if end < count else whole_s
            room = min(after - parts[begin].start, config.max_cue_s)
            cost = best[begin] + _CUE + (parts[end - 1].cost if end < count else 0.0) + (lines - 1)
            cost += _FAST * max(0.0, reading[end] - reading[begin] - room)
            cost += (_SHORT if room < MIN_CUE_S else 0.0) + stays[end - 1] - stays[begin]
            if cost < best[end]:
                best[end], came[end] = cost, begin
    cuts: list[int] = []
    end = count
    while end:
        cuts.append(end)
        end = came[end]
    return cuts[::-1]


def _reaches(parts: Sequence[_Part], begin: int, config: SubtitleConfig) -> Iterator[tuple[int, int]]:
    """How far a cue may reach that begins with part ``begin``: behind its last part, and its lines."""
    widest, lines, filled = line_width(config.max_line), 1, 0
    for end in range(begin, len(parts)):
        part = parts[end]
        if end > begin:
            too_long = part.end - parts[begin].start > config.max_cue_s
            if too_long or parts[end - 1].pause > _LONGEST_PAUSE_S:
                return
        wider = filled + part.gap + part.width if filled else part.width
        if filled and wider > widest:
            lines, wider = lines + 1, part.width
            if lines > config.max_lines:
                return
        filled = wider
        yield end + 1, lines


def _lines(parts: Sequence[_Part], config: SubtitleConfig) -> list[tuple[int, int]]:
    """The parts of each line: as few lines as there can be, broken where it costs least, of equal length."""
    widest = line_width(config.max_line)
    count = max(lines for end, lines in _reaches(parts, 0, config) if end == len(parts))
    if count == 1:
        return [(0, len(parts))]
    filled = [0, *accumulate(part.gap + part.width for part in parts)]

    def wide(begin: int, end: int) -> int:
        return filled[end] - filled[begin] - parts[begin].gap

    mean = wide(0, len(parts)) / count
    best: dict[int, tuple[float, list[tuple[int, int]]]] = {0: (0.0, [])}
    for line in range(count):
        found: dict[int, tuple[float, list[tuple[int, int]]]] = {}
        for begin, (cost, lines) in best.items():
            for end in range(begin + 1, len(parts) + 1):
                if end > begin + 1 and wide(begin, end) > widest:
                    break
                if (line == count - 1) != (end == len(parts)):
                    continue
                broken = parts[end - 1].cost if end < len(parts) else 0.0
                unequal = _UNEQUAL * ((wide(begin, end) - mean) / widest) ** 2
                whole = cost + broken + unequal
                if end not in found or whole < found[end][0]:
                    found[end] = whole, [*lines, (begin, end)]
        best = found
    return best[len(parts)][1]


def _times(
    parts: Sequence[_Part], before: float, after: float, whole_s: float, config: SubtitleConfig
) -> tuple[float, float]:
    """When the cue of ``parts`` is shown, between the cue that ends at ``before`` and the one that begins at
    ``after``.
    """
    start = max(before, parts[0].start)
    reading = sum(reading_s(part.before + part.text) for part in parts)
    latest = min(after, start + config.max_cue_s, whole_s)
    end = min(max(parts[-1].end, start + max(MIN_CUE_S, reading)), latest)
    if after - end < _GAP_S:
        end = min(after, start + config.max_cue_s)
    if end - start < MIN_CUE_S:
        start = max(before, end - MIN_CUE_S, 0.0)
    # Players drop a cue of no time.
    return start, max(end, start + 0.001)
