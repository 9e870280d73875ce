"""The variables in a CTranslate2 model file (``model.bin``), the format of faster-whisper.

Little-endian: a version, the name and revision of the specification, the number of variables; of each
variable its name, its shape, its type and its bytes. Strings have their length in 16 bits, the closing zero
included. Weights of 8 or 16 bits come with a variable ``NAME_scale``: the weight is the stored number divided
by it, a scale a row.
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nim4asr.audio.samples import Floats
from nim4asr.errors import InputError
from nim4asr.files import reason

FILE = "model.bin"
_TYPES: tuple[str, ...] = ("<f4", "<i1", "<i2", "<i4", "<f2", "<u2")
_BFLOAT16 = 5
# Versions before had no types, and none is newer than this program.
_OLDEST, _NEWEST = 4, 6
_MOST_VARIABLES, _LARGEST_RANK = 100_000, 8


class Ct2Variables:
    """The variables of the file at ``path``, mapped into memory; ``specification`` says which model it is.

    Raises ``InputError`` if the file is no such model, or cut short.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        try:
            self._data: NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: the weights cannot be read ({reason(error)})") from None
        try:
            self.specification, self._variables = self._read()
        except (struct.error, ValueError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}: this is no model of CTranslate2, or it is cut short ({reason(error)})"
            ) from None

    def __contains__(self, name: str) -> bool:
        return name in self._variables

    @property
    def names(self) -> tuple[str, ...]:
        """All names, as they stand in the file."""
        return tuple(self._variables)

    def floats(self, name: str) -> Floats:
        """A variable as float32, scaled where it was quantized. Raises ``InputError`` if there is none, or if
        its scale is missing or damaged.
        """
        if name not in self._variables:
            raise InputError(f"{self._path}: the weights lack {name!r}")
        stored, kind = self._variables[name]
        if kind == _BFLOAT16:
            return (stored.astype(np.uint32) << 16).view(np.float32)
        values = stored.astype(np.float32)
        if f"{name}_scale" in self._variables:
            scale = self._variables[f"{name}_scale"][0].astype(np.float32)
            if not (scale.size and np.isfinite(scale).all() and scale.all()) or (
                scale.size > 1 and scale.size != len(np.atleast_1d(values))
            ):
                raise InputError(f"{self._path}: the scale of {name!r} is damaged")
            values /= scale.reshape(-1, *[1] * (values.ndim - 1)) if scale.size > 1 else scale.reshape(())
        elif values.ndim > 1 and stored.dtype.kind == "i":
            raise InputError(f"{self._path}: the weights {name!r} are whole numbers, and lack their scale")
        return values

    def _read(self) -> tuple[str, Mapping[str, tuple[NDArray[Any], int]]]:
        version = self._number("I")
        if not _OLDEST <= version <= _NEWEST:
            raise ValueError(f"version {version}; versions {_OLDEST} to {_NEWEST} are read")
        specification, _, count = self._string(), self._number("I"), self._number("I")
        if count > _MOST_VARIABLES:
            raise ValueError(f"{count} variables")
        variables = {}
        for _ in range(count):
            name, rank = self._string(), self._number("B")
            if rank > _LARGEST_RANK:
                raise ValueError(f"{name!r} has {rank} dimensions")
            shape = [self._number("I") for _ in range(rank)]
            kind, size = self._number("B"), self._number("I")
            if kind >= len(_TYPES):
                raise ValueError(f"{name!r} is of the unknown type {kind}")
            raw = self._bytes(size)
            variables[name] = (raw.view(_TYPES[kind]).reshape(shape), kind)
        return specification, variables

    def _bytes(self, size: int) -> NDArray[np.uint8]:
        if self._at + size > len(self._data):
            raise ValueError(f"it ends after {len(self._data):,} bytes")
        self._at += size
        return self._data[self._at - size : self._at]

    def _number(self, form: str) -> int:
        (value,) = struct.unpack(f"<{form}", self._bytes(struct.calcsize(f"<{form}")).tobytes())
        return int(value)

    def _string(self) -> str:
        return self._bytes(self._number("H")).tobytes().rstrip(b"\0").decode()
