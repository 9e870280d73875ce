import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nim4asr.errors import InputError
from nim4asr.model.importers.ctranslate2 import Ct2Variables

_TYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4, "uint16": 5}


def ct2_file(
    variables: Mapping[str, NDArray[Any]], specification: str = "WhisperSpec", version: int = 6
) -> bytes:
    """A model file; arrays of 16-bit words stand for bfloat16."""

    def string(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    parts = [struct.pack("<I", version), string(specification), struct.pack("<II", 3, len(variables))]
    for name, array in variables.items():
        parts += [string(name), struct.pack("<B", array.ndim), struct.pack(f"<{array.ndim}I", *array.shape)]
        parts += [struct.pack("<BI", _TYPES[array.dtype.name], array.nbytes), array.tobytes()]
    return b"".join(parts)


def test_every_type_comes_back_as_float(tmp_path: Path) -> None:
    values = np.array([[1.5, -2.0, 0.25], [8.0, 0.0, -0.5]], np.float32)
    rows = np.array([60.0, 10.0], np.float32)
    path = tmp_path / "model.bin"
    path.write_bytes(
        ct2_file(
            {
                "whole": values,
                "half": values.astype(np.float16),
                "brain": (values.view(np.uint32) >> 16).astype(np.uint16),
                "bytes": np.round(values * rows[:, None]).astype(np.int8),
                "bytes_scale": rows,
                "words": np.round(values * 100).astype(np.int16),
                "words_scale": np.array(100.0, np.float32),
                "heads": np.array(6, np.int16),
            }
        )
    )
    variables = Ct2Variables(path)
    assert variables.specification == "WhisperSpec" and "half" in variables and "none" not in variables
    for name in ("whole", "half", "brain", "bytes", "words"):
        np.testing.assert_allclose(variables.floats(name), values, atol=0.02)
    assert variables.floats("heads").shape == () and int(variables.floats("heads")) == 6
    with pytest.raises(InputError, match="the weights lack 'none'"):
        variables.floats("none")


def test_damaged_files_get_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    whole = ct2_file({"one": np.ones((3, 4), np.float32), "two": np.zeros(5, np.float16)})
    for data in (
        b"",
        b"\0" * 40,
        whole[:3],
        whole[:30],
        whole[:-1],
        ct2_file({}, version=99),
        b"PK\3\4" * 20,
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"model\.bin: "):
            Ct2Variables(path)
    with pytest.raises(InputError, match="cannot be read"):
        Ct2Variables(tmp_path / "none.bin")
