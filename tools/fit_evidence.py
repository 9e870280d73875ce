"""Fit the coefficients of ``nim4asr.hotwords.evidence``: python tools/fit_evidence.py NAMES MANIFEST

By ``nim4asr.evaluation.calibration``, to the first training utterances of MANIFEST, with lists of several
sizes that hold the names said and others of NAMES. Prints the coefficients and the negative log likelihood a
match, with them and with those in use.
"""

import argparse
from dataclasses import astuple
from pathlib import Path

from nim4asr.audio.voice_activity import SpeechSegment
from nim4asr.data.manifest import read_manifest
from nim4asr.data.preparation import read_texts
from nim4asr.evaluation.calibration import fit_evidence
from nim4asr.evaluation.retrieval import Spoken
from nim4asr.recognition.offline import Recognizer
from nim4asr.text.characters import is_han


def main() -> None:
    options = arguments()
    names = [text for text in read_texts(options.names) if len(text) > 1 and all(map(is_han, text))]
    train = [utterance for utterance in read_manifest(options.manifest) if utterance.split != "dev"][
        : options.limit
    ]
    recognizer = Recognizer.load(options.model)
    spoken = [
        Spoken(utterance.text, recognizer.log_posteriors(SpeechSegment(0.0, utterance.samples())))
        for utterance in train
    ]
    used = recognizer.model.config.evidence
    fit = fit_evidence(spoken, names, options.sizes, used)
    if fit is None:
        raise SystemExit("no name matched anything")
    print(f"{fit.said} names said, {fit.matches} matches")
    print(f"fitted {list(astuple(fit.config))} {fit.loss:.4f} nats a match")
    print(f"each half by the other's {fit.loss_apart:.4f} nats a match")
    print(f"in use {list(astuple(used))} {fit.loss_before:.4f} nats a match")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", help="model folder or org/name (default: the bundled nano)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--limit", type=int, default=500, help="utterances (default: 500)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
