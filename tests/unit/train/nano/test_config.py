"""Recipes: read strictly; the rate warms up, stays and falls."""

from pathlib import Path

import pytest

from internvl.errors import ConfigError
from internvl.train.nano.config import StageConfig, read_stage

RECIPES = sorted((Path(__file__).parents[4] / "recipes" / "nano-first").glob("*.toml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_read(recipe):
    assert read_stage(recipe).name == recipe.stem


def test_an_unknown_key_is_refused_with_the_nearest(tmp_path):
    (tmp_path / "a.toml").write_text("steps = 3\nbatchsize = 2\n[mixture]\nword = 1\n")
    with pytest.raises(ConfigError, match="'batchsize'. Did you mean batch_size"):
        read_stage(tmp_path / "a.toml")


def test_an_unknown_difficulty_is_refused(tmp_path):
    (tmp_path / "a.toml").write_text("steps = 3\n[mixture]\nword = 1\n[difficulty]\nmax_lins = 2\n")
    with pytest.raises(ConfigError, match="max_lines"):
        read_stage(tmp_path / "a.toml")


def test_a_mixture_names_known_skills_and_is_not_empty():
    with pytest.raises(ConfigError, match="wrd"):
        StageConfig(name="a", steps=1, mixture={"wrd": 1.0})
    with pytest.raises(ConfigError, match="mixture"):
        StageConfig(name="a", steps=1)


def test_the_rate_warms_up_stays_and_falls_to_a_tenth():
    stage = StageConfig(
        name="a", steps=100, warmup_steps=10, decay_share=0.2, learning_rate=1.0, mixture={"word": 1.0}
    )
    rates = [stage.learning_rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:80] == pytest.approx([1.0] * 71)
    assert rates[80:] == sorted(rates[80:], reverse=True)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
