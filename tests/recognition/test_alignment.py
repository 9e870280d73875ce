import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.audio.voice_activity import SpeechSegment
from nim4asr.errors import InputError
from nim4asr.phonemes import TABLE, pronounce
from nim4asr.recognition.alignment import Alignment, align
from nim4asr.recognition.given_text import given_words
from nim4asr.recognition.offline import Recognizer

FRAME_S = 0.04
# So many frames a phoneme takes: it is heard in the first of them.
FRAMES = 3
CLIPS = {
    "en-1": "What do you want?",
    "zh-1": "他是中国人。",
    "en-2": "Where are you going?",
    "zh-2": "我不知道。",
}
ENGLISH = "garden winter seventeen orchestra bottle yellow mountain question library fish under paper".split()
CHINESE = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏"


def posteriors(phonemes: Sequence[int]) -> Floats:
    """Log posteriors in which ``phonemes`` are heard one after another."""
    log_probs = np.full((FRAMES * len(phonemes) + 2, len(TABLE)), -9.0, np.float32)
    log_probs[:, 0] = -0.05
    frames = 1 + FRAMES * np.arange(len(phonemes))
    log_probs[frames, 0] = -4.0
    log_probs[frames, phonemes] = -0.1
    return log_probs


class Recording:
    """Speech that is heard as its ``texts`` sound, each in a segment, with a second between two of them."""

    def __init__(self, texts: Sequence[str], missed: Callable[[int], bool] = lambda number: False) -> None:
        self.texts, self.missed = list(texts), missed
        self.seconds = 0.0
        self.begins: list[float] = []

    def align(self, text: str, name: str = "") -> Alignment:
        return align(
            self.segments(),
            lambda segment: self.heard[segment.start],
            text,
            FRAME_S,
            lambda: self.seconds,
            name,
        )

    def segments(self) -> Iterator[SpeechSegment]:
        self.seconds, self.begins = 1.0, []
        number = 0
        for text in self.texts:
            said = TABLE.encode(pronounce(text))
            heard = []
            for phoneme in said:
                # Something else is heard for it.
                heard.append(1 + (phoneme + 71) % (len(TABLE) - 1) if self.missed(number) else phoneme)
                number += 1
            log_probs = posteriors(heard)
            samples = np.zeros(round(len(log_probs) * FRAME_S * SAMPLE_RATE), np.float32)
            self.heard = {self.seconds: log_probs}
            self.begins.append(self.seconds)
            yield SpeechSegment(self.seconds, samples)
            self.seconds += len(samples) / SAMPLE_RATE + 1.0


def check_laws(found: Alignment) -> None:
    """What holds of every alignment."""
    given = given_words(found.text)
    times = [time for word in found.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert all(0 <= time <= found.duration for time in times)
    # Every word of the text is there once, in order, or told to be missing.
    missing = [number for one in found.not_found for number in range(one.first, one.last + 1)]
    assert missing == sorted(set(missing))
    kept = [word for number, word in enumerate(given) if number not in set(missing)]
    assert [word.start for word in kept] == [word.place for word in found.words]
    for own, word in zip(found.words, kept, strict=True):
        assert own.text == found.text[word.start : word.end] and own.text in own.shown
        assert 0 <= own.confidence <= 1
    assert [first for first, _ in found.lines] == [0, *(end for _, end in found.lines)][:-1]
    assert found.lines[-1][1] == len(found.words)
    for one in (*found.not_found, *found.unexpected):
        assert 0 <= one.start <= one.end <= found.duration + 0.1
    for before, after in pairwise(found.transcript.segments):
        assert before.end <= after.start
    shown = "".join(segment.text for segment in found.transcript.segments)
    assert "".join(shown.split()) == "".join("".join(word.shown for word in found.words).split())


SENTENCES = st.lists(
    st.one_of(
        st.lists(st.sampled_from(ENGLISH), min_size=3, max_size=9).map(" ".join),
        st.lists(st.sampled_from(CHINESE), min_size=4, max_size=14).map("".join),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40)
@given(SENTENCES, st.data())
def test_laws_of_any_text_and_recording(sentences: list[str], data: st.DataObject) -> None:
    """Some of the text is not said, and some of what is said is not in the text."""
    kinds = [data.draw(st.sampled_from(["both", "both", "text", "sound"])) for _ in sentences]
    said = [one for one, kind in zip(sentences, kinds, strict=True) if kind != "text"]
    given_ = [one for one, kind in zip(sentences, kinds, strict=True) if kind != "sound"]
    if not said or not given_:
        return
    if "both" not in kinds:
        return
    found = Recording(said).align(".\n".join(given_))
    check_laws(found)
    if set(kinds) == {"both"}:
        assert found.not_found == () and found.unexpected == ()


def test_each_word_has_the_frames_of_its_phonemes() -> None:
    recording = Recording(["garden winter", "天地玄黄"])
    found = recording.align("Garden, WINTER!\n“天地”玄黄")
    assert [word.shown for word in found.words] == ["Garden,", "WINTER!", "“天", "地”", "玄", "黄"]
    at = [recording.begins[0] + FRAME_S]
    at += [at[0] + FRAMES * FRAME_S * len(pronounce("garden"))]
    at += [recording.begins[1] + FRAME_S + place * FRAMES * FRAME_S * 2 for place in range(4)]
    for word, expected in zip(found.words, at, strict=True):
        assert word.start == pytest.approx(expected, abs=0.08)
    # Words that are said one after the other touch, and a pause is none's.
    assert found.words[0].end == found.words[1].start and found.words[1].end < recording.begins[1]
    assert found.lines == ((0, 2), (2, 6)) and found.told == ()
    assert [segment.text for segment in found.transcript.segments] == ["Garden, WINTER!", "“天地”玄黄"]


def test_a_number_has_the_time_of_its_words() -> None:
    recording = Recording(["in twenty twenty four winter"])
    found = recording.align("In 2024: winter")
    assert [word.shown for word in found.words] == ["In", "2024:", "winter"]
    number = found.words[1]
    took = FRAMES * FRAME_S * len(pronounce("twenty twenty four"))
    assert number.end - number.start == pytest.approx(took, abs=0.08) and number.confidence > 0.8


def test_what_does_not_fit_is_told_with_its_time() -> None:
    first, unsaid, last = "garden winter seventeen", "yellow mountain question", "orchestra bottle library"
    recording = Recording([first, last])
    found = recording.align(f"{first}. {unsaid}. {last}.", name="talk.wav")
    check_laws(found)
    (missing,) = found.not_found
    assert (missing.text, missing.first, missing.last) == (f"{unsaid}.", 3, 5)
    assert missing.start == found.words[2].end and missing.end == found.words[3].start
    assert "talk.wav: not said, between 0:0" in found.told[0] and unsaid in found.told[0]
    recording = Recording([first, unsaid, last])
    found = recording.align(f"{first}. {last}.")
    check_laws(found)
    (more,) = found.unexpected
    assert found.not_found == () and "said, but not in the text: 0:0" in found.told[0]
    assert more.start == pytest.approx(recording.begins[1], abs=0.1)
    assert recording.begins[1] < more.end < recording.begins[2]


def test_other_texts_are_refused() -> None:
    recording = Recording(["garden winter seventeen"])
    with pytest.raises(
        InputError, match=r"none of the text is said in 0:0.*is it the text of this recording"
    ):
        recording.align("天地玄黄宇宙洪荒")
    with pytest.raises(InputError, match="none of the text is said"):
        Recording([]).align("garden")
    for text in ("", "... !", "Привет"):
        with pytest.raises(InputError, match="no word whose sound is known"):
            recording.align(text)


def test_a_word_without_a_known_sound_takes_no_time() -> None:
    found = Recording(["garden winter"]).align("garden Привет winter")
    check_laws(found)
    word = found.words[1]
    assert (word.text, word.confidence, word.start) == ("Привет", 0.0, word.end)
    found = Recording(["garden winter"]).align("Да, garden winter")
    check_laws(found)
    assert found.lines == ((0, 3),)


def test_a_third_of_the_phonemes_may_be_misheard() -> None:
    random = np.random.default_rng(1)
    texts = [" ".join(random.choice(ENGLISH, 8)) for _ in range(30)]
    texts += ["".join(random.choice(list(CHINESE), 12)) for _ in range(30)]
    draws = random.random(10_000)
    recording = Recording(texts, lambda number: bool(draws[number] < 1 / 3))
    found = recording.align("\n".join(texts))
    check_laws(found)
    assert len(found.words) > 0.97 * len(given_words("\n".join(texts)))
    starts = {word.place: word.start for word in found.words}
    at = wrong = 0
    ends = [*recording.begins[1:], found.duration]
    for text, begin, end in zip(texts, recording.begins, ends, strict=True):
        own = [start for place, start in starts.items() if at <= place < at + len(text)]
        wrong += sum(not begin - 0.1 <= start < end for start in own)
        at += len(text) + 1
    assert wrong < 0.01 * len(found.words)


@pytest.fixture(scope="module")
def nano() -> Recognizer:
    return Recognizer.load()


def joined(*clips: str) -> tuple[Floats, list[float]]:
    """Clips with a second of silence after each, and when each begins."""
    parts: list[Floats] = []
    begins = []
    for clip in clips:
        begins.append(sum(map(len, parts)) / SAMPLE_RATE)
        parts += [read_audio(CLIP_FOLDER / f"{clip}.flac"), np.zeros(SAMPLE_RATE, np.float32)]
    return np.concatenate(parts), begins


def test_clips_are_aligned_by_nano(nano: Recognizer) -> None:
    samples, begins = joined(*CLIPS)
    found = nano.align(samples, " ".join(CLIPS.values()), sample_rate=SAMPLE_RATE)
    check_laws(found)
    assert found.told == () and len(found.lines) == 4
    assert [segment.text for segment in found.transcript.segments] == list(CLIPS.values())
    ends = [*begins[1:], found.duration]
    for (first, behind), begin, end in zip(found.lines, begins, ends, strict=True):
        assert begin < found.words[first].start and found.words[behind - 1].end < end - 0.8
    # By path, the audio has a name, and the bundled model does it too.
    path = CLIP_FOLDER / "en-1.flac"
    alone = nano.align(path, CLIPS["en-1"])
    assert alone.audio == str(path) and alone.computing_s > 0
    for word, other in zip(alone.words, found.words, strict=False):
        assert word.text == other.text and word.start == pytest.approx(other.start, abs=0.05)


def test_a_sentence_more_or_less_by_nano(nano: Recognizer) -> None:
    samples, begins = joined("en-1", "en-2", "zh-1")
    found = nano.align(samples, f"{CLIPS['en-1']} {CLIPS['zh-1']}", sample_rate=SAMPLE_RATE)
    check_laws(found)
    assert found.not_found == () and found.words[4].start > begins[2]
    found = nano.align(
        samples,
        f"{CLIPS['en-1']}\nThe violin was much too expensive.\n{CLIPS['en-2']} {CLIPS['zh-1']}",
        sample_rate=SAMPLE_RATE,
    )
    check_laws(found)
    assert [one.text for one in found.not_found] == ["The violin was much too expensive."]
    with pytest.raises(InputError, match="none of the text"):
        nano.align(CLIP_FOLDER / "zh-1.flac", "The violin was much too expensive.")


@pytest.mark.slow
def test_an_hour_takes_no_memory_for_its_sound() -> None:
    """Its posteriors alone would be 92 MB."""
    random = np.random.default_rng(2)
    texts = [" ".join(random.choice(ENGLISH, 12)) for _ in range(480)]
    recording = Recording(texts)
    tracemalloc.start()
    found = recording.align("\n".join(texts))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    check_laws(found)
    assert found.duration > 3600 and found.told == () and peak < 60_000_000


@pytest.mark.parametrize("other", ["library paper", "under bottle yellow paper", "paper", "天地玄黄paper"])
def test_no_word_reaches_over_speech_that_is_not_in_the_text(other: str) -> None:
    """Even where its last phoneme is heard there once more, and more clearly."""
    recording = Recording(["garden winter", other, "orchestra bottle"])
    found = recording.align("garden winter orchestra bottle")
    check_laws(found)
    assert [word.text for word in found.words] == ["garden", "winter", "orchestra", "bottle"]
    assert found.words[1].end < recording.begins[1] and found.words[2].start > recording.begins[2]
    # With a last phoneme of which nothing is heard.
    last = len(pronounce("garden winter")) - 1
    recording = Recording(["garden winter", other, "orchestra bottle"], lambda number: number == last)
    found = recording.align("garden winter orchestra bottle")
    check_laws(found)
    assert found.words[1].end < recording.begins[1] and found.words[2].start > recording.begins[2]


def test_what_is_said_between_long_passages_that_are_not_is_found() -> None:
    unsaid = "garden garden garden"
    found = Recording(["天天天天", "天天天天"]).align(
        "\n".join([unsaid, unsaid, "天天天天", unsaid, "天天天天", unsaid])
    )
    check_laws(found)
    assert "".join(word.text for word in found.words) == "天" * 8 and len(found.not_found) == 3
