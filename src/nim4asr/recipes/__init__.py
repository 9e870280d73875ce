"""Recipes: Python functions that return the whole configuration of a network or a run; their names."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nim4asr.errors import InputError

if TYPE_CHECKING:
    from nim4asr.model.configuration import Nim4Config
    from nim4asr.training.machine import Machine
    from nim4asr.training.recipe import Recipe

NANO, NANO_LONGER, NIM4_2B3 = "nano", "nano-longer", "nim4-2.3b"
FROM_PUBLIC_PARTS = "from-public-parts"
NETWORKS = (NANO, NIM4_2B3)
RECIPES = (NANO, NANO_LONGER, NIM4_2B3, FROM_PUBLIC_PARTS)


def model_configuration(name: str) -> "Nim4Config":
    """The network of a recipe by its name, or of a model folder by its path.

    Raises ``InputError`` if there is neither.
    """
    from nim4asr.files import read_text
    from nim4asr.model.configuration import Nim4Config
    from nim4asr.model.folder import CONFIG

    if name == NANO:
        from nim4asr.recipes import nano

        return nano.network()
    if name == NIM4_2B3:
        from nim4asr.recipes import nim4_2b3

        return nim4_2b3.network()
    path = Path(name) / CONFIG
    if path.exists():
        return Nim4Config.from_json(read_text(path), str(path))
    raise InputError(f"{name}: no recipe ({', '.join(NETWORKS)}) and no model folder of this name")


def training_recipe(
    name: str,
    data: Path,
    start: "Nim4Config | None" = None,
    machine: "Callable[[], Machine] | None" = None,
    whole_llm: bool = False,
) -> "Recipe":
    """The training of the recipe ``name`` on what lies in ``data``.

    from-public-parts alone depends on more: the configuration ``start`` of the model that it begins with, the
    ``machine``, which is asked for only then (None: this one), and whether all of the language model is
    trained. Raises ``InputError`` if there is no such recipe, or something that it needs is missing.
    """
    from nim4asr.recipes import from_public_parts, nano, nim4_2b3

    if name == NANO:
        return nano.recipe(data)
    if name == NANO_LONGER:
        return nano.longer(data)
    if name == NIM4_2B3:
        return nim4_2b3.recipe(data)
    if name != FROM_PUBLIC_PARTS:
        raise InputError(f"{name}: no recipe of this name ({', '.join(RECIPES)})")
    from nim4asr.training.machine import this_machine

    whole = from_public_parts.whole_model(start)
    lora = None if whole_llm else from_public_parts.LORA
    return from_public_parts.recipe(data, whole, machine() if machine else this_machine(data), lora=lora)
