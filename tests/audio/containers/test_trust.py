"""A file of sound opens no other file and no port, whatever it says it is."""

import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from audio.containers.making import LOW, muxed, tone
from nim4asr.audio.containers import ffmpeg
from nim4asr.audio.containers.ffmpeg import DEMUXERS, ffmpeg_sounds
from nim4asr.audio.containers.stretches import NotAudioError, Spliced
from nim4asr.audio.reading import read_audio
from nim4asr.errors import InputError

av = pytest.importorskip("av")

SDP = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\na=recvonly\n"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """How PyAV is asked to open files."""
    calls: list[dict[str, Any]] = []
    genuine = av.open

    def record(file: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(options)
        return genuine(file, *arguments, **options)

    monkeypatch.setattr(av, "open", record)
    return calls


def playlists(folder: Path) -> dict[str, bytes]:
    other = folder / "other.wav"
    return {
        "sdp": SDP,
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{other}\n#EXT-X-ENDLIST\n".encode(),
        "hls by http": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile '{other}'\n".encode(),
        "dash": b'<?xml version="1.0"?><MPD><Period><BaseURL>http://127.0.0.1:9/</BaseURL></Period></MPD>',
        "m3u": f"{other}\n".encode(),
        "image sequence": b"%d.png",
        "lavfi": b"sine=frequency=400:duration=1",
    }


@pytest.mark.parametrize(
    "kind", ["sdp", "hls", "hls by http", "concat", "dash", "m3u", "image sequence", "lavfi"]
)
@pytest.mark.parametrize("name", ["a.m4a", "a.mp4", "a.webm", "a.aac", "a.sdp", "a.m3u8"])
def test_what_names_other_places_is_no_sound(
    kind: str, name: str, tmp_path: Path, opened: list[dict[str, Any]]
) -> None:
    (tmp_path / "other.wav").write_bytes(muxed("wav", "pcm_s16le", (0, tone(LOW, rate=48_000))))
    path = tmp_path / name
    path.write_bytes(playlists(tmp_path)[kind])
    opened.clear()
    with pytest.raises(InputError, match="not audio"):
        read_audio(path)
    assert opened == []


@pytest.mark.parametrize("kind", ["sdp", "hls", "hls by http", "concat", "dash", "m3u"])
@pytest.mark.parametrize("demuxer", DEMUXERS)
def test_no_demuxer_follows_them(kind: str, demuxer: str, tmp_path: Path) -> None:
    """Nor where the file's first bytes are those of a container."""
    (tmp_path / "other.wav").write_bytes(muxed("wav", "pcm_s16le", (0, tone(LOW, rate=48_000))))
    path = tmp_path / "a"
    with socket.create_server(("127.0.0.1", 0)) as listener, path.open("wb+") as file:
        text = playlists(tmp_path)[kind].replace(
            b"127.0.0.1:9/", b"127.0.0.1:%d/" % listener.getsockname()[1]
        )
        file.write(text)
        listener.settimeout(0.0)
        with pytest.raises(NotAudioError):
            list(ffmpeg_sounds(Spliced(file, [(0, len(text))]), demuxer))
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_the_format_is_always_given(opened: list[dict[str, Any]]) -> None:
    for format, codec, demuxer in (
        ("mp4", "aac", "mov"),
        ("webm", "libopus", "matroska"),
        ("adts", "aac", "aac"),
    ):
        read_audio(muxed(format, codec, (0, tone(LOW, rate=48_000))))
        # Twice: the file is made by the same function.
        options = opened[-1]
        assert options["format"] == demuxer and options["io_open"] is ffmpeg._refuse
        assert options["container_options"]["protocol_whitelist"] == ""


def test_a_track_in_another_file_is_not_opened(tmp_path: Path) -> None:
    """QuickTime's data references may name a file; FFmpeg would follow those that lie beside the first."""
    sound = tmp_path / "sound.raw"
    data = muxed("mov", "pcm_s16le", (0, tone(LOW, rate=48_000)))
    place = data.index(b"dref")
    entry = data.index(b"url \0\0\0\x01", place) - 4
    name = b"file:" + str(sound).encode() + b"\0"
    reference = (12 + len(name)).to_bytes(4, "big") + b"url \0\0\0\0" + name
    moved = data[:entry] + reference + data[entry + 12 :]
    sound.write_bytes(data)
    with suppress(InputError):
        assert not read_audio(moved).any()


def test_decoders_that_are_not_known_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    data = muxed("webm", "libopus", (0, tone(LOW, rate=48_000)))
    assert len(read_audio(data)) > 15_000
    monkeypatch.setattr(ffmpeg, "DECODERS", ffmpeg.DECODERS - {"opus", "libopus"})
    with pytest.raises(InputError, match="opus is not decoded here"):
        read_audio(data)
