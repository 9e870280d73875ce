"""The library where this or that is missing, as in the sandbox of a systemd unit and on AWS Lambda."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CLIP = ROOT / "tests/clips/zh-1.flac"


def has_namespaces() -> bool:
    unshare = shutil.which("unshare")
    return (
        unshare is not None and subprocess.run([unshare, "-m", "true"], capture_output=True).returncode == 0
    )


pytestmark = pytest.mark.skipif(not has_namespaces(), reason="needs mount namespaces")

# Everything is read-only but the folder ``work``; there is no home.
READ_ONLY = """
mount --make-rprivate /
mount --bind {work} {work}
for place in $(awk '$5 != "{work}" {{print $5}}' /proc/self/mountinfo | sort -u); do
    case $place in /proc*|/sys*) continue;; esac
    mount -o remount,ro,bind $place 2>/dev/null
done
export HOME=/proc/none
"""
NO_TEMPORARY = "unset TMPDIR TEMP TMP\n"
NO_SHARED_MEMORY = "mount --make-rprivate /\nmount -t tmpfs -o ro none /dev/shm\n"


def run(work: Path, place: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``nim4`` with the arguments, in a mount namespace in which ``place`` was run."""
    script = work / "place.sh"
    script.write_text(place.format(work=work) + f'cd {work}\nexec "$@"\n')
    nim4 = [sys.executable, "-B", "-m", "nim4asr", *arguments]
    return subprocess.run(
        ["unshare", "-m", "bash", script, *nim4],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(work)},
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "names.txt").write_text("中国人\n公园\n", encoding="utf-8")
    return tmp_path


def test_hotwords_in_a_read_only_installation_without_a_home(work: Path) -> None:
    done = run(work, READ_ONLY, "transcribe", str(CLIP), "--hotwords", "names.txt")
    assert (done.returncode, done.stderr) == (0, "") and "中国人" in done.stdout


def test_a_list_is_changed_where_nothing_else_can_be_written(work: Path) -> None:
    assert run(work, "", "hotwords", "build", "names.txt", "-o", "names.db").returncode == 0
    done = run(work, READ_ONLY + NO_TEMPORARY, "hotwords", "add", str(work / "names.db"), "张伟")
    assert (done.returncode, done.stderr) == (0, "")
    done = run(work, READ_ONLY + NO_TEMPORARY, "transcribe", str(CLIP), "--hotwords", "names.db")
    assert (done.returncode, done.stderr) == (0, "") and "中国人" in done.stdout
    # And one that cannot be is told of.
    done = run(work, READ_ONLY, "hotwords", "add", str(ROOT / "names.db"), "张伟")
    assert done.returncode == 1 and "Traceback" not in done.stderr and done.stderr.count("\n") == 1


def test_processes_without_shared_memory(work: Path) -> None:
    many = [
        a + b + c
        for a in "赵钱孙李周吴郑王冯陈"
        for b in "伟东明国华丽芳军杰强"
        for c in "伟东明国华丽芳军杰强"
    ]
    (work / "many.txt").write_text("\n".join(many * 2 + many), encoding="utf-8")
    done = run(work, NO_SHARED_MEMORY, "hotwords", "build", "many.txt", "-o", "many.db", "--workers", "2")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert '"names": 1000' in done.stdout
