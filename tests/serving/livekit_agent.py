"""An agent of LiveKit that hears recordings: what its session heard, and the turns that it made of that.

Run by ``test_voice_agents`` with an interpreter that has the packages. Takes the code that makes ``session``
on stdin, and WAV files of 24 kHz; says one after the other, each when the turn of the one before has ended,
and prints a JSON row for each text and each turn.
"""

import asyncio
import json
import sys
import wave

from livekit import rtc
from livekit.agents import Agent, io, llm
from livekit.agents.utils import http_context

RATE = 24_000
SIZE = RATE // 50


class Voice(io.AudioInput):
    """A participant who says what ``say`` is given, and is silent otherwise."""

    def __init__(self) -> None:
        super().__init__(label="voice")
        self._data = b""

    def say(self, path: str) -> None:
        with wave.open(path) as file:
            self._data = file.readframes(file.getnframes())

    async def __anext__(self) -> rtc.AudioFrame:
        await asyncio.sleep(SIZE / RATE)
        data, self._data = self._data[: 2 * SIZE], self._data[2 * SIZE :]
        return rtc.AudioFrame(data.ljust(2 * SIZE, b"\0"), RATE, 1, SIZE)


class Listener(Agent):
    """Tells of turns, and answers none."""

    def __init__(self) -> None:
        super().__init__(instructions="listen")
        self.turns: asyncio.Queue[str | None] = asyncio.Queue()

    async def on_user_turn_completed(self, turn_ctx: llm.ChatContext, new_message: llm.ChatMessage) -> None:
        self.turns.put_nowait(new_message.text_content)


async def main(paths: list[str]) -> None:
    made: dict[str, object] = {}
    exec(sys.stdin.read(), made)
    session, agent, voice = made["session"], Listener(), Voice()

    @session.on("user_input_transcribed")
    def heard(event: object) -> None:
        if event.is_final:
            print(json.dumps({"final": event.transcript}), flush=True)

    session.input.audio = voice
    async with http_context.open():
        await session.start(agent=agent)
        for path in paths:
            voice.say(path)
            print(json.dumps({"turn": await agent.turns.get()}), flush=True)
        await session.aclose()


asyncio.run(main(sys.argv[1:]))
