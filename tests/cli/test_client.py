"""``nim4 client`` against a real server."""

from pathlib import Path

import pytest

from conftest import CLIP_FOLDER
from nim4asr.cli.main import main
from nim4asr.errors import InputError
from nim4asr.runtime.loading import load
from nim4asr.serving.client import realtime_url
from nim4asr.serving.configuration import ServerConfig
from serving.conftest import running


def test_a_file_by_a_server(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIM4_API_KEY", "secret")
    with running(load(), ServerConfig(keys=frozenset({"secret"}))) as server:
        clips = [str(CLIP_FOLDER / "en-1.flac"), str(CLIP_FOLDER / "zh-1.flac")]
        for clip, text in zip(clips, ("what do you want", "他是中国人"), strict=True):
            assert main(["client", clip, "--server", server.url, "--hint", "中国人"]) == 0
            assert capsys.readouterr().out == f"{text}\n"
        assert main(["client", clips[0], "--server", server.url, "--hotwords", "nowhere"]) == 1
        assert "no hotword list 'nowhere'" in capsys.readouterr().err
        monkeypatch.setenv("NIM4_API_KEY", "wrong")
        assert main(["client", clips[0], "--server", server.url]) == 1
        assert "401" in capsys.readouterr().err
    assert main(["client", clips[0], "--server", server.url]) == 1
    assert "there is no server to be reached" in capsys.readouterr().err


def test_silence_has_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np
    import soundfile

    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    with running(load()) as server:
        assert main(["client", str(tmp_path / "silence.wav"), "--server", server.url]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("localhost:8000", "ws://localhost:8000/v1/realtime"),
        ("https://asr.example/v1/", "wss://asr.example/v1/realtime"),
        ("http://host:1/prefix", "ws://host:1/prefix/v1/realtime"),
    ],
)
def test_addresses(server: str, url: str) -> None:
    assert realtime_url(server).partition("?")[0] == url


def test_what_is_no_address() -> None:
    with pytest.raises(InputError, match="not the address"):
        realtime_url("ftp://x")
