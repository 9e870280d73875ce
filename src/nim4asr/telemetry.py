"""Libraries underneath report on their users unless they are told not to; here they are told.

Each reads its switch when it is imported or starts, so the switches are set before any of them is: by the
package itself, in every process that imports it, and by inheritance in every process that it starts. Whoever
has set a switch already has decided.
"""

import os
import sys

# What each would do otherwise, with the default settings of its newest version:
SWITCHES = {
    # stores a device id and events under ~/.cache/Microsoft, and sends them, from version 1.29 on
    "ORT_DISABLE_TELEMETRY": "1",
    # tells the hub of torch's version and of the program around it, and fetches a list to recognize that by
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # asks the hub to convert weights that are no safetensors, from a thread in the background
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    # send what machine, model and settings they run with
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
}


def switch_off() -> None:
    """Set the switches that nobody has set."""
    decided = "ORT_DISABLE_TELEMETRY" in os.environ
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    # A program that has imported it before us has let it begin; no event is added to those that it has.
    if not decided and (onnxruntime := sys.modules.get("onnxruntime")) is not None:
        onnxruntime.disable_telemetry_events()
