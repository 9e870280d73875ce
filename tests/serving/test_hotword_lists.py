"""Lists in a folder that several servers share."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from nim4asr.hotwords.index import HotwordIndex
from nim4asr.serving.errors import ApiError
from nim4asr.serving.hotword_lists import HotwordLists
from serving.conftest import PATIENCE_S, Log
from serving.test_application import ask
from serving.test_running import Command


def names(lists: HotwordLists) -> dict[str, list[str]]:
    return {one.name: sorted(one.index.texts()) for one in lists.all()}


def test_what_one_is_given_the_others_have(tmp_path: Path) -> None:
    one, two = HotwordLists(tmp_path), HotwordLists(tmp_path)
    one.put("people", "张伟东\n".encode())
    assert names(two) == {"people": ["张伟东"]} and two.get("people").index.texts()
    held = two.get("people")
    two.put("people", "李小龙\n重庆\n".encode())
    assert sorted(one.get("people").index.texts()) == ["李小龙", "重庆"]
    # Who has a list keeps it as it was.
    assert list(held.index.texts()) == ["张伟东"]
    one.put("places", "北京\n".encode())
    two.delete("people")
    for lists in (one, two, HotwordLists(tmp_path)):
        assert names(lists) == {"places": ["北京"]}
        with pytest.raises(ApiError) as raised:
            lists.get("people")
        assert raised.value.status == 404


def test_lists_given_at_the_start_are_no_matter_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("张伟东\n", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    lists = HotwordLists(tmp_path / "folder", {"own": tmp_path / "names.txt"})
    assert names(lists) == {"own": ["张伟东"]} and lists.get("own").created
    HotwordLists(tmp_path / "folder").put("other", "北京\n".encode())
    assert set(names(lists)) == {"own", "other"}


def test_a_file_that_is_being_copied_changes_nothing(tmp_path: Path, log: Log) -> None:
    lists = HotwordLists(tmp_path)
    lists.put("people", "张伟东\n".encode())
    whole = (tmp_path / "people.db").read_bytes()
    copy = tmp_path / "people.db.copy"
    copy.write_bytes(whole[: len(whole) // 2])
    os.replace(copy, tmp_path / "people.db")
    for _ in range(3):
        assert list(lists.get("people").index.texts()) == ["张伟东"]
    assert len(log.records) == 1 and "cannot be read" in log.records[0].getMessage()
    copy.write_bytes(whole)
    os.replace(copy, tmp_path / "people.db")
    assert list(lists.get("people").index.texts()) == ["张伟东"] and len(log.records) == 1


@pytest.mark.parametrize("name", ["..", "a/b", "a.b", "", "x" * 65, "a\0b", "é"])
def test_names_that_are_no_files(tmp_path: Path, name: str) -> None:
    lists = HotwordLists(tmp_path / "lists")
    (tmp_path / "b.db").write_bytes(b"")
    for act in (lists.get, lists.delete, lambda name: lists.put(name, "张伟东\n".encode())):
        with pytest.raises(ApiError):
            act(name)


@pytest.mark.slow
def test_two_servers_with_one_folder(tmp_path: Path) -> None:
    with (
        Command("--hotwords-dir", str(tmp_path)) as first,
        Command("--hotwords-dir", str(tmp_path)) as second,
    ):
        servers: list[Any] = [first, second]
        assert ask(servers[0], "PUT", "/v1/hotwords/people", "张伟东\n".encode())[0] == 200
        assert ask(servers[1], "GET", "/v1/hotwords/people")[1]["names"] == 1
        assert ask(servers[1], "DELETE", "/v1/hotwords/people")[0] == 200
        assert ask(servers[0], "GET", "/v1/hotwords/people")[0] == 404
        assert ask(servers[0], "GET", "/v1/hotwords")[1]["data"] == []


def test_a_list_that_another_server_removes_while_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was kept, and is gone afterwards."""
    one, other = HotwordLists(tmp_path), HotwordLists(tmp_path)
    one.put("people", "张伟\n".encode())
    genuine, removing = HotwordIndex.save, list[threading.Thread]()

    def save(index: HotwordIndex, path: Path) -> None:
        genuine(index, path)
        removing.append(threading.Thread(target=other.delete, args=("people",)))
        removing[0].start()
        # It waits; if it did not, it would be done by then.
        removing[0].join(0.5)

    monkeypatch.setattr(HotwordIndex, "save", save)
    assert one.put("people", "王芳\n".encode()).name == "people"
    removing[0].join(PATIENCE_S)
    with pytest.raises(ApiError, match="no hotword list"):
        one.get("people")
