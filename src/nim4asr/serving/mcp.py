"""A tool for agents, by the Model Context Protocol over stdio: transcribe a file below the folders it is
given.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from nim4asr.errors import InputError
from nim4asr.recognition.offline import Recognizer
from nim4asr.recognition.writers import segment_row


def mcp_server(recognizer: Recognizer, folders: Sequence[Path]) -> MCPServer:
    """A server with the tool ``transcribe``; files elsewhere than below ``folders`` are refused."""
    roots = [folder.resolve() for folder in folders]
    server = MCPServer("nim4asr", instructions="Transcribes Mandarin and English speech from audio files.")

    @server.tool(structured_output=False)
    def transcribe(path: str, names: list[str] | None = None, words: bool = False) -> str:
        """Transcribe an audio file.

        path: the file, below one of this server's folders, absolute or relative to the first of them.
        names: names of people, places or products that may be said, at most 20.
        words: answer with JSON of segments and words with their times, instead of the text.
        """
        try:
            transcript = recognizer.transcribe(allowed(path, roots), hints=names or ())
        except InputError as error:
            # Other errors are told without their sentence.
            raise ToolError(str(error)) from None
        if words:
            return json.dumps([segment_row(segment) for segment in transcript.segments], ensure_ascii=False)
        return transcript.text

    return server


def allowed(path: str, roots: Sequence[Path]) -> Path:
    """The file, links followed. Raises ``InputError`` if it is not below one of ``roots``."""
    try:
        file = (roots[0] / path).resolve()
    except (OSError, ValueError):
        raise InputError(f"{path!r} is no path") from None
    if not any(file.is_relative_to(root) for root in roots):
        raise InputError(f"{path}: outside the folders of this server")
    return file
