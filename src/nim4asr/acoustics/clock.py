"""When an encoder makes its frames."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FrameClock:
    """An encoder makes one frame of every ``stride`` feature frames.

    A frame is made once ``lookahead`` more feature frames have come: the receptive field of the encoder's
    convolutions past the frame's own features. At the end of an utterance their padding stands in for them
    if the encoder ``pads_end``; else the frame is not made. ``feature_hz`` feature frames come a second.
    """

    feature_hz: int
    stride: int
    lookahead: int
    pads_end: bool = False

    def __post_init__(self) -> None:
        if self.feature_hz < 1 or self.stride < 1 or self.lookahead < 0:
            raise ValueError(f"impossible clock of an encoder: {self}")

    @property
    def frame_s(self) -> float:
        """How long a frame lasts, in seconds."""
        return self.stride / self.feature_hz

    def window(self, frames: int) -> int:
        """How many feature frames so many encoder frames in a row are made of, their look-ahead included."""
        return self.stride * frames + self.lookahead

    def output_length(self, features: int) -> int:
        """How many encoder frames an utterance of so many feature frames gives."""
        return max(0, (features - (0 if self.pads_end else self.lookahead)) // self.stride)
