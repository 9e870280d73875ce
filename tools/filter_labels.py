"""Of a teacher's labels for unlabeled speech, those that a model's phoneme head bears out: a manifest to
train on.

    python tools/filter_labels.py LABELS.jsonl -o MANIFEST.jsonl [--model DIR] [--language en]

``LABELS.jsonl`` has a line a clip, with its ``id``, ``audio`` (a path, absolute or relative to the file) and
the ``text`` that another recognizer wrote. A label stays if the head's own best path is not too far from its
phonemes, if they can be aligned with the sound at a fair log posterior, and if they are said at a speed that
people speak at. Labels that differ from the sound in a few words stay: training bears those. Goes on where it
stopped; prints how many stayed, and why the others did not.
"""

import argparse
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.audio.voice_activity import SpeechSegment
from nim4asr.errors import InputError
from nim4asr.evaluation.error_rate import ErrorCount
from nim4asr.files import append_line
from nim4asr.phonemes import TABLE, pronounce
from nim4asr.phonemes.ctc import force_align, greedy_path
from nim4asr.recognition.offline import Recognizer


@dataclass(frozen=True)
class LabelFilter:
    """What a label must be: phoneme errors of the head against it, mean log posterior of its alignment,
    phonemes a second, seconds.

    The defaults are for a head that is wrong in two phonemes of five on native English; they kept three
    labels of four.
    """

    max_phoneme_errors: float = 0.62
    min_log_posterior: float = -2.2
    phonemes_per_second: tuple[float, float] = (4.0, 22.0)
    duration_s: tuple[float, float] = (1.0, 12.0)

    def reason_against(self, text: str, log_probs: Any, duration_s: float) -> str:
        """Why the label cannot be trusted, given log posteriors (T, phonemes); empty if it can."""
        if not re.search(r"\w", text) or re.search(r"\d", text):
            return "no words, or digits, of which nobody knows how they were read"
        try:
            phonemes = pronounce(text)
        except ValueError:
            return "no pronunciation"
        if not self.duration_s[0] <= duration_s <= self.duration_s[1]:
            return "too short or too long"
        low, high = self.phonemes_per_second
        if not low <= len(phonemes) / duration_s <= high:
            return "said faster or slower than people speak"
        spans = force_align(log_probs, TABLE.encode(phonemes))
        if spans is None or np.mean([span.log_probability for span in spans]) < self.min_log_posterior:
            return "not in the sound"
        heard = TABLE.decode(greedy_path(log_probs.argmax(axis=-1).tolist()))
        errors = ErrorCount.between(phonemes, heard).rate
        return "too far from what was heard" if errors is None or errors > self.max_phoneme_errors else ""


def main() -> int:
    """Filter, a line at a time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("labels", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", help="whose phoneme head judges (default: the bundled model)")
    parser.add_argument("--language", default="en", choices=("en", "zh"))
    options = parser.parse_args()
    recognizer = Recognizer.load(options.model)
    judged = options.output.with_suffix(".judged")
    done = set(judged.read_text(encoding="utf-8").splitlines()) if judged.exists() else set()
    reasons: Counter[str] = Counter()
    for line in options.labels.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["id"] in done:
            continue
        path = options.labels.parent / row["audio"]
        try:
            samples = read_audio(path)
        except InputError as error:
            print(error, file=sys.stderr)
            continue
        duration_s = len(samples) / SAMPLE_RATE
        log_probs = recognizer.log_posteriors(SpeechSegment(0.0, samples))
        reason = LabelFilter().reason_against(row["text"], log_probs, duration_s)
        reasons[reason or "kept"] += 1
        if not reason:
            kept = {
                "id": row["id"],
                "audio": str(path.absolute()),
                "text": row["text"].strip(),
                "language": options.language,
                "duration": round(duration_s, 3),
                "split": "train",
            }
            append_line(options.output, json.dumps(kept, ensure_ascii=False) + "\n")
        append_line(judged, row["id"] + "\n")
    print(json.dumps(dict(reasons.most_common())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
