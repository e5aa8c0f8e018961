"""transformers, the peer, reads what `convert` writes: same logits, same prompts, every family."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch

from fakes import FAMILIES
from golden import requires_golden
from internvl.checkpoint.convert import convert
from internvl.checkpoint.hf_config import read_model_config
from internvl.checkpoint.load import load_model, load_processor
from internvl.errors import CheckpointError
from internvl.preprocess.chat_template import find_template
from recorded import Recording, recorded_checkpoints
from tiny_checkpoint import write_checkpoint

pytestmark = [
    pytest.mark.slow,  # importing transformers takes seconds
    # The peer's own warnings are no business of ours.
    pytest.mark.filterwarnings("default"),
]

ATOL = 5e-4  # golden/FORMAT.md; measured 3e-5
V1_SHUFFLE = {"internvl2_internlm2_ps_v1", "internvl_v1_2_llama_yi"}
MERGED_ON_THE_WAY = {"internvl2_5_qwen2_lora"}
CASES = ("text", "single_image", "multi_image", "video")


@pytest.fixture(scope="module")
def transformers() -> ModuleType:
    """Imported by the first test that needs it, not while tests are collected."""
    return pytest.importorskip("transformers")


def peer(transformers: ModuleType, directory: Path) -> torch.nn.Module:
    """The model as transformers loads it; missing and unexpected tensors are failures."""
    model, info = transformers.InternVLForConditionalGeneration.from_pretrained(
        directory, dtype="float32", attn_implementation="eager", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    return model.eval()


@pytest.mark.parametrize("tower", ["small", "large"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_tiny_models_agree(
    family: str, tower: str, tmp_path: Path, transformers: ModuleType
) -> None:
    vision = {"norm": "rms_norm", "qk_norm": True, "qkv_bias": False} if tower == "large" else {}
    write_checkpoint(tmp_path / "a", family, vision=vision)
    convert(tmp_path / "a", tmp_path / "b", layout="hf")
    ours, theirs = load_model(tmp_path / "a"), peer(transformers, tmp_path / "b")
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(10, 250, (2, 30), generator=generator)
    ids[0, 3:7] = ids[1, 5:9] = ours.image_token_id
    pixel_values = torch.randn(2, 3, 56, 56, generator=generator)
    with torch.inference_mode():
        expected = ours(ids, pixel_values)
        found = theirs(input_ids=ids, pixel_values=pixel_values).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_the_bundled_model_gives_the_same_logits_in_transformers(
    tmp_path: Path, transformers: ModuleType
) -> None:
    try:
        convert("nano", tmp_path / "nano", layout="hf")
    except CheckpointError as error:
        pytest.skip(str(error))
    ours, theirs = load_model("nano", dtype="float32"), peer(transformers, tmp_path / "nano")
    size = ours.config.image_size
    generator = torch.Generator().manual_seed(0)
    ids = torch.full((1, ours.config.tokens_per_tile + 8), ours.image_token_id)
    ids[0, -8:] = torch.randint(300, 310, (8,), generator=generator)
    pixel_values = torch.randn(1, 3, size, size, generator=generator)
    with torch.inference_mode():
        found = theirs(input_ids=ids, pixel_values=pixel_values).logits
        torch.testing.assert_close(found, ours(ids, pixel_values), atol=ATOL, rtol=0)


def test_an_inner_layer_can_be_selected(tmp_path: Path, transformers: ModuleType) -> None:
    write_checkpoint(tmp_path / "a", select_layer=-2)
    convert(tmp_path / "a", tmp_path / "b", layout="hf")
    ours, theirs = load_model(tmp_path / "a"), peer(transformers, tmp_path / "b")
    pixel_values = torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = theirs.get_image_features(pixel_values).pooler_output
        torch.testing.assert_close(found, ours.image_embeds(pixel_values), atol=1e-5, rtol=0)


def test_tied_embeddings_stay_tied(tmp_path: Path, transformers: ModuleType) -> None:
    write_checkpoint(tmp_path / "a", "qwen3", text={"tie_embeddings": True})
    convert(tmp_path / "a", tmp_path / "b", layout="hf")
    model = peer(transformers, tmp_path / "b")
    assert model.lm_head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()


@cache
def _converted(name: str, root: Path) -> Path:
    target = root / name
    convert(Recording("checkpoints", name).directory, target, layout="hf")
    return target


@pytest.fixture(scope="module")
def converted_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("converted")


def _recorded() -> list[str]:
    return [name for name in recorded_checkpoints("checkpoints") if name not in MERGED_ON_THE_WAY]


def _inputs(recording: Recording, facts: dict) -> dict[str, torch.Tensor | None]:
    ids = torch.tensor(facts["input_ids"]).reshape(1, -1)
    return {"input_ids": ids, "pixel_values": recording.pixel_values(facts["pixel_values"])}


def _assert_recorded(logits: torch.Tensor, recording: Recording, case: str) -> None:
    """Compare (T, V) with the rows that were recorded."""
    found = logits[recording.cases[case]["logit_rows"]]
    want = recording.tensors[f"{case}.logits_rows"]
    where = f"{recording.name}, {case}: {(found - want).abs().max():.1e}"
    torch.testing.assert_close(found, want, atol=ATOL, rtol=0, msg=where)


@requires_golden
@pytest.mark.parity
@pytest.mark.parametrize("name", _recorded())
def test_transformers_gives_the_logits_that_upstream_gave(
    name: str, converted_root: Path, transformers: ModuleType
) -> None:
    recording = Recording("checkpoints", name)
    directory = _converted(name, converted_root)
    for case in CASES:
        facts = recording.cases.get(case)
        if facts is None or (name in V1_SHUFFLE and facts["pixel_values"]):
            continue
        # Loaded anew each time: the peer's dynamic rope remembers the longest sequence that it has seen.
        model = peer(transformers, directory)
        with torch.inference_mode():
            logits = model(**_inputs(recording, facts)).logits[0]
        _assert_recorded(logits, recording, case)


@requires_golden
@pytest.mark.parity
@pytest.mark.parametrize("name", _recorded())
def test_our_own_loader_gives_them_from_the_converted_directory_too(name: str, converted_root: Path) -> None:
    recording = Recording("checkpoints", name)
    model = load_model(_converted(name, converted_root))
    for case in CASES:
        facts = recording.cases.get(case)
        if facts is None:
            continue
        with torch.inference_mode():
            logits = model(**_inputs(recording, facts))[0]
        _assert_recorded(logits, recording, case)


@requires_golden
@pytest.mark.parity
@pytest.mark.parametrize("name", _recorded())
def test_the_chat_template_gives_the_recorded_ids_when_told_the_system_message(
    name: str, converted_root: Path, transformers: ModuleType
) -> None:
    recording = Recording("checkpoints", name)
    template = find_template(read_model_config(recording.directory).template)
    tokenizer = transformers.AutoTokenizer.from_pretrained(_converted(name, converted_root))
    facts = recording.cases["text"]
    messages = [{"role": "user", "content": [{"type": "text", "text": facts["question"]}]}]
    if template.default_system:
        messages.insert(0, {"role": "system", "content": template.default_system})
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert tokenizer(prompt)["input_ids"] == facts["input_ids"]
    stop = transformers.GenerationConfig.from_pretrained(_converted(name, converted_root)).eos_token_id
    assert facts["eos_token_id"] in (stop if isinstance(stop, list) else [stop])


@requires_golden
@pytest.mark.parity
def test_without_a_system_message_the_chat_template_is_the_published_one(
    converted_root: Path, transformers: ModuleType
) -> None:
    published = Recording("checkpoints_hf", "converted_from_internvl2_5_qwen2").directory
    ours = transformers.AutoTokenizer.from_pretrained(_converted("internvl2_5_qwen2", converted_root))
    theirs = transformers.AutoTokenizer.from_pretrained(published)
    messages = [
        {
            "role": "user",
            "content": [{"type": "image"}, {"type": "text", "text": "What?"}, {"type": "video"}],
        },
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "Sure?"},
    ]
    for generate in (True, False):
        render = {"tokenize": False, "add_generation_prompt": generate}
        assert ours.apply_chat_template(messages, **render) == theirs.apply_chat_template(messages, **render)


@requires_golden
@pytest.mark.parity
def test_the_whole_processor_loads_and_expands_pictures(
    converted_root: Path, transformers: ModuleType
) -> None:
    pytest.importorskip("torchvision")
    from PIL import Image

    directory = _converted("internvl3_5_qwen3", converted_root)
    processor = transformers.AutoProcessor.from_pretrained(directory)
    image = Image.new("RGB", (112, 56))
    text = "<IMG_CONTEXT>\nWhat?"
    inputs = processor(images=[image], text=[text], return_tensors="pt")
    tiles = inputs["pixel_values"].shape[0]
    ours = load_processor(directory)
    assert int((inputs["input_ids"] == ours.image_token_id).sum()) == tiles * ours.config.tokens_per_tile


@requires_golden
@pytest.mark.parity
@pytest.mark.parametrize("name", recorded_checkpoints("checkpoints_hf"))
def test_directories_of_transformers_become_upstream_s_with_the_same_weights(
    name: str, tmp_path: Path
) -> None:
    source = Recording("checkpoints_hf", name).directory
    convert(source, tmp_path / "github", layout="github")
    one, other = (dict(load_model(path).named_parameters()) for path in (source, tmp_path / "github"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    messages = [{"role": "user", "content": "Hello!"}]
    prompts = {load_processor(path).render(messages) for path in (source, tmp_path / "github")}
    assert len(prompts) == 1
