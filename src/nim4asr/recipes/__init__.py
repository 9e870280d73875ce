"""Recipes: Python functions that return the whole configuration of a network or a run."""

from pathlib import Path
from typing import TYPE_CHECKING

from nim4asr.errors import InputError

if TYPE_CHECKING:
    from nim4asr.model.configuration import Nim4Config
    from nim4asr.training.recipe import Recipe

RECIPES = ("nano", "nano-longer", "nim4-2.3b")


def model_configuration(name: str) -> "Nim4Config":
    """The network of a recipe by its name, or of a model folder by its path.

    Raises ``InputError`` if there is neither.
    """
    from nim4asr.files import read_text
    from nim4asr.model.configuration import Nim4Config
    from nim4asr.model.folder import CONFIG
    from nim4asr.recipes import nano, nim4_2b3

    if name == nano.NAME:
        return nano.network()
    if name == nim4_2b3.NAME:
        return nim4_2b3.network()
    path = Path(name) / CONFIG
    if path.exists():
        return Nim4Config.from_json(read_text(path), str(path))
    raise InputError(f"{name}: no recipe (nano, nim4-2.3b) and no model folder of this name")


def training_recipe(name: str, data: Path) -> "Recipe":
    """The training of the recipe ``name`` on what lies in ``data``. Raises ``InputError`` if there is no such
    recipe.
    """
    from nim4asr.recipes import nano, nim4_2b3

    if name == nano.NAME:
        return nano.recipe(data)
    if name == nano.LONGER:
        return nano.longer(data)
    if name == nim4_2b3.NAME:
        return nim4_2b3.recipe(data)
    raise InputError(f"{name}: no recipe of this name ({', '.join(RECIPES)})")
