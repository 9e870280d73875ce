"""Some of the attacks at every run (``python -m tests.serving.attack`` has as many as one likes)."""

import pytest
from tests.serving.attack import failures


@pytest.mark.slow
def test_clients_that_send_anything() -> None:
    assert list(failures(200, seed=1)) == []
