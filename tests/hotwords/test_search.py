import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nim4asr.hotwords.building import assemble
from nim4asr.hotwords.database import Database
from nim4asr.hotwords.names import Name
from nim4asr.hotwords.pronouncing import Pronounced, packed
from nim4asr.hotwords.search import Match, SearchConfig, TrieSearch, certain, toneless_costs
from nim4asr.phonemes import TABLE
from nim4asr.phonemes.ctc import alignment_cost

EXACT = SearchConfig(cost_budget=0.0, cost_per_phoneme=0.0, min_phonemes=1)
# Few sounds, so that names overlap and repeat.
SOUNDS = TABLE.encode("n i1 h ao1 AH".split())
sound = st.sampled_from(SOUNDS)


def database(said: list[list[int]]) -> Database:
    return assemble([Pronounced(Name(f"n{i}"), (packed(one),)) for i, one in enumerate(said)])


def key(database: Database, match: Match) -> tuple[int, ...]:
    said = database.phonemes(database.ending(match.node)[0])
    return tuple(TABLE.toneless[p] for p in said)


def heard(database: Database, log_probs: np.ndarray, config: SearchConfig) -> list[Match]:
    walk = TrieSearch(database, config)
    walk.feed(toneless_costs(log_probs))
    return walk.matches()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(sound, min_size=1, max_size=4), min_size=1, max_size=8), st.lists(sound, max_size=12)
)
def test_what_is_certain_is_found_exactly(said: list[list[int]], spoken: list[int]) -> None:
    names = database(said)
    found = {(key(names, m), m.start // 2) for m in heard(names, certain(spoken), EXACT)}
    everywhere = {
        (tuple(TABLE.toneless[p] for p in one), at)
        for one in said
        for at in range(len(spoken) - len(one) + 1)
        if spoken[at : at + len(one)] == one
    }
    assert {one for one, _ in found} == {one for one, _ in everywhere}
    assert found <= everywhere


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(sound, min_size=1, max_size=4), min_size=1, max_size=8),
    st.integers(1, 30),
    st.integers(0, 999),
)
def test_a_match_costs_what_its_best_alignment_costs(said: list[list[int]], frames: int, seed: int) -> None:
    names = database(said)
    random = np.random.default_rng(seed)
    logits = np.full((frames, len(TABLE)), -30.0)
    logits[:, [0, *SOUNDS]] = random.normal(0, 2, (frames, 1 + len(SOUNDS)))
    log_probs = (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)
    costs = toneless_costs(log_probs).astype(np.float64)
    # With all they may spend, the cheapest match of a name costs what its best alignment does; with less, a
    # beginning that is too dear may have been given up.
    for slack, exact in ((500.0, True), (2.0, False)):
        config = SearchConfig(
            cost_budget=slack, cost_per_phoneme=1.0, max_frame_cost=100.0, beam_width=4000, min_phonemes=1
        )
        matches = heard(names, log_probs, config)
        for match in matches:
            assert 0 <= match.start < match.end <= frames
            assert match.cost <= config.cost_budget + config.cost_per_phoneme * match.phonemes + 1e-4
            place = -costs[match.start : match.end]
            best = alignment_cost(place, np.zeros(len(place)), np.array(key(names, match), np.uint8))
            assert match.cost >= best - 1e-3
            if exact and match.cost == min(one.cost for one in matches if one.node == match.node):
                assert match.cost == pytest.approx(best, abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.lists(sound, min_size=1, max_size=10), st.integers(1, 7))
def test_in_pieces_as_at_once(spoken: list[int], size: int) -> None:
    names = database([SOUNDS[:2], SOUNDS[1:4], [SOUNDS[0], SOUNDS[0]]])
    costs = toneless_costs(certain(spoken))
    whole, pieces = TrieSearch(names, EXACT), TrieSearch(names, EXACT)
    whole.feed(costs)
    for start in range(0, len(costs), size):
        pieces.feed(costs[start : start + size])
    assert pieces.matches() == whole.matches() and pieces.frames == whole.frames


def test_a_near_alternative_is_found_and_a_far_one_is_not() -> None:
    said = TABLE.encode("b ei3 j ing1".split())
    names = database([said])
    log_probs = certain(said)
    # The head prefers another initial, a little or by far.
    other = TABLE.encode(["p"])[0]
    for share, found in ((0.4, True), (0.001, False)):
        blurred = log_probs.copy()
        blurred[1, said[0]], blurred[1, other] = np.log(share), np.log(1 - share)
        assert bool(heard(names, blurred, SearchConfig())) is found
        assert heard(names, blurred, EXACT) == []
        # No less clear for being said twice.
        twice = heard(names, np.concatenate([blurred, blurred]), SearchConfig())
        assert len(twice) == 2 * found


def test_silence_holds_no_name() -> None:
    names = database([SOUNDS[:3], SOUNDS[2:]])
    silence = np.full((500, len(TABLE)), -12.0, np.float32)
    silence[:, 0] = -1e-3
    walk = TrieSearch(names)
    walk.feed(toneless_costs(silence))
    assert walk.matches() == [] and walk._count == 0


def test_a_crowd_of_tokens_is_kept_to_its_number() -> None:
    random = np.random.default_rng(0)
    names = database([list(random.choice(SOUNDS, 8)) for _ in range(300)])
    flat = np.full((60, len(TABLE)), -30.0, np.float32)
    flat[:, [0, *SOUNDS]] = np.log(1 / 6)
    walk = TrieSearch(names, SearchConfig(beam_width=32))
    walk.feed(toneless_costs(flat))
    assert walk._count <= 32


def test_one_of_many_children_is_found_by_its_sound() -> None:
    """A node of so many children that its few likely ones are looked up, rather than all walked through."""
    first, tail = TABLE.encode(["n", "AH"])
    # One symbol a sound, of all sounds but the blank.
    symbols = {TABLE.toneless[symbol]: symbol for symbol in range(len(TABLE) - 1, 0, -1)}
    seconds = [symbol for symbol in symbols.values() if TABLE.toneless[symbol] != TABLE.toneless[first]]
    assert len(seconds) > 60
    names = database([[first, second, tail] for second in seconds])
    for second in seconds:
        matches = heard(names, certain([first, second, tail]), EXACT)
        assert [key(names, match) for match in matches] == [
            tuple(TABLE.toneless[symbol] for symbol in (first, second, tail))
        ]
