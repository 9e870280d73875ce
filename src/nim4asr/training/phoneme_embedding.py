"""E: what phonemes sound like to a language model, before any encoder has spoken to it.

Trained in text pre-training (``nim4asr.training.stages.text_pretraining``), imitated in alignment. A model
that is trained further has an adaptor that means something already: there E is fitted to it.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from nim4asr.data.batches import SpeechBatch
from nim4asr.model.nim4 import Nim4
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.phonemes import TABLE, tokenize

# The standard deviation of fresh embeddings.
_SCALE = 0.02


class PhonemeEmbedding(nn.Module):
    """E: embeddings of phonemes by their place in a speech token, and the language model under training."""

    def __init__(self, network: Nim4) -> None:
        super().__init__()
        assert network.config.adaptor is not None
        self.stack = network.config.adaptor.stack
        self.llm = network.llm
        sounds = torch.randn(1, len(TABLE), network.config.adaptor.llm_dim)
        places = torch.randn(self.stack, *sounds.shape[1:])
        self.embedding = nn.Parameter((sounds + 0.5 * places) * _SCALE)

    def embed(self, phonemes: Tensor, weights: Tensor) -> Tensor:
        """(B, S, stack, candidates) indices and weights to (B, S, D_llm)."""
        places = torch.arange(self.stack, device=phonemes.device)[:, None]
        return (self.embedding[places, phonemes] * weights[..., None]).sum(dim=(2, 3))

    @torch.no_grad()
    def start_tokens_by_sound(self, tokenizer: Tokenizer) -> None:
        """Set every token's embedding to the sum of its phonemes' and as much noise; silent ones to noise."""
        embeddings = self.llm.get_input_embeddings().weight
        embeddings.normal_(std=_SCALE)
        sounds = self.embedding.mean(dim=0)
        for token in range(len(embeddings)):
            text = tokenizer.decode([token]).strip()
            said = [p for token in tokenize(text) for p in token.phonemes] if text.isalpha() else []
            if said:
                embeddings[token] = embeddings[token] * 0.7 + sounds[TABLE.encode(said)].sum(dim=0) * 0.7

    def embed_posteriors(self, posteriors: Tensor) -> Tensor:
        """Posteriors (B, S * stack, phonemes) to (B, S, D_llm)."""
        grouped = posteriors.reshape(len(posteriors), -1, self.stack, posteriors.shape[2])
        return torch.einsum("bskp,kpd->bsd", grouped, self.embedding)

    @torch.no_grad()
    def fit(self, network: Nim4, batches: Iterable[SpeechBatch], ridge: float = 0.5) -> None:
        """Become the E that comes nearest to ``network``'s adaptor a on ``batches``, by least squares:

            E = argmin  sum |a - e|^2 + ridge |E|^2,   e = sum_k sum_p p_k(p) E[k, p]

        over their speech tokens, with p the phoneme head's posteriors of a token's frames.
        """
        assert network.adaptor is not None and network.phoneme_head is not None
        network.eval()
        size = self.stack * len(TABLE)
        squares = ridge * torch.eye(size, dtype=torch.float64)
        products = torch.zeros(size, self.embedding.shape[2], dtype=torch.float64)
        for batch in batches:
            frames, lengths = network.encoder(batch.features[0], batch.lengths)
            speech, speech_lengths = network.adaptor(frames, lengths)
            whole = speech.shape[1] * self.stack
            posteriors = network.phoneme_head(frames[:, :whole]).exp().reshape(*speech.shape[:2], size)
            valid = torch.arange(speech.shape[1]) < speech_lengths[:, None]
            heard, meant = posteriors[valid].double(), speech[valid].double()
            squares += heard.T @ heard
            products += heard.T @ meant
        self.embedding.copy_(torch.linalg.solve(squares, products).reshape(self.embedding.shape))
