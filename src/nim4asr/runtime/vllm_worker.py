"""The other end of ``nim4asr.runtime.vllm_process``: vLLM in an environment of its own, asked in lines of
JSON.

Run by that environment's Python, so it imports nothing of nim4asr. Answers go to what was standard output
when it began; whatever vLLM prints goes to standard error.
"""

import json
import os
import sys
from typing import Any

# One process: the weights must be within reach to be replaced.
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    engine: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "load":
                engine = load(engine, request)
                answer: dict[str, Any] = {"ready": True}
            elif request["do"] == "next":
                answer = next_log_probs(engine, request)
            else:
                answer = sample(engine, request)
        except Exception as error:  # Told to the one who asked, who decides.
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def load(engine: Any, request: dict[str, Any]) -> Any:
    """A new engine of the model in the folder ``model``; of one that runs, the weights alone where that is
    possible.
    """
    from safetensors.torch import load_file
    from vllm import LLM
    from vllm.platforms import current_platform

    # On processors vLLM packs the weights when it loads them, and cannot take others into their place.
    if engine is not None and not current_platform.is_cpu():
        weights = load_file(os.path.join(request["model"], "model.safetensors"))
        engine.apply_model(lambda model: model.load_weights(iter(weights.items())) and None)
        engine.reset_prefix_cache()
        return engine
    if engine is not None:
        engine.llm_engine.engine_core.shutdown()

    return LLM(
        request["model"],
        enable_prompt_embeds=True,
        skip_tokenizer_init=True,
        dtype=request["dtype"],
        max_model_len=request["longest"],
        gpu_memory_utilization=request["memory_share"],
        max_logprobs=request.get("most_log_probs", 20),
        enforce_eager=True,
    )


def sample(engine: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Tokens and their log probabilities, for every prompt's samples one after the other."""
    from safetensors.torch import load_file
    from vllm import SamplingParams

    embeddings = load_file(request["prompts"])
    prompts = [{"prompt_embeds": embeddings[str(i)]} for i in range(len(embeddings))]
    parameters = [
        SamplingParams(
            n=request["samples"],
            temperature=request["temperature"],
            max_tokens=budget,
            stop_token_ids=[request["end"]],
            seed=request["seed"] + place,
            logprobs=0,
            detokenize=False,
        )
        for place, budget in enumerate(request["budgets"])
    ]
    written, log_probs = [], []
    for output in engine.generate(prompts, parameters, use_tqdm=False):
        for completion in output.outputs:
            tokens = list(completion.token_ids)
            written.append(tokens)
            log_probs.append(
                [step[token].logprob for step, token in zip(completion.logprobs, tokens, strict=True)]
            )
    return {"written": written, "log_probs": log_probs}


def next_log_probs(engine: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The likeliest next tokens of every prompt, and their log probabilities."""
    from safetensors.torch import load_file
    from vllm import SamplingParams

    embeddings = load_file(request["prompts"])
    prompts = [{"prompt_embeds": embeddings[str(i)]} for i in range(len(embeddings))]
    one_token = SamplingParams(temperature=0.0, max_tokens=1, logprobs=request["top"], detokenize=False)
    rows = []
    for output in engine.generate(prompts, one_token, use_tqdm=False):
        (step,) = output.outputs[0].logprobs
        rows.append([list(step), [entry.logprob for entry in step.values()]])
    return {"rows": rows}


if __name__ == "__main__":
    main()
