"""Subtitles that people can read: each rule for transcripts of any kind."""

import random
import re
from collections.abc import Iterable

import pytest

from nim4asr.errors import InputError
from nim4asr.hotwords.hints import Hit
from nim4asr.recognition.result import Segment, Transcript, Word
from nim4asr.recognition.subtitles import MIN_CUE_S, Cue, SubtitleConfig, subtitles
from nim4asr.text.breaking import line_width, pieces, reading_s, width
from nim4asr.text.tokens import tokens_of

ENGLISH = (
    "the and of we they because which said house mountain extraordinarily 3.5 million twenty five don't IBM a"
).split()
CHINESE = "我们 今天 去 北京大学 因为 下雨 的 了 三百二十 公里 人工智能 吗 会议 但是 好".split()
MARKS = ("", "", "", "", ",", ".", "?", "，", "。")


def text_of(source: random.Random) -> str:
    """English, Chinese and both mixed, with and without marks."""
    languages = source.choice([(ENGLISH,), (CHINESE,), (ENGLISH, CHINESE)])
    text = ""
    for _ in range(source.randint(0, 40)):
        vocabulary = source.choice(languages)
        word = source.choice(vocabulary) + source.choice(MARKS)
        text += word if vocabulary is CHINESE else f" {word} "
    return re.sub(" +", " ", text).strip()


def transcript_of(seed: int) -> Transcript:
    """Segments one after another, slow and fast, with pauses in them, some of words that nobody timed."""
    source = random.Random(seed)
    now, segments = source.uniform(0, 3), []
    for _ in range(source.randint(0, 4)):
        start, text, words = now, text_of(source), []
        now += source.choice([0.0, 0.2])
        pace = source.choice([0.02, 0.15, 0.4, 1.0])
        for token in tokens_of(text):
            length = source.choice([pace, pace, 0.0])
            words.append(Word(token.text, now, now + length, 0.9))
            now += length + source.choice([0.0, 0.0, 0.0, 0.3, 1.0])
        now += 0.2
        timed = tuple(words) if source.random() < 0.7 else ()
        segments.append(Segment(start, now, text, 0.9, timed))
        now += source.choice([0.0, 0.1, 1.0, 5.0])
    return Transcript("", now, tuple(segments), 0.0)


def config_of(seed: int) -> SubtitleConfig:
    source = random.Random(seed)
    lines, longest = source.randint(1, 3), source.choice([2.0, 7.0])
    return SubtitleConfig(source.choice([20, 42, 60]), lines, longest)


def shown(cue: Cue) -> str:
    return cue.text.replace("\n", " ")


def lines(cue: Cue) -> list[str]:
    return cue.text.split("\n")


def letters(texts: Iterable[str]) -> str:
    return re.sub(r"\s", "", "".join(texts))


@pytest.mark.parametrize("seed", range(150))
def test_every_rule(seed: int) -> None:
    transcript, config = transcript_of(seed), config_of(seed)
    cues = subtitles(transcript, config)
    # Nothing is lost and nothing is added.
    assert letters(map(shown, cues)) == letters(segment.text for segment in transcript.segments)
    widest = line_width(config.max_line)
    atoms = {
        segment.text[piece.start : piece.end]
        for segment in transcript.segments
        for piece in pieces(segment.text, widest, segment.named)
    }
    for number, cue in enumerate(cues):
        after = cues[number + 1] if number + 1 < len(cues) else None
        # Lines: so many, so wide, and never one that ends inside a word or a number.
        assert len(lines(cue)) <= config.max_lines
        for line, parts in zip(lines(cue), cue.lines, strict=True):
            assert width(line) <= widest or len(parts) == 1
            assert line == line.strip() and all(part.text in atoms for part in parts)
        # Times: in order, without overlap, and no longer than asked.
        assert 0 <= cue.start < cue.end <= cue.start + config.max_cue_s + 0.002
        assert after is None or cue.end <= after.start + 0.002
        assert all(a.end <= b.start + 1e-6 for a, b in zip(words(cue), words(cue)[1:], strict=False))
        # Reading speed: whoever needs more time has all that there is.
        limits = [cue.start + config.max_cue_s, transcript.duration, *([after.start] if after else [])]
        reading = sum(map(reading_s, lines(cue)))
        assert cue.end - cue.start >= reading - 1e-6 or cue.end >= min(limits) - 0.002


def words(cue: Cue) -> list[Word]:
    return [Word(word.text, word.start, word.end, 1.0) for line in cue.lines for word in line]


@pytest.mark.parametrize("seed", range(150))
def test_a_cue_is_shorter_than_a_second_only_where_it_must(seed: int) -> None:
    config = SubtitleConfig()
    cues = subtitles(transcript_of(seed), config)
    for number, cue in enumerate(cues[:-1]):
        if cue.end - cue.start < MIN_CUE_S - 0.002:
            after = cues[number + 1]
            parts = [*words(cue), *words(after)]
            one = parts[-1].end - parts[0].start <= config.max_cue_s
            fits = width(shown(cue)) + width(shown(after)) + 3 <= line_width(config.max_line)
            # With the next one it would have been long enough.
            assert not (one and fits), (cue, after)


@pytest.mark.parametrize("seed", range(30))
def test_a_long_pause_ends_a_cue(seed: int) -> None:
    transcript = transcript_of(seed)
    start = transcript.duration + 2.1 + seed / 10
    again = Segment(start, start + 1, "again", 0.9, (Word("again", start, start + 1, 0.9),))
    whole = Transcript("", start + 1, (*transcript.segments, again), 0.0)
    assert shown(subtitles(whole)[-1]) == "again"


def spoken(text: str, start: float = 0.0, pace: float = 0.3) -> Segment:
    tokens = tokens_of(text)
    times = [start + pace * i for i in range(len(tokens) + 1)]
    said = (Word(t.text, a, b, 0.9) for t, a, b in zip(tokens, times, times[1:], strict=False))
    return Segment(start, times[-1], text, 0.9, tuple(said))


def laid_out(*segments: Segment, **asked: int) -> list[str]:
    return [
        cue.text
        for cue in subtitles(Transcript("", segments[-1].end, segments, 0.0), SubtitleConfig(**asked))
    ]


def test_english_without_marks_breaks_at_clauses() -> None:
    text = "we could not book the room for the meeting because it was given to another team in the morning"
    assert laid_out(spoken(text)) == [
        "we could not book the room for the meeting",
        "because it was given\nto another team in the morning",
    ]


def test_chinese_without_marks_breaks_at_clauses() -> None:
    text = "今天下午我们一起去公园散步因为明天可能会下雨所以我想今天就去"
    assert laid_out(spoken(text)) == ["今天下午我们一起去公园散步", "因为明天可能会下雨所以我想今天就去"]


def test_sentences_and_pauses_part_cues() -> None:
    assert laid_out(spoken("I was at home. Then the telephone rang for a while.", pace=0.5)) == [
        "I was at home.",
        "Then the telephone rang for a while.",
    ]
    first = spoken("one moment please")
    assert laid_out(first, spoken("here it is now", first.end + 0.8)) == [
        "one moment please",
        "here it is now",
    ]
    # Where a segment was cut for its length alone, the cue goes on.
    assert laid_out(first, spoken("and thank you", first.end)) == ["one moment please and thank you"]


def test_names_are_not_broken() -> None:
    segment = spoken("yesterday in the evening I met Maria Antonia Gonzalez at home")
    hit = Hit("Maria Antonia Gonzalez", 1.8, 2.7, 1.0, True, 20, 5.0)
    named = Segment(segment.start, segment.end, segment.text, 0.9, segment.words, hits=(hit,))
    assert any(
        "Maria Antonia Gonzalez" in line for cue in laid_out(named, max_line=30) for line in cue.split("\n")
    )


def test_digits_have_the_time_of_what_was_said() -> None:
    said = "twenty five dollars are a lot".split()
    timed = tuple(Word(word, i, i + 1.0, 0.9) for i, word in enumerate(said))
    (cue,) = subtitles(Transcript("", 6.0, (Segment(0.0, 6.0, "$25 are a lot", 0.9, timed),), 0.0))
    assert [word.text for word in cue.lines[0]] == ["$25", "are", "a", "lot"]
    assert [word.end for word in cue.lines[0]] == pytest.approx([3.0, 4.0, 5.0, 6.0])


def test_a_word_wider_than_a_line_stays_whole() -> None:
    assert laid_out(spoken(f"see {'x' * 60} there"), max_line=20) == [f"see\n{'x' * 60}", "there"]


def test_a_short_word_is_shown_for_a_second_and_not_beyond_the_recording() -> None:
    segment = Segment(5.0, 5.4, "yes", 0.9, (Word("yes", 5.0, 5.4, 0.9),))
    (cue,) = subtitles(Transcript("", 9.0, (segment,), 0.0))
    assert (cue.start, cue.end) == (5.0, 6.0)
    (cue,) = subtitles(Transcript("", 5.5, (segment,), 0.0))
    assert (cue.start, cue.end) == (4.5, 5.5)


@pytest.mark.parametrize("asked", [{"max_line": 9}, {"max_lines": 0}, {"max_cue_s": 0.5}, {"max_cue_s": 99}])
def test_layouts_that_cannot_be_are_refused(asked: dict[str, int]) -> None:
    with pytest.raises(InputError, match="subtitles"):
        SubtitleConfig(**asked)
