"""Estimates against published totals, and against the real modules and cache."""

from dataclasses import replace

import pytest

from internvl.config import memory, presets
from internvl.config.memory import count_parameters

# Billions, from the model cards (V1.5 to V3.5) and FACTS.
PUBLISHED = {
    "InternVL-Chat-V1-1": 19.0,
    "InternVL-Chat-V1-2": 40.1,
    "InternVL-Chat-V1-5": 25.5,
    "Mini-InternVL-Chat-2B-V1-5": 2.2,
    "Mini-InternVL-Chat-4B-V1-5": 4.2,
    "InternVL2-1B": 0.9,
    "InternVL2-2B": 2.2,
    "InternVL2-8B": 8.1,
    "InternVL2-26B": 25.5,
    "InternVL2-40B": 40.1,
    "InternVL2-Llama3-76B": 76.3,
    "InternVL2_5-4B": 3.7,
    "InternVL2_5-8B": 8.1,
    "InternVL2_5-78B": 78.4,
    "InternVL3-1B": 0.9,
    "InternVL3-2B": 2.1,
    "InternVL3-8B": 7.9,
    "InternVL3-9B": 9.1,
    "InternVL3-14B": 15.1,
    "InternVL3-38B": 38.4,
    "InternVL3-78B": 78.4,
    "InternVL3_5-1B": 1.1,
    "InternVL3_5-2B": 2.3,
    "InternVL3_5-4B": 4.7,
    "InternVL3_5-8B": 8.5,
    "InternVL3_5-14B": 15.1,
    "InternVL3_5-GPT-OSS-20B-A4B-Preview": 21.2,
    "InternVL3_5-30B-A3B": 30.8,
    "InternVL3_5-38B": 38.4,
    "InternVL3_5-241B-A28B": 240.7,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_computed_parameters_are_the_published_ones(name):
    config = presets.find(name).config
    assert config is not None
    # Cards print one decimal, so the smallest models carry 5 % of rounding.
    assert count_parameters(config).total / 1e9 == pytest.approx(
        PUBLISHED[name], abs=0.051 + 0.001 * PUBLISHED[name]
    )


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("InternViT-300M-448px", 0.304),
        ("InternViT-6B-448px-V2_5", 5.54),
        ("InternViT-6B-448px-V1-0", 5.903),
    ],
)
def test_vision_towers_have_their_published_size(name, billions):
    assert memory.count_vision(presets.find(name).vision) / 1e9 == pytest.approx(billions, rel=0.002)


@pytest.mark.parametrize(
    ("name", "billions"),
    [("InternVL3_5-30B-A3B", 3), ("InternVL3_5-241B-A28B", 28), ("InternVL3_5-8B", 8.53)],
)
def test_active_parameters_count_only_the_experts_in_use(name, billions):
    config = presets.find(name).config
    assert config is not None
    # "A3B" counts the language model alone; vision tower and head make it 3.7.
    assert count_parameters(config).active / 1e9 == pytest.approx(billions, rel=0.25)


def test_an_8b_model_needs_about_16_gb_in_half_precision():
    for name in ("InternVL2-8B", "InternVL2_5-8B", "InternVL3-8B", "InternVL3_5-8B"):
        config = presets.find(name).config
        assert config is not None
        assert memory.weight_bytes(count_parameters(config), "bfloat16") / 1e9 == pytest.approx(16.5, abs=0.7)


def test_smaller_formats_need_less_and_int4_leaves_embeddings_and_tower_alone():
    parameters = count_parameters(presets.tiny("qwen2"))
    sizes = [memory.weight_bytes(parameters, dtype) for dtype in ("float32", "bfloat16", "int8", "int4")]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 2 * sizes[1] == 4 * parameters.total
    assert sizes[3] > 2 * (parameters.vision + parameters.projector + parameters.embeddings)


def test_tied_embeddings_are_counted_once():
    text = presets.tiny("qwen2").text
    tied = memory.count_text(replace(text, tie_embeddings=True))
    assert memory.count_text(text).embeddings == 2 * tied.embeddings


@pytest.mark.parametrize("family", presets.TINY_FAMILIES)
@pytest.mark.parametrize("vision", ["300M", "6B"])
def test_counted_parameters_are_those_of_the_real_model(family, vision):
    torch = pytest.importorskip("torch")
    from internvl.models.internvl import InternVLModel

    config = presets.tiny(family, vision=vision)
    with torch.device("meta"):
        model = InternVLModel(config, image_token_id=1)
    counted = count_parameters(config)
    for part, number in (
        ("vision", counted.vision),
        ("projector", counted.projector),
        ("decoder", counted.text),
    ):
        assert sum(p.numel() for p in getattr(model, part).parameters()) == number, part


def test_counted_parameters_of_the_contrastive_model_are_the_real_ones():
    torch = pytest.importorskip("torch")
    from internvl.config.model import ContrastiveConfig
    from internvl.models.contrastive import ContrastiveModel

    tiny = presets.tiny("llama", vision="6B")
    text = replace(tiny.text, num_kv_heads=tiny.text.num_heads, num_layers=3)
    config = ContrastiveConfig(vision=tiny.vision, text=text, embed_dim=24, pool_heads=4, num_query_tokens=5)
    with torch.device("meta"):
        model = ContrastiveModel(config)
    assert sum(p.numel() for p in model.parameters()) == memory.count_contrastive(config).total


@pytest.mark.parametrize("family", ["qwen2", "gpt_oss"])
def test_the_cache_takes_what_was_estimated(family):
    torch = pytest.importorskip("torch")
    from internvl.nn.kv_cache import KVCache

    text = presets.tiny(family).text
    cache = KVCache.allocate(text, batch_size=3, max_length=40, dtype=torch.bfloat16)
    assert cache.size_bytes == memory.kv_cache_bytes(text, session_len=40, batch_size=3, dtype="bfloat16")


def test_more_pictures_longer_sessions_and_larger_batches_cost_more():
    config = presets.tiny("qwen2")

    def total(**changes):
        wanted = {"session_len": 256, "num_tiles": 2, "prompt_tokens": 64, "batch_size": 1} | changes
        return memory.estimate(config, dtype="bfloat16", **wanted).total

    assert total() < total(num_tiles=13)
    assert total() < total(session_len=512)
    assert total() < total(batch_size=2)
    assert total() < total(prompt_tokens=128)


def test_the_total_is_the_sum_of_its_parts():
    parts = memory.estimate(
        presets.tiny("qwen3"), dtype="float32", session_len=128, num_tiles=1, prompt_tokens=32
    )
    assert parts.total == parts.weights + parts.kv_cache + parts.activations + parts.runtime


def test_the_block_of_scores_is_the_one_that_attention_holds():
    pytest.importorskip("torch")
    from internvl.nn import attention

    assert memory.SINK_SCORES == attention.SINK_SCORES
