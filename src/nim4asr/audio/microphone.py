"""The microphone, by miniaudio (``pip install 'nim4asr[microphone]'``), whose wheel needs no system
packages.
"""

from collections.abc import Generator, Iterator
from queue import Queue

from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.errors import InputError


def listen(block_seconds: float = 0.1) -> Iterator[bytes]:
    """16-bit PCM at 16 kHz mono from the default microphone, block by block, until the caller stops asking.

    Raises ``InputError`` if the library or a microphone is missing.
    """
    try:
        import miniaudio
    except ImportError:
        raise InputError("the microphone needs one more library: pip install 'nim4asr[microphone]'") from None
    blocks: Queue[bytes] = Queue()

    def keep() -> Generator[None, bytes, None]:
        while True:
            blocks.put((yield))

    try:
        device = miniaudio.CaptureDevice(
            input_format=miniaudio.SampleFormat.SIGNED16,
            nchannels=1,
            sample_rate=SAMPLE_RATE,
            buffersize_msec=round(block_seconds * 1000),
        )
    except miniaudio.MiniaudioError:
        raise InputError("no microphone can be opened; connect one, or give an audio file") from None
    with device:
        receiver = keep()
        next(receiver)
        device.start(receiver)
        while True:
            yield bytes(blocks.get())
