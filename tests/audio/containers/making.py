"""Sounds whose place can be told, in files of every format."""

import io
from fractions import Fraction
from typing import Any

import numpy as np
import soundfile

from nim4asr.audio.reading import stream_audio
from nim4asr.audio.samples import Floats

RATE = 16_000
# Pitches far enough from one another to be told apart in a frame of 50 ms.
LOW, MIDDLE, HIGH = 400, 1000, 2600
_FRAME = 800


def tone(hz: float, seconds: float = 1.0, rate: int = RATE) -> Floats:
    """A tone (N,), faded in and out."""
    count = round(seconds * rate)
    wave = 0.4 * np.sin(2 * np.pi * hz * np.arange(count) / rate)
    fade = np.minimum(1, np.minimum(np.arange(count), np.arange(count)[::-1]) / (0.01 * rate))
    return (wave * fade).astype(np.float32)


def encoded(
    samples: Floats, format: str, subtype: str | None = None, rate: int = RATE, **options: Any
) -> bytes:
    """A file by libsndfile."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format, subtype=subtype, **options)
    return buffer.getvalue()


def muxed(
    format: str,
    codec: str,
    *tracks: tuple[float, Floats],
    rate: int = 48_000,
    picture_s: float = 0.0,
    **options: str,
) -> bytes:
    """A file by FFmpeg, in which each of ``tracks`` (seconds, samples) begins at its time; with a picture for
    so long.
    """
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=format, options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        if picture_s:
            video: Any = container.add_stream("mpeg4", rate=10)
            video.width = video.height = 32
            for number in range(round(10 * picture_s)):
                image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                image.pts, image.time_base = number, Fraction(1, 10)
                container.mux(video.encode(image))
            container.mux(video.encode(None))
        # Encoded as one sound, and moved apart as packets.
        samples = np.concatenate([samples for _, samples in tracks])
        ends = np.cumsum([len(samples) for _, samples in tracks]) / rate
        moved = np.array([begin for begin, _ in tracks]) - np.concatenate([[0.0], ends[:-1]])
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        size = stream.codec_context.frame_size or 1024
        converter = av.AudioResampler(format=stream.format.name, layout="mono", rate=rate, frame_size=size)
        for piece in [*converter.resample(frame), *converter.resample(None), None]:
            for packet in stream.encode(piece):
                time = float(packet.pts * packet.time_base)
                packet.pts += round(moved[(ends[:-1] <= time).sum()] / packet.time_base)
                packet.dts = packet.pts
                container.mux(packet)
    return buffer.getvalue()


def heard(data: bytes) -> tuple[dict[int, tuple[float, float]], list[str], float]:
    """When each of the three pitches begins and ends, the warnings, and the length in seconds."""
    warnings: list[str] = []
    samples = np.concatenate(list(stream_audio(data, warnings.append)))
    return places(samples), warnings, len(samples) / RATE


def places(samples: Floats) -> dict[int, tuple[float, float]]:
    """When each of the three pitches begins and ends."""
    frames = samples[: len(samples) // 80 * 80]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(frames, _FRAME // 2), _FRAME)[::80]
    times = np.arange(len(windows)) * 80 / RATE
    found = {}
    for hz in (LOW, MIDDLE, HIGH):
        probe = np.exp(-2j * np.pi * hz * np.arange(_FRAME) / RATE) * np.hanning(_FRAME)
        loud = np.abs(windows @ probe) > 0.1 * _FRAME / 4
        if loud.any():
            at = np.nonzero(loud)[0]
            found[hz] = (float(times[at[0]]), float(times[at[-1]]))
    return found


def near(
    found: dict[int, tuple[float, float]], said: dict[int, tuple[float, float]], within: float = 0.08
) -> bool:
    """Whether the pitches stand where they should, to so many seconds."""
    return found.keys() == said.keys() and all(
        abs(found[hz][side] - said[hz][side]) <= within for hz in said for side in (0, 1)
    )
