"""Which limits of a server can be."""

import pytest

from nim4asr.serving.configuration import ServerConfig


@pytest.mark.parametrize("share", [0.01, 1.0])
def test_a_client_s_share_is_a_part_or_all(share: float) -> None:
    assert ServerConfig(client_share=share).client_share == share


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, 2.0, float("nan")])
def test_a_share_of_nothing_or_of_more_than_all_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        ServerConfig(client_share=share)
