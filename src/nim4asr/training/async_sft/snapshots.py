"""The snapshot store: the folder through which pre-training hands encoders to IA-SFT.

Pre-training publishes, IA-SFT takes. Neither needs the other to be running, nor to be on the same machine:
all they share is the folder, on any file system on which a rename is atomic.

    snapshots/
      snapshot-0/          the first reference, which no one trains on
      snapshot-1/ ...      encoder.safetensors and manifest.json: step, CKA to its reference, final or not
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from nim4asr.errors import InputError
from nim4asr.files import atomic_folder

_WEIGHTS = "encoder.safetensors"
_MANIFEST = "manifest.json"
_SNAPSHOT = re.compile(r"snapshot-(\d+)")


@dataclass(frozen=True)
class Snapshot:
    """One published encoder, of pre-training's ``step``. The running one is compared with the newest before
    it.

    ``cka`` is its similarity to the reference before it, which was of ``reference_step``; ``final`` says that
    pre-training has ended with it. Number 0 is the first reference, and is not for training.
    """

    number: int
    step: int
    cka: float
    reference_step: int
    final: bool = False


class SnapshotStore:
    """The store in ``folder``, which is created by the first snapshot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def snapshots(self) -> list[Snapshot]:
        """Everything published, in order, the first reference left out. Raises ``InputError`` if one cannot
        be read.
        """
        return [snapshot for snapshot in self._all() if snapshot.number]

    def latest(self) -> Snapshot | None:
        """The newest snapshot to train on, or None."""
        found = self.snapshots()
        return found[-1] if found else None

    def reference(self, step: int) -> Snapshot | None:
        """What the encoder of ``step`` is compared with: the newest of an earlier step."""
        found = [snapshot for snapshot in self._all() if snapshot.step < step]
        return found[-1] if found else None

    def publish(self, acoustic: nn.Module, step: int, cka: float, final: bool = False) -> Snapshot:
        """Publish the weights of ``acoustic`` (encoder and phoneme head).

        A snapshot of the same step is not published twice, so that a run which was cut between two
        checkpoints may repeat itself.
        """
        for published in self.snapshots():
            if published.step == step:
                return published
        reference, latest = self.reference(step), self.latest()
        number = 1 if latest is None else latest.number + 1
        snapshot = Snapshot(number, step, cka, reference.step if reference else 0, final)
        _write(acoustic, self.folder / f"snapshot-{number}", snapshot)
        return snapshot

    def begin(self, acoustic: nn.Module, step: int) -> None:
        """Make ``acoustic`` the first reference."""
        _write(acoustic, self.folder / "snapshot-0", Snapshot(0, step, 1.0, step))

    def _all(self) -> list[Snapshot]:
        if not self.folder.is_dir():
            return []
        found = [_manifest(folder) for folder in self.folder.iterdir() if _SNAPSHOT.fullmatch(folder.name)]
        return sorted(found, key=lambda snapshot: snapshot.number)

    def load(self, number: int, acoustic: nn.Module) -> None:
        """Copy a snapshot's weights into ``acoustic``.

        Raises ``InputError`` if there is no such snapshot, or if it is of another model.
        """
        _load(self.folder / f"snapshot-{number}", acoustic)


def _write(acoustic: nn.Module, place: Path, snapshot: Snapshot) -> None:
    weights = {k: v.detach().cpu().contiguous() for k, v in acoustic.state_dict().items()}
    with atomic_folder(place) as new:
        save_file(weights, new / _WEIGHTS)
        (new / _MANIFEST).write_text(json.dumps(asdict(snapshot)) + "\n", encoding="utf-8")


def _manifest(place: Path) -> Snapshot:
    try:
        return Snapshot(**json.loads((place / _MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{place}: this is no snapshot of pre-training ({error})") from None


def _load(place: Path, acoustic: nn.Module) -> None:
    try:
        weights = load_file(place / _WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{place}: the snapshot cannot be read ({error})") from None
    own = acoustic.state_dict()
    if weights.keys() != own.keys() or any(weights[k].shape != v.shape for k, v in own.items()):
        raise InputError(f"{place}: the snapshot is of another model")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(weights[name])
