"""How much a hit on a hotword says: coefficients fitted to a model's phoneme head, which travel with its
weights.

``nim4asr.hotwords.evidence`` has the formula.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class EvidenceConfig:
    """The coefficients of the log odds that a name which fits was said; the defaults are an earlier
    nano's, for models that have none of their own.
    """

    gain: float = 1.2
    """What each phoneme of the name adds."""
    trust: float = 0.4
    """The weight of the log posterior of its likeliest path with tones."""
    doubt: float = 0.2
    """The weight of what that path costs more than the best one."""
    size: float = 0.5
    """The weight of the logarithm of the list's length."""
    bias: float = 0.0
    """What every hit begins with."""

    def __post_init__(self) -> None:
        if not all(
            math.isfinite(value) for value in (self.gain, self.trust, self.doubt, self.size, self.bias)
        ):
            raise ValueError("the coefficients of evidence must be numbers")

    def list_cost(self, names: int) -> float:
        """What a hit must make up for in a list of so many names: size log N - bias."""
        return self.size * math.log(names) - self.bias
