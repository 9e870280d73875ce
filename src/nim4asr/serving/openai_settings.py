"""What REST and Realtime have alike of OpenAI's settings: voice activity detection, and names in a prompt."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nim4asr.audio.voice_activity import VoiceActivityConfig
from nim4asr.serving.errors import ApiError

# A prompt is read as a list of names if it looks like one: so many parts, of so many characters at most.
_PROMPT_PARTS, _PROMPT_PART = 20, 40


def names_of_prompt(prompt: str) -> list[str] | None:
    """The names in ``prompt``; None if it is no list of names, and has no effect."""
    parts = [part.strip() for part in prompt.replace("，", ",").replace("、", ",").split(",")]
    if 1 < len(parts) <= _PROMPT_PARTS and all(0 < len(part) <= _PROMPT_PART for part in parts):
        return parts
    return None


def voice_activity_of(
    values: Mapping[str, Any], default: VoiceActivityConfig, param: str
) -> VoiceActivityConfig:
    """OpenAI's ``server_vad`` settings. Raises ``ApiError`` for what cannot be."""
    known = {"type", "threshold", "prefix_padding_ms", "silence_duration_ms"}
    if values.get("type") != "server_vad" or not set(values) <= known:
        raise ApiError(
            400, f"{param} knows server_vad with {', '.join(sorted(known - {'type'}))}", param=param
        )
    try:
        return replace(
            default,
            threshold=_number(values.get("threshold", default.threshold)),
            speech_pad_s=_number(values.get("prefix_padding_ms", default.speech_pad_s * 1000)) / 1000,
            min_silence_s=_number(values.get("silence_duration_ms", default.min_silence_s * 1000)) / 1000,
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise ApiError(400, f"{param}: {error}", "invalid_value", param) from None


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError("expected numbers")
    number = float(value)
    if not 0 <= number <= 1e5:
        raise ValueError("expected numbers from 0 to 100000")
    return number
