"""Names in the documentation exist in the code: classes, their members, and what they are made with."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "src/nim4asr/bundled/nano/README.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
# Classes of other libraries, on the page for those who come from them.
FOREIGN = {"AutoModel", "Decoder", "WhisperModel"}
# `Class`, `Class.member`, `Class(field=...)`, `Class(field, field)`: a class has a small letter in its name.
CODE = re.compile(r"(?<!`)`([A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*)(?:\.([a-z_]\w*))?(?:\((.*?)\))?`(?!`)")


@cache
def classes() -> dict[str, list[ast.ClassDef]]:
    """All classes of the package by their names."""
    found: dict[str, list[ast.ClassDef]] = {}
    for path in sorted((ROOT / "src/nim4asr").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(node)
    return found


def members(name: str) -> set[str]:
    """Fields, methods and properties of a class and of those that it is derived from; how it is made."""
    found: set[str] = set()
    for node in classes().get(name, ()):
        for inner in node.body:
            if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
                found.add(inner.target.id)
            elif isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(inner.name)
                if inner.name == "__init__":
                    found |= {argument.arg for argument in (*inner.args.args, *inner.args.kwonlyargs)}
        for base in node.bases:
            found |= members(ast.unparse(base).partition("[")[0].rpartition(".")[2])
    return found


def wrong(page: str) -> Iterator[str]:
    """What a page names that is not there."""
    for found in CODE.finditer(page):
        name, member, given = found.groups()
        known = members(name)
        if name in FOREIGN:
            continue
        if name not in classes():
            # One word with a capital, as HTTP headers are, is none of ours.
            if member or given or re.fullmatch("(?:[A-Z][a-z0-9]+){2,}", name):
                yield found.group()
            continue
        if member and member not in known:
            yield found.group()
        if given and not member:
            named = re.findall(r"(?:^|, )([a-z_]\w*)(?==(?!=)|,|$)", given)
            if not set(named) <= known:
                yield found.group()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_in_the_documentation_exist(page: Path) -> None:
    assert list(wrong(page.read_text(encoding="utf-8"))) == []


def test_names_that_do_not_exist_are_seen() -> None:
    names = ["`LoopConfig.workers`", "`Rl(..., engine=VllmConfig())`", "`Nothing(x=1)`", "`NoSuchClass`"]
    names.append("`ChunkScheme(size, right)`")
    assert list(wrong(", ".join(names))) == names
    names = ["`LoopConfig.data_workers`", "`Rl(..., vllm=VllmConfig())`", "`Upgrade`", "`LoopConfig`"]
    names += ["`ChunkScheme(size, left)`", "`HintConfig(category_bias={'a': 1})`", "`Rl.loop`"]
    assert list(wrong(", ".join(names))) == []
