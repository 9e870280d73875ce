"""How alike two encoders hear: linear centred kernel alignment (CKA) of their frames.

    CKA = |<Ka, Kb>| / sqrt(<Ka, Ka> <Kb, Kb>),   K = C E E^T C

with frames E (N, D) and the centring matrix C (Kornblith et al. 2019). In feature space, which is equal and
cheaper, <Ka, Kb> is the squared Frobenius norm of Ea^T Eb of the centred frames. 1 for frames that differ by
a rotation, a scale and a shift only.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nim4asr.data.batches import Collator, SampledUtterance, SpeechBatch
from nim4asr.data.store import FeatureStore
from nim4asr.model.encoders import Encoder
from nim4asr.model.shapes import ChunkScheme


def linear_cka(one: Tensor, other: Tensor) -> float:
    """The CKA of frames (N, D) and (N, D'). Raises ``ValueError`` if they are not as many."""
    if len(one) != len(other):
        raise ValueError(f"the frames of one are {len(one)}, of the other {len(other)}")
    a, b = (x.double() - x.double().mean(dim=0) for x in (one, other))
    cross = (a.T @ b).square().sum()
    alone = (a.T @ a).norm() * (b.T @ b).norm()
    return float(cross / alone) if float(alone) > 0 else 0.0


def evaluation_batches(
    stores: Sequence[FeatureStore], collator: Collator, utterances: int, size: int = 8
) -> list[SpeechBatch]:
    """A fixed evaluation set: ``utterances`` evenly spread over each of ``stores``, unaugmented."""
    batches = []
    for store in stores:
        entries = store.utterances[:: max(1, len(store.utterances) // utterances)][:utterances]
        for start in range(0, len(entries), size):
            batches.append(
                collator([SampledUtterance(store, entry) for entry in entries[start : start + size]])
            )
    return batches


@torch.no_grad()
def frames_of(encoder: Encoder, batches: Sequence[SpeechBatch], chunks: ChunkScheme | None = None) -> Tensor:
    """The frames (N, D) of all utterances of ``batches``, padding left out, on the processor."""
    training = encoder.training
    encoder.eval()
    frames = torch.cat(list(_frames(encoder, batches, chunks)))
    encoder.train(training)
    return frames


def _frames(encoder: Encoder, batches: Sequence[SpeechBatch], chunks: ChunkScheme | None) -> Iterator[Tensor]:
    device = next(encoder.parameters()).device
    for batch in batches:
        out, lengths = encoder(batch.features[0].to(device), batch.lengths.to(device), chunks)
        for row, length in zip(out, lengths.tolist(), strict=True):
            yield row[:length].float().cpu()
