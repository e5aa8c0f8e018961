"""InternVL-C/G against the recorded features, scores and caption."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from golden import GOLDEN, requires_golden
from internvl.checkpoint.contrastive import load_contrastive_model, load_contrastive_processor

pytestmark = [pytest.mark.parity, requires_golden]
DIRECTORY = GOLDEN / "contrastive" / "internvl_14b_tiny"


@pytest.fixture(scope="module")
def recorded():
    return json.loads((DIRECTORY / "golden.json").read_text()), load_file(DIRECTORY / "golden.safetensors")


@pytest.fixture(scope="module")
def model():
    return load_contrastive_model(DIRECTORY, dtype="float32")


@pytest.fixture(scope="module")
def processor():
    return load_contrastive_processor(DIRECTORY)


@pytest.mark.parametrize("task", ["retrieval", "classification"])
def test_pixels_equal_the_reference(task, processor, recorded):
    case, tensors = recorded
    images = [Image.open(GOLDEN / "images" / name).convert("RGB") for name in case["images"]]
    found = processor.pixel_values(images, task=task)
    torch.testing.assert_close(found, tensors[f"pixel_values.{task}"], atol=1e-6, rtol=0)


def test_text_ids_equal_the_reference(processor, recorded):
    case, tensors = recorded
    assert torch.equal(processor.text_ids(case["texts"]), tensors["text_ids"])
    assert [processor.prompt_ids(case["caption"]["prompt"])] == case["caption"]["input_ids"]


@pytest.mark.parametrize("mode", ["C", "G"])
@pytest.mark.parametrize("task", ["retrieval", "classification"])
@torch.inference_mode()
def test_features_and_scores_equal_the_reference(task, mode, model, recorded):
    _, tensors = recorded
    images = model.image_features(tensors[f"pixel_values.{task}"], mode=mode)
    torch.testing.assert_close(images, tensors[f"{task}.InternVL-{mode}.image_features"], atol=2e-5, rtol=0)
    texts = model.text_features(tensors["text_ids"])
    torch.testing.assert_close(texts, tensors["text_features"], atol=2e-5, rtol=0)
    scores = model.logits_per_image(images, texts)
    torch.testing.assert_close(scores, tensors[f"{task}.InternVL-{mode}.logits_per_image"], atol=1e-4, rtol=0)


@torch.inference_mode()
def test_caption_equals_the_reference(model, processor, recorded):
    case, tensors = recorded
    expected = case["caption"]["output_ids"][0]
    pixel_values = tensors["pixel_values.retrieval"][:1]
    ids = model.caption_ids(
        pixel_values,
        torch.tensor(case["caption"]["input_ids"]),
        max_new_tokens=len(expected) - 1,
        eos_token_id=processor.eos_token_id,
    )
    assert [processor.bos_token_id, *ids] == expected
