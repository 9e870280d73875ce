"""Bad input, made: valid files of every kind, damaged, and who must read or refuse them.

    python -m tests.fuzzing --count 10000 --seed 1

Every input is read or refused with an ``InputError``; anything else that is raised is a traceback for a user.
Inputs run in a process of their own, so that a crash is told, and one that takes over ten seconds is a hang.
"""

import argparse
import gzip
import io
import json
import multiprocessing
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from nim4asr.acoustics.kaldi import KaldiFeatures
from nim4asr.errors import InputError

Target = Callable[[Random, Path], None]
HANG_S = 10
_WEIRD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1.5, 10**30, 1e308, "", "\0", "\ud800", "中" * 300, "9" * 5000),
    *([], {}, [[[]]], {"a": None}),
)  # fmt: skip
_NASTY = (
    *("\0", "\ud800", "\u202e", "<|im_end|>", "9" * 400, "a" * 3000, "½٣①", "../../x", "\r\n", "e\u0301"),
    *("𠮷", "$5€%", "'" * 9),
)  # fmt: skip


def damaged(data: bytes, random: Random) -> bytes:
    """``data`` with some bits turned, bytes taken out or put in, or its end cut off."""
    torn = bytearray(data)
    for _ in range(random.randint(1, 6)):
        place = random.randrange(len(torn) + 1)
        match random.randrange(5):
            case 0 if place < len(torn):
                torn[place] ^= 1 << random.randrange(8)
            case 1 if place < len(torn):
                torn[place] = random.choice((0, 0xFF, 0x80, random.randrange(256)))
            case 2:
                del torn[place : place + random.randint(1, 40)]
            case 3:
                torn[place:place] = random.randbytes(random.randint(1, 20))
            case 4 if random.random() < 0.3:
                del torn[place:]
    return bytes(torn)


def edited(row: Any, random: Random) -> Any:
    """A JSON tree with one value, anywhere in it, of another kind, or gone."""
    row = json.loads(json.dumps(row))
    inner: Any = row
    while isinstance(inner, dict | list) and inner:
        key = random.choice(list(inner) if isinstance(inner, dict) else list(range(len(inner))))
        if random.random() < 0.5 or not isinstance(inner[key], dict | list) or not inner[key]:
            if random.random() < 0.2:
                del inner[key]
            else:
                inner[key] = random.choice(_WEIRD)
            break
        inner = inner[key]
    return row


def text(random: Random) -> str:
    """Words, numbers and what is neither."""
    parts = [*_NASTY, "hello", "北京", "3.5元", "Zürich", "Москва", " ", "10월", "NIO", "5G"]
    return "".join(random.choice(parts) for _ in range(random.randint(0, 6)))


def rows(random: Random, row: dict[str, Any]) -> bytes:
    """Lines of JSON, edited ones among them, some no JSON at all."""
    lines = [json.dumps(edited(row, random)) if random.random() < 0.8 else text(random) for _ in range(3)]
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    return damaged(data, random) if random.random() < 0.3 else data


@cache
def sounds() -> tuple[bytes, ...]:
    import soundfile

    wave = (np.sin(np.arange(3200) / 8) * 0.3).astype(np.float32)
    made = []
    for kind, subtype in (
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("FLAC", "PCM_16"),
        ("MP3", None),
        ("OGG", "OPUS"),
        ("OGG", "VORBIS"),
        ("AIFF", "PCM_16"),
        ("WAV", "IMA_ADPCM"),
    ):
        buffer = io.BytesIO()
        soundfile.write(buffer, wave, 16_000, format=kind, subtype=subtype)
        made.append(buffer.getvalue())
    return tuple(made)


@cache
def database() -> bytes:
    from nim4asr.hotwords.building import assemble
    from nim4asr.hotwords.names import Name
    from nim4asr.hotwords.pronouncing import pronounce_name
    from nim4asr.hotwords.storage import save

    with tempfile.TemporaryDirectory() as folder:
        names = ("北京", "北京大学", "背景", "New York", "NIO", "Москва")
        save(assemble([pronounce_name(Name(one, (), 2.0, "a"))[0] for one in names]), Path(folder) / "a.db")
        return (Path(folder) / "a.db").read_bytes()


def hear_file(random: Random, folder: Path) -> None:
    """A damaged sound file."""
    from nim4asr.audio.reading import read_audio

    path = folder / "a.wav"
    path.write_bytes(damaged(random.choice(sounds()), random))
    assert np.isfinite(read_audio(random.choice((path, path.read_bytes())))).all()


@cache
def tracks() -> tuple[bytes, ...]:
    """Containers whose sound begins late, pauses or begins at once; nothing where there is no PyAV."""
    from importlib.util import find_spec

    if find_spec("av") is None:
        return ()
    from tests.audio.containers.making import muxed, tone

    made = []
    for kind, codec in (("mp4", "aac"), ("webm", "libopus"), ("matroska", "flac"), ("mov", "pcm_s16le")):
        part = tone(400, 0.2, rate=48_000)
        # In short clusters, for what is damaged takes the rest of its own with it.
        options = {"cluster_time_limit": "100"} if kind in ("webm", "matroska") else {}
        for begins in ((0.0,), (3.0,), (0.0, 1.5), (0.5, 30.0)):
            made.append(muxed(kind, codec, *((begin, part) for begin in begins), **options))
    made += [
        muxed(kind, codec, (0.0, part)) for kind, codec in (("adts", "aac"), ("ogg", "flac"), ("mp2", "mp2"))
    ]
    return tuple(made)


def _heard(data: bytes, path: Path, random: Random) -> None:
    """All of a file, or as much as its reader wants of it: finite, in bounds, and told in sentences."""
    from nim4asr.audio.reading import stream_audio

    path.write_bytes(data)
    warnings: list[str] = []
    blocks = stream_audio(random.choice((path, data)), warnings.append)
    seconds, wanted = 0.0, random.choice((3, 10**9, 10**9))
    for number, block in enumerate(blocks):
        assert block.dtype == np.float32 and block.ndim == 1 and len(block) <= 1 << 20
        assert np.isfinite(block).all() and np.abs(block).max(initial=0) <= 16
        seconds += len(block) / 16_000
        if number >= wanted:
            blocks.close()  # type: ignore[attr-defined]
            return
    # Damage may say anything, but not for ever.
    assert seconds < 7200 + 600
    assert len(warnings) <= 2 and all("\n" not in one for one in warnings)


def hear_joined(random: Random, folder: Path) -> None:
    """Sound files one behind another, with tags, junk or nothing between them, some of them damaged."""
    parts: list[bytes] = []
    for _ in range(random.randint(1, 4)):
        match random.randrange(7):
            case 0:
                size = random.randrange(2000)
                head = b"ID3\x04\0\0" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
                parts.append(head + random.randbytes(random.choice((size, size, size // 2))))
            case 1:
                parts.append(
                    random.choice((b"TAG", b"TAG+", b"APETAGEX", b"LYRICSBEGIN", b"OggS", b"fLaC")) * 9
                )
            case 2:
                parts.append(random.choice((bytes, random.randbytes))(random.randrange(5000)))
        part = random.choice(sounds() + tracks())
        parts.append(damaged(part, random) if random.random() < 0.4 else part)
    _heard(b"".join(parts), folder / "a.wav", random)


def hear_container(random: Random, folder: Path) -> None:
    """A container whose sound begins late or pauses, with a stretch of it damaged, moved, gone or doubled."""
    data = bytearray(random.choice(tracks() or sounds()))
    begin = random.randrange(len(data))
    end = min(len(data), begin + random.choice((1, 10, 100, 1000)))
    match random.randrange(6):
        case 0:
            data[begin:end] = bytes(end - begin)
        case 1:
            data[begin:end] = random.randbytes(end - begin)
        case 2:
            del data[begin:end]
        case 3:
            data[begin:begin] = data[begin:end]
        case 4:
            data[begin:end] = data[begin:end][::-1]
        case 5:
            del data[begin:]
    _heard(bytes(data), folder / random.choice(("a.mp4", "a.mp3", "a")), random)


def hear_samples(random: Random, folder: Path) -> None:
    """Samples, rates and channels of any kind, for the front end of a stream."""
    from nim4asr.acoustics.clock import FrameClock
    from nim4asr.acoustics.frontend import Frontend
    from nim4asr.acoustics.kaldi import KaldiFeatures
    from nim4asr.acoustics.normalization import Cmvn
    from nim4asr.audio.voice_activity import VoiceActivityConfig
    from nim4asr.recognition.frontend import StreamFrontend

    rate = random.choice((16_000, 8_000, 0, -1, 10**12, None, "16000", 44_100.5))
    channels = random.choice((1, 1, 2, 0, -3, 2.0, None))
    samples: Any = random.choice(
        (
            *(
                b"\0\1" * 300,
                b"\0" * 301,
                bytearray(600),
                memoryview(bytes(600)),
                np.zeros((4, 2)),
                np.zeros(0),
            ),
            *([[1], [1, 2]], np.full(900, 1e38), np.full(9, np.nan), "text", None, np.zeros(5, complex)),
            np.zeros((2, 2, 2)),
        )
    )
    acoustics = Frontend(KaldiFeatures(), Cmvn.neutral(80), FrameClock(100, 4, 3))
    ear = StreamFrontend(acoustics, 16, VoiceActivityConfig(), rate, channels)
    ear.feed(samples)
    ear.finish()


def pronounce_text(random: Random, folder: Path) -> None:
    """Any text, for the phonemes and for the error rates."""
    from nim4asr.phonemes import pronounce, pronunciations
    from nim4asr.text.normalization import tokens, written_tokens

    given = text(random)
    tokens(given), written_tokens(given)
    for say in (pronounce, pronunciations):
        try:
            say(given)
        except UnicodeError:
            raise
        except ValueError:
            # It has no pronunciation, and says so.
            continue


def read_list(random: Random, folder: Path) -> None:
    """A list of names, of any kind."""
    from nim4asr.hotwords.index import HotwordIndex

    suffix = random.choice((".txt", ".csv", ".jsonl", ".txt.gz", ".jsonl.gz"))
    row = {"text": "北京", "pronunciation": ["b ei3 j ing1"], "weight": 2.0, "category": "city"}
    data = rows(random, row) if "jsonl" in suffix else text(random).encode("utf-8", "surrogatepass")
    if ".csv" in suffix:
        data = b"text,weight,pronunciation\n" + data + b"," + random.choice((b"1", b"x", b"-1", b"1e400"))
    if suffix.endswith(".gz"):
        data = gzip.compress(data)
        data = damaged(data, random) if random.random() < 0.5 else data
    path = folder / f"names{suffix}"
    path.write_bytes(data)
    index = HotwordIndex.load(path)
    index.save(folder / "names.db")
    HotwordIndex.load(folder / "names.db").search_phonemes([1, 30, 40])


def open_database(random: Random, folder: Path) -> None:
    """A damaged database."""
    from nim4asr.hotwords.index import HotwordIndex

    path = folder / "a.db"
    path.write_bytes(damaged(database(), random))
    index = HotwordIndex.load(path)
    list(index.texts()), index.search_phonemes([1, 30, 40, 2, 50])


def open_model(random: Random, folder: Path) -> None:
    """An edited configuration or normalization."""
    import torch

    from nim4asr.model.configuration import Nim4Config
    from nim4asr.model.folder import bundled, load_cmvn
    from nim4asr.model.nim4 import Nim4

    name = random.choice(("config.json", "cmvn.json"))
    row = edited(json.loads((bundled() / name).read_text(encoding="utf-8")), random)
    data = json.dumps(row).encode()
    path = folder / name
    path.write_bytes(damaged(data, random) if random.random() < 0.2 else data)
    if name == "cmvn.json":
        load_cmvn(path, 80)
        return
    config = Nim4Config.from_json(path.read_text(encoding="utf-8", errors="replace"), name)
    with torch.device("meta"):
        Nim4(config)


def read_a_manifest(random: Random, folder: Path) -> None:
    """A manifest and what it names."""
    from nim4asr.data.manifest import read_manifest
    from nim4asr.data.recordings import Recordings
    from nim4asr.data.robustness import RobustnessConfig

    row = {
        "id": "a",
        "audio": "a.wav",
        "tar": "a.tar",
        "text": "你好",
        "lang": "zh",
        "duration": 1.0,
        "split": "dev",
    }
    path = folder / "a.jsonl"
    path.write_bytes(rows(random, row))
    utterances = read_manifest(path)
    Recordings(utterances, KaldiFeatures(), RobustnessConfig(), None)
    for one in utterances:
        one.source()


def read_a_run(random: Random, folder: Path) -> None:
    """A run's folder, as nim4 runs status reads it."""
    from nim4asr.training.status import as_text, read_status

    recipe = {
        "recipe": "nano",
        "stages": {"a": 3, "b/pretraining": 4, "b/ia-sft": {"round": 1, "final": 2}},
        "settings": {},
    }
    data = json.dumps(edited(recipe, random)).encode()
    (folder / "recipe.json").write_bytes(damaged(data, random) if random.random() < 0.3 else data)
    stage = folder / "a"
    stage.mkdir()
    (stage / "log.jsonl").write_bytes(rows(random, {"step": 1, "loss": 0.5}))
    (folder / "b" / "ia-sft").mkdir(parents=True)
    phase = {"phase": "training", "snapshot": 1, "round_start": 3}
    (folder / "b" / "ia-sft" / "phase.json").write_bytes(json.dumps(edited(phase, random)).encode())
    as_text(read_status(folder))


def give_hints(random: Random, folder: Path) -> None:
    """Hints of any text, for the prompt and the search."""
    from nim4asr.hotwords.names import Name
    from nim4asr.recognition.fusion import HintBooster
    from nim4asr.recognition.hinting import HintPolicy

    hints = tuple(text(random) for _ in range(random.randint(0, 22)))
    hinting = HintPolicy(None, hints)
    hinting.listen(0.04).feed(np.zeros((3, 256), np.float32))
    guide = HintBooster(hinting.given, 1.0)
    guide.gains(["hi"], [0, 0], ["hi ", None]), guide.suggestions("hi")
    Name("a", (), random.choice((1.0, -1.0, float("nan"), 1e300)), text(random))


TARGETS: tuple[Target, ...] = (
    *(hear_file, hear_joined, hear_container, hear_samples, pronounce_text, read_list, open_database),
    *(open_model, read_a_manifest, read_a_run, give_hints),
)  # fmt: skip


def failures(
    count: int, seed: int, targets: Sequence[Target] = TARGETS, hang_s: int = HANG_S
) -> Iterator[str]:
    """What went wrong with ``count`` inputs, as it goes wrong."""
    context = multiprocessing.get_context("spawn")
    done = 0
    while done < count:
        mine, other = context.Pipe()
        process = context.Process(target=_run, args=(other, done, count, seed, targets, hang_s))
        process.start()
        other.close()
        last = done
        try:
            while (message := mine.recv()) is not None:
                last, wrong = message
                if wrong:
                    yield wrong
        except EOFError:
            process.join()
            target = targets[last % len(targets)].__name__
            yield f"{target}, input {last} of seed {seed}: the process ended with {process.exitcode}"
            done = last + 1
            continue
        process.join()
        return


def _run(pipe: Any, first: int, count: int, seed: int, targets: Sequence[Target], hang_s: int) -> None:
    signal.signal(signal.SIGALRM, _hang)
    for number in range(first, count):
        target = targets[number % len(targets)]
        pipe.send((number, ""))
        with tempfile.TemporaryDirectory() as folder:
            signal.alarm(hang_s)
            try:
                target(Random(f"{seed}/{number}"), Path(folder))
            except InputError:
                pass
            except BaseException:
                pipe.send(
                    (number, f"{target.__name__}, input {number} of seed {seed}:\n{traceback.format_exc()}")
                )
            finally:
                signal.alarm(0)
    pipe.send(None)


def _hang(number: int, frame: object) -> None:
    raise TimeoutError("no answer in time")


def main() -> int:
    """Run so many inputs; print what went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    wrong = 0
    for failure in failures(options.count, options.seed):
        print(failure, flush=True)
        wrong += 1
    print(f"{options.count} inputs, {wrong} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
