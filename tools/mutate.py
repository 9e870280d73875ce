"""Do the tests notice? Changes one thing of the source at a time and runs the tests nearest to it.

    python tools/mutate.py --count 60 --seed 1 src/nim4asr/model src/nim4asr/training

A change is one that a slip could make: an operator, a comparison, a number, a sign, a condition turned round.
The source is changed in place, one file at a time, and put back; run it in a clone. Prints a line of JSON a
change, and the share that was noticed.
"""

import argparse
import ast
import json
import subprocess
import sys
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


def main() -> None:
    """Draw, change, test, put back."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("places", nargs="+", type=Path, help="files or folders of the source")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=240.0, help="seconds a run of the tests may take")
    options = parser.parse_args()
    files = sorted(
        {path for place in options.places for path in ([place] if place.is_file() else place.rglob("*.py"))}
    )
    everything = [(path, site) for path in files for site in _sites(path.read_text(encoding="utf-8"))]
    drawn = Random(options.seed).sample(everything, min(options.count, len(everything)))
    noticed = 0
    for path, site in drawn:
        source = path.read_text(encoding="utf-8")
        changed, line, what = _changed(source, site)
        try:
            path.write_text(changed, encoding="utf-8")
            failed = _fails(path, options.timeout)
        finally:
            path.write_text(source, encoding="utf-8")
        noticed += failed
        print(json.dumps({"file": str(path), "line": line, "change": what, "noticed": failed}), flush=True)
    print(f"{noticed} of {len(drawn)} noticed, {noticed / max(1, len(drawn)):.0%}")


def _sites(source: str) -> list[tuple[int, str]]:
    """Where ``source`` can be changed: the place of a node in a walk over its tree, and the kind of
    change.
    """
    return [(place, kind) for place, node in enumerate(ast.walk(ast.parse(source))) for kind in _kinds(node)]


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
        case ast.UnaryOp(), "unary":
            node.op = ast.UAdd()
        case ast.If() | ast.IfExp(), "condition":
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case ast.Constant(), "number":
            node.value = node.value + 1 if isinstance(node.value, int) else node.value * 2 + 0.5  # type: ignore[operator]


def _fails(path: Path, timeout: float) -> bool:
    """Whether the tests of the file fail, or if it has none of its own, those of its room."""
    room, name = path.parent.name, f"test_{path.stem}.py"
    own = Path("tests") / room / name
    tests = [own] if own.exists() else [Path("tests") / room]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *map(str, tests)]
    for attempt in (command, [*command[:-1], f"tests/{room}"]):
        try:
            if subprocess.run(attempt, capture_output=True, timeout=timeout).returncode:
                return True
        except subprocess.TimeoutExpired:
            return True
        if own.exists() is False:
            break
    return False


if __name__ == "__main__":
    main()
