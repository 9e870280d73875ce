from __future__ import annotations

import pytest
from tests.fuzzing import KINDS, run


@pytest.mark.slow
def test_bad_inputs_are_taken_or_refused_in_a_sentence() -> None:
    told = run(1_200)
    assert sum(told.values()) == 1_200
    assert {name.split()[0] for name in told} == {kind.__name__ for kind in KINDS}
