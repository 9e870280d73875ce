"""Recipes by their names."""

from pathlib import Path

import pytest

from nim4asr.cli.main import parser
from nim4asr.errors import InputError
from nim4asr.recipes import NETWORKS, RECIPES, model_configuration, training_recipe


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
