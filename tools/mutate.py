"""Do the tests notice? Changes one thing of the source at a time and runs the tests nearest to it.

    python tools/mutate.py --count 60 --seed 1 src/nim4asr/model src/nim4asr/training

A change is one that a slip could make: an operator, a comparison, a number, a sign, a condition turned round.
The source is changed in place, one file at a time, and put back; run it in a clone.

The nearest tests of ``src/nim4asr/a/b.py`` are ``tests/a/test_b.py``; without such a file, those that import
the module; without any, all of ``tests/a``. They run once unchanged, and must pass. Then a change is

- noticed, if they fail (pytest's exit status 1),
- not noticed, if they pass,
- undecided, if they did not pass unchanged, took too long, or could not run.

Prints a line of JSON a change, and how many there were of each. Ends with 0 whatever they are.
"""

import argparse
import ast
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from pathlib import Path
from random import Random

_OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


# A run with a change may take so many times as long as the one without, but no less than so many seconds.
_PATIENCE, _LEAST_SECONDS = 5.0, 30.0
# pytest's exit statuses.
_PASSED, _FAILED = 0, 1


class Outcome(StrEnum):
    """What the tests made of a change."""

    NOTICED = "noticed"
    NOT_NOTICED = "not noticed"
    UNDECIDED = "undecided"


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, change, test, put back."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("places", nargs="+", type=Path, help="files or folders of the source")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=240.0, help="seconds a run of the tests may take")
    options = parser.parse_args(arguments)
    files = sorted(
        {path for place in options.places for path in ([place] if place.is_file() else place.rglob("*.py"))}
    )
    everything = [(path, site) for path in files for site in _sites(path.read_text(encoding="utf-8"))]
    drawn = Random(options.seed).sample(everything, min(options.count, len(everything)))
    outcomes: Counter[Outcome] = Counter()
    for path, site in drawn:
        source = path.read_text(encoding="utf-8")
        changed, line, what = _changed(source, site)
        tests = nearest_tests(path, Path())
        outcome, why = _judged(path, source, changed, tests, options.timeout)
        outcomes[outcome] += 1
        row = {"file": str(path), "line": line, "change": what, "outcome": outcome, "why": why}
        print(json.dumps({**row, "tests": list(map(str, tests))}, ensure_ascii=False), flush=True)
    print(", ".join(f"{outcomes[outcome]} {outcome}" for outcome in Outcome) + f" of {len(drawn)}")


def nearest_tests(path: Path, root: Path) -> tuple[Path, ...]:
    """The tests in ``root`` nearest to the source file ``path``: the file of its own, else those that import
    its module, else its room's, else none.
    """
    module = path.with_suffix("").parts
    inside = module[module.index("nim4asr") + 1 :]
    tests = root / "tests"
    room = tests.joinpath(*inside[:-1])
    own = room / f"test_{inside[-1]}.py"
    if own.exists():
        return (own,)
    name = ".".join(("nim4asr", *inside)).removesuffix(".__init__")
    naming = [test for test in sorted(tests.rglob("test_*.py")) if _names(test, name)]
    if naming:
        return tuple(naming)
    while room != tests and not any(room.glob("test_*.py")):
        room = room.parent
    return (room,) if any(room.glob("test_*.py")) else ()


def _names(test: Path, module: str) -> bool:
    """Whether a test imports something of the module."""
    parent, _, name = module.rpartition(".")
    for node in ast.walk(ast.parse(test.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (
            node.module == module
            or (node.module == parent and any(alias.name == name for alias in node.names))
        ):
            return True
        if isinstance(node, ast.Import) and any(alias.name == module for alias in node.names):
            return True
    return False


def _judged(
    path: Path, source: str, changed: str, tests: tuple[Path, ...], timeout: float
) -> tuple[Outcome, str]:
    """What ``tests`` make of the source ``changed``, and why that is undecided if it is."""
    if not tests:
        return Outcome.UNDECIDED, "there are no tests"
    status, seconds = _unchanged(tests, timeout)
    if status != _PASSED:
        return Outcome.UNDECIDED, f"without the change: {_said(status)}"
    try:
        path.write_text(changed, encoding="utf-8")
        status, _ = _run(tests, min(timeout, max(_LEAST_SECONDS, _PATIENCE * seconds)))
    finally:
        path.write_text(source, encoding="utf-8")
    if status == _FAILED:
        return Outcome.NOTICED, ""
    return (Outcome.NOT_NOTICED, "") if status == _PASSED else (Outcome.UNDECIDED, _said(status))


@cache
def _unchanged(tests: tuple[Path, ...], timeout: float) -> tuple[int | None, float]:
    return _run(tests, timeout)


def _run(tests: tuple[Path, ...], timeout: float) -> tuple[int | None, float]:
    """The exit status of pytest, None if it took too long, and how long it took."""
    options = ("-x", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors")
    # The source here, not an installed one; and no compiled file that is mistaken for the next change's.
    environment = {**os.environ, "PYTHONPATH": str(Path("src").absolute()), "PYTHONDONTWRITEBYTECODE": "1"}
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *map(str, tests)],
            capture_output=True,
            timeout=timeout,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return None, timeout
    return done.returncode, time.monotonic() - began


def _said(status: int | None) -> str:
    return "the tests took too long" if status is None else f"pytest ended with {status}"


def _sites(source: str) -> list[tuple[int, str]]:
    """Where ``source`` can be changed: the place of a node in a walk over its tree, and the kind of
    change.
    """
    tree = ast.parse(source)
    # What only a type checker reads, no test can notice.
    unread = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    return [
        (place, kind)
        for place, node in enumerate(ast.walk(tree))
        if id(node) not in unread
        for kind in _kinds(node)
    ]


def _changed(source: str, site: tuple[int, str]) -> tuple[str, int, str]:
    """``source`` with one change, its line, and what it is."""
    tree = ast.parse(source)
    place, kind = site
    node = list(ast.walk(tree))[place]
    before = ast.unparse(node)
    _apply(node, kind)
    return ast.unparse(tree) + "\n", getattr(node, "lineno", 0), f"{before}  ->  {ast.unparse(node)}"[:160]


def _kinds(node: ast.AST) -> list[str]:
    match node:
        case ast.BinOp(op=op) if type(op) in _OPERATORS and not isinstance(
            node.left, ast.Constant | ast.JoinedStr
        ):
            return ["operator"]
        case ast.BoolOp():
            return ["operator"]
        case ast.Compare(ops=[op]) if type(op) in _OPERATORS:
            return ["operator"]
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            return ["unary"]
        case ast.If() | ast.IfExp():
            return ["condition"]
        case ast.Constant(value=value) if type(value) in (int, float):
            return ["number"]
    return []


def _apply(node: ast.AST, kind: str) -> None:
    match node, kind:
        case ast.BinOp() | ast.BoolOp(), "operator":
            node.op = _OPERATORS[type(node.op)]()  # type: ignore[assignment]
        case ast.Compare(), "operator":
            node.ops = [_OPERATORS[type(node.ops[0])]()]  # type: ignore[list-item]
        case ast.UnaryOp(op=ast.Not()), "unary":
            node.operand = ast.UnaryOp(ast.Not(), node.operand)
        case ast.UnaryOp(), "unary":
            node.op = ast.UAdd()
        case ast.If() | ast.IfExp(), "condition":
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case ast.Constant(), "number":
            node.value = node.value + 1 if isinstance(node.value, int) else node.value * 2 + 0.5  # type: ignore[operator]


if __name__ == "__main__":
    main()
