"""Ogg files: Vorbis, Opus, FLAC and Speex, chained or damaged (RFC 3533).

A file is a chain of links, each a stream of its own, whose pages are numbered and have check sums. A link's
audio goes to its decoder as one file, or as several where pages are missing: their granule positions, the
numbers of the last samples in them, say how much is.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from nim4asr.audio.containers.flac import flac_sounds
from nim4asr.audio.containers.sndfile import lossy_sounds, sndfile_sounds
from nim4asr.audio.containers.stretches import (
    SEARCHING,
    CutShort,
    NotAudioError,
    Silence,
    Sound,
    Spliced,
    Stretch,
    Window,
)

Decode = Callable[[Spliced], Iterator[Stretch]]

_HEADER = 27
_BYTES_A_LOOK = 1 << 20
# A first packet by its beginning: the codec, and how many packets come before the sound.
_CODECS = {
    b"\x01vorbis": ("vorbis", 3),
    b"OpusHead": ("opus", 2),
    b"\x7fFLAC": ("flac", 1),
    b"Speex   ": ("speex", 2),
}
# A page's bytes with their bits reversed, for zlib's check sum runs from the other end.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class _Page(NamedTuple):
    place: int
    body: int
    end: int
    first: bool
    last: bool
    granule: int
    """-1 where no packet ends."""
    serial: int
    number: int
    packets: int
    """How many packets end in it."""


@dataclass
class _Link:
    """A stream of sound; its pages in sections, between which some are missing."""

    codec: str
    serial: int
    headers: int
    """Packets before the sound."""
    rate: int
    """Of granule positions."""
    opening: list[_Page] = field(default_factory=list)
    """The pages with the headers."""
    sections: list[list[_Page]] = field(default_factory=lambda: [[]])
    skipped: int = 0
    """The granule position at which the sound begins: Opus's decoders need some before that."""
    is_late: bool = False
    """Whether pages are missing before the first section."""

    @property
    def is_whole(self) -> bool:
        pages = [page for section in self.sections for page in section] or self.opening
        return bool(pages) and pages[-1].last


def ogg_sounds(window: Window, by_ffmpeg: Decode) -> Iterator[Stretch]:
    """The sound of all links of a file; ``by_ffmpeg`` decodes what libsndfile does not.

    Raises ``NotAudioError`` if none can be decoded.
    """
    heard, wrong, link = False, "no sound in this Ogg file", None
    for link in _links(window):
        if link is None:
            yield SEARCHING
            continue
        try:
            for stretch in _link_sounds(window, link, by_ffmpeg):
                heard = heard or (isinstance(stretch, Sound) and len(stretch.samples) > 0)
                yield stretch
        except NotAudioError as error:
            wrong = str(error)
        whole = link.is_whole
    if not heard:
        raise NotAudioError(wrong)
    if not whole:
        yield CutShort(None)


def _link_sounds(window: Window, link: _Link, by_ffmpeg: Decode) -> Iterator[Stretch]:
    if link.codec == "flac":
        whole = len(link.sections) == 1 and not link.is_late
        yield from flac_sounds(Window(_unwrapped(window, link)), whole)
        return
    sections = [section for section in link.sections if section]
    heard, wrong = False, NotAudioError("no sound in this Ogg file")
    end = link.skipped if link.is_late else None
    for section in sections:
        if end is not None:
            begin = _begin(window, link, section)
            if begin is not None and begin > end:
                yield Silence((begin - end) / link.rate, lost=True)
        end = max((page.granule for page in section), default=-1)
        try:
            for stretch in _decoded(_spliced(window, link, section), link.codec, by_ffmpeg):
                if not isinstance(stretch, CutShort):
                    heard = heard or (isinstance(stretch, Sound) and len(stretch.samples) > 0)
                    yield stretch
        except NotAudioError as error:
            wrong = error
    if not heard:
        raise wrong


def _decoded(spliced: Spliced, codec: str, by_ffmpeg: Decode) -> Iterator[Stretch]:
    """By libsndfile, and from where it gives up by FFmpeg: it calls some sound Opus files malformed in their
    middle.
    """
    heard_s = 0.0
    if codec != "speex":
        try:
            for stretch in lossy_sounds(spliced):
                if isinstance(stretch, Sound):
                    heard_s += len(stretch.samples) / stretch.rate
                yield stretch
            return
        except NotAudioError:
            spliced.seek(0)
    for stretch in by_ffmpeg(spliced):
        if isinstance(stretch, Sound):
            skipped = min(len(stretch.samples), round(heard_s * stretch.rate))
            heard_s -= skipped / stretch.rate
            yield Sound(stretch.samples[skipped:], stretch.rate)
        elif isinstance(stretch, Silence):
            skipped_s = min(stretch.seconds, heard_s)
            heard_s -= skipped_s
            yield Silence(stretch.seconds - skipped_s, stretch.lost)


def _begin(window: Window, link: _Link, section: list[_Page]) -> int | None:
    """The granule position at which a section begins: that at which its first packets end, less what is
    decoded of them.
    """
    first = next((number for number, page in enumerate(section) if page.granule >= 0), None)
    if first is None:
        return None
    samples, rate = 0, 1
    try:
        for stretch in sndfile_sounds(_spliced(window, link, section[: first + 1]), counts=False):
            if isinstance(stretch, Sound):
                samples, rate = samples + len(stretch.samples), stretch.rate
    except NotAudioError:
        samples = 0
    return section[first].granule - round(samples * link.rate / rate)


def _spliced(window: Window, link: _Link, pages: list[_Page]) -> Spliced:
    return Spliced(window.data, [(page.place, page.end) for page in (*link.opening, *pages)])


def _unwrapped(window: Window, link: _Link) -> Spliced:
    """The FLAC stream in a link, without the pages around it and the nine bytes before its own header."""
    pages = [*link.opening, *(page for section in link.sections for page in section)]
    ranges = [(page.body, page.end) for page in pages]
    ranges[0] = (ranges[0][0] + 9, ranges[0][1])
    return Spliced(window.data, ranges)


def _links(window: Window) -> Iterator[_Link | None]:
    """The links of a file, each when its end has been found; None now and then."""
    link: _Link | None = None
    number: int | None = None  # of the link's last page
    opening = False  # first pages of streams may still follow
    for page in _pages(window):
        if page is None:
            yield None
            continue
        if page.first:
            if not opening and link is not None:
                yield link
                link = None
            opening = True
            if link is None and (found := _codec(window, page)) is not None:
                codec, headers, rate, skipped = found
                link = _Link(codec, page.serial, headers, rate, [page], skipped=skipped)
                number = page.number
            continue
        opening = False
        if link is None or page.serial != link.serial or page.number == number:
            continue
        # A page that is put in twice is heard once.
        broken = number is not None and page.number != (number + 1) & 0xFFFFFFFF
        number = page.number
        if sum(one.packets for one in link.opening) < link.headers:
            link.opening.append(page)
            continue
        if broken and link.sections[-1]:
            link.sections.append([])
        elif broken:
            link.is_late = True
        link.sections[-1].append(page)
    if link is not None:
        yield link


def _codec(window: Window, page: _Page) -> tuple[str, int, int, int] | None:
    """The codec of a stream that begins so, its packets before the sound, the rate of its granule positions,
    and that at which the sound begins.
    """
    head = window.at(page.body, 48)
    for beginning, (codec, headers) in _CODECS.items():
        if head.startswith(beginning):
            rate = {"vorbis": head[12:16], "speex": head[36:40]}.get(codec)
            skipped = int.from_bytes(head[10:12], "little") if codec == "opus" else 0
            return codec, headers, 48_000 if rate is None else max(1, int.from_bytes(rate, "little")), skipped
    return None


def _pages(window: Window) -> Iterator[_Page | None]:
    """The pages of a file that are not damaged; None now and then."""
    place = looked = window.start
    while place < window.end:
        if place - looked > _BYTES_A_LOOK:
            looked = place
            yield None
        page = _page(window, place)
        if page is not None:
            yield page
            place = page.end
            continue
        found = window.find(b"OggS", place + 1, place + _BYTES_A_LOOK)
        place = min(window.end, place + _BYTES_A_LOOK - 3) if found is None else found


def _page(window: Window, place: int) -> _Page | None:
    head = window.at(place, _HEADER + 255)
    if len(head) < _HEADER or not head.startswith(b"OggS\0"):
        return None
    lacing = head[_HEADER : _HEADER + head[26]]
    body = place + _HEADER + len(lacing)
    end = body + sum(lacing)
    if len(lacing) < head[26] or end > window.end:
        return None
    data = bytearray(window.at(place, end - place))
    data[22:26] = bytes(4)
    if _check_sum(bytes(data)) != int.from_bytes(head[22:26], "little"):
        return None
    return _Page(
        place,
        body,
        end,
        bool(head[5] & 2),
        bool(head[5] & 4),
        int.from_bytes(head[6:14], "little", signed=True),
        int.from_bytes(head[14:18], "little"),
        int.from_bytes(head[18:22], "little"),
        sum(size < 255 for size in lacing),
    )


def _check_sum(data: bytes) -> int:
    """Ogg's CRC-32: zlib's polynomial, from the other end and with zeros around it.

    zlib begins with ones and turns the result over. By the linearity of the code, its result for the data,
    less that for as many zeros, is that of a code that begins and ends with zeros.
    """
    value = zlib.crc32(data.translate(_REVERSED)) ^ zlib.crc32(bytes(len(data)))
    return int(f"{value:032b}"[::-1], 2)
