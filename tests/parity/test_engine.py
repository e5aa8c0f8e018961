"""Every recorded conversation through the engine: the reference's ids and text, alone and together."""

import pytest

from golden import GOLDEN, requires_golden
from internvl.checkpoint.load import load_model, load_processor
from internvl.engine.config import EngineConfig
from internvl.engine.engine import Engine
from internvl.types import GenerationConfig
from recorded_chats import GITHUB, HF, batch_messages, hf_inputs, messages_of, read_recording, until_stop

pytestmark = [pytest.mark.parity, requires_golden]

GREEDY = GenerationConfig(max_new_tokens=24)


def open_engine(directory, **options):
    model = load_model(directory, dtype="float32", device="cpu")
    return Engine(model, load_processor(directory), EngineConfig(**options))


@pytest.mark.parametrize("name", GITHUB)
def test_answers_equal_the_recorded_chat(name):
    directory = GOLDEN / "checkpoints" / name
    recording = read_recording(directory)
    cases = {key: case for key, case in recording["cases"].items() if key != "batch_chat"}
    conversations = [messages_of(recording, case) for case in cases.values()]
    with open_engine(directory) as engine:
        together = engine.generate(conversations, GREEDY)
        # Now rows and features are warm: what is reused must not change an answer.
        alone = [engine.generate([messages], GREEDY)[0] for messages in conversations]
    for (key, case), batched, single in zip(cases.items(), together, alone, strict=True):
        expected = until_stop(case["greedy_ids"], case["eos_token_id"])
        assert batched.token_ids == expected, key
        assert single.token_ids == expected, key
        assert batched.text == single.text == case["response"], key
        assert batched.finish_reason == ("stop" if expected[-1] == case["eos_token_id"] else "length")
        assert single.usage.vision_s == 0


def rows_to_compare(engine, masks):
    """Rows of a recorded batch whose answers do not depend on its padding.

    Dynamic NTK in the references goes by the padded length, so a shorter row's recorded answer depends on its
    neighbours; ours never do (FACTS 6.3).
    """
    padding_counts = engine.model.config.text.rope.kind == "dynamic"
    return [all(mask) or not padding_counts for mask in masks]


@pytest.mark.parametrize("name", GITHUB)
def test_answers_together_equal_the_recorded_batch_chat(name):
    directory = GOLDEN / "checkpoints" / name
    recording = read_recording(directory)
    case = recording["cases"]["batch_chat"]
    with open_engine(directory) as engine:
        responses = engine.generate(batch_messages(recording), GREEDY)
    compared = rows_to_compare(engine, case["attention_mask"])
    for response, ids, text, same in zip(
        responses, case["greedy_ids"], case["responses"], compared, strict=True
    ):
        if same:
            assert response.token_ids == until_stop(ids, case["eos_token_id"])
            assert response.text == text


@pytest.mark.parametrize("name", HF)
def test_answers_equal_transformers_generate(name):
    directory = GOLDEN / "checkpoints_hf" / name
    recording = read_recording(directory)
    with open_engine(directory) as engine:
        for key, rows in hf_inputs(directory, recording):
            case = recording["cases"][key]
            responses = engine.generate(rows, GREEDY)
            compared = rows_to_compare(engine, case["attention_mask"])
            for response, ids, text, same in zip(
                responses, case["greedy_ids"], case["response"], compared, strict=True
            ):
                if same:
                    assert response.token_ids == until_stop(ids, engine.processor.stop_token_ids), key
                    assert response.text == text, key
