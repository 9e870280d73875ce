"""``nim4 synthesize TEXTS -o MANIFEST``"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nim4asr.cli.options import add_command
from nim4asr.cli.progress import progress
from nim4asr.errors import InputError

if TYPE_CHECKING:
    from nim4asr.data.synthesis.corpus import Speakers


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "synthesize",
        "make a corpus of synthetic speech from texts, and go on with it where it stopped",
        "nim4 synthesize zh.txt.gz -o corpora/speech/kokoro_zh.jsonl --language zh --kokoro kokoro",
        "nim4 synthesize words.txt -o corpora/speech/words.jsonl --language en --count 500",
    )
    parser.add_argument("texts", type=Path, metavar="TEXTS", help="a sentence a line, gzipped or not")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="MANIFEST",
        help="the manifest (.jsonl); the clips go into a folder of its name beside it",
    )
    parser.add_argument("--language", required=True, choices=("zh", "en"))
    parser.add_argument(
        "--kokoro",
        type=Path,
        metavar="DIR",
        help="a folder with Kokoro's graph, tokenizer.json and voices/ (default: espeak-ng and flite speak)",
    )
    parser.add_argument("--count", type=int, metavar="N", help="how many of the texts (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="draws texts and voices (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of Kokoro (default: %(default)s)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Synthesize, and say what the corpus holds."""
    from nim4asr.data.preparation import read_texts
    from nim4asr.data.synthesis.corpus import draw_texts, synthesize_corpus

    if options.output.suffix != ".jsonl":
        raise InputError(f"{options.output}: a manifest's name ends with .jsonl")
    if options.count is not None and options.count < 1:
        raise InputError(f"--count must be 1 or more, not {options.count}")
    texts = draw_texts(read_texts(options.texts), options.count, options.seed)
    if not texts:
        raise InputError(f"{options.texts}: there is no text in it")
    speakers, licence = _speakers(options)
    made = synthesize_corpus(
        texts, options.language, speakers, options.output, options.seed, licence, progress
    )
    if made.left_out:
        left_out = options.output.with_name(f"{options.output.stem}-left-out.jsonl")
        print(f"nim4: {made.left_out} texts could not be said; {left_out} has the reasons", file=sys.stderr)
    if not made.utterances:
        raise InputError(f"{options.texts}: none of its texts could be said")
    print(f"{made.utterances} utterances, {made.seconds / 3600:.2f} hours")
    return 0


def _speakers(options: argparse.Namespace) -> "tuple[Speakers, str]":
    """Who speaks, and the licence of what they made it with."""
    if options.kokoro is not None:
        from nim4asr.data.synthesis.kokoro import Kokoro

        kokoro = Kokoro(options.kokoro, max(1, options.threads))
        # Before the first text: each of them would fail alike.
        kokoro.require(options.language)
        return kokoro, "synthetic; voices of Kokoro, Apache-2.0"
    from nim4asr.data.synthesis.programs import Programs, available

    if not available():
        raise InputError("espeak-ng and flite are not installed; install them, or give --kokoro DIR")
    return Programs(), "synthetic; voices of espeak-ng and flite"
