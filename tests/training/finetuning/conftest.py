"""Recordings of the test's own."""

from pathlib import Path

import pytest

from training.finetuning.made import write_manifest


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return write_manifest(tmp_path)
