"""Meta files, row files and inline entries -> checked descriptions of data sets."""

import json

import pytest

from internvl.errors import ConfigError
from internvl.train.meta import read_sources

ROW = '{"conversations": []}\n'


def meta(folder, **entries):
    path = folder / "meta.json"
    path.write_text(json.dumps(entries))
    return path


def test_the_familys_entry_is_read_and_its_paths_count_from_the_meta_file(tmp_path):
    (tmp_path / "a.jsonl").write_text(ROW)
    (tmp_path / "pictures").mkdir()
    entry = {
        "root": "pictures",
        "annotation": "a.jsonl",
        "data_augment": True,
        "max_dynamic_patch": 6,
        "repeat_time": 0.5,
        "length": 1,
    }
    (spec,) = read_sources([meta(tmp_path, a=entry)])
    assert spec.files == (tmp_path / "a.jsonl",)
    assert spec.root == str(tmp_path / "pictures")
    assert (spec.name, spec.data_augment, spec.max_tiles, spec.repeat_time) == ("a", True, 6, 0.5)


def test_row_files_stand_for_themselves_and_patterns_for_several(tmp_path):
    for n in range(3):
        (tmp_path / f"{n:02d}.jsonl").write_text(ROW)
    ranged, starred = read_sources([tmp_path / "{00..02}.jsonl"]), read_sources([f"{tmp_path}/*.jsonl"])
    assert [file.name for file in ranged[0].files] == ["00.jsonl", "01.jsonl", "02.jsonl"]
    assert starred[0].files == ranged[0].files


def test_generated_data_needs_no_file():
    entry = {"generated": "lines", "seed": 3, "weight": 2, "tasks": ["read"]}
    (spec,) = read_sources(inline={"lines": entry})
    assert (spec.format, spec.seed, spec.weight, spec.files) == ("generated", 3, 2.0, ())
    assert spec.tasks == ("read",)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"annotation": "a.jsonl", "repeat_times": 2}, "Did you mean 'repeat_time'"),
        ({"annotation": "a.jsonl", "repeat_time": 0}, "repeat_time is 0; expected a number above 0"),
        ({"annotation": "a.jsonl", "max_dynamic_patch": 1.5}, "expected a whole number"),
        ({"annotation": "a.jsonl", "data_augment": "yes"}, "expected true or false"),
        ({"annotation": "b.jsonl"}, "no such file: .*b.jsonl"),
        ({"annotation": "a.txt"}, "expected files of one kind"),
        ({"annotation": "a.jsonl", "generated": "lines"}, "either annotation"),
        ({"root": "."}, "either annotation"),
        ({"annotation": "a.jsonl", "tasks": ["colour"]}, "only generated data"),
        ({"annotation": "a.jsonl", "skip_tasks": ["box"]}, "only generated data"),
        ({"generated": "shape", "skip_tasks": []}, "expected a list of kinds of questions"),
        ({"generated": "shape", "tasks": "colour"}, "expected a list of kinds of questions"),
        ({"annotation": "a.jsonl", "min_dynamic_patch": 4, "max_dynamic_patch": 2}, "exceeds"),
    ],
)
def test_an_entry_that_means_nothing_is_refused(tmp_path, entry, said):
    (tmp_path / "a.jsonl").write_text(ROW)
    (tmp_path / "a.txt").write_text(ROW)
    with pytest.raises(ConfigError, match=said):
        read_sources([meta(tmp_path, a=entry)])


def test_a_list_of_rows_is_no_meta_file(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text("[]")
    with pytest.raises(ConfigError, match="one row a line"):
        read_sources([path])


def test_names_are_there_once_and_something_is_there(tmp_path):
    (tmp_path / "a.jsonl").write_text(ROW)
    file = meta(tmp_path, a={"annotation": "a.jsonl"})
    with pytest.raises(ConfigError, match="same name: a"):
        read_sources([file, tmp_path / "a.jsonl"])
    with pytest.raises(ConfigError, match="no training data"):
        read_sources([])
