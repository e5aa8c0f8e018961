"""Data sets as training reads them: samples like chat's inputs, an exact order, bad rows said and counted."""

import json
from dataclasses import replace
from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from internvl.errors import ConfigError, DataError
from internvl.train.batches import make_batches
from internvl.train.dataset import DataConfig, make_dataset
from tiny_engines import tiny_parts

COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255)}


@pytest.fixture(scope="module")
def processor():
    return tiny_parts("qwen2")[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name, colour in COLOURS.items():
        noise = np.random.default_rng(1).integers(0, 60, (70, 150, 3), dtype=np.uint8)
        Image.fromarray(noise // 2 + np.array(colour, dtype=np.uint8) // 2).save(folder / f"{name}.png")
    frames = folder / "clip"
    frames.mkdir()
    for n in range(6):
        Image.new("RGB", (40, 30), (n * 40, 0, 0)).save(frames / f"frame_{n}.png")
    write(folder / "text.jsonl", [talk(f"Question {n}", "x " * (n + 1)) for n in range(11)])
    write(
        folder / "seen.jsonl",
        [talk(f"Colour {n}?", name, image=f"{name}.png") for n, name in enumerate(COLOURS)],
    )
    return folder


def talk(question, answer, **row):
    return {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}], **row}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def config(folder, *names, **changes):
    names = names or ("text", "seen")
    meta = tuple(str(folder / f"{name}.jsonl") for name in names)
    return DataConfig(
        **{"meta": meta, "max_tokens": 400, "max_packed_tiles": 14, "packing_buffer": 6, **changes}
    )


def documents(batch):
    """Token ids of each conversation of a batch."""
    if batch.cu_seqlens is not None:
        edges = batch.cu_seqlens.tolist()
        return [tuple(batch.input_ids[0, a:b].tolist()) for a, b in pairwise(edges)]
    kept = batch.attention_mask if batch.attention_mask is not None else torch.ones_like(batch.input_ids)
    return [tuple(ids[mask.bool()].tolist()) for ids, mask in zip(batch.input_ids, kept, strict=True)]


def where(samples):
    return [sample.where for sample in samples]


def same(a, b):
    pixels = (a.pixel_values is None and b.pixel_values is None) or torch.equal(
        a.pixel_values, b.pixel_values
    )
    return torch.equal(a.input_ids, b.input_ids) and torch.equal(a.labels, b.labels) and pixels


def test_a_sample_is_what_chat_would_see(folder, processor):
    (sample,) = islice(make_dataset(config(folder, "seen"), processor, seed=0), 1)
    number = int(sample.where.rpartition(":")[2]) - 1
    name = list(COLOURS)[number]
    messages = [
        {
            "role": "user",
            "content": [
                {"type": "image", "image": str(folder / f"{name}.png")},
                {"type": "text", "text": f"Colour {number}?"},
            ],
        },
        {"role": "assistant", "content": name},
    ]
    chat = processor(messages, add_generation_prompt=False)
    assert sample.input_ids.tolist() == chat.input_ids.tolist()
    batch = next(make_batches(make_dataset(config(folder, "seen"), processor, seed=0)))
    torch.testing.assert_close(batch.pixel_values[: sample.num_tiles], chat.pixel_values, rtol=0, atol=0)
    assert sample.num_image_tokens == chat.media[0].num_tokens


@pytest.mark.parametrize("stop", [0, 1, 5, 16])
def test_a_resumed_data_set_goes_on_exactly(folder, processor, stop):
    make = lambda: make_dataset(config(folder), processor, seed=4)  # noqa: E731
    whole = list(islice(make(), 24))
    first, second = make(), make()
    seen = list(islice(first, stop))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    resumed = seen + list(islice(second, 24 - stop))
    assert where(resumed) == where(whole)
    assert all(same(a, b) for a, b in zip(resumed, whole, strict=True))


@pytest.mark.parametrize(
    "changes", [{}, {"packing": False, "group_by_length": True}, {"packer": "reference"}]
)
@pytest.mark.parametrize("stop", [1, 4])
def test_resumed_batches_are_the_uninterrupted_ones(folder, processor, changes, stop):
    def make():
        dataset = make_dataset(config(folder, **changes, jpeg_augment=True), processor, seed=2)
        return make_batches(dataset, micro_batch_size=1 if dataset.config.packing else 2)

    whole = list(islice(make(), 9))
    first, second = make(), make()
    batches = list(islice(first, stop))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    batches += islice(second, 9 - stop)
    for a, b in zip(batches, whole, strict=True):
        assert torch.equal(a.input_ids, b.input_ids)
        assert (a.pixel_values is None) == (b.pixel_values is None)
        assert a.pixel_values is None or torch.equal(a.pixel_values, b.pixel_values)


def test_ranks_share_the_order_of_one_process(folder, processor):
    whole = where(islice(make_dataset(config(folder), processor, seed=7), 12))
    ranks = [make_dataset(config(folder), processor, rank=rank, world_size=3, seed=7) for rank in range(3)]
    parts = [where(islice(rank, 4)) for rank in ranks]
    assert [place for together in zip(*parts, strict=True) for place in together] == whole
    with pytest.raises(ConfigError, match="rank 0 of 3, not of rank 1 of 3"):
        ranks[1].load_state_dict(ranks[0].state_dict())


@pytest.mark.parametrize(
    "changes", [{}, {"packing": False, "group_by_length": True}, {"packer": "reference"}, {"packing": False}]
)
@pytest.mark.parametrize(("before", "after"), [(1, 2), (3, 1), (2, 3)])
def test_another_number_of_ranks_goes_on_without_losing_or_repeating_a_row(
    folder, processor, changes, before, after
):
    def make(rank, size):
        dataset = make_dataset(
            config(folder, **changes, num_epochs=3), processor, rank=rank, world_size=size, seed=5
        )
        return make_batches(dataset)

    first = [make(rank, before) for rank in range(before)]
    seen = [
        doc
        for rank, batches in enumerate(first)
        for batch in islice(batches, 2 + rank)
        for doc in documents(batch)
    ]
    states = json.loads(json.dumps([batches.state_dict() for batches in first]))
    second = [make(rank, after) for rank in range(after)]
    for batches in second:
        batches.load_states_of(states)
    # and a stop right there: what was inherited is part of the state
    third = [make(rank, after) for rank in range(after)]
    for batches, other in zip(third, second, strict=True):
        batches.load_state_dict(json.loads(json.dumps(other.state_dict())))
    rest = [doc for batches in third for batch in batches for doc in documents(batch)]
    whole = [doc for batch in make(0, 1) for doc in documents(batch)]
    assert sorted(seen + rest) == sorted(whole)


def test_an_epoch_has_every_row_once(folder, processor):
    dataset = make_dataset(config(folder, num_epochs=1), processor, seed=1)
    assert dataset.num_rows == 13
    places = where(dataset)
    assert len(places) == len(set(places)) == 13
    batches = list(make_batches(make_dataset(config(folder, num_epochs=1), processor, seed=1)))
    assert sum(batch.num_tokens for batch in batches) == dataset.report.num_tokens


@pytest.mark.slow
def test_worker_processes_change_nothing_and_end(folder, processor):
    kept = config(folder, num_epochs=1)
    here = list(make_dataset(kept, processor, seed=3))
    dataset = make_dataset(replace(kept, num_workers=2), processor, seed=3)
    there = list(islice(dataset, 5))
    state = dataset.state_dict()
    again = make_dataset(kept, processor, seed=3)
    again.load_state_dict(state)
    there += again
    assert where(there) == where(here)
    assert all(same(a, b) for a, b in zip(here, there, strict=True))


@pytest.fixture(scope="module")
def flawed(folder):
    rows = [
        talk("a", "b"),
        talk("a", "b", image="missing.png"),
        {"conversations": 3},
        talk("a", "word " * 500),
    ]
    write(folder / "flawed.jsonl", rows)
    return folder


def test_a_bad_row_stops_with_file_and_line(flawed, processor):
    with pytest.raises(DataError, match=r"flawed\.jsonl:[234]: .*on_bad_row"):
        list(make_dataset(config(flawed, "flawed", num_epochs=1), processor))


def test_skipped_rows_are_counted_listed_and_remembered(flawed, processor):
    skip = config(flawed, "flawed", num_epochs=1, on_bad_row="skip")
    dataset = make_dataset(skip, processor)
    assert [place[-2:] for place in where(dataset)] == [":1"]
    report = dataset.report
    assert (report.num_rows, report.num_bad_rows) == (1, 3)
    listed = "\n".join(sorted(report.bad_rows))
    for said in (
        "jsonl:2: ",
        "missing.png: no such file",
        "jsonl:3: conversations is int",
        "max_tokens is 400",
    ):
        assert said in listed
    other = make_dataset(skip, processor)
    other.load_state_dict(dataset.state_dict())
    assert other.report.num_bad_rows == 3


@pytest.mark.parametrize("seed", range(4))
def test_another_number_of_ranks_goes_on_over_bad_rows(flawed, processor, seed):
    """A rank that was ahead has passed rows that the others never drew, bad ones among them."""
    mixed = [talk(f"{n}", "b") if n % 2 else {"conversations": n} for n in range(24)]
    write(flawed / "mixed.jsonl", mixed)
    skip = config(flawed, "mixed", num_epochs=1, on_bad_row="skip", packing=False)

    def make(rank, size):
        return make_batches(make_dataset(skip, processor, rank=rank, world_size=size, seed=seed))

    first = [make(rank, 2) for rank in range(2)]
    seen = [doc for rank, batches in enumerate(first) for batch in islice(batches, 1 + 3 * rank)
            for doc in documents(batch)]  # fmt: skip
    second = make(0, 1)
    second.load_states_of([batches.state_dict() for batches in first])
    rest = [doc for batch in second for doc in documents(batch)]
    assert sorted(seen + rest) == sorted(doc for batch in make(0, 1) for doc in documents(batch))
    assert second.dataset.report.num_bad_rows == 12


def test_an_endless_run_over_bad_rows_alone_ends(flawed, processor):
    write(flawed / "hopeless.jsonl", [{"conversations": 3}] * 4)
    with pytest.raises(DataError, match=r"none of 14 rows .*hopeless\.jsonl"):
        next(make_dataset(config(flawed, "hopeless", on_bad_row="skip"), processor))


def test_an_over_long_row_may_be_cut_off_but_not_inside_a_picture(flawed, processor):
    cut = config(flawed, "flawed", num_epochs=1, on_bad_row="skip", over_long="truncate")
    dataset = make_dataset(cut, processor)
    lengths = sorted(sample.num_tokens for sample in dataset)
    assert lengths[-1] == 400
    assert dataset.report.num_truncated == 1
    tight = make_dataset(config(flawed, "seen", max_tokens=60, over_long="truncate"), processor)
    with pytest.raises(DataError, match="a picture lies beyond max_tokens"):
        next(tight)


def test_too_many_tiles_for_a_packed_row_are_said_at_the_row(folder, processor):
    with pytest.raises(DataError, match=r"seen\.jsonl:\d: . tiles, but a packed row holds 2"):
        next(make_dataset(config(folder, "seen", max_packed_tiles=2), processor))


def test_pictures_of_a_row_share_the_tiles(folder, processor):
    write(folder / "pair.jsonl", [talk("Compare.", "same", image=["red.png", "blue.png"])])
    single = next(make_dataset(config(folder, "seen", max_tiles=4), processor))
    pair = next(make_dataset(config(folder, "pair", max_tiles=4), processor))
    assert single.num_tiles == 3  # two and an overview
    assert pair.num_tiles == 6
    pair = next(make_dataset(config(folder, "pair", max_tiles=3), processor))
    assert pair.num_tiles == 2


def test_frames_of_a_video_are_numbered_lines(folder, processor):
    write(folder / "clips.jsonl", [talk("What moves?", "nothing", video="clip")])
    frames = config(folder, "clips", min_frames=3, max_frames=3, frame_sampling="middle")
    sample = next(make_dataset(frames, processor))
    text = processor.tokenizer.decode(sample.input_ids.tolist(), skip_special_tokens=False)
    assert "Frame-1: <img>" in text
    assert "</img>\nFrame-3: <img>" in text
    assert "</img>\nWhat moves?" in text
    reds = sample.pixel_values[:, 0, 0, 0].tolist()
    assert reds == [0, 80, 160]  # the middles of (0, 1), (2, 3), (4, 5)


def test_chance_of_frames_and_augmentation_comes_from_the_seed(folder, processor):
    write(folder / "clips.jsonl", [talk("What moves?", "nothing", video="clip")])
    wild = config(folder, "clips", min_frames=1, max_frames=6, max_tokens=900, jpeg_augment=True)
    samples = [list(islice(make_dataset(wild, processor, seed=seed), 6)) for seed in (0, 0, 1)]
    assert all(same(a, b) for a, b in zip(samples[0], samples[1], strict=True))
    assert not all(same(a, b) for a, b in zip(samples[0], samples[2], strict=True))
    assert len({sample.num_tiles for sample in samples[0]}) > 1


def test_augmentation_changes_pixels_a_little(folder, processor):
    plain = next(make_dataset(config(folder, "seen"), processor))
    worn = next(make_dataset(config(folder, "seen", jpeg_augment=True), processor))
    difference = (plain.pixel_values.int() - worn.pixel_values.int()).abs().float()
    assert 0 < difference.mean() < 12


def test_weights_are_listed_by_all_or_by_none(folder, processor):
    def entry(name, **more):
        return {"annotation": str(folder / f"{name}.jsonl"), **more}

    sources = {"text": entry("text", weight=3.0), "seen": entry("seen", weight=1.0)}
    dataset = make_dataset(DataConfig(sources=sources), processor)
    list(islice(dataset, 200))
    assert 130 < dataset.report.rows_by_source["text"] < 170
    with pytest.raises(ConfigError, match="list no weight, while others do: seen"):
        make_dataset(DataConfig(sources={**sources, "seen": entry("seen")}), processor)
    with pytest.raises(ConfigError, match="list no weight"):
        make_dataset(config(folder, weighting="listed"), processor)


def test_a_packed_row_is_full_documents_and_its_efficiency_is_reported(folder, processor):
    batches = make_batches(make_dataset(config(folder), processor, seed=1))
    rows = list(islice(batches, 12))
    for row in rows:
        assert row.cu_seqlens[-1] == row.input_ids.shape[1] <= 400
        image_tokens = int((row.input_ids == processor.image_token_id).sum())
        tiles = 0 if row.pixel_values is None else len(row.pixel_values)
        assert image_tokens == tiles * processor.config.tokens_per_tile
    assert batches.report.num_rows == 12
    assert batches.report.efficiency == sum(row.num_tokens for row in rows) / (12 * 400)


def test_padded_rows_of_a_fixed_shape(folder, processor):
    batches = make_batches(make_dataset(config(folder, pad_packed=True), processor))
    assert {batch.input_ids.shape for batch in islice(batches, 4)} == {(1, 400)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_tokens": 0}, "data.max_tokens is 0"),
        ({"min_frames": 9, "max_frames": 8}, "below data.min_frames 9"),
        ({"max_tiles": 2, "min_tiles": 3}, "below data.min_tiles 3"),
        ({"num_epochs": 0}, "data.num_epochs is 0"),
        ({"on_bad_row": "ignore"}, "stop or skip"),
        ({"num_workers": -1}, "expected 0 or more"),
    ],
)
def test_a_configuration_that_means_nothing_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        DataConfig(**changes)


def test_packed_batches_are_one_row(folder, processor):
    with pytest.raises(ConfigError, match="micro_batch_size is 2 with packing"):
        make_batches(make_dataset(config(folder), processor), micro_batch_size=2)


def test_generated_rows_without_the_data_pack_that_the_recipe_names_are_an_error(folder, processor):
    given = DataConfig(sources={"shapes": {"generated": "shape"}}, assets=str(folder))
    with pytest.raises(ConfigError, match=r"data\.assets .* holds no folder data/"):
        make_dataset(given, processor)
    make_dataset(replace(given, assets=""), processor)
