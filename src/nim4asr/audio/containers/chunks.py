"""Files made of chunks that say their own length: RIFF and AIFF, MPEG-4, Matroska.

One joined to another begins where the chunks of the first end, and the decoders stop there. So the files in a
file are found here, and whether the last is whole.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from nim4asr.audio.containers.stretches import (
    SEARCHING,
    CutShort,
    NotAudioError,
    Sound,
    Spliced,
    Stretch,
    Window,
)

Decode = Callable[[Spliced], Iterator[Stretch]]

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_LOOK = 1 << 20
# A WAV file that was written into a pipe does not know its length; so little is left in its last bytes.
_UNKNOWN = 0xFFFFFFFF - 1024


class Part(NamedTuple):
    """A file in a file, and whether its end is missing."""

    begin: int
    end: int
    is_cut: bool = False


def is_riff(head: bytes) -> bool:
    """Whether a RIFF, RF64 or AIFF file of sound begins with these 16 bytes."""
    return (head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE") or (
        head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC")
    )


def is_mpeg4(head: bytes) -> bool:
    """Whether an MPEG-4 or QuickTime file begins with these 16 bytes."""
    return head[4:8] in (b"ftyp", b"styp", b"moov") or (
        head[4:8] in (b"mdat", b"wide", b"free", b"skip")
        and head[12:16] in (b"mdat", b"moov", b"free", b"ftyp")
    )


def is_matroska(head: bytes) -> bool:
    """Whether a Matroska or WebM file begins with these bytes; of 64, one must say what kind it is."""
    return head[:4] == _EBML.to_bytes(4, "big") and (len(head) < 64 or b"\x42\x82" in head)


def joined_sounds(
    parts: Iterator[Part | None], window: Window, decode: Decode, knows_end: bool = True
) -> Iterator[Stretch]:
    """The sound of the files in a file by a decoder of one, which ``knows_end`` if it tells by itself that
    one is cut short.

    Raises ``NotAudioError`` if none can be decoded.
    """
    heard, wrong = False, "nothing in it is a sound"
    for part in parts:
        if part is None:
            yield SEARCHING
            continue
        told = False
        try:
            for stretch in decode(Spliced(window.data, [(part.begin, part.end)])):
                told = told or isinstance(stretch, CutShort)
                heard = heard or (isinstance(stretch, Sound) and len(stretch.samples) > 0)
                yield stretch
        except NotAudioError as error:
            wrong = str(error)
            if heard:
                told = True
                yield CutShort(None)
        if part.is_cut and not told and not knows_end:
            yield CutShort(None)
    if not heard:
        raise NotAudioError(wrong)


def riff_parts(window: Window) -> Iterator[Part | None]:
    """The RIFF and AIFF files in a file; None now and then."""
    begin = window.start
    while True:
        end: int | None = None
        for end in _riff_end(window, begin):
            if end is None:
                yield None
        if end is None or not is_riff(window.at(end, 16)):
            yield Part(begin, window.end)
            return
        yield Part(begin, end)
        begin = end


def _riff_end(window: Window, begin: int) -> Iterator[int | None]:
    """Where the chunks of a file end, after None now and then."""
    head = window.at(begin, 16)
    big = head[:4] in (b"FORM", b"RIFX")
    place = begin + 12
    # An RF64 file keeps its lengths elsewhere, and nobody joins files of four gigabytes.
    while head[:4] not in (b"RF64", b"BW64"):
        chunk = window.at(place, 16)
        if len(chunk) < 8 or is_riff(chunk) or not chunk[:4].isascii():
            yield place
            return
        size = int.from_bytes(chunk[4:8], "big" if big else "little")
        if size >= _UNKNOWN or place + 8 + size > window.end or (chunk[:4] == b"data" and not size):
            # Its length was not known, or is wrong: another file may follow all the same.
            yield from _searched(window, place + 8, (b"RIFF", b"FORM"), is_riff)
            return
        place += 8 + size
        # Chunks of an odd length are followed by a zero, which some writers forget.
        if size % 2 and not is_riff(window.at(place, 16)):
            place += 1
    yield window.end


def mpeg4_parts(window: Window) -> Iterator[Part | None]:
    """The MPEG-4 files in a file (ISO 14496-12, section 4.2); None now and then."""
    begin = place = window.start
    has_index = False
    while place + 8 <= window.end:
        head = window.at(place, 16)
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if not kind.isascii() or 0 < size < 8:
            break  # Neither a box nor anything else that is known.
        if kind == b"ftyp" and has_index:
            yield Part(begin, place)
            begin, has_index = place, False
        has_index = has_index or kind in (b"moov", b"moof")
        if size == 0:
            break  # It goes on to the end.
        place += size
        yield None
    yield Part(begin, window.end, is_cut=place > window.end)


def matroska_parts(window: Window) -> Iterator[Part | None]:
    """The Matroska files in a file (RFC 8794, RFC 9559); None now and then."""
    begin = window.start
    while True:
        place, segment = _element(window, begin, _EBML)
        end, is_cut = window.end, False
        if place is not None and segment is not None:
            inside, size = _element(window, place + segment, _SEGMENT)
            if inside is not None and size is not None:
                end = min(window.end, inside + size)
                is_cut = inside + size > window.end
            elif inside is not None:
                # Written live, of unknown length.
                for found in _searched(window, inside, (_EBML.to_bytes(4, "big"),), is_matroska):
                    if found is None:
                        yield None
                    else:
                        end = found
        yield Part(begin, end, is_cut)
        if not is_matroska(window.at(end, 4)):
            return
        begin = end


def _element(window: Window, place: int, kind: int) -> tuple[int | None, int | None]:
    """Where the content of an element begins, if one of this ``kind`` stands here, and its size, if that is
    known.
    """
    head = window.at(place, 12)
    if len(head) < 5 or int.from_bytes(head[:4], "big") != kind:
        return None, None
    # The number of leading zeros says how many bytes the size has; all ones is unknown.
    length = 9 - head[4].bit_length()
    value = int.from_bytes(head[4 : 4 + length], "big") & ((1 << 7 * length) - 1)
    return place + 4 + length, None if value == (1 << 7 * length) - 1 else value


def _searched(
    window: Window, place: int, patterns: tuple[bytes, ...], is_it: Callable[[bytes], bool]
) -> Iterator[int | None]:
    """None now and then, and at last where one of ``patterns`` begins that ``is_it``, or the file's end."""
    while place < window.end:
        for pattern in patterns:
            at = place
            while (found := window.find(pattern, at, place + _LOOK)) is not None:
                if is_it(window.at(found, 64)):
                    yield found
                    return
                at = found + 1
        place += _LOOK
        yield None
    yield window.end
