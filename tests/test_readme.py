"""What the README and the docs promise is run."""

import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nim4asr.cli.main import main, parser
from nim4asr.data.manifest import read_manifest
from nim4asr.evaluation.error_rate import align

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ["README.md", *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md")))]
CLIPS = sorted((ROOT / "demo").glob("*.flac"))


def demo_output() -> str:
    """The README's block after "make demo"."""
    found = re.search(r"```\n(demo/.*?)```", README, re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_demo_prints_what_the_readme_shows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["transcribe", *(str(clip.relative_to(ROOT)) for clip in CLIPS)]) == 0
    printed, shown = capsys.readouterr().out, demo_output()
    assert [line.split("\t")[0] for line in printed.splitlines()] == [
        line.split("\t")[0] for line in shown.splitlines()
    ]
    # Where nano is unsure, another processor's rounding may tip a word.
    edits = sum(edit.kind != "equal" for edit in align(printed, shown))
    assert edits <= 0.05 * len(shown)


def test_the_readme_tells_what_is_said_in_the_demo() -> None:
    said = {clip: text for clip, text in re.findall(r"^\| ((?:en|zh)-\d) \| (.+) \|$", README, re.MULTILINE)}
    manifest = read_manifest(ROOT / "demo/manifest.jsonl")
    assert said == {Path(one.audio).stem: one.text for one in manifest}
    assert sorted(said) == [clip.stem for clip in CLIPS] and len(CLIPS) == 8


def test_the_first_screen_has_exactly_two_commands() -> None:
    first = "\n".join(README.splitlines()[:40])
    assert re.findall(r"^make \w+", first, re.MULTILINE) == ["make demo", "make test"]


def commands() -> list[tuple[str, str]]:
    return [
        (page, command)
        for page in PAGES
        for command in re.findall(
            r"^nim4 (.+?)(?:\s+#.*)?$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE
        )
    ]


@pytest.mark.parametrize(("page", "command"), commands())
def test_every_command_shown_can_be_parsed(page: str, command: str) -> None:
    parser().parse_args(shlex.split(command))


# Packages that have an environment of their own: tests/serving/test_voice_agents.py runs their examples, and
# tests/bulk/test_cluster.py those with Ray.
ELSEWHERE = r"^from (?:livekit|pipecat)\b|^from nim4asr import bulk\b"


def python_examples() -> list[tuple[str, str]]:
    return [
        (page, example)
        for page in PAGES
        for example in re.findall(
            r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL
        )
        if not re.search(ELSEWHERE, example, re.MULTILINE)
    ]


@pytest.mark.parametrize(("page", "example"), python_examples())
def test_every_python_example_runs(
    page: str, example: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    with served_if_needed(example) as runnable:
        exec(compile(runnable, page, "exec"), {})
    assert capsys.readouterr().out.strip()


@contextmanager
def served_if_needed(example: str) -> Iterator[str]:
    """The example, with a server where it expects one."""
    if "localhost:8000" not in example:
        yield example
        return
    from nim4asr.runtime.loading import load
    from serving.conftest import running

    with running(load()) as server:
        yield example.replace("localhost:8000", f"127.0.0.1:{server.port}")


def test_manifests_shown_are_manifests(tmp_path: Path) -> None:
    (example,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs/training.md").read_text(), re.DOTALL)
    (tmp_path / "m.jsonl").write_text(example, encoding="utf-8")
    assert read_manifest(tmp_path / "m.jsonl")[0].text == json.loads(example)["text"]


def test_requirements_are_lower_bounds_and_pins_live_in_one_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    # An extra may include another one.
    requirements = [one for group in groups for one in group if not one.startswith("nim4asr[")]
    assert all(re.fullmatch(r"[\w-]+>=[\d.]+", one) for one in requirements)
    pins = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    for one in requirements:
        assert f"\n{one.partition('>=')[0].lower().replace('_', '-')}==" in pins
    assert "\ntorch==2.13.0\n" in pins


def test_architecture_names_every_room_and_file() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    source = ROOT / "src/nim4asr"
    tree = page.partition("```\n")[2].partition("```")[0]
    for file in source.rglob("*.py"):
        room = file.parent.name
        if file.name.startswith("__"):
            assert f"{room}/" in tree
        else:
            assert file.name in tree, file


def test_sound_never_flows_up() -> None:
    rooms = [
        "audio",
        "acoustics",
        "text",
        "phonemes",
        "model",
        "hotwords",
        "runtime",
        "recognition",
        "data",
        "evaluation",
        "analysis",
        "training",
        "recipes",
        "serving",
        "bulk",
        "cli",
    ]
    for place, room in enumerate(rooms):
        for file in (ROOT / "src/nim4asr" / room).rglob("*.py"):
            for other in re.findall(r"(?:from|import) nim4asr\.(\w+)", file.read_text(encoding="utf-8")):
                assert other not in rooms[place + 1 :], f"{file} imports {other}"


def test_only_acoustics_and_model_know_what_a_frame_is() -> None:
    # Bins of a feature, seconds of a frame, features of a frame, and the names they once had.
    known = re.compile(
        r"(?<![\w.])0\.04\b|\b(?:frames?|T|B, T|N), 80\)|\(80,\)|MEL_BINS|SUBSAMPLING|FRAME_SECONDS"
        r"|FRAMES_PER_SECOND|4 \* (?:size|chunks\.size) \+ 3|25 frames a second|100 frames a second"
    )
    for file in (ROOT / "src/nim4asr").rglob("*.py"):
        if file.relative_to(ROOT / "src/nim4asr").parts[0] in ("acoustics", "model", "recipes"):
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            found = known.search(line)
            assert found is None or "deletion_rate" in line, f"{file}:{number}: {line}"


@pytest.mark.parametrize("everything", [True, False])
def test_the_commands_of_make_nano_are_commands(tmp_path: Path, everything: bool) -> None:
    # The environment counts as made.
    arguments = ["make", "-n", "-o", ".venv/.installed-dev", "nano", f"RUNS={tmp_path}", "CORPORA=corpora"]
    if everything:
        arguments += ["CLIPS=clips", "ARTICLES=articles"]
    told = subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    lines = [shlex.split(line) for line in told.splitlines()]
    ours = [words for words in lines if words[0].endswith("/nim4")]
    parsed = [parser().parse_args(words[1:]) for words in ours]
    assert [options.command for options in parsed] == ["train"] * 4 + ["average", "export"]
    tools = [words[1] for words in lines if words[0].endswith("/python") and words[1].startswith("tools/")]
    before = ["collect_sentences", "label_speech", "filter_labels"]
    assert tools == ([f"tools/{name}.py" for name in before] if everything else [])
    # Each begins with what the one before it writes, and the mean is of the last two.
    written = [options.output / "model" for options in parsed[:4]]
    assert [Path(options.init_model) for options in parsed[1:4]] == written[:3]
    assert [Path(model) for model in parsed[4].models] == written[2:]
    assert Path(parsed[5].model) == parsed[4].output
