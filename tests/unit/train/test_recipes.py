from pathlib import Path

import pytest

from internvl.errors import ConfigError
from internvl.train.config import RunSection, TrainConfig
from internvl.train.dataset import DataConfig
from internvl.train.dense import HEADS
from internvl.train.recipes import build, read_recipe, to_tree


@pytest.fixture
def recipe(tmp_path):
    def write(text, name="recipe.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_a_recipe_sets_what_it_names_and_leaves_the_rest(recipe):
    config = read_recipe(
        recipe('output = "runs/a"\n[optimizer]\nlearning_rate = 1e-3\nbetas = [0.9, 0.95]\n')
    )
    assert config.output == "runs/a"
    assert config.optimizer.learning_rate == 1e-3
    assert config.optimizer.betas == (0.9, 0.95)
    assert config.run == RunSection()


def test_settings_of_the_command_line_come_last_and_need_no_quotes(recipe):
    path = recipe("[run]\nsteps = 5\n")
    config = read_recipe(
        path, ["run.steps=7", "run.steps=9", "model.path=/some/dir", "freeze.vision=true", "data.meta=a.json"]
    )
    assert (config.run.steps, config.model.path, config.freeze.vision) == (9, "/some/dir", True)
    assert config.data.meta == ("a.json",)


def test_a_recipe_stands_on_its_base(recipe):
    recipe("seed = 3\n[run]\nsteps = 5\nsave_every = 2\n", "below.toml")
    config = read_recipe(recipe('base = "below.toml"\n[run]\nsteps = 6\n'))
    assert (config.seed, config.run.steps, config.run.save_every) == (3, 6, 2)


def test_bases_in_a_circle_are_refused(recipe):
    recipe('base = "b.toml"\n', "a.toml")
    with pytest.raises(ConfigError, match="circle"):
        read_recipe(recipe('base = "a.toml"\n', "b.toml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[run]\nstepps = 5\n", "Did you mean run.steps"),
        ("lerning_rate = 1e-3\n", "Did you mean optimizer.learning_rate"),
        ("[optimiser]\nlearning_rate = 1e-3\n", "Did you mean optimizer"),
        ('[run]\nsteps = "many"\n', "run.steps is 'many'; expected a whole number"),
        ("[run]\nsteps = true\n", "expected a whole number"),
        ("[run]\nsteps = 1.5\n", "expected a whole number"),
        ('[schedule]\nkind = "cosin"\n', "Did you mean 'cosine'"),
        ("run = 5\n", "run is a section"),
        ("[optimizer]\nbetas = [0.9]\n", "holds 1 values; expected 2"),
        ("[run\n", "cannot be read as a recipe"),
        ("[freeze]\nvision = true\nprojector = true\ndecoder = true\n", "leave nothing to train"),
        ("[run]\nmicro_batch_size = 4\n", "packed rows come one by one"),
        ("[data]\nmax_tokens = 0\n", "data.max_tokens is 0"),
        ("[objective.places]\npatch_glyph = -1\n", "objective.places.patch_glyph is -1"),
        ("[objective.places]\ntoken_glyph = 1\n", "Did you mean objective.places.token_glyphs"),
    ],
)
def test_what_cannot_be_right_is_said_with_file_key_and_cure(recipe, text, message):
    path = recipe(text)
    with pytest.raises(ConfigError, match="recipe.toml") as error:
        read_recipe(path)
    assert message in str(error.value)


def test_every_question_to_places_has_a_weight(recipe):
    config = read_recipe(recipe("[objective.places]\ntoken_thing = 2\n"))
    weights = config.objective.places.weights()
    assert weights.keys() == HEADS.keys()
    assert weights["token_thing"] == 2


def test_a_missing_recipe_and_a_malformed_setting_are_named(recipe, tmp_path):
    with pytest.raises(ConfigError, match="there is no recipe"):
        read_recipe(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"expected section\.key=value"):
        read_recipe(recipe(""), ["steps 5"])


def test_a_config_survives_its_plain_values(recipe):
    config = read_recipe(recipe('[lora]\nr = 4\nvision = ["qkv"]\n[model]\ndrop_path = 0.1\n'))
    assert build(TrainConfig, to_tree(config), "tree") == config


def test_accumulation_follows_from_the_global_batch():
    assert RunSection(global_batch_size=128, micro_batch_size=4).accumulation(num_ranks=8) == 4
    assert RunSection(grad_accum_steps=3).accumulation(num_ranks=2) == 3
    with pytest.raises(ConfigError, match="not a multiple"):
        RunSection(global_batch_size=10, micro_batch_size=4).accumulation(num_ranks=1)


PUBLISHED = sorted((Path(__file__).parents[3] / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_recipes_are_read(path):
    config = read_recipe(path)
    assert config.notes
    assert config.data.meta
    assert config.run.accumulation(num_ranks=2) >= 1


def test_the_published_recipes_cover_the_family():
    names = {path.stem for path in PUBLISHED}
    for release in ("internvl1_5", "internvl2", "internvl2_5", "internvl3", "internvl3_5"):
        assert {f"{release}-finetune", f"{release}-lora"} <= names, release


def test_epochs_become_steps_over_rows_that_are_not_packed():
    config = TrainConfig(
        data=DataConfig(packing=False), run=RunSection(epochs=2, global_batch_size=8, micro_batch_size=2)
    )
    assert config.with_steps(100, num_ranks=2).run.steps == 25
    with pytest.raises(ConfigError, match="not packed"):
        TrainConfig(run=RunSection(epochs=1)).with_steps(100, num_ranks=1)


@pytest.mark.parametrize(
    "setting",
    [
        "optimizer.clip_norm=-1", "optimizer.projector_learning_rate=-1", "optimizer.learning_rate=nan",
        "optimizer.betas=[1.5, 0.9]", "optimizer.eps=-1", "schedule.warmup_steps=-5", "run.validate_batches=0",
        "run.max_minutes=-1", "run.threads=-1", "run.epochs=nan", "objective.beta=-1",
    ],
)  # fmt: skip
def test_numbers_that_would_ruin_a_run_are_refused_by_name(tmp_path, setting):
    (tmp_path / "recipe.toml").write_text('[data]\nmeta = ["rows.jsonl"]\n')
    with pytest.raises(ConfigError, match=setting.partition("=")[0]):
        read_recipe(tmp_path / "recipe.toml", [setting])
