import torch
from hypothesis import given
from hypothesis import strategies as st

from nim4asr.data.batches import SpeechBatch
from nim4asr.model.shapes import ConformerConfig
from nim4asr.training.stages.flat_start import flat_alignment

ENCODER = ConformerConfig(16, 1, 2)


def batch(loud: tuple[int, int], phonemes: list[int], frames: int = 40) -> SpeechBatch:
    """One utterance of ``frames`` encoder frames, of which those from ``loud[0]`` up to ``loud[1]`` are
    loud.
    """
    features = torch.zeros(1, 1, 4 * frames + 3, 80)
    features[0, 0, 4 * loud[0] + 3 : 4 * loud[1] + 3] = 1.0
    lengths = torch.tensor([4 * frames + 3])
    return SpeechBatch(
        features, lengths, torch.tensor(phonemes), torch.tensor([len(phonemes)]), ("",), ("a",), 100
    )


def test_phonemes_lie_evenly_over_what_is_loud() -> None:
    wanted = flat_alignment(batch((10, 22), [5, 7, 5]), [38], 40, ENCODER)[0].tolist()
    assert wanted == [0] * 10 + [5] * 4 + [7] * 4 + [5] * 4 + [0] * 16 + [-100] * 2


@given(first=st.integers(5, 15), size=st.integers(5, 20), phonemes=st.integers(0, 30))
def test_every_phoneme_has_its_turn_in_order(first: int, size: int, phonemes: int) -> None:
    labels = list(range(1, phonemes + 1))
    wanted = flat_alignment(batch((first, first + size), labels), [40], 40, ENCODER)[0].tolist()
    said = [one for one in wanted if one]
    assert said == sorted(said)
    assert len(said) == (size if phonemes else 0)
    if phonemes <= size:
        assert sorted(set(said)) == labels


def test_what_is_too_short_to_be_voiced_is_taken_whole() -> None:
    assert flat_alignment(batch((10, 12), [3, 4]), [40], 40, ENCODER)[0].tolist() == [3] * 20 + [4] * 20


def test_an_utterance_of_one_level_is_voiced_throughout() -> None:
    assert flat_alignment(batch((0, 0), [3, 4]), [40], 40, ENCODER)[0].tolist() == [3] * 20 + [4] * 20
