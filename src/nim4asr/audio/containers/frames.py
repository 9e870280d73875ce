"""MPEG audio (MP3) and ADTS (AAC): frames, each with a header of its own, one after another and no more.

Such files may be joined by putting one behind the other, cut anywhere, and hold tags or damage between any
two frames. The frames are looked for here, and those that one decoder can hear as one sound go to it as one
file: of one rate and one number of channels, without anything between them. Headers are those of ISO 11172-3,
13818-3 and 13818-7; the count of frames that encoders write into an empty first frame ("Xing", "Info",
"VBRI") is believed only where it is right.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from math import inf
from typing import NamedTuple

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
from nim4asr.audio.containers.tags import tag_size

# kbit/s by (version 1 or not, layer).
_BITRATES = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)
_ADTS_RATES = (
    96_000,
    88_200,
    64_000,
    48_000,
    44_100,
    32_000,
    24_000,
    22_050,
    16_000,
    12_000,
    11_025,
    8_000,
    7_350,
)
# A header and what of it is looked at.
_HEADER = 7
# Between two looks at whether the reader is still wanted.
_FRAMES_A_LOOK = 4_000
_BYTES_A_LOOK = 1 << 20


class Format(NamedTuple):
    """What one decoder can hear as one sound."""

    version: int
    layer: int
    rate: int
    channels: int


class Frame(NamedTuple):
    """A frame's header; ``size`` in bytes, the header among them; ``samples`` of each channel."""

    format: Format
    size: int
    samples: int


Parse = Callable[[bytes], Frame | None]
Decode = Callable[[Spliced], Iterator[Stretch]]


@lru_cache(maxsize=4096)
def _mpeg(head: bytes) -> Frame | None:
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = (head[1] >> 3) & 3, 4 - ((head[1] >> 1) & 3)
    bitrate, rate = head[2] >> 4, (head[2] >> 2) & 3
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    first = version == 3
    hertz = _RATES[rate] >> (0 if first else 1 if version == 2 else 2)
    padding = (head[2] >> 1) & 1
    bits = 1000 * _BITRATES[first, layer][bitrate]
    samples = 384 if layer == 1 else 1152 if layer == 2 or first else 576
    size = (12 * bits // hertz + padding) * 4 if layer == 1 else samples // 8 * bits // hertz + padding
    return Frame(Format(version, layer, hertz, 1 if head[3] >> 6 == 3 else 2), size, samples)


def mpeg_frame(head: bytes) -> Frame | None:
    """The MPEG audio frame, of any layer, that begins with ``head``, if one does."""
    return _mpeg(head[:4])


def adts_frame(head: bytes) -> Frame | None:
    """The ADTS frame that begins with ``head``, if one does."""
    if len(head) < _HEADER or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return None
    rate, channels = (head[2] >> 2) & 15, (head[2] & 1) << 2 | head[3] >> 6
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    if rate >= len(_ADTS_RATES) or size < _HEADER:
        return None
    samples = 1024 * ((head[6] & 3) + 1)
    return Frame(Format(head[1] >> 3 & 1, 0, _ADTS_RATES[rate], channels), size, samples)


class _Found(NamedTuple):
    place: int
    frame: Frame


class _Gap(NamedTuple):
    """So many bytes between two frames, or behind the last, that are neither frames nor tags."""

    size: int
    last: bool


@dataclass
class _Run:
    """Frames of one format without anything between them but tags; ``lost_s`` before them."""

    format: Format
    lost_s: float = 0.0
    expected: int | None = None
    """The frames that are counted in its own first one, which holds no sound itself."""
    counted_at: tuple[int, int] = (0, 0)
    """Where that first one lies."""
    ranges: list[tuple[int, int]] = field(default_factory=list)
    frames: int = 0
    samples: int = 0
    size: int = 0

    def add(self, place: int, frame: Frame) -> None:
        end = place + frame.size
        if self.ranges and self.ranges[-1][1] == place:
            self.ranges[-1] = (self.ranges[-1][0], end)
        else:
            self.ranges.append((place, end))
        self.frames += 1
        self.samples += frame.samples
        self.size += frame.size

    @property
    def seconds(self) -> float:
        return self.samples / self.format.rate

    @property
    def bytes_per_second(self) -> float:
        return self.size / max(self.seconds, 1e-3)


def mpeg_sounds(window: Window, decode: Decode) -> Iterator[Stretch]:
    """The sound of an MPEG audio file, by a decoder of one run of frames.

    Raises ``NotAudioError`` if it holds no frame that can be decoded.
    """
    yield from _sounds(window, mpeg_frame, decode, _with_count)


def adts_sounds(window: Window, decode: Decode) -> Iterator[Stretch]:
    """The sound of an ADTS file, as ``mpeg_sounds``."""
    yield from _sounds(window, adts_frame, decode, lambda window, run: Spliced(window.data, run.ranges))


def first_frames(window: Window, least: int, end: int) -> int | None:
    """Where the first ``least`` frames of MPEG audio or ADTS in a row begin, before ``end``."""
    found = [_next_frames(window, parse, window.start, end, least) for parse in (mpeg_frame, adts_frame)]
    return min((place for place in found if place is not None), default=None)


def _sounds(
    window: Window, parse: Parse, decode: Decode, splice: Callable[[Window, _Run], Spliced]
) -> Iterator[Stretch]:
    heard = False
    for run in _runs(window, parse):
        if not isinstance(run, _Run):
            yield run
            continue
        if run.lost_s:
            yield Silence(run.lost_s, lost=True)
        given = 0.0
        try:
            for stretch in decode(splice(window, run)):
                if isinstance(stretch, Sound):
                    given += len(stretch.samples) / stretch.rate
                elif isinstance(stretch, Silence):
                    given += stretch.seconds
                # How long it should be is told by the frames, not by the decoder.
                if not isinstance(stretch, CutShort):
                    yield stretch
        except NotAudioError:
            # Frames that hold no sound: damaged, or too few to decode any.
            if run.seconds - given > MISSING_S:
                yield Silence(run.seconds - given, lost=True)
        heard = heard or given > 0
    if not heard:
        raise NotAudioError("no sound could be decoded")


def _runs(window: Window, parse: Parse) -> Iterator[_Run | Stretch]:
    """The runs of frames in a file; now and then nothing, while they are looked for; and at last what is
    missing.
    """
    run: _Run | None = None
    format: Format | None = None
    lost_s = 0.0  # before the run that comes next
    bytes_per_second = inf
    promised, heard, missing = 0.0, 0.0, 0.0  # seconds: since the last count, and in all
    for item in _frames(window, parse):
        if isinstance(item, Sound):
            yield item
            continue
        counted = _counted(window, *item) if isinstance(item, _Found) else None
        if run is not None and (
            isinstance(item, _Gap)
            or counted is not None
            or item.frame.format != run.format
            or run.frames == run.expected
        ):
            if run.frames:
                yield run
                format, bytes_per_second = run.format, run.bytes_per_second
                heard += run.seconds
            run = None
        if isinstance(item, _Gap):
            lost_s = item.size / bytes_per_second
            if item.last and not promised and lost_s > 1:
                yield Silence(lost_s, lost=True)
            continue
        place, frame = item
        if counted is not None:
            # Another sound begins; what lies before it is of neither.
            missing += max(0.0, promised - heard)
            promised, heard, lost_s = max(0, counted) * frame.samples / frame.format.rate, 0.0, 0.0
            run = _Run(frame.format, 0.0, counted, (place, place + frame.size))
            continue
        if run is None:
            run = _Run(frame.format, lost_s if frame.format == format else 0.0)
            heard += run.lost_s
            lost_s = 0.0
        run.add(place, frame)
    if run is not None and run.frames:
        yield run
        heard += run.seconds
    missing += max(0.0, promised - heard)
    if missing > MISSING_S:
        yield CutShort(missing)


def _frames(window: Window, parse: Parse) -> Iterator[_Found | _Gap | Sound]:
    """All frames of a file in their order, and the gaps between them."""
    place, format = window.start, None
    for looks in count(1):
        if place >= window.end:
            return
        if looks % _FRAMES_A_LOOK == 0:
            yield SEARCHING
        frame = parse(window.at(place, _HEADER))
        if frame is not None and frame.format == format and place + frame.size > window.end:
            return  # The last one is torn.
        if frame is not None and _is_followed(window, parse, place, frame, frame.format == format):
            yield _Found(place, frame)
            place, format = place + frame.size, frame.format
            continue
        if tag := tag_size(window, place):
            place += tag
            continue
        behind, found = place, None
        while found is None and place < window.end:
            found = _next_frames(window, parse, place + 1, place + 1 + _BYTES_A_LOOK)
            place += _BYTES_A_LOOK
            yield SEARCHING
        end = window.end if found is None else found
        # A torn frame may lie over the tag of what is joined to it.
        tag_at = window.find(b"ID3", behind, end)
        if tag_at is not None and tag_at + tag_size(window, tag_at) == end:
            end = tag_at
        if format is not None and not (found is None and _is_padding(window, behind)):
            yield _Gap(end - behind, last=found is None)
        place = end


def _is_followed(window: Window, parse: Parse, place: int, frame: Frame, in_step: bool = False) -> bool:
    """Whether a frame that fits into the file is followed by another one of its format (of any, where the
    one before it was ``in_step``), by a tag or by the end.
    """
    place += frame.size
    if place == window.end:
        return True
    following = parse(window.at(place, _HEADER))
    if following is None:
        return tag_size(window, place) > 0
    return in_step or following.format == frame.format


def _next_frames(window: Window, parse: Parse, place: int, end: int, least: int = 2) -> int | None:
    """Where the next ``least`` frames begin that follow one another, or as many as there are before a tag or
    the end; from ``place`` on and before ``end``.
    """
    while (found := window.find(b"\xff", place, end)) is not None:
        place, at = found + 1, found
        for _ in range(least - 1):
            frame = parse(window.at(at, _HEADER))
            if frame is None or not _is_followed(window, parse, at, frame):
                break
            at += frame.size
            if parse(window.at(at, _HEADER)) is None:
                return found
        else:
            return found
    return None


def _is_padding(window: Window, place: int) -> bool:
    """Whether nothing but zeros follows."""
    while part := window.at(place, min(_BYTES_A_LOOK, window.end - place)):
        if part.strip(b"\0"):
            return False
        place += len(part)
    return True


def _side_information(format: Format) -> int:
    """Bytes between the header of a layer III frame and what may be a count."""
    first = format.version == 3
    return (17 if first else 9) if format.channels == 1 else (32 if first else 17)


def _counted(window: Window, place: int, frame: Frame) -> int | None:
    """How many frames follow, if this is a first frame that says so; -1 if it is one that does not."""
    if frame.format.layer != 3:
        return None
    head = window.at(place, 64)
    tag = head[4 + _side_information(frame.format) :][:12]
    if tag[:4] in (b"Xing", b"Info"):
        return int.from_bytes(tag[8:12], "big") if tag[7:8] and tag[7] & 1 else -1
    if head[36:40] == b"VBRI":
        return -1
    return None


def _with_count(window: Window, run: _Run) -> Spliced:
    """The run behind a first frame that counts its frames rightly.

    libsndfile believes that count, or else takes the size of the first frame for that of all, and reads no
    further.
    """
    if run.format.layer != 3:
        return Spliced(window.data, run.ranges)
    if run.expected is not None and run.expected >= run.frames:
        # Its own says more than a count, such as how much silence the encoder has put before the sound.
        begin, end = run.counted_at
        first = bytearray(window.at(begin, end - begin))
        at = 4 + _side_information(run.format) + 8
        first[at : at + 4] = run.frames.to_bytes(4, "big")
        if first[at - 1] & 2:
            first[at + 4 : at + 8] = (run.size + end - begin).to_bytes(4, "big")
        return Spliced(window.data, [bytes(first), *run.ranges])
    head = bytearray(window.at(run.ranges[0][0], 4))
    head[1] |= 1  # without a check sum
    tag = (
        bytes(_side_information(run.format))
        + b"Info"
        + (1).to_bytes(4, "big")
        + run.frames.to_bytes(4, "big")
    )
    for bitrate in range(1, 15):
        head[2] = head[2] & 0x0C | bitrate << 4
        frame = mpeg_frame(bytes(head))
        if frame is not None and frame.size >= 4 + len(tag):
            return Spliced(window.data, [bytes(head) + tag.ljust(frame.size - 4, b"\0"), *run.ranges])
    raise AssertionError("no frame of layer III is too small at all bitrates")
