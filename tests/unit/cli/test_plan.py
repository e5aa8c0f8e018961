"""`internvl plan`: tiles, tokens, memory, and what to change."""

import json

import pytest
from PIL import Image

from internvl.cli import main, plan
from internvl.cli.machine import Gpu, Machine
from internvl.cli.request_cost import Picture, picture_usage
from internvl.config import memory, presets
from internvl.preprocess.processor import Processor, TileLimits
from tiny_clips import write_clip


def a_machine(ram_gb=64, gpu_gb=0, free_gb=None):
    gpus = ()
    if gpu_gb:
        gpus = (Gpu(name="test GPU", total_bytes=gpu_gb * 10**9, free_bytes=gpu_gb * 10**9),)
    return Machine(
        cpu="test",
        cpu_flags=frozenset(),
        num_cores=4,
        ram_total_bytes=ram_gb * 10**9,
        ram_available_bytes=(free_gb or ram_gb) * 10**9,
        gpus=gpus,
    )


@pytest.fixture
def on(monkeypatch):
    """Pretend to be on a machine: `on(ram_gb=16)`."""

    def pretend(**traits):
        monkeypatch.setattr(plan, "inspect_machine", lambda: a_machine(**traits))

    pretend()
    return pretend


@pytest.fixture
def planned(on, capsys):
    """Run `internvl plan ... --json` and return the result."""

    def run(*arguments):
        code = main.run(["plan", *map(str, arguments), "--json"])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return json.loads(captured.out)

    return run


# cols x rows, tiles with the thumbnail, tokens: FACTS 1(c)
@pytest.mark.parametrize(
    ("size", "max_tiles", "grid", "tiles", "tokens"),
    [
        ("448x448", 12, [1, 1], 1, 256),
        ("640x480", 12, [4, 3], 13, 3328),
        ("1280x720", 6, [2, 1], 3, 768),
        ("1280x720", 12, [4, 2], 9, 2304),
        ("2480x3508", 12, [2, 3], 7, 1792),
        ("3840x2160", 40, [7, 4], 29, 7424),
    ],
)
def test_tiles_and_tokens_are_the_familys(planned, size, max_tiles, grid, tiles, tokens):
    (image,) = planned("InternVL2_5-8B", "--images", size, "--max-tiles", max_tiles)["images"]
    assert (image["grid"], image["tiles"], image["tokens"]) == (grid, tiles, tokens)


@pytest.mark.parametrize("preset", ["InternVL2_5-8B", "InternVL-Chat-V1-2"])
@pytest.mark.parametrize(
    "limits",
    [
        TileLimits(),
        TileLimits(min_tiles=4, max_tiles=6),
        TileLimits(max_tiles=40, thumbnail=False),
        TileLimits(policy="auto"),
    ],
    ids=str,
)
def test_the_plan_cuts_as_the_processor_does(preset, limits):
    config = presets.find(preset).config
    processor = object.__new__(Processor)  # its plan needs the model's description alone, no tokenizer
    processor.config = config
    sizes = [(640, 480), (1, 1), (1920, 1080), (2480, 3508), (300, 5000), (448, 449)]
    pictures = [Picture(name="", width=width, height=height) for width, height in sizes]
    assert list(picture_usage(config, pictures, limits)) == processor.plan_sizes(sizes, tile_limits=limits)


def test_the_policy_auto_spends_less_on_small_pictures(planned):
    (image,) = planned("InternVL3-8B", "640x480", "--tile-policy", "auto")["images"]
    assert image["tiles"] < 13


def test_several_pictures_add_up(planned):
    result = planned("InternVL3-8B", "--images", "448x448", "640x480", "-i", "448x448x3")
    assert [image["tokens"] for image in result["images"]].count(256) == 4
    pictures = sum(image["tokens"] for image in result["images"])
    tokens = result["tokens"]
    assert pictures < tokens["images"] < pictures + 10 * len(result["images"])
    assert tokens["prompt"] == tokens["images"] + tokens["text"]
    assert tokens["needed"] == tokens["prompt"] + tokens["answer"]


def test_picture_files_are_read(planned, tmp_path):
    path = tmp_path / "a photo.png"
    Image.new("RGB", (640, 480)).save(path)
    (image,) = planned("InternVL3-8B", path)["images"]
    assert (image["width"], image["height"], image["tokens"]) == (640, 480, 3328)


def test_a_photo_taken_upright_counts_upright(planned, tmp_path):
    path = tmp_path / "upright.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (200, 100)).save(path, exif=exif)
    (image,) = planned("InternVL3-8B", path)["images"]
    assert (image["width"], image["height"]) == (100, 200)


def test_video_frames_are_one_tile_each(planned):
    result = planned("InternVL3-8B", "--frames", 16)
    assert [image["tiles"] for image in result["images"]] == [1] * 16
    assert result["images"][0]["kind"] == "frame"


def test_a_video_file_costs_its_frames(planned, tmp_path):
    path = write_clip(tmp_path / "a clip.mp4")
    result = planned("InternVL3-8B", path, "--num-frames", 5)
    assert [(image["kind"], image["tiles"], image["width"]) for image in result["images"]] == [
        ("frame", 1, 64)
    ] * 5
    assert len(planned("InternVL3-8B", path)["images"]) == 8


def test_without_thumbnail_there_is_one_tile_less(planned):
    (image,) = planned("InternVL3-8B", "--images", "640x480", "--no-thumbnail")["images"]
    assert image["tiles"] == 12


def test_the_first_releases_give_every_picture_one_tile(planned):
    (image,) = planned("InternVL-Chat-V1-2", "--images", "1920x1080")["images"]
    assert image["tiles"] == 1


def test_an_8b_model_needs_about_16_gb(planned):
    result = planned("InternVL2_5-8B", "--images", "1280x720", "--session-len", 8192)
    assert result["memory_bytes"]["weights"] / 1e9 == pytest.approx(16, abs=0.5)
    assert 16e9 < result["memory_bytes"]["total"] < 19e9


def test_many_pictures_need_a_larger_session_and_the_plan_says_which(planned, capsys):
    few = planned("InternVL2_5-8B", "--images", "1280x720", "--session-len", 8192)
    assert few["tokens"]["fits"]
    assert few["advice"] == []
    many = planned("InternVL2_5-8B", "--images", "1280x720x5", "--session-len", 8192)
    assert not many["tokens"]["fits"]
    assert any("--session-len 16384" in line for line in many["advice"])
    assert planned("InternVL2_5-8B", "--images", "1280x720x5", "--session-len", 16384)["tokens"]["fits"]


def test_the_advised_number_of_tiles_does_fit(planned):
    result = planned("InternVL2_5-8B", "--images", "640x480x4", "--session-len", 8192)
    (advice,) = [line for line in result["advice"] if line.startswith("--max-tiles")]
    most = int(advice.split()[1])
    fits = {
        tiles: planned(
            "InternVL2_5-8B", "--images", "640x480x4", "--session-len", 8192, "--max-tiles", tiles
        )["tokens"]["fits"]
        for tiles in (most, most + 1)
    }
    assert fits == {most: True, most + 1: False}


def test_more_pictures_than_any_session_holds_are_refused_with_a_number(planned):
    advice = planned("InternVL3-8B", "--frames", 400, "--session-len", 32768)["advice"]
    assert any("positions end at 32,768" in line for line in advice)
    (most,) = [int(line.split("at most ")[1].split()[0]) for line in advice if "at most" in line]
    assert planned("InternVL3-8B", "--frames", most, "--session-len", 32768)["tokens"]["fits"]
    assert not planned("InternVL3-8B", "--frames", most + 1, "--session-len", 32768)["tokens"]["fits"]


def test_what_does_not_fit_the_machine_is_answered_with_what_does(planned, on):
    on(ram_gb=16)
    result = planned("InternVL2_5-26B", "--images", "448x448", "--session-len", 4096)
    assert result["fits"] == []
    assert any("InternVL2_5-4B fits" in line for line in result["advice"])
    on(ram_gb=24)
    result = planned("InternVL2_5-8B", "--images", "448x448", "--session-len", 4096, "--dtype", "float32")
    assert any("--dtype bfloat16" in line for line in result["advice"])
    assert planned("InternVL2_5-8B", "--images", "448x448", "--session-len", 4096)["fits"] == ["RAM"]


def test_a_long_session_that_is_not_needed_is_named_as_the_reason(planned, on):
    on(ram_gb=20)
    result = planned("InternVL2_5-8B", "--images", "448x448", "--session-len", 32768)
    assert result["fits"] == []
    assert any("--session-len 1024 is enough" in line for line in result["advice"])


def test_memory_in_use_by_others_is_told_apart_from_memory_that_is_missing(planned, on):
    on(ram_gb=64, free_gb=4)
    advice = planned("InternVL2_5-8B", "--session-len", 4096)["advice"]
    assert any("once other programs" in line for line in advice)


def test_the_gpu_comes_first(planned, on):
    on(ram_gb=64, gpu_gb=24)
    assert planned("InternVL2_5-8B", "--images", "448x448", "--session-len", 8192)["fits"] == ["GPU", "RAM"]


def test_memory_is_the_estimate_of_config(planned):
    result = planned("InternVL3-2B", "--session-len", 2048, "--batch", 3)
    config = presets.find("InternVL3-2B").config
    assert result["memory_bytes"]["kv_cache"] == memory.kv_cache_bytes(
        config.text, session_len=2048, batch_size=3, dtype="bfloat16"
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("InternVL2_5-9B",), "did you mean InternVL2_5-8B"),
        (("nothing-like-it",), "internvl models"),
        (("someone/fine-tune",), "not in the local cache"),
        (("InternViT-300M-448px",), "without a decoder"),
        (("./no/such/directory",), "no directory"),
        (("InternVL3-8B", "missing.png"), "neither a picture file nor a size"),
        (("InternVL3-8B", "0x0"), "at least 1x1"),
    ],
)
def test_what_cannot_be_planned_is_one_clear_line(arguments, says, capsys, on, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main.run(["plan", *arguments]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_directory_is_planned_from_its_config(planned, tmp_path):
    config = {
        "architectures": ["InternVLChatModel"],
        "model_type": "internvl_chat",
        "force_image_size": 448,
        "downsample_ratio": 0.5,
        "ps_version": "v2",
        "template": "internvl2_5",
        "dynamic_image_size": True,
        "use_thumbnail": True,
        "min_dynamic_patch": 1,
        "max_dynamic_patch": 6,
        "select_layer": -1,
        "vision_config": {
            "architectures": ["InternVisionModel"],
            "model_type": "intern_vit_6b",
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 448,
            "patch_size": 14,
            "norm_type": "layer_norm",
            "qkv_bias": True,
            "qk_normalization": False,
        },
        "llm_config": {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "vocab_size": 151674,
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32768,
            "rope_theta": 1000000.0,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": False,
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = planned(tmp_path, "--images", "1280x720")
    assert result["parameters"] / 1e9 == pytest.approx(0.938, abs=0.001)
    assert result["images"][0]["grid"] == [2, 1]


def test_a_picture_alone_is_planned_for_the_bundled_model(on, monkeypatch, capsys):
    tiny = plan.find_model("tiny-qwen3")
    monkeypatch.setattr(plan, "find_model", lambda name: {"nano": tiny}[name])
    assert main.run(["plan", "640x480", "320x200", "--json"]) == 0
    assert [image["width"] for image in json.loads(capsys.readouterr().out)["images"]] == [640, 320]


def test_tiny_models_can_be_planned(planned):
    assert planned("tiny-qwen3", "--images", "112x56")["tokens_per_tile"] == 4


def test_people_see_pictures_tokens_memory_and_verdict(on, capsys):
    assert main.run(["plan", "InternVL2_5-8B", "--images", "1280x720x2", "--session-len", "8192"]) == 0
    out = capsys.readouterr().out
    for piece in (
        "4x2 + overview",
        "2 x 2,304",
        "session_len",
        "8,192",
        "weights",
        "16.2 GB",
        "KV cache",
        "fits",
    ):
        assert piece in out, piece


def test_people_see_what_to_change(on, capsys):
    on(ram_gb=16)
    assert main.run(["plan", "InternVL2_5-26B", "--images", "1280x720x5", "--session-len", "8192"]) == 0
    out = capsys.readouterr().out
    assert "does not fit the session" in out
    assert "--session-len 16384" in out
    assert "does not fit this machine" in out
