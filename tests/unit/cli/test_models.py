"""`internvl models`."""

import json

import pytest

from internvl.cli import machine, main, models
from internvl.cli.machine import Gpu, Machine
from internvl.config import presets


@pytest.fixture(autouse=True)
def laptop(monkeypatch):
    """16 GB of memory, no GPU."""
    here = Machine(
        cpu="test",
        cpu_flags=frozenset(),
        num_cores=4,
        ram_total_bytes=16 * 10**9,
        ram_available_bytes=12 * 10**9,
    )
    monkeypatch.setattr(models, "inspect_machine", lambda: here)
    return here


def lines(capsys, *arguments):
    assert main.run(["models", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def row_of(rows, name):
    return next(row.split() for row in rows if row.startswith(f"OpenGVLab/{name} "))


def test_every_size_has_a_row_with_what_it_needs(capsys):
    rows = lines(capsys)
    for preset in presets.all_presets().values():
        if not preset.variant:
            assert any(row.startswith(preset.hub_id) for row in rows), preset.name
    row = row_of(rows, "InternVL2_5-8B")
    assert row[1:8] == ["8.1", "8k", "32.3", "16.2", "9.3", "5.8", "int8"]
    assert "internlm2_5-7b-chat" in row
    assert "MIT" in row


def test_what_fits_is_the_most_precise_format_for_this_machine(capsys):
    rows = lines(capsys)
    assert row_of(rows, "InternVL2_5-1B")[7] == "fp32"
    assert row_of(rows, "InternVL2_5-4B")[7] == "bf16"
    assert row_of(rows, "InternVL3_5-241B-A28B")[7] == "-"


def test_a_gpu_is_named_where_it_is_the_better_place(capsys, monkeypatch, laptop):
    gpu = Gpu(name="test", total_bytes=24 * 10**9, free_bytes=24 * 10**9)
    with_gpu = Machine(
        cpu="test",
        cpu_flags=frozenset(),
        num_cores=4,
        ram_total_bytes=16 * 10**9,
        ram_available_bytes=12 * 10**9,
        gpus=(gpu,),
    )
    monkeypatch.setattr(models, "inspect_machine", lambda: with_gpu)
    assert row_of(lines(capsys), "InternVL2_5-8B")[7:9] == ["bf16", "GPU"]


def test_variants_are_listed_when_asked_for(capsys):
    assert not any("InternVL2_5-8B-MPO" in row.split()[0] for row in lines(capsys) if row)
    assert row_of(lines(capsys, "--all"), "InternVL2_5-8B-MPO")
    assert row_of(lines(capsys, "8b-mpo"), "InternVL2_5-8B-MPO")


@pytest.mark.parametrize(
    "pattern", ["InternVL2_5-8B", "internvl2.5-8b", "*2_5-8B*", "OpenGVLab/InternVL2_5-8B"]
)
def test_a_pattern_selects(pattern, capsys):
    found = [row.split()[0] for row in lines(capsys, pattern) if row.startswith("OpenGVLab/")]
    assert found == ["OpenGVLab/InternVL2_5-8B", "OpenGVLab/InternVL2_5-8B-MPO"]


def test_a_pattern_without_match_offers_the_nearest(capsys):
    assert main.run(["models", "IntrnVL3-8B"]) == 1
    assert "InternVL3-8B" in capsys.readouterr().err


def test_json_holds_every_checkpoint_and_number(capsys):
    assert main.run(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {entry["name"] for entry in listed} == set(presets.all_presets())
    entry = next(entry for entry in listed if entry["name"] == "InternVL3_5-30B-A3B")
    assert entry["hub_id"] == "OpenGVLab/InternVL3_5-30B-A3B"
    assert entry["parameters"]["active"] < entry["parameters"]["total"] / 5
    assert entry["weight_bytes"]["float32"] == 4 * entry["parameters"]["total"]
    assert entry["fits"]["int4"] == []
    assert entry["backbone"] == "Qwen3-30B-A3B"


def test_what_is_not_supported_yet_is_marked(capsys):
    rows = lines(capsys, "Flash")
    assert all("(not yet)" in row for row in rows if row.startswith("OpenGVLab/"))
    assert any("ViR" in row for row in rows)


def test_licences_of_the_language_model_are_shown_where_they_bind(capsys):
    rows = lines(capsys)
    assert any("InternVL2_5-4B" in row and "Qwen Research" in row for row in rows)


def test_nvidia_smi_is_read(laptop):
    table = "NVIDIA H100 80GB HBM3, 81559, 80994, 550.54\nNVIDIA GB10, [N/A], [N/A], 580.1\n"
    (gpu,) = machine.parse_gpus(table)
    assert gpu.name == "NVIDIA H100 80GB HBM3"
    assert gpu.total_bytes == 81559 * 2**20


def test_this_machine_has_memory_and_cores():
    here = machine.inspect_machine()
    assert here.num_cores >= 1
    assert 0 < here.ram_available_bytes <= here.ram_total_bytes
    assert f"{here.num_cores} cores" in here.describe()
