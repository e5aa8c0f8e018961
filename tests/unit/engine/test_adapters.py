"""Several adapters in one engine: each answer is the one that the merged model alone would give."""

import copy

import pytest
import torch

from internvl.checkpoint.adapters_peft import save_adapter
from internvl.engine.config import EngineConfig
from internvl.engine.engine import Engine
from internvl.errors import CheckpointError, ConfigError, RequestError
from internvl.models.pack import pack_linears
from internvl.nn.lora import LoraConfig, add_lora, lora_parameters, merge_lora
from internvl.types import GenerationConfig
from tiny_engines import picture, tiny_engine, tiny_parts

GREEDY = GenerationConfig(max_new_tokens=12, ignore_eos=True)
SECTIONS = {"decoder": "all-linear", "vision": "all-linear", "projector": "all-linear"}
KINDS = {
    "text": {"vision": (), "projector": ()},
    "sight": {"decoder": ()},
    "dora": {"use_dora": True},
}


def adapted(family, kind):
    model = copy.deepcopy(tiny_parts(family)[0])
    add_lora(model, LoraConfig(r=4, alpha=8, **(SECTIONS | KINDS[kind])))
    generator = torch.Generator().manual_seed(sorted(KINDS).index(kind))
    with torch.no_grad():
        for parameter in lora_parameters(model):
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Family -> name -> an adapter's directory."""
    base = tmp_path_factory.mktemp("adapters")
    return {
        family: {kind: save_adapter(adapted(family, kind), base / family / kind) for kind in KINDS}
        for family in ("qwen2", "phi3")
    }


def prompts():
    shown = [{"type": "image", "image": picture(seed=1)}, {"type": "text", "text": "What is this?"}]
    return [[{"role": "user", "content": shown}], [{"role": "user", "content": "Say something long."}]]


def alone(family, kind):
    """The answers of a model into which the adapter is merged."""
    model, processor = adapted(family, kind), tiny_parts(family)[1]
    merge_lora(model)
    with Engine(model, processor, EngineConfig(session_len=2048)) as engine:
        return [each.token_ids for each in engine.generate(prompts(), GREEDY)]


@pytest.mark.parametrize("family", ["qwen2", "phi3"])
def test_requests_with_different_adapters_together_are_answered_as_by_merged_models(family, paths):
    names = [None, *KINDS]
    with tiny_engine(family) as plain:
        expected = {None: [each.token_ids for each in plain.generate(prompts(), GREEDY)]}
    expected |= {kind: alone(family, kind) for kind in KINDS}
    assert len({str(answers) for answers in expected.values()}) == 4
    with tiny_engine(family, adapters=paths[family], max_batch_size=8) as engine:
        assert engine.adapters == tuple(KINDS)
        for _ in range(2):  # the second time from what the first has left in the caches
            requests = [
                (name, index, engine.submit(prompt, GREEDY, adapter=name))
                for index, prompt in enumerate(prompts())
                for name in names
            ]
            for name, index, request in requests:
                found = [token for delta in engine.stream(request) for token in delta.token_ids]
                assert found == expected[name][index], (name, index)
        assert engine.stats().counters.prefix_hit_tokens > 0


def test_an_adapter_stands_beside_packed_layers_too(paths):
    model, processor = copy.deepcopy(tiny_parts("qwen2")[0]), tiny_parts("qwen2")[1]
    pack_linears(model)
    with Engine(model, processor, EngineConfig(session_len=2048, adapters=paths["qwen2"])) as engine:
        for kind in KINDS:
            found = [each.token_ids for each in engine.generate(prompts(), GREEDY, adapter=kind)]
            assert found == alone("qwen2", kind)


@pytest.mark.parametrize("quantize", ["int8", "int4"])
def test_an_adapter_stands_beside_quantised_layers_too(quantize, paths):
    model, processor = copy.deepcopy(tiny_parts("qwen2")[0]), tiny_parts("qwen2")[1]
    pack_linears(model, quantize)
    with Engine(model, processor, EngineConfig(session_len=2048, adapters=paths["qwen2"])) as engine:
        base = [each.token_ids for each in engine.generate(prompts(), GREEDY)]
        for kind in KINDS:
            found = [each.token_ids for each in engine.generate(prompts(), GREEDY, adapter=kind)]
            assert [len(each) for each in found] == [12, 12]
            assert found[0] != base[0]


def test_blocks_and_features_of_one_adapter_are_not_shared_with_another(paths):
    with tiny_engine(adapters=paths["qwen2"]) as engine:
        cached = {}
        for name in ("text", "sight", None, "text"):
            (answer,) = engine.generate(prompts()[:1], GREEDY, adapter=name)
            cached.setdefault(name, []).append((answer.usage.cached_tokens, answer.usage.cached_media))
        (first, again), (sight,), (plain,) = cached["text"], cached["sight"], cached[None]
        assert first == sight == (0, 0)
        assert plain == (0, 1)  # "text" leaves the vision tower alone, so the picture looked the same
        assert again[0] > 0


def test_the_model_is_as_it_was_when_the_engine_has_closed(paths):
    model = tiny_parts("qwen2")[0]
    tiny_engine(adapters=paths["qwen2"]).close()
    assert not any(module._forward_hooks for module in model.modules())
    assert all(".parts." not in name for name, _ in model.named_parameters())


def test_unknown_names_and_unfitting_files_are_refused(paths, tmp_path):
    engine = tiny_engine(adapters={"mine": paths["qwen2"]["text"]})
    with engine, pytest.raises(RequestError, match="no adapter 'yours'.* are: mine"):
        engine.submit(prompts()[1], adapter="yours")
    with pytest.raises(CheckpointError, match="phi3"):
        tiny_engine(adapters={"mine": paths["phi3"]["text"]})
    model = adapted("qwen2", "text")
    model.projector.requires_grad_()
    whole = save_adapter(model, tmp_path / "whole")
    with pytest.raises(ConfigError, match="whole layers"):
        tiny_engine(adapters={"mine": whole})
    assert not any(module._forward_hooks for module in tiny_parts("qwen2")[0].modules())
