"""Entropy allocation: which uncertainty an encoder takes away, and which it leaves to the language model.

Three metrics under the names of the companion paper (arXiv 2604.08003), whose formulas are not public in
full; these are ours:

- NSE, normalized spectral entropy of frames E (N, D): the eigenvalues l_i of their covariance,
  p_i = l_i / sum l, and -sum p log p / log D. 0 for frames on a line, 1 for frames spread evenly.
- PAI, phonetic accessible information: (H(P) - CE(P | E)) / H(P), with the cross entropy of a small probe
  that reads the phoneme P of a frame from the frame.
- CSAI, conditional semantic accessible information: (CE(W | P) - CE(W | P, E)) / CE(W | P), with two equal
  probes that read the character or word W of a frame, one given the phonemes around it, one given these and
  the frame. High where the encoder tells homophones apart, which is the language model's task.

A well-allocated encoder has low NSE, high PAI and low CSAI. Phonemes and words are placed by forced alignment
of the phoneme head. A probe is trained on most utterances, stopped by others, and judged on a third set,
which it was neither trained on nor stopped by.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nim4asr.acoustics.frontend import features_of
from nim4asr.audio.samples import Floats
from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.phonemes import BLANK, TABLE, tokenize
from nim4asr.phonemes.ctc import force_align
from nim4asr.text.spoken import spoken_form

# Phonemes that a probe of words sees: those before the word, its own, those after it.
_BEFORE, _OWN, _AFTER = 2, 6, 2
# Fewer words or phonemes than this tell nothing of an encoder.
_LEAST = 50
# The parts of the utterances; the first are trained on.
_STOPPED_BY, _JUDGED = 1, 2


@dataclass(frozen=True)
class ProbeConfig:
    """The probes: a hidden layer of ``hidden``, trained for ``steps`` of ``batch`` samples; every
    ``held_out``-th utterance judges them, and each one after such says when to stop. Words are the ``words``
    commonest.
    """

    hidden: int = 128
    steps: int = 400
    batch: int = 256
    held_out: int = 5
    words: int = 500
    learning_rate: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.held_out < 3:
            raise ValueError(
                "a third set and two others need at least three utterances: held_out must be 3 or more"
            )


@dataclass(frozen=True)
class EntropyMetrics:
    """The metrics of one checkpoint over ``frames`` frames; ``cka`` is the similarity to the first checkpoint
    given.
    """

    name: str
    frames: int
    nse: float
    pai: float
    csai: float
    cka: float


@dataclass(frozen=True, eq=False)
class Said:
    """One word with its sounds: the phonemes in its window (10,), which word it is, and its frames in the
    utterance.
    """

    phonemes: tuple[int, ...]
    word: str
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Aligned:
    """One utterance: its features (T, bins), where each phoneme was said (phoneme, frame), and its words."""

    features: Floats
    phonemes: tuple[tuple[int, int], ...]
    words: tuple[Said, ...]


def spectral_entropy(frames: Tensor) -> float:
    """NSE of ``frames`` (N, D)."""
    centred = frames.double() - frames.double().mean(dim=0)
    values = torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0)
    total = float(values.sum())
    if total <= 0 or frames.shape[1] < 2:
        return 0.0
    p = values / total
    return float(-(p * p.clamp(min=1e-30).log()).sum() / math.log(frames.shape[1]))


@torch.no_grad()
def align_utterance(checkpoint: Checkpoint, samples: Floats, text: str) -> Aligned | None:
    """Where the phonemes and words of ``text`` lie in ``samples`` (N,), by the checkpoint's phoneme head.

    None if the text has no pronunciation or does not fit into the audio.
    """
    network = checkpoint.network
    if network.phoneme_head is None:
        raise InputError(f"{checkpoint.config.name!r} has no phoneme head to place phonemes with")
    tokens = [token for token in tokenize(spoken_form(text)) if token.phonemes]
    labels = TABLE.encode(p for token in tokens for p in token.phonemes)
    features = features_of(samples, checkpoint.config.features)
    if not len(features):
        return None
    frames = frames_of_one(checkpoint, features)
    spans = force_align(network.phoneme_head(frames[None])[0].float().numpy(), labels)
    if spans is None:
        return None
    words, place = [], 0
    padded = [BLANK] * _BEFORE + labels + [BLANK] * (_OWN + _AFTER)
    for token in tokens:
        size = len(token.phonemes)
        own = labels[place : place + min(size, _OWN)]
        after = padded[_BEFORE + place + size :][:_AFTER]
        window = (*padded[place : place + _BEFORE], *own, *[BLANK] * (_OWN - len(own)), *after)
        start, end = spans[place].start, spans[place + size - 1].end
        words.append(Said(window, token.text.lower(), start, end))
        place += size
    said = tuple((label, (span.start + span.end) // 2) for label, span in zip(labels, spans, strict=True))
    return Aligned(features, said, tuple(words))


@torch.no_grad()
def frames_of_one(checkpoint: Checkpoint, features: Floats) -> Tensor:
    """The encoder's frames (T', D) of features (T, bins)."""
    normalized = torch.from_numpy(checkpoint.normalization(features))[None]
    frames, lengths = checkpoint.network.encoder(normalized, torch.tensor([normalized.shape[1]]))
    out: Tensor = frames[0, : int(lengths[0])].float()
    return out


def measure(
    name: str,
    checkpoint: Checkpoint,
    utterances: Sequence[Aligned],
    reference: Tensor | None = None,
    config: ProbeConfig | None = None,
) -> tuple[EntropyMetrics, Tensor]:
    """The metrics of ``checkpoint`` and its frames (N, D), of which ``reference`` holds those of another.

    Raises ``InputError`` if the utterances are too few to train a probe on.
    """
    from nim4asr.analysis.similarity import linear_cka

    config = config or ProbeConfig()
    heard = [frames_of_one(checkpoint, utterance.features) for utterance in utterances]
    frames = torch.cat(heard)
    metrics = EntropyMetrics(
        name,
        len(frames),
        spectral_entropy(frames),
        _phonetic(heard, utterances, config),
        _semantic(heard, utterances, config),
        1.0 if reference is None else linear_cka(reference, frames),
    )
    return metrics, frames


def _phonetic(heard: Sequence[Tensor], utterances: Sequence[Aligned], config: ProbeConfig) -> float:
    """PAI."""
    rows: tuple[list[Tensor], ...] = ([], [], [])
    labels: tuple[list[int], ...] = ([], [], [])
    for number, (frames, utterance) in enumerate(zip(heard, utterances, strict=True)):
        part = _part(number, config)
        for phoneme, frame in utterance.phonemes:
            rows[part].append(frames[min(frame, len(frames) - 1)])
            labels[part].append(phoneme)
    if min(map(len, labels)) < _LEAST:
        raise InputError(f"{len(utterances)} utterances hold too few phonemes for a probe; give more of them")
    inputs = [torch.stack(row) for row in rows]
    asked = [torch.tensor(label) for label in labels]
    entropy = _entropy(asked[_JUDGED])
    torch.manual_seed(config.seed)
    probe = nn.Sequential(
        nn.Linear(inputs[0].shape[1], config.hidden), nn.ReLU(), nn.Linear(config.hidden, len(TABLE))
    )
    mean, scale = inputs[0].mean(dim=0), inputs[0].std(dim=0) + 1e-5
    loss = _fit(probe, [(rows - mean) / scale for rows in inputs], asked, config)
    return (entropy - loss) / entropy


def _semantic(heard: Sequence[Tensor], utterances: Sequence[Aligned], config: ProbeConfig) -> float:
    """CSAI."""
    counts = Counter(word.word for utterance in utterances for word in utterance.words)
    index = {word: place for place, (word, _) in enumerate(counts.most_common(config.words))}
    windows: tuple[list[tuple[int, ...]], ...] = ([], [], [])
    rows: tuple[list[Tensor], ...] = ([], [], [])
    labels: tuple[list[int], ...] = ([], [], [])
    for number, (frames, utterance) in enumerate(zip(heard, utterances, strict=True)):
        part = _part(number, config)
        for said in utterance.words:
            if said.word in index:
                windows[part].append(said.phonemes)
                rows[part].append(frames[said.start : max(said.end, said.start + 1)].mean(dim=0))
                labels[part].append(index[said.word])
    if min(map(len, labels)) < _LEAST:
        raise InputError(f"{len(utterances)} utterances hold too few words for a probe; give more of them")
    frames_of = [torch.stack(row) for row in rows]
    mean, scale = frames_of[0].mean(dim=0), frames_of[0].std(dim=0) + 1e-5
    asked = [torch.tensor(label) for label in labels]
    losses = []
    for with_frames in (0.0, 1.0):
        # Two equal probes: the one without frames reads zeros in their place.
        inputs = [
            torch.cat([torch.tensor(window).float(), (one - mean) / scale * with_frames], dim=1)
            for window, one in zip(windows, frames_of, strict=True)
        ]
        torch.manual_seed(config.seed)
        probe = _WordProbe(frames_of[0].shape[1], len(index), config.hidden)
        losses.append(_fit(probe, inputs, asked, config))
    without, given = losses
    return (without - given) / without


class _WordProbe(nn.Module):
    """Reads a word from its window of phonemes and a frame, both in one row (10 + D,)."""

    def __init__(self, dim: int, words: int, hidden: int) -> None:
        super().__init__()
        self._window = _BEFORE + _OWN + _AFTER
        self.embedding = nn.Embedding(len(TABLE), 16)
        self.net = nn.Sequential(
            nn.Linear(self._window * 16 + dim, hidden), nn.ReLU(), nn.Linear(hidden, words)
        )

    def forward(self, x: Tensor) -> Tensor:
        sounds = self.embedding(x[:, : self._window].long()).flatten(1)
        out: Tensor = self.net(torch.cat([sounds, x[:, self._window :]], dim=1))
        return out


def _entropy(labels: Tensor) -> float:
    p = torch.bincount(labels).double()
    p = p[p > 0] / p.sum()
    return float(-(p * p.log()).sum())


def _part(number: int, config: ProbeConfig) -> int:
    """What the utterance ``number`` is for: training (0), stopping (1) or judging (2)."""
    return {0: _JUDGED, 1: _STOPPED_BY}.get(number % config.held_out, 0)


def _fit(probe: nn.Module, inputs: Sequence[Tensor], asked: Sequence[Tensor], config: ProbeConfig) -> float:
    """Train ``probe`` on the first of ``inputs`` and return its cross entropy on the last.

    Of ten looks, that at which it was lowest on the middle one: a probe that begins to learn its samples by
    heart tells less than the frames do.
    """
    train, known = inputs[0], asked[0]
    generator = torch.Generator().manual_seed(config.seed)
    optimizer = torch.optim.AdamW(probe.parameters(), lr=config.learning_rate, weight_decay=0.01)
    best, judged = math.inf, math.inf
    for step in range(1, config.steps + 1):
        rows = torch.randint(len(train), (config.batch,), generator=generator)
        loss = functional.cross_entropy(probe(train[rows]), known[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % max(1, config.steps // 10) == 0:
            with torch.no_grad():
                losses = [
                    float(functional.cross_entropy(probe(inputs[part]), asked[part]))
                    for part in (_STOPPED_BY, _JUDGED)
                ]
            if losses[0] < best:
                best, judged = losses
    return judged
