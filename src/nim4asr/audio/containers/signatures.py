"""What a file is, by its first bytes, and who reads it.

| a file that begins with | is read by |
|---|---|
| RIFF, RF64, FORM (wav, aiff) | libsndfile, each file that is joined in it |
| fLaC | libsndfile, each stream, and on behind damage |
| OggS (Vorbis, Opus, FLAC, Speex) | libsndfile, each link; Speex by FFmpeg |
| a frame of MPEG audio (mp3) | libsndfile, each run of frames of one format |
| a frame of ADTS (aac) | FFmpeg's demuxer aac, each run of frames |
| ftyp, moov (m4a, mp4, mov) | FFmpeg's demuxer mov |
| an EBML header (webm, mkv, mka) | FFmpeg's demuxer matroska |
| anything else | libsndfile, if it knows it |

ID3 tags before them are passed over, and so is up to a megabyte of what libsndfile does not know.
"""

from collections.abc import Generator, Iterator
from functools import partial
from typing import BinaryIO

from nim4asr.audio.containers import ffmpeg
from nim4asr.audio.containers.chunks import (
    is_matroska,
    is_mpeg4,
    is_riff,
    joined_sounds,
    matroska_parts,
    mpeg4_parts,
    riff_parts,
)
from nim4asr.audio.containers.ffmpeg import ffmpeg_sounds
from nim4asr.audio.containers.flac import flac_sounds, is_flac
from nim4asr.audio.containers.frames import adts_frame, adts_sounds, first_frames, mpeg_frame, mpeg_sounds
from nim4asr.audio.containers.ogg import ogg_sounds
from nim4asr.audio.containers.sndfile import lossy_sounds, sndfile_sounds
from nim4asr.audio.containers.stretches import NotAudioError, Spliced, Stretch, Window
from nim4asr.audio.containers.tags import tag_size

# How far a sound is looked for in a file that begins with something else.
_SEARCHED = 1 << 20


def sounds(data: BinaryIO) -> Generator[Stretch, None, None]:
    """The sound of a file, stretch by stretch, and what of it is missing.

    Raises ``NotAudioError`` if it cannot be read, ``InputError`` if it takes a library that is not installed,
    and ``OSError``.
    """
    window = Window(data)
    place = 0
    while tag := tag_size(window, place):
        place += tag
    reader = _reader(data, place)
    if reader is not None:
        yield from reader
        return
    unknown = sndfile_sounds(Spliced(data, [(0, window.end)]))
    try:
        first = next(unknown)
    except NotAudioError as error:
        wrong = error
    else:
        yield first
        yield from unknown
        return
    found = _first_sound(window, place)
    reader = None if found is None else _reader(data, found)
    if reader is None:
        raise wrong
    yield from reader


def told_seconds(data: BinaryIO) -> float | None:
    """How long a file in one of FFmpeg's containers is by its own header; None for others, and where it does
    not say.
    """
    window = Window(data)
    head = window.at(0, 64)
    demuxer = "matroska" if is_matroska(head) else "mov" if is_mpeg4(head) else None
    return None if demuxer is None else ffmpeg.told_seconds(Spliced(data, [(0, window.end)]), demuxer)


def _reader(data: BinaryIO, place: int) -> Iterator[Stretch] | None:
    """Who reads what begins at ``place``, if that is known."""
    window = Window(data, place)
    head = window.at(place, 64)
    if is_riff(head):
        return joined_sounds(riff_parts(window), window, sndfile_sounds)
    if is_flac(head):
        return flac_sounds(window)
    if head.startswith(b"OggS"):
        return ogg_sounds(window, partial(ffmpeg_sounds, demuxer="ogg"))
    if is_matroska(head):
        decode = partial(ffmpeg_sounds, demuxer="matroska")
        return joined_sounds(matroska_parts(window), window, decode, knows_end=False)
    if is_mpeg4(head):
        decode = partial(ffmpeg_sounds, demuxer="mov")
        return joined_sounds(mpeg4_parts(window), window, decode, knows_end=False)
    if mpeg_frame(head) is not None:
        return mpeg_sounds(window, lossy_sounds)
    if adts_frame(head) is not None:
        return adts_sounds(window, partial(ffmpeg_sounds, demuxer="aac"))
    return None


def _first_sound(window: Window, place: int) -> int | None:
    """Where something begins that has a reader, from ``place`` on."""
    end = min(window.end, place + _SEARCHED)
    found: list[int] = []
    for pattern, before in ((b"fLaC", 0), (b"OggS", 0), (b"RIFF", 0), (b"\x1aE\xdf\xa3", 0), (b"ftyp", 4)):
        at = place
        while (hit := window.find(pattern, at, end)) is not None:
            at = hit + 1
            if hit - before >= place and _is_known(window.at(hit - before, 64)):
                found.append(hit - before)
                break
    frames = first_frames(Window(window.data, place), 3, end)
    return min([*found, *([] if frames is None else [frames])], default=None)


def _is_known(head: bytes) -> bool:
    first_page = head.startswith(b"OggS\0") and len(head) > 5 and head[5] & 2
    return bool(first_page) or is_flac(head) or is_riff(head) or is_matroska(head) or is_mpeg4(head)
