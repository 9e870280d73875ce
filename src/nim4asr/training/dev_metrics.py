"""What training measures between its steps, on dev utterances: phonemes and, once there is a language model,
words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nim4asr.data.batches import Collator, SampledUtterance, SpeechBatch
from nim4asr.data.store import FeatureStore
from nim4asr.evaluation.error_rate import ErrorCount
from nim4asr.model.decoding import DecodingConfig
from nim4asr.phonemes import TABLE
from nim4asr.phonemes.ctc import greedy_path
from nim4asr.recognition.hypothesis import to_hypothesis
from nim4asr.recognition.search import TextSearch, run
from nim4asr.runtime.torch_network import TorchCache, TorchNetwork
from nim4asr.text.normalization import tokens
from nim4asr.training.model import TrainableModel

_BATCH = 16


@dataclass(frozen=True)
class DevErrors:
    """Errors of the phoneme head's greedy path, and of greedy transcripts in characters (Chinese) and
    words.
    """

    phonemes: ErrorCount
    text: ErrorCount


@torch.no_grad()
def dev_errors(
    model: TrainableModel, store: FeatureStore, collator: Collator, most: int = 100, write: bool = True
) -> DevErrors:
    """Errors over ``most`` utterances, evenly spread over ``store``, each heard whole and without hints.

    Without ``write`` there are no transcripts, and no errors of text.
    """
    network = model.network
    assert network.phoneme_head is not None
    phonemes, text = ErrorCount(), ErrorCount()
    device = next(network.parameters()).device
    entries = store.utterances[:: max(1, len(store.utterances) // most)][:most]
    for start in range(0, len(entries), _BATCH):
        own = entries[start : start + _BATCH]
        batch = collator([SampledUtterance(store, entry) for entry in own]).to(device)
        frames, lengths = network.encoder(batch.features[0], batch.lengths)
        best = network.phoneme_head(frames).argmax(dim=-1)
        for entry, row, length in zip(own, best.tolist(), lengths.tolist(), strict=True):
            heard = TABLE.decode(greedy_path(row[:length]))
            phonemes += ErrorCount.between(TABLE.decode(entry.phonemes), heard)
        if write:
            for entry, written in zip(own, _transcripts(model, batch, frames, lengths), strict=True):
                text += ErrorCount.between(tokens(entry.text), tokens(written))
    return DevErrors(phonemes, text)


def _transcripts(model: TrainableModel, batch: SpeechBatch, frames: Tensor, lengths: Tensor) -> Sequence[str]:
    network, tokenizer, config = model.network, model.tokenizer, DecodingConfig()
    assert network.adaptor is not None
    speech, speech_lengths = network.adaptor(frames, lengths)
    prompt = network.embed_prompts(tokenizer, speech, speech_lengths)
    cache = TorchCache(network.llm)
    slots = [cache.allocate() for _ in batch.texts]
    budgets = [config.max_new_tokens(seconds) for seconds in batch.durations_s]
    searches = [
        TextSearch(cache, tokenizer, config, slot, budget)
        for slot, budget in zip(slots, budgets, strict=True)
    ]
    run(TorchNetwork(network), cache, prompt.rows(), slots, searches)
    best = [search.best for search in searches]
    return [to_hypothesis(tokenizer, beam.tokens, beam.log_probs, config).text for beam in best]
