import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nim4asr.errors import InputError
from nim4asr.training import machine
from nim4asr.training.machine import Machine, machine_of, this_machine


def test_a_machine_is_measured_once_for_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = machine_of(tmp_path / "run")
    assert first.flops > 1e6 and first.memory_bytes > 1e6
    assert first.disk_bytes > 0 and first.precision in ("no", "bf16")

    def never(*_: Any) -> Machine:
        raise AssertionError

    with monkeypatch.context() as patched:
        patched.setattr(machine, "this_machine", never)
        assert machine_of(tmp_path / "run") == first
        # Another memory that is asked for holds from then on, and nothing else changes: a run whose frames
        # have filled the disk since must not think that it has no room for them.
        less = machine_of(tmp_path / "run", 3.5)
    assert less == replace(first, memory_bytes=3_500_000_000) and machine_of(tmp_path / "run") == less
    assert machine_of(tmp_path / "other", 2.0).memory_bytes == 2_000_000_000


def test_a_share_of_what_is_free_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = type("Memory", (), {"available": 10_000_000_000})
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    assert this_machine(tmp_path / "not/yet/there").memory_bytes == 7_000_000_000
    assert not (tmp_path / "not").exists()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (20_000_000_000, 24_000_000_000))
    assert machine._free_memory(torch.device("cuda")) == 18_000_000_000


@pytest.mark.parametrize(("pays", "precision"), [(True, "bf16"), (False, "no")])
def test_the_precision_is_the_one_that_pays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pays: bool, precision: str
) -> None:
    measured: list[torch.dtype] = []
    monkeypatch.setattr(machine, "bf16_pays", lambda device: pays)
    monkeypatch.setattr(machine, "_product_rate", lambda device, dtype, size: measured.append(dtype) or 1e9)
    assert this_machine(tmp_path).precision == precision
    assert measured == [torch.bfloat16 if pays else torch.float32]


@pytest.mark.parametrize("memory", [0.0, -1.0, float("nan"), float("inf")])
def test_no_memory_is_no_machine(tmp_path: Path, memory: float) -> None:
    with pytest.raises(InputError, match="needs some memory"):
        this_machine(tmp_path, memory)
    with pytest.raises(InputError, match="needs some memory"):
        machine_of(tmp_path, memory)
    assert not (tmp_path / "machine.json").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"flops": "fast"},
        {"memory_bytes": -1},
        {"precision": "fp4"},
        {"device": "abacus"},
        {"nothing": 1},
        None,
    ],
)
def test_a_damaged_note_is_told(tmp_path: Path, change: dict[str, Any] | None) -> None:
    row = asdict(Machine("toy", "cpu", 1, 1, 1.0, "no"))
    (tmp_path / "machine.json").write_text("{" if change is None else json.dumps({**row, **change}))
    with pytest.raises(InputError, match="no machine that a run could have begun on; remove the file"):
        machine_of(tmp_path)
    (tmp_path / "machine.json").write_text(json.dumps(row))
    assert machine_of(tmp_path) == Machine("toy", "cpu", 1, 1, 1.0, "no")


def test_one_thread_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for count, name in ((1, "1 processor thread"), (2, "2 processor threads")):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        assert this_machine(tmp_path).name == name
