"""``nim4``: parse, run, and turn an ``InputError`` into one sentence and a non-zero exit."""

import argparse
import codecs
import errno
import gc
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version

from nim4asr.cli import (
    align,
    analyze,
    average,
    client,
    convert,
    evaluate,
    export,
    finetune,
    hotwords,
    importing,
    info,
    mcp,
    new,
    runs,
    serve,
    stream,
    synthesize,
    train,
    transcribe,
)
from nim4asr.errors import InputError, is_out_of_memory

_COMMANDS = (
    transcribe,
    align,
    stream,
    hotwords,
    evaluate,
    info,
    new,
    importing,
    export,
    average,
    convert,
    synthesize,
    train,
    finetune,
    runs,
    serve,
    client,
    mcp,
    analyze,
)
# Which extra of the package brings what a command may find missing.
_EXTRAS = {
    "torch": "torch",
    "transformers": "torch",
    "accelerate": "training",
    "psutil": "training",
    "peft": "lora",
    "matplotlib": "training",
    "tensorboardX": "training",
    "onnx": "export",
    "onnxscript": "export",
    "lhotse": "lhotse",
    "misaki": "synthesis",
    "av": "containers",
    "miniaudio": "microphone",
    "starlette": "serve",
    "uvicorn": "serve",
    "prometheus_client": "serve",
    "multipart": "serve",
    "python_multipart": "serve",
    "websockets": "serve",
    "wyoming": "wyoming",
    "mcp": "mcp",
    "ray": "ray",
    "pyarrow": "ray",
}
_OBJECTS_BEFORE_COLLECTION = 50_000


def parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    whole = argparse.ArgumentParser(prog="nim4", description="Speech recognition with NIM4-ASR.")
    whole.add_argument("--version", action="version", version=version("nim4asr"))
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    # Before torch is there to read it. Threads that spin while they wait take the processor from whoever else
    # is busy.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    _speak_utf8()
    if sys.stdout is None:
        print("nim4: there is no standard output to write to; it is closed", file=sys.stderr)
        return 1
    options = parser().parse_args(arguments)
    try:
        with _ended_by_sigterm(), _seldom_collected():
            status: int = options.run(options)
        sys.stdout.flush()
    except InputError as error:
        print(f"nim4: {error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        return _failed(error)
    except KeyboardInterrupt:
        print("nim4: interrupted", file=sys.stderr)
        return 130
    return status


def _failed(error: Exception) -> int:
    """Tell what the machine lacks, and return the exit status. Raises ``error`` again if it is a fault."""
    if is_out_of_memory(error):
        print("nim4: there is not enough memory for this", file=sys.stderr)
        return 1
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise error
        extra = _EXTRAS[package]
        print(
            f"nim4: this needs {package}, which is not installed: pip install 'nim4asr[{extra}]'",
            file=sys.stderr,
        )
        return 1
    if isinstance(error, BrokenPipeError):
        # The reader has gone (``nim4 ... | head``).
        _drop_output()
        return 141
    if isinstance(error, OSError) and error.filename is not None:
        # A place that cannot be looked at: too long a name, no right to it, a loop of links.
        print(f"nim4: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF):
        _drop_output()
        print(f"nim4: the output cannot be written ({error.strerror})", file=sys.stderr)
        return 1
    raise error


def _speak_utf8() -> None:
    """Write UTF-8 whatever the locale says: in most others Chinese cannot be written at all.

    Bytes of a path that are no UTF-8 come out as they came in; what is no character at all, as a question
    mark.
    """
    codecs.register_error("nim4", _as_it_came)
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(encoding="utf-8", errors="nim4")


def _as_it_came(error: UnicodeError) -> tuple[bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    codes = (ord(character) for character in error.object[error.start : error.end])
    return b"".join(bytes([code - 0xDC00]) if 0xDC80 <= code <= 0xDCFF else b"?" for code in codes), error.end


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Let the garbage collector wait for more objects than by default.

    Dictionaries of hundreds of thousands are read and stay; it would look through all of them again and again
    meanwhile, a tenth of a short command's time.
    """
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the command as an exception does, so that what is half written is taken away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _drop_output() -> None:
    """Python must not try again at exit what cannot be written."""
    with suppress(OSError, ValueError, io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
