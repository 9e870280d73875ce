from pathlib import Path

import pytest

from nim4asr.files import write_whole


def test_a_file_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder/file.txt"
    write_whole(path, "旧\n")
    assert path.read_text(encoding="utf-8") == "旧\n"

    def torn(self: Path, text: str, **_: str) -> int:
        self.write_bytes(text.encode()[:1])
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", torn)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, "new\n")
    assert path.read_text(encoding="utf-8") == "旧\n"
