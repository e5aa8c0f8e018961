"""Training sees the ids that chat builds, and learns the answers only."""

import random

import pytest
from PIL import Image

from internvl.data.questions import ask
from internvl.data.scene import Scene, SceneObject
from internvl.preprocess.chat_template import SHUSHENG_WANXIANG
from internvl.preprocess.processor import Processor
from internvl.preprocess.tokenizer import load_tokenizer
from internvl.train.nano.conversation import IGNORE_INDEX, ConversationEncoder
from internvl.train.nano.model_config import ASSETS, nano_config

PICTURE = Image.new("RGB", (30, 20), "red")
SCENE = Scene(
    image=PICTURE, background="red", lines=("STOP 5", "für 2€"), text_colour="white",
    objects=[SceneObject("dog", None, (0.1, 0.1, 0.3, 0.3))],
)  # fmt: skip


@pytest.fixture(scope="module")
def encoder():
    return ConversationEncoder(ASSETS)


@pytest.fixture(scope="module")
def processor():
    return Processor(nano_config(112), load_tokenizer(ASSETS))


def messages(turns, system):
    content = [] if system is None else [{"role": "system", "content": system}]
    for n, (question, answer) in enumerate(turns):
        parts = [{"type": "text", "text": question}]
        if n == 0:
            parts.insert(0, {"type": "image", "image": PICTURE})
        content += [{"role": "user", "content": parts}, {"role": "assistant", "content": answer}]
    return content


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("system", [SHUSHENG_WANXIANG, "You are nano."])
def test_ids_are_those_of_the_processor(encoder, processor, seed, system):
    turns = ask(random.Random(seed), SCENE, 3)
    ids, _ = encoder.encode(turns, system=system, num_image_tokens=16)
    inputs = processor(messages(turns, system), add_generation_prompt=False)
    assert ids == inputs.input_ids.tolist()


def test_ids_without_a_system_message_are_those_of_the_transformers_template(encoder):
    turns = ask(random.Random(0), SCENE, 2)
    ids, _ = encoder.encode(turns, system=None, num_image_tokens=16)
    processor = Processor(nano_config(112), load_tokenizer(ASSETS), "internvl_hf")
    text = processor.tokenizer.decode(ids, skip_special_tokens=False)
    assert text.startswith("<|im_start|>user\n<img><IMG_CONTEXT>")
    assert ids == processor(messages(turns, None), add_generation_prompt=False).input_ids.tolist()


def test_only_answers_and_their_end_are_learnt(encoder):
    turns = [("What is this?", "a dog"), ("Sure?", "yes")]
    ids, labels = encoder.encode(turns, system=SHUSHENG_WANXIANG, num_image_tokens=16)
    assert len(ids) == len(labels)
    learnt = [i for i, label in zip(ids, labels, strict=True) if label != IGNORE_INDEX]
    assert all(label in (i, IGNORE_INDEX) for i, label in zip(ids, labels, strict=True))
    assert encoder.tokenizer.decode(learnt, skip_special_tokens=False) == "a dog<|im_end|>yes<|im_end|>"


def test_small_talk_has_no_picture(encoder):
    ids, labels = encoder.small_talk(random.Random(0))
    assert encoder.image_token_id not in ids
    assert any(label != IGNORE_INDEX for label in labels)


def test_systems_vary_but_the_default_is_commonest(encoder):
    default = encoder.tokenizer.encode(f"<|im_start|>system\n{SHUSHENG_WANXIANG}<|im_end|>\n")
    beginnings = [
        encoder.small_talk(random.Random(seed))[0][: len(default)] == default for seed in range(200)
    ]
    assert 0.65 < sum(beginnings) / 200 < 0.95
