"""Shards: the same bytes however often a run is cut off, and rows that training reads."""

import json
import tarfile

import pytest
from PIL import Image

from internvl.cli.main import run
from internvl.data.preview import write_preview
from internvl.data.sample import Assets, DataSample, Turn, box_answer, norm1000
from internvl.data.shards import training_row
from internvl.data.skills import make_sample
from internvl.data.writer import Job, open_jobs, write_jobs
from internvl.errors import ConfigError
from nano_assets import requires_fonts

pytestmark = requires_fonts


def job(count=5, **changes):
    return Job(**{"skill": "lines", "count": count, "seed": 2, "split": "train", "shard_size": 2} | changes)


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_what_was_cut_off_is_made_again_and_equal(tmp_path):
    write_jobs([job()], tmp_path)
    whole = content(tmp_path)
    (tmp_path / "lines" / "00001.jsonl").unlink()  # killed before the rows of shard 1 were there
    (tmp_path / "lines" / "00001" / "000002_0.jpg").write_bytes(b"half a picture")
    assert [shard for _, shard in open_jobs([job()], tmp_path)] == [1]
    write_jobs([job()], tmp_path)
    assert content(tmp_path) == whole


def test_a_folder_grows_into_what_one_run_would_have_made(tmp_path):
    write_jobs([job(3)], tmp_path / "grown")
    write_jobs([job(5)], tmp_path / "grown")
    write_jobs([job(5)], tmp_path / "once")
    assert content(tmp_path / "grown") == content(tmp_path / "once")


@pytest.mark.slow
def test_processes_make_the_same_bytes(tmp_path):
    write_jobs([job()], tmp_path / "one")
    counts = []
    write_jobs([job()], tmp_path / "two", workers=2, on_progress=counts.append)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert counts[-1] == 5


@pytest.mark.parametrize("change", [{"seed": 3}, {"split": "held_out"}, {"format": "wds"}, {"count": 3}])
def test_a_folder_made_otherwise_is_refused(tmp_path, change):
    write_jobs([job()], tmp_path)
    with pytest.raises(ConfigError, match="made with"):
        write_jobs([job(**change)], tmp_path)


@pytest.mark.parametrize("change", [{"count": 0}, {"shard_size": 0}, {"skill": "recipt"}])
def test_a_job_that_cannot_be_is_refused(change):
    with pytest.raises(ConfigError, match="receipt|1 or more"):
        job(**change)


def test_rows_are_the_familys_and_the_truth_stands_beside(tmp_path):
    write_jobs([job()], tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    truths = [json.loads(line) for line in (tmp_path / "lines.truth.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [truth["id"] for truth in truths]
    for index, (row, truth) in enumerate(zip(rows, truths, strict=True)):
        sample = make_sample("lines", 2, index, assets=Assets())
        with Image.open(tmp_path / row["image"]) as stored:
            assert stored.size == (row["width"], row["height"]) == sample.images[0].size
        assert row["conversations"][0] == {"from": "human", "value": f"<image>\n{sample.turns[0].question}"}
        assert row["conversations"][1] == {"from": "gpt", "value": sample.turns[0].answer}
        assert truth["metrics"] == [turn.metric for turn in sample.turns]
        assert truth["truth"] == sample.truth
    meta = json.loads((tmp_path / "meta.json").read_text())
    assert meta["lines"]["annotation"] == "lines.jsonl"
    assert meta["lines"]["length"] == 5


def test_placeholders_for_several_pictures_and_for_a_clip():
    images = [Image.new("RGB", (8, 6))] * 2
    turns = [
        Turn(question="Same?", answer="no", metric="yesno"),
        Turn(question="Why?", answer="x", metric="exact"),
    ]
    pair = training_row(DataSample(images=images, turns=turns, skill="pair"), "p", ["a.jpg", "b.jpg"])
    assert pair["conversations"][0]["value"] == "Image-1: <image>\nImage-2: <image>\nSame?"
    assert pair["conversations"][2]["value"] == "Why?"
    assert (pair["image"], pair["width"]) == (["a.jpg", "b.jpg"], [8, 8])
    clip = training_row(
        DataSample(images=images, turns=turns, skill="clip", video=True), "c", ["c/0.jpg", "c/1.jpg"]
    )
    assert clip["conversations"][0]["value"] == "<video>\nSame?"
    assert clip["video"] == "c/"


def test_tar_members_of_a_sample_share_their_key(tmp_path):
    write_jobs([job(format="wds")], tmp_path)
    with tarfile.open(tmp_path / "lines" / "00000.tar") as tar:
        names = tar.getnames()
        row = json.loads(tar.extractfile("lines-train-2-000000.json").read())
    assert names[:3] == [f"lines-train-2-000000.{end}" for end in ("jpg", "json", "truth.json")]
    assert row["image"] == names[0]


def test_parquet_holds_pictures_and_conversations(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    write_jobs([job(format="parquet")], tmp_path)
    rows = pq.read_table(tmp_path / "lines" / "00000.parquet").to_pylist()
    assert len(rows) == 2
    assert rows[0]["images"][0]["bytes"][:2] == b"\xff\xd8"
    assert rows[0]["conversations"][0]["from"] == "human"


def test_a_preview_needs_nothing_else_and_escapes(tmp_path):
    turn = Turn(question="<script>", answer="<ref>x</ref>", metric="exact")
    sample = DataSample(
        images=[Image.new("RGB", (40, 30))], turns=[turn], truth={"a": {"box": [1, 2, 3, 4]}}, skill="x"
    )
    write_preview(tmp_path / "p.html", [sample], title="a & b")
    page = (tmp_path / "p.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "a &amp; b" in page
    assert 'x="1.0" y="2.0" width="2.0" height="2.0"' in page
    assert "http" not in page


def test_boxes_are_thousandths_inside_the_picture():
    assert norm1000((-5, 10, 110, 200), (100, 200)) == (0, 50, 1000, 1000)
    assert box_answer("a cup", [(0, 0, 50, 100), (50, 0, 100, 200)], (100, 200)) == (
        "<ref>a cup</ref><box>[[0, 0, 500, 500], [500, 0, 1000, 1000]]</box>"
    )


@pytest.mark.parametrize("lost", ["lines/00001/000002_0.jpg", "lines/00001.truth.jsonl"])
def test_a_shard_that_lost_a_part_is_made_again(tmp_path, lost):
    write_jobs([job()], tmp_path)
    whole = content(tmp_path)
    (tmp_path / lost).unlink()
    write_jobs([job()], tmp_path)
    assert content(tmp_path) == whole


def test_a_folder_drawn_from_other_things_is_refused(tmp_path):
    write_jobs([job()], tmp_path / "out")
    (tmp_path / "pack" / "data").mkdir(parents=True)
    with pytest.raises(ConfigError, match="data_pack None, now"):
        write_jobs([job(7)], tmp_path / "out", shared=tmp_path / "pack")


def test_a_folder_that_cannot_be_used_is_an_error_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made a folder"):
        write_jobs([job()], tmp_path / "file")
    (tmp_path / "lines.json").write_text("{")
    with pytest.raises(ConfigError, match=r"lines\.json is no note"):
        write_jobs([job()], tmp_path)


def test_other_json_in_the_folder_is_left_alone(tmp_path):
    (tmp_path / "bar.json").write_text('{"a": 1}')
    write_jobs([job()], tmp_path)
    assert list(json.loads((tmp_path / "meta.json").read_text())) == ["lines"]


def test_what_a_later_skill_lacks_is_told_before_the_first_one_is_made(tmp_path):
    with pytest.raises(ConfigError, match="names of things in languages"):
        write_jobs([job(), job(skill="languages")], tmp_path)
    assert not (tmp_path / "lines").exists()


def test_the_command_makes_and_grows_a_folder_from_a_data_pack(tmp_path, capsys):
    (tmp_path / "pack" / "data").mkdir(parents=True)
    words = ["--out", str(tmp_path / "out"), "--shared", str(tmp_path / "pack"), "--workers", "1"]
    assert run(["data", "make", "lines", "--count", "2", *words]) == 0
    assert run(["data", "make", "lines", "--count", "3", *words]) == 0
    assert len((tmp_path / "out" / "lines.jsonl").read_text().splitlines()) == 3
    assert run(["data", "make", "lines", "--count", "3", *words[:2]]) == 1
    assert "made with data_pack" in capsys.readouterr().err
