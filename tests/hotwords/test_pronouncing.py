"""Pronunciations of names."""

from nim4asr.hotwords.names import Name
from nim4asr.hotwords.pronouncing import pronounce_name


def test_a_name_too_long_to_be_said_at_once() -> None:
    one, reason = pronounce_name(Name("天" * 60))
    assert one.pronunciations == () and "longer than 64 phonemes" in reason
