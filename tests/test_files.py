import errno
import multiprocessing
import threading
from pathlib import Path

import pytest

from nim4asr.errors import InputError
from nim4asr.files import (
    append_line,
    atomic_file,
    atomic_folder,
    encoding_of,
    is_unicode,
    locked,
    mended_log,
    parse_json,
    read_text,
    remove_half_written,
    temporary_folder,
    write_atomic,
)


def full(handle: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder/file.txt"
    write_atomic(path, "旧\n")
    assert path.read_text(encoding="utf-8") == "旧\n"
    with pytest.raises(ZeroDivisionError), atomic_file(path, "w") as file:
        file.write(f"ne{1 // 0}")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=r"file\.txt: cannot be written \(No space left"):
        write_atomic(path, "new\n")
    assert [one.read_text(encoding="utf-8") for one in path.parent.iterdir()] == ["旧\n"]


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "model"
    for text in ("old", "new"):
        with atomic_folder(place) as new:
            (new / "a").write_text(text)
            assert not place.exists() or (place / "a").read_text() == "old"
    with pytest.raises(InputError, match="cannot be written"), atomic_folder(place) as new:
        full((new / "a").write_text("torn"))
    assert [one.name for one in tmp_path.iterdir()] == ["model"] and (place / "a").read_text() == "new"


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "\ud800", "a/b/c"])
def test_places_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").write_text("a file, no folder")
    with pytest.raises(InputError, match="cannot be written"):
        write_atomic(tmp_path / name, "text")
    with pytest.raises(InputError, match=r"the list cannot be read|no such list"):
        read_text(tmp_path / name, "list")


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030", "gbk"]
)
def test_texts_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    text = '{"text": "今天天气很好，我们去公园。"}\n{"text": "hello"}\n'
    (tmp_path / "a").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert read_text(tmp_path / "a") == text


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"", "utf-8"),
        (b"plain", "utf-8"),
        # A beginning may end in the middle of a character.
        ("北京".encode()[:-1], "utf-8"),
        ("北京".encode("gbk")[:-1], "gb18030"),
        ("镕喆堃在北京大学看书".encode("gb18030"), "gb18030"),
        (b"a\0b", "utf-8"),
    ],
)
def test_the_encoding_of_a_beginning(data: bytes, encoding: str) -> None:
    assert encoding_of(data) == encoding


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ("Zürich und Köln".encode("cp1252"), "Windows-1252"),
        ("国語の本".encode("shift_jis"), "Shift JIS"),
        (bytes(range(128, 256)) * 2, "no text|Windows|Big5|Shift|EUC"),
    ],
)
def test_an_encoding_that_is_not_read_is_named(tmp_path: Path, data: bytes, named: str) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(
        InputError, match=f"the list cannot be read .*seems to be ({named}); save it as UTF-8"
    ):
        read_text(tmp_path / "a", "list")


def test_json_that_is_none() -> None:
    for text in ("[" * 100_000, "{", "", "9" * 5000):
        with pytest.raises(ValueError, match=r"\w"):
            parse_json(text)
    assert is_unicode("a中\U0001f600") and not is_unicode("a\ud800")


def add_one(path: Path) -> None:
    for _ in range(20):
        with locked(path):
            write_atomic(path, str(int(path.read_text()) + 1))


def test_those_who_lock_lose_no_update(tmp_path: Path) -> None:
    path = tmp_path / "count"
    path.write_text("0")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=add_one, args=(path,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert path.read_text() == "60"


def test_a_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    with temporary_folder() as folder:
        (folder / "file").write_text("a")
    assert not folder.exists()

    def none(*arguments: object, **options: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.mkdtemp", none)
    with pytest.raises(InputError, match="set TMPDIR"), temporary_folder():
        pass


def test_a_lock_lies_beside_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no temporary folder, or one that others may put links into."""
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: (_ for _ in ()).throw(FileNotFoundError("none")))
    path = tmp_path / ("x" * 250)
    with locked(path):
        write_atomic(path, "written")
    (lock,) = set(tmp_path.iterdir()) - {path}
    assert lock.name.startswith(".") and lock.suffix == ".lock"
    # By another name it is the same lock.
    (tmp_path / "link").symlink_to(path)
    with locked(tmp_path / "link"):
        pass
    assert set(tmp_path.iterdir()) == {path, lock, tmp_path / "link"}


def test_a_lock_follows_no_link(tmp_path: Path) -> None:
    path, precious = tmp_path / "file", tmp_path / "precious"
    precious.write_text("kept")
    with locked(path):
        pass
    (lock,) = tmp_path.glob(".*.lock")
    lock.unlink()
    lock.symlink_to(precious)
    with pytest.raises(InputError, match="file: cannot be written"), locked(path):
        pass
    assert precious.read_text() == "kept"


def test_where_no_lock_can_be_made(tmp_path: Path) -> None:
    for place in (tmp_path / "a\0b", Path("/proc/none/file")):
        with pytest.raises(InputError, match="cannot be written"), locked(place):
            pass


def test_threads_wait_for_one_another(tmp_path: Path) -> None:
    path = tmp_path / "count"
    path.write_text("0")
    threads = [threading.Thread(target=add_one, args=(path,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() == "60"


def test_a_log_that_cannot_be_added_to_is_told(tmp_path: Path) -> None:
    append_line(tmp_path / "log", "a\n")
    append_line(tmp_path / "log", "b\n")
    assert (tmp_path / "log").read_text() == "a\nb\n"
    with pytest.raises(InputError, match="No space left"):
        append_line(Path("/dev/full"), "a\n")


def test_a_torn_end_of_a_log_is_taken_away(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    assert mended_log(log) == "" and not log.exists()
    for text, whole in (("a\nb\n", "a\nb\n"), ("a\nb", "a\n"), ("a", ""), ("", "")):
        log.write_text(text, encoding="utf-8")
        assert mended_log(log) == whole == log.read_text(encoding="utf-8")


def test_what_killed_writers_left_is_taken_away(tmp_path: Path) -> None:
    left, kept = [".0123456789ab.new", "inner/.ba9876543210.new"], [".x.new", "a.new", "inner/.0123456789ab"]
    for name in (*left, *kept):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("half")
    (tmp_path / ".aaaaaaaaaaaa.new").mkdir()
    remove_half_written(tmp_path, 3600.0)
    assert len(list(tmp_path.rglob("*"))) == 7
    remove_half_written(tmp_path)
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert found == {*kept, "inner"}
    remove_half_written(tmp_path / "nowhere")


def test_a_lock_that_is_held_is_told_to_whom_does_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nim4asr.files._PATIENCE_S", 0.0)
    with locked(tmp_path / "run", "somebody is at work"):
        with (
            pytest.raises(InputError, match=r"^somebody is at work$"),
            locked(tmp_path / "run", "somebody is at work"),
        ):
            raise AssertionError
        with locked(tmp_path / "other", "somebody is at work"):
            pass
    with locked(tmp_path / "run", "somebody is at work"):
        pass


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a file system that takes no files")
def test_a_lock_that_cannot_be_made_is_not_waited_for() -> None:
    with pytest.raises(InputError, match="cannot be written"), locked(Path("/proc/run")):
        raise AssertionError
