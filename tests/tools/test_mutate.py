"""A tool that tells noticed from not noticed, on a small project and on this one."""

import json
from pathlib import Path

import pytest
from tools.mutate import Outcome, main, nearest_tests

from tools import mutate

FILES = {
    "src/nim4asr/__init__.py": "",
    "src/nim4asr/room/__init__.py": "",
    "src/nim4asr/room/inner/__init__.py": "",
    "src/nim4asr/room/inner/thing.py": "def add(a, b):\n    return a + b\n\n\nUNREAD = 3\n",
    "src/nim4asr/room/red.py": "ONE = 1\n",
    "src/nim4asr/room/helper.py": (
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    X = 1\n\nTWO = 2\n"
    ),
    "src/nim4asr/alone/lost.py": "THREE = 3\n",
    "tests/room/inner/test_thing.py": (
        "from nim4asr.room.inner.thing import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"
    ),
    "tests/room/test_red.py": "def test_red():\n    assert False\n",
    "tests/room/test_other.py": (
        "from nim4asr.room import helper\n\n\ndef test_two():\n    assert helper.TWO == 2\n"
    ),
    "pytest.ini": "[pytest]\naddopts = --import-mode=importlib\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    mutate._unchanged.cache_clear()
    return tmp_path


def test_changes_are_noticed_not_noticed_or_undecided(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["src/nim4asr/room", "--count", "9"])
    *lines, last = capsys.readouterr().out.splitlines()
    rows = {(row["file"], row["line"]): row for row in map(json.loads, lines)}
    found = {(Path(file).name, line): row["outcome"] for (file, line), row in rows.items()}
    assert found == {
        ("thing.py", 2): "noticed",
        ("thing.py", 5): "not noticed",
        ("red.py", 1): "undecided",
        ("helper.py", 6): "noticed",
    }
    assert rows["src/nim4asr/room/red.py", 1]["why"] == "without the change: pytest ended with 1"
    assert rows["src/nim4asr/room/inner/thing.py", 2]["tests"] == ["tests/room/inner/test_thing.py"]
    assert last == "2 noticed, 1 not noticed, 1 undecided of 4"
    # All is as it was.
    assert all((project / name).read_text(encoding="utf-8") == text for name, text in FILES.items())


def test_what_did_not_run_was_not_noticed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, tests = Path("src/nim4asr/room/helper.py"), (Path("tests/room/test_other.py"),)
    for status, outcome, why in (
        (0, Outcome.NOT_NOTICED, ""),
        (1, Outcome.NOTICED, ""),
        (2, Outcome.UNDECIDED, "pytest ended with 2"),
        (4, Outcome.UNDECIDED, "pytest ended with 4"),
        (5, Outcome.UNDECIDED, "pytest ended with 5"),
        (None, Outcome.UNDECIDED, "the tests took too long"),
    ):
        runs = iter([(0, 1.0), (status, 1.0)])
        monkeypatch.setattr(mutate, "_run", lambda tests, timeout, runs=runs: next(runs))
        mutate._unchanged.cache_clear()
        assert mutate._judged(path, "TWO = 2\n", "TWO = 3\n", tests, 60.0) == (outcome, why)
    assert mutate._judged(path, "", "", (), 60.0) == (Outcome.UNDECIDED, "there are no tests")


def test_a_run_that_takes_too_long_is_ended(project: Path) -> None:
    assert mutate._run((Path("tests/room/test_other.py"),), 0.01) == (None, 0.01)


def test_the_nearest_tests(project: Path) -> None:
    def nearest(name: str) -> list[str]:
        return [path.as_posix() for path in nearest_tests(Path("src/nim4asr") / name, Path())]

    assert nearest("room/inner/thing.py") == ["tests/room/inner/test_thing.py"]
    assert nearest("room/helper.py") == ["tests/room/test_other.py"]
    assert nearest("room/inner/__init__.py") == ["tests/room/inner"] and nearest("room/x.py") == [
        "tests/room"
    ]
    assert nearest("alone/lost.py") == []


@pytest.mark.slow
def test_every_file_of_the_source_has_tests_that_exist() -> None:
    root = Path(__file__).parents[2]
    for path in (root / "src" / "nim4asr").rglob("*.py"):
        found = nearest_tests(path, root)
        assert found and all(test.exists() for test in found), path


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        ("x = a + b", "x = a - b"),
        ("x = a <= b", "x = a < b"),
        ("x = -a", "x = +a"),
        ("x = not a", "x = not not a"),
        ("x = a and b", "x = a or b"),
        ("if a:\n    pass", "if not a:\n    pass"),
        ("x = 3", "x = 4"),
        ("x = 1.5", "x = 3.5"),
    ],
)
def test_changes_that_a_slip_could_make(source: str, changed: str) -> None:
    (site,) = mutate._sites(source)
    assert mutate._changed(source, site)[0].strip() == changed
