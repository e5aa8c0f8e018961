"""Ids, labels, tiles and packed rows of training data, as the reference's trainer makes them.

Pictures are handed over opened: then intake changes nothing about them (FACTS 6.1). Where the reference crashes on a
row that means something (a system turn before V2.5, text without pictures for GPT-OSS), ours is only required to work.
"""

import hashlib
import json
import random
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from fakes import tiny_model_config
from golden import GOLDEN, requires_golden
from internvl.preprocess.processor import Processor
from internvl.preprocess.tokenizer import load_tokenizer
from internvl.train.batch import IGNORE_INDEX
from internvl.train.collate import collate, collate_packed, normalized
from internvl.train.dataset import DataConfig
from internvl.train.labels import RowTurn, encode_turns, truncated
from internvl.train.meta import SourceSpec
from internvl.train.packing import ReferencePacker
from internvl.train.rows import parse_row
from internvl.train.samples import make_sample

pytestmark = [pytest.mark.parity, requires_golden]

TRAINING = GOLDEN / "training"
FAMILY_OF = {"qwen3_mini": "qwen3", "gptoss_mini": "gpt_oss"}
CONFIG = DataConfig(
    max_tokens=4096, max_tiles=6, min_frames=4, max_frames=4, frame_sampling="middle", packing=False
)


@cache
def processor(template, tokenizer):
    config = tiny_model_config(FAMILY_OF.get(tokenizer, "qwen2"), template=template)
    return Processor(config, load_tokenizer(GOLDEN / "tokenizers" / tokenizer))


@cache
def recorded(name):
    return json.loads((TRAINING / name).read_text(encoding="utf-8"))


def encode(row):
    turns = [RowTurn(turn["from"], turn["value"]) for turn in row["conversations_in"]]
    image_tokens = [] if row["text_only"] else row["num_image_token_list"]
    return encode_turns(turns, processor(row["template"], row["tokenizer"]), image_tokens)


def rows_of(file, **fields):
    return [row for row in recorded(file) if all(row.get(name) == value for name, value in fields.items())]


def names(rows):
    keys = ("id", "template", "tokenizer", "model_max_length", "group_by_length")
    return ["-".join(str(row[key]) for key in keys if row.get(key) is not None) for row in rows]


@cache
def sample_of(file, number):
    """A row of a recorded JSONL file, its pictures opened."""
    line = (TRAINING / file).read_text(encoding="utf-8").splitlines()[number]

    def resolve(name):
        path = GOLDEN / "images" / name
        return str(path) if path.is_dir() else Image.open(path)

    row = parse_row(json.loads(line), f"{file}:{number + 1}", resolve)
    spec = SourceSpec(name=file)
    return make_sample(row, spec, CONFIG, processor("internvl2_5", "qwen2_mini"), random.Random(0))


def num_rows(file):
    return len((TRAINING / file).read_text(encoding="utf-8").splitlines())


LABELLED = [row for row in (recorded("preprocess.json") if TRAINING.is_dir() else []) if "error" not in row]


@pytest.mark.parametrize("row", LABELLED, ids=names(LABELLED))
def test_ids_and_labels_equal_the_recorded_ones(row):
    length = row["model_max_length"]
    encoded = truncated(encode(row), length)
    ids, labels = row["input_ids"], row["labels"]
    fill = 0 if row["group_by_length"] else length - len(encoded.input_ids)
    pad = processor(row["template"], row["tokenizer"]).tokenizer.pad_token_id
    assert encoded.input_ids + [pad] * fill == ids
    assert encoded.labels + [IGNORE_INDEX] * fill == labels


def test_where_the_reference_masks_a_whole_row_there_is_nothing_to_learn():
    warned = [row for row in recorded("preprocess.json") if row.get("warning")]
    assert {row["id"] for row in warned} == {"e_empty_answer"}
    for row in warned:
        assert set(encode(row).labels) == {IGNORE_INDEX}


def test_a_system_turn_works_in_every_template():
    for row in rows_of("preprocess.json", id="s0_system", model_max_length=4096):
        encoded = encode(row)
        tokenizer = processor(row["template"], row["tokenizer"]).tokenizer
        text = tokenizer.decode(encoded.input_ids, skip_special_tokens=False)
        assert "You are terse." in text
        learnt = [i for i in encoded.labels if i != IGNORE_INDEX]
        assert "Rayleigh scattering." in tokenizer.decode(learnt)


QWEN3 = rows_of("preprocess_gpt_oss.json", function="preprocess_internvl2_5") if TRAINING.is_dir() else []
GPT_OSS = (
    rows_of("preprocess_gpt_oss.json", function="preprocess_internvl3_5_gpt_oss_with_think")
    if TRAINING.is_dir()
    else []
)


@pytest.mark.parametrize("row", [*QWEN3, *GPT_OSS], ids=names([*QWEN3, *GPT_OSS]))
def test_ids_and_labels_of_the_second_package_equal_the_recorded_ones(row):
    encoded = encode(row)
    if "error" in row:  # a function's result, which Qwen's function does not know
        assert row["id"] == "tool"
        return
    assert encoded.input_ids == row["input_ids"]
    assert encoded.labels == row["labels"]


def test_the_older_gpt_oss_function_differs_only_in_what_ends_an_answer():
    rows = rows_of("preprocess_gpt_oss.json", function="preprocess_internvl3_5_gpt_oss")
    tokenizer = processor("internvl3_5_gpt_oss", "gptoss_mini").tokenizer
    end, stop = tokenizer.token_to_id("<|end|>"), tokenizer.token_to_id("<|return|>")
    compared = 0
    for row in rows:
        if "error" in row:  # it crashes on text without pictures
            assert row["text_only"]
            continue
        encoded = encode(row)
        for ids, labels, our_id, our_label in zip(
            row["input_ids"], row["labels"], encoded.input_ids, encoded.labels, strict=True
        ):
            same = ids == our_id or (ids, our_id) == (end, stop)
            assert same
            assert (labels == IGNORE_INDEX) == (our_label == IGNORE_INDEX)
        compared += 1
    assert compared == 8


def test_items_of_the_data_set_equal_the_recorded_ones():
    items = recorded("train.json")["dataset"]["items"]
    assert len(items) == num_rows("data.jsonl") == 14
    for number, item in enumerate(items):
        sample = sample_of("data.jsonl", number)
        batch = collate([sample])
        assert sample.input_ids.tolist() == item["input_ids"], item["id"]
        assert sample.labels.tolist() == item["labels"], item["id"]
        assert batch.position_ids[0].tolist() == item["position_ids"]
        assert batch.attention_mask is None
        flags = item["image_flags"]
        if flags == [0]:  # the reference's dummy tile
            assert sample.pixel_values is None
            continue
        assert sample.num_tiles == item["num_tiles"] == sum(flags)
        assert batch.pixel_values.mean().item() == pytest.approx(item["pixel_values_mean"], abs=1e-6)
        digest = hashlib.sha256(np.ascontiguousarray(batch.pixel_values.numpy()).tobytes()).hexdigest()
        assert digest == item["pixel_values_sha256"], item["id"]


def test_a_padded_batch_equals_the_recorded_one():
    facts, tensors = recorded("train.json")["padded"], load_file(TRAINING / "train.safetensors")
    order = [item["id"] for item in recorded("train.json")["dataset"]["items"]]
    samples = [sample_of("data.jsonl", order.index(name)) for name in facts["ids"]]
    batch = collate(samples, averaging="token", pad_id=facts["pad_id"])
    mask = tensors["padded.attention_mask"]
    for name in ("input_ids", "labels", "attention_mask"):
        assert torch.equal(getattr(batch, name), tensors[f"padded.{name}"]), name
    assert torch.equal(batch.position_ids[mask], tensors["padded.position_ids"][mask])
    flags = tensors["padded.image_flags"].bool()
    torch.testing.assert_close(batch.pixel_values, tensors["padded.pixel_values"][flags], rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", ["strict", "loose"])
def test_packed_rows_equal_the_recorded_ones(mode):
    facts = recorded("train.json")["packed"][mode]
    tensors = load_file(TRAINING / "train.safetensors")
    settings = facts["settings"]
    length, most = settings["max_packed_tokens"], settings["num_images_expected"]
    packer = ReferencePacker(length, most, buffer=settings["max_buffer_size"])
    rows = []
    for sample in recorded_order(facts):
        if sample.num_tiles <= most:  # the reference logs others and goes on; ours are bad rows
            rows += packer.add(sample)
    rows += packer.flush()
    assert len(rows) == len(facts["outputs"])
    pad = recorded("train.json")["padded"]["pad_id"]
    for number, (row, output) in enumerate(zip(rows, facts["outputs"], strict=True)):
        part = {
            key.split(".", 3)[3]: value
            for key, value in tensors.items()
            if key.startswith(f"packed.{mode}.{number}.")
        }
        flags = part["image_flags"]
        dummies = sum(sample.num_tiles == 0 for sample in row)
        for averaging in ("token", "sample", "square"):
            batch = collate_packed(row, averaging=averaging, pad_id=pad, length=length)
            weight = part[f"loss_weight.{averaging}"]
            torch.testing.assert_close(batch.loss_weight, weight, rtol=1e-6, atol=0)
        assert batch.cu_seqlens.tolist() == part["attention_mask"][0].tolist() == output["cu_seqlens"]
        assert torch.equal(batch.input_ids, part["input_ids"])
        assert torch.equal(batch.labels, part["labels"])
        used = output["num_tokens"]  # the reference fills position_ids with the pad id (FACTS 6.15)
        assert torch.equal(batch.position_ids[:, :used], part["position_ids"][:, :used])
        index = torch.cat([torch.full((s.num_tokens,), n) for n, s in enumerate(row)])
        assert torch.equal(index, part["data_index"])
        missing = most - sum(max(1, s.num_tiles) for s in row) if settings["strict_mode"] else 0
        assert part["statistics"].tolist() == [len(row), length - used, dummies + missing]
        assert int(flags.sum()) == sum(s.num_tiles for s in row)
        if "pixel_values" in part:
            shown = part["pixel_values"][flags.bool()]
            torch.testing.assert_close(batch.pixel_values, shown, rtol=0, atol=1e-6)


def recorded_order(facts):
    """The samples as the reference drew them: a file by its generator, then the file's next row."""
    files = [iter([sample_of(file, n) for n in range(num_rows(file))]) for file in facts["dataset_files"]]
    chance, fallback = np.random.default_rng(0), np.random.RandomState(facts["seed_numpy"])
    while files:
        number = chance.choice(len(files), p=[1 / len(files)] * len(files))
        while files:
            sample = next(files[number], None)
            if sample is not None:
                yield sample
                break
            files.pop(number)
            number = fallback.choice(len(files)) if files else 0


def test_uint8_and_float_tiles_make_the_same_batch():
    sample = sample_of("data.jsonl", 3)
    assert sample.pixel_values.dtype == torch.uint8
    assert torch.equal(normalized(sample.pixel_values), normalized(normalized(sample.pixel_values)))
