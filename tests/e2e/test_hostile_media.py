"""Every hostile file loads as it should or ends in one clear line, within bounded time and memory.

A crash of C code, a hang or a memory bomb would take the process with it, so the files are read by a child
whose memory and processor time the kernel limits.
"""

import json
import subprocess
import sys
import textwrap

import pytest
from PIL import Image

from golden import SHARED, requires_shared

pytestmark = requires_shared

FOLDER = SHARED / "data" / "hostile"
ROWS = (
    [json.loads(line) for line in (FOLDER / "annotations.jsonl").read_text(encoding="utf-8").splitlines()]
    if FOLDER.is_dir()
    else []
)
MAX_MEMORY = 1_000_000_000
MAX_SECONDS_PER_FILE = 1.0

#: Opens each file named on stdin; answers one JSON line each.
CHILD = textwrap.dedent(
    """
    import json, resource, sys, time
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    from internvl.errors import MediaError
    from internvl.media.image import open_image
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
    for line in sys.stdin:
        start, answer = time.perf_counter(), {"file": line.rstrip("\\n")}
        try:
            picture = open_image(answer["file"])
            answer |= {"size": picture.size, "mode": picture.mode, "pixel": picture.getpixel((5, 5))
                       if min(picture.size) > 5 else None, "extrema": picture.getextrema()}
        except MediaError as error:
            answer["error"] = str(error)
        answer["seconds"] = time.perf_counter() - start
        # not ru_maxrss, which a child inherits from the process that started it
        status = open("/proc/self/status").read()
        answer["peak_bytes"] = int(status.split("VmHWM:")[1].split()[0]) * 1024
        print(json.dumps(answer), flush=True)
    """
)


def open_in_child(files, timeout=120) -> list[dict]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(MAX_MEMORY)],
        input="".join(f"{file}\n" for file in files),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def answers():
    files = [SHARED / "data" / row["file"] for row in ROWS]
    return {answer["file"].rpartition("/")[2]: answer for answer in open_in_child(files)}


def named(row) -> str:
    return row["file"].removeprefix("hostile/")


def test_every_file_gets_an_answer_within_time_and_memory(answers):
    assert len(answers) == len(ROWS) > 90
    assert max(answer["seconds"] for answer in answers.values()) < MAX_SECONDS_PER_FILE
    assert max(answer["peak_bytes"] for answer in answers.values()) < MAX_MEMORY / 4


def test_refusals_are_one_line_that_names_the_file_and_the_reason(answers):
    for name, answer in answers.items():
        if "error" in answer:
            assert "\n" not in answer["error"]
            assert len(answer["error"]) < 400
            _, _, reason = answer["error"].partition(name)
            assert len(reason) > 15, answer["error"]


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_each_file_ends_as_its_annotation_says(row, answers):
    answer, expect = answers[named(row)], row["expect"]
    loaded = "error" not in answer
    if not named(row).endswith((".mp4", ".pdf")):
        if expect.startswith("decode") and "reject" not in expect and "else clean error" not in expect:
            assert loaded or "or clean error" in expect, answer
        if expect.startswith("reject") and " or " not in expect:
            assert not loaded, answer
        for word in expect.replace(",", " ").split():
            width, _, height = word.partition("x")
            if loaded and width.isdecimal() and height.isdecimal():
                assert answer["size"] == [int(width), int(height)]
    elif named(row) != "image_named.mp4":  # a JPEG with a wrong name is a JPEG
        assert not loaded, answer
    if "orientation" in expect:
        assert answer["size"][0] > answer["size"][1]
    if "first frame" in expect:
        red, green, blue = answer["pixel"]
        assert red > 200
        assert max(green, blue) < 60
    if "16-bit" in expect:
        assert answer["extrema"][0][1] - answer["extrema"][0][0] > 100
        assert answer["extrema"][0][1] < 256


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bomb_1bit.png", "31998x31998 pixels"),
        ("bomb_rgb.png", "16362x16362 pixels"),
        ("huge_dims_no_data.png", "2147483647x2147483647"),
        ("zero.jpg", "is empty"),
        ("truncated.jpg", "truncated"),
        ("text.png", "not a picture of a known format"),
        ("page.jpg", "an HTML page"),
        ("svg_xxe.svg", "SVG"),
        ("zipbomb.png", "an archive"),
        ("one_frame.mp4", "a video"),
        ("encrypted_user_pw.pdf", "a PDF document"),
    ],
)
def test_the_reason_is_the_true_one(answers, name, words):
    assert words in answers[name]["error"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "mode", "megapixels", "options"),
    [
        ("JPEG", "RGB", 79, {}),
        ("JPEG", "CMYK", 66, {"progressive": True}),
        ("PNG", "RGBA", 79, {"compress_level": 1}),
        ("TIFF", "F", 44, {"compression": "tiff_lzw"}),
        ("WEBP", "RGBA", 44, {"lossless": True, "quality": 0, "method": 0}),
    ],
)
def test_the_largest_pictures_that_pass_the_limits_stay_below_one_gigabyte(
    tmp_path, kind, mode, megapixels, options
):
    if kind != "TIFF":
        exif = Image.Exif()
        exif[0x0112] = 6  # turning needs a second copy
        options = {**options, "exif": exif}
    Image.new(mode, (megapixels * 125, 8000)).save(tmp_path / "large", kind, **options)
    (answer,) = open_in_child([tmp_path / "large"])
    assert "error" not in answer
    assert answer["peak_bytes"] < MAX_MEMORY
