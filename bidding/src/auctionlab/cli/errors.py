"""Errors that commands end with."""

from __future__ import annotations

import importlib.util


class MissingExtraError(Exception):
    """A package is missing that an extra installs."""


def require_learning() -> None:
    """Raise MissingExtraError where torch or safetensors is not installed."""
    for package in ("torch", "safetensors"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(f"learning needs {package}: pip install 'auctionlab[rl]'")
