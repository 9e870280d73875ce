"""What recognition returns."""

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from nim4asr.hotwords.hints import Hit
from nim4asr.text.joining import joined
from nim4asr.text.languages import language_of
from nim4asr.text.occurrences import Names, stands_in
from nim4asr.text.written import written_form

if TYPE_CHECKING:
    from nim4asr.recognition.subtitles import SubtitleConfig


@dataclass(frozen=True)
class Word:
    """One English word or Chinese character; times in seconds from the start of the audio.

    ``confidence`` is the geometric mean of its phonemes' CTC posteriors, in [0, 1].
    """

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Token:
    """One token of the language model: the text that it adds, and its log probability. An end of turn is
    none.
    """

    text: str
    log_prob: float


@dataclass(frozen=True)
class Alternative:
    """One of the texts that a segment may have. ``confidence`` is as ``Segment.confidence``; ``score`` is
    what the search went by (``DecodingConfig``), in nats: of greedy search log p(text | prompt).
    """

    text: str
    confidence: float
    score: float


@dataclass(frozen=True)
class Segment:
    """A stretch of speech between pauses.

    ``confidence`` is the geometric mean of the language model's token probabilities, in [0, 1]. ``phonemes``
    is the phoneme head's greedy path, without the language model. ``hits`` are the names that
    were heard, in seconds from the start of the audio; ``hints`` those that the language model was given.
    ``tokens`` are the language model's own pieces of ``text``, each with its log probability.
    ``alternatives`` are the likeliest texts, where they were asked for (``RecognitionConfig.nbest``): first
    ``text`` itself, then others, none with a higher score than the one before.
    ``channel`` is that of the recording, from 1, where each was listened to for itself.
    """

    start: float
    end: float
    text: str
    confidence: float
    words: tuple[Word, ...] = ()
    phonemes: tuple[str, ...] = ()
    hits: tuple[Hit, ...] = ()
    hints: tuple[str, ...] = ()
    tokens: tuple[Token, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    channel: int | None = None

    @property
    def language(self) -> Literal["zh", "en", "mixed", ""]:
        """Of the text, by ``nim4asr.text.languages``; empty if there is none."""
        return language_of(self.text)

    @property
    def hints_used(self) -> tuple[str, ...]:
        """The hints that stand in the text, by ``nim4asr.text.occurrences``."""
        return tuple(hint for hint in self.hints if stands_in(hint, self.text))

    @property
    def named(self) -> tuple[tuple[int, int], ...]:
        """Where names that were heard, or given as hints, stand in the text: start and end in characters."""
        names = Names((*(hit.text for hit in self.hits), *self.hints))
        return tuple(dict.fromkeys((place.start, place.end) for place in names.find(self.text)))


@dataclass(frozen=True)
class Transcript:
    """An audio and what was said in it. ``duration`` and ``computing_s``, what computing took, in seconds;
    ``warnings`` tell of an audio that was not whole, ``silence`` of one in which nothing was said: how loud
    it was.
    """

    audio: str
    duration: float
    segments: tuple[Segment, ...]
    computing_s: float
    warnings: tuple[str, ...] = ()
    silence: str = ""

    @property
    def told(self) -> tuple[str, ...]:
        """All that a user should know of it: the warnings, and that nothing was said."""
        return (*self.warnings, self.silence) if self.silence else self.warnings

    @property
    def real_time_factor(self) -> float:
        """Seconds of computing for a second of the audio; 0 for none."""
        return self.computing_s / self.duration if self.duration else 0.0

    @property
    def text(self) -> str:
        """The segments' texts, with a space between them unless one side is Chinese or Japanese."""
        return joined(segment.text for segment in self.segments)

    @property
    def language(self) -> Literal["zh", "en", "mixed", ""]:
        """Of the text, by ``nim4asr.text.languages``; empty if there is none."""
        return language_of(self.text)

    @property
    def by_channel(self) -> bool:
        """Whether each channel was listened to for itself."""
        return any(segment.channel is not None for segment in self.segments)

    @property
    def turns(self) -> tuple[tuple[int | None, str], ...]:
        """Who said what, in turns: channels and texts of what follows one another in one channel; without
        what is empty.
        """
        said = [segment for segment in self.segments if segment.text]
        return tuple(
            (channel, joined(segment.text for segment in segments))
            for channel, segments in groupby(said, key=lambda segment: segment.channel)
        )

    def with_digits(self) -> "Transcript":
        """The transcript with numbers in digits in its segments' texts; words stay as they were said."""
        return replace(self, segments=tuple(map(_with_digits, self.segments)))

    @property
    def phonemes(self) -> tuple[str, ...]:
        """The phoneme head's greedy path over all segments."""
        return tuple(phoneme for segment in self.segments for phoneme in segment.phonemes)

    def to_text(self) -> str:
        """The text on a line, as ``nim4 transcribe`` writes it."""
        from nim4asr.recognition.writers import to_txt

        return to_txt(self)

    def to_json(self) -> str:
        """One JSON object on one line, as ``nim4 transcribe --format json`` writes it."""
        from nim4asr.recognition.writers import to_json

        return to_json(self)

    def to_srt(self, config: "SubtitleConfig | None" = None) -> str:
        """Subtitles as SubRip has them, laid out as ``config`` says."""
        from nim4asr.recognition.writers import to_srt

        return to_srt(self, config)

    def to_vtt(self, config: "SubtitleConfig | None" = None) -> str:
        """Subtitles as WebVTT has them, laid out as ``config`` says."""
        from nim4asr.recognition.writers import to_vtt

        return to_vtt(self, config)


def _with_digits(segment: Segment) -> Segment:
    found: dict[str, Alternative] = {}
    for one in segment.alternatives:
        # Two that differ in how a number is said may be written alike.
        text = written_form(one.text)
        found.setdefault(text, replace(one, text=text))
    return replace(segment, text=written_form(segment.text), alternatives=tuple(found.values()))
