"""Recipes by their names, which stand in one place."""

import ast
from pathlib import Path

import pytest

from nim4asr.cli.main import parser
from nim4asr.errors import InputError
from nim4asr.recipes import NETWORKS, RECIPES, model_configuration, training_recipe

SOURCE = Path(__file__).parent.parent.parent / "src/nim4asr"


def test_names_stand_in_one_place() -> None:
    # In serving, nano is the bundled model.
    for file in (file for room in ("recipes", "training", "cli") for file in (SOURCE / room).rglob("*.py")):
        constants = (n.value for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Constant))
        found = {value for value in constants if isinstance(value, str) and value in RECIPES}
        assert found == (set(RECIPES) if file == SOURCE / "recipes/__init__.py" else set()), file


def test_networks_are_called_as_their_recipes_are() -> None:
    for name in NETWORKS:
        assert model_configuration(name).name == name
    with pytest.raises(InputError, match=f"no recipe \\({', '.join(NETWORKS)}\\) and no model folder"):
        model_configuration("magic")
    with pytest.raises(InputError, match=", ".join(RECIPES)):
        training_recipe("magic", Path())


@pytest.mark.parametrize("name", RECIPES)
def test_the_command_line_knows_every_recipe(name: str) -> None:
    assert parser().parse_args(["train", name, "--data", "corpora"]).recipe == name
