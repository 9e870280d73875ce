import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.slot_cache import SlotCache


def whole(llm: torch.nn.Module, embeddings: Tensor) -> Tensor:
    """Logits (L, vocabulary) of one pass over everything."""
    with torch.no_grad():
        logits: Tensor = llm(inputs_embeds=embeddings[None], use_cache=False).logits[0]
    return logits


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 9), min_size=3, max_size=3), min_size=1, max_size=4), st.integers(0, 99)
)
def test_pieces_in_slots_equal_one_pass_each(
    toy_checkpoint: Checkpoint, pieces: list[list[int]], seed: int
) -> None:
    llm = toy_checkpoint.network.llm
    torch.manual_seed(seed)
    inputs = [torch.randn(sum(sizes), 32) for sizes in pieces]
    # So few places and slots that both must grow.
    cache = SlotCache(llm, slots=1, capacity=4)
    slots = [cache.allocate() for _ in pieces]
    begins = [0] * len(pieces)
    for turn in range(3):
        parts = [
            one[begin : begin + sizes[turn]] for one, begin, sizes in zip(inputs, begins, pieces, strict=True)
        ]
        logits = cache.extend(slots, parts)
        begins = [begin + len(part) for begin, part in zip(begins, parts, strict=True)]
        for row, (one, begin) in enumerate(zip(inputs, begins, strict=True)):
            torch.testing.assert_close(logits[row], whole(llm, one)[begin - 1], atol=1e-4, rtol=1e-4)
    assert [cache.lengths[slot] for slot in slots] == begins


def test_a_slot_set_back_forgets(toy_checkpoint: Checkpoint) -> None:
    llm = toy_checkpoint.network.llm
    torch.manual_seed(0)
    kept, wrong, right = torch.randn(5, 32), torch.randn(7, 32), torch.randn(3, 32)
    cache = SlotCache(llm, slots=2)
    slot, other = cache.allocate(), cache.allocate()
    cache.extend([slot, other], [kept, wrong])
    cache.extend([slot], [wrong])
    cache.truncate(slot, 5)
    logits = cache.extend([slot, other], [right, wrong])
    torch.testing.assert_close(logits[0], whole(llm, torch.cat([kept, right]))[-1], atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="holds 8 positions, not 9"):
        cache.truncate(slot, 9)


def test_a_stretch_moves_from_slot_to_slot(toy_checkpoint: Checkpoint) -> None:
    llm = toy_checkpoint.network.llm
    torch.manual_seed(1)
    opening, rest = torch.randn(6, 32), torch.randn(2, 32)
    first = SlotCache(llm)
    first.extend([first.allocate()], [opening])
    second = SlotCache(llm, capacity=2)
    slot = second.allocate()
    second.load(slot, first.export(0))
    logits = second.extend([slot], [rest])
    torch.testing.assert_close(logits[0], whole(llm, torch.cat([opening, rest]))[-1], atol=1e-4, rtol=1e-4)


def test_a_slot_given_back_is_empty_for_the_next(toy_checkpoint: Checkpoint) -> None:
    cache = SlotCache(toy_checkpoint.network.llm)
    slot = cache.allocate()
    cache.extend([slot], [torch.randn(4, 32)])
    cache.free(slot)
    assert cache.allocate() == slot and cache.lengths[slot] == 0


def test_a_fork_goes_its_own_way(toy_checkpoint: Checkpoint) -> None:
    llm = toy_checkpoint.network.llm
    torch.manual_seed(1)
    opening, one, other = torch.randn(6, 32), torch.randn(2, 32), torch.randn(3, 32)
    cache = SlotCache(llm)
    slot = cache.allocate()
    cache.extend([slot], [opening])
    fork = cache.fork(slot)
    assert fork != slot and cache.length(fork) == 6
    logits = cache.extend([fork, slot], [one, other])
    torch.testing.assert_close(logits[0], whole(llm, torch.cat([opening, one]))[-1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits[1], whole(llm, torch.cat([opening, other]))[-1], atol=1e-4, rtol=1e-4)
