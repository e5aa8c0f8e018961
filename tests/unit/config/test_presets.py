"""The table of released checkpoints, and the tiny models."""

import pytest

from internvl.config import presets
from internvl.config.backbones import BACKBONES
from internvl.errors import ConfigError

EXPECTED = [
    "InternVL-Chat-V1-1",
    "InternVL-Chat-V1-2",
    "InternVL-Chat-V1-2-Plus",
    "InternVL-Chat-V1-5",
    "Mini-InternVL-Chat-2B-V1-5",
    "Mini-InternVL-Chat-4B-V1-5",
    "InternVL2-1B",
    "InternVL2-2B",
    "InternVL2-4B",
    "InternVL2-8B",
    "InternVL2-8B-MPO",
    "InternVL2-26B",
    "InternVL2-40B",
    "InternVL2-Llama3-76B",
    "InternVL2_5-1B",
    "InternVL2_5-78B",
    "InternVL2_5-8B-MPO",
    "InternVL2_5-78B-MPO",
    "InternVL3-1B",
    "InternVL3-8B-hf",
    "InternVL3-9B",
    "InternVL3-78B-Instruct",
    "InternVL3-14B-Pretrained",
    "InternVL3_5-1B",
    "InternVL3_5-8B-HF",
    "InternVL3_5-8B-Flash",
    "InternVL3_5-241B-A28B",
    "InternVL3_5-241B-A28B-HF",
    "InternVL3_5-GPT-OSS-20B-A4B-Preview",
    "InternVL3_5-GPT-OSS-20B-A4B-Preview-HF",
    "InternVL3_5-30B-A3B-Instruct",
    "InternVL-14B-224px",
    "InternViT-6B-224px",
    "InternViT-6B-448px-V1-5",
    "InternViT-300M-448px",
    "InternViT-300M-448px-V2_5",
]


@pytest.mark.parametrize("name", EXPECTED)
def test_every_released_checkpoint_is_found_by_name_and_by_hub_id(name):
    preset = presets.find(name)
    assert preset.name == name
    assert presets.find(f"OpenGVLab/{name}") is preset
    assert presets.find(name.lower()) is preset


def test_the_papers_spelling_with_a_dot_is_understood():
    assert presets.find("InternVL2.5-8B").name == "InternVL2_5-8B"
    assert presets.find("internvl3.5-8b").name == "InternVL3_5-8B"


@pytest.mark.parametrize(
    ("typed", "meant"), [("InternVL3-8", "InternVL3-8B"), ("OpenGVLab/IntenVL2_5-8B", "InternVL2_5-8B")]
)
def test_a_misspelt_name_is_answered_with_the_nearest(typed, meant):
    with pytest.raises(ConfigError, match=rf"did you mean .*{meant}"):
        presets.find(typed)


def test_a_foreign_name_is_answered_with_the_command_that_lists_them():
    with pytest.raises(ConfigError, match="internvl models"):
        presets.find("gpt-4o")


@pytest.mark.parametrize("preset", presets.all_presets().values(), ids=lambda preset: preset.name)
def test_each_preset_is_consistent(preset):
    assert preset.name.startswith(preset.base)
    assert preset.base in presets.all_presets()
    assert preset.licence
    assert (preset.kind == "chat") == (preset.config is not None)
    assert (preset.kind == "contrastive") == (preset.contrastive is not None)
    if preset.config is not None:
        assert preset.config.tokens_per_tile == 256
        assert preset.config.text.family == BACKBONES[preset.backbone].text.family
        assert preset.backbone_licence
        # InternVL2-40B was trained with 8k on a backbone configured for 4k.
        assert preset.name == "InternVL2-40B" or preset.context_length <= preset.config.text.max_position


def test_variants_share_the_shape_of_their_base():
    for preset in presets.all_presets().values():
        base = presets.find(preset.base)
        if preset.config is not None and base.config is not None:
            assert (preset.config.text, preset.config.vision) == (base.config.text, base.config.vision)


def test_hf_twins_are_marked_by_their_layout():
    layouts = {p.name: p.config.layout for p in presets.all_presets().values() if p.config is not None}
    assert {name for name, layout in layouts.items() if layout == "hf"} == {
        name for name in layouts if name.lower().endswith("-hf")
    }


def test_what_cannot_run_says_why():
    assert "ViR" in presets.find("InternVL3_5-8B-Flash").unsupported
    assert not presets.find("InternVL3_5-8B").unsupported


def test_licences_of_the_backbone_are_not_hidden_behind_mit():
    assert presets.find("InternVL2-Llama3-76B").backbone_licence == "Llama 3"
    assert presets.find("InternVL2_5-4B").backbone_licence == "Qwen Research"
    assert presets.find("InternVL-Chat-V1-1").backbone_licence == "Llama 2"


def test_the_first_releases_take_one_tile_and_the_first_pixel_shuffle():
    for name in ("InternVL-Chat-V1-1", "InternVL-Chat-V1-2-Plus"):
        config = presets.find(name).config
        assert config is not None
        assert (config.max_tiles, config.dynamic_tiling, config.use_thumbnail) == (1, False, False)
        assert config.projector.pixel_shuffle == "v1"


@pytest.mark.parametrize("family", presets.TINY_FAMILIES)
def test_tiny_models_exist_for_every_family(family):
    config = presets.tiny(family)
    assert config.text.family == family
    assert config.tokens_per_tile == 4


def test_tiny_covers_every_family_of_the_released_models():
    assert {backbone.text.family for backbone in BACKBONES.values()} <= set(presets.TINY_FAMILIES)


def test_an_unknown_tiny_family_is_refused_by_name():
    with pytest.raises(ConfigError, match="mamba"):
        presets.tiny("mamba")
