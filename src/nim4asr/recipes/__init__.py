"""Recipes: Python functions that return the whole configuration of a network or a run.

Their names stand here and nowhere else.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nim4asr.errors import InputError

if TYPE_CHECKING:
    from nim4asr.model.configuration import Nim4Config
    from nim4asr.training.machine import Machine
    from nim4asr.training.recipe import Recipe

NANO, NANO_LONGER, NIM4_2B3 = "nano", "nano-longer", "nim4-2.3b"
FROM_PUBLIC_PARTS = "from-public-parts"


@dataclass(frozen=True)
class Given:
    """What a run's recipe may depend on."""

    data: Path
    """The folder of the corpora."""
    start: "Nim4Config | None" = None
    """The configuration of the model to start from."""
    machine: "Callable[[], Machine] | None" = None
    """What memory and disk there are, measured when it is asked."""


# Each imports its module when it is called: training needs torch, and the names are needed without.
def _nano_network() -> "Nim4Config":
    from nim4asr.recipes import nano

    return nano.network()


def _nim4_2b3_network() -> "Nim4Config":
    from nim4asr.recipes import nim4_2b3

    return nim4_2b3.network()


def _nano(given: Given) -> "Recipe":
    from nim4asr.recipes import nano

    return nano.recipe(given.data)


def _nano_longer(given: Given) -> "Recipe":
    from nim4asr.recipes import nano

    return nano.longer(given.data)


def _nim4_2b3(given: Given) -> "Recipe":
    from nim4asr.recipes import nim4_2b3

    return nim4_2b3.recipe(given.data)


def _from_public_parts(given: Given) -> "Recipe":
    from nim4asr.recipes import from_public_parts
    from nim4asr.training.machine import this_machine

    start = from_public_parts.whole_model(given.start)
    machine = this_machine(given.data) if given.machine is None else given.machine()
    return from_public_parts.recipe(given.data, start, machine)


NETWORKS: Mapping[str, "Callable[[], Nim4Config]"] = {NANO: _nano_network, NIM4_2B3: _nim4_2b3_network}
RECIPES: Mapping[str, "Callable[[Given], Recipe]"] = {
    NANO: _nano,
    NANO_LONGER: _nano_longer,
    NIM4_2B3: _nim4_2b3,
    FROM_PUBLIC_PARTS: _from_public_parts,
}


def model_configuration(name: str) -> "Nim4Config":
    """The network of a recipe by its name, or of a model folder by its path.

    Raises ``InputError`` if there is neither.
    """
    from nim4asr.files import read_text
    from nim4asr.model.configuration import Nim4Config
    from nim4asr.model.folder import CONFIG

    if name in NETWORKS:
        return NETWORKS[name]()
    path = Path(name) / CONFIG
    if path.exists():
        return Nim4Config.from_json(read_text(path), str(path))
    raise InputError(f"{name}: no recipe ({', '.join(NETWORKS)}) and no model folder of this name")


def training_recipe(
    name: str,
    data: Path,
    start: "Nim4Config | None" = None,
    machine: "Callable[[], Machine] | None" = None,
) -> "Recipe":
    """The training of the recipe ``name`` on what lies in ``data``, from the model ``start``, on ``machine``
    (None: this one). Raises ``InputError`` if there is no such recipe, or something that it needs is missing.
    """
    if name not in RECIPES:
        raise InputError(f"{name}: no recipe of this name ({', '.join(RECIPES)})")
    return RECIPES[name](Given(data, start, machine))
