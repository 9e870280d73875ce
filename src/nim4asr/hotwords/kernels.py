"""Inner loops that numba compiles where it is installed, and that run as they stand where it is not.

Compiled they are some hundred times as fast, but to compile them takes a quarter of a minute, once on each
machine. So they are interpreted until as much time has been spent on that as compiling takes (whoever has
little to search for never waits), unless numba finds them compiled on disk. ``nim4 hotwords build`` compiles
them; a server does when it starts (``nim4asr.hotwords.index.warm_up``). Where there is no place on disk for
what was compiled, as in a read-only installation without a home folder, it is kept in memory.
"""

import time
from collections.abc import Callable
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any

# Seconds that compiling takes, about.
_COMPILING = 15.0


class Kernels:
    """``functions`` in an order in which each calls none but those before it, called by their names.

    ``options`` are numba's, by the function's name.
    """

    def __init__(self, *functions: Any, options: dict[str, dict[str, Any]] | None = None) -> None:
        self._functions = {function.__name__: function for function in functions}
        self._options = options or {}
        self._spent = 0.0
        self.compile_now = False

    def __call__(self, name: str, *arguments: Any) -> Any:
        """The result of one of the functions."""
        if self._is_worth_it:
            try:
                return self._compiled[name](*arguments)
            except OSError:
                # It is compiled and cannot be kept on disk, which numba tells before it runs anything.
                self._compiled = self._jitted(cache=False)
                return self._compiled[name](*arguments)
        began = time.perf_counter()
        try:
            return self._functions[name](*arguments)
        finally:
            self._spent += time.perf_counter() - began

    @property
    def _is_worth_it(self) -> bool:
        if not self._installed:
            return False
        return self.compile_now or self._spent > _COMPILING or (self._on_disk and self._has_place)

    @cached_property
    def _installed(self) -> bool:
        return find_spec("numba") is not None

    @cached_property
    def _on_disk(self) -> bool:
        """Whether numba has compiled the last of the functions here before."""
        *_, last = self._functions.values()
        path = Path(last.__code__.co_filename)
        pattern = f"{path.stem}.{last.__name__}-*.nbi"
        return any(path.parent.joinpath("__pycache__").glob(pattern))

    @cached_property
    def _has_place(self) -> bool:
        """Whether numba has a place on disk to read what was compiled from."""
        try:
            self._jitted(cache=True)
        except RuntimeError:
            return False
        return True

    @cached_property
    def _compiled(self) -> dict[str, Callable[..., Any]]:
        return self._jitted(cache=self._has_place)

    def _jitted(self, cache: bool) -> dict[str, Callable[..., Any]]:
        """The functions, to be compiled when they are first called. Raises ``RuntimeError`` if they are to be
        kept on disk and there is no place.
        """
        from numba import njit

        # The functions again, in a namespace of their own, where the names of those they call are compiled
        # ones.
        found: dict[str, Callable[..., Any]] = {}
        for name, function in self._functions.items():
            namespace = {**function.__globals__, **found}
            again = FunctionType(function.__code__, namespace, name)
            found[name] = njit(cache=cache, **self._options.get(name, {}))(again)
        return found
