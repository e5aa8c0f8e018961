"""Videos through the installed command and the pipeline, with nano; hostile ones in a child of bounded memory."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import internvl.vl
from golden import SHARED, requires_shared
from internvl.media.frame_sampling import segment_indices
from tiny_clips import numbered, write_clip, write_gif, write_sound


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    directory = tmp_path_factory.mktemp("my clips")
    (directory / "frames").mkdir()
    for n in range(4):
        numbered(n).save(directory / "frames" / f"{n}.png")
    write_clip(directory / "clip without suffix.mp4").rename(directory / "clip without suffix")
    write_gif(directory / "moving.gif")
    write_sound(directory / "sound.m4a")
    return directory


def chat(directory, *words):
    command = [sys.executable, "-m", "internvl", "chat", *words, "--max-new-tokens", "4"]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_answers_about_a_clip_and_shows_its_frames(clips):
    done = chat(clips, "clip without suffix", "What happens?", "--num-frames", "4", "--start", "1", "--json")
    assert done.returncode == 0, done.stderr
    media = json.loads(done.stdout)["usage"]["media"]
    assert [item["frame_index"] for item in media] == segment_indices(24, 47, 4)
    assert [item["timestamp_s"] for item in media] == [round(n / 24, 3) for n in segment_indices(24, 47, 4)]
    assert all(item["num_tiles"] == 1 and item["num_tokens"] > 0 for item in media)


@pytest.mark.slow
def test_the_command_takes_gifs_folders_and_pictures_together(clips):
    done = chat(
        clips, "moving.gif", "frames", "frames/1.png", "What differs?", "--num-frames", "3", "--stats"
    )
    assert done.returncode == 0, done.stderr
    assert "1 picture, 6 frames of 2 videos, 7 tiles" in done.stderr


def test_a_file_without_pictures_costs_one_clear_line_and_no_model(clips):
    done = chat(clips, "sound.m4a", "What happens?")
    assert done.returncode == 1
    assert done.stderr == "error: sound.m4a holds only sound (aac): expected a video\n"


def test_every_way_to_ask_about_a_video_gives_the_same_answer(clips):
    path = clips / "clip without suffix"
    question = {"type": "text", "text": "What happens?"}
    gen_config = internvl.GenerationConfig(max_new_tokens=6)
    with internvl.pipeline("nano") as pipe:
        expected = pipe(("What happens?", path), gen_config)
        assert len(expected.usage.media) == 8
        for media in (internvl.load_video(path), path.read_bytes(), internvl.vl.load_video(path)):
            assert pipe(("What happens?", media), gen_config).text == expected.text
        for part in (
            {"type": "video", "video": str(path)},
            {"type": "video_url", "video_url": path.as_uri()},
        ):
            answer = pipe([{"role": "user", "content": [part, question]}], gen_config)
            assert answer.text == expected.text
        session = pipe.chat(("What happens?", path), gen_config=gen_config)
        assert session.response.text == expected.text
        following = pipe.chat("And then?", session, gen_config=gen_config).response
        assert following.usage.cached_media == 8 or following.usage.cached_tokens > 0


def test_the_example_runs(clips):
    script = Path(__file__).parents[2] / "examples" / "video.py"
    command = [sys.executable, str(script), "clip without suffix", "0.5", "1.5"]
    done = subprocess.run(command, cwd=clips, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "frame 13 at 0.542 s: " in done.stdout


#: Reads every frame that would be sampled of each file named on stdin; answers one JSON line each.
CHILD = textwrap.dedent(
    """
    import json, resource, sys, time
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    from internvl.errors import MediaError
    from internvl.media import video_file
    from internvl.media.video import load_video
    resource.setrlimit(resource.RLIMIT_AS, (2_000_000_000, 2_000_000_000))
    for line in sys.stdin:
        answer = {"file": line.rstrip("\\n")}
        try:
            answer["frames"] = [frame.size for frame in load_video(answer["file"])]
        except MediaError as error:
            answer["error"] = str(error)
        # not ru_maxrss, which a child inherits from the process that started it
        status = open("/proc/self/status").read()
        answer["peak_bytes"] = int(status.split("VmHWM:")[1].split()[0]) * 1024
        print(json.dumps(answer), flush=True)
    """
)


@requires_shared
def test_real_clips_are_read_and_hostile_files_end_in_a_line_within_bounded_memory():
    hostile = sorted((SHARED / "data" / "hostile").iterdir())
    real = sorted((SHARED / "data" / "video").glob("*.mp4"))
    child = subprocess.run(
        [sys.executable, "-c", CHILD],
        input="".join(f"{file}\n" for file in [*real, *hostile]),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    assert child.stderr == ""  # FFmpeg keeps quiet
    answers = {answer["file"]: answer for answer in map(json.loads, child.stdout.splitlines())}
    assert len(answers) == len(real) + len(hostile)
    assert max(answer["peak_bytes"] for answer in answers.values()) < 400_000_000
    for file in real:
        assert len(answers[str(file)].get("frames", ())) == 8, answers[str(file)]
    readable = {file.name for file in hostile if "frames" in answers[str(file)]}
    assert readable >= {
        "one_frame.mp4",
        "two_frames.mp4",
        "tiny_2x2.mp4",
        "long_20000_frames.mp4",
        "animated.gif",
    }
    assert not readable & {
        "truncated.mp4",
        "moov_missing.mp4",
        "zero.mp4",
        "random.mp4",
        "bitflips.mp4",
        "page.jpg",
    }
    for answer in answers.values():
        if "error" in answer:
            assert "\n" not in answer["error"]
