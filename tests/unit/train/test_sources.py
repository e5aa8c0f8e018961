"""JSONL, tar shards, parquet and skills give the same rows by number."""

import io
import json
import tarfile

import pytest
from PIL import Image

from internvl.data.colours import COLOURS
from internvl.data.sample import Assets
from internvl.data.shards import Shard, encode, write_parquet, write_tar
from internvl.errors import ConfigError, DataError
from internvl.train.meta import SourceSpec, read_sources
from internvl.train.rows import ClipSource
from internvl.train.sources import open_source


def row(number, **more):
    turns = [
        {"from": "human", "value": f"<image>\nQuestion {number}"},
        {"from": "gpt", "value": f"Answer {number}"},
    ]
    return {"id": f"row-{number}", "conversations": turns, **more}


def opened(path, **entry):
    (spec,) = read_sources(inline={"x": {"annotation": str(path), **entry}})
    return open_source(spec, Assets())


def made(count=3):
    images = [Image.new("RGB", (8 + n, 6), (n * 40, 0, 0)) for n in range(count)]
    return Shard(
        rows=[row(n, image=f"{n}.jpg") for n in range(count)],
        truths=[{"id": f"row-{n}"} for n in range(count)],
        pictures=[[(f"{n}.jpg", encode(image))] for n, image in enumerate(images)],
    )


def answers(source):
    return [source.read(n).turns[-1].text for n in range(len(source))]


def test_lines_of_several_files_are_counted_through_and_empty_ones_are_not(tmp_path):
    a, b = tmp_path / "0.jsonl", tmp_path / "1.jsonl"
    a.write_text(f"{json.dumps(row(0, image='p.png'))}\n\n\r\n{json.dumps(row(1, image='p.png'))}")
    b.write_text(f"{json.dumps(row(2, image='p.png'), ensure_ascii=False)}\n")
    source = opened(tmp_path / "{0..1}.jsonl", root=str(tmp_path))
    assert answers(source) == ["Answer 0", "Answer 1", "Answer 2"]
    assert source.read(1).where == f"{a}:4"
    assert source.read(2).where == f"{b}:1"
    assert source.read(0).media == (str(tmp_path / "p.png"),)


def test_media_lie_beside_the_file_or_below_a_root_or_where_they_say(tmp_path):
    rows = [row(0, image="p.png"), row(1, image="/abs/p.png"), row(2, image="https://example.org/p.png")]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    beside, below = opened(path), opened(path, root="https://example.org/data/")
    assert beside.read(0).media == (str(tmp_path / "p.png"),)
    assert below.read(0).media == ("https://example.org/data/p.png",)
    assert [below.read(n).media[0] for n in (1, 2)] == ["/abs/p.png", "https://example.org/p.png"]


def test_a_line_that_is_no_json_says_which(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row(0, image="a.png")) + '\n{"conversations": [\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:2: no JSON"):
        opened(path).read(1)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "rows.jsonl").write_text("\n\n")
    with pytest.raises(ConfigError, match="holds no row"):
        opened(tmp_path / "rows.jsonl")


def test_tar_shards_hold_rows_and_pictures(tmp_path):
    write_tar(tmp_path / "a.tar", made())
    source = opened(tmp_path / "a.tar")
    assert answers(source) == ["Answer 0", "Answer 1", "Answer 2"]
    (data,) = source.read(2).media
    assert Image.open(io.BytesIO(data)).size == (10, 6)
    assert source.read(2).where == f"{tmp_path / 'a.tar'}:row-2"


def write_members(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_a_row_without_names_takes_the_pictures_beside_it(tmp_path):
    members = {
        "x/a.0.png": b"p0",
        "x/a.1.png": b"p1",
        "x/a.json": json.dumps(talk("<image> <image>")).encode(),
    }
    write_members(tmp_path / "a.tar", members)
    assert opened(tmp_path / "a.tar").read(0).media == (b"p0", b"p1")


def talk(question):
    return {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": "yes"}]}


def test_a_shard_without_a_row_or_with_another_name_is_refused(tmp_path):
    write_members(tmp_path / "a.tar", {"a.png": b"p", "b.json": json.dumps(row(0, image="c.png")).encode()})
    source = opened(tmp_path / "a.tar")
    with pytest.raises(DataError, match=r"a\.tar:a: no a\.json beside a\.png"):
        source.read(0)
    with pytest.raises(DataError, match=r"a\.tar:b: there is no 'c\.png'"):
        source.read(1)
    (tmp_path / "b.tar").write_bytes(b"no tar")
    with pytest.raises(ConfigError, match="no tar file"):
        opened(tmp_path / "b.tar")


def test_frames_in_a_shard_are_one_video(tmp_path):
    clip = {**talk("<video>\nWhat?"), "video": ["a.0.jpg", "a.1.jpg"]}
    write_members(
        tmp_path / "a.tar", {"a.0.jpg": b"f0", "a.1.jpg": b"f1", "a.json": json.dumps(clip).encode()}
    )
    assert opened(tmp_path / "a.tar").read(0).media == (ClipSource(source=[b"f0", b"f1"]),)


def test_parquet_files_hold_rows_and_pictures(tmp_path):
    pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    write_parquet(tmp_path / "whole.parquet", made(5))
    pq.write_table(pq.read_table(tmp_path / "whole.parquet"), tmp_path / "a.parquet", row_group_size=2)
    source = opened(tmp_path / "a.parquet")
    assert source.blocks == [2, 2, 1]
    assert answers(source) == [f"Answer {n}" for n in range(5)]
    (data,) = source.read(4).media
    assert Image.open(io.BytesIO(data)).size == (12, 6)
    assert source.read(4).where == f"{tmp_path / 'a.parquet'}:5"


def test_skills_make_rows_that_never_repeat(monkeypatch):
    from internvl.data.sample import DataSample, Turn
    from internvl.train import sources

    def make_sample(skill, seed, index, *, split, assets):
        images = [Image.new("RGB", (4, 4)) for _ in range(index % 3)]
        turns = [Turn(question=f"Q{index}", answer=f"A{index}", metric="exact")]
        return DataSample(images=images, turns=turns, skill=skill, video=index == 5)

    monkeypatch.setattr(sources, "make_sample", make_sample)
    monkeypatch.setattr(sources, "load_skill", lambda name: None)
    source = open_source(SourceSpec(name="g", generated="lines", length=4), Assets())
    assert len(source) == 4
    assert source.endless
    assert [turn.text for turn in source.read(7).turns] == ["<image>\nQ7", "A7"]
    assert source.read(8).turns[0].text == "Image-1: <image>\nImage-2: <image>\nQ8"
    clip = source.read(5)
    assert clip.turns[0].text == "<video>\nQ5"
    assert [len(medium.source) for medium in clip.media] == [2]


def test_of_generated_data_only_the_questions_that_are_wanted_are_kept():
    spec = SourceSpec(name="g", generated="shape", seed=3, tasks=("colour", "count_all"))
    rows = [open_source(spec, Assets()).read(index) for index in range(6)]
    again = open_source(spec, Assets()).read(4)
    assert [turn.text for turn in again.turns] == [turn.text for turn in rows[4].turns]
    for row in rows:
        assert row.turns
        assert not any("<box>" in turn.text for turn in row.turns)
        answers = [turn.text for turn in row.turns[1::2]]
        assert all(answer.isdecimal() or answer in COLOURS for answer in answers), answers


def test_of_generated_data_questions_that_are_left_out_are_not_asked():
    skipped = ("box", "boxes", "detect_all", "region")
    every, kept = (
        [
            open_source(SourceSpec(name="g", generated="shape", seed=3, skip_tasks=skip), Assets()).read(i)
            for i in range(8)
        ]
        for skip in ((), skipped)
    )
    assert any("<box>" in turn.text for row in every for turn in row.turns)
    assert not any("<box>" in turn.text for row in kept for turn in row.turns)
    assert all(row.turns for row in kept)
    some = next(n for n, row in enumerate(every) if not any("<box>" in turn.text for turn in row.turns))
    assert [turn.text for turn in kept[some].turns] == [turn.text for turn in every[some].turns]


def test_a_kind_of_question_that_nobody_asks_is_named_with_those_that_are():
    source = open_source(SourceSpec(name="g", generated="shape", tasks=("color",)), Assets())
    with pytest.raises(DataError, match=r"tasks = \['color'\], but for \[.*'colour'"):
        source.read(0)
