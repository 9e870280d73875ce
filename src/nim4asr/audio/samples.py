"""What sound is inside the library: 16 kHz mono samples, float32 from -1 to 1."""

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000

Floats = NDArray[np.float32]
