from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from auctionlab.cli.main import COMMANDS, main

SMALL = ["--auctions", "1200"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command says when it refuses: one line, and the status 2."""
    try:
        status = main(arguments)
    except SystemExit as end:
        status = end.code  # type: ignore[assignment]
    assert status == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_two_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert capsys.readouterr().out.count(f"  auctionlab {command}") >= 2


def test_simulate(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "simulate", *SMALL, "--rows", "2")
    assert "1,200 auctions: revenue" in text and text.count("ad ") == 2
    facts = json.loads(run(capsys, "simulate", *SMALL, "--json", "--budget", "5", "--chance", "3"))
    assert len(facts["ads"]) == 9 and all(ad["cost"] <= 5 * (1 + 1e-12) for ad in facts["ads"])
    assert facts["revenue"] == pytest.approx(sum(ad["cost"] for ad in facts["ads"]))


def test_optimum(capsys: pytest.CaptureFixture[str]) -> None:
    assert "hindsight gains at most" in run(capsys, "optimum", *SMALL, "--budget", "60")
    facts = json.loads(run(capsys, "optimum", *SMALL, "--budget", "60", "--json"))
    assert facts["bound"]["bound"] >= facts["constant"]["gain"] > 0
    held = json.loads(run(capsys, "optimum", *SMALL, "--budget", "60", "--ppc-limit", "1.5", "--json"))
    assert held["cost"] <= 1.5 * held["clicks"] * (1 + 1e-6)
    assert "more than the day can take" in run(capsys, "optimum", *SMALL, "--budget", "1e9")


def test_convert_and_use_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "log.csv", tmp_path / "log.parquet"
    source.write_text("auction,time,keyword,ad,click_rate,bid\n1,5,a,x,0.5,2\n1,5,a,y,0.5,1\n")
    assert "auctions 1, candidates 2" in run(capsys, "convert", "canonical", str(source), str(target))
    facts = json.loads(run(capsys, "simulate", "--log", str(target), "--json"))
    assert facts["revenue"] == pytest.approx(0.5)
    assert "name it log.parquet" in refused(capsys, "convert", "canonical", str(source), "log.csv")


def test_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, info = tmp_path / "log.txt.gz", tmp_path / "info.json"
    log.write_bytes(gzip.compress(b"0 3 0.1\n1 1 0.2\n"))
    counts = {"imp_train": 4, "clk_train": 1, "cost_train": 10, "price_counter_train": [0, 1, 3, 2]}
    info.write_text(json.dumps(counts))
    rows = json.loads(run(capsys, "replay", str(log), str(info), "--json", "--budget-share", "1"))
    assert [row["policy"] for row in rows] == ["rlb", "ss-mdp", "mcpc", "lin"]
    assert "published" in run(capsys, "replay", str(log), str(info), "--policy", "lin", "--published")


def test_demo_and_day_shift(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "demo.png"
    text = run(capsys, "demo", "--seeds", "1", "--out", str(picture))
    assert "RMDP: multiplier per hour" in text and picture.read_bytes()[:4] == b"\x89PNG"
    out = tmp_path / "runs"
    command = ["experiment", "day-shift", "--seeds", "1", "--scenario", "same", "--out", str(out)]
    first = run(capsys, *command)
    assert (out / "same.png").is_file()
    assert "go on with --resume" in refused(capsys, *command)
    assert run(capsys, *command, "--resume") == first


def test_the_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "experiment", "day-shift", "--seeds", "1", "--sweep", "eta", "--out", str(tmp_path))
    assert text.splitlines()[1].split() == ["eta", "0", "0.03", "0.1", "0.2", "0.3", "0.5"]
    assert (tmp_path / "eta.png").is_file()


@pytest.mark.parametrize("method", ["rmdp", "amdp"])
def test_train_and_evaluate(method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="learning needs the extra rl")
    agent = str(tmp_path / "agent")
    run(capsys, "train", method, *SMALL, "--episodes", "2", "--out", agent)
    if method == "rmdp":
        text = run(capsys, "evaluate", agent, *SMALL, "--day", "2")
        for name in (
            "agent",
            "constant",
            "paced",
            "PID",
            "dual descent",
            "water level",
            "hindsight, at most",
        ):
            assert name in text
        assert "--day 2 is another" in run(capsys, "evaluate", agent, *SMALL)


def test_train_many_stops_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="learning needs the extra rl")
    state, out = str(tmp_path / "state"), str(tmp_path / "agents")
    command = ["train", "mrmdp", "--auctions", "600", "--ads", "4", "--episodes", "2", "--out", out]
    run(capsys, *command, "--checkpoint", state)
    assert "go on with --resume" in refused(capsys, *command, "--checkpoint", state)
    run(capsys, *command, "--checkpoint", state, "--resume")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simulat"], "there is no simulat; did you mean simulate?"),
        (["experiment", "day-shft"], "did you mean day-shift?"),
        (["simulate", "--mechanism", "gps"], "did you mean gsp?"),
        (["simulate", "--positions", "1,x"], "--positions must be numbers with commas"),
        (["simulate", "--positions", "0.5"], "the first position's effect must be 1"),
        (["simulate", "--reserve", "-1"], "the reserve must be a price of 0 or more"),
        (["simulate", "--ads", "0"], "ads must be at least 1"),
        (["simulate", "--budget", "-5"], "budgets is -5.0 in row 0"),
        (["simulate", "--budget", "nan"], "budgets is nan in row 0"),
        (["simulate", "--chance", "-1"], "the seed must lie between 0"),
        (["simulate", "--log", "none.parquet"], "there is no file none.parquet"),
        (["train", "macg", "--out", "x", "--resume"], "--resume needs --checkpoint"),
        (["train", "macg", "--out", "x", "--auctions", "50", "--manual", "9"], "all advertisers are manual"),
        (["train", "macg", "--out", "x", "--auctions", "50", "--manual", "12"], "--manual must lie between"),
        (["train", "macg", "--out", "x", "--auctions", "50", "--cooperation", "2"], "cooperation must lie"),
        (["train", "macg", "--out", "x", "--auctions", "50", "--threads", "0"], "at least one thread"),
        (["experiment", "collusion", "--floors", "a"], "--floors must be numbers with commas"),
        (["experiment", "collusion", "--floors", "-1", "--seeds", "1"], "a revenue floor must be above 0"),
        (["experiment", "promise", "--manual", "8"], "manual must lie between 0 and 7"),
        (["experiment", "objectives", "--seeds", "0"], "at least one seed is needed"),
        (["report", "nowhere"], "holds no finished experiment"),
        (["simulate", "--day", "-1"], "the seed of a day must be 0 or more"),
        (["optimum"], "--budget"),
        (["optimum", "--budget", "5", "--ad", "77"], "there is no ad 77"),
        (["optimum", "--budget", "-5"], "the budget must be 0 or more"),
        (["replay", "none.txt", "info.json"], "there is no file none.txt"),
        (["evaluate", "none"], "there is no file none"),
        (["train", "rmdp", "--out", "x", "--resume"], "--resume needs --checkpoint"),
        (["experiment", "day-shift", "--resume"], "--resume needs --out"),
        (["experiment", "day-shift", "--seeds", "0"], "at least one seed is needed"),
        (["experiment", "day-shift", "--threads", "0", "--seeds", "1"], "at least one thread"),
        ([], "COMMAND"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, *arguments)


def test_a_missing_extra_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "learning needs torch: pip install 'auctionlab[rl]'" in refused(
        capsys, "train", "rmdp", "--out", "x"
    )


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(run(capsys, "info", "--json"))["auctionlab"] == "0.1.0"
    assert "numba" in run(capsys, "info")


def test_importing_and_help_are_light() -> None:
    heavy = "{'torch', 'gymnasium', 'pettingzoo'}"
    code = f"import sys, auctionlab.cli.main; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_closed_pipe_is_no_fault() -> None:
    command = f"{sys.executable} -m auctionlab.cli.main simulate --auctions 100 | head -1"
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert not re.search("Traceback|BrokenPipe", found.stderr)


def test_games(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    game, state = tmp_path / "game.json", tmp_path / "state.npz"
    few = ["--auctions", "300", "--ads", "4"]
    command = ["train", "macg", *few, "--iterations", "6", "--cooperation", "1", "--out", str(game)]
    facts = json.loads(run(capsys, *command, "--floor", "0.9", "--checkpoint", str(state), "--json"))
    assert facts["revenue"] > 0 and game.is_file()
    assert "go on with --resume" in refused(capsys, *command, "--floor", "0.9", "--checkpoint", str(state))
    assert "surplus" in run(capsys, *command, "--floor", "0.9", "--checkpoint", str(state), "--resume")
    assert "gain by plan" in run(capsys, "evaluate", str(game), *few, "--day", "9")
    assert json.loads(run(capsys, "evaluate", str(game), *few, "--day", "9", "--json"))["manual"] is None
    assert "the game is of 4 ads, but the day has 9" in refused(capsys, "evaluate", str(game))
    assert "the highest floor is" in refused(capsys, *command, "--floor", "9")
    game.write_text("{}")
    assert "is not a game" in refused(capsys, "evaluate", str(game), *few)


@pytest.mark.parametrize("name", ["collusion", "promise", "objectives"])
def test_experiments_with_games_and_their_page(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / name
    command = ["experiment", name, "--seeds", "2", "--iterations", "8", "--out", str(out)]
    floors = ["--floors", "0.9,3"] if name == "collusion" else []
    first = run(capsys, *command, *floors)
    assert "2 worlds, 95 % intervals" in first
    if name == "collusion":
        assert "infeasible" in first and "the highest floor is" in first
    assert run(capsys, *command, *floors, "--resume") == first
    assert run(capsys, "report", str(out)).strip() == str(out / "report.html")
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page and "<table>" in page and "Configuration" in page
    # Nothing is fetched from elsewhere.
    assert not re.search(r"""(src|href)=['"](?!data:)""", page)
    assert "holds no finished experiment" in refused(capsys, "report", str(tmp_path))


def test_manual_ads_have_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(
        capsys,
        "experiment",
        "collusion",
        "--seeds",
        "1",
        "--iterations",
        "4",
        "--floors",
        "0.9",
        "--manual",
        "3",
    )
    assert "3 manual ads" in text
