"""Videos: the frames that were asked for, from every container, as their author meant them; the rest in one
line."""

import base64
import io

import av
import numpy as np
import pytest
from PIL import Image

from internvl import load_video
from internvl.errors import MediaError
from internvl.media.frame_sampling import segment_indices
from internvl.media.limits import AddressPolicy, MediaLimits
from internvl.media.video_file import VideoFile
from tiny_clips import HEIGHT, WIDTH, number_in, numbered, numbers_in, write_clip, write_gif, write_sound

#: File name -> how to write it. Between them: B-frames, several key frames, containers with and without times.
KINDS = {
    "a.mp4": {},
    "b.mkv": {},
    "c.mov": {"sound": "aac"},
    "d.webm": {"codec": "libvpx-vp9"},
    "e.avi": {"codec": "mpeg4"},
    "f.ts": {},
    "g.flv": {},
    "h.mpg": {"codec": "mpeg2video"},
    "i.webm": {"codec": "libvpx-vp9", "pixel_format": "yuva420p"},
    "j.avi": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "k.apng": {"codec": "apng", "pixel_format": "rgb24"},
}
#: Frame rates that are no whole number of a container's units are rounded there.
EIGHT = [2, 8, 14, 20, 26, 31, 37, 43]


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    directory = tmp_path_factory.mktemp("clips")
    return {name: write_clip(directory / name, **how) for name, how in KINDS.items()}


@pytest.fixture(scope="session")
def clip(clips):
    return clips["a.mp4"]


def refused(source, *words, **options):
    with pytest.raises(MediaError) as caught:
        list(load_video(source, **options))
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


# -- the right frames


@pytest.mark.parametrize("name", KINDS)
def test_the_frames_are_those_of_the_reference_rule_in_every_container(clips, name):
    video = load_video(clips[name])
    assert list(video.indices) == EIGHT == segment_indices(0, 47, 8)
    assert numbers_in(video) == EIGHT
    assert numbers_in(video) == EIGHT  # again, from the beginning
    assert (video.width, video.height, video.num_source_frames) == (WIDTH, HEIGHT, 48)
    assert video.timestamps == pytest.approx([index / 24 for index in EIGHT], abs=0.002)
    assert video.duration_s == pytest.approx(2.0, abs=0.003)


@pytest.mark.parametrize("name", ["a.mp4", "d.webm", "f.ts"])
def test_a_frame_found_by_seeking_equals_the_one_found_by_decoding_everything(clips, name):
    with av.open(str(clips[name])) as container:
        everything = [frame.to_image() for frame in container.decode(video=0)]
    for frame, index in zip(load_video(clips[name], num_frames=5), segment_indices(0, 47, 5), strict=True):
        assert frame.tobytes() == everything[index].tobytes()


def test_seeking_skips_what_lies_between(clips, monkeypatch):
    seen = []
    seeking = VideoFile._seeking

    def spy(self, container, *rest):
        demux = container.demux

        class Counting:
            def demux(self, stream):
                for packet in demux(stream):
                    seen.append(packet.pts)
                    yield packet

            seek = container.seek

        return seeking(self, Counting(), *rest)

    monkeypatch.setattr(VideoFile, "_seeking", spy)
    source = load_video(clips["a.mp4"]).source
    seen.clear()
    assert numbers_in(source.read([2, 38])) == [2, 38]
    assert len(seen) < 30  # of 48: the second lies behind a key frame of its own


def test_frames_are_decoded_as_they_are_asked_for(clip):
    video = load_video(clip)
    first = next(iter(video))
    assert number_in(first) == 2


def test_a_short_video_repeats_frames_as_the_reference_does(tmp_path):
    assert numbers_in(load_video(write_clip(tmp_path / "two.mp4", 2))) == segment_indices(0, 1, 8)
    assert numbers_in(load_video(write_clip(tmp_path / "one.mp4", 1), num_frames=3)) == [0, 0, 0]


def test_a_clip_has_the_frames_of_its_seconds(clip):
    # round(0.5 * 24) = 12 to round(1.5 * 24) = 36
    assert numbers_in(load_video(clip, num_frames=4, start=0.5, end=1.5)) == segment_indices(12, 36, 4)
    assert numbers_in(load_video(clip, num_frames=2, start=1.0)) == segment_indices(24, 47, 2)
    assert numbers_in(load_video(clip, num_frames=2, end=99)) == segment_indices(0, 47, 2)
    assert numbers_in(load_video(clip, num_frames=2, start=1, end=1)) == [24, 24]


def test_frames_may_be_asked_for_by_the_second(clip):
    assert numbers_in(load_video(clip, fps=2)) == [6, 18, 30, 42]
    assert numbers_in(load_video(clip, fps=2, start=1)) == [30, 42]
    assert numbers_in(load_video(clip, fps=2, num_frames=3)) == segment_indices(0, 47, 3)
    assert numbers_in(load_video(clip, fps=0.1)) == [23]
    assert len(load_video(clip, fps=1000, limits=MediaLimits(max_sampled_frames=9))) == 9


def test_a_video_can_be_sampled_anew(clip):
    video = load_video(clip)
    assert numbers_in(video.sample(num_frames=2)) == segment_indices(0, 47, 2)
    assert load_video(video) is video
    assert numbers_in(load_video(video, num_frames=1)) == [23]


def test_times_are_the_frames_own_where_the_rate_varies(tmp_path):
    times = [n * 0.04 for n in range(24)] + [1 + n * 0.5 for n in range(24)]
    video = load_video(write_clip(tmp_path / "v.mp4", times=times), num_frames=6)
    assert numbers_in(video) == list(video.indices)
    assert video.timestamps == pytest.approx([times[index] for index in video.indices], abs=0.002)
    # by their average rate, second 1 would be frame 4
    assert load_video(video, start=1, num_frames=1).sample(start=1, end=1, num_frames=1).indices == (24,)
    assert video.sample(start=6.1, end=6.1, num_frames=1).indices == (34,)


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((1, 0, 0, 0, 1, 0, 0, 0, 1), None),
        ((0, 1, 0, -1, 0, 0, 0, 0, 1), Image.Transpose.ROTATE_270),  # a phone held upright: clockwise
        ((-1, 0, 0, 0, -1, 0, 0, 0, 1), Image.Transpose.ROTATE_180),
        ((0, -1, 0, 1, 0, 0, 0, 0, 1), Image.Transpose.ROTATE_90),
        ((-1, 0, 0, 0, 1, 0, 0, 0, 1), Image.Transpose.FLIP_LEFT_RIGHT),
    ],
)
def test_frames_are_turned_as_the_file_says(tmp_path, matrix, turned):
    fixed = [value * (1 << 30 if n == 8 else 1 << 16) for n, value in enumerate(matrix)]
    video = load_video(write_clip(tmp_path / "r.mp4", 2, matrix=fixed), num_frames=1)
    expected = numbered(0) if turned is None else numbered(0).transpose(turned)
    assert (video.width, video.height) == expected.size
    (frame,) = video
    assert frame.size == expected.size
    difference = np.abs(np.asarray(frame, int) - np.asarray(expected, int))
    assert difference.mean() < 12


def test_an_animated_gif_is_a_video_with_transparency_on_white(tmp_path):
    video = load_video(write_gif(tmp_path / "a.gif", 6), num_frames=6)
    assert numbers_in(video) == [n + 1 for n in video.indices]
    assert video.timestamps == pytest.approx([n / 10 for n in video.indices])
    clear = Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 0))
    other = clear.copy()
    other.paste((255, 0, 0, 255), (0, 0, 8, 8))
    clear.save(tmp_path / "t.gif", save_all=True, append_images=[other], duration=100, disposal=2)
    frame = next(iter(load_video(tmp_path / "t.gif")))
    assert frame.mode == "RGB"
    assert frame.getpixel((40, 40)) == (255, 255, 255)


# -- where it comes from


def test_bytes_data_urls_and_file_urls_are_read(clip):
    data = clip.read_bytes()
    url = "data:video/mp4;base64," + base64.b64encode(data).decode()
    for source in (data, bytearray(data), url, clip.as_uri(), str(clip)):
        assert numbers_in(load_video(source, num_frames=3)) == segment_indices(0, 47, 3)


def test_a_folder_of_frames_is_read_by_the_numbers_in_its_names(tmp_path):
    for n in range(12):
        numbered(n).save(tmp_path / f"frame_{n}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    (tmp_path / ".hidden.png").write_text("no frame either")
    video = load_video(tmp_path, num_frames=12)
    assert numbers_in(video) == segment_indices(0, 11, 12)
    assert video.timestamps is None
    refused(tmp_path, "no times", "num_frames", start=1)
    (tmp_path / "frame_3.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    refused(tmp_path, "frame_3.png", num_frames=12)


def test_pictures_and_arrays_are_taken_as_they_are():
    pictures = [numbered(n) for n in (7, 3, 9)]
    assert numbers_in(load_video(pictures)) == [7, 3, 9]
    array = np.stack([np.asarray(picture) for picture in pictures])
    assert numbers_in(load_video(array)) == [7, 3, 9]
    assert numbers_in(load_video(array, num_frames=2)) == [7, 3]
    timed = load_video((array, {"timestamps": [0.0, 0.5, 1.0]}))
    assert timed.timestamps == (0.0, 0.5, 1.0)
    refused(array[0], "expected (N, h, w, 3)")
    refused([], "no frames")
    refused(pictures, "num_frames is 3", limits=MediaLimits(max_sampled_frames=2))


def test_a_url_may_hold_frames_as_jpegs():
    parts = []
    for n in (1, 2):
        file = io.BytesIO()
        numbered(n).save(file, "JPEG")
        parts.append(base64.b64encode(file.getvalue()).decode())
    assert numbers_in(load_video("data:video/jpeg;base64," + ",".join(parts))) == [1, 2]


def test_where_local_files_are_not_read_neither_videos_nor_folders_are(clip, tmp_path):
    policy = AddressPolicy(allow_local_files=False)
    numbered(1).save(tmp_path / "1.png")
    for source in (clip, str(clip), clip.as_uri(), tmp_path, [str(tmp_path / "1.png")]):
        refused(source, "local files are not read", policy=policy)
    assert len(load_video(clip.read_bytes(), policy=policy)) == 8


# -- what cannot be


def test_files_that_show_nothing_are_named_for_what_they_are(tmp_path, clip):
    refused(write_sound(tmp_path / "a.m4a"), "only sound (aac)")
    refused(write_sound(tmp_path / "a.mp3", "mp3"), "sound only")
    for name, data, word in (
        ("empty.mp4", b"", "empty"),
        ("noise.mp4", b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 20, "not a readable MP4"),
        ("text.mp4", b"hello", "not a video of a known kind"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "playlist"),
        ("dash.mpd", b'<?xml version="1.0"?><MPD></MPD>', "playlist"),
        ("concat.txt", b"ffconcat version 1.0\nfile /etc/passwd\n", "playlist"),
        ("page.mp4", b"<!DOCTYPE html><html></html>", "HTML"),
        ("heic.mp4", b"\0\0\0\x18ftypheic" + b"\0" * 50, "HEIC"),
        ("head.mp4", clip.read_bytes()[:40], "MP4"),
        ("head.gif", b"GIF89a", "GIF"),
    ):
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, name, word)
    numbered(1).save(tmp_path / "picture.mp4", "PNG")
    refused(tmp_path / "picture.mp4", "is a picture (PNG)")
    refused(tmp_path / "missing.mp4", "no such file")
    refused(object(), "cannot read a video from object")


def test_a_file_that_is_cut_off_is_refused_not_shown_in_part(tmp_path):
    # the table of contents before the frames, as in a download that broke off
    data = write_clip(tmp_path / "a.mp4", container_options={"movflags": "faststart"}).read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    refused(data[: len(data) * 3 // 4], "announces 48 frames")


def test_damage_is_said_with_its_place_and_spares_the_rest(tmp_path):
    path = write_clip(tmp_path / "d.mp4", 96, options={"crf": "4"})
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size, packet.pts) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size, _ in places[60:66]:
        data[position + 12 : position + size] = b"\x55" * (size - 12)
    refused(bytes(data), "damaged", "s", num_frames=96)
    assert numbers_in(load_video(bytes(data), num_frames=4, end=1.5)) == segment_indices(0, 36, 4)


def test_tables_that_claim_more_than_the_file_may_hold_are_refused_before_they_are_believed(clip):
    data = bytearray(clip.read_bytes())
    at = data.index(b"stsz")
    data[at + 8 : at + 16] = b"\0\0\0\1\x7f\0\0\0"  # two billion frames of one byte each
    refused(bytes(data), "claim 2130706432 frames", "max_video_frames")


def test_so_are_fragments_and_headers_that_hide(tmp_path):
    fragmented = {"movflags": "frag_keyframe+empty_moov"}
    data = bytearray(write_clip(tmp_path / "f.mp4", container_options=fragmented).read_bytes())
    assert numbers_in(load_video(bytes(data), num_frames=3)) == segment_indices(0, 47, 3)
    at = data.index(b"trun")
    data[at + 4 : at + 12] = b"\0\0\0\0\x10\0\0\0"  # no field of its own for any of 268 million samples
    refused(bytes(data), "fragments claim", "max_video_frames")
    hidden = data.replace(b"mvhd", b"cmov", 1)
    refused(bytes(hidden), "header is compressed")


def test_uncompressed_sound_may_have_many_samples(tmp_path):
    clip = write_clip(tmp_path / "s.mov", sound="pcm_s16le")
    limits = MediaLimits(max_video_frames=1000)  # the sound has 88,200 samples
    assert numbers_in(load_video(clip, num_frames=3, limits=limits)) == segment_indices(0, 47, 3)


def test_what_is_too_large_or_too_long_is_refused_with_the_limit_to_raise(clips, clip):
    refused(clip, "max_video_pixels", limits=MediaLimits(max_video_pixels=1000))
    refused(clip, "max_decode_bytes", limits=MediaLimits(max_decode_bytes=1000))
    refused(clip, "max_video_frames", limits=MediaLimits(max_video_frames=47))
    refused(clips["b.mkv"], "more than 47 frames", limits=MediaLimits(max_video_frames=47))
    refused(clip, "video_timeout_s", limits=MediaLimits(video_timeout_s=1e-9))
    refused(clip.read_bytes(), "max_video_bytes", limits=MediaLimits(max_video_bytes=100))
    refused(clip, "max_sampled_frames", num_frames=257)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_frames": 0}, ["num_frames is 0"]),
        ({"fps": 0}, ["fps is 0"]),
        ({"fps": float("nan")}, ["fps"]),
        ({"start": -1}, ["start is -1"]),
        ({"end": float("inf")}, ["end is inf"]),
        ({"start": 1, "end": 0.5}, ["ends at 0.5 s", "starts at 1 s"]),
        ({"start": 2.5}, ["start 2.5 s", "2.00 s"]),
    ],
)
def test_times_and_numbers_that_cannot_be_are_refused(clip, options, words):
    refused(clip, *words, **options)
