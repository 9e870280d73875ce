"""A recognizer's figures over a manifest."""

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.data.manifest import Utterance
from nim4asr.data.robustness import by_telephone
from nim4asr.errors import InputError
from nim4asr.evaluation.entities import EntityCount, NameList
from nim4asr.evaluation.error_rate import Edit, ErrorCount, align
from nim4asr.evaluation.hallucination import is_hallucination
from nim4asr.files import write_atomic
from nim4asr.hotwords.index import HotwordIndex
from nim4asr.phonemes import pronounce
from nim4asr.progress import ProgressReporter, no_progress
from nim4asr.recognition.configuration import StreamingConfig
from nim4asr.recognition.offline import Recognizer
from nim4asr.recognition.result import Transcript
from nim4asr.recognition.streaming import transcribe_live
from nim4asr.recognition.writers import hit_row
from nim4asr.text.characters import is_han
from nim4asr.text.normalization import NAME, tokens, written_tokens

ALIGNMENTS = "alignments.jsonl"
SUMMARY = "summary.json"
# Slices of a manifest: utterances shorter than so many seconds, and the rest.
LENGTHS = {"under 2 s": 2.0, "2 to 5 s": 5.0, "5 to 10 s": 10.0}
LONGER = "10 s and more"
# And utterances of whose words so large a share stands in no training text.
UNSEEN = {"none": 0.0, "up to a tenth": 0.1, "up to a quarter": 0.25}
MORE_UNSEEN = "more"


@dataclass(frozen=True)
class Judgement:
    """One utterance compared with its reference."""

    utterance: Utterance
    hypothesis: str
    edits: tuple[Edit, ...]
    errors: ErrorCount
    written_errors: ErrorCount
    phoneme_errors: ErrorCount
    hallucinated: bool
    duration: float
    seconds: float
    entities: EntityCount
    transcript: Transcript


@dataclass
class _Totals:
    """Figures that add up over utterances."""

    utterances: int = 0
    errors: dict[str, ErrorCount] = field(default_factory=dict)
    written: dict[str, ErrorCount] = field(default_factory=dict)
    phonemes: ErrorCount = field(default_factory=ErrorCount)
    hallucinations: int = 0
    duration: float = 0.0
    seconds: float = 0.0
    entities: EntityCount = field(default_factory=EntityCount)

    def add(self, judgement: Judgement) -> None:
        language = judgement.utterance.language
        self.utterances += 1
        self.errors[language] = self.errors.get(language, ErrorCount()) + judgement.errors
        self.written[language] = self.written.get(language, ErrorCount()) + judgement.written_errors
        self.phonemes += judgement.phoneme_errors
        self.hallucinations += judgement.hallucinated
        self.duration += judgement.duration
        self.seconds += judgement.seconds
        self.entities += judgement.entities

    def summary(self, hotwords: bool) -> dict[str, object]:
        """Cer counts the tokens of Chinese utterances (characters), wer those of all others (words);
        cer_written and wer_written do so of the texts as they stand, with case, digits and punctuation.

        With hotwords: the share of listed names said that were heard (heard_recall) and that were written
        (entity_recall), of hints given that were said (hint_precision), and how many were printed that nobody
        said.
        """
        named = self.entities
        listed: dict[str, object] = {
            "names_said": named.said,
            "heard_recall": _share(named.heard, named.said),
            "entity_recall": _share(named.written, named.said),
            "hints": named.hints,
            "hint_precision": _share(named.right, named.hints),
            "false_accepts_per_1000": _share(1000 * named.false, self.utterances),
        }
        cer, wer = _rates(self.errors)
        cer_written, wer_written = _rates(self.written)
        return {
            "utterances": self.utterances,
            "cer": cer,
            "wer": wer,
            "cer_written": cer_written,
            "wer_written": wer_written,
            "phoneme_error_rate": _rounded(self.phonemes.rate),
            "hallucination_rate": _share(self.hallucinations, self.utterances),
            "real_time_factor": _share(self.seconds, self.duration),
            **(listed if hotwords else {}),
        }


def _rates(errors: Mapping[str, ErrorCount]) -> tuple[float | None, float | None]:
    """The error rates of Chinese and of all other languages together."""
    words = sum((count for name, count in errors.items() if name != "zh"), ErrorCount())
    return _rounded(errors.get("zh", ErrorCount()).rate), _rounded(words.rate)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _share(part: float, whole: float) -> float | None:
    return _rounded(part / whole) if whole else None


def judge(
    recognizer: Recognizer,
    utterance: Utterance,
    live: StreamingConfig | None = None,
    hotwords: HotwordIndex | None = None,
    names: NameList | None = None,
    telephone: bool = False,
) -> Judgement:
    """Recognize ``utterance``, as a live stream if ``live`` says how, with ``hotwords``, and compare. By
    ``telephone``, half its bandwidth is heard.

    Raises ``InputError`` if its audio cannot be read.
    """
    source = _called_in(utterance) if telephone else utterance.source()
    if live is None:
        transcript = recognizer.transcribe(source, name=utterance.id, hotwords=hotwords)
    else:
        transcript = transcribe_live(recognizer.model, source, live, name=utterance.id, hotwords=hotwords)
    said, written = tokens(utterance.text), tokens(transcript.text)
    edits = tuple(align(said, written))
    try:
        sounds = pronounce(utterance.text)
    except ValueError:
        # No phonemes to compare with; the words still count.
        phoneme_errors = ErrorCount()
    else:
        phoneme_errors = ErrorCount.between(sounds, transcript.phonemes)
    return Judgement(
        utterance=utterance,
        hypothesis=transcript.text,
        edits=edits,
        errors=ErrorCount.of(edits),
        written_errors=ErrorCount.between(written_tokens(utterance.text), written_tokens(transcript.text)),
        phoneme_errors=phoneme_errors,
        hallucinated=is_hallucination(said, written),
        duration=transcript.duration,
        seconds=transcript.computing_s,
        entities=EntityCount() if names is None else EntityCount.of(names, said, transcript),
        transcript=transcript,
    )


def _called_in(utterance: Utterance) -> bytes:
    """The utterance's sound by telephone, as a WAV file."""
    import soundfile

    wav = BytesIO()
    samples = by_telephone(read_audio(utterance.source()))
    soundfile.write(wav, samples, SAMPLE_RATE, format="WAV", subtype="FLOAT")
    return wav.getvalue()


def evaluate(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    report: Path | None = None,
    progress: ProgressReporter = no_progress,
    live: StreamingConfig | None = None,
    hotwords: HotwordIndex | None = None,
    seen: Container[str] | None = None,
    telephone: bool = False,
) -> dict[str, object]:
    """The summary over ``utterances``, each language's, the total, and ``slices``; of live recognition if
    ``live`` says how.

    ``seen`` are the words of the training texts (``words_of``), if errors by the share of others are asked
    for. By ``telephone``, half the bandwidth of the recordings is heard. With ``hotwords``, they are listened
    for, and the summary tells what became of those that were said. With ``report``, also writes
    ``alignments.jsonl`` (a line an utterance) and ``summary.json`` there. An utterance whose audio cannot be
    read is left out, and counted and named under ``skipped``; one whose audio is damaged or cut short is
    named under ``damaged``; a report that cannot be written is told under ``report_failed``.
    """
    total, by_language = _Totals(), dict[str, _Totals]()
    names = None if hotwords is None else NameList(hotwords.texts())
    skipped: list[str] = []
    damaged: list[str] = []
    lines: list[str] = []
    heard: list[Heard] = []
    for utterance in progress(utterances, "evaluating", len(utterances)):
        try:
            judgement = judge(recognizer, utterance, live, hotwords, names, telephone)
        except InputError as error:
            skipped.append(str(error))
            continue
        damaged += [f"{utterance.id}: {warning}" for warning in judgement.transcript.warnings]
        total.add(judgement)
        by_language.setdefault(utterance.language, _Totals()).add(judgement)
        unseen = None if seen is None else unseen_share(utterance.text, seen)
        heard.append(Heard(judgement.duration, utterance.speaker, judgement.errors, unseen))
        if report is not None:
            lines.append(_alignment_line(judgement))
    summary: dict[str, object] = {
        "model": recognizer.model.config.name,
        "normalization": NAME,
        "telephone": telephone,
        "streaming": None if live is None else {"mode": live.mode, "chunk": live.chunk_s},
        "beams": (
            (recognizer.config if live is None else live).decoding or recognizer.model.config.decoding
        ).beam_size,
        "total": total.summary(hotwords is not None),
        "languages": {
            name: totals.summary(hotwords is not None) for name, totals in sorted(by_language.items())
        },
        "slices": slices(heard),
        "skipped": skipped,
        "damaged": damaged,
    }
    if report is not None:
        try:
            write_atomic(report / ALIGNMENTS, "".join(lines))
            write_atomic(report / SUMMARY, json.dumps(summary, ensure_ascii=False, indent=1) + "\n")
        except InputError as error:
            # A full disk must not cost the figures, which may have taken hours.
            summary["report_failed"] = str(error)
    return summary


class Heard(NamedTuple):
    """What slices are made of: an utterance's seconds, its speaker, its errors, and the share of its words
    that stand in no training text, if that is known.
    """

    duration: float
    speaker: str
    errors: ErrorCount
    unseen: float | None = None


def slices(heard: Sequence[Heard]) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """Errors a token by length, by speaker and by unseen words, which a mean hides: of the lengths in
    ``LENGTHS``; where there are ten speakers or more, of the best and the worst tenth of them; and of the
    shares in ``UNSEEN``, where they are known.
    """
    by_length: dict[str, list[Heard]] = {}
    by_speaker: dict[str, list[Heard]] = {}
    for utterance in heard:
        name = next((name for name, most in LENGTHS.items() if utterance.duration < most), LONGER)
        by_length.setdefault(name, []).append(utterance)
        by_speaker.setdefault(utterance.speaker, []).append(utterance)
    found = {"length": {name: _slice(by_length[name]) for name in (*LENGTHS, LONGER) if name in by_length}}
    speakers = sorted(
        (ones for name, ones in by_speaker.items() if name), key=lambda ones: _errors(ones).rate or 0.0
    )
    if len(speakers) >= 10:
        tenth = len(speakers) // 10
        found["speaker"] = {
            "best tenth": _slice([utterance for ones in speakers[:tenth] for utterance in ones]),
            "worst tenth": _slice([utterance for ones in speakers[-tenth:] for utterance in ones]),
        }
    by_unseen: dict[str, list[Heard]] = {}
    for utterance in heard:
        if utterance.unseen is not None:
            name = next((name for name, most in UNSEEN.items() if utterance.unseen <= most), MORE_UNSEEN)
            by_unseen.setdefault(name, []).append(utterance)
    if by_unseen:
        found["unseen words"] = {
            name: _slice(by_unseen[name]) for name in (*UNSEEN, MORE_UNSEEN) if name in by_unseen
        }
    return found


def words_of(text: str) -> set[str]:
    """The words of a text, normalized; in Chinese, which has no spaces, pairs of neighboring characters."""
    found = tokens(text)
    pairs = {a + b for a, b in pairwise(found) if is_han(a) and is_han(b)}
    return pairs | {word for word in found if not is_han(word[0])}


def unseen_share(text: str, seen: Container[str]) -> float:
    """The share of the words of ``text`` that are not in ``seen``."""
    words = words_of(text)
    return sum(word not in seen for word in words) / len(words) if words else 0.0


def _errors(heard: Iterable[Heard]) -> ErrorCount:
    return sum((utterance.errors for utterance in heard), ErrorCount())


def _slice(heard: Sequence[Heard]) -> dict[str, float | int | None]:
    return {"utterances": len(heard), "errors": _rounded(_errors(heard).rate)}


def _alignment_line(judgement: Judgement) -> str:
    row = {
        "id": judgement.utterance.id,
        "language": judgement.utterance.language,
        "reference": judgement.utterance.text,
        "hypothesis": judgement.hypothesis,
        "speaker": judgement.utterance.speaker,
        "duration": round(judgement.duration, 3),
        "errors": asdict(judgement.errors),
        "phoneme_errors": asdict(judgement.phoneme_errors),
        "hallucination": judgement.hallucinated,
        "alignment": [list(edit) for edit in judgement.edits],
        "hits": [hit_row(hit) for segment in judgement.transcript.segments for hit in segment.hits],
        "hints": [hint for segment in judgement.transcript.segments for hint in segment.hints],
        "hints_used": [hint for segment in judgement.transcript.segments for hint in segment.hints_used],
    }
    return json.dumps(row, ensure_ascii=False) + "\n"
