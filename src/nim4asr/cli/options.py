"""Options that several commands share."""

import argparse
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from nim4asr.hotwords.hints import HintConfig
    from nim4asr.hotwords.index import HotwordIndex
    from nim4asr.model.decoding import DecodingConfig
    from nim4asr.recognition.configuration import StreamingConfig
    from nim4asr.recognition.offline import Recognizer
    from nim4asr.recognition.subtitles import SubtitleConfig
    from nim4asr.runtime.network import Model

_DTYPES = ("float32", "bfloat16", "float16")


def add_command(commands: Any, name: str, help: str, *examples: str) -> argparse.ArgumentParser:
    """The parser of a command, whose own help ends with examples."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        epilog="\n  ".join(["examples:", *examples]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_new_model_option(parser: argparse.ArgumentParser) -> None:
    """``--output``: a folder for ``check_new``."""
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the new model, which must not be there yet",
    )


def check_new(folder: Path) -> None:
    """Raises ``InputError`` if a model's folder to be made is there already, with something in it."""
    from nim4asr.errors import InputError

    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder}: this is there already; choose a new name for the model, or remove it")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """``--model``, ``--runtime``, ``--device``, ``--dtype``, ``--threads``."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", metavar="DIR", help="model folder or org/name on the hub (default: bundled nano)"
    )
    group.add_argument(
        "--runtime",
        choices=("onnx", "torch"),
        help="what runs the network (default: onnx where the model has its graphs, else torch)",
    )
    group.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1 (default: a GPU if torch runs the network on one)"
    )
    group.add_argument(
        "--vllm-python",
        metavar="PYTHON",
        help="run the language model by vLLM, of the environment that this Python is of",
    )
    group.add_argument("--dtype", default="float32", choices=_DTYPES)
    group.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="processor threads (default: 1 for a small model, else all cores)",
    )


def add_decoding_options(parser: argparse.ArgumentParser) -> None:
    """``--beams``, ``--language``."""
    from nim4asr.text.languages import LANGUAGES

    group = parser.add_argument_group("decoding")
    group.add_argument(
        "--beams",
        type=int,
        help="beam width; 1 is greedy, more are guided by the phonemes heard (default: the model's)",
    )
    group.add_argument(
        "--language",
        choices=LANGUAGES,
        help="write this language alone (default: what is said, in the language it is said in)",
    )


def add_nbest_option(parser: argparse.ArgumentParser) -> None:
    """``--nbest``."""
    group = parser.add_argument_group("alternatives")
    group.add_argument(
        "--nbest",
        type=int,
        metavar="N",
        help="tell in json the N likeliest texts of each segment, for which it takes N beams or more",
    )


def check_nbest_option(options: argparse.Namespace, formats: Collection[str]) -> None:
    """Raises ``InputError`` for a number that cannot be, and where ``--nbest`` would have no effect."""
    from nim4asr.errors import InputError
    from nim4asr.model.decoding import MOST_BEAMS

    if options.nbest is None:
        return
    if not 1 <= options.nbest <= MOST_BEAMS:
        raise InputError(f"--nbest must be from 1 to {MOST_BEAMS}, not {options.nbest}")
    if "json" not in formats:
        raise InputError("only json tells several texts of a segment: add --format json to --nbest")


def add_offline_options(parser: argparse.ArgumentParser) -> None:
    """``--chunk-frames``."""
    group = parser.add_argument_group("recordings")
    group.add_argument(
        "--chunk-frames",
        type=int,
        metavar="N",
        help="simulate streaming: chunk size in encoder frames of 40 ms, with 4 chunks of left context "
        "(default: whole segments)",
    )


def add_streaming_options(parser: argparse.ArgumentParser) -> None:
    """``--mode``, ``--chunk``, ``--final-context``, ``--end-silence``, ``--longest``; None for what is not
    given.
    """
    from nim4asr.recognition.configuration import StreamingConfig

    default = StreamingConfig()
    group = parser.add_argument_group("live speech")
    group.add_argument(
        "--mode",
        choices=("refresh", "final"),
        help=f"show text while it is said, or only when a segment ends (default: {default.mode})",
    )
    group.add_argument(
        "--chunk",
        type=int,
        metavar="MS",
        help=f"chunk size of the encoder in ms, a multiple of 160 (default: {1000 * default.chunk_s:g})",
    )
    add_final_context_option(group)
    group.add_argument(
        "--end-silence",
        type=float,
        metavar="SECONDS",
        help=f"a pause of this length ends a segment (default: {default.voice_activity.min_silence_s:g})",
    )
    group.add_argument(
        "--longest",
        type=float,
        metavar="SECONDS",
        help="maximum length of a segment; it is cut where it is quietest "
        f"(default: {default.voice_activity.max_segment_s:g})",
    )


def tell_if_whole(model: "Model") -> None:
    """Say on stderr that the model's encoder was never trained in chunks, if it was not."""
    if model.config.chunks is None:
        print(
            f"{model.config.name} was never trained in chunks: text comes when a segment ends",
            file=sys.stderr,
        )


def add_final_context_option(parser: Any) -> None:
    """``--final-context``; None if it is not given."""
    from nim4asr.recognition.configuration import StreamingConfig

    parser.add_argument(
        "--final-context",
        choices=("chunks", "whole"),
        help="write the finals of live speech of what was heard in chunks, or hear the whole segment once "
        f"more for them: better, and a little later (default: {StreamingConfig().final_context})",
    )


def asks_for_streaming(options: argparse.Namespace) -> bool:
    """Whether any option of live speech was given."""
    given = (options.mode, options.chunk, options.final_context, options.end_silence, options.longest)
    return any(value is not None for value in given)


def streaming_config(options: argparse.Namespace) -> "StreamingConfig":
    """The streaming options' configuration; raises ``InputError`` for what cannot be."""
    from dataclasses import replace

    from nim4asr.errors import InputError
    from nim4asr.recognition.configuration import StreamingConfig

    config = StreamingConfig(hints=hint_config(options))
    chunk_s = None if options.chunk is None else options.chunk / 1000
    pauses = {"min_silence_s": options.end_silence, "max_segment_s": options.longest}
    try:
        voice_activity = replace(config.voice_activity, **_given(pauses))
        asked = _given({"mode": options.mode, "chunk_s": chunk_s, "final_context": options.final_context})
        return replace(config, voice_activity=voice_activity, **asked)
    except ValueError as error:
        raise InputError(str(error)) from None


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def add_hotword_options(parser: argparse.ArgumentParser) -> None:
    """``--hotwords``, ``--most-hints``; None for what is not given."""
    from nim4asr.hotwords.hints import HintConfig

    group = parser.add_argument_group("names")
    group.add_argument(
        "--hotwords",
        type=Path,
        metavar="FILE",
        help="names to listen for: a list (txt, csv, jsonl) or a database of nim4 hotwords build",
    )
    group.add_argument(
        "--most-hints",
        type=int,
        metavar="N",
        help=f"maximum number of hints; 0 only reports the hits (default: {HintConfig().max_hints})",
    )


def add_hint_option(parser: argparse.ArgumentParser) -> None:
    """``--hint``."""
    group = parser.add_argument_group("given names")
    group.add_argument(
        "--hint", action="append", default=[], metavar="NAME", help="a name that may be said (repeatable)"
    )


def add_quiet_options(parser: argparse.ArgumentParser) -> None:
    """``--vad-threshold``, ``--gain``."""
    from nim4asr.audio.voice_activity import VoiceActivityConfig

    group = parser.add_argument_group("quiet speech")
    group.add_argument(
        "--vad-threshold",
        type=float,
        metavar="P",
        help="sound is speech above this probability; lower finds more of it, and more that is none "
        f"(default: {VoiceActivityConfig().threshold})",
    )
    group.add_argument(
        "--gain",
        type=_gain,
        default=0.0,
        metavar="DB",
        help="decibels louder, from -60 to 60, or auto: what is quiet is brought to -20 dBFS (default: 0)",
    )


def _gain(text: str) -> "float | Literal['auto']":
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a number of decibels or auto, not {text!r}") from None


def add_subtitle_options(parser: argparse.ArgumentParser) -> None:
    """``--max-line``, ``--max-lines``, ``--max-cue-s``, ``--highlight-words``."""
    from nim4asr.recognition.subtitles import SubtitleConfig

    default = SubtitleConfig()
    group = parser.add_argument_group("subtitles (srt, vtt)")
    group.add_argument(
        "--max-line",
        type=int,
        metavar="N",
        help="characters a line at most, of which a Chinese one counts as 2 1/3: 42 are 18 of them "
        f"(default: {default.max_line})",
    )
    group.add_argument(
        "--max-lines", type=int, metavar="N", help=f"lines a cue at most (default: {default.max_lines})"
    )
    group.add_argument(
        "--max-cue-s",
        type=float,
        metavar="SECONDS",
        help=f"longest time that a cue is shown (default: {default.max_cue_s:g})",
    )
    group.add_argument(
        "--highlight-words",
        action="store_true",
        default=None,
        help="say in vtt when each word is said, so that players can highlight it",
    )


def subtitle_config(options: argparse.Namespace, formats: Collection[str]) -> "SubtitleConfig":
    """How subtitles are laid out, if any of ``formats`` is one. Raises ``InputError`` for what cannot be, and
    for options that would have no effect.
    """
    from nim4asr.errors import InputError
    from nim4asr.recognition.subtitles import SubtitleConfig
    from nim4asr.recognition.writers import SUBTITLES

    names = ("max_line", "max_lines", "max_cue_s", "highlight_words")
    given = _given({name: getattr(options, name) for name in names})
    if "highlight_words" in given and "vtt" not in formats:
        raise InputError("only vtt says when each word is said: add --format vtt to --highlight-words")
    if given and not set(SUBTITLES) & set(formats):
        raise InputError(
            f"--{next(iter(given)).replace('_', '-')} is about subtitles: add --format srt or vtt"
        )
    return SubtitleConfig(**given)


def load_hotwords(options: argparse.Namespace) -> "HotwordIndex | None":
    """The index of ``--hotwords``. Raises ``InputError`` if it cannot be had."""
    if options.hotwords is None:
        return None
    from nim4asr.hotwords.index import HotwordIndex

    index = HotwordIndex.load(options.hotwords)
    # Told before any sound is read, and once.
    index.verify()
    return index


def hint_config(options: argparse.Namespace) -> "HintConfig":
    """How hits become hints; raises ``InputError`` for what cannot be."""
    from nim4asr.errors import InputError
    from nim4asr.hotwords.hints import HintConfig
    from nim4asr.model.prompt import MOST_HINTS

    if options.most_hints is None:
        return HintConfig()
    if not 0 <= options.most_hints <= MOST_HINTS:
        raise InputError(f"--most-hints must be from 0 to {MOST_HINTS}, not {options.most_hints}")
    if options.hotwords is None:
        raise InputError("--most-hints is about names that were heard: add --hotwords FILE")
    return HintConfig(max_hints=options.most_hints)


@contextmanager
def _said_of(option: str) -> Iterator[None]:
    """A setting that cannot be is told by the name of its option: an ``InputError``."""
    from nim4asr.errors import InputError

    try:
        yield
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None


def load_recognizer(options: argparse.Namespace) -> "Recognizer":
    """The recognizer that the options ask for, the offline ones if they are among them.

    Raises ``InputError`` for what cannot be.
    """
    from nim4asr.audio.voice_activity import VoiceActivityConfig
    from nim4asr.errors import InputError
    from nim4asr.hotwords.hints import HintConfig
    from nim4asr.model.decoding import MOST_BEAMS
    from nim4asr.model.shapes import ChunkScheme
    from nim4asr.recognition.configuration import RecognitionConfig
    from nim4asr.recognition.offline import Recognizer
    from nim4asr.runtime.loading import MOST_THREADS, load

    chunks, hints, voice_activity = None, None, VoiceActivityConfig()
    if getattr(options, "vad_threshold", None) is not None:
        with _said_of("--vad-threshold"):
            voice_activity = VoiceActivityConfig(threshold=options.vad_threshold)
    if getattr(options, "chunk_frames", None) is not None:
        with _said_of("--chunk-frames"):
            chunks = ChunkScheme(options.chunk_frames)
    if hasattr(options, "most_hints"):
        hints = hint_config(options)
    # Told before the model is loaded.
    beams = getattr(options, "beams", None)
    if beams is not None and not 1 <= beams <= MOST_BEAMS:
        raise InputError(f"--beams must be from 1 to {MOST_BEAMS}, not {beams}")
    nbest = getattr(options, "nbest", None) or 0
    if options.threads is not None and not 1 <= options.threads <= MOST_THREADS:
        raise InputError(f"--threads must be from 1 to {MOST_THREADS}, not {options.threads}")
    vllm = None
    if options.vllm_python is not None:
        from nim4asr.runtime.vllm_network import VllmOptions

        vllm = VllmOptions(options.vllm_python, dtype=options.dtype)
    model = load(options.model, options.runtime, options.device, options.dtype, options.threads, vllm)
    config = RecognitionConfig(
        voice_activity=voice_activity,
        decoding=decoding_config(options, model),
        chunks=chunks,
        hints=hints or HintConfig(),
        nbest=nbest,
    )
    return Recognizer(model, config)


def decoding_config(options: argparse.Namespace, model: "Model") -> "DecodingConfig | None":
    """The model's own way to search with the beams of ``--beams`` and the language of ``--language``; None,
    its own altogether, if neither is given.
    """
    from dataclasses import replace

    given = {"beam_size": getattr(options, "beams", None), "language": getattr(options, "language", None)}
    asked = {name: value for name, value in given.items() if value is not None}
    return replace(model.config.decoding, **asked) if asked else None
