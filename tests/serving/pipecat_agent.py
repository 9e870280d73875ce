"""A pipeline of pipecat that hears recordings: what its service heard, and the turns that were made of that.

Run by ``test_voice_agents`` with an interpreter that has the packages. Takes the code that makes ``stt`` on
stdin, and WAV files of 24 kHz; says one after the other, each when the turn of the one before has ended, and
prints a JSON row for each text and each turn.
"""

import asyncio
import json
import sys
import wave

from pipecat.frames.frames import EndFrame, Frame, InputAudioRawFrame, TranscriptionFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

RATE = 24_000
SIZE = RATE // 50


class Heard(FrameProcessor):
    """Tells of texts."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TranscriptionFrame):
            print(json.dumps({"final": frame.text}), flush=True)
        await self.push_frame(frame, direction)


async def main(paths: list[str]) -> None:
    made: dict[str, object] = {}
    exec(sys.stdin.read(), made)
    # Turns end by the server's voice activity detection, however busy the machine is.
    params = LLMUserAggregatorParams(user_turn_stop_timeout=100.0)
    user = LLMContextAggregatorPair(LLMContext(), user_params=params).user()
    turns: asyncio.Queue[str] = asyncio.Queue()
    started, said = asyncio.Event(), [b""]

    @user.event_handler("on_user_turn_stopped")
    async def turn(aggregator: object, strategy: object, message: object) -> None:
        turns.put_nowait(message.content)

    worker = PipelineWorker(
        Pipeline([made["stt"], Heard(), user]),
        params=PipelineParams(audio_in_sample_rate=RATE),
        cancel_on_idle_timeout=False,
    )

    @worker.event_handler("on_pipeline_started")
    async def begun(worker: object, frame: object) -> None:
        started.set()

    async def speak() -> None:
        while True:
            await asyncio.sleep(SIZE / RATE)
            data, said[0] = said[0][: 2 * SIZE], said[0][2 * SIZE :]
            await worker.queue_frame(InputAudioRawFrame(data.ljust(2 * SIZE, b"\0"), RATE, 1))

    async def talk() -> None:
        await started.wait()
        speaking = asyncio.create_task(speak())
        for path in paths:
            with wave.open(path) as file:
                said[0] = file.readframes(file.getnframes())
            print(json.dumps({"turn": await turns.get()}), flush=True)
        speaking.cancel()
        await worker.queue_frame(EndFrame())

    runner = WorkerRunner()
    await runner.add_workers(worker)
    await asyncio.gather(runner.run(), talk())


asyncio.run(main(sys.argv[1:]))
