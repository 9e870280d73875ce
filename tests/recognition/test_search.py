"""The search against Hugging Face's ``generate``, which it must agree with, and under guard."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nim4asr.audio.samples import Floats
from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.prompt import tokens_after, tokens_before
from nim4asr.recognition import fusion
from nim4asr.recognition.fusion import fused_scorer
from nim4asr.recognition.guards import runs_away
from nim4asr.recognition.hypothesis import Hypothesis, to_hypothesis
from nim4asr.recognition.phoneme_scorer import PhonemeScorer
from nim4asr.recognition.search import Beam, Samples, TextSearch, run
from nim4asr.runtime.torch_network import TorchCache, TorchNetwork


def prompt(checkpoint: Checkpoint, length: int, seed: int = 1) -> Floats:
    """Embeddings of a prompt around ``length`` speech embeddings of noise."""
    assert checkpoint.tokenizer is not None
    network = TorchNetwork(checkpoint.network)
    before = network.embed(tokens_before(checkpoint.tokenizer, checkpoint.config.prompt))
    after = network.embed(tokens_after(checkpoint.tokenizer, checkpoint.config.prompt))
    noise = np.random.default_rng(seed).standard_normal((length, before.shape[1]), np.float32)
    return np.concatenate([before, noise, after])


def decode(
    checkpoint: Checkpoint,
    prompts: Sequence[Floats],
    seconds: Sequence[float],
    config: DecodingConfig,
    posteriors: Sequence[Floats] | None = None,
    hints: Sequence[str] = (),
) -> list[Hypothesis]:
    tokenizer = checkpoint.tokenizer
    assert tokenizer is not None
    network, cache = TorchNetwork(checkpoint.network), TorchCache(checkpoint.network.llm)
    slots = [cache.allocate() for _ in prompts]
    searches = []
    for row, (slot, length) in enumerate(zip(slots, seconds, strict=True)):
        guide = fused_scorer(
            tokenizer, config, config.beam_size, posteriors[row] if posteriors else None, hints
        )
        budget = config.max_new_tokens(length)
        searches.append(TextSearch(cache, tokenizer, config, slot, budget, config.beam_size, guide))
    run(network, cache, prompts, slots, searches)
    # Every fork has been given back.
    assert len(cache._free) == len(cache.lengths) - len(prompts)
    return [to_hypothesis(tokenizer, s.best.tokens, s.best.log_probs, config) for s in searches]


def generated(
    checkpoint: Checkpoint, inputs: Floats, seconds: float, config: DecodingConfig, posteriors: Floats | None
) -> Hypothesis:
    """The same by Hugging Face's ``generate``, with guards and guidance as a logits processor."""
    from transformers import LogitsProcessor

    tokenizer, llm = checkpoint.tokenizer, checkpoint.network.llm
    assert tokenizer is not None
    budget, end = config.max_new_tokens(seconds), tokenizer.end
    guide = fused_scorer(tokenizer, config, config.beam_size, posteriors, ())

    class Processor(LogitsProcessor):  # type: ignore[misc]
        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
            scores = scores.clone()
            for row, tokens in enumerate(input_ids.tolist()):
                text = tokenizer.decode(tokens)
                away = runs_away(tokenizer, tokens, text, config)
                if away or len(tokens) >= budget:
                    gain = 0.0 if guide is None else guide.ending(text)
                    own = (-1e4 if away else max(float(scores[row, end]), -1e4)) + gain
                    scores[row] = -torch.inf
                    scores[row, end] = own
                elif guide is not None:
                    found = guide.best([tokens], [text], [0.0], scores[[row]].numpy(), len(tokenizer))
                    scores[row] = -torch.inf
                    for one in found:
                        scores[row, one.token] = one.score
            return scores

    output: Any = llm.generate(
        inputs_embeds=torch.from_numpy(inputs)[None],
        attention_mask=torch.ones(1, len(inputs), dtype=torch.long),
        max_new_tokens=budget + 1,
        num_beams=config.beam_size,
        do_sample=False,
        **({"length_penalty": 0.0} if config.beam_size > 1 else {}),
        eos_token_id=end,
        pad_token_id=end,
        logits_processor=[Processor()],
        return_dict_in_generate=True,
    )
    tokens = output.sequences[0].tolist()
    tokens = tokens[: tokens.index(end) + 1] if end in tokens else tokens
    with torch.no_grad():
        embedded = llm.get_input_embeddings()(torch.tensor(tokens))
        whole = torch.cat([torch.from_numpy(inputs), embedded])[None]
        log_probs = llm(inputs_embeds=whole).logits[0, len(inputs) - 1 : -1].log_softmax(-1)
    own = log_probs[range(len(tokens)), tokens].tolist()
    if len(tokens) > budget:
        tokens, own = tokens[:budget], own[:budget]
    return to_hypothesis(tokenizer, tokens, own, config)


@pytest.mark.parametrize("beams", [1, 2, 5, 8])
@pytest.mark.parametrize("guided", [False, True])
def test_generate_finds_the_same(toy_checkpoint: Checkpoint, beams: int, guided: bool) -> None:
    config = DecodingConfig(beam_size=beams, tokens_per_second=6.0)
    random = np.random.default_rng(beams)
    for seed, seconds in enumerate((0.5, 1.0, 2.0, 3.0)):
        inputs = prompt(toy_checkpoint, 3 + seed, seed)
        logits = 3 * random.standard_normal((25, 256))
        posteriors = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)
        sound = posteriors if guided else None
        (found,) = decode(toy_checkpoint, [inputs], [seconds], config, None if sound is None else [sound])
        expected = generated(toy_checkpoint, inputs, seconds, config, sound)
        assert found.text == expected.text
        assert found.confidence == pytest.approx(expected.confidence, abs=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_texts_together_are_what_each_is_alone(toy_checkpoint: Checkpoint, beams: int) -> None:
    config = DecodingConfig(beam_size=beams)
    inputs = [prompt(toy_checkpoint, 6, 1), prompt(toy_checkpoint, 3, 2)]
    together = decode(toy_checkpoint, inputs, [1.0, 0.5], config)
    for row, seconds in enumerate([1.0, 0.5]):
        (alone,) = decode(toy_checkpoint, [inputs[row]], [seconds], config)
        assert alone.text == together[row].text
        assert alone.confidence == pytest.approx(together[row].confidence, rel=1e-3)
        assert 0 <= alone.confidence <= 1
        assert "".join(token.text for token in alone.tokens).strip() == alone.text


def test_each_sound_guides_its_own_beams(toy_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two prompts alike; one's sound is all for the token 53, the other's for 55: words,
    which may be said again.
    """
    tokenizer = toy_checkpoint.tokenizer
    assert tokenizer is not None
    inputs = [prompt(toy_checkpoint, 6)] * 2
    sounds = [np.zeros((frames, 256), np.float32) for frames in (53, 55)]

    wanted = {53: tokenizer.decode([53]), 55: tokenizer.decode([55])}

    class Scorer(PhonemeScorer):
        def __init__(self, log_probs: Floats, weight: float) -> None:
            self.wanted, self.weight = wanted[len(log_probs)], weight

        def begin(self, texts: Sequence[str]) -> Any:
            self.texts = texts
            return np.zeros(len(texts))

        def gains(self, rows: Sequence[int], longer: Sequence[str | None]) -> Any:
            right = [one == self.texts[row] + self.wanted for row, one in zip(rows, longer, strict=True)]
            return self.weight * (np.array(right) - 1.0)

        def ending(self, text: str) -> float:
            return -self.weight

    monkeypatch.setattr(fusion, "PhonemeScorer", Scorer)

    def texts(posteriors: Any = sounds, **options: Any) -> list[str]:
        config = DecodingConfig(**{"beam_size": 4, "phoneme_weight": 50.0, "candidates": 80, **options})
        return [one.text for one in decode(toy_checkpoint, inputs, [1.0, 1.0], config, posteriors)]

    first, second = texts()
    # Until they would be loops.
    assert first.startswith(tokenizer.decode([53] * 5).strip())
    assert second.startswith(tokenizer.decode([55] * 5).strip())
    for plain in (texts(phoneme_weight=0.0), texts(beam_size=1), texts(posteriors=None)):
        assert plain[0] == plain[1] not in (first, second)


def babbling(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, cycle: Sequence[int]) -> None:
    """Let the language model say ``cycle`` for ever."""
    llm, step = checkpoint.network.llm, [0]
    genuine = llm.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        output = genuine(*args, **kwargs)
        output.logits[:] = -50.0
        output.logits[..., cycle[step[0] % len(cycle)]] = 50.0
        step[0] += 1
        return output

    monkeypatch.setattr(llm, "forward", forward)


def test_the_budget_ends_a_babbler(toy_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = toy_checkpoint.tokenizer
    assert tokenizer is not None
    # All different, so that no loop ends it first.
    words = [i for i in range(5, 60) if i != tokenizer.end]
    babbling(toy_checkpoint, monkeypatch, words)
    config = DecodingConfig(tokens_per_second=4, extra_tokens=2)
    (found,) = decode(toy_checkpoint, [prompt(toy_checkpoint, 4)], [2.0], config)
    assert found.text == tokenizer.decode(words[:10]).strip()


def test_a_loop_is_ended_and_cut(toy_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    assert toy_checkpoint.tokenizer is not None
    babbling(toy_checkpoint, monkeypatch, toy_checkpoint.tokenizer.encode("今天"))
    (found,) = decode(toy_checkpoint, [prompt(toy_checkpoint, 4)], [30.0], DecodingConfig())
    assert found.text == "今天"


def test_a_beam_that_runs_away_wins_nothing(
    toy_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop is by far the likeliest text, and every other is likelier than to end."""
    tokenizer, llm = toy_checkpoint.tokenizer, toy_checkpoint.network.llm
    assert tokenizer is not None
    loop, others = tokenizer.encode("今")[-1], range(20, 40)
    genuine = llm.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        output = genuine(*args, **kwargs)
        output.logits[:] = -30.0
        output.logits[..., list(others)] = 0.0
        output.logits[..., loop] = 5.0
        output.logits[..., tokenizer.end] = -5.0
        return output

    monkeypatch.setattr(llm, "forward", forward)
    config = DecodingConfig(beam_size=4, phoneme_weight=0.0)
    (found,) = decode(toy_checkpoint, [prompt(toy_checkpoint, 4)], [2.0], config)
    # The loop ended for nothing would have been the best text of all.
    assert set(found.text) > {"今"} and len(found.text) > 8


def test_samples_follow_the_odds(toy_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, llm = toy_checkpoint.tokenizer, toy_checkpoint.network.llm
    assert tokenizer is not None
    genuine = llm.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        output = genuine(*args, **kwargs)
        output.logits[:] = -50.0
        # Odds of 1 to 2 at temperature 1, of 1 to 4 at a half.
        output.logits[..., 30] = 0.0
        output.logits[..., 31] = np.log(2.0)
        return output

    monkeypatch.setattr(llm, "forward", forward)
    for temperature, share in ((1.0, 2 / 3), (0.5, 4 / 5)):
        cache = TorchCache(llm)
        samples = Samples(
            cache, cache.allocate(), tokenizer.end, 20, 60, temperature, np.random.default_rng(0)
        )
        run(TorchNetwork(toy_checkpoint.network), cache, [prompt(toy_checkpoint, 3)], [0], [samples])
        drawn = [token for tokens in samples.written for token in tokens]
        assert len(drawn) == 20 * 60 and set(drawn) == {30, 31}
        assert abs(drawn.count(31) / len(drawn) - share) < 0.04
        assert len(cache._free) == len(cache.lengths) - 1


def test_a_search_is_greedy_unless_it_is_told_otherwise(toy_checkpoint: Checkpoint) -> None:
    assert toy_checkpoint.tokenizer is not None
    cache = TorchCache(toy_checkpoint.network.llm)
    search = TextSearch(cache, toy_checkpoint.tokenizer, DecodingConfig(), cache.allocate(), 9)
    log_probs = np.full((1, len(toy_checkpoint.tokenizer)), -9.0, np.float32)
    log_probs[0, [5, 6]] = -0.7, -0.8
    search.accept(log_probs)
    assert [token for _, token in search.pending()] == [5] and search.best.tokens == [5]


def test_a_language_that_there_is_none_of() -> None:
    with pytest.raises(InputError, match="the language of texts is zh or en, not 'fr'"):
        DecodingConfig(language="fr")  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(4))
def test_more_texts_wanted_leave_the_best_one_and_fall_in_score(
    toy_checkpoint: Checkpoint, seed: int
) -> None:
    tokenizer = toy_checkpoint.tokenizer
    assert tokenizer is not None
    network, cache = TorchNetwork(toy_checkpoint.network), TorchCache(toy_checkpoint.network.llm)

    def searched(beams: int, wanted: int) -> list[Beam]:
        slot = cache.allocate()
        search = TextSearch(cache, tokenizer, DecodingConfig(), slot, 12, beams, wanted=wanted)
        run(network, cache, [prompt(toy_checkpoint, 6, seed)], [slot], [search])
        cache.free(slot)
        assert search.best.tokens == search.ranked[0].tokens
        return search.ranked

    one, all_ = searched(6, 1), searched(6, 6)
    assert (all_[0].tokens, all_[0].score) == (one[0].tokens, one[0].score)
    scores = [beam.score for beam in all_]
    assert len(all_) == 6 >= len(one) and scores == sorted(scores, reverse=True)
    # Without phonemes and hints a score is the text's own probability, its end or its being cut included.
    for beam in all_:
        assert beam.tokens[-1] != tokenizer.end or beam.score == pytest.approx(sum(beam.log_probs), abs=1e-4)
    # One beam has a score too.
    (greedy,) = searched(1, 1)
    assert greedy.score == pytest.approx(sum(greedy.log_probs))
