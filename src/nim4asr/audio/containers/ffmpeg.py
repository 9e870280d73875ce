"""What FFmpeg decodes, by PyAV (``pip install 'nim4asr[containers]'``): MPEG-4, Matroska, AAC, Speex.

FFmpeg would choose a demuxer by itself, and some of those open other files and network ports that a playlist
or a description of a session names. So it is told which one to use, by what the file is; it reads the bytes
that it is given and is refused whatever else it asks for; and no decoder but those of sound is let in.
"""

from collections.abc import Iterator
from typing import Any, NoReturn

from nim4asr.audio.containers.stretches import (
    MISSING_S,
    CutShort,
    NotAudioError,
    Silence,
    Sound,
    Spliced,
    Stretch,
    bounded,
    gathered,
)
from nim4asr.errors import InputError
from nim4asr.files import reason

# The demuxers that are used, all of which read one file; and the decoders.
DEMUXERS = ("aac", "matroska", "mov", "ogg")
DECODERS = frozenset(
    """
    aac aac_fixed aac_latm ac3 ac3_fixed alac amrnb amrwb ape dca eac3 flac gsm libopus libspeex libvorbis mlp
    mp1 mp1float mp2 mp2float mp3 mp3float mp3adu mp3adufloat mp3on4 mp3on4float opus qcelp qdm2 qdmc speex
    truehd tta vorbis wavpack wmav1 wmav2 wmapro
    pcm_alaw pcm_bluray pcm_dvd pcm_f16le pcm_f24le pcm_f32be pcm_f32le pcm_f64be pcm_f64le pcm_mulaw
    pcm_s16be pcm_s16le pcm_s24be pcm_s24le pcm_s32be pcm_s32le pcm_s64be pcm_s64le pcm_s8 pcm_u16be pcm_u16le
    pcm_u24be pcm_u24le pcm_u32be pcm_u32le pcm_u8
    adpcm_g726 adpcm_ima_qt adpcm_ima_wav adpcm_ms
    """.split()
)
# Times are those of the container, counted from its zero. But one that begins later than this is a part of
# something longer, such as a broadcast, and begins where it begins.
_LATEST_START_S = 3600.0
# A jump in the times beyond this is damage.
_LONGEST_PAUSE_S = 3600.0
# So many times in a row what follows may not be found, before it is given up.
_MOST_FAILURES = 100
# Times are rounded, and recorders' clocks wander. A shorter pause is none.
_SHORTEST_PAUSE_S = 0.1
# Where a packet could not be decoded, a gap of this length is its.
_SHORTEST_LOSS_S = 0.01


def ffmpeg_sounds(file: Spliced, demuxer: str) -> Iterator[Stretch]:
    """The first sound track of ``file``, read by the ``demuxer``; pauses and a late begin are silence.

    Raises ``NotAudioError`` if it cannot be read, ``InputError`` if PyAV is not installed.
    """
    try:
        import av.error
    except ImportError:
        raise InputError(
            "m4a, mp4, aac, webm and mkv need one more library: pip install 'nim4asr[containers]'"
        ) from None
    try:
        with _opened(file, demuxer) as container:
            if not container.streams.audio:
                raise NotAudioError("the file has no sound track")
            codec = container.streams.audio[0].codec_context
            if codec is None or codec.name not in DECODERS:
                name = "its sound" if codec is None else codec.name
                raise NotAudioError(f"{name} is not decoded here; re-encode it")
            yield from gathered(_Track(container, demuxer).stretches())
    except (av.error.FFmpegError, ValueError, OSError) as error:
        # ``ValueError``, and ``UnicodeDecodeError`` among them: what PyAV makes of damaged headers.
        raise NotAudioError(getattr(error, "strerror", None) or reason(error)) from None


def told_seconds(file: Spliced, demuxer: str) -> float | None:
    """How long ``file`` is by its own header; None if that does not say, or cannot be read here."""
    try:
        import av.error
    except ImportError:
        return None
    try:
        with _opened(file, demuxer) as container:
            return (container.duration or 0) / 1_000_000 or None
    except (av.error.FFmpegError, ValueError, OSError):
        return None


def _opened(file: Spliced, demuxer: str) -> Any:
    """The container ``file``, open for reading."""
    import av

    assert demuxer in DEMUXERS
    return av.open(
        file,
        format=demuxer,
        io_open=_refuse,
        container_options={
            "protocol_whitelist": "",
            "codec_whitelist": ",".join(sorted(DECODERS)),
            "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,ogg",
        },
        metadata_errors="replace",
    )


def _refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError("a file of sound may not open other files")


class _Track:
    """The first sound track of an open container on its way through the decoder."""

    def __init__(self, container: Any, demuxer: str) -> None:
        self._container, self._demuxer = container, demuxer
        self._stream = container.streams.audio[0]
        start = (container.start_time or 0) / 1_000_000
        self._shift = -start if start > _LATEST_START_S else 0.0
        length = (container.duration or 0) / 1_000_000
        self._end = start + length + 1 if length > 0 else None
        self._at = 0.0  # seconds given
        self._format: tuple[int, str, str] | None = None
        self._converter: Any = None

    def stretches(self) -> Iterator[Stretch]:
        """All of it."""
        import av.error

        heard = damaged = False
        packets, failures = self._container.demux(self._stream), 0
        while True:
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, ValueError):
                damaged, failures = True, failures + 1
                if failures > _MOST_FAILURES:
                    break
                packets = self._container.demux(self._stream)
                continue
            if packet is None:
                break
            failures = 0
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, ValueError):
                damaged = True
                continue
            for frame in frames:
                if frame.samples == 0 or not frame.sample_rate:
                    continue
                pause = self._pause(frame, damaged)
                if pause > 0:
                    yield Silence(pause, lost=damaged or heard)
                    self._at += pause
                for sound in self._sounds(frame):
                    heard = True
                    self._at += len(sound.samples) / sound.rate
                    yield sound
                damaged = False
        if not heard:
            raise NotAudioError("no sound could be decoded")
        missing = self._length() - self._at
        if missing > 2 * MISSING_S:
            yield CutShort(missing)

    def _length(self) -> float:
        """Where the track ends by its own account, in seconds; 0 if it has none of its own."""
        stream = self._stream
        if self._demuxer == "mov" and stream.duration:
            return float((stream.duration + (stream.start_time or 0)) * stream.time_base) + self._shift
        if self._demuxer == "matroska" and self._container.duration and len(self._container.streams) == 1:
            # Counted from zero, and of all tracks together.
            return float(self._container.duration / 1_000_000 + self._shift)
        return 0.0

    def _pause(self, frame: Any, damaged: bool) -> float:
        """Seconds between what was given and a frame that is to come later."""
        # Frames of AAC alone have no times; FFmpeg counts them, those that it could not decode too.
        if frame.pts is None or (self._demuxer == "aac" and not damaged):
            return 0.0
        time = float(frame.pts * frame.time_base) + self._shift
        pause = time - self._at
        known = self._end is None or time <= self._end + self._shift
        if pause < -MISSING_S or pause > _LONGEST_PAUSE_S or not known:
            # Another beginning, as of what was joined to it, or damage: the times go on from here.
            self._shift -= pause
            return 0.0
        return pause if pause > (_SHORTEST_LOSS_S if damaged or not self._at else _SHORTEST_PAUSE_S) else 0.0

    def _sounds(self, frame: Any) -> Iterator[Sound]:
        """The frame's samples, as floats; of more than two channels their mean, as FFmpeg mixes them."""
        import av

        channels = len(frame.layout.channels)
        layout = frame.layout.name if channels <= 2 else "mono"
        format = (frame.sample_rate, frame.layout.name, frame.format.name)
        if self._format != format:
            self._format = format
            self._converter = av.AudioResampler(format="fltp", layout=layout, rate=frame.sample_rate)
        rate = frame.sample_rate
        frame.pts = None
        for converted in self._converter.resample(frame):
            yield Sound(bounded(converted.to_ndarray().T), rate)
