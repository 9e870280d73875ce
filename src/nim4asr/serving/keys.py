"""API keys: a file of them, with names and limits of their own."""

from collections.abc import Collection
from dataclasses import dataclass, field

from nim4asr.errors import InputError

_SETTINGS = ("name", "streams", "recordings", "rate")


@dataclass(frozen=True)
class Key:
    """A key, the name by which logs and metrics know it, and what it may use; None is the server's limit."""

    secret: str = field(repr=False)
    name: str
    max_streams: int | None = None
    """Live sessions at a time."""
    max_recordings: int | None = None
    """Recordings under way or waiting at a time."""
    audio_s_per_minute: float | None = None
    """Seconds of sound in a minute; 0 is any."""


def named(keys: Collection[Key | str]) -> tuple[Key, ...]:
    """``keys``, the plain ones among them with names: ``key-1`` and so on."""
    plain = sorted(key for key in keys if isinstance(key, str))
    own = tuple(key for key in keys if isinstance(key, Key))
    return (*own, *(Key(secret, f"key-{len(own) + i + 1}") for i, secret in enumerate(plain)))


def parsed_keys(text: str, source: str) -> tuple[Key, ...]:
    """The keys of a file's ``text``: one a line, ``KEY name=NAME streams=N recordings=N rate=SECONDS``, of
    which all but the key may be left out; what follows ``#`` at the beginning of a line is a comment.

    Raises ``InputError``, naming ``source`` and the line, never the key.
    """
    keys: list[Key] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{source}, line {number}"
        if not (words[0].isascii() and words[0].isprintable()):
            raise InputError(f"{where}: a key is made of printable ASCII characters")
        settings = dict[str, str]()
        for word in words[1:]:
            name, equals, value = word.partition("=")
            if not equals or name not in _SETTINGS or name in settings:
                raise InputError(
                    f"{where}: after the key come name=, streams=, recordings=, rate=, each once"
                )
            settings[name] = value
        key = Key(
            words[0],
            settings.get("name") or f"key-{len(keys) + 1}",
            _count(settings.get("streams"), f"{where}: streams="),
            _count(settings.get("recordings"), f"{where}: recordings="),
            _seconds(settings.get("rate"), f"{where}: rate="),
        )
        if key.secret in {other.secret for other in keys} or key.name in {other.name for other in keys}:
            raise InputError(f"{where}: this key, or its name, stands in the file already")
        keys.append(key)
    if not keys:
        raise InputError(f"{source}: there is no key in the file")
    return tuple(keys)


def _count(value: str | None, where: str) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 9):
        raise InputError(f"{where} takes a whole number, not {value!r}")
    return int(value)


def _seconds(value: str | None, where: str) -> float | None:
    try:
        seconds = None if value is None else float(value)
    except ValueError:
        seconds = -1.0
    if seconds is not None and not 0 <= seconds < 1e9:
        raise InputError(f"{where} takes seconds, not {value!r}")
    return seconds
