"""A run does not go on with other recordings or another model than it began with."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nim4asr.errors import InputError
from nim4asr.model.folder import ModelFolder, bundled
from nim4asr.recipes import nano
from nim4asr.training.begun import BEGUN, check_begun
from nim4asr.training.recipe import CorpusConfig, Recipe
from recipes.parts import write_corpora


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    data = write_corpora(tmp_path / "corpora", clips=8, noise=False)
    return replace(nano.recipe(data), corpora={"mine": CorpusConfig(data / "speech/mine.jsonl")})


def manifest_of(recipe: Recipe) -> Path:
    return recipe.corpora["mine"].manifest


@pytest.mark.parametrize("key", ["text", "split", "language", "audio", "duration", "a line less"])
def test_a_manifest_that_has_changed_is_told(recipe: Recipe, tmp_path: Path, key: str) -> None:
    run, manifest = tmp_path / "run", manifest_of(recipe)
    check_begun(run, recipe, None)
    whole = manifest.read_text(encoding="utf-8")
    lines = whole.splitlines(keepends=True)
    others = {"text": "oh", "split": "dev", "language": "fr", "audio": "x.wav", "duration": 0.5}
    first = json.dumps({**json.loads(lines[0]), key: others[key]}) + "\n" if key in others else ""
    manifest.write_text("".join([first, *lines[1:]]), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"begun with other recordings or texts: the manifest of mine has changed"
    ):
        check_begun(run, recipe, None)
    manifest.write_text(whole, encoding="utf-8")
    check_begun(run, recipe, None)


def test_corpora_that_come_go_or_move(recipe: Recipe, tmp_path: Path) -> None:
    run = tmp_path / "run"
    check_begun(run, recipe, None)
    two = replace(recipe, corpora={**recipe.corpora, "more": recipe.corpora["mine"]})
    with pytest.raises(InputError, match="the manifest of more has changed") as raised:
        check_begun(run, two, None)
    assert "\n" not in str(raised.value) and "choose another --output, or remove" in str(raised.value)
    # As the sentence says.
    (run / BEGUN).unlink()
    check_begun(run, two, None)
    moved = tmp_path / "elsewhere"
    (tmp_path / "corpora").rename(moved)
    there = CorpusConfig(moved / "speech/mine.jsonl")
    check_begun(run, replace(recipe, corpora={"mine": there, "more": there}), None)


def test_another_model_to_start_from_is_told(recipe: Recipe, tmp_path: Path, toy_model: Path) -> None:
    run = tmp_path / "run"
    check_begun(run, recipe, ModelFolder.open(toy_model))
    check_begun(run, recipe, ModelFolder.open(toy_model))
    for other in (ModelFolder.open(bundled()), None):
        with pytest.raises(InputError, match="begun with another model than --init-model names now"):
            check_begun(run, recipe, other)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"corpora": 1, "model": null}'])
def test_a_damaged_note_is_told(recipe: Recipe, tmp_path: Path, text: str) -> None:
    (tmp_path / BEGUN).write_text(text)
    with pytest.raises(InputError, match="does not say what a run began with; remove the file"):
        check_begun(tmp_path, recipe, None)
