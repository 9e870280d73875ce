"""FLAC files, joined or damaged.

A stream is "fLaC", blocks of metadata, and frames that number themselves or their samples (RFC 9639). Where
one cannot be decoded, the stream is read on from the next that can, at the place that its number says.
"""

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from nim4asr.audio.containers.sndfile import sndfile_sounds
from nim4asr.audio.containers.stretches import (
    MISSING_S,
    SEARCHING,
    CutShort,
    NotAudioError,
    Silence,
    Sound,
    Spliced,
    Stretch,
    Window,
)

_MAGIC = b"fLaC"
# The signature with the header of the first block, which is STREAMINFO: 34 bytes, the last block or not.
_BEGINNINGS = (_MAGIC + b"\x00\x00\x00\x22", _MAGIC + b"\x80\x00\x00\x22")
# What a header of a frame has at most.
_LONGEST_HEADER = 17
_LOOK = 1 << 20


class _Stream(NamedTuple):
    """A stream: its metadata, and what STREAMINFO says of it."""

    begin: int
    frames: int
    end: int
    rate: int
    channels: int
    block: int
    samples: int


class _Frame(NamedTuple):
    """Where it begins in the file, the number of its first sample, and how many it has."""

    place: int
    number: int
    samples: int


def is_flac(head: bytes) -> bool:
    """Whether a FLAC stream begins with these 8 bytes."""
    return head[:8] in _BEGINNINGS


def flac_sounds(window: Window, whole: bool = True) -> Iterator[Stretch]:
    """The sound of all streams in a file, each of which is thought to be ``whole`` until it turns out not to
    be.

    Raises ``NotAudioError`` if none can be decoded.
    """
    heard, wrong = False, "no FLAC stream"
    begin: int | None = window.start
    while begin is not None:
        end: int | None = None
        place = begin + 8
        # Two searches, for either beginning; a stream without other metadata is rare.
        while end is None and place < window.end:
            found = [window.find(one, place, place + _LOOK) for one in _BEGINNINGS]
            end = min((one for one in found if one is not None), default=None)
            place += _LOOK
            yield SEARCHING
        stream = _stream(window, begin, window.end if end is None else end)
        if stream is not None:
            try:
                for stretch in _stream_sounds(window, stream, whole):
                    heard = heard or (isinstance(stretch, Sound) and len(stretch.samples) > 0)
                    yield stretch
            except NotAudioError as error:
                wrong = str(error)
        begin = end
    if not heard:
        raise NotAudioError(wrong)


def _stream(window: Window, begin: int, end: int) -> _Stream | None:
    info = window.at(begin + 8, 34)
    if len(info) < 34:
        return None
    fields = int.from_bytes(info[10:18], "big")
    place, last = begin + 4, False
    while not last:
        head = window.at(place, 4)
        if len(head) < 4 or place > end:
            return None
        last = head[0] > 127
        place += 4 + int.from_bytes(head[1:], "big")
    block = int.from_bytes(info[2:4], "big")
    rate = fields >> 44
    channels = (fields >> 41 & 7) + 1
    if not rate or not block:
        return None
    return _Stream(begin, place, end, rate, channels, block, fields & 0xFFFFFFFFF)


def _stream_sounds(window: Window, stream: _Stream, whole: bool) -> Iterator[Stretch]:
    """The sound of one stream. Raises ``NotAudioError`` if none of it can be decoded."""
    heard, sounded = 0, False
    if whole:
        try:
            for sound in sndfile_sounds(Spliced(window.data, [(stream.begin, stream.end)]), counts=False):
                yield sound
                heard += _length(sound, stream)
                sounded = heard > 0
        except NotAudioError:
            # What was decoded of the last block is lost with it: from there on, frame by frame.
            whole = False
    if not whole:
        for stretch in _by_frames(window, stream, heard):
            yield stretch
            heard += _length(stretch, stream)
            sounded = sounded or (isinstance(stretch, Sound) and len(stretch.samples) > 0)
    if not sounded:
        raise NotAudioError("none of this FLAC stream can be decoded")
    if stream.samples - heard > MISSING_S * stream.rate:
        yield CutShort((stream.samples - heard) / stream.rate)


def _by_frames(window: Window, stream: _Stream, heard: int) -> Iterator[Stretch]:
    """The sound from sample ``heard`` on, at the places that the frames tell."""
    run: list[_Frame] = []
    for frame in chain(_frames(window, stream), (_Frame(stream.end, -1, 0),)):
        if frame is None:
            yield SEARCHING
        elif frame.number < 0 or frame.number + frame.samples > heard:
            if run and run[-1].number + run[-1].samples != frame.number:
                for stretch in _run_sounds(window, stream, run, frame.place, heard):
                    yield stretch
                    heard += _length(stretch, stream)
                run = []
            run.append(frame)


def _run_sounds(
    window: Window, stream: _Stream, run: list[_Frame], end: int, heard: int
) -> Iterator[Stretch]:
    """The sound of frames that follow on one another, to ``end`` in the file, without what was ``heard``."""
    left = run
    while left:
        first = left[0]
        if first.number > heard:
            yield Silence((first.number - heard) / stream.rate, lost=True)
            heard = first.number
        skipped = heard - first.number
        spliced = Spliced(window.data, [(stream.begin, stream.frames), (first.place, end)])
        try:
            for sound in sndfile_sounds(spliced, stream.block * stream.channels, counts=False):
                if isinstance(sound, Sound):
                    samples = sound.samples[skipped:]
                    skipped -= len(sound.samples) - len(samples)
                    heard += len(samples)
                    yield Sound(samples, sound.rate)
            return
        except NotAudioError:
            # The frame that ``heard`` lies in is damaged.
            left = [frame for frame in left[1:] if frame.number > heard]


def _length(stretch: Stretch, stream: _Stream) -> int:
    """In samples."""
    if isinstance(stretch, Sound):
        return len(stretch.samples)
    return round(stretch.seconds * stream.rate) if isinstance(stretch, Silence) else 0


def _frames(window: Window, stream: _Stream) -> Iterator[_Frame | None]:
    """The frames of a stream; None now and then. What follows on no other frame, and has none that follows
    on it, only looks like one.
    """
    before: _Frame | None = None
    follows = False
    place = looked = stream.frames
    while True:
        found = window.find(b"\xff", place, min(stream.end, looked + _LOOK))
        if found is None:
            looked += _LOOK
            if looked >= stream.end:
                break
            place = looked
            yield None
            continue
        place = found + 1
        frame = _frame(found, window.at(found, _LONGEST_HEADER), stream)
        if frame is None:
            continue
        followed = before is not None and before.number + before.samples == frame.number
        if before is not None and (follows or followed):
            yield before
        before, follows = frame, followed
    if before is not None and follows:
        yield before


def _frame(place: int, head: bytes, stream: _Stream) -> _Frame | None:
    """The frame at ``place``, if ``head`` is the header of one (RFC 9639, section 9.1)."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8 or head[3] & 1:
        return None
    size, rate = head[2] >> 4, head[2] & 15
    if size == 0 or rate == 15 or head[3] >> 4 > 10:
        return None
    # A number as UTF-8 codes characters, up to 36 bits.
    length = 1 if head[4] < 0x80 else 8 - (head[4] ^ 0xFF).bit_length()
    if not (length == 1 or 2 <= length <= 7):
        return None
    number = head[4] & (0x7F if length == 1 else 0x7F >> length)
    for byte in head[5 : 4 + length]:
        number = number << 6 | byte & 0x3F
    at = 4 + length
    more = {6: 1, 7: 2}.get(size, 0)
    samples = int.from_bytes(head[at : at + more], "big") + 1 if more else _samples(size)
    at += more + {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if at >= len(head) or _crc8(head[:at]) != head[at]:
        return None
    return _Frame(place, number if head[1] & 1 else number * stream.block, samples)


def _samples(size: int) -> int:
    return 192 if size == 1 else 576 << (size - 2) if size < 6 else 256 << (size - 8)


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value = _CRC8[value ^ byte]
    return value


def _crc8_of(byte: int) -> int:
    for _ in range(8):
        byte = (byte << 1) ^ (0x107 if byte & 0x80 else 0)
    return byte


# x^8 + x^2 + x + 1.
_CRC8 = tuple(map(_crc8_of, range(256)))
