"""The tool for agents, by the protocol's own client over stdio."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from mcp import ClientSession, StdioServerParameters, stdio_client

from conftest import CLIP_FOLDER
from nim4asr.errors import InputError
from nim4asr.serving.mcp import allowed


def test_an_agent_transcribes_what_it_may() -> None:
    async def talk() -> list[tuple[bool, str]]:
        parameters = StdioServerParameters(
            command=sys.executable, args=["-m", "nim4asr", "mcp", str(CLIP_FOLDER)], env=dict(os.environ)
        )
        answers = []
        async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            assert [tool.name for tool in (await session.list_tools()).tools] == ["transcribe"]
            for arguments in (
                {"path": "zh-1.flac", "names": ["中国人"]},
                {"path": str(CLIP_FOLDER / "en-1.flac"), "words": True},
                {"path": "../README.md"},
            ):
                result = await session.call_tool("transcribe", arguments)
                content = result.content[0]
                answers.append((bool(result.is_error), str(getattr(content, "text", ""))))
        return answers

    text, words, refused = asyncio.run(talk())
    assert text == (False, "他是中国人")
    assert not words[0] and '"text": "what do you want"' in words[1]
    assert refused[0] and "outside the folders" in refused[1]


def test_paths_and_links_outside_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.wav").write_bytes(b"")
    (tmp_path / "in" / "link.wav").symlink_to(tmp_path / "secret.wav")
    roots = [(tmp_path / "in").resolve()]
    assert allowed("a.wav", roots) == roots[0] / "a.wav"
    for path in ("../secret.wav", str(tmp_path / "secret.wav"), "link.wav", "a\0b"):
        with pytest.raises(InputError):
            allowed(path, roots)
