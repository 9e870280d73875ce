"""Keys and values of many streams, each of its own length, in one call of the language model.

Every stream has a slot: a row in the keys and values of every layer, filled up to a length of its own. New
embeddings are appended to any choice of slots in one call, whatever their lengths, and what a slot holds past
some length is forgotten by setting its length back. Nothing is moved, padded or computed again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers.cache_utils import Cache, CacheLayerMixin


@dataclass(frozen=True, eq=False)
class KeyValues:
    """A stretch of one slot: ``keys`` and ``values`` (layers, L, heads, head dim)."""

    keys: Tensor
    values: Tensor


class SlotCache:
    """Slots for the Hugging Face causal language model ``llm``; more are made as they are taken.

    ``lengths`` says how many positions of each slot count.
    """

    def __init__(self, llm: Any, slots: int = 1, capacity: int = 256) -> None:
        self._llm = llm
        config = llm.config.get_text_config()
        weight: Tensor = llm.get_input_embeddings().weight
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._layers = [
            _SlotLayer(weight.new_zeros(2, slots, capacity, heads, dim))
            for _ in range(config.num_hidden_layers)
        ]
        self._cache = Cache(layers=self._layers)
        self.lengths = [0] * slots
        self._free = list(range(slots))

    @property
    def slots_in_use(self) -> int:
        """How many slots have been allocated and not freed."""
        return len(self.lengths) - len(self._free)

    def allocate(self) -> int:
        """An empty slot, for the caller alone until it is freed."""
        if not self._free:
            slots = len(self.lengths)
            for layer in self._layers:
                layer.grow(slots, 0)
            self.lengths += [0] * slots
            self._free = list(range(slots, 2 * slots))
        return self._free.pop(0)

    def free(self, slot: int) -> None:
        """Forget what the slot holds and leave it to others."""
        self.lengths[slot] = 0
        self._free.append(slot)

    def truncate(self, slot: int, length: int) -> None:
        """Forget what the slot holds past ``length`` positions. Raises ``ValueError`` if it holds fewer."""
        if not 0 <= length <= self.lengths[slot]:
            raise ValueError(f"slot {slot} holds {self.lengths[slot]} positions, not {length}")
        self.lengths[slot] = length

    def length(self, slot: int) -> int:
        """How many positions the slot holds."""
        return self.lengths[slot]

    def fork(self, slot: int) -> int:
        """A new slot that holds what ``slot`` holds."""
        new = self.allocate()
        length = self.lengths[new] = self.lengths[slot]
        for layer in self._layers:
            layer.store[:, new, :length] = layer.store[:, slot, :length]
        return new

    def export(self, slot: int) -> KeyValues:
        """What the slot holds."""
        stretches = [layer.store[:, slot, : self.lengths[slot]] for layer in self._layers]
        keys, values = torch.stack(stretches, dim=1)
        return KeyValues(keys, values)

    def load(self, slot: int, prefix: KeyValues) -> None:
        """Let the slot hold ``prefix`` and nothing else."""
        length = prefix.keys.shape[1]
        self._reserve(length)
        for layer, keys, values in zip(self._layers, prefix.keys, prefix.values, strict=True):
            layer.store[0, slot, :length] = keys
            layer.store[1, slot, :length] = values
        self.lengths[slot] = length

    @torch.no_grad()
    def extend(self, slots: Sequence[int], embeddings: Sequence[Tensor]) -> Tensor:
        """Append ``embeddings``, (N, D_llm) for each of ``slots``; the logits (slots, vocabulary) after the
        last.
        """
        device = embeddings[0].device
        counts = torch.tensor([len(embedding) for embedding in embeddings], device=device)
        before = torch.tensor([self.lengths[slot] for slot in slots], device=device)
        # Padded on the left, so that all end together; padding is written to the scratch place and seen by
        # none.
        inputs = pad_sequence(list(embeddings), batch_first=True, padding_side="left")
        steps = inputs.shape[1]
        longest = int((before + counts).max())
        self._reserve(longest)
        places = before[:, None] + counts[:, None] - steps + torch.arange(steps, device=device)
        real = places >= before[:, None]
        visible = torch.arange(longest, device=device) <= torch.where(real, places, -1)[..., None]
        # Of numbers rather than booleans, and finite: the padding's rows see nothing, and softmax must not
        # give NaN.
        mask = torch.zeros(visible.shape, dtype=inputs.dtype, device=device)
        mask.masked_fill_(~visible, torch.finfo(inputs.dtype).min)
        scratch = self._layers[0].store.shape[2] - 1
        plan = _Plan(torch.tensor(slots, device=device), torch.where(real, places, scratch), longest)
        for layer in self._layers:
            layer.plan = plan
        output = self._llm(
            inputs_embeds=inputs,
            attention_mask=mask[:, None],
            position_ids=places.clamp(min=0),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        for slot, embedding in zip(slots, embeddings, strict=True):
            self.lengths[slot] += len(embedding)
        logits: Tensor = output.logits[:, -1]
        return logits

    def _reserve(self, length: int) -> None:
        capacity = self._layers[0].store.shape[2]
        # One more place than any slot fills, for the padding.
        if length + 1 > capacity:
            for layer in self._layers:
                layer.grow(0, max(capacity, length + 1 - capacity))


@dataclass(frozen=True, eq=False)
class _Plan:
    """Where one call reads and writes: ``rows`` (R,) of the store, ``places`` (R, N) in them, and how many
    places of each it reads.
    """

    rows: Tensor
    places: Tensor
    longest: int


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer's keys and values, ``store`` (2, slots, capacity, heads, head dim), under Hugging Face's
    interface.
    """

    is_sliding = False

    def __init__(self, store: Tensor) -> None:
        super().__init__()
        self.store = store
        self.plan: _Plan | None = None
        self.is_initialized = True

    def grow(self, slots: int, capacity: int) -> None:
        self.store = nn.functional.pad(self.store, (0, 0, 0, 0, 0, capacity, 0, slots))

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        plan = self.plan
        assert plan is not None
        new = torch.stack([key_states, value_states]).transpose(2, 3)
        # Under autocast they come in a smaller type than the weights'.
        self.store[:, plan.rows[:, None], plan.places] = new.to(self.store.dtype)
        if len(plan.rows) == 1:
            row = int(plan.rows[0])
            held = self.store[:, row : row + 1, : plan.longest]
        else:
            held = self.store[:, :, : plan.longest].index_select(1, plan.rows)
        keys, values = held.transpose(2, 3)
        return keys, values

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None: ...

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        assert self.plan is not None
        return self.plan.longest, 0

    def get_seq_length(self, *_: Any) -> int:
        return self.plan.longest if self.plan is not None else 0

    def get_max_length(self) -> int:
        return -1

    def get_max_cache_shape(self) -> int:
        return -1
