"""A process among the others of a run, as Hugging Face Accelerate launched it."""

from typing import TYPE_CHECKING, TypeVar

from nim4asr.errors import InputError

if TYPE_CHECKING:
    from accelerate import Accelerator

Decision = TypeVar("Decision")


def new_accelerator(precision: str = "no") -> "Accelerator":
    """Accelerate's view of this process: its device, its rank, its launcher. ``precision`` is ``no`` or
    ``bf16``.
    """
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
    except ImportError:
        raise InputError("training needs more packages: pip install 'nim4asr[training]'") from None
    try:
        return Accelerator(mixed_precision=precision)
    except ValueError:
        # Accelerate keeps one state a process, and refuses another precision: a second run, or one that
        # failed before.
        AcceleratorState._reset_state()
        return Accelerator(mixed_precision=precision)


def agreed(accelerator: "Accelerator", value: Decision) -> Decision:
    """The main process's ``value``, on every process: what is decided from files must be decided once."""
    if accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast_object_list

    box = [value]
    broadcast_object_list(box)
    return box[0]


def is_sharded(accelerator: "Accelerator") -> bool:
    """Whether no process holds all weights: under FSDP and DeepSpeed."""
    from accelerate.utils import DistributedType

    return accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)
